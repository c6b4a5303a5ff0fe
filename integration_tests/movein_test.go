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

// States of Standard of Airbyte's connector, of every version.
func TestMoveInToStandard(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(padded)
	in := db.byCursor("c", "t")
	in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "c")
	place := db.value("SELECT ctid FROM t WHERE id = 200")
	half := fmt.Sprintf(`"ctid":"%s","relation_filenode":%s`, place, db.value("SELECT pg_relation_filenode('t')"))
	db.exec("UPDATE t SET c = 301 WHERE id = 5; INSERT INTO t VALUES (400, 302, '')")
	old := `{"version":2,"state_type":"cursor_based",` + nameT + `,"cursor_field":["c"],"cursor":"300",` +
		`"cursor_record_count":%d}`
	one := fmt.Sprintf(old, 1)
	legacy := `{"cdc":false,"streams":[{` + nameT + `,"cursor_field":["c"],"cursor":"300","cursor_record_count":1}]}`
	for name, test := range map[string]struct{ state, ids string }{
		"version 2":                  {one, "5 400"},
		"version 2, count not known": {fmt.Sprintf(old, 0), "5 300 400"},
		"no version": {
			`{` + nameT + `,"cursor_field":["c"],"cursor":"300","cursor_record_count":1}`,
			"5 400",
		},
		"version 3": {
			`{"version":3,"state_type":"cursor_based",` + nameT + `,"cursors":{"c":300}}`,
			"5 300 400",
		},
		"version 2, half-done": {
			`{"version":2,"state_type":"ctid",` + half + `,"incremental_state":` + one + `}`,
			"5 201-300 400",
		},
		"version 3, half-done": {
			`{"version":3,"state_type":"ctid_based",` + half + `,"cursors":{"c":300}}`,
			"5 201-300 400",
		},
		"half-done, it was empty": {
			`{"version":2,"state_type":"ctid",` +
				half + `,"incremental_state":{"state_type":"cursor_based","cursor_field":["c"]}}`,
			"1-300 400",
		},
		"half-done, nothing else known": {
			`{"version":2,"state_type":"ctid",` + half + `,"incremental_state":{}}`,
			"1-300 400",
		},
		"finished full refresh": {`{"version":3,"state_type":"ctid_based",` + nameT + `}`, "1-300 400"},
		"LEGACY":                {legacy, "5 400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := *in
			in.state = streamStates(t, map[string]any{"t": json.RawMessage(test.state)})
			if name == "LEGACY" {
				in.state = test.state
			}
			r := in.sync(t)
			r.expectIDs("t", test.ids)
			r.expectBound("t", "302")
			if n := len(in.sync(t).records("t")); n != 0 {
				t.Errorf("%d records in the next sync, want none", n)
			}
		})
	}
}

// The bound under which rows that moved are found outlives an attempt that goes on with a pass and is interrupted too.
func TestMoveInInterrupted(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(strings.NewReplacer("2500", "7000", "300", "3000").Replace(padded)) // of several ranges
	in := db.byCursor("c", "t")
	in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "c")
	place := db.value("SELECT ctid FROM t WHERE id = 200")
	db.exec("UPDATE t SET c = 3001 WHERE id = 5")
	in.state = streamStates(t, map[string]any{"t": json.RawMessage(fmt.Sprintf(
		`{"version":2,"state_type":"ctid","ctid":"%s","relation_filenode":%s,"incremental_state":{"version":2,`+
			`"state_type":"cursor_based",%s,"cursor_field":["c"],"cursor":"3000","cursor_record_count":1}}`,
		place, db.value("SELECT pg_relation_filenode('t')"), nameT))})
	states := run(t, "read", *in).ok().states()
	if len(states) < 3 {
		t.Fatalf("%d states, want several", len(states))
	}
	for _, s := range states[:len(states)-1] {
		if !strings.Contains(string(s.text), `"moved_since"`) {
			t.Fatalf("a state in the middle of the pass does not keep the bound: %s", s.text)
		}
	}
	var half map[string]any
	if err := json.Unmarshal(states[0].Stream.State, &half); err != nil {
		t.Fatal(err)
	}
	// As if the attempt had been stopped before it came to anything: with its snapshot, and without a range.
	half["ctid"] = place
	delete(half, "ranges")
	in.state = streamStates(t, map[string]any{"t": half})
	in.sync(t).expectIDs("t", "5 201-3000")
}

