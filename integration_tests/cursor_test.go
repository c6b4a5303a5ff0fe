package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// From the last state on comes what is new. Which rows come a second time depends on what else is going on: a
// transaction that is open anywhere on the server, an autovacuum too, makes rows due again. So these tests have a
// server to themselves, one after the other, and say exactly what comes.
func TestByCursor(t *testing.T) {
	t.Parallel()
	quiet := quietServer(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *database)
	}{
		{"nothing new", testNothingNew},
		{"ties", testTies},
		{"late commits", testLateCommits},
		{"prepared transaction", testPreparedTransaction},
		{"late far behind", testLateFarBehind},
		{"promoted", testPromoted},
		{"lookback in seconds", testLookbackSeconds},
		{"lookback in rows", testLookbackRows},
		{"lookback of a text", testLookbackText},
		{"old transaction", testOldTransaction},
		{"NULLs", testNulls},
		{"only NULLs", testOnlyNulls},
		{"values without end", testEndlessValues},
		{"rows deleted", testRowsDeleted},
		{"empty table", testEmptyTable},
		{"no cursor field", testNoCursorField},
		{"index", testCursorIndex},
		{"partitions", testCursorPartitions},
		{"view", testCursorView},
		{"view of equal values", testCursorViewTies},
		{"materialized view", testCursorMatview},
		{"names", testCursorNames},
		{"types", testCursorTypes},
		{"collations", testCursorCollations},
		{"equal but not the same", testEqualCursors},
		{"delta", testDelta},
		{"delta of one value", testDeltaOfOneValue},
		{"delta without an index", testDeltaWithoutIndex},
		{"delta whose index comes late", testDeltaIndexComes},
		{"delta with endless values", testDeltaEndless},
		{"delta of a view", testDeltaOfView},
		{"Airbyte's cursor", testAirbyteCursor},
		{"rewritten before its turn", testRewrittenBeforeTurn},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newDBOn(t, quiet)) })
	}
}

// byCursor is a read of streams by the cursor field.
func (d *database) byCursor(field string, streams ...string) *input {
	d.t.Helper()
	config := d.config(nil)
	catalog := discover(d.t, config).configure("incremental", streams...)
	for _, name := range streams {
		catalog.cursor(d.t, name, field)
	}
	return &input{config: config, catalog: catalog}
}

// standard sets settings of the method, and gives the input back.
func (in *input) standard(settings map[string]any) *input {
	method := map[string]any{"method": "Standard"}
	maps.Copy(method, settings)
	config := maps.Clone(in.config.(map[string]any))
	config["replication_method"] = method
	in.config = config
	return in
}

// sync reads to the end; the next one goes on from its states.
func (in *input) sync(t *testing.T) *result {
	t.Helper()
	r := run(t, "read", *in).ok()
	in.state = r.lastState()
	return r
}

// ids writes a list like "1-3 7" out, in the order of texts.
func ids(t *testing.T, list string) []string {
	t.Helper()
	all := []string{}
	for _, span := range strings.Fields(list) {
		from, to, ok := strings.Cut(span, "-")
		if !ok {
			to = from
		}
		first, err := strconv.Atoi(from)
		if err != nil {
			t.Fatal(err)
		}
		last, err := strconv.Atoi(to)
		if err != nil {
			t.Fatal(err)
		}
		for i := first; i <= last; i++ {
			all = append(all, strconv.Itoa(i))
		}
	}
	slices.Sort(all)
	return all
}

// expectIDs compares the field id of a stream's records with a list like "1-3 7", each as often as it is there.
func (r *result) expectIDs(stream, list string) {
	r.t.Helper()
	got := r.values(stream, "id")
	slices.Sort(got)
	expectSame(r.t, "ids of "+stream, got, ids(r.t, list))
}

// A cursorState is what a stream's state says, as far as the tests look at it.
type cursorState struct {
	Type    string   `json:"state_type"`
	Version int      `json:"version"`
	Name    string   `json:"stream_name"`
	Schema  string   `json:"stream_namespace"`
	Field   []string `json:"cursor_field"`
	Cursor  *string  `json:"cursor"`
	Count   int      `json:"cursor_record_count"`
	Partial bool     `json:"partial"`
}

