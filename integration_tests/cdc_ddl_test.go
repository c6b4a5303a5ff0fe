package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// allow lets a field of the configured catalog have values of any type: those from before a change of its column's
// type are of the earlier one.
func (c *capture) allow(stream, field string) {
	c.t.Helper()
	c.catalog.find(c.t, stream).Stream.JSONSchema.Properties[field] = json.RawMessage(
		`{"type":["string","number","boolean","array"]}`)
}

// Each row is read by the columns that the table had when it was written. A column that it did not have then, or that
// had another name, is looked up; one that was dropped since is not in the records.
func TestColumnsChangeInOneTransaction(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE later AS ENUM ('x');
CREATE TABLE t (id int PRIMARY KEY, gone text, was text, kind int, m mood, l later)`)
	c.first()
	c.exec(`
INSERT INTO t VALUES (1, 'g1', 'w1', 11, 'sad', 'x');
ALTER TABLE t ADD COLUMN added text DEFAULT 'def';
INSERT INTO t VALUES (2, 'g2', 'w2', 22, 'ok', 'x', 'a2');
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t VALUES (3, 'w3', 33, 'ok', 'x', 'a3');
ALTER TABLE t RENAME COLUMN was TO "is ""now""";
INSERT INTO t VALUES (4, 'w4', 44, 'ok', 'x', 'a4');
ALTER TABLE t ALTER COLUMN kind TYPE text USING 'k' || kind;
INSERT INTO t VALUES (5, 'w5', 'k55', 'ok', 'x', 'a5');
ALTER TABLE t ALTER COLUMN l TYPE text;
DROP TYPE later;
INSERT INTO t VALUES (6, 'w6', 'k66', 'ok', 'x', 'a6');
DELETE FROM t WHERE id = 2`)
	c.exec("ALTER TYPE mood ADD VALUE 'new'; ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")
	c.exec("INSERT INTO t VALUES (7, 'w7', 'k77', 'new', 'x', 'a7'), (8, 'w8', 'k88', 'blue', 'x', 'a8')")
	c.catalog = discover(t, c.settings).configure("incremental")
	c.allow("t", "kind")
	r := c.sync()
	row := func(id, added, is, kind, m string) string {
		return fmt.Sprintf(`+ {"added":%s,"id":%s,"is \"now\"":%s,"kind":%s,"l":"x","m":"%s"}`, added, id, is, kind, m)
	}
	expectList(t, r.changes("t"),
		row("1", `"def"`, `"w1"`, "11", "sad"),
		row("2", `"a2"`, `null`, "22", "ok")+` is "now" NULLED: SOURCE_RETRIEVAL_ERROR`,
		row("3", `"a3"`, `"w3"`, "33", "ok"),
		row("4", `"a4"`, `"w4"`, "44", "ok"),
		row("5", `"a5"`, `"w5"`, `"k55"`, "ok"),
		row("6", `"a6"`, `"w6"`, `"k66"`, "ok"),
		`- {"id":2}`,
		row("7", `"a7"`, `"w7"`, `"k77"`, "new"),
		row("8", `"a8"`, `"w8"`, `"k88"`, "blue"))
	c.again(r)
	if !has(r.logs("INFO"), "columns are not in these changes", "added") {
		t.Errorf("no word of the added column: %q", r.logs("INFO"))
	}
}

// The configured catalog need not know of the changes: columns it has not are left out, and so are those it has too
// many.
func TestColumnsChangeUnderAnOldCatalog(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b')`)
	c.first()
	c.exec("ALTER TABLE t ADD c int")
	expectList(t, c.changed("t", "INSERT INTO t VALUES (2, 'a', 'b', 3)"), `+ {"a":"a","b":"b","id":2}`)
	c.exec("INSERT INTO t VALUES (3, 'a', 'b', 3); ALTER TABLE t DROP a; INSERT INTO t VALUES (4, 'b', 4)")
	expectList(t, c.changed("t", "DELETE FROM t WHERE id = 1"), `+ {"b":"b","id":3}`, `+ {"b":"b","id":4}`, `- {"id":1}`)
	c.allow("t", "b")
	c.exec("ALTER TABLE t ALTER b TYPE int USING 7")
	expectList(t, c.changed("t", "INSERT INTO t VALUES (5, 8)"), `+ {"b":8,"id":5}`)
	c.exec("ALTER TABLE t ALTER b TYPE bigint")
	expectList(t, c.changed("t", "INSERT INTO t VALUES (6, 9223372036854775807)"), `+ {"b":9223372036854775807,"id":6}`)
	c.exec("ALTER TABLE t ADD z text DEFAULT 'z', DROP c; ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME TO t")
	expectList(t, c.changed("t", "INSERT INTO t VALUES (7, 1)"), `+ {"b":1,"id":7}`)
}

