package integration

import (
	"fmt"
	"strings"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// A copy of the slot stands where the slot stood: a sync that goes on with it misses nothing.
func TestSlotCopied(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t), "CREATE TABLE t (id int PRIMARY KEY)", nil)
	c.first()
	c.exec("INSERT INTO t VALUES (1)")
	expectList(t, c.sync().values("t", "id"), "1")
	c.exec("INSERT INTO t VALUES (2)")
	c.exec("SELECT pg_copy_logical_replication_slot($1, 'copied')", c.slotName())
	c.exec("SELECT pg_drop_replication_slot($1)", c.slotName())
	c.exec("INSERT INTO t VALUES (3)")
	c.set("replication_slot", "copied")
	expectList(t, c.sync().values("t", "id"), "2", "3")
}

// Time limits of the role end neither the log nor the first pass, however long the destination takes.
func TestTimeLimitsInTheLog(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t), `CREATE TABLE t (id int PRIMARY KEY, v int, big text);
		ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
		INSERT INTO t SELECT n, 0, repeat('x', 3000) FROM generate_series(1, 6000) AS n`, nil)
	for _, name := range []string{
		"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
		"transaction_timeout",
	} {
		if c.value("SELECT count(*) FROM pg_settings WHERE name = $1", name) == "1" {
			c.exec("ALTER DATABASE " + quoted(c.Name) + " SET " + name + " = '900ms'")
		}
	}
	slow := func() *result {
		p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: orNone(c.state)})
		p.until(func(m message) bool { return m.Record != nil })
		c.exec("SELECT pg_sleep(2)") // in a session from before the limits
		return p.wait().ok()
	}
	c.catalog = discover(t, c.settings).configure("incremental")
	r := slow()
	if n := len(r.records("t")); n != 6000 {
		t.Errorf("%d records, want 6000", n)
	}
	c.keep(r)
	// Large values that did not change are looked up, by a connection that has been idle meanwhile.
	c.exec("UPDATE t SET v = 1")
	r = slow()
	if n := len(r.records("t")); n != 6000 {
		t.Errorf("%d records, want 6000", n)
	}
	for _, rec := range r.records("t") {
		if len(rec.Meta.Changes) > 0 || len(rec.Data["big"]) < 3000 {
			t.Fatalf("a large value is missing: %v", rec.Meta.Changes)
		}
	}
}

// orNone is nil, which is no file, for no state.
func orNone[T any](states []T) any {
	if states == nil {
		return nil
	}
	return states
}

// A table that is rewritten in the middle of its first pass is read anew within the same sync, and nothing that
// happens then is missed.
func TestRewrittenDuringFirstPass(t *testing.T) {
	t.Parallel()
	s := private(t)
	for name, sql := range map[string]string{
		"VACUUM FULL":    "VACUUM FULL t",
		"CLUSTER":        "CLUSTER t USING t_pkey",
		"SET TABLESPACE": "ALTER TABLE t SET TABLESPACE elsewhere",
		"TRUNCATE":       "TRUNCATE t; INSERT INTO t SELECT g, 2, 'x' FROM generate_series(7001, 7100) AS g",
	} {
		methods := []string{"CDC", "Xmin", "Standard"}
		if name != "CLUSTER" && name != "SET TABLESPACE" {
			methods = methods[:1]
		}
		for _, method := range methods {
			t.Run(name+", "+method, func(t *testing.T) {
				rewrittenDuringFirstPass(t, s, sql, method)
			})
		}
	}
}

func rewrittenDuringFirstPass(t *testing.T, s *pgtest.Server, sql, method string) {
	t.Helper()
	c := newCaptureOn(t, s, `CREATE TABLE t (id int PRIMARY KEY, version int, pad text);
		ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN; CREATE INDEX ON t (version);
		INSERT INTO t SELECT g, 1, repeat('x', 5000) FROM generate_series(1, 2500) AS g`, nil)
	if strings.Contains(sql, "TABLESPACE") {
		c.tablespace("elsewhere")
	}
	if method != "CDC" {
		c.settings["replication_method"] = map[string]any{"method": method}
	}
	c.settings["max_db_connections"] = 1
	c.catalog = discover(t, c.settings).configure("incremental", "t")
	if method == "Standard" {
		c.catalog.cursor(t, "t", "version")
	}
	p := start(t, "read", input{config: c.settings, catalog: c.catalog})
	p.until(func(m message) bool { return m.Record != nil }) // the rest blocks it, with the table in its hands
	writer := c.connect()
	finished := make(chan error, 1)
	go func() {
		for statement := range strings.SplitSeq(sql, "; ") {
			if _, err := writer.Exec(t.Context(), statement); err != nil {
				finished <- err
				return
			}
		}
		_, err := writer.Exec(t.Context(), "UPDATE t SET version = 3 WHERE id % 10 = 0")
		finished <- err
	}()
	c.await("SELECT count(*) > 0 FROM pg_locks WHERE pid = $1 AND NOT granted", writer.PgConn().PID())
	r := p.wait().ok()
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	if !has(r.logs("WARN"), "rewritten", "public.t") {
		t.Errorf("warnings %q do not say that the table was rewritten", r.logs("WARN"))
	}
	c.keep(r)
	next := c.read(c.state).ok()
	got := map[string]string{}
	for _, rec := range append(r.records("t"), next.records("t")...) {
		got[string(rec.Data["id"])] = string(rec.Data["version"])
	}
	for _, row := range c.column("SELECT id || ' ' || version FROM t") {
		var id, version string
		if _, err := fmt.Sscan(row, &id, &version); err != nil {
			t.Fatal(err)
		}
		if got[id] != version {
			t.Fatalf("row %s is %q in the destination, want %s", id, got[id], version)
		}
	}
}

// What may be forgotten is only said when the server has come that far in reading its log again: told so before, it
// removes the files that it is reading.
func TestLogIsKeptWhileItIsRead(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t, "min_wal_size=32MB", "max_wal_size=32MB"),
		"CREATE TABLE t (id int PRIMARY KEY, pad text); CREATE TABLE other (pad text)", nil)
	c.first("t")
	open := c.connect()
	do(t, open, "BEGIN; INSERT INTO t VALUES (0)") // from here on the server keeps its log
	for id := range 6 {
		c.exec("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 14000)")
		c.exec("INSERT INTO t VALUES ($1)", id+1)
		c.exec("CHECKPOINT") // so that the log says which transactions are open
	}
	c.sync()
	do(t, open, "COMMIT")
	c.exec("CHECKPOINT")
	c.exec("INSERT INTO t VALUES (100)")
	c.sync()
	c.exec("INSERT INTO t VALUES (101)")
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	c.await("SELECT EXISTS (SELECT FROM pg_stat_replication)")
	for range 30 {
		c.exec("CHECKPOINT")
	}
	expectList(t, p.wait().ok().values("t", "id"), "101")
}
