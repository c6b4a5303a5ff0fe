"""What the harnesses in Python share: a server, the demo's database on it, the connector as a program and as an image.

`make conformance` sets IMAGE_UNDER_TEST and CONNECTOR_UNDER_TEST and runs them; pgtest's variables (see CONTRIBUTING.md)
say on which server. A test that cannot run fails: nothing here is skipped.
"""

import json
import os
import subprocess
import uuid
from pathlib import Path

import psycopg
import pytest

# PyAirbyte asks a registry on the network and reports its use unless it is told not to, before it is imported.
os.environ |= {"AIRBYTE_OFFLINE_MODE": "1", "DO_NOT_TRACK": "1", "AIRBYTE_NO_UPDATE_CHECK": "1"}

HERE = Path(__file__).parent
ROOT = HERE.parent
SCHEMA = "billing"
TABLES = ["customers", "invoices", "plans", "subscriptions", "usage_events"]
KEYS = {
    "customers": "customer_id", "invoices": "invoice_id", "plans": "tier", "subscriptions": "subscription_id",
    "usage_events": "event_id",
}

pytest_plugins = ["airbyte_cdk.test.standard_tests.pytest_hooks"]
_started = {}


def pytest_terminal_summary(terminalreporter):
    """The line that says how many tests ran where, in the words of the tests in Go."""
    passed = len(terminalreporter.stats.get("passed", []))
    lost = sum(len(terminalreporter.stats.get(kind, [])) for kind in ("failed", "error", "skipped", "xfailed"))
    terminalreporter.write_line(f"integration: {passed} passed, {lost} failed, on {_started.get('server', 'no server')}")
    terminalreporter.write_line(f"{passed} passed, {lost} failed")


def pytest_sessionfinish(session, exitstatus):
    """A skipped test counts as failed: a test that does not run proves nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and reporter.stats.get("skipped"):
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


class Database:
    """The demo's database, for one module's tests alone, and how the connector gets at it."""

    def __init__(self, server):
        self.server = server
        self.name = "demo_" + uuid.uuid4().hex[:12]
        self.reader, self.password = self.name + "_reader", uuid.uuid4().hex
        self._admin(f"CREATE DATABASE {self.name}")
        self.url = server["url"].replace("/postgres?", f"/{self.name}?").removesuffix("/postgres")
        if not self.url.count(self.name):
            self.url += "/" + self.name
        self.execute((HERE / "demo" / "schema.sql").read_text())
        self.execute(
            f"CREATE ROLE {self.reader} LOGIN REPLICATION PASSWORD '{self.password}';"
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO {self.reader};"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {self.reader};"
            f"CREATE PUBLICATION pub FOR ALL TABLES"
        )

    def _admin(self, sql):
        with psycopg.connect(self.server["url"], autocommit=True) as connection:
            connection.execute(sql)

    def execute(self, sql):
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql)

    def query(self, sql, *parameters):
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters or None).fetchall()

    def count(self, table):
        return self.query(f"SELECT count(*) FROM {SCHEMA}.{table}")[0][0]

    def slot(self):
        """Makes a replication slot; whoever reads from it needs one of their own."""
        name = self.name + "_" + uuid.uuid4().hex[:6]
        self.query("SELECT 1 FROM pg_create_logical_replication_slot(%s, 'pgoutput')", name)
        return name

    def config(self, method="Standard", *, inside=False, **settings):
        """The connector's settings; inside is the address for a container on the engine's usual network."""
        host, port = self.server["host"], self.server["port"]
        if inside:
            assert self.server["inside"], "the server is not in a container: PGTEST_REQUIRE=docker"
            host, port = self.server["inside"].rsplit(":", 1)
        replication = {"method": method}
        if method == "CDC":
            replication |= {"replication_slot": self.slot(), "publication": "pub", "initial_waiting_seconds": 120}
        return {
            "host": host, "port": int(port), "database": self.name, "schemas": [SCHEMA], "username": self.reader,
            "password": self.password, "ssl_mode": {"mode": "prefer"}, "tunnel_method": {"tunnel_method": "NO_TUNNEL"},
            "replication_method": replication,
        } | settings

    def drop(self):
        self.query(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )
        self._admin(f"DROP DATABASE {self.name} WITH (FORCE)")
        self._admin(f"DROP ROLE {self.reader}")


@pytest.fixture(scope="module")
def database(server):
    made = Database(server)
    yield made
    made.drop()
