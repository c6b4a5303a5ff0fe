package integration

import (
	"fmt"
	"strings"
	"testing"
)

// To a destination a row with another key is another row: the old one has to go first.
func TestKeyChanges(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE, v text);
CREATE TABLE pair (a int, v text, b text, PRIMARY KEY (b, a));
INSERT INTO t VALUES (1, 'one'), (2, 'two'); INSERT INTO pair VALUES (1, 'x', 'k')`)
	// A deferrable key is none for the log.
	c.exec("CREATE UNIQUE INDEX strict ON t (id); ALTER TABLE t REPLICA IDENTITY USING INDEX strict")
	c.first()
	expectList(t, c.changed("t", "UPDATE t SET id = 3, v = 'three' WHERE id = 1"),
		`- {"id":1}`, `+ {"id":3,"v":"three"}`)
	expectList(t, c.changed("t", "UPDATE t SET id = id WHERE id = 3"), `+ {"id":3,"v":"three"}`)
	c.exec("DROP INDEX strict; ALTER TABLE t REPLICA IDENTITY FULL")
	// Two keys that change places.
	c.exec("SET CONSTRAINTS ALL DEFERRED; UPDATE t SET id = 5 - id")
	r := c.sync()
	expectList(t, r.changes("t"), `- {"id":2,"v":"two"}`, `+ {"id":3,"v":"two"}`, `- {"id":3,"v":"three"}`,
		`+ {"id":2,"v":"three"}`)
	c.again(r)
	c.exec("UPDATE pair SET b = 'l'")
	c.exec("UPDATE pair SET a = 2, b = 'm', v = 'y'")
	c.exec("DELETE FROM pair")
	r = c.sync()
	expectList(t, r.changes("pair"), `- {"a":1,"b":"k"}`, `+ {"a":1,"b":"l","v":"x"}`, `- {"a":1,"b":"l"}`,
		`+ {"a":2,"b":"m","v":"y"}`, `- {"a":2,"b":"m"}`)
	c.again(r)
}

// What the log says of a row that is updated or deleted, by the table's replica identity.
func TestIdentities(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE by_key (id int PRIMARY KEY, v text, w int);
CREATE TABLE by_index (id int PRIMARY KEY, v text NOT NULL UNIQUE, w int);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_v_key;
CREATE TABLE whole (id int PRIMARY KEY, v text, w int);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE unkeyed (id int, v text);
ALTER TABLE unkeyed REPLICA IDENTITY FULL`)
	c.first()
	sql := func(table string) string {
		return "INSERT INTO " + table + " VALUES (1, 'a', NULL), (2, 'b', 2); UPDATE " + table + " SET w = 9;" +
			"UPDATE " + table + " SET id = 3 WHERE id = 1; UPDATE " + table + " SET v = 'z' WHERE id = 2; DELETE FROM " + table
	}
	c.exec(sql("by_key"))
	c.exec(sql("by_index"))
	c.exec(sql("whole"))
	c.exec(`INSERT INTO unkeyed VALUES (1, 'a'), (1, 'a'), (2, NULL); UPDATE unkeyed SET v = 'b' WHERE id = 2;
		UPDATE unkeyed SET id = 4 WHERE id = 2; DELETE FROM unkeyed`)
	r := c.sync()
	expectList(t, r.changes("by_key"), `+ {"id":1,"v":"a","w":null}`, `+ {"id":2,"v":"b","w":2}`,
		`+ {"id":1,"v":"a","w":9}`, `+ {"id":2,"v":"b","w":9}`, `- {"id":1}`, `+ {"id":3,"v":"a","w":9}`,
		`+ {"id":2,"v":"z","w":9}`, `- {"id":3}`, `- {"id":2}`)
	// The stream's key is the index's column: the log says nothing of a change of id.
	expectList(t, r.changes("by_index"), `+ {"id":1,"v":"a","w":null}`, `+ {"id":2,"v":"b","w":2}`,
		`+ {"id":1,"v":"a","w":9}`, `+ {"id":2,"v":"b","w":9}`, `+ {"id":3,"v":"a","w":9}`, `- {"v":"b"}`,
		`+ {"id":2,"v":"z","w":9}`, `- {"v":"a"}`, `- {"v":"z"}`)
	expectList(t, r.changes("whole"), `+ {"id":1,"v":"a","w":null}`, `+ {"id":2,"v":"b","w":2}`,
		`+ {"id":1,"v":"a","w":9}`, `+ {"id":2,"v":"b","w":9}`, `- {"id":1,"v":"a","w":9}`, `+ {"id":3,"v":"a","w":9}`,
		`+ {"id":2,"v":"z","w":9}`, `- {"id":3,"v":"a","w":9}`, `- {"id":2,"v":"z","w":9}`)
	// Without a key rows are only added: each version, and each deletion.
	expectList(t, r.changes("unkeyed"), `+ {"id":1,"v":"a"}`, `+ {"id":1,"v":"a"}`, `+ {"id":2,"v":null}`,
		`+ {"id":2,"v":"b"}`, `+ {"id":4,"v":"b"}`, `- {"id":1,"v":"a"}`, `- {"id":1,"v":"a"}`, `- {"id":4,"v":"b"}`)
	c.again(r)
	if key := c.catalog.find(t, "unkeyed").PrimaryKey; len(key) != 0 {
		t.Errorf("a table without a key has the key %v", key)
	}
}