// States of Xmin of Airbyte's connector.
func TestMoveInToXmin(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(padded)
	x := db.byXmin("t")
	x.in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "c")
	db.settled()
	bound := db.value("SELECT txid_snapshot_xmin(txid_current_snapshot())")
	place := db.value("SELECT ctid FROM t WHERE id = 200")
	half := fmt.Sprintf(`"ctid":"%s","relation_filenode":%s`, place, db.value("SELECT pg_relation_filenode('t')"))
	db.exec("UPDATE t SET c = 7 WHERE id = 5; INSERT INTO t VALUES (400, 302, '')")
	old := fmt.Sprintf(`{"version":2,"state_type":"xmin","num_wraparound":0,"xmin_xid_value":%s,`+
		`"xmin_raw_value":%[1]s}`, bound)
	for name, test := range map[string]struct{ state, ids string }{
		"version 2": {old, "5 400"},
		"version 3": {
			`{"version":3,"state_type":"xmin_based",` + nameT + `,"xmin":` + bound + `}`,
			"5 400",
		},
		"version 2, half-done": {
			`{"version":2,"state_type":"ctid",` + half + `,"incremental_state":` + old + `}`,
			"5 201-300 400",
		},
		"version 3, half-done": {
			`{"version":3,"state_type":"ctid_based",` + half + `,"xmin":` + bound + `}`,
			"5 201-300 400",
		},
		"half-done, nothing else known": {
			`{"version":2,"state_type":"ctid",` + half + `,"incremental_state":{}}`,
			"1-300 400",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := x.in
			in.state = streamStates(t, map[string]any{"t": json.RawMessage(test.state)})
			run(t, "read", in).ok().expectIDs("t", test.ids)
		})
	}
}

// Settings and catalogs that were saved for Airbyte's connector, with every key that it has retired since.
func TestMoveInSettings(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY, c int); INSERT INTO t VALUES (1, 1), (2, 2)`)
	method := c.settings["replication_method"].(map[string]any)
	for key, value := range map[string]any{
		"plugin": "pgoutput", "queue_size": 10000, "initial_waiting_seconds": 1200,
		"lsn_commit_behaviour": "After loading Data in the destination", "heartbeat_action_query": "",
		"invalid_cdc_cursor_position_behavior": "Fail sync", "initial_load_timeout_hours": 8,
		"debezium_shutdown_timeout_seconds": 60,
	} {
		method[key] = value
	}
	for key, value := range map[string]any{
		"ssl_mode": map[string]any{"mode": "prefer"}, "jdbc_url_params": "connectTimeout=20&prepareThreshold=0",
		"tunnel_method": map[string]any{"tunnel_method": "NO_TUNNEL"}, "entra_service_principal_auth": false,
		"check_privileges": true, "checkpoint_target_interval_seconds": 300, "is_test": false, "debug_mode": false,
		"sync_checkpoint_records": 10000, "sync_checkpoint_seconds": 900, "connection_properties": "",
	} {
		c.settings[key] = value
	}
	r := run(t, "check", input{config: c.settings}).ok()
	if s := r.status(); s.Status != "SUCCEEDED" {
		t.Errorf("check: %+v", s)
	}
	const legacy = `"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,` +
		`"default_cursor_field":["_ab_cdc_lsn"],"source_defined_primary_key":[["id"]],"is_resumable":true`
	for name, properties := range map[string]string{
		"3.7": `"id":{"type":"number","airbyte_type":"integer"},"c":{"type":"number","airbyte_type":"integer"},` +
			`"_ab_cdc_lsn":{"type":"number"},"_ab_cdc_updated_at":{"type":"string"},"_ab_cdc_deleted_at":{"type":"string"}`,
		"3.8": `"id":{"type":"number","airbyte_type":"integer"},"c":{"type":"number","airbyte_type":"integer"},` +
			`"_ab_cdc_lsn":{"type":"number","airbyte_type":"integer"},"_ab_cdc_updated_at":{"type":"string",` +
			`"format":"date-time","airbyte_type":"timestamp_with_timezone"},"_ab_cdc_deleted_at":{"type":"string",` +
			`"format":"date-time","airbyte_type":"timestamp_with_timezone"}`,
		"3.8 without meta columns": `"id":{"type":"number","airbyte_type":"integer"},"c":{"type":"number"}`,
	} {
		catalog := `{"streams":[{"stream":{"name":"t","namespace":"public","json_schema":{"type":"object","properties":{` +
			properties + `}},` + legacy + `},"sync_mode":"incremental","cursor_field":["_ab_cdc_lsn"],` +
			`"primary_key":[["id"]],"destination_sync_mode":"append_dedup","generation_id":0,"minimum_generation_id":0,` +
			`"sync_id":1}]}`
		if n := len(run(t, "read", input{config: c.settings, catalog: catalog}).ok().records("t")); n != 2 {
			t.Errorf("catalog of %s: %d records, want 2", name, n)
		}
	}
}
