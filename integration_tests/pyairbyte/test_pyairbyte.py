"""PyAirbyte reads the demo's database, with the connector as a program on this machine and as an image."""

import contextlib
import hashlib
import json
import os
import stat
from datetime import date, timezone
from decimal import ROUND_HALF_EVEN, Decimal

import airbyte as ab
import pytest
from airbyte import _connector_base, exceptions
from airbyte.caches import DuckDBCache

from harness import KEYS, SCHEMA, TABLES, Database

NAME = "source-postgres-local"


@pytest.fixture(scope="module", params=["executable", "image"])
def how(request):
    """How PyAirbyte runs the connector."""
    if request.param == "executable":
        return {"local_executable": request.getfixturevalue("executable")}
    return {"docker_image": request.getfixturevalue("image"), "use_host_network": True}


@pytest.fixture(scope="module")
def database(server, how):
    made = Database(server)
    yield made
    made.drop()


@pytest.fixture
def connect(how):
    """Gives a source with the settings."""
    return lambda config, **options: ab.get_source(NAME, config=config, install_if_missing=False, **how, **options)


@pytest.fixture
def cache(tmp_path):
    return DuckDBCache(db_path=tmp_path / "cache.duckdb", schema_name="copy")


def plain(value, schema):
    """A value of either side in one form: what the column's type in the cache can hold, as text."""
    kind = schema.get("airbyte_type", schema.get("type"))
    if value is None:
        return None
    if kind == "number":  # DECIMAL(38, 9) in the cache
        return str(Decimal(str(value)).quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN))
    if kind == "timestamp_with_timezone":  # the cache gives it in UTC
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).astimezone(timezone.utc).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if kind in ("array", "object", "json"):
        value = json.loads(value) if isinstance(value, str) else value
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return str(value)


def digest(rows, columns):
    """The number of rows, a checksum over all values that their order does not change, and the rows as text."""
    texts = sorted(
        json.dumps([plain(value, schema) for value, schema in zip(row, columns.values(), strict=True)]) for row in rows
    )
    return len(texts), hashlib.sha256("\n".join(texts).encode()).hexdigest(), texts


def assert_same(got, want, table):
    """Holds one digest against another; a difference is shown by its first rows."""
    if got[:2] != want[:2]:
        pairs = [f"{a}\n{b}" for a, b in zip(got[2], want[2]) if a != b]
        pytest.fail(f"{table}: {got[0]} rows in DuckDB, {want[0]} in the source; they differ:\n" + "\n".join(pairs[:2]))


# What SQL gives as the connector documents it for a type (docs/types.md), where Python's driver would give another form.
AS_TEXT = "CASE WHEN {0} IS NOT NULL THEN format('%%s', {0}) END"  # the type's own output; ::text differs for inet
AS_DOCUMENTED = dict.fromkeys(["bytea", "uuid", "inet", "interval", "int4range", "tier", "float4", "float8", "jsonb"], AS_TEXT) | {
    "_timestamptz": "CASE WHEN {0} IS NOT NULL THEN to_json(ARRAY(SELECT to_char(x AT TIME ZONE 'UTC', "
    "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM unnest({0}) AS x))::text END",
}


def source_digest(database, table, columns):
    types = dict(database.query(
        "SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid WHERE attrelid = %s::regclass "
        "AND attnum > 0 AND NOT attisdropped", f"{SCHEMA}.{table}",
    ))
    assert set(types) == set(columns), f"the stream's columns are {list(columns)}, the table's {list(types)}"
    chosen = ", ".join(AS_DOCUMENTED.get(types[column], "{0}").format(column) for column in columns)
    return digest(database.query(f"SELECT {chosen} FROM {SCHEMA}.{table} WHERE %s", True), columns)


def cache_digest(cache, table, columns):
    names = ", ".join(f'"{column}"' for column in columns)
    with cache.processor.get_sql_connection() as connection:
        rows = connection.exec_driver_sql(f'SELECT {names} FROM "copy"."{table}"').fetchall()
    return digest(rows, columns)


def schema_of(source, stream):
    return source.get_stream_json_schema(stream)["properties"]


def test_check(connect, database):
    connect(database.config()).check()


def test_streams(connect, database):
    source = connect(database.config())
    assert sorted(source.get_available_streams()) == sorted([*TABLES, "open_invoices"])
    catalog = {s.name: s for s in source.discovered_catalog.streams}
    for table, key in KEYS.items():
        assert catalog[table].source_defined_primary_key == [[key]]


def test_full_read_equals_the_source(connect, database, cache, capsys):
    """With the program, and with the image: the same rows, and the same values."""
    source = connect(database.config(), streams=TABLES)
    result = source.read(cache=cache)
    total = 0
    for table in TABLES:
        columns = schema_of(source, table)
        want, got = source_digest(database, table, columns), cache_digest(cache, table, columns)
        with capsys.disabled():
            print(f"\n    {table:14} source {want[0]:6} rows {want[1][:16]}  DuckDB {got[0]:6} rows {got[1][:16]}", end="")
        assert_same(got, want, table)
        assert len(result[table]) == want[0]
        total += want[0]
    assert result.processed_records == total


def test_records_one_by_one(connect, database):
    source = connect(database.config())
    records = list(source.get_records("plans"))
    assert sorted(r["tier"] for r in records) == ["business", "enterprise", "free", "team"]