// A table without a key may be keyed by what the user chose: a row that changes there leaves its old place.
func TestChosenKey(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int, v text, w int); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2);
ALTER TABLE t REPLICA IDENTITY FULL`)
	c.catalog = discover(t, c.settings).configure("incremental")
	c.catalog.find(t, "t").PrimaryKey = [][]string{{"id"}, {"v"}}
	c.keep(c.read(nil).ok())
	c.exec("UPDATE t SET id = 3 WHERE id = 1; UPDATE t SET w = 4; UPDATE t SET v = NULL WHERE id = 2; DELETE FROM t")
	r := c.sync()
	expectList(t, r.changes("t"), `- {"id":1,"v":"a","w":1}`, `+ {"id":3,"v":"a","w":1}`, `+ {"id":2,"v":"b","w":4}`,
		`+ {"id":3,"v":"a","w":4}`, `- {"id":2,"v":"b","w":4}`, `+ {"id":2,"v":null,"w":4}`, `- {"id":3,"v":"a","w":4}`,
		`- {"id":2,"w":4}`)
	c.again(r)
}

// A generated column is no identity where the log does not have it: not even a deleted row's key would be there. With
// the whole row in the log the server computes it.
func TestGeneratedKey(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (n int, area int, code int GENERATED ALWAYS AS (n * 10) STORED, v text, PRIMARY KEY (code, area));
CREATE PUBLICATION pub FOR TABLE t; INSERT INTO t VALUES (1, 0), (2, 0)`)
	if c.Version >= 180000 { // the server wants it published
		c.exec("ALTER PUBLICATION pub SET (publish_generated_columns = stored)")
	}
	c.catalog = discover(t, c.settings).configure("full_refresh")
	c.catalog.find(t, "t").SyncMode = "incremental"
	r := c.read(nil).ok()
	c.keep(r)
	if c.Version < 180000 && !has(r.logs("WARN"), `ALTER TABLE "public"."t" REPLICA IDENTITY FULL`) {
		t.Errorf("no warning of the changed table: %q", r.logs("WARN"))
	}
	c.exec("UPDATE t SET v = 'a' WHERE n = 1; UPDATE t SET n = 3, v = 'b' WHERE n = 2; DELETE FROM t WHERE n = 1")
	c.exec("UPDATE t SET area = 5 WHERE n = 3; DELETE FROM t")
	rows := map[string]string{"[10 0]": "null", "[20 0]": "null"}
	for _, rec := range c.sync().records("t") {
		key := fmt.Sprintf("[%s %s]", rec.Data["code"], rec.Data["area"])
		if string(rec.Data["_ab_cdc_deleted_at"]) == "null" {
			rows[key] = string(rec.Data["v"])
		} else if delete(rows, key); strings.Contains(key, "null") {
			t.Errorf("a row without its key was deleted: %s", key)
		}
	}
	if len(rows) > 0 {
		t.Errorf("rows are left that were deleted: %v", rows)
	}
}

