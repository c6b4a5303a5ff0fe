"""Fixtures of the acceptance tests: the image, and the demo's database once for each way to read."""

import pytest
from connector import Connector

from harness import SCHEMA, Database

CURSORS = {
    "customers": "signed_up", "invoices": "issued", "subscriptions": "subscription_id", "usage_events": "happened_at",
    "ledger": "line",
}
ROWS_OF_LEDGER = 24_000


@pytest.fixture(scope="module")
def connector(image):
    return Connector(image)


@pytest.fixture(scope="module")
def source(server):
    """The demo's database with fewer rows: each record is held against its schema, in Python."""
    made = Database(server)
    made.execute(
        f"DELETE FROM {SCHEMA}.usage_events WHERE event_id > 1000; DELETE FROM {SCHEMA}.invoices WHERE paid_at IS NOT NULL"
    )
    yield made
    made.drop()


@pytest.fixture(scope="module")
def ledger(source):
    """A table that is large enough for several states."""
    source.execute(
        f"CREATE TABLE {SCHEMA}.ledger (line bigint PRIMARY KEY, note text NOT NULL);"
        f"INSERT INTO {SCHEMA}.ledger SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, {ROWS_OF_LEDGER}) AS n;"
        f"GRANT SELECT ON {SCHEMA}.ledger TO {source.reader}"
    )


@pytest.fixture(scope="module", params=["Standard", "Xmin", "CDC"])
def method(request):
    return request.param


@pytest.fixture(scope="module")
def config(source, method):
    return source.config(method)


@pytest.fixture(scope="module")
def discovered(connector, config):
    return connector.run("discover", config=config).ok().of("CATALOG")[0]
