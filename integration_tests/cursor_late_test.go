package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lateTables are tables t with a cursor that is given out when a row is written, not when it is committed.
var lateTables = map[string]string{
	"clock":    "CREATE TABLE t (id int PRIMARY KEY, c timestamptz DEFAULT now())",
	"sequence": "CREATE TABLE t (id int PRIMARY KEY, c bigserial)",
	"identity": "CREATE TABLE t (id int PRIMARY KEY, c bigint GENERATED ALWAYS AS IDENTITY)",
}

// What a transaction wrote that had begun before a sync and committed after it comes with the next, its savepoints'
// rows too; what it rolled back does not. Rows that were written after it began may come again, as long as it is open.
func testLateCommits(t *testing.T, db *database) {
	for kind, table := range lateTables {
		t.Run(kind, func(t *testing.T) {
			bothWays(t, &database{Database: db.Database, t: t}, func(db *database, index string) {
				lateCommit(db, table+";"+index, "COMMIT")
				db.exec("DROP TABLE t")
				lateCommit(db, table+";"+index, "ROLLBACK")
			})
		})
	}
}

func lateCommit(db *database, table, end string) {
	t := db.t
	t.Helper()
	db.exec(table)
	db.exec("INSERT INTO t SELECT generate_series(1, 10)")
	writer := db.connect()
	do(t, writer, "BEGIN; INSERT INTO t VALUES (11); UPDATE t SET id = 100 WHERE id = 1")
	do(t, writer, "SAVEPOINT s; INSERT INTO t VALUES (12); SAVEPOINT s2; INSERT INTO t VALUES (13); RELEASE s2; RELEASE s")
	do(t, writer, "SAVEPOINT s; INSERT INTO t VALUES (14); ROLLBACK TO s")
	db.exec("INSERT INTO t VALUES (15)")
	in := db.byCursor("c", "t")
	first := in.sync(t)
	first.expectIDs("t", "1-10 15")
	in.sync(t).expectIDs("t", "15")
	db.exec("INSERT INTO t VALUES (16)")
	do(t, writer, "SAVEPOINT s; INSERT INTO t VALUES (17)")
	in.sync(t).expectIDs("t", "15-16")
	do(t, writer, end)
	r := in.sync(t)
	if end == "COMMIT" {
		r.expectIDs("t", "11-13 15-17 100")
	} else {
		r.expectIDs("t", "15-16")
	}
	in.sync(t).expectIDs("t", "")
}

// A prepared transaction is open until somebody ends it, over any number of sessions.
func testPreparedTransaction(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec(lateTables["sequence"] + ";" + index)
		writer := db.connect()
		do(t, writer, "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2); RELEASE s")
		do(t, writer, "PREPARE TRANSACTION 'late'")
		db.exec("INSERT INTO t VALUES (3)")
		in := db.byCursor("c", "t")
		in.sync(t).expectIDs("t", "3")
		db.exec("INSERT INTO t VALUES (4)")
		in.sync(t).expectIDs("t", "3-4")
		db.exec("COMMIT PREPARED 'late'")
		in.sync(t).expectIDs("t", "1-4")
		in.sync(t).expectIDs("t", "")
	})
}

// However far the cursor has moved on while a transaction was open that had written to the table, its rows are found,
// the lookback being short; and when it is over, no more comes twice. One that has written to another table does not
// widen the window.
func testLateFarBehind(t *testing.T, db *database) {
	db.useIndexes()
	for typ, value := range map[string]string{
		"bigint": "g", "text": "to_char(g, 'FM0000')", "timestamptz": "timestamptz '2024-01-01Z' + g * interval '1 h'",
	} {
		t.Run(typ, func(t *testing.T) {
			db := &database{Database: db.Database, t: t}
			insert := func(from, to int) string {
				return fmt.Sprintf("INSERT INTO t SELECT g, %s FROM generate_series(%d, %d) AS g;", value, from, to)
			}
			db.exec("DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, c " + typ + ")")
			again := "795-800"
			if typ == "text" {
				again = "800"
			} else {
				db.exec("CREATE INDEX ON t (c)")
			}
			first, second := db.connect(), db.connect()
			do(t, first, "BEGIN;"+insert(1, 1)+"SAVEPOINT s;"+insert(2, 2))
			db.exec(insert(101, 200))
			in := db.byCursor("c", "t").standard(map[string]any{"cursor_lookback_rows": 5, "cursor_lookback_seconds": 18000})
			in.sync(t).expectIDs("t", "101-200")
			do(t, first, "COMMIT")
			do(t, second, "BEGIN;"+insert(201, 201)+"SAVEPOINT s;"+insert(202, 202)+"RELEASE s")
			db.exec(insert(301, 400))
			in.sync(t).expectIDs("t", "1-2 101-200 301-400")
			do(t, second, insert(401, 401))
			db.exec(insert(501, 600))
			in.sync(t).expectIDs("t", "301-400 501-600") // the window reaches back to 200, less the lookback
			do(t, second, "COMMIT")
			db.exec(insert(601, 602))
			in.sync(t).expectIDs("t", "201-202 301-401 501-602")
			in.sync(t).expectIDs("t", "")
			do(t, second, "BEGIN; CREATE TABLE other (id int); INSERT INTO other VALUES (1)")
			db.exec(insert(701, 800))
			in.sync(t).expectIDs("t", "701-800")
			in.sync(t).expectIDs("t", again)
			do(t, second, "ROLLBACK")
			in.sync(t).expectIDs("t", again)
			in.sync(t).expectIDs("t", "")
		})
	}
}