func (s *state) cursor(t *testing.T) cursorState {
	t.Helper()
	var c cursorState
	if err := json.Unmarshal(s.Stream.State, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// cursors are the states of a stream, in order.
func (r *result) cursors(stream string) []cursorState {
	r.t.Helper()
	var all []cursorState
	for _, s := range r.states() {
		if s.Stream.Descriptor.is(stream) {
			all = append(all, s.cursor(r.t))
		}
	}
	return all
}

// bound is the cursor in the last state of a stream; "none" where it has none.
func (r *result) bound(stream string) string {
	r.t.Helper()
	all := r.cursors(stream)
	if len(all) == 0 || all[len(all)-1].Type != "cursor_based" {
		r.t.Fatalf("the last state of %s is not of a cursor: %+v", stream, all)
	}
	if last := all[len(all)-1]; last.Cursor != nil {
		return *last.Cursor
	}
	return "none"
}

func (r *result) expectBound(stream, want string) {
	r.t.Helper()
	if got := r.bound(stream); got != want {
		r.t.Errorf("the cursor of %s is %s, want %s", stream, got, want)
	}
}

// useIndexes makes the server read in the order of an index where there is one, however small the table.
func (d *database) useIndexes() {
	d.t.Helper()
	// From version 18 on what is turned off costs no more than before; pages read one after the other do.
	for _, setting := range []string{
		"enable_seqscan = off", "enable_bitmapscan = off", "enable_sort = off", "seq_page_cost = 1e9",
	} {
		d.exec("ALTER DATABASE " + quoted(d.Name) + " SET " + setting)
	}
}

// eachType makes two tables for each type, one with an index on column c, which has the type, and one without; it gives
// their names.
func (d *database) eachType(types ...string) []string {
	d.t.Helper()
	var tables []string
	for _, typ := range types {
		for _, table := range []string{typ, typ + " indexed"} {
			d.exec("CREATE TABLE " + quoted(table) + " (id int PRIMARY KEY, c " + typ + ")")
			tables = append(tables, table)
		}
		d.exec("CREATE INDEX ON " + quoted(typ+" indexed") + " (c)")
	}
	d.useIndexes()
	return tables
}

// bothWays runs a test of table t with an index on column c, in whose order a delta is read then, and without one,
// where it is read by ranges.
func bothWays(t *testing.T, db *database, test func(db *database, index string)) {
	t.Helper()
	db.useIndexes()
	for _, index := range []string{"CREATE INDEX ON t (c)", ""} {
		t.Run(map[bool]string{true: "without index", false: "index"}[index == ""], func(t *testing.T) {
			own := &database{Database: db.Database, t: t}
			own.exec("DROP TABLE IF EXISTS t")
			test(own, index)
		})
	}
}

// A sync that finds nothing new has no records and one state; one change brings that change.
func testNothingNew(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c timestamptz, v int);" + index)
		db.exec(
			`INSERT INTO t SELECT g, timestamptz '2024-02-29 12:00:00Z' + g * interval '1 second', 0
				FROM generate_series(1, 500) AS g`,
		)
		in := db.byCursor("c", "t")
		first := in.sync(t)
		first.expectIDs("t", "1-500")
		first.expectBound("t", "2024-02-29T12:08:20.000000Z")
		want := cursorState{Type: "cursor_based", Version: 2, Name: "t", Schema: "public", Field: []string{"c"}}
		got := first.cursors("t")
		last := got[len(got)-1]
		if last.Cursor = nil; fmt.Sprint(last) != fmt.Sprint(want) {
			t.Errorf("state %+v, want %+v", last, want)
		}
		again := func(what string) {
			t.Helper()
			r := in.sync(t)
			r.expectIDs("t", "")
			r.expectBound("t", "2024-02-29T12:08:20.000000Z")
			if n := len(r.states()); n != 1 {
				t.Errorf("%s: %d states, want 1", what, n)
			}
			expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
		}
		again("no transaction since")
		db.exec("SELECT txid_current()")
		again("a transaction that wrote nothing")
		db.exec("DELETE FROM t WHERE id = 5; UPDATE t SET v = 1, c = '2024-02-29 11:00:00Z' WHERE id = 6")
		again("a row deleted, and one moved behind the lookback")
		// The lookback is an hour: what was written in it comes, whether or not the cursor was set.
		db.exec("UPDATE t SET v = 1 WHERE id <= 3; UPDATE t SET v = 1 WHERE id = 30")
		db.exec("VACUUM FREEZE t")
		in.sync(t).expectIDs("t", "1-3 30")
		db.exec("SELECT txid_current()")
		db.exec("UPDATE t SET v = 2, c = '2024-03-01 00:00:00.000001Z' WHERE id = 3")
		db.exec("SELECT txid_current()")
		r := in.sync(t)
		r.expectIDs("t", "3")
		r.expectBound("t", "2024-03-01T00:00:00.000001Z")
		db.exec("SELECT txid_current()")
		in.sync(t).expectIDs("t", "")
	})
}

