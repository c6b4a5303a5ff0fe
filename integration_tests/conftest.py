"""What the harnesses in Python share: a server, the demo's database on it, the connector as a program and as an image.

`make conformance` sets IMAGE_UNDER_TEST and CONNECTOR_UNDER_TEST and runs them; pgtest's variables (see CONTRIBUTING.md)
say on which server. A test that cannot run fails: nothing here is skipped.
"""

import json
import os
import subprocess

import pytest

from harness import ROOT, Database

# PyAirbyte asks a registry on the network and reports its use unless it is told not to, before it is imported.
os.environ |= {"AIRBYTE_OFFLINE_MODE": "1", "DO_NOT_TRACK": "1", "AIRBYTE_NO_UPDATE_CHECK": "1"}

pytest_plugins = ["airbyte_cdk.test.standard_tests.pytest_hooks"]
_started = {}

# How tests can end that have neither passed nor failed.
PROVING_NOTHING = ("skipped", "xfailed", "xpassed")

# The command that each of the CDK's tests runs for a scenario, if acceptance-test-config.yml lists the scenario for it.
CDK_COMMANDS = {
    "test_docker_image_build_and_check": "check",
    "test_docker_image_build_and_config_matches_spec": "spec",
    "test_docker_image_build_and_discover": "discover",
    "test_docker_image_build_and_read": "read",
}


def pytest_collection_modifyitems(items):
    """Leaves out the pairs of test and scenario that the CDK's tests would only skip."""
    def meant(item):
        command = CDK_COMMANDS.get(getattr(item, "originalname", None))
        return not command or item.callspec.params["scenario"].runs(command)

    items[:] = [item for item in items if meant(item)]


def pytest_terminal_summary(terminalreporter):
    """The line that says how many tests ran where, in the words of the tests in Go."""
    passed = len(terminalreporter.stats.get("passed", []))
    lost = sum(len(terminalreporter.stats.get(kind, [])) for kind in ("failed", "error", *PROVING_NOTHING))
    terminalreporter.write_line(f"integration: {passed} passed, {lost} failed, on {_started.get('server', 'no server')}")
    terminalreporter.write_line(f"{passed} passed, {lost} failed")


def pytest_sessionfinish(session, exitstatus):
    """A test that does not run, or may fail, counts as failed: it proves nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and any(reporter.stats.get(kind) for kind in PROVING_NOTHING):
        session.exitstatus = 1


def need(variable):
    """The value of an environment variable that make conformance sets."""
    if not os.environ.get(variable):
        pytest.fail(f"{variable} is not set; make conformance sets it")
    return os.environ[variable]


@pytest.fixture(scope="session")
def image():
    return need("IMAGE_UNDER_TEST")


@pytest.fixture(scope="session")
def executable():
    return need("CONNECTOR_UNDER_TEST")


@pytest.fixture(scope="session")
def server():
    """Where a server is that lasts for the session."""
    with subprocess.Popen(
        ["go", "run", "./integration_tests/serve"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        assert line, "no server could be started; its output says why"
        found = json.loads(line)
        _started["server"] = found["server"]
        yield found
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def database(server):
    made = Database(server)
    yield made
    made.drop()
