"""examples/compose.yaml is brought up for real; examples/kubernetes-job.yaml is held against the schemas of Kubernetes,
and its container is run as the Job describes it. No cluster is started: what a kubelet would do beside that is not tested.
"""

import json
import subprocess
import uuid

import kubernetes_validate
import pytest
import yaml

from harness import ROOT

EXAMPLES = ROOT / "examples"


def messages(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def records(output):
    return [m["record"] for m in messages(output) if m["type"] == "RECORD"]


@pytest.fixture
def compose(image):
    """Runs docker compose on the example and gives what it prints."""
    program = ["docker", "compose", "--file", EXAMPLES / "compose.yaml", "--project-name", "e" + uuid.uuid4().hex]

    def run(*arguments):
        ran = subprocess.run([*program, *arguments], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    yield run
    run("down", "--volumes")


def test_compose_reads_the_table(compose, image):
    assert yaml.safe_load(compose("config"))["services"]["connector"]["image"] == image
    compose("up", "--no-build", "--exit-code-from", "connector")
    container = compose("ps", "--all", "--quiet", "connector").strip()
    output = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stdout
    assert sorted(r["data"]["id"] for r in records(output)) == list(range(1, 1001))
    assert [m for m in messages(output) if m["type"] == "STATE"][-1]["state"]["type"] == "GLOBAL"


@pytest.fixture
def objects():
    """The manifest's objects by kind."""
    return {o["kind"]: o for o in yaml.safe_load_all((EXAMPLES / "kubernetes-job.yaml").read_text())}


def test_kubernetes_would_take_the_manifest(objects):
    assert list(objects) == ["Secret", "ConfigMap", "Job"]
    for manifest in objects.values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    del objects["Job"]["spec"]["template"]["spec"]["containers"][0]["name"]
    with pytest.raises(kubernetes_validate.ValidationError):  # strictness itself
        kubernetes_validate.validate(objects["Job"], kubernetes_validate.latest_version(), strict=True)


def test_the_container_of_the_job_reads_the_table(objects, database, tmp_path):
    """Its arguments, files, user, memory and security context are the manifest's; where the database is, is the test's."""
    database.execute(
        f"CREATE TABLE orders (id int PRIMARY KEY, total numeric); GRANT SELECT ON orders TO {database.reader};"
        "INSERT INTO orders SELECT n, n / 100.0 FROM generate_series(1, 100) n"
    )
    pod = objects["Job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    here = database.config("CDC", schemas=["public"])
    config = json.loads(objects["Secret"]["stringData"]["config.json"])
    assert config.keys() <= here.keys() and config["replication_method"].keys() <= here["replication_method"].keys()
    files = {"config": {"config.json": json.dumps(here)}, "sync": objects["ConfigMap"]["data"]}
    command = [
        "docker", "run", "--rm", "--network=host", f"--user={pod['securityContext']['runAsUser']}",
        f"--memory={container['resources']['limits']['memory'].removesuffix('i').lower()}",
    ]
    if not container["securityContext"]["allowPrivilegeEscalation"]:
        command.append("--security-opt=no-new-privileges")
    if container["securityContext"]["readOnlyRootFilesystem"]:
        command.append("--read-only")
    tmp_path.chmod(0o755)
    for mount in container["volumeMounts"]:
        directory = tmp_path / mount["name"]
        directory.mkdir()
        for name, text in files[mount["name"]].items():
            (directory / name).write_text(text)
        command.append(f"--volume={directory}:{mount['mountPath']}:{'ro' if mount['readOnly'] else 'rw'}")
    ran = subprocess.run([*command, container["image"], *container["args"]], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert sorted(r["data"]["id"] for r in records(ran.stdout)) == list(range(1, 101))