// The identity may become another one between two changes. What is not deleted by the stream's key, no destination can
// find by it, of which a warning speaks.
func TestIdentityChanges(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL, w int, big text);
CREATE UNIQUE INDEX t_v ON t (v);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
INSERT INTO t SELECT n, 'v' || n, n, repeat('x', 5000) FROM generate_series(1, 12) n`)
	c.first()
	c.catalog.selectColumns(t, "t", "id", "v", "w", "_ab_cdc_lsn", "_ab_cdc_deleted_at")
	c.catalog.find(t, "t").DestinationSyncMode = "append"
	c.exec(`DELETE FROM t WHERE id = 1; ALTER TABLE t REPLICA IDENTITY FULL; DELETE FROM t WHERE id = 2;
		UPDATE t SET id = 20 WHERE id = 3; ALTER TABLE t REPLICA IDENTITY USING INDEX t_v; DELETE FROM t WHERE id = 4;
		UPDATE t SET v = 'w5' WHERE id = 5; UPDATE t SET w = 0 WHERE id = 6; ALTER TABLE t REPLICA IDENTITY NOTHING;
		INSERT INTO t VALUES (30, 'n', 1)`)
	c.exec("ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET id = 40 WHERE id = 7; DELETE FROM t WHERE id = 8")
	r := c.sync()
	expectList(t, r.changes("t"), `- {"id":1}`, `- {"id":2,"v":"v2","w":2}`, `- {"id":3,"v":"v3","w":3}`,
		`+ {"id":20,"v":"v3","w":3}`, `- {"v":"v4"}`, `- {"v":"v5"}`, `+ {"id":5,"v":"w5","w":5}`,
		`+ {"id":6,"v":"v6","w":0}`, `+ {"id":30,"v":"n","w":1}`, `- {"id":7}`, `+ {"id":40,"v":"v7","w":7}`, `- {"id":8}`)
	c.again(r)
	const warning = "Stream public.t is keyed by id, but its replica identity is v"
	if has(r.logs("WARN"), warning) {
		t.Errorf("warnings %q of an identity that is the key", r.logs("WARN"))
	}
	c.exec("ALTER TABLE t REPLICA IDENTITY USING INDEX t_v")
	if r = c.sync(); !has(r.logs("WARN"), warning, "REPLICA IDENTITY DEFAULT") {
		t.Errorf("warnings %q, want %s", r.logs("WARN"), warning)
	}
}

// A column of the key by which the destination tells rows apart is no more. Whatever the method, the stream has an
// error of its own, and the others go on.
func TestKeyColumnIsGone(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE good (id int PRIMARY KEY);
CREATE TABLE t (a int, b int, v int, PRIMARY KEY (a, b));
INSERT INTO t VALUES (1, 2, 0); INSERT INTO good VALUES (1)`)
	c.first()
	c.exec("UPDATE t SET v = 1; ALTER TABLE t RENAME b TO c; UPDATE t SET v = 2; INSERT INTO good VALUES (2)")
	c.catalog.cursor(t, "t", "v").cursor(t, "good", "id")
	for _, method := range []string{"CDC", "Standard", "Xmin"} {
		in := input{config: c.settings, catalog: c.catalog, state: c.state}
		if method != "CDC" {
			in.config, in.state = c.config(map[string]any{"replication_method": map[string]any{"method": method}}), nil
		}
		r := run(t, "read", in)
		r.failedIn("config_error", "public.t", `column "b"`, "Refresh the source's schema")
		expectStatuses(t, r, "t", "STARTED INCOMPLETE")
		expectStatuses(t, r, "good", "STARTED RUNNING COMPLETE")
	}
}

// A table gets a replica identity where it lacks one and the user owns it; otherwise the stream has an error of its
// own and the others go on.
func TestIdentityIsMade(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE unkeyed (id int, v text);
CREATE TABLE keyed (id int PRIMARY KEY, v text);
CREATE TABLE good (id int PRIMARY KEY);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
ALTER TABLE keyed REPLICA IDENTITY NOTHING;
INSERT INTO deferred VALUES (1);
INSERT INTO unkeyed VALUES (1, 'a'); INSERT INTO keyed VALUES (1, 'a'); INSERT INTO good VALUES (1)`)
	r := c.first()
	expectList(t, r.changes("unkeyed"), `+ {"id":1,"v":"a"}`)
	expectList(t, c.column("SELECT relreplident FROM pg_class WHERE relname IN ('deferred', 'keyed', 'unkeyed') "+
		"ORDER BY relname"), "f", "d", "f")
	if w := r.logs("WARN"); !has(w, "unkeyed", "IDENTITY FULL") || !has(w, "keyed", "IDENTITY DEFAULT") {
		t.Errorf("no warning of the changed tables: %q", w)
	}
	c.exec("UPDATE unkeyed SET v = 'b'; DELETE FROM unkeyed; DELETE FROM keyed; UPDATE deferred SET id = 2")
	r = c.sync()
	expectList(t, r.changes("unkeyed"), `+ {"id":1,"v":"b"}`, `- {"id":1,"v":"b"}`)
	expectList(t, r.changes("keyed"), `- {"id":1}`)
	expectList(t, r.changes("deferred"), `- {"id":1}`, `+ {"id":2}`)

	c.exec("ALTER TABLE unkeyed REPLICA IDENTITY DEFAULT; INSERT INTO unkeyed VALUES (2); INSERT INTO good VALUES (2)")
	c.settings["replication_method"].(map[string]any)["manage_replica_identity"] = false
	r = c.read(c.state)
	e := r.failed("config_error")
	if !has([]string{e.Message}, `ALTER TABLE "public"."unkeyed" REPLICA IDENTITY FULL`) {
		t.Errorf("error %s", e.Message)
	}
	expectList(t, r.changes("good"), `+ {"id":2}`)
	expectList(t, r.statuses("unkeyed"), "STARTED", "INCOMPLETE")
	expectList(t, r.statuses("good"), "STARTED", "RUNNING", "COMPLETE")
}
