package integration

import (
	"testing"
)

// The log calls a table what it was called when the change was made. A stream is about its table, whatever that was
// called meanwhile, and about no other that had its name.
func TestRenamedAwayAndBack(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE SCHEMA attic; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')`)
	c.first("t")
	c.exec("ALTER TABLE t RENAME TO away; INSERT INTO away VALUES (2, 'away')")
	c.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (100)")
	c.exec("ALTER TABLE away SET SCHEMA attic; UPDATE attic.away SET v = 'attic' WHERE id = 1")
	c.exec("DROP TABLE t; ALTER TABLE attic.away SET SCHEMA public; ALTER TABLE away RENAME TO t")
	c.exec("INSERT INTO t VALUES (3, 'back')")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":2,"v":"away"}`, `+ {"id":1,"v":"attic"}`, `+ {"id":3,"v":"back"}`)
	c.again(r)
}

// The log has nothing of what is written to a table while it is unlogged, nor of its way back: a warning names it.
func TestUnloggedForAWhile(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
	c.first()
	c.exec("ALTER TABLE t SET UNLOGGED; INSERT INTO t VALUES (2); ALTER TABLE t SET LOGGED; INSERT INTO t VALUES (3)")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":3}`)
	if !has(r.logs("WARN"), "public.t", "SET UNLOGGED", "reset the stream") {
		t.Errorf("no warning: %q", r.logs("WARN"))
	}
}

// While a table is outside the publication the log has nothing of it. If it is back by the next sync a warning says so.
func TestOutOfThePublicationForAWhile(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
		CREATE PUBLICATION pub FOR TABLE t, u`)
	c.first()
	warned := func(r *result, t, u bool) {
		c.t.Helper()
		for name, want := range map[string]bool{"public.t": t, "public.u": u} {
			if has(r.logs("WARN"), "put back", name) != want {
				c.t.Errorf("warning of %s: %t, want %t: %q", name, !want, want, r.logs("WARN"))
			}
		}
	}
	c.exec("ALTER PUBLICATION pub SET TABLE t, u; ALTER PUBLICATION pub SET (publish = 'insert, update, delete')")
	warned(c.sync(), false, false)
	c.exec("ALTER PUBLICATION pub DROP TABLE t")
	c.exec("INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)")
	c.exec("ALTER PUBLICATION pub ADD TABLE t")
	r := c.sync()
	expectList(t, r.changes("t"))
	expectList(t, r.changes("u"), `+ {"id":1}`)
	warned(r, true, false)
	warned(c.sync(), false, false)
	c.exec("DROP PUBLICATION pub; CREATE PUBLICATION pub FOR TABLE t, u")
	warned(c.sync(), true, true)
}

// A publication may take in a schema: what leaves it, or the schema the publication, is not in the log either.
func TestOutOfThePublishedSchemaForAWhile(t *testing.T) {
	t.Parallel()
	if server.Version < 150000 {
		return
	}
	c := newCapture(t, `CREATE SCHEMA other; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
		CREATE PUBLICATION pub FOR TABLES IN SCHEMA public`)
	c.first()
	warned := func(t, u bool) {
		c.t.Helper()
		w := c.sync().logs("WARN")
		if has(w, "put back", "public.t") != t || has(w, "put back", "public.u") != u {
			c.t.Errorf("want warnings of t %t, of u %t: %q", t, u, w)
		}
	}
	c.exec("ALTER TABLE t ADD v text; INSERT INTO u VALUES (1)")
	warned(false, false)
	c.exec("ALTER TABLE t SET SCHEMA other; INSERT INTO other.t VALUES (1); ALTER TABLE other.t SET SCHEMA public")
	warned(true, false)
	warned(false, false)
	c.exec("ALTER PUBLICATION pub DROP TABLES IN SCHEMA public")
	c.exec("INSERT INTO u VALUES (2)")
	c.exec("ALTER PUBLICATION pub ADD TABLES IN SCHEMA public")
	warned(true, true)
}

// The identity became an index's columns after the stream was chosen by its primary key: the log has no key to delete
// rows by. A warning says so, with the way back.
func TestIdentityOtherThanTheKey(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL UNIQUE); INSERT INTO t VALUES (1, 1)")
	if w := c.first().logs("WARN"); has(w, "replica identity") {
		t.Errorf("warned of nothing: %q", w)
	}
	c.exec("ALTER TABLE t REPLICA IDENTITY USING INDEX t_v_key")
	if w := c.sync().logs("WARN"); !has(w, "public.t", "v", `ALTER TABLE "public"."t" REPLICA IDENTITY DEFAULT`) {
		t.Errorf("no warning: %q", w)
	}
	c.catalog = discover(t, c.settings).configure("incremental")
	if w := c.sync().logs("WARN"); has(w, "replica identity") {
		t.Errorf("warned of nothing: %q", w)
	}
}
