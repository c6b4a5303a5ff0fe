package integration

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// padSQL inserts rows that make a record of 100 kB each, so that some hundred of them are several states' worth: the
// id, the cursor by an expression of g, the padding.
const padSQL = "INSERT INTO t SELECT g, %s, repeat('x', 100000) FROM generate_series(%d, %d) AS g;"

// oneRowSQL makes table t of padSQL with a time as its cursor.
const oneRowSQL = `CREATE TABLE t (id int PRIMARY KEY, c timestamp, pad text); CREATE INDEX ON t (c);
	INSERT INTO t VALUES (0, '2024-01-01')`

// idsOf are the ids of records of stream t, in order of their coming, as numbers.
func idsOf(t *testing.T, texts []string) []int {
	t.Helper()
	var all []int
	for _, text := range texts {
		id, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	return all
}

// before is the part of a read that came before its nth state, counted from 1, with that state.
func (r *result) before(states int) *result {
	r.t.Helper()
	for i, m := range r.messages {
		if m.State != nil {
			if states--; states == 0 {
				return &result{t: r.t, messages: r.messages[:i+1]}
			}
		}
	}
	r.t.Fatal("there are not so many states")
	return nil
}

// resumeEach starts again from each state but the last of a read of stream t. What came before it and what comes after
// is all that the read brought, and at most twice rows come twice.
func resumeEach(db *database, in input, whole *result, twice int) {
	t := db.t
	t.Helper()
	all := idsOf(t, whole.values("t", "id"))
	slices.Sort(all)
	bound := whole.bound("t")
	states := len(whole.states())
	if states < 3 {
		t.Fatalf("%d states, want several", states)
	}
	step := 1
	if raced {
		step = states/2 + 1
	}
	for i := 1; i < states; i += step {
		first := whole.before(i)
		in.state = first.lastState()
		db.exec("SELECT txid_current()")
		r := run(t, "read", in).ok()
		r.expectBound("t", bound)
		got := append(idsOf(t, first.values("t", "id")), idsOf(t, r.values("t", "id"))...)
		slices.Sort(got)
		n := len(got)
		if got = slices.Compact(got); !slices.Equal(got, all) {
			t.Errorf("from state %d: %d of %d rows", i, len(got), len(all))
		}
		if n-len(got) > twice {
			t.Errorf("from state %d: %d rows came twice, want at most %d", i, n-len(got), twice)
		}
		in.state = r.lastState()
		run(t, "read", in).ok().expectIDs("t", "")
	}
}

// stopEach stops after the first state, and again after the first of what is left, three times; after each stop it runs
// sql, in which %d stands for the number of the stop. It gives the ids of all that came, and the last state.
func stopEach(db *database, in *input, sql string) map[int]bool {
	t := db.t
	t.Helper()
	seen := map[int]bool{}
	add := func(texts []string) {
		for _, id := range idsOf(t, texts) {
			seen[id] = true
		}
	}
	for stop := 1; stop <= 3; stop++ {
		p := start(t, "read", *in)
		last := p.until(func(m message) bool { return m.State != nil }).State
		count := len(p.messages)
		p.signal(syscall.SIGKILL)
		r := p.wait()
		r.messages = r.messages[:count]
		add(r.values("t", "id"))
		in.state = platformState([]*state{last})
		db.exec(strings.ReplaceAll(sql, "%d", strconv.Itoa(stop)))
	}
	add(in.sync(t).values("t", "id"))
	return seen
}

// A long delta is read in the order of the cursor; each of its states can be gone on with.
func testDelta(t *testing.T, db *database) {
	db.useIndexes()
	db.exec("CREATE TABLE t (id int PRIMARY KEY, c bigint, pad text); CREATE INDEX ON t (c)")
	db.exec("INSERT INTO t VALUES (0, 0)")
	in := db.byCursor("c", "t")
	in.sync(t)
	begin := in.state
	// Four rows have each value; some lie behind the bound, as late commits do.
	db.exec(fmt.Sprintf(padSQL, "g / 4", 1, 600) + fmt.Sprintf(padSQL, "-g", 601, 610))
	whole := in.sync(t)
	whole.expectIDs("t", "1-610")
	var cursors []int
	for _, state := range whole.cursors("t") {
		cursors = append(cursors, idsOf(t, []string{*state.Cursor})...)
	}
	if !slices.IsSorted(cursors) {
		t.Errorf("the states' cursors %d go back", cursors)
	}
	resumeEach(db, *in, whole, 4)

	// Between the attempts more rows are written, above and below the value that was reached.
	in.state = begin
	seen := stopEach(db, in, "INSERT INTO t VALUES (1000 + %d, %d), (1010 + %d, 140 + %d), (1020 + %d, 500)")
	for id := 1; id <= 1023; id++ {
		if (id <= 610 || id > 1000 && id%10 >= 1 && id%10 <= 3) && !seen[id] {
			t.Errorf("row %d is missing", id)
		}
	}
	in.sync(t).expectIDs("t", "")
}

// A delta whose rows have all the same value cannot be divided, but it is not lost.
func testDeltaOfOneValue(t *testing.T, db *database) {
	db.useIndexes()
	db.exec(oneRowSQL)
	in := db.byCursor("c", "t")
	in.sync(t)
	db.exec(fmt.Sprintf(padSQL, "timestamp '2024-01-02'", 1, 400))
	whole := in.sync(t)
	whole.expectIDs("t", "1-400")
	states := whole.cursors("t")
	if len(states) < 2 || !states[0].Partial || states[len(states)-1].Partial || states[len(states)-1].Count != 400 {
		t.Fatalf("states %+v, want a partial one and one of 400 rows", states)
	}
	first := whole.before(1)
	again := *in
	again.state = first.lastState()
	db.exec("INSERT INTO t VALUES (401, '2024-01-02'), (402, '2024-01-01 23:00')")
	r := again.sync(t)
	r.expectIDs("t", "1-402")
	r.expectBound("t", "2024-01-02T00:00:00.000000")
	again.sync(t).expectIDs("t", "")
	in.sync(t).expectIDs("t", "401-402")
}

// A delta that the server would have to sort is read by ranges.
func testDeltaWithoutIndex(t *testing.T, db *database) {
	db.exec("CREATE TABLE t (id int, c int, pad text); ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN")
	insert := "INSERT INTO t SELECT g, g / 4, repeat('x', 5000) FROM generate_series(%d, %d) AS g"
	columns, rows := []string{"id", "c"}, 4000
	if db.Version < 140000 { // a state comes after so many bytes, not after a range
		columns, rows = []string{"id", "c", "pad"}, 8000
	}
	db.exec(fmt.Sprintf(insert, 1, 1000))
	for _, connections := range []int{1, 3} {
		in := db.byCursor("c", "t")
		in.config.(map[string]any)["max_db_connections"] = connections
		in.catalog.(*configuredCatalog).selectColumns(t, "t", columns...)
		in.sync(t)
		begin, most := in.state, idsOf(t, db.column("SELECT max(id) FROM t"))[0]
		db.exec("UPDATE t SET id = -id WHERE id BETWEEN 1 AND 50") // they move to the end
		db.exec(fmt.Sprintf(insert, most+1, most+rows))
		whole := in.sync(t)
		resumeEach(db, *in, whole, (connections-1)*1100) // the others had sent part of their ranges

		in.state = begin
		seen := stopEach(db, in, "DELETE FROM t WHERE id < 0; "+fmt.Sprintf(insert, 100_000, 100_020)+
			fmt.Sprintf(
				"; UPDATE t SET id = id + 1000000 WHERE id BETWEEN %d + %%d * 200 AND %d + %%d * 200",
				most+2000,
				most+2100,
			))
		for _, text := range db.column("SELECT id FROM t WHERE id > $1", most) {
			if id := idsOf(t, []string{text})[0]; !seen[id] {
				t.Fatalf("row %d is missing", id)
			}
		}
		in.sync(t).expectIDs("t", "")
		db.exec("DELETE FROM t WHERE id > 90000")
	}
}

// An index that comes into being between the attempts at a pass over the table does not change the order of its rows,
// which before version 14 is what tells how far it has come.
func testDeltaIndexComes(t *testing.T, db *database) {
	db.exec("CREATE TABLE t (id int, c int, pad text); INSERT INTO t SELECT -g, -g FROM generate_series(1, 30000) AS g;" +
		"INSERT INTO t VALUES (0, 0); ANALYZE t")
	db.exec("ALTER DATABASE " + quoted(db.Name) + " SET enable_bitmapscan = off") // it has the order of the blocks
	in := db.byCursor("c", "t").standard(map[string]any{"cursor_lookback_rows": 0})
	in.config.(map[string]any)["max_db_connections"] = 1
	in.sync(t)
	db.exec(fmt.Sprintf(padSQL, "10000 - g", 1, 500))
	seen := stopEach(db, in, "CREATE INDEX IF NOT EXISTS t_c ON t (c); ANALYZE t")
	for id := 1; id <= 500; id++ {
		if !seen[id] {
			t.Fatalf("row %d is missing", id)
		}
	}
}

// Rows with infinity come last of a delta that is read in order; an interruption before does not lose them, though the
// bound does not show them.
func testDeltaEndless(t *testing.T, db *database) {
	db.useIndexes()
	db.exec(oneRowSQL)
	in := db.byCursor("c", "t")
	in.sync(t)
	db.exec(fmt.Sprintf(padSQL, "timestamp '2024-01-02' + g * interval '1 second'", 1, 400))
	db.exec("INSERT INTO t VALUES (401, 'infinity'), (402, 'infinity')")
	whole := in.sync(t)
	whole.expectIDs("t", "1-402")
	resumeEach(db, *in, whole, 1)
}

// The first pass over a view is in the order of the cursor, and can be gone on with.
func testDeltaOfView(t *testing.T, db *database) {
	db.exec("CREATE TABLE base (id int, c int, pad text); CREATE VIEW t AS SELECT * FROM base WHERE id > 0")
	db.exec(strings.ReplaceAll(fmt.Sprintf(padSQL, "g / 2", 1, 500), "INTO t", "INTO base"))
	db.exec("INSERT INTO base VALUES (501), (502)") // NULLs come first
	in := db.byCursor("c", "t")
	whole := in.sync(t)
	whole.expectIDs("t", "1-502")
	resumeEach(db, *in, whole, 2)
}

// The states of Airbyte's connector do not say who had written what: rows with the last value count.
func testAirbyteCursor(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec("CREATE TABLE t (id int PRIMARY KEY, c timestamptz);" + index)
		db.exec(`INSERT INTO t SELECT g, '2024-01-01 00:00Z'::timestamptz + least(g, 9) * interval '1 second'
			FROM generate_series(1, 10) AS g; INSERT INTO t VALUES (11, '2024-01-02 00:00Z'), (12, NULL)`)
		in := db.byCursor("c", "t")
		stream := map[string]any{
			"version": 2, "state_type": "cursor_based", "stream_name": "t", "stream_namespace": "public",
			"cursor_field": []string{"c"}, "cursor": "2024-01-01T00:00:09.000000Z",
		}
		for _, test := range []struct {
			keys map[string]any
			want string
		}{
			{map[string]any{"cursor_record_count": 2}, "11"},
			{map[string]any{"cursor_record_count": 1}, "9-11"},
			{map[string]any{"cursor_record_count": 3}, "9-11"},
			{map[string]any{}, "9-11"},
			{map[string]any{"cursor_record_count": 2, "state_type": nil, "version": nil}, "11"},
			{map[string]any{"cursor": nil}, "1-11"},
			{map[string]any{"cursor": "2024-01-02T00:00:00.000000Z", "cursor_record_count": 1}, ""},
			{map[string]any{"cursor": "2025-01-02T00:00:00Z", "cursor_record_count": 1}, ""},
		} {
			own := maps.Clone(stream)
			for key, value := range test.keys {
				if own[key] = value; value == nil {
					delete(own, key)
				}
			}
			in.state = []any{map[string]any{"type": "STREAM", "stream": map[string]any{
				"stream_descriptor": map[string]any{"name": "t", "namespace": "public"}, "stream_state": own,
			}}}
			r := in.sync(t)
			r.expectIDs("t", test.want)
			if test.keys["cursor"] != "2025-01-02T00:00:00Z" {
				r.expectBound("t", "2024-01-02T00:00:00.000000Z")
			}
			db.exec("SELECT txid_current()")
			in.sync(t).expectIDs("t", "")
		}
	})
}

// A table that is rewritten between the beginning of the sync and its own turn is read by its cursor all the same.
func testRewrittenBeforeTurn(t *testing.T, db *database) {
	db.useIndexes()
	db.exec(`CREATE TABLE a (id int, c int, pad text); CREATE TABLE t (id int PRIMARY KEY, c int); CREATE INDEX ON t (c);
		INSERT INTO t SELECT g, g FROM generate_series(1, 1000) AS g`)
	in := db.byCursor("c", "a", "t")
	in.config.(map[string]any)["max_db_connections"] = 1
	in.sync(t)
	db.exec(
		"INSERT INTO a SELECT g, g, repeat('x', 1000) FROM generate_series(1, 3000) AS g; INSERT INTO t VALUES (1001, 1001)",
	)
	p := start(t, "read", *in)
	p.until(func(m message) bool { return m.Record != nil })
	db.exec("VACUUM FULL t")
	r := p.wait().ok()
	r.expectIDs("t", "1001 1001") // it was noticed after the reading
	r.expectBound("t", "1001")
}
