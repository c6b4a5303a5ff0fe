package integration

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// kindsSQL makes one relation of every kind.
const kindsSQL = `
CREATE TABLE plain (id int);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE VIEW seen AS SELECT id FROM plain;
CREATE MATERIALIZED VIEW kept AS SELECT id FROM plain;
CREATE SEQUENCE numbers;
CREATE INDEX plain_id ON plain (id);
CREATE TYPE pair AS (a int, b int);
CREATE TABLE large (v text);`

func TestDiscoverFindsEveryKindOfTable(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(kindsSQL)
	resumable := map[string]bool{
		"public.kept": true, "public.large": true, "public.parted": false, "public.parted_high": true,
		"public.parted_low": true, "public.plain": true, "public.seen": false, "public.unlogged": true,
	}
	if db.loopback() {
		db.exec("CREATE FOREIGN TABLE remote (id int) SERVER self OPTIONS (table_name 'plain')")
		resumable["public.remote"] = false
	}
	db.extension("pg_stat_statements") // has views, which are the extension's and not the user's
	session := db.connect()
	do(t, session, "CREATE TEMP TABLE passing (id int)")

	c := discover(t, db.config(map[string]any{"schemas": nil}))
	names := slices.Sorted(maps.Keys(resumable))
	if got := c.names(); !slices.Equal(got, names) {
		t.Errorf("streams %q, want %q", got, names)
	}
	for name, want := range resumable {
		s := c.find(t, name)
		if s.Resumable != want {
			t.Errorf("%s: is_resumable %t, want %t", name, s.Resumable, want)
		}
		if len(s.SyncModes) == 0 || s.SyncModes[0] != "full_refresh" {
			t.Errorf("%s: sync modes %q, want full_refresh first", name, s.SyncModes)
		}
		if s.JSONSchema.Type != "object" || len(s.JSONSchema.Properties) != 1 {
			t.Errorf("%s: json_schema %+v", name, s.JSONSchema)
		}
	}
}

func TestDiscoverShowsWhatTheRoleMayRead(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	inner, outer, user := db.role("inner"), db.role("outer"), db.role("user")
	stranger := db.role("stranger")
	db.exec(fmt.Sprintf(`
CREATE TABLE denied (id int);
CREATE TABLE granted (id int);
CREATE TABLE nested (id int);
CREATE TABLE everybody (id int);
CREATE TABLE owned (id int);
CREATE TABLE owned_by_group (id int);
CREATE TABLE insert_only (id int);
CREATE TABLE columns (id int PRIMARY KEY, open text, secret text);
CREATE TABLE hidden_key (id int PRIMARY KEY, open text);
CREATE VIEW through AS SELECT * FROM denied;
CREATE SCHEMA closed;
CREATE TABLE closed.granted (id int);
GRANT %[1]s TO %[2]s;
GRANT %[2]s TO %[3]s;
GRANT SELECT ON granted, through, closed.granted TO %[3]s;
GRANT SELECT ON nested TO %[1]s;
GRANT SELECT ON everybody TO PUBLIC;
GRANT INSERT, UPDATE ON insert_only TO %[3]s;
GRANT SELECT (id, open) ON columns TO %[3]s;
GRANT SELECT (open) ON hidden_key TO %[3]s;
ALTER TABLE owned OWNER TO %[3]s;
ALTER TABLE owned_by_group OWNER TO %[2]s;`, inner.Name, outer.Name, user.Name))

	c := discover(t, db.configAs(user, map[string]any{"schemas": nil}))
	want := []string{
		"public.columns", "public.everybody", "public.granted", "public.hidden_key", "public.nested",
		"public.owned", "public.owned_by_group", "public.through",
	}
	if got := c.names(); !slices.Equal(got, want) {
		t.Errorf("streams %q, want %q", got, want)
	}
	columns := c.find(t, "columns")
	if got := slices.Sorted(maps.Keys(columns.JSONSchema.Properties)); !slices.Equal(got, []string{"id", "open"}) {
		t.Errorf("readable columns %q", got)
	}
	if len(columns.PrimaryKey) != 1 {
		t.Errorf("primary key %q, want id", columns.PrimaryKey)
	}
	hidden := c.find(t, "hidden_key")
	if got := slices.Sorted(maps.Keys(hidden.JSONSchema.Properties)); !slices.Equal(got, []string{"open"}) {
		t.Errorf("readable columns %q", got)
	}
	if len(hidden.PrimaryKey) != 0 {
		t.Errorf("primary key %q is of a column that may not be read", hidden.PrimaryKey)
	}
	c = discover(t, db.configAs(stranger, nil))
	if got := c.names(); !slices.Equal(got, []string{"public.everybody"}) {
		t.Errorf("streams of a role without rights %q, want what PUBLIC may read", got)
	}
	c = discover(t, db.configAs(user, map[string]any{"check_privileges": false}))
	if c.find(t, "denied"); len(c.find(t, "columns").JSONSchema.Properties) != 3 {
		t.Errorf("check_privileges off: columns %v, want all three", c.find(t, "columns").JSONSchema.Properties)
	}
}

func TestDiscoverReadsRecordsOfColumnGrants(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	db.exec("CREATE TABLE t (id int PRIMARY KEY, open text, secret text);" +
		"INSERT INTO t VALUES (1, 'a', 's'), (2, 'b', 's'); GRANT SELECT (id, open) ON t TO " + user.Name)
	refresh(t, db.configAs(user, nil)).ok().expectRows("t", db.rows("(SELECT id, open FROM t)"))
}

