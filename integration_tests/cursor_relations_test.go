package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// createIndex runs the statement that a warning about the cursor of a stream tells; "" where there is no such warning.
func createIndex(db *database, r *result, stream string) string {
	db.t.Helper()
	for _, warning := range r.logs("WARN") {
		_, sql, ok := strings.Cut(warning, "sql=")
		if ok && strings.Contains(warning, "stream=public."+stream+" ") {
			db.exec(strings.TrimSuffix(sql, ";"))
			return sql
		}
	}
	return ""
}

// A cursor without an index is worth a warning with the statement that makes one, and none when it was run.
func testCursorIndex(t *testing.T, db *database) {
	db.exec(`CREATE TABLE t (id int PRIMARY KEY, c int); INSERT INTO t VALUES (1, 1);
		CREATE TABLE p (id int, c int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
		CREATE MATERIALIZED VIEW m AS TABLE t; CREATE VIEW v AS TABLE t;
		CREATE TABLE partial (id int, c int); CREATE INDEX ON partial (c) WHERE id > 5;
		CREATE TABLE second (id int, c int); CREATE INDEX ON second (id, c);
		CREATE TABLE hashed (id int, c int); CREATE INDEX ON hashed USING hash (c);
		CREATE TABLE keyed (id int, c int PRIMARY KEY)`)
	in := db.byCursor("c", "t", "p", "m", "v", "partial", "second", "hashed", "keyed")
	r := in.sync(t)
	for _, stream := range []string{"t", "p", "m", "partial", "second", "hashed"} {
		if createIndex(db, r, stream) == "" {
			t.Errorf("warnings %q do not tell an index for %s", r.logs("WARN"), stream)
		}
	}
	for _, stream := range []string{"v", "keyed"} {
		if has(r.logs("WARN"), "index", "public."+stream+" ") {
			t.Errorf("warnings %q tell of an index for %s", r.logs("WARN"), stream)
		}
	}
	for _, state := range []any{in.state, nil} {
		in.state = state
		db.exec("SELECT txid_current()")
		if r = in.sync(t); has(r.logs("WARN"), "index") {
			t.Errorf("there are indexes now, but: %q", r.logs("WARN"))
		}
	}
}

// A partitioned table is one stream; a row that moves to another partition has been written.
func testCursorPartitions(t *testing.T, db *database) {
	bothWays(t, db, func(db *database, index string) {
		t := db.t
		db.exec(`CREATE TABLE t (id int, c int) PARTITION BY RANGE (id);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100);
			CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (100) TO (200);
			CREATE TABLE t_3 (c int, gone int, id int); ALTER TABLE t_3 DROP COLUMN gone;
			ALTER TABLE t ATTACH PARTITION t_3 FOR VALUES FROM (200) TO (300);` + index)
		db.exec("INSERT INTO t SELECT g, g FROM generate_series(1, 250) AS g")
		in := db.byCursor("c", "t")
		r := in.sync(t)
		r.expectIDs("t", "1-250")
		r.expectBound("t", "250")
		db.exec(
			"INSERT INTO t VALUES (251, 251), (99, 252), (150, 253), (151, 250), (10, 252); UPDATE t SET id = 299 WHERE c = 1",
		)
		r = in.sync(t)
		r.expectIDs("t", "251 99 150 151 10 299")
		r.expectBound("t", "253")
		db.exec(
			"CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM (300) TO (400); INSERT INTO t VALUES (300, 254); DROP TABLE t_1",
		)
		r = in.sync(t)
		r.expectIDs("t", "300")
		in.sync(t).expectIDs("t", "")
		db.exec("DROP TABLE t")
	})
}

// The rows of a view do not say who wrote them. They come in the order of the cursor; rows with the last value come
// again when their number has changed, and rows with infinity always.
func testCursorView(t *testing.T, db *database) {
	db.exec(`CREATE TABLE base (id int, c timestamp); CREATE VIEW v AS SELECT * FROM base WHERE id <> 7;
		INSERT INTO base VALUES (3, '2024-01-03'), (1, '2024-01-01'), (2, '2024-01-02'), (4, NULL), (5, NULL),
			(7, '2025-01-01')`)
	in := db.byCursor("c", "v")
	r := in.sync(t)
	r.expectIDs("v", "1-5")
	if got := strings.Join(r.values("v", "id")[2:], " "); got != "1 2 3" {
		t.Errorf("ids %s, want them in the order of the cursor", got)
	}
	r.expectBound("v", "2024-01-03T00:00:00.000000")
	if got := r.cursors("v"); got[len(got)-1].Count != 1 {
		t.Errorf("states %+v, want one row with the last value", got)
	}
	if !has(r.logs("WARN"), "NULL", "public.v", "rows=2") {
		t.Errorf("warnings %q do not say that 2 rows have no cursor", r.logs("WARN"))
	}
	for _, step := range []struct{ sql, ids, bound string }{
		{"SELECT txid_current()", "", "2024-01-03T00:00:00.000000"},
		{"INSERT INTO base VALUES (6, '2024-01-03'), (8, '2024-01-02')", "3 6", "2024-01-03T00:00:00.000000"},
		{"DELETE FROM base WHERE id = 3; INSERT INTO base VALUES (10, NULL)", "6", "2024-01-03T00:00:00.000000"},
		{"INSERT INTO base VALUES (9, '2024-01-03 00:00:00.000001')", "9", "2024-01-03T00:00:00.000001"},
		{"DELETE FROM base WHERE id IN (6, 9)", "", "2024-01-03T00:00:00.000001"},
		{"SELECT txid_current()", "", "2024-01-03T00:00:00.000001"},
		{"CREATE OR REPLACE VIEW v AS SELECT * FROM base", "7", "2025-01-01T00:00:00.000000"},
		{"INSERT INTO base VALUES (11, 'infinity')", "11", "2025-01-01T00:00:00.000000"},
		{"INSERT INTO base VALUES (12, '2025-01-01 00:00:01')", "11-12", "2025-01-01T00:00:01.000000"},
	} {
		db.exec(step.sql)
		r = in.sync(t)
		r.expectIDs("v", step.ids)
		r.expectBound("v", step.bound)
		if n := len(r.states()); n != 1 {
			t.Errorf("%s: %d states, want 1", step.sql, n)
		}
	}
	db.exec("DROP VIEW v; CREATE VIEW v AS SELECT * FROM base")
	r = in.sync(t)
	if n := db.value("SELECT count(*) FROM base"); n != fmt.Sprint(len(r.records("v"))) ||
		!has(r.logs("WARN"), "starts over", "public.v") {
		t.Errorf("%d records of the new view, want %s; warnings %q", len(r.records("v")), n, r.logs("WARN"))
	}
}