// A row that was committed late is found as far behind the bound as the lookback goes, and no farther.
func testLookbackSeconds(t *testing.T, db *database) {
	times := db.eachType("timestamp", "timestamptz")
	dates := db.eachType("date")
	all := slices.Concat(times, dates)
	in := db.byCursor("c", all...)
	for _, table := range all {
		db.exec("INSERT INTO " + quoted(table) + " VALUES (0, '2024-03-01')")
	}
	in.sync(t)
	for _, table := range all { // on dates the times have no effect
		db.exec(
			"INSERT INTO " + quoted(
				table,
			) + ` VALUES (1, '2024-03-01'), (2, '2024-02-29 23:59:59.5'), (3, '2024-02-29 23:59:00'),
			(4, '2024-02-29 23:58:59.999999'), (5, '2024-02-28 00:00:00'), (6, '2024-02-27 23:59:59.999999')`,
		)
	}
	for lookback, found := range map[int][2]string{
		0: {"1", "1"}, 1: {"1-2", "1-4"}, 60: {"1-3", "1-4"}, 61: {"1-4", "1-4"}, 86_400: {"1-4", "1-4"},
		86_401: {"1-4", "1-5"}, 172_800: {"1-5", "1-5"}, 172_801: {"1-6", "1-6"},
	} {
		r := run(t, "read", *in.standard(map[string]any{"cursor_lookback_seconds": lookback})).ok()
		for _, table := range times {
			r.expectIDs(table, found[0])
			r.expectBound(table, "2024-03-01T00:00:00.000000"+map[bool]string{true: "Z"}[strings.Contains(table, "tz")])
		}
		for _, table := range dates {
			r.expectIDs(table, found[1])
			r.expectBound(table, "2024-03-01")
		}
	}
}

func testLookbackRows(t *testing.T, db *database) {
	all := db.eachType("smallint", "int", "bigint", "oid", "numeric", "real", "double precision")
	in := db.byCursor("c", all...)
	for _, table := range all {
		db.exec("INSERT INTO " + quoted(table) + " VALUES (0, 100)")
	}
	in.sync(t)
	for _, table := range all {
		db.exec("INSERT INTO " + quoted(table) + " VALUES (1, 100), (2, 90), (3, 89), (4, 0)")
	}
	for lookback, found := range map[int]string{0: "1", 10: "1-2", 11: "1-3", 100_000: "1-4", 1 << 52: "1-4"} {
		r := run(t, "read", *in.standard(map[string]any{"cursor_lookback_rows": lookback})).ok()
		for _, table := range all {
			r.expectIDs(table, found)
			r.expectBound(table, "100")
		}
	}
}

// What has no distance has no lookback: only rows with the very value of the bound are found late.
func testLookbackText(t *testing.T, db *database) {
	texts, times := db.eachType("text"), db.eachType("time", "timetz")
	all := slices.Concat(texts, times)
	insert := func(value map[string]string) {
		for _, table := range all {
			typ, _, _ := strings.Cut(table, " ")
			db.exec("INSERT INTO " + quoted(table) + " VALUES " + value[typ])
		}
	}
	insert(map[string]string{"text": "(0, 'b')", "time": "(0, '12:00')", "timetz": "(0, '12:00Z')"})
	in := db.byCursor("c", all...)
	in.sync(t)
	insert(map[string]string{
		"text": "(1, 'b'), (2, 'a')", "time": "(1, '12:00'), (2, '11:59:59')",
		"timetz": "(1, '12:00Z'), (2, '11:59:59Z')",
	})
	r := in.sync(t)
	for _, table := range all {
		r.expectIDs(table, "1")
	}
}

