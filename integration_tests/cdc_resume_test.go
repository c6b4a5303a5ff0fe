package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What is deleted after a first pass was interrupted is deleted at the destination too, at whatever moment that
// happens: before the next attempt, while it reads the log, or between that and the snapshot in which its pass
// goes on; and also if the pass has to start over because the table was rewritten.
func TestDeletedBetweenAttempts(t *testing.T) {
	t.Parallel()
	s := private(t)
	for name, between := range map[string]string{"goes on": "CHECKPOINT", "starts over": "VACUUM FULL t"} {
		t.Run(name, func(t *testing.T) {
			c := newCaptureOn(t, s, `CREATE TABLE t (id int PRIMARY KEY, version int, pad text);
				ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
				INSERT INTO t SELECT n, 1, repeat('x', 7000) FROM generate_series(1, 3400) AS n`, nil)
			c.settings["max_db_connections"] = 1
			in := c.incremental("t")
			in.pipe = smallPipe
			in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "version", "_ab_cdc_lsn", "_ab_cdc_deleted_at")
			copied := newCopied([]string{"id"}, []string{"id", "version"})
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.State != nil })
			p.signal(syscall.SIGKILL)
			r := p.wait()
			for _, rec := range r.records("t") {
				copied.take(t, rec)
			}
			if n := len(r.records("t")); n == 3400 {
				t.Fatal("the pass was over already")
			}
			c.exec("DELETE FROM t WHERE id = 1")
			c.exec(between)

			writer := c.connect()
			do(t, writer, "BEGIN; UPDATE t SET version = 2 WHERE id = 2") // the snapshot has to wait for it
			in.state = r.lastState()
			p = start(t, "read", in)
			p.until(func(m message) bool { return m.Log != nil && strings.Contains(m.Log.Message, "open now") })
			c.exec("DELETE FROM t WHERE id = 3")
			c.exec("UPDATE t SET id = 10004, version = 2 WHERE id = 4")
			c.exec("DELETE FROM t WHERE id = 3400")
			do(t, writer, "COMMIT")
			for _, rec := range p.wait().ok().records("t") {
				copied.take(t, rec)
			}
			copied.compare(t, c.database, "t")
		})
	}
}

// A transaction may change a row before the point at which a first pass goes on and commit behind it. The pass reads
// the row as it was. If that attempt comes to nothing but its records are kept, the next one reads the change from the
// log: its number is the greater one.
func TestChangedAcrossThePoint(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t), `CREATE TABLE t (id int PRIMARY KEY, version int, pad text);
		ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
		INSERT INTO t SELECT n, 1, repeat('x', 7000) FROM generate_series(1, 3400) AS n`, nil)
	c.settings["max_db_connections"] = 1
	in := c.incremental("t")
	in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "version", "_ab_cdc_lsn", "_ab_cdc_deleted_at")
	copied := newCopied([]string{"id"}, []string{"id", "version"})
	take := func(r *result) {
		for _, rec := range r.records("t") {
			copied.take(t, rec)
		}
	}
	for _, m := range run(t, "read", in).ok().messages { // what came behind the first state is lost
		if m.State != nil {
			in.state = platformState([]*state{m.State})
			break
		}
		if m.Record != nil {
			copied.take(t, m.Record)
		}
	}

	// The point is there when the transactions of two moments are over, one after the other.
	first := c.writes("UPDATE t SET version = 2 WHERE id = 1")
	p := start(t, "read", in)
	c.awaitWaiting(first)
	second := c.writes("UPDATE t SET version = 2 WHERE id = 2")
	do(t, first, "COMMIT")
	c.awaitWaiting(second)
	across := c.writes("DELETE FROM t WHERE id = 3399; UPDATE t SET version = 2 WHERE id = 3400")
	do(t, second, "COMMIT")
	take(p.wait().ok())
	do(t, across, "COMMIT")
	take(run(t, "read", in).ok())
	copied.compare(t, c.database, "t")
}

// writes begins a transaction, in a session of its own, and leaves it open. What it has written is in the log: of a
// record that is there in part the log's end would be waited for until the server writes something else.
func (c *capture) writes(sql string) *pgx.Conn {
	c.t.Helper()
	conn := c.connect()
	do(c.t, conn, "BEGIN; "+sql)
	c.exec("CHECKPOINT")
	return conn
}

// awaitWaiting waits until somebody waits for the transaction that conn has open.
func (c *capture) awaitWaiting(conn *pgx.Conn) {
	c.t.Helper()
	c.await(`SELECT EXISTS (SELECT FROM pg_locks AS waits JOIN pg_locks AS has USING (transactionid)
		WHERE NOT waits.granted AND has.granted AND has.pid = $1)`, conn.PgConn().PID())
}

// A GLOBAL state as platforms change it. A stream of which it says nothing is read from its beginning, whatever the
// shared state says; the others go on from there.
func TestGlobalStatesOfPlatforms(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);
		INSERT INTO t VALUES (1); INSERT INTO other VALUES (1)`)
	c.first()
	c.exec("INSERT INTO t VALUES (2); INSERT INTO other VALUES (2)")
	for name, test := range map[string]struct {
		edit func(global, inner map[string]any)
		ids  []string // of t
	}{
		"as it was": {func(_, _ map[string]any) {}, []string{"2"}},
		"fields added": {func(global, inner map[string]any) {
			global["later"], inner["later"] = nil, []int{1}
			inner["stream_state"].(map[string]any)["later"] = map[string]any{"a": 1}
			global["shared_state"].(map[string]any)["later"] = 1
		}, []string{"2"}},
		"no namespace": {func(_, inner map[string]any) {
			delete(inner["stream_descriptor"].(map[string]any), "namespace")
		}, []string{"2"}},
		"null":  {func(_, inner map[string]any) { inner["stream_state"] = nil }, []string{"1", "2"}},
		"gone":  {func(_, inner map[string]any) { delete(inner, "stream_state") }, []string{"1", "2"}},
		"empty": {func(_, inner map[string]any) { inner["stream_state"] = map[string]any{} }, []string{"1", "2"}},
		"just its name": {func(_, inner map[string]any) {
			inner["stream_state"] = map[string]any{"version": 2, "stream_name": "t", "stream_namespace": "public"}
		}, []string{"1", "2"}},
		"not in it": {func(global, _ map[string]any) {
			global["stream_states"] = slices.DeleteFunc(global["stream_states"].([]any), func(s any) bool {
				return at(s, "stream_descriptor", "name") == "t"
			})
		}, []string{"1", "2"}},
	} {
		var full map[string]any
		if err := json.Unmarshal(c.state[0], &full); err != nil {
			t.Fatal(err)
		}
		global := full["global"].(map[string]any)
		for _, inner := range global["stream_states"].([]any) {
			if at(inner, "stream_descriptor", "name") == "t" {
				test.edit(global, inner.(map[string]any))
			}
		}
		full["id"], full["partition_id"], full["destinationStats"] = 7, "p", map[string]any{"recordCount": 1}
		r := c.read([]json.RawMessage{text(t, full)}).ok()
		t.Run(name, func(t *testing.T) { expectList(t, sorted(r.values("t", "id")), test.ids...) })
		expectList(t, r.values("other", "id"), "2")
	}
}
