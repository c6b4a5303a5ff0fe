package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// padded fills a table of many blocks.
const padded = `CREATE TABLE t (id int PRIMARY KEY, c int, pad text); ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
	INSERT INTO t SELECT g, g, repeat('x', 2500) FROM generate_series(1, 300) AS g`

// numberOf is the position of the log that a query gives, as a number.
func (d *database) numberOf(query string) uint64 {
	d.t.Helper()
	n, err := strconv.ParseUint(d.value("SELECT (("+query+") - '0/0'::pg_lsn)::bigint::text"), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// airbyteGlobal is a GLOBAL state of Airbyte's connector with one stream, t.
func airbyteGlobal(t *testing.T, key, offset, stream string) []any {
	t.Helper()
	state := map[string]any{"stream_descriptor": map[string]any{"name": "t", "namespace": "public"}}
	if stream != "" {
		state["stream_state"] = json.RawMessage(stream)
	}
	return []any{map[string]any{"type": "GLOBAL", "global": map[string]any{
		"shared_state":  map[string]any{"state": map[string]string{key: offset}},
		"stream_states": []any{state},
	}}}
}

const nameT = `"stream_name":"t","stream_namespace":"public"`

// A state of CDC of Airbyte's connector is gone on with: what is due comes, nothing else, in numbers beyond those that
// it may have given out.
func TestMoveInToCDC(t *testing.T) {
	t.Parallel()
	c := newCapture(t, padded)
	c.catalog = discover(t, c.settings).configure("incremental", "t")
	c.catalog.selectColumns(t, "t", "id", "c", "_ab_cdc_lsn", "_ab_cdc_deleted_at")
	at := c.numberOf("pg_current_wal_lsn()")
	file := c.value("SELECT pg_relation_filenode('t')")
	place := c.value("SELECT ctid FROM t WHERE id = 200")
	c.exec("UPDATE t SET c = 1005 WHERE id = 5; DELETE FROM t WHERE id = 6; INSERT INTO t VALUES (400, 400, '')")
	rest := c.column("SELECT id FROM t WHERE ctid > $1::text::tid", place)
	all := c.column("SELECT id FROM t")
	now := c.numberOf("pg_current_wal_flush_lsn()")

	plain := fmt.Sprintf(`["%s",{"server":"%[1]s"}]`, c.Name)
	first := fmt.Sprintf(`{"transaction_id":null,"lsn":%d,"txId":506,"ts_usec":1686040570341842}`, at)
	later := fmt.Sprintf(`{"transaction_id":null,"lsn_proc":%d,"messageType":"COMMIT","lsn_commit":%[1]d,"lsn":%[1]d,`+
		`"txId":526,"ts_usec":1677531340598453}`, at)
	done := `{` + nameT + `,"cursor_field":["_ab_cdc_lsn"]}`
	half := fmt.Sprintf(`"ctid":"%s","relation_filenode":%s`, place, file)
	changes := []string{"5", "6", "400"}
	var after []json.RawMessage
	for name, test := range map[string]struct {
		state any
		pass  []string // after the changes
	}{
		"finished":            {airbyteGlobal(t, plain, later, done), nil},
		"finished, no cursor": {airbyteGlobal(t, plain, first, `{`+nameT+`,"cursor_field":[]}`), nil},
		"finished, version 3": {
			airbyteGlobal(t, plain, later, `{"version":3,"state_type":"ctid_based",`+nameT+`}`),
			nil,
		},
		"key with a schema":  {airbyteGlobal(t, `{"schema":null,"payload":`+plain+`}`, later, done), nil},
		"key with a stray }": {airbyteGlobal(t, plain+"}", later, done), nil},
		"snapshot by Debezium": {
			airbyteGlobal(t, plain, fmt.Sprintf(`{"last_snapshot_record":true,"lsn":%d,"snapshot":true}`, at), done),
			nil,
		},
		"LEGACY": {
			[]any{map[string]any{"type": "LEGACY", "data": legacyData(plain, later, done)}},
			nil,
		},
		"LEGACY, bare": {legacyData(plain, later, done), nil},
		"half-done": {
			airbyteGlobal(t, plain, first, `{"version":2,"state_type":"ctid","incremental_state":{},`+half+`}`),
			rest,
		},
		"half-done later": {
			airbyteGlobal(t, plain, later, `{"version":2,"state_type":"ctid","incremental_state":{},`+half+`}`),
			rest,
		},
		"half-done, version 3": {
			airbyteGlobal(t, plain, first, `{"version":3,"state_type":"ctid_based",`+half+`}`),
			rest,
		},
		"half-done, log read": {
			airbyteGlobal(t, plain, later, `{"version":3,"state_type":"ctid_based",`+half+`}`),
			all,
		},
		"half-done, rewritten": {
			airbyteGlobal(t, plain, first,
				`{"version":2,"state_type":"ctid","ctid":"(7,1)","relation_filenode":1}`),
			all,
		},
		"{} is not finished":      {airbyteGlobal(t, plain, later, `{}`), all},
		"null is not finished":    {airbyteGlobal(t, plain, later, `null`), all},
		"nothing is not finished": {airbyteGlobal(t, plain, later, ``), all},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, "read", input{config: c.settings, catalog: c.catalog, state: test.state}).ok()
			want := append(slices.Clone(changes), test.pass...)
			got := r.values("t", "id")
			if !slices.Equal(got[:min(3, len(got))], changes) {
				t.Errorf("the first ids are %q, want %q", got[:min(3, len(got))], changes)
			}
			slices.Sort(got)
			slices.Sort(want)
			expectSame(t, "ids", got, want)
			for _, n := range c.numbers(r) {
				if n <= now {
					t.Fatalf("_ab_cdc_lsn %d is not beyond %d, where the log ended", n, now)
				}
			}
			after = r.lastState()
		})
	}
	// From now on the states are ours.
	c.state, c.number = after, 0
	expectList(t, c.changed("t", "UPDATE t SET c = 2 WHERE id = 7"), `+ {"c":2,"id":7}`)
	if n := len(c.sync().records("t")); n != 0 {
		t.Errorf("%d records in the next sync, want none", n)
	}
}

