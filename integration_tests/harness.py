"""The demo's database, and the connector's settings for it, for the harnesses in Python."""

import uuid
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
ROOT = HERE.parent
SCHEMA = "billing"
TABLES = ["customers", "invoices", "plans", "subscriptions", "usage_events"]
KEYS = {
    "customers": "customer_id", "invoices": "invoice_id", "plans": "tier", "subscriptions": "subscription_id",
    "usage_events": "event_id",
}


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
