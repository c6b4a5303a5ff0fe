package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// oddNames are names that go wrong where somebody forgets to quote, escape or compare byte by byte.
var oddNames = []string{
	`"`, `'`, `say "hi"`, `it's`, `a b`, ` lead`, `trail `, `UPPER`, `MiXed`, `mixed`, `-`, `?`, `.`, `a.b`, `.b`, `a.`,
	`"a"."b"`, `a%b`, `a_b`, `%s`, `%`, `$1`, `$$`, `$$a$$`, `:name`, `{}`, `[0]`, `a,b`, `(`, `;`, `--`, `/* c */`, `*`,
	`#`, `@`, `\`, `\n`, `\"`, `\u0041`, `C:\x`, "new\nline", "tab\there", "return\r", "\x01", "\x7f", "a\u0085b",
	"a\u2028b", "a\u2029b", "\ufeffbom", `select`, `from`, `table`, `order`, `user`, `group`, `null`, `true`, `default`,
	`ctid_`, `CTID`, `xmin2`, `oid`, `tableoid_`, `_airbyte_id`, `data`, `id `, `0`, `1.5`, `ß`, `Größe`, `テーブル`, `日本語 列`,
	`имя`, `שלום`, `🙂`, "👨‍👩‍👧", "e\u0301", "\u00e9", "\u202ertl", strings.Repeat("x", 63), strings.Repeat("語", 21),
	`x"; DROP TABLE victim; --`, `x'; DROP TABLE victim; --`, `x" FROM victim; DELETE FROM victim; SELECT "y`,
	`x') OR ('1'='1`, `$q$; DROP TABLE victim; $q$`, `<b>&amp;`,
}

// A table of every name, with a column of that name, in a schema with a name of that kind.
func TestNamesOfTables(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	schema := `S "q" 'x' ; -- \ %s $1 {} 🙂.`
	db.exec("CREATE TABLE victim (id int); INSERT INTO victim VALUES (1), (2); CREATE SCHEMA " + quoted(schema))
	want := map[string][]string{"public.victim": db.rows("victim")}
	for i, name := range oddNames {
		table := quoted(schema, name)
		db.exec(fmt.Sprintf(`CREATE TABLE %s (nr int, %s text); INSERT INTO %[1]s VALUES (%[3]d, 'a"\b'), (%[3]d, NULL)`,
			table, quoted(name), i))
		want[schema+"."+name] = db.rows(table)
	}
	config := db.config(map[string]any{"schemas": []string{schema, "public"}})
	c := discover(t, config)
	if len(c.Streams) != len(want) {
		t.Errorf("%d streams, want %d", len(c.Streams), len(want))
	}
	r := run(t, "read", input{config: config, catalog: c.configure("full_refresh")}).ok()
	for stream, rows := range want {
		r.expectRows(stream, rows)
	}
	if n := db.value("SELECT count(*) FROM victim"); n != "2" {
		t.Errorf("table victim has %s rows, want 2", n)
	}
}

// All the names as columns of one table, the key among them.
func TestNamesOfColumns(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE victim (id int)")
	var columns, values []string
	for i, name := range oddNames {
		columns = append(columns, quoted(name)+" text")
		values = append(values, fmt.Sprintf("'value %d'", i))
	}
	key := []string{oddNames[2], oddNames[0], "名"}
	columns = append(columns, `"名" int`)
	values = append(values, "1")
	for i := range key {
		key[i] = quoted(key[i])
	}
	db.exec("CREATE TABLE t (" + strings.Join(columns, ", ") + ", PRIMARY KEY (" + strings.Join(key, ", ") + "));" +
		"INSERT INTO t VALUES (" + strings.Join(values, ", ") + ")")
	config := db.config(nil)
	s := discover(t, config).find(t, "t")
	if got := slices.Sorted(maps.Keys(s.JSONSchema.Properties)); !slices.Equal(got, slices.Sorted(slices.Values(
		append(slices.Clone(oddNames), "名")))) {
		t.Errorf("properties %q", got)
	}
	if want := [][]string{{oddNames[2]}, {oddNames[0]}, {"名"}}; !slices.EqualFunc(s.PrimaryKey, want, slices.Equal) {
		t.Errorf("primary key %q, want %q", s.PrimaryKey, want)
	}
	refresh(t, config, "t").ok().expectRows("t", db.rows("t"))
	if n := db.value("SELECT count(*) FROM victim"); n != "0" {
		t.Errorf("table victim has %s rows", n)
	}
}

// The same names, differently cut or spelled, are different streams and fields.
func TestNamesDoNotCollide(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tables := [][2]string{
		{"a.b", "c"},
		{"a", "b.c"},
		{"a", "t"},
		{"a.b", "t"},
		{"A", "t"},
		{"a", "T"},
		{"a", "e\u0301"},
		{"a", "\u00e9"},
		{"a_b", "t"},
		{"a%b", "t"},
	}
	want := map[streamName][]string{}
	for i, table := range tables {
		db.exec(fmt.Sprintf(`CREATE SCHEMA IF NOT EXISTS %s; CREATE TABLE %s ("A" int, a int, " a" int, "a " int);
			INSERT INTO %[2]s SELECT %[3]d, g, 3, 4 FROM generate_series(1, %[3]d) AS g`,
			quoted(table[0]), quoted(table[:]...), i+1))
		want[streamName{table[1], table[0]}] = db.rows(quoted(table[:]...))
	}
	config := db.config(map[string]any{"schemas": nil})
	r := refresh(t, config).ok()
	got := map[streamName][]string{}
	for _, m := range r.messages {
		if m.Record != nil {
			name := m.Record.name()
			got[name] = append(got[name], canonical(t, text(t, m.Record.Data)))
		}
	}
	for name, rows := range want {
		slices.Sort(got[name])
		expectSame(t, name.String(), got[name], rows)
	}
}