func legacyData(key, offset, stream string) any {
	return map[string]any{
		"cdc": true, "cdc_state": map[string]any{"state": map[string]string{key: offset}},
		"streams": []any{json.RawMessage(stream)},
	}
}

// Airbyte's connector stops at a change, not at the end of its transaction: what it has sent of it does not come again,
// and nothing of the rest is left out.
func TestMoveInWithinATransaction(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY, c int)`)
	c.catalog = discover(t, c.settings).configure("incremental", "t")
	peek := strings.ToLower(c.slot2())
	end := c.numberOf("pg_current_wal_lsn()")
	c.exec("INSERT INTO t SELECT g, g FROM generate_series(1, 5) AS g")
	copyIn(t, c.database, "COPY t FROM STDIN", "6\t6\n7\t7\n8\t8\n")
	c.exec("UPDATE t SET id = 101 WHERE id = 1")
	c.exec("INSERT INTO t VALUES (9, 9), (10, 10)")
	places := c.column(`SELECT ((lsn - '0/0')::bigint)::text || ' ' || xid
		FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1',
			'publication_names', 'pub') WHERE get_byte(data, 0) IN (67, 73, 85)`, peek)
	// 67 is C, a commit. Each transaction has its changes and then that.
	var commit string
	key := fmt.Sprintf(`["%s",{"server":"%[1]s"}]`, c.Name)
	all := []string{"1", "2", "3", "4", "5", "6", "7", "8", "1", "101", "9", "10"}
	for _, test := range []struct {
		change int // in places
		sent   int // of all
	}{{0, 1}, {1, 2}, {4, 5}, {6, 5}, {8, 5}, {10, 8}, {12, 11}, {13, 12}} {
		place, xid, _ := strings.Cut(places[test.change], " ")
		commit = ""
		for _, earlier := range places[:test.change] {
			if at, _, _ := strings.Cut(earlier, " "); slices.Contains([]int{5, 9, 11}, slices.Index(places, earlier)) {
				commit = fmt.Sprintf(`"lsn_commit":%s,`, at)
			}
		}
		offset := fmt.Sprintf(`{"lsn_proc":%s,"messageType":"INSERT",%s"lsn":%[1]s,"txId":%[3]s,"ts_usec":1}`,
			place, commit, xid)
		state := airbyteGlobal(t, key, offset, `{`+nameT+`,"cursor_field":[]}`)
		r := run(t, "read", input{config: c.settings, catalog: c.catalog, state: state}).ok()
		if got := r.values("t", "id"); !slices.Equal(got, all[test.sent:]) {
			t.Errorf("after change %d, %s: ids %q, want %q; the log begins at %d", test.change, offset, got,
				all[test.sent:], end)
		}
	}
}

// slot2 makes another slot, to look into the log with.
func (c *capture) slot2() string {
	c.t.Helper()
	name := "peek_" + c.value("SELECT oid FROM pg_database WHERE datname = current_database()")
	c.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
	return name
}

// withoutShared takes the position out of a GLOBAL state.
func withoutShared(state []any) []any {
	delete(state[0].(map[string]any)["global"].(map[string]any), "shared_state")
	return state
}

// States of Airbyte's connector that cannot be gone on with are refused, and nothing is read.
func TestMoveInRefused(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	c.catalog = discover(t, c.settings).configure("incremental", "t")
	key := fmt.Sprintf(`["%s",{"server":"%[1]s"}]`, c.Name)
	done := `{` + nameT + `,"cursor_field":[]}`
	for name, test := range map[string]struct {
		state any
		says  string
	}{
		"another database": {airbyteGlobal(t, `["x",{"server":"x"}]`, `{"lsn":5}`, done), "of database x"},
		"before the slot":  {airbyteGlobal(t, key, `{"lsn":5}`, done), "moved on"},
		"beyond the log": {
			airbyteGlobal(t, key, `{"lsn":9223372036854775807}`, done),
			"ahead of the server's log",
		},
		"snapshot not over": {
			airbyteGlobal(t, key, `{"lsn":5,"snapshot":true,"last_snapshot_record":false}`, done),
			"middle of",
		},
		"a cursor": {
			airbyteGlobal(t, key, `{"lsn":5}`, `{`+nameT+`,"cursor_field":["id"],"cursor":"5"}`),
			"cursor",
		},
		"finished, no position": {
			withoutShared(airbyteGlobal(t, key, "{}", done)),
			"no shared_state",
		},
		"STREAM": {
			streamStates(t, map[string]any{"t": map[string]any{}}),
			"another replication method",
		},
	} {
		r := run(t, "read", input{config: c.settings, catalog: c.catalog, state: test.state})
		if e := r.failed("config_error"); !strings.Contains(e.Message, test.says) {
			t.Errorf("%s: error %q does not say %q", name, e.Message, test.says)
		}
		if n := len(r.records("t")); n > 0 {
			t.Errorf("%s: %d records, want none", name, n)
		}
	}
}