def test_second_read_by_cursor_brings_what_is_new(connect, database, cache):
    source = connect(database.config(), streams=["usage_events", "customers"])
    source.set_cursor_keys(usage_events="event_id", customers="signed_up")
    first = source.read(cache=cache)
    assert first.processed_records == database.count("usage_events") + database.count("customers")
    database.execute(
        f"INSERT INTO {SCHEMA}.usage_events SELECT 1000000 + i, 1000000000001, now(), 'seat', i, i, true, NULL, NULL "
        "FROM generate_series(1, 25) AS i"
    )
    again = connect(database.config(), streams=["usage_events", "customers"])
    again.set_cursor_keys(usage_events="event_id", customers="signed_up")
    assert again.read(cache=cache).processed_records == 25
    for table in ("usage_events", "customers"):
        columns = schema_of(again, table)
        assert_same(cache_digest(cache, table, columns), source_digest(database, table, columns), table)
    assert again.read(cache=cache).processed_records == 0


def test_second_read_by_xmin_brings_what_has_changed(connect, database, cache):
    source = connect(database.config("Xmin"), streams=["invoices", "plans"])
    first = source.read(cache=cache)
    assert first.processed_records == database.count("invoices") + database.count("plans")
    database.execute(f"UPDATE {SCHEMA}.invoices SET paid_at = now() WHERE number LIKE '%%0007'")
    changed = database.query(f"SELECT count(*) FROM {SCHEMA}.invoices WHERE number LIKE '%%0007'")[0][0]
    again = connect(database.config("Xmin"), streams=["invoices", "plans"])
    assert again.read(cache=cache).processed_records == changed > 0
    columns = schema_of(again, "invoices")
    assert_same(cache_digest(cache, "invoices", columns), source_digest(database, "invoices", columns), "invoices")


def test_stream_without_cursor_is_read_whole_each_time(connect, database, cache):
    """PyAirbyte asks for every stream incrementally, also for one that has nothing to go by."""
    for _ in range(2):
        source = connect(database.config(), streams=["open_invoices"])
        assert source.read(cache=cache).processed_records == database.count("open_invoices") > 0


def test_cdc_reads_the_tables(connect, database, cache):
    """PyAirbyte keeps no global state, so that each read is a first one: what it shows is that a first one is whole."""
    source = connect(database.config("CDC"), streams=["customers", "subscriptions"])
    source.read(cache=cache)
    for table in ("customers", "subscriptions"):
        columns = {name: schema for name, schema in schema_of(source, table).items() if not name.startswith("_ab_")}
        assert_same(cache_digest(cache, table, columns), source_digest(database, table, columns), table)


def test_files_are_read_only(connect, database, monkeypatch):
    """The files that PyAirbyte hands over have mode 0444, which the image's user must be able to read."""
    modes, real = [], _connector_base.as_temp_files

    @contextlib.contextmanager
    def watched(*arguments, **options):
        with real(*arguments, **options) as names:
            modes.extend(stat.S_IMODE(os.stat(name).st_mode) for name in names)
            yield names

    monkeypatch.setattr(_connector_base, "as_temp_files", watched)
    connect(database.config()).check()
    assert modes
    assert set(modes) == {0o444}


@pytest.mark.parametrize(("change", "message"), [
    ({"port": "no number"}, "port"),
    ({"host": None}, "host"),
    ({"replication_method": {"method": "Telepathy"}}, "Telepathy"),
    ({"ssl_mode": {"mode": "sometimes"}}, "sometimes"),
])
def test_settings_that_break_the_spec(connect, database, change, message):
    """PyAirbyte holds the settings against the spec before the connector sees them."""
    config = {k: v for k, v in (database.config() | change).items() if v is not None}
    with pytest.raises(exceptions.AirbyteConnectorValidationFailedError) as failure:
        connect(config).validate_config()
    assert message in str(failure.value)


@pytest.mark.parametrize(("change", "message"), [
    ({"password": "not the password"}, "password"),
    ({"database": "no_such_database"}, "no_such_database"),
    ({"schemas": ["no_such_schema"]}, "no_such_schema"),
    ({"replication_method": {"method": "CDC", "replication_slot": "no_slot", "publication": "pub"}}, "no_slot"),
    ({"replication_method": {"method": "CDC", "replication_slot": "no_slot", "publication": "no_publication"}},
     "no_publication"),
    ({"port": 1}, "127.0.0.1:1"),
])
def test_settings_that_do_not_work(connect, database, change, message):
    """What check says reaches the user, in the connector's words and without the password."""
    config = database.config() | change
    with pytest.raises(exceptions.AirbyteConnectorCheckFailedError) as failure:
        connect(config).check()
    said = str(failure.value)
    assert message in said
    assert database.password not in said and "not the password" not in said


def test_failed_read_is_a_failure(connect, database, cache):
    """A stream that fails makes the read fail, whatever else has been read."""
    database.execute(f"CREATE VIEW {SCHEMA}.broken AS SELECT 1 / 0 AS n; GRANT SELECT ON {SCHEMA}.broken TO {database.reader}")
    try:
        with pytest.raises(exceptions.AirbyteConnectorFailedError):
            connect(database.config(), streams=["plans", "broken"]).read(cache=cache)
    finally:
        database.execute(f"DROP VIEW {SCHEMA}.broken")
