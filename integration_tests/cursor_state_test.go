package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// streamStates are states of streams of schema public, as a platform hands them over.
func streamStates(t *testing.T, states map[string]any) []json.RawMessage {
	t.Helper()
	var all []json.RawMessage
	for name, inner := range states {
		all = append(all, text(t, map[string]any{"type": "STREAM", "stream": map[string]any{
			"stream_descriptor": map[string]any{"name": name, "namespace": "public"}, "stream_state": inner,
		}}))
	}
	return all
}

// twoStreams makes tables a and t of 100 rows, reads both by cursor c, and adds a row to each.
func twoStreams(t *testing.T) (*database, *input) {
	t.Helper()
	db := newDB(t)
	for _, table := range []string{"a", "t"} {
		db.exec("CREATE TABLE " + table + " (id int PRIMARY KEY, c int, d timestamptz)")
		db.exec(
			"INSERT INTO " + table + ` SELECT g, g * 10, timestamptz '2024-01-01Z' - g * interval '1 s'
			FROM generate_series(1, 100) AS g`,
		)
	}
	in := db.byCursor("c", "a", "t").standard(map[string]any{"cursor_lookback_rows": 0})
	in.sync(t)
	db.exec("INSERT INTO a VALUES (101, 1010); INSERT INTO t VALUES (101, 1010)")
	return db, in
}

// Where the state cannot be gone on with but nothing is wrong, the stream starts over and says so; others go on.
func TestCursorStreamStartsOver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(db *database, in *input)
		log    []string
		want   string
		bound  string
	}{
		"cursor field changed": {
			change: func(db *database, in *input) { in.catalog.(*configuredCatalog).cursor(db.t, "t", "d") },
			log:    []string{"starts over", `"c"`, `"d"`}, want: "1-101", bound: "2023-12-31T23:59:59.000000Z",
		},
		"null": {
			change: func(db *database, in *input) {
				states := in.state.([]json.RawMessage)
				for i, s := range states {
					if strings.Contains(string(s), `"name":"t"`) {
						states[i] = streamStates(db.t, map[string]any{"t": nil})[0]
					}
				}
			},
			want: "1-101", bound: "1010",
		},
		"empty": {
			change: func(db *database, in *input) {
				states := in.state.([]json.RawMessage)
				for i, s := range states {
					if strings.Contains(string(s), `"name":"t"`) {
						states[i] = streamStates(db.t, map[string]any{"t": map[string]any{}})[0]
					}
				}
			},
			want: "1-101", bound: "1010",
		},
		"missing": {
			change: func(db *database, in *input) {
				for _, s := range in.state.([]json.RawMessage) {
					if strings.Contains(string(s), `"name":"a"`) {
						in.state = []json.RawMessage{s}
					}
				}
			},
			want: "1-101", bound: "1010",
		},
		"recreated": {
			change: func(db *database, _ *input) {
				db.exec("DROP TABLE t; CREATE TABLE t (id int, c int, d timestamptz); INSERT INTO t VALUES (1, 5), (2, 6)")
			},
			log: []string{"starts over", "public.t", "dropped"}, want: "1 2", bound: "6",
		},
		"another table of that name": {
			change: func(db *database, _ *input) {
				db.exec("ALTER TABLE t RENAME TO old; CREATE TABLE t AS SELECT id + 1000 AS id, c, d FROM old WHERE id < 5")
			},
			log: []string{"starts over", "public.t"}, want: "1001-1004", bound: "40",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, in := twoStreams(t)
			test.change(db, in)
			r := in.sync(t)
			r.expectIDs("t", test.want)
			r.expectBound("t", test.bound)
			r.expectBound("a", "1010")
			if n := len(r.records("a")); n > 2 { // the last of the first sync may come again
				t.Errorf("%d records of the other stream", n)
			}
			if logs := append(r.logs("INFO"), r.logs("WARN")...); test.log != nil && !has(logs, test.log...) {
				t.Errorf("no log says %q: %q", test.log, logs)
			}
			if name == "recreated" && !has(r.logs("WARN"), test.log...) {
				t.Errorf("no warning says %q: %q", test.log, r.logs("WARN"))
			}
		})
	}
}

// What does not touch the rows does not touch the state: a column added or dropped, a rewrite, a rename of the cursor's
// table and back, another sync mode in between.
func TestCursorGoesOn(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"column added": "ALTER TABLE t ADD COLUMN e int DEFAULT 5", "column dropped": "ALTER TABLE t DROP COLUMN d",
		"VACUUM FULL": "VACUUM FULL t", "CLUSTER": "CLUSTER t USING t_pkey",
		"truncated":     "TRUNCATE t; INSERT INTO t VALUES (101, 1010)",
		"renamed twice": "ALTER TABLE t RENAME TO x; ALTER TABLE x RENAME TO t",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, in := twoStreams(t)
			db.exec(sql)
			r := in.sync(t)
			for _, id := range r.values("t", "id") {
				if id != "101" && id != "100" { // the last may come again
					t.Errorf("row %s comes", id)
				}
			}
			r.expectBound("t", "1010")
			if !slices.Contains(r.values("t", "id"), "101") {
				t.Error("the new row is missing")
			}
		})
	}
}