// Values from before their type was dropped are PostgreSQL's text.
func TestTypesThatAreGone(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int;
CREATE TABLE t (id int PRIMARY KEY, p pair, s small, d int)`)
	c.first()
	c.allow("t", "s")
	c.exec(`INSERT INTO t VALUES (1, '(1,x)', 5, 6); ALTER TABLE t ALTER p TYPE text USING p::text, ALTER s TYPE int;
		DROP TYPE pair; DROP DOMAIN small; CREATE DOMAIN small AS text; ALTER TABLE t ALTER d TYPE small;
		INSERT INTO t VALUES (2, 'p', 7, 'text')`)
	c.allow("t", "d")
	expectList(t, c.sync().changes("t"), `+ {"d":6,"id":1,"p":"(1,x)","s":"5"}`, `+ {"d":"text","id":2,"p":"p","s":7}`)
}

// Rows are found again by a key whose type the database has no more, or whose domain has become stricter since. A key
// that is no value of its type any more finds nothing, and keeps no other from being found.
func TestKeysOfTypesThatAreGone(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TYPE gone AS ENUM ('a'); CREATE TYPE kept AS ENUM ('a', 'b', 'c'); CREATE DOMAIN stricter AS int;
CREATE TABLE texts (k gone PRIMARY KEY, n int, big text);
CREATE TABLE enums (LIKE texts INCLUDING ALL);
CREATE TABLE padded (k char(3) PRIMARY KEY, n int, big text);
CREATE TABLE numbers (k stricter PRIMARY KEY, n int, big text);
CREATE TABLE labels (k kept PRIMARY KEY, n int, big text);
INSERT INTO texts VALUES ('a', 0, repeat('x', 3000)); INSERT INTO enums SELECT * FROM texts;
INSERT INTO padded SELECT * FROM texts; INSERT INTO numbers VALUES (1, 0, repeat('x', 3000));
INSERT INTO labels SELECT k, 0, repeat('x', 3000) FROM unnest('{a,b,c}'::kept[]) k`)
	tables := []string{"texts", "enums", "padded", "numbers", "labels"}
	for _, name := range tables {
		c.exec("ALTER TABLE " + name + " ALTER big SET STORAGE EXTERNAL")
		c.exec("INSERT INTO " + name + " SELECT * FROM " + name + " ON CONFLICT (k) DO UPDATE SET big = excluded.big || 'y'")
	}
	c.first()
	for _, name := range tables {
		c.exec("UPDATE " + name + " SET n = 1")
	}
	c.exec(`ALTER TABLE texts ALTER k TYPE text; ALTER TABLE enums ALTER k TYPE kept USING k::text::kept; DROP TYPE gone;
		ALTER TABLE padded ALTER k TYPE text; ALTER DOMAIN stricter ADD CHECK (VALUE > 5) NOT VALID;
		ALTER TYPE kept RENAME VALUE 'b' TO 'z'`)
	r := c.sync()
	big := `"big":"` + strings.Repeat("x", 3000) + `y"`
	for _, name := range tables {
		want := []string{`+ {` + big + `,"k":"a","n":1}`}
		switch name {
		case "padded":
			want = []string{`+ {` + big + `,"k":"a  ","n":1}`}
		case "numbers":
			want = []string{`+ {` + big + `,"k":1,"n":1}`}
		case "labels":
			want = append(want, `+ {"big":null,"k":"b","n":1} big NULLED: SOURCE_RETRIEVAL_ERROR`, `+ {`+big+`,"k":"c","n":1}`)
		}
		expectList(t, r.changes(name), want...)
	}
}