// withKeys is a stream's state with keys of another value; nil takes one away.
func withKeys(t *testing.T, states any, stream string, keys map[string]any) []json.RawMessage {
	t.Helper()
	var changed []json.RawMessage
	for _, st := range states.([]json.RawMessage) {
		var fields map[string]any
		if err := json.Unmarshal(st, &fields); err != nil {
			t.Fatal(err)
		}
		if name, _ := at(fields, "stream", "stream_descriptor", "name").(string); name == stream {
			inner, _ := at(fields, "stream", "stream_state").(map[string]any)
			for key, value := range keys {
				if inner[key] = value; value == nil {
					delete(inner, key)
				}
			}
		}
		changed = append(changed, text(t, fields))
	}
	return changed
}

// After a promotion the numbers of transactions tell nothing: all that the lookback reaches is read again, once.
func testPromoted(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c int);" + index)
		db.exec("INSERT INTO t SELECT g, g FROM generate_series(1, 100) AS g")
		in := db.byCursor("c", "t").standard(map[string]any{"cursor_lookback_rows": 10})
		in.sync(t)
		in.state = withKeys(t, in.state, "t", map[string]any{"timeline": 77})
		r := in.sync(t)
		r.expectIDs("t", "90-100")
		if !has(r.logs("WARN"), "promoted", "public.t", "77") {
			t.Errorf("no warning says that the server was promoted: %q", r.logs("WARN"))
		}
		in.sync(t).expectIDs("t", "")
	})
}

// A transaction that is open for longer than the lookback may commit rows that nobody looks for: a warning says so
// while it can still be ended.
func testOldTransaction(t *testing.T, db *database) {
	db.exec(lateTables["clock"])
	in := db.byCursor("c", "t").standard(map[string]any{"cursor_lookback_seconds": 600})
	warned := func(r *result) bool {
		return has(r.logs("WARN"), "cursor_lookback_seconds", "public.t", "transaction=", "held_by=", "since=")
	}
	longAgo := map[string]any{"open_since": 1_700_000_000}
	in.sync(t)
	in.state = withKeys(t, in.state, "t", longAgo)
	db.exec("INSERT INTO t VALUES (1)")
	if r := in.sync(t); warned(r) {
		t.Errorf("no transaction is open, but: %q", r.logs("WARN"))
	}
	writer := db.connect()
	do(t, writer, "BEGIN; INSERT INTO t VALUES (2)")
	for range 2 {
		if r := in.sync(t); warned(r) {
			t.Errorf("the transaction has just begun, but: %q", r.logs("WARN"))
		}
	}
	in.state = withKeys(t, in.state, "t", longAgo)
	for range 2 { // it is remembered
		r := in.sync(t)
		if !warned(r) || !has(r.logs("WARN"), "seconds_open=", "raise the setting") {
			t.Errorf("no warning: %q", r.logs("WARN"))
		}
	}
	other := db.connect()
	do(t, other, "BEGIN; INSERT INTO t VALUES (3)")
	in.sync(t)
	do(t, writer, "COMMIT")
	r := in.sync(t)
	r.expectIDs("t", "2")
	if warned(r) {
		t.Errorf("the old transaction has ended, but: %q", r.logs("WARN"))
	}
	do(t, other, "COMMIT")
	in.standard(map[string]any{"cursor_lookback_seconds": 0})
	in.state = withKeys(t, in.state, "t", longAgo)
	if r := in.sync(t); warned(r) {
		t.Errorf("the lookback is off, but: %q", r.logs("WARN"))
	}
}

// Rows whose cursor is NULL come once, with a warning that counts them.
func testNulls(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c int);" + index)
		db.exec("INSERT INTO t VALUES (1, NULL), (2, 5), (3, NULL), (4, 7)")
		in := db.byCursor("c", "t")
		r := in.sync(t)
		r.expectIDs("t", "1-4")
		r.expectBound("t", "7")
		if !has(r.logs("WARN"), "NULL", "public.t", "cursor=c", "rows=2") {
			t.Errorf("warnings %q do not say that 2 rows have no cursor", r.logs("WARN"))
		}
		db.exec("INSERT INTO t VALUES (5, NULL), (6, 8); UPDATE t SET c = NULL WHERE id = 2")
		r = in.sync(t)
		r.expectIDs("t", "6")
		r.expectBound("t", "8")
		db.exec("UPDATE t SET c = 9 WHERE id = 5")
		in.sync(t).expectIDs("t", "5")
	})
}

