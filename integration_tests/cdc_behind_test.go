package integration

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// behind is a capture of tables a and b that reads as a role of its own, after the first sync.
func behind(t *testing.T, method map[string]any) (*capture, string) {
	t.Helper()
	c := newCapture(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
		INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); CREATE PUBLICATION pub FOR TABLE a, b`)
	role := c.role("reader")
	c.exec("ALTER ROLE " + quoted(role.Name) + " REPLICATION; GRANT SELECT ON a, b TO " + quoted(role.Name))
	c.settings["username"], c.settings["password"] = role.Name, role.Password
	maps.Copy(c.settings["replication_method"].(map[string]any), method)
	c.first()
	return c, quoted(role.Name)
}

// half is a sync in which b cannot be read, and a can.
func (c *capture) half(want ...string) *result {
	c.t.Helper()
	r := c.read(c.state)
	r.failedIn("config_error", "public.b")
	expectList(c.t, r.changes("a"), want...)
	expectList(c.t, r.changes("b"))
	c.keep(r)
	c.number = max(c.number, slices.Max(append(c.numbers(r), 0)))
	return r
}

// A stream that cannot be read for a while loses nothing: the others go on, and the log is kept for it.
func TestStreamLeftBehind(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]struct {
		harm, mend string
		method     map[string]any
	}{
		"revoked": {"REVOKE SELECT ON b FROM $role", "GRANT SELECT ON b TO $role", nil},
		"renamed": {"ALTER TABLE b RENAME TO c", "ALTER TABLE c RENAME TO b", nil},
		"hidden, read ahead": {
			"ALTER TABLE b ENABLE ROW LEVEL SECURITY", "ALTER TABLE b DISABLE ROW LEVEL SECURITY",
			map[string]any{"lsn_commit_behaviour": "While reading Data"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, role := behind(t, how.method)
			c.exec(strings.ReplaceAll(how.harm, "$role", role))
			table := "b"
			if name == "renamed" {
				table = "c"
			}
			c.exec("INSERT INTO a VALUES (2)")
			c.exec("INSERT INTO " + table + " VALUES (2); DELETE FROM " + table + " WHERE id = 1")
			r := c.half(`+ {"id":2}`)
			if !has(r.logs("WARN"), "the log is kept for it", "public.b") {
				t.Errorf("no warning of b: %q", r.logs("WARN"))
			}
			c.exec("INSERT INTO " + table + " VALUES (3)")
			c.exec("INSERT INTO a VALUES (3)")
			c.half(`+ {"id":3}`) // what was sent does not come again
			c.half()
			c.exec(strings.ReplaceAll(how.mend, "$role", role))
			c.exec("INSERT INTO a VALUES (4)")
			r = c.sync()
			expectList(t, r.changes("a"), `+ {"id":4}`)
			expectList(t, r.changes("b"), `+ {"id":2}`, `- {"id":1}`, `+ {"id":3}`)
			if how.method == nil { // else the slot has moved on
				c.again(r)
			}
			expectList(t, c.sync().changes("b"))
		})
	}
}

// The log is not kept for a table that is gone. Another one of its name is read from its beginning.
func TestDroppedStreamHoldsNothing(t *testing.T) {
	t.Parallel()
	c, role := behind(t, nil)
	c.exec("DROP TABLE b")
	dropped := c.value("SELECT pg_current_wal_flush_lsn()")
	c.exec("INSERT INTO a VALUES (2)")
	if r := c.half(`+ {"id":2}`); has(r.logs("WARN"), "the log is kept for it") {
		t.Errorf("warnings %q", r.logs("WARN"))
	}
	c.half()
	c.await("SELECT confirmed_flush_lsn > $1 FROM pg_replication_slots WHERE database = current_database()", dropped)
	c.exec("CREATE TABLE b (id int PRIMARY KEY); ALTER PUBLICATION pub ADD TABLE b; INSERT INTO b VALUES (3); " +
		"GRANT SELECT ON b TO " + role)
	r := c.sync()
	expectList(t, r.changes("b"), `+ {"id":3}`)
	if !has(r.logs("WARN"), "public.b", "starts over") {
		t.Errorf("no warning that b starts over: %q", r.logs("WARN"))
	}
}

// A stream that is lost in the middle of its first pass misses nothing of the rows that it has read: their changes come
// from the log all the same.
func TestStreamLostDuringFirstPass(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE a (id int PRIMARY KEY)")
	c.pages(3000)
	role := c.role("reader")
	c.exec("ALTER TABLE t ADD PRIMARY KEY (id); ALTER ROLE " + quoted(role.Name) + " REPLICATION; " +
		"GRANT SELECT ON a, t TO " + quoted(role.Name))
	c.settings["username"], c.settings["password"] = role.Name, role.Password
	c.settings["max_db_connections"] = 1
	c.first("a")
	c.catalog = discover(t, c.settings).configure("incremental", "a", "t")
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state, pipe: 1 << 12})
	p.until(func(m message) bool { return m.Record != nil && m.Record.Stream == "t" })
	c.exec("REVOKE SELECT ON t FROM " + quoted(role.Name))
	c.exec("DELETE FROM t WHERE id = 1; INSERT INTO a VALUES (1)")
	r := p.wait()
	r.failedIn("config_error", "public.t")
	expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
	expectStatuses(t, r, "a", "STARTED RUNNING COMPLETE")
	c.keep(r)
	deleted := slices.Index(r.changes("t"), `- {"id":1}`)
	if n := len(r.records("t")); n < 100 || n > 2900 || deleted < 0 {
		t.Fatalf("%d records, and the delete of a row among them at %d", n, deleted)
	}
	c.exec("GRANT SELECT ON t TO " + quoted(role.Name))
	last := c.read(c.state).ok()
	if n := len(last.records("t")); n == 0 || n > 2900 {
		t.Errorf("%d records of the rest", n)
	}
	left := map[string]bool{}
	for _, rec := range append(r.records("t"), last.records("t")...) {
		left[string(rec.Data["id"])] = string(rec.Data["_ab_cdc_deleted_at"]) == "null"
	}
	if len(left) != 3000 || left["1"] || !left["2"] || !left["3000"] {
		t.Errorf("%d keys; 1: %t, 2: %t, 3000: %t", len(left), left["1"], left["2"], left["3000"])
	}
}