// What nobody can go on with is an error of that stream, which says what to do. Nothing of it is read, and others go
// on.
func TestCursorStateRefused(t *testing.T) {
	t.Parallel()
	set := func(keys map[string]any) func(db *database, in *input) {
		return func(db *database, in *input) { in.state = withKeys(db.t, in.state, "t", keys) }
	}
	alter := func(what string) func(db *database, in *input) {
		return func(db *database, _ *input) { db.exec("ALTER TABLE t " + what) }
	}
	for name, test := range map[string]struct {
		change func(db *database, in *input)
		says   []string
	}{
		"cursor dropped":       {alter("DROP COLUMN c"), []string{`"c"`, "id, d"}},
		"cursor renamed":       {alter("RENAME c TO e"), []string{`"c"`, "id, e, d"}},
		"cursor without order": {alter("ALTER c TYPE json USING '1'"), []string{`"c"`, "id, d"}},
		"cursor retyped": {func(db *database, in *input) {
			in.catalog.(*configuredCatalog).cursor(db.t, "t", "d")
			in.state = in.sync(db.t).lastState()
			db.exec("ALTER TABLE t DROP d; ALTER TABLE t ADD d int; INSERT INTO t VALUES (102, 1, 1)")
		}, []string{"2023-12-31T23:59:59.000000Z", "Reset"}},
		"cursor of another order": {alter("ALTER c TYPE text"), []string{`"1000"`, "int4", "text", "Reset"}},
		"another cluster": {
			set(map[string]any{"system_identifier": "123"}), []string{"123", "another database cluster"},
		},
		"ahead of the server": {
			set(map[string]any{"snapshot": "4000000000000:4000000000000:"}), []string{"4000000000000", "Reset"},
		},
		"of Xmin": {func(db *database, in *input) {
			others := slices.DeleteFunc(in.state.([]json.RawMessage), func(text json.RawMessage) bool {
				return strings.Contains(string(text), `"name":"t"`)
			})
			in.state = append(streamStates(db.t, map[string]any{"t": map[string]any{
				"version": 2, "state_type": "xmin",
				"num_wraparound": 0, "xmin_xid_value": 100, "xmin_raw_value": 100,
			}}), others...)
		}, []string{"Xmin"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, in := twoStreams(t)
			test.change(db, in)
			r := run(t, "read", *in)
			r.failedIn("config_error", "public.t", append(test.says, "public.t")...)
			r.expectIDs("t", "")
			if name != "cursor retyped" {
				r.expectBound("a", "1010")
			}
		})
	}
}

// A state that makes no sense is an error before anything is read.
func TestCursorStateMalformed(t *testing.T) {
	t.Parallel()
	_, in := twoStreams(t)
	for _, keys := range []map[string]any{
		{"state_type": "cursors"},
		{"cursor_field": []string{}},
		{"cursor_field": []string{"a", "b"}},
		{"cursor": 5},
		{"cursor_record_count": -1},
		{"cursor_record_count": "many"},
		{"cursor_field": "c"},
		{"snapshot": 7},
		{"snapshot": "7"},
		{"snapshot": "a:b:c"},
	} {
		malformed := *in
		malformed.state = withKeys(t, in.state, "t", keys)
		r := run(t, "read", malformed)
		e := r.traceError()
		if r.exit != 1 || e == nil || e.FailureType != "config_error" {
			t.Errorf("%v: exit code %d; %s", keys, r.exit, r.traceText())
			continue
		}
		if !strings.Contains(e.Message, "public.t") || !strings.Contains(e.Message, "cannot be read") ||
			!strings.Contains(e.Message, "reset") {
			t.Errorf("%v: message %q", keys, e.Message)
		}
		if n := len(r.records("t")) + len(r.records("a")); n > 0 {
			t.Errorf("%v: %d records", keys, n)
		}
	}
	r := run(t, "read", input{config: in.config, catalog: in.catalog, state: []any{map[string]any{
		"type":   "GLOBAL",
		"global": map[string]any{"shared_state": map[string]any{}, "stream_states": []any{}},
	}}})
	if e := r.failed("config_error"); !strings.Contains(e.Message, "replication method") {
		t.Errorf("a GLOBAL state: message %q", e.Message)
	}
}

