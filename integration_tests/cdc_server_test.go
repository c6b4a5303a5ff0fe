package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A server whose log does not have what is needed.
func TestLogOfReplica(t *testing.T) {
	t.Parallel()
	c := &capture{database: newDBOn(t, private(t, "wal_level=replica"))}
	c.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE PUBLICATION pub FOR ALL TABLES")
	c.settings = c.config(map[string]any{"replication_method": map[string]any{
		"method": "CDC", "replication_slot": "slot", "publication": "pub",
	}})
	c.refused(nil, "wal_level is replica", "ALTER SYSTEM SET wal_level = logical")
}

// A slot that keeps more log than it may is lost, between two syncs or during one.
func TestLostSlot(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t, "max_slot_wal_keep_size=16MB", "max_wal_size=32MB", "min_wal_size=32MB",
		"wal_sender_timeout=0"), "CREATE TABLE t (id int PRIMARY KEY, pad text)", nil)
	c.first()
	const rows = 40_000
	c.exec("INSERT INTO t SELECT n, repeat('x', 300) FROM generate_series(1, $1::int) AS n", rows)
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(func(m message) bool { return m.Record != nil }) // the rest does not fit into the pipe
	c.lose()
	r := p.wait()
	expectIn(t, "read", r.failed("config_error").Message, "is lost", "max_slot_wal_keep_size", "bytes of log")
	expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
	c.refused(c.state, "is lost", "max_slot_wal_keep_size", "pg_drop_replication_slot", lsnOf(t, c.state), "bytes of log")
}

// lose makes the server give up the slot.
func (c *capture) lose() {
	c.t.Helper()
	for range 20 {
		if c.value("SELECT wal_status FROM pg_replication_slots") == "lost" {
			return
		}
		c.exec("SELECT pg_switch_wal()")
		c.exec("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t")
		c.exec("CHECKPOINT")
	}
	c.t.Fatal("the slot is not lost")
}

// With no slot left for the first pass, changes come twice, and nothing is lost.
func TestNoFreeSlot(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t, "max_replication_slots=1"), "CREATE TABLE t (id int PRIMARY KEY, v int)", nil)
	c.exec("INSERT INTO t SELECT n, 0 FROM generate_series(1, 50) AS n")
	c.exec("UPDATE t SET v = 1 WHERE id < 10")
	c.exec("DELETE FROM t WHERE id < 5")
	copied := newCopied([]string{"id"}, []string{"id", "v"})
	r := c.first()
	for _, rec := range r.records("t") {
		copied.take(t, rec)
	}
	if !has(r.logs("WARN"), "no temporary replication slot", "max_replication_slots") &&
		!has(r.logs("WARN"), "no temporary replication slot", "53400") {
		t.Errorf("no warning: %q", r.logs("WARN"))
	}
	copied.compare(t, c.database, "t")
	c.exec("DELETE FROM t WHERE id > 40")
	for _, rec := range c.sync().records("t") {
		copied.take(t, rec)
	}
	copied.compare(t, c.database, "t")
}

// After a failover the log goes on on another timeline. A state from before is good; one that has seen more of the old
// timeline than the new one shares is not.
func TestTimelines(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t, "restore_command=false"), "CREATE TABLE t (id int PRIMARY KEY)", nil)
	c.first()
	signal := filepath.Join(c.value("SHOW data_directory"), "recovery.signal")
	if err := c.Halt(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = c.Exec(t.Context(), "SELECT 1") // the connection that went with the server
	c.await("SELECT NOT pg_is_in_recovery()")
	before := string(c.state[0])
	c.exec("INSERT INTO t VALUES (1)")
	expectList(t, c.sync().values("t", "id"), "1")
	if now := string(c.state[0]); !strings.Contains(now, `"timeline":2`) {
		t.Errorf("the state is %s", now)
	}
	beyond := strings.Replace(before, lsnOf(t, []json.RawMessage{json.RawMessage(before)}), lsnOf(t, c.state), 1)
	c.refused([]json.RawMessage{json.RawMessage(beyond)}, "timeline 1", "not part of this server's history", "Reset")
	other := strings.Replace(before, `"timeline":1`, `"timeline":7`, 1)
	c.refused([]json.RawMessage{json.RawMessage(other)}, "timeline 7", "does not come from")
}

// The end of the log that is on the server's disk may lie within a record: a page is written when it is full, and what
// goes on in the next one may stay in memory for long if nobody commits. No position that the server tells is there.
func TestLogEndsWithinARecord(t *testing.T) {
	t.Parallel()
	s := private(t, "autovacuum=off", "bgwriter_delay=10s") // what these write would end the record soon
	c := newCaptureOn(t, s, "CREATE TABLE t (id int PRIMARY KEY, pad text)", nil)
	c.first("t")
	writer := c.connect()
	for id := 1001; id <= 1003; id++ {
		c.exec("INSERT INTO t VALUES ($1)", id)
		do(t, writer, "BEGIN; INSERT INTO t SELECT n, repeat('x', 700) FROM generate_series(1, 60) AS n")
		c.await(`SELECT (pg_current_wal_flush_lsn() - '0/0') % current_setting('wal_block_size')::int = 0
			AND pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()`)
		end := c.value("SELECT pg_current_wal_flush_lsn()")
		c.sync().expectIDs("t", strconv.Itoa(id))
		undisturbed := c.value("SELECT pg_current_wal_flush_lsn()") == end
		do(t, writer, "ROLLBACK")
		if undisturbed {
			return
		}
	}
	t.Error("the sync waited until the server had written more")
}