// A table that has lost columns, at the front, in the middle and from its key.
func TestDroppedColumns(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (first int, id int, middle text, a text, key int PRIMARY KEY, b int, last int);
INSERT INTO t SELECT -1, g, 'gone', 'a' || g, g, 10 * g, -1 FROM generate_series(1, 5) AS g;
ALTER TABLE t DROP COLUMN first, DROP COLUMN middle, DROP COLUMN key, DROP COLUMN last;
ALTER TABLE t ADD COLUMN middle int DEFAULT 7, ADD COLUMN first text;
INSERT INTO t VALUES (6, 'a6', 60, 8, 'new');
CREATE TABLE many (v int);
INSERT INTO many VALUES (1);`)
	for i := range 20 {
		db.exec(fmt.Sprintf("ALTER TABLE many ADD COLUMN c%d int DEFAULT %[1]d", i))
	}
	for i := range 19 {
		db.exec(fmt.Sprintf("ALTER TABLE many DROP COLUMN c%d", i))
	}
	r := refresh(t, db.config(nil)).ok()
	r.expectRows("t", db.rows("t"))
	r.expectRows("many", db.rows("many"))
}

// Partitions whose columns are in another order, some of them dropped, have their values under the right names.
func TestPartitionsWithOtherColumnOrder(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (id int, a text, b text) PARTITION BY RANGE (id);
CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE t_2 (b text, gone int, id int, a text);
ALTER TABLE t_2 DROP COLUMN gone;
ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (10) TO (20);
INSERT INTO t SELECT g, 'a' || g, 'b' || g FROM generate_series(1, 19) AS g;
CREATE TABLE parent (id int, a text);
CREATE TABLE child (extra int, a text, id int);
ALTER TABLE child INHERIT parent;
INSERT INTO parent VALUES (1, 'parent');
INSERT INTO child VALUES (99, 'child', 2);`)
	r := refresh(t, db.config(nil)).ok()
	for _, table := range []string{"t", "t_1", "t_2", "parent", "child"} {
		r.expectRows(table, db.rows(table))
	}
}

func TestReadOnlySelectedColumns(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text);
INSERT INTO t SELECT g, 'a', 'b', 'c' FROM generate_series(1, 3) AS g;`)
	config := db.config(nil)
	catalog := discover(t, config).configure("full_refresh").selectColumns(t, "t", "c", "a")
	db.exec("ALTER TABLE t ADD COLUMN later text DEFAULT 'later'")
	run(t, "read", input{config: config, catalog: catalog}).ok().expectRows("t", db.rows("(SELECT a, c FROM t)"))
}

func TestReadWithoutAColumnThatIsGone(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b'), (2, NULL, NULL)")
	config := db.config(nil)
	catalog := discover(t, config).configure("full_refresh")
	db.exec("ALTER TABLE t DROP COLUMN a")
	run(t, "read", input{config: config, catalog: catalog}).ok().expectRows("t", db.rows("t"))
}

// Without a selected column there is nothing to send: a platform drops empty records, and counting them is an error.
func TestReadNoColumns(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2);" +
		"CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES")
	config := db.config(nil)
	catalog := discover(t, config).configure("full_refresh").selectColumns(t, "t")
	r := run(t, "read", input{config: config, catalog: catalog}).ok()
	for _, stream := range []string{"t", "bare"} {
		if n := len(r.records(stream)); n != 0 {
			t.Errorf("%s: %d records without a column", stream, n)
		}
		expectStatuses(t, r, stream, "STARTED RUNNING COMPLETE")
		if !has(r.logs("WARN"), "public."+stream, "no records") {
			t.Errorf("warnings %q do not say that %s has no records", r.logs("WARN"), stream)
		}
	}
	for _, s := range r.states() {
		if s.Stats.RecordCount != 0 {
			t.Errorf("state %s counts records", s.text)
		}
	}
}

// A name that is no text, which only a SQL_ASCII database can have, cannot be written in a message: it is left out with
// a warning, and hides nothing else.
func TestNamesThatAreNoText(t *testing.T) {
	t.Parallel()
	db := newDB(t, "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	db.exec("SET client_encoding = 'SQL_ASCII'; CREATE SCHEMA \"s\xe9\"; CREATE TABLE \"s\xe9\".t (id int);" +
		"CREATE TABLE \"t\xe9\" (id int); CREATE TABLE \"t\xea\" (id int); CREATE TABLE \"täble\" (id int);" +
		"CREATE TABLE part (id int, \"c\xe9\" int, \"c\xea\" int, PRIMARY KEY (id, \"c\xe9\"));" +
		"INSERT INTO part VALUES (1, 2, 3)")
	config := db.config(map[string]any{"schemas": nil})
	r := run(t, "discover", input{config: config}).ok()
	c := r.catalog()
	if got, want := c.names(), []string{"public.part", "public.täble"}; !slices.Equal(got, want) {
		t.Errorf("streams %q, want %q", got, want)
	}
	for _, name := range []string{"s\ufffd.t", "public.t\ufffd", "public.part.c\ufffd"} {
		if !has(r.logs("WARN"), "not valid UTF-8", name) {
			t.Errorf("warnings %q, want one about %s", r.logs("WARN"), name)
		}
	}
	if key := c.find(t, "part").PrimaryKey; len(key) > 0 {
		t.Errorf("key %q, of which a column is left out", key)
	}
	r = run(t, "read", input{config: config, catalog: c.configure("full_refresh")}).ok()
	r.expectRows("part", []string{`{"id":1}`})
}
