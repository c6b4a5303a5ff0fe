"""CAT's assertions about incremental reads, run on the image.

CAT gives states back without their namespace and by the stream's name alone, as is done here. It cannot test CDC so: it
takes a GLOBAL state for an empty one.
"""

import pytest
from connector import configured
from fixtures import CURSORS, ROWS_OF_LEDGER, connector, ledger, source  # noqa: F401


@pytest.fixture(scope="module", params=["Standard", "Xmin"])
def config(request, source, ledger):
    return source.config(request.param)


@pytest.fixture(scope="module")
def catalog(connector, config):
    found = connector.run("discover", config=config).ok().of("CATALOG")[0]
    if config["replication_method"]["method"] == "Standard":
        found["streams"] = [s for s in found["streams"] if s["name"] in CURSORS]
        return configured(found, "incremental", cursors=CURSORS)
    return configured(found, "incremental")


def without_namespace(states):
    """The last state of each stream, as CAT gives it back."""
    last = {s["stream"]["stream_descriptor"]["name"]: s["stream"]["stream_state"] for s in states}
    return [
        {"type": "STREAM", "stream": {"stream_descriptor": {"name": name}, "stream_state": state}}
        for name, state in last.items()
    ]


class TestIncremental:
    def test_two_sequential_reads(self, connector, config, catalog):
        first = connector.run("read", config=config, catalog=catalog).ok()
        assert first.of("RECORD")
        assert first.of("STATE")
        state = without_namespace(first.of("STATE"))
        second = connector.run("read", config=config, catalog=catalog, state=state).ok()
        # CAT asks for other records than before; here nothing was written, so that there are none.
        assert second.of("RECORD") == []
        assert len(second.of("STATE")) >= len(catalog["streams"])

    def test_read_sequential_slices(self, connector, config, catalog):
        """From any state on, at least those records come that had not come before it."""
        one = {"streams": [s for s in catalog["streams"] if s["stream"]["name"] == "ledger"]}
        whole = connector.run("read", config=config, catalog=one).ok()
        states = [s for s in whole.of("STATE") if s["sourceStats"]["recordCount"] > 0]
        assert len(states) > 1, "the table is too small for slices"
        before, lines = 0, {r["data"]["line"] for r in whole.of("RECORD")}
        assert len(lines) == ROWS_OF_LEDGER
        for state in states:
            before += state["sourceStats"]["recordCount"]
            rest = connector.run("read", config=config, catalog=one, state=without_namespace([state])).ok().of("RECORD")
            assert len(rest) >= ROWS_OF_LEDGER - before
        assert before == ROWS_OF_LEDGER

    def test_state_with_abnormally_large_values(self, connector, config, catalog):
        """With a cursor from the future nothing is read, and there is a state."""
        if config["replication_method"]["method"] == "Xmin":
            # Its state is a number of the server's own: one from the future is a restored server, which is an error.
            future = {"state_type": "xmin", "version": 2, "xmin_xid_value": 1 << 40, "xmin_raw_value": 1 << 40}
            code, records = 1, None
        else:
            future = {"state_type": "cursor_based", "version": 2, "cursor_field": ["line"], "cursor": "9" * 18}
            code, records = 0, []
        one = {"streams": [s for s in catalog["streams"] if s["stream"]["name"] == "ledger"]}
        state = [{"type": "STREAM", "stream": {"stream_descriptor": {"name": "ledger"}, "stream_state": future}}]
        run = connector.run("read", config=config, catalog=one, state=state)
        assert min(run.code, 1) == code, run.traces("ERROR")
        assert run.of("RECORD") == []
        assert bool(run.of("STATE")) == (records is not None)