func testOnlyNulls(t *testing.T, db *database) {
	all := db.eachType("int", "numeric", "timestamptz", "text")
	for _, table := range all {
		db.exec("INSERT INTO " + quoted(table) + " (id) SELECT generate_series(1, 20)")
	}
	in := db.byCursor("c", all...)
	for _, want := range []string{"1-20", "", ""} {
		r := in.sync(t)
		for _, table := range all {
			r.expectIDs(table, want)
			r.expectBound(table, "none")
			warned := has(r.logs("WARN"), "NULL", "public."+table+" ", "rows=20")
			if warned != (want != "") {
				t.Errorf("%s: warned: %t, want %t", table, warned, want != "")
			}
			db.exec("INSERT INTO " + quoted(table) + " (id) SELECT max(id) + 1 FROM " + quoted(table))
		}
	}
	for _, table := range all {
		value := map[bool]string{true: "2024-01-01", false: "7"}[strings.HasPrefix(table, "timestamptz")]
		db.exec("UPDATE "+quoted(table)+" SET c = $1 WHERE id = 3", value)
	}
	r := in.sync(t)
	for _, table := range all {
		r.expectIDs(table, "3")
	}
}

// Values above which there is nothing never become the bound, or nothing would be new after them; their rows come when
// they have been written, and not again.
func testEndlessValues(t *testing.T, db *database) {
	type values struct{ endless, value, bound, next, last string }
	types := map[string]values{
		"timestamp": {
			"infinity -infinity", "2024-01-01 00:00:00.25", "2024-01-01T00:00:00.250000", "2024-01-01 00:00:01",
			"2024-01-01T00:00:01.000000",
		},
		"timestamptz": {
			"infinity -infinity", "2024-01-01 00:00Z", "2024-01-01T00:00:00.000000Z", "2024-01-01 00:00:00.000001Z",
			"2024-01-01T00:00:00.000001Z",
		},
		"date":             {"infinity -infinity", "2024-01-01", "2024-01-01", "2024-01-02", "2024-01-02"},
		"real":             {"NaN Infinity -Infinity", "1.5", "1.5", "2", "2"},
		"double precision": {"NaN Infinity -Infinity", "1.5", "1.5", "2", "2"},
		"numeric":          {"NaN", "1.50", "1.50", "2", "2"},
		"numeric(5,2)":     {"NaN", "1.50", "1.50", "2", "2.00"},
	}
	if db.Version >= 140000 {
		types["numeric"] = values{"NaN Infinity -Infinity", "1.50", "1.50", "2", "2"}
	}
	all := db.eachType(slices.Sorted(maps.Keys(types))...)
	each := func(do func(table string, v values)) {
		for _, table := range all {
			do(table, types[strings.TrimSuffix(table, " indexed")])
		}
		db.exec("SELECT txid_current()")
	}
	insert := func(table string, id int, value string) {
		db.exec("INSERT INTO "+quoted(table)+" VALUES ($1, $2)", id, value)
	}
	in := db.byCursor("c", all...)
	expect := func(ids, bound func(v values) string) {
		t.Helper()
		for range 2 {
			r := in.sync(t)
			each(func(table string, v values) {
				r.expectIDs(table, ids(v))
				r.expectBound(table, bound(v))
			})
			ids = func(values) string { return "" }
		}
	}
	these := func(s string) func(values) string { return func(values) string { return s } }
	count := func(v values) int { return len(strings.Fields(v.endless)) }

	each(func(table string, v values) {
		for i, value := range strings.Fields(v.endless) {
			insert(table, i, value)
		}
	})
	expect(func(v values) string { return fmt.Sprintf("0-%d", count(v)-1) }, these("none"))
	each(func(table string, v values) { insert(table, 10, v.value) })
	expect(these("10"), func(v values) string { return v.bound })
	each(func(table string, v values) { insert(table, 11, strings.Fields(v.endless)[0]) })
	expect(these("11"), func(v values) string { return v.bound })
	each(func(table string, v values) {
		insert(table, 12, v.next)
		db.exec("UPDATE " + quoted(table) + " SET id = 13 WHERE id = 0")
	})
	expect(these("12-13"), func(v values) string { return v.last })
}