// A value that the server cannot compare with is the state's fault, not the server's.
func TestCursorStateOfAnotherType(t *testing.T) {
	t.Parallel()
	_, in := twoStreams(t)
	for _, value := range []string{"abc", "", "2147483648", "1.5", "2024-01-01"} {
		odd := *in
		odd.state = withKeys(t, in.state, "t", map[string]any{"cursor": value})
		r := run(t, "read", odd)
		r.failedIn("config_error", "public.t", "reset")
		r.expectIDs("t", "")
		r.expectBound("a", "1010")
	}
}

// A state is text, which a cursor in a SQL_ASCII database need not be: it must not be taken for what is shown of it.
func TestCursorThatIsNoText(t *testing.T) {
	t.Parallel()
	db := newDB(t, "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	db.exec(`CREATE TABLE t (id int PRIMARY KEY, c text); CREATE INDEX ON t (c); INSERT INTO t VALUES (1, 'b'), (2, 'é');
		CREATE VIEW v AS TABLE t`)
	in := db.byCursor("c", "t", "v")
	in.sync(t).expectBound("t", "é")
	db.exec(`INSERT INTO t VALUES (3, E'\351')`)
	for _, state := range []any{in.state, nil} {
		next := *in
		next.state = state
		e := run(t, "read", next).failed("config_error")
		for _, part := range []string{`"c"`, `\xe9`, "SQL_ASCII", "Choose another"} {
			if !strings.Contains(e.Message, part) {
				t.Errorf("message %q does not say %s", e.Message, part)
			}
		}
	}
}

// A state whose descriptor lacks the namespace is found by what else it says, or by its name.
func TestCursorStateWithoutNamespace(t *testing.T) {
	t.Parallel()
	_, in := twoStreams(t)
	for _, inner := range []any{"public", nil} {
		bare := withKeys(t, withKeys(t, in.state, "t", map[string]any{"stream_namespace": inner}), "a",
			map[string]any{"stream_namespace": inner})
		for i, s := range bare {
			var loose map[string]any
			if err := json.Unmarshal(s, &loose); err != nil {
				t.Fatal(err)
			}
			delete(at(loose, "stream", "stream_descriptor").(map[string]any), "namespace")
			bare[i] = text(t, loose)
		}
		r := run(t, "read", input{config: in.config, catalog: in.catalog, state: bare}).ok()
		for _, stream := range []string{"a", "t"} {
			if n := len(r.records(stream)); n == 0 || n > 2 {
				t.Errorf("%d records of %s, want the new one", n, stream)
			}
			r.expectBound(stream, "1010")
		}
	}
}

// Airbyte's connector stopped in the middle of a first pass: what it had read is not read again, but for rows above the
// bound that it had fixed, and all that is missing is.
func TestAirbyteFirstPass(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.exec("CREATE TABLE t (id int, c int, pad text); ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN")
			insert := "INSERT INTO t SELECT g, g, repeat('x', 5000) FROM generate_series(%d, %d) AS g"
			db.exec(fmt.Sprintf(insert, 1, 3000))
			in := db.byCursor("c", "t")
			in.config.(map[string]any)["max_db_connections"] = connections
			in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "c")
			place := db.value("SELECT ctid FROM t WHERE id = 2001")
			then := map[string]any{
				"version": 2, "state_type": "cursor_based", "stream_name": "t", "stream_namespace": "public",
				"cursor_field": []string{"c"}, "cursor": "3000", "cursor_record_count": 1,
			}
			in.state = streamStates(t, map[string]any{"t": map[string]any{
				"version": 2, "state_type": "ctid", "ctid": place,
				"incremental_state": then, "relation_filenode": json.Number(db.value("SELECT pg_relation_filenode('t')")),
			}})
			// A row that had been read is changed; one that had not is moved, by a change, into free space of what had been.
			db.exec("DELETE FROM t WHERE id BETWEEN 101 AND 200")
			db.exec("VACUUM t")
			db.exec("UPDATE t SET c = 3001 WHERE id IN (5, 2500)")
			db.exec(fmt.Sprintf(insert, 3002, 3010))
			r := in.sync(t)
			r.expectBound("t", "3010")
			r.expectIDs("t", "5 2002-3000 3002-3010")
			db.exec("INSERT INTO t VALUES (4000, 4000)")
			if got := in.sync(t).values("t", "id"); !slices.Contains(got, "4000") {
				t.Errorf("ids %q, want the new row", got)
			}
			// The table was rewritten: its blocks are others.
			in.state = streamStates(t, map[string]any{"t": map[string]any{
				"version": 2, "state_type": "ctid", "ctid": place,
				"incremental_state": then, "relation_filenode": 1,
			}})
			r = in.sync(t)
			r.expectRows("t", db.rows("(SELECT id, c FROM t)"))
			if logs := append(r.logs("INFO"), r.logs("WARN")...); !has(logs, "starts over", "public.t") {
				t.Errorf("no log says that the stream starts over: %q", logs)
			}
		})
	}
}