// Rows are found by a key whose operators search_path does not lead to.
func TestKeyTypeOutsideSearchPath(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE SCHEMA "o ""x"`)
	if !c.extension("ltree") {
		return
	}
	c.exec(`ALTER EXTENSION ltree SET SCHEMA "o ""x"; CREATE TABLE t (k "o ""x".ltree PRIMARY KEY, n int, big text);
		ALTER TABLE t ALTER big SET STORAGE EXTERNAL; INSERT INTO t VALUES ('a.b', 0, repeat('x', 3000))`)
	c.first()
	expectList(t, c.changed("t", "UPDATE t SET n = 1"), `+ {"big":"`+strings.Repeat("x", 3000)+`","k":"a.b","n":1}`)
}

// A table of the same name is another table: what happened to the old one is told to its end, and the new one is read
// from the beginning.
func TestTableIsMadeAgain(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1);
		CREATE TABLE u (id int PRIMARY KEY)`)
	c.first()
	c.exec(`INSERT INTO t VALUES (2); DROP TABLE t; CREATE TABLE t (v text, id int PRIMARY KEY);
		INSERT INTO t VALUES ('new', 1)`)
	c.exec("INSERT INTO u VALUES (1)")
	r := c.read(c.state).ok()
	c.keep(r)
	expectList(t, r.changes("t"), `+ {"id":1,"v":"new"}`)
	expectList(t, r.changes("u"), `+ {"id":1}`)
	if !has(r.logs("WARN"), "t starts over", "dropped and created again") {
		t.Errorf("no warning: %q", r.logs("WARN"))
	}
	expectList(t, c.changed("t", "UPDATE t SET v = 'x'; INSERT INTO u VALUES (2)"), `+ {"id":1,"v":"x"}`)

	// Renamed: the stream has an error of its own, the others go on; under its new name it is another stream.
	c.exec("INSERT INTO t VALUES ('before', 5); ALTER TABLE t RENAME TO renamed; INSERT INTO renamed VALUES ('after', 6)")
	c.exec("INSERT INTO u VALUES (3)")
	r = c.read(c.state)
	if e := r.failed("config_error"); !strings.Contains(e.Message, "public.t") {
		t.Errorf("error %s", e.Message)
	}
	expectList(t, r.changes("t"))
	expectList(t, r.changes("u"), `+ {"id":3}`)
	c.catalog = discover(t, c.settings).configure("incremental")
	r = c.read(c.state).ok()
	c.keep(r)
	if n := len(r.records("renamed")); n != 3 {
		t.Errorf("%d records of the renamed table, want 3", n)
	}
	expectList(t, c.changed("renamed", "DELETE FROM renamed WHERE id = 6"), `- {"id":6}`)
}

// TRUNCATE has no records: a warning names the tables.
func TestTruncate(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE "T 2" (id int PRIMARY KEY REFERENCES t);
CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE still (id serial PRIMARY KEY);
INSERT INTO t VALUES (1); INSERT INTO "T 2" VALUES (1); INSERT INTO other VALUES (1)`)
	c.first("t", "T 2", "still")
	c.exec("TRUNCATE other")
	c.exec("TRUNCATE t RESTART IDENTITY CASCADE; INSERT INTO t VALUES (2)")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":2}`)
	for name, want := range map[string]bool{
		"public.t": true, "public.T 2": true, "public.other": false, "public.still": false,
	} {
		if has(r.logs("WARN"), "truncated", name) != want {
			t.Errorf("warning of %s: %t, want %t: %q", name, !want, want, r.logs("WARN"))
		}
	}
	if r = c.sync(); has(r.logs("WARN"), "truncated") {
		t.Errorf("warned twice: %q", r.logs("WARN"))
	}
}

// Rows that ALTER TABLE … TYPE … USING rewrites are not in the log: a warning says so.
func TestRewrite(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'seen');
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root = true)`)
	c.first("t", "parts")
	c.exec("CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20)")
	r := c.sync()
	if has(r.logs("WARN"), "rewritten") {
		t.Errorf("warned of nothing: %q", r.logs("WARN"))
	}
	c.exec("ALTER TABLE t ALTER v TYPE varchar(20) USING upper(v)")
	c.exec("INSERT INTO t VALUES (2, 'new')")
	r = c.sync()
	expectList(t, r.changes("t"), `+ {"id":2,"v":"new"}`)
	if !has(r.logs("WARN"), "rewritten", "public.t") || has(r.logs("WARN"), "rewritten", "parts") {
		t.Errorf("warnings %q", r.logs("WARN"))
	}
	if r = c.sync(); has(r.logs("WARN"), "rewritten") {
		t.Errorf("warned twice: %q", r.logs("WARN"))
	}
}

// While a sync is under way, columns that it was to look up may go. What is still there is found.
func TestColumnsGoDuringTheSync(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE fill (id int PRIMARY KEY, v text);
CREATE TABLE t (id int PRIMARY KEY, small int, a text, b text, twice int GENERATED ALWAYS AS (small * 2) STORED);
ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
INSERT INTO t SELECT n, 0, repeat('a', 3000), repeat('b', 3000) FROM generate_series(1, 3) n`)
	c.first()
	c.exec("INSERT INTO fill SELECT n, repeat('x', 1000) FROM generate_series(1, 8000) n")
	c.exec("UPDATE t SET small = 1")
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(func(m message) bool { return m.Record != nil }) // most of the rest does not fit into the pipe
	c.exec("ALTER TABLE t DROP a, DROP twice")
	c.exec("UPDATE t SET small = 2 WHERE id = 1")
	r := p.wait().ok()
	records := r.records("t")
	if len(records) != 3 {
		t.Fatalf("%d records, want 3", len(records))
	}
	for _, rec := range records {
		if got := string(rec.Data["b"]); got != `"`+strings.Repeat("b", 3000)+`"` {
			t.Errorf("b is %s", shortened([]byte(got)))
		}
		if string(rec.Data["a"]) != "null" || string(rec.Data["twice"]) != "null" {
			t.Errorf("dropped columns: %s, %s", shortened(rec.Data["a"]), rec.Data["twice"])
		}
	}
}
