package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

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
	db.settle()
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