func TestDiscoverKeys(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE none (id int, v text);
CREATE TABLE uniq (id int UNIQUE NOT NULL);
CREATE TABLE reversed (a int, b int, c int, PRIMARY KEY (c, a));
CREATE TABLE including (a int, b int, c int, PRIMARY KEY (b) INCLUDE (a, c));
CREATE TABLE gaps (x int, a int, y int, b int, PRIMARY KEY (b, a));
ALTER TABLE gaps DROP COLUMN x, DROP COLUMN y;
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parted_2024 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE lost_key (id int PRIMARY KEY, v int);
ALTER TABLE lost_key DROP COLUMN id;
CREATE VIEW seen AS SELECT * FROM reversed;`)
	c := discover(t, db.config(nil))
	for name, want := range map[string][][]string{
		"none": {}, "uniq": {}, "reversed": {{"c"}, {"a"}}, "including": {{"b"}}, "gaps": {{"b"}, {"a"}},
		"deferred": {{"id"}}, "parted": {{"id"}, {"day"}}, "parted_2024": {{"id"}, {"day"}}, "lost_key": {}, "seen": {},
	} {
		s := c.find(t, name)
		if !slices.EqualFunc(s.PrimaryKey, want, slices.Equal) {
			t.Errorf("%s: primary key %q, want %q", name, s.PrimaryKey, want)
		}
		for _, column := range s.PrimaryKey {
			if s.JSONSchema.Properties[column[0]] == nil {
				t.Errorf("%s: key column %s is not in properties", name, column)
			}
		}
	}
}

func TestDiscoverChoosesSchemas(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	odd, like := `s.d%x_"y`, `s.d%xz"y` // as a LIKE pattern, the first would match the second
	for _, schema := range []string{odd, like, "other"} {
		db.exec("CREATE SCHEMA " + quoted(schema) + "; CREATE TABLE " + quoted(schema, "t") + " (id int)")
	}
	db.exec("CREATE TABLE t (id int)")
	all := []string{"other.t", "public.t", odd + ".t", like + ".t"}
	for _, test := range []struct {
		schemas any
		want    []string
	}{
		{nil, all},
		{[]string{}, all},
		{[]string{"public"}, []string{"public.t"}},
		{[]string{"other", "public"}, []string{"other.t", "public.t"}},
		{[]string{odd}, []string{odd + ".t"}},
	} {
		got := discover(t, db.config(map[string]any{"schemas": test.schemas})).names()
		if !slices.Equal(got, test.want) {
			t.Errorf("schemas %q: streams %q, want %q", test.schemas, got, test.want)
		}
	}
}

func TestDiscoverTwiceIsTheSame(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(kindsSQL)
	for i := range 30 {
		db.exec(fmt.Sprintf(`CREATE TABLE "t%d" ("z%d" int, a text, m date, PRIMARY KEY (m, a))`, i*7%30, i))
	}
	config := db.config(nil)
	first := run(t, "discover", input{config: config}).ok()
	second := run(t, "discover", input{config: config}).ok()
	if a, b := catalogLine(first), catalogLine(second); len(a) == 0 || !bytes.Equal(a, b) {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
}

func catalogLine(r *result) []byte {
	for i, m := range r.messages {
		if m.Catalog != nil {
			return r.lines[i]
		}
	}
	return nil
}

// The catalog is read in two queries, however many tables there are.
func TestDiscoverTenThousandTables(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE first (id int PRIMARY KEY, at date)")
	few, one := discoverWatched(t, db)
	if len(one.Streams) != 1 {
		t.Fatalf("%d streams, want 1", len(one.Streams))
	}
	db.exec(`DO $$ BEGIN
  FOR i IN 1..9999 LOOP
    EXECUTE format('CREATE TABLE t%s (id int, at date, amount numeric(20))', i);
    IF i % 500 = 0 THEN COMMIT; END IF;
  END LOOP;
END $$`)
	many, all := discoverWatched(t, db)
	if len(all.Streams) != 10000 {
		t.Errorf("%d streams, want 10000", len(all.Streams))
	}
	if len(many) != len(few) {
		t.Errorf("%d statements for 10,000 tables, %d for one: %q", len(many), len(few), many)
	}
	queries := 0
	for _, sql := range many {
		if strings.Contains(sql, "pg_class") || strings.Contains(sql, "pg_attribute") {
			queries++
		}
	}
	if queries != 2 {
		t.Errorf("%d catalog queries, want 2: %q", queries, many)
	}
}

// discoverWatched runs discover and gives the statements that the server got.
func discoverWatched(t *testing.T, db *database) ([]string, *catalog) {
	t.Helper()
	w := newWiretap(t, db.Host, db.Port)
	config := db.config(map[string]any{"host": "127.0.0.1", "port": w.port})
	r := run(t, "discover", input{config: config}).ok()
	t.Logf("discover of %d streams: %v", len(r.catalog().Streams), r.ended.Sub(r.begun))
	return w.statements(), r.catalog()
}

// A table that another one replaces while the catalog is being read is there all the same, and one that is dropped then
// is not.
func TestTableSwappedDuringDiscover(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE TABLE gone (id int)")
	w := newWiretap(t, db.Host, db.Port)
	config := db.config(map[string]any{"host": "127.0.0.1", "port": w.port})
	swap := func() error {
		return db.Exec(t.Context(), "BEGIN; DROP TABLE IF EXISTS gone; CREATE TABLE fresh AS TABLE t; DROP TABLE t; "+
			"ALTER TABLE fresh RENAME TO t; COMMIT")
	}
	w.once("pg_class", swap)
	c := discover(t, config)
	if got, want := c.names(), []string{"public.t"}; !slices.Equal(got, want) {
		t.Errorf("streams %q, want %q", got, want)
	}
	w.once("pg_class", swap)
	run(t, "read", input{config: config, catalog: c.configure("full_refresh")}).ok().expectRows("t", db.rows("t"))
}
