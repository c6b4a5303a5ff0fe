package integration

import (
	"context"
	"strings"
	"sync"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// From version 16 on the log can be read on a standby, with the slot there, and on after its promotion; before that a
// standby is refused.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := private(t)
	c := newCaptureOn(t, primary, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", nil)
	c.exec("SELECT pg_drop_replication_slot($1)", c.slotName()) // the copy would have it too
	standby, err := primary.Standby(t.Context(), "hot_standby_feedback=on")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	_ = c.Exec(t.Context(), "SELECT 1") // the connection that went with the server
	c.settings["host"], c.settings["port"] = standby.Host, standby.Port
	c.catalog = discover(t, c.settings).configure("incremental")
	if standby.Version < 160000 {
		expectIn(t, "check", checked(t, c.settings), "must connect to the primary", "Set the host of the primary")
		e := c.read(nil).failed("config_error")
		expectIn(t, "read", e.Message, "must connect to the primary")
		return
	}
	testStandby(t, c, &database{Database: &pgtest.Database{Server: standby, Name: c.Name}, t: t})
}

// testStandby reads a database on a standby, where it is on.
func testStandby(t *testing.T, c *capture, on *database) {
	t.Helper()
	there := on.connect()
	// A slot on a standby waits for a note of the primary's open transactions.
	noted := func(then func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		noter := c.connect()
		group.Go(func() {
			for ctx.Err() == nil {
				_, _ = noter.PgConn().Exec(t.Context(), "SELECT pg_log_standby_snapshot(), pg_sleep(0.1)").ReadAll()
			}
		})
		then()
		cancel()
		group.Wait()
	}
	noted(func() {
		do(t, there, "SELECT pg_create_logical_replication_slot('"+c.slotName()+"', 'pgoutput')")
		expectSucceeded(t, "check", c.settings)
		r := c.read(nil).ok()
		expectList(t, r.changes("t"), `+ {"id":1,"v":"a"}`)
		c.keep(r)
	})
	replayed := func() {
		t.Helper()
		at := c.value("SELECT pg_current_wal_lsn()")
		do(t, there, `DO $$ BEGIN WHILE coalesce(pg_last_wal_replay_lsn() < '`+at+`', false) LOOP
			PERFORM pg_sleep(0.01); END LOOP; END $$`)
	}
	for range 3 {
		c.exec("INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'c' WHERE id = 2; DELETE FROM t WHERE id = 2")
		replayed()
		r := c.sync()
		expectList(t, r.changes("t"), `+ {"id":2,"v":"b"}`, `+ {"id":2,"v":"c"}`, `- {"id":2}`)
		c.again(r)
		expectList(t, c.sync().changes("t"))
	}
	if !strings.Contains(string(c.state[0]), `"timeline":1`) {
		t.Errorf("the state is %s", c.state[0])
	}
	do(t, there, "SELECT pg_promote()")
	do(t, there, `INSERT INTO t VALUES (3, 'promoted')`)
	expectList(t, c.sync().changes("t"), `+ {"id":3,"v":"promoted"}`)
	if !strings.Contains(string(c.state[0]), `"timeline":2`) {
		t.Errorf("the state is %s", c.state[0])
	}
}