// Rows that get the very value of the boundary after it was reached are delivered, and those that were there are not
// again.
func testTies(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c timestamp);" + index)
		insert := "INSERT INTO t SELECT g, '2024-02-29 10:00:00.5' FROM generate_series(%d, %d) AS g"
		db.exec(fmt.Sprintf(insert, 1, 1000))
		in := db.byCursor("c", "t")
		in.sync(t).expectIDs("t", "1-1000")
		db.exec(fmt.Sprintf(insert, 1001, 1500))
		r := in.sync(t)
		r.expectIDs("t", "1001-1500")
		r.expectBound("t", "2024-02-29T10:00:00.500000")
		db.exec(fmt.Sprintf(insert, 1501, 1501))
		db.exec("INSERT INTO t VALUES (1502, '2024-02-29 10:00:00.500001')")
		r = in.sync(t)
		r.expectIDs("t", "1501-1502")
		r.expectBound("t", "2024-02-29T10:00:00.500001")
		in.sync(t).expectIDs("t", "")
	})
}

// A table without rows has no bound; one that is emptied keeps its own. The cursor need not be a selected column.
func testEmptyTable(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c int);" + index)
		in := db.byCursor("c", "t")
		in.catalog.(*configuredCatalog).selectColumns(t, "t", "id")
		in.sync(t).expectBound("t", "none")
		in.sync(t).expectBound("t", "none")
		db.exec("INSERT INTO t VALUES (1, -5), (2, -6)")
		r := in.sync(t)
		r.expectIDs("t", "1 2")
		r.expectBound("t", "-5")
		db.exec("TRUNCATE t")
		in.sync(t).expectBound("t", "-5")
		db.exec("INSERT INTO t VALUES (3, -4)")
		in.sync(t).expectIDs("t", "3")
	})
}

// The state never goes back.
func testRowsDeleted(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c int);" + index)
		db.exec("INSERT INTO t SELECT g, g * 1000 FROM generate_series(1, 500) AS g")
		in := db.byCursor("c", "t")
		in.sync(t).expectBound("t", "500000")
		db.exec("DELETE FROM t WHERE id > 300")
		r := in.sync(t)
		r.expectIDs("t", "")
		r.expectBound("t", "500000")
		db.exec("INSERT INTO t VALUES (501, 450000), (502, 399999)")
		r = in.sync(t)
		r.expectIDs("t", "501") // the other is behind the lookback of 100,000
		r.expectBound("t", "500000")
		db.exec("INSERT INTO t VALUES (503, 500001)")
		r = in.sync(t)
		r.expectIDs("t", "503")
		r.expectBound("t", "500001")
	})
}

// Without a cursor field a stream is read whole in every sync, with a warning.
func testNoCursorField(t *testing.T, db *database) {
	db.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE VIEW seen AS TABLE t;" +
		"CREATE TABLE pointless (id point); INSERT INTO pointless VALUES ('(1,2)')")
	in := &input{config: db.config(nil), catalog: discover(t, db.config(nil)).configure("incremental")}
	for range 3 {
		for i := range in.catalog.(*configuredCatalog).Streams {
			in.catalog.(*configuredCatalog).Streams[i].SyncID++
		}
		r := in.sync(t)
		r.expectIDs("t", "1 2")
		r.expectIDs("seen", "1 2")
		if n := len(r.records("pointless")); n != 1 {
			t.Errorf("%d records of pointless, want 1", n)
		}
		if n := len(r.states()); n != 3 {
			t.Errorf("%d states, want one for each stream", n)
		}
		for _, stream := range []string{"public.t", "public.seen", "public.pointless"} {
			if !has(r.logs("WARN"), stream, "no cursor field", "every row") {
				t.Errorf("warnings %q do not speak of %s", r.logs("WARN"), stream)
			}
		}
	}
}