func testCursorViewTies(t *testing.T, db *database) {
	db.exec(`CREATE TABLE base (id int, c int); CREATE VIEW v AS TABLE base;
		INSERT INTO base SELECT g, 5 FROM generate_series(1, 1000) AS g`)
	in := db.byCursor("c", "v")
	for _, step := range []struct {
		sql, ids string
		count    int
	}{
		{"SELECT 1", "1-1000", 1000},
		{"SELECT 1", "", 1000},
		{"INSERT INTO base SELECT g, 5 FROM generate_series(1001, 1500) AS g", "1-1500", 1500},
		{"SELECT 1", "", 1500},
		{"INSERT INTO base VALUES (1501, 6)", "1501", 1},
		{"SELECT 1", "", 1},
	} {
		db.exec(step.sql)
		r := in.sync(t)
		r.expectIDs("v", step.ids)
		if got := r.cursors("v"); got[len(got)-1].Count != step.count {
			t.Errorf("%s: state %+v, want %d rows with the last value", step.sql, got[len(got)-1], step.count)
		}
	}
}

// REFRESH writes every row of a materialized view anew: those in the lookback come again. One that is done concurrently
// writes what has changed.
func testCursorMatview(t *testing.T, db *database) {
	db.exec(`CREATE TABLE base (id int, c int); INSERT INTO base SELECT g, g * 10 FROM generate_series(1, 100) AS g;
		CREATE MATERIALIZED VIEW m AS TABLE base; CREATE UNIQUE INDEX ON m (id)`)
	in := db.byCursor("c", "m").standard(map[string]any{"cursor_lookback_rows": 100})
	r := in.sync(t)
	r.expectIDs("m", "1-100")
	r.expectBound("m", "1000")
	in.sync(t).expectIDs("m", "")
	db.exec("INSERT INTO base VALUES (101, 1000), (102, 1001); REFRESH MATERIALIZED VIEW CONCURRENTLY m")
	in.sync(t).expectIDs("m", "101-102")
	db.exec("INSERT INTO base VALUES (103, 1001), (104, 2000); REFRESH MATERIALIZED VIEW m")
	r = in.sync(t)
	r.expectIDs("m", "91-104")
	r.expectBound("m", "2000")
	in.sync(t).expectIDs("m", "")
}

// The order is the type's own wherever its operators are: where search_path does not lead to them, the server would
// take those of text for citext without a word.
func TestCursorTypeOutsideSearchPath(t *testing.T) {
	t.Parallel()
	db := newDB(t, "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	if !db.extension("citext") {
		return
	}
	db.exec(`CREATE SCHEMA "o ""x"; ALTER EXTENSION citext SET SCHEMA "o ""x"; CREATE DOMAIN caseless AS "o ""x".citext;
		CREATE TABLE t (id int, c "o ""x".citext); CREATE TABLE domains (id int, c caseless);
		CREATE TABLE indexed (LIKE t); CREATE INDEX ON indexed (c); CREATE VIEW v AS SELECT * FROM t`)
	tables := []string{"t", "domains", "indexed"}
	in := db.byCursor("c", append(tables, "v")...)
	for n, rows := range []string{"(1, 'a')", "(2, 'B'), (3, 'c'), (4, 'D')", "(5, 'E')"} {
		for _, table := range tables {
			db.exec("INSERT INTO " + table + " VALUES " + rows)
		}
		r := in.sync(t)
		for _, table := range append(tables, "v") {
			ids := r.values(table, "id") // with those of a transaction that is open elsewhere some come again
			for _, id := range [][]string{{"1"}, {"2", "3", "4"}, {"5"}}[n] {
				if !slices.Contains(ids, id) {
					t.Errorf("%s: row %s is not among %q", table, id, ids)
				}
			}
		}
	}

	// Who may not use the schema would get the order of text.
	role := db.role("reader")
	db.exec("GRANT SELECT ON t TO " + quoted(role.Name))
	in.config, in.catalog = db.configAs(role, nil), discover(t, db.configAs(role, nil)).configure("incremental", "t").
		cursor(t, "t", "c")
	e := run(t, "read", *in).failed("config_error")
	if want := `GRANT USAGE ON SCHEMA "o ""x" TO ` + quoted(role.Name); !strings.Contains(e.Message, want) {
		t.Errorf("error %s, want %s", e.Message, want)
	}
}
