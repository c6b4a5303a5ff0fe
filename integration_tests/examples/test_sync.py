"""examples/sync.py: reads with the image, and keeps records and states in files."""

import json
import os
import subprocess
import sys

import pytest

from harness import ROOT, SCHEMA

STREAMS = ["plans", "subscriptions"]


@pytest.fixture
def sync(image, tmp_path):
    """Runs the script once and gives its exit code."""
    tmp_path.chmod(0o755)
    environment = os.environ | {"IMAGE": image, "DOCKER_OPTIONS": "--network=host"}

    def run():
        return subprocess.run([sys.executable, ROOT / "examples" / "sync.py", tmp_path], env=environment).returncode

    return run


def prepare(directory, image, config):
    (directory / "config.json").write_text(json.dumps(config))
    command = ["docker", "run", "--rm", "--network=host", f"--volume={directory}:/data:ro", image]
    out = subprocess.run([*command, "discover", "--config=/data/config.json"], capture_output=True, check=True).stdout
    (found,) = [m["catalog"] for m in map(json.loads, out.splitlines()) if m["type"] == "CATALOG"]
    catalog = [
        {"stream": s, "sync_mode": "incremental", "destination_sync_mode": "append"}
        for s in found["streams"] if s["name"] in STREAMS
    ]
    (directory / "catalog.json").write_text(json.dumps({"streams": catalog}))


def records(directory, stream):
    lines = (directory / f"{SCHEMA}.{stream}.jsonl").read_text().splitlines()
    return [json.loads(line)["record"]["data"] for line in lines]


@pytest.mark.parametrize("method", ["Xmin", "CDC"])
def test_each_sync_adds_what_is_new(sync, database, image, tmp_path, method):
    prepare(tmp_path, image, database.config(method))
    assert sync() == 0
    assert len(records(tmp_path, "subscriptions")) == database.count("subscriptions")
    assert len(records(tmp_path, "plans")) == 4
    database.execute(f"UPDATE {SCHEMA}.subscriptions SET seats = 77 WHERE subscription_id <= 1000000000005")
    assert sync() == 0
    new = records(tmp_path, "subscriptions")[database.count("subscriptions"):]
    assert sorted((r["subscription_id"], r["seats"]) for r in new) == [(1000000000000 + n, 77) for n in range(1, 6)]
    assert len(records(tmp_path, "plans")) == 4
    assert sync() == 0
    assert len(records(tmp_path, "subscriptions")) == database.count("subscriptions") + 5


def test_a_sync_that_fails_says_so_and_keeps_the_states(sync, database, image, tmp_path):
    config = database.config("Xmin")
    prepare(tmp_path, image, config)
    assert sync() == 0
    kept = (tmp_path / "state.json").read_text()
    (tmp_path / "config.json").write_text(json.dumps(config | {"password": "another one"}))
    assert sync() == 1
    assert (tmp_path / "state.json").read_text() == kept
