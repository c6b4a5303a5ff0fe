package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestSlot is about the slot and the position in the log. What it tests waits for open transactions of the whole server
// and counts its slots, so the tests take turns on a server of their own.
func TestSlot(t *testing.T) {
	t.Parallel()
	s := private(t, "checkpoint_timeout=1h")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *capture)
	}{
		{"missing", testSlotMissing},
		{"physical", testSlotPhysical},
		{"other plugin", testSlotPlugin},
		{"other database", testSlotElsewhere},
		{"two phases", testSlotOfTwoPhases},
		{"copied", testSlotCopied},
		{"in use", testSlotInUse},
		{"made again", testSlotMadeAgain},
		{"moved on while waiting", testSlotMoved},
		{"state ahead", testStateAhead},
		{"state of another cluster", testStateElsewhere},
		{"state without a position", testStateWithoutPosition},
		{"no publication", testNoPublication},
		{"publication younger than the changes", testYoungPublication},
		{"role without REPLICATION", testNoReplication},
		{"acknowledged", testAcknowledged},
		{"acknowledged while reading", testAcknowledgedReading},
		{"heartbeat", testHeartbeat},
		{"idle", testIdle},
		{"nothing left behind", testNothingLeft},
		{"killed while it waits", testKilledWaiting},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, newCaptureOn(t, s, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", nil))
		})
	}
}

// set changes a setting of the replication method.
func (c *capture) set(name string, value any) {
	c.settings["replication_method"].(map[string]any)[name] = value
}

const slotsSQL = `SELECT coalesce(string_agg(slot_name || ' ' || coalesce(plugin, '') || ' ' ||
	coalesce(confirmed_flush_lsn::text, ''), ', ' ORDER BY 1), '') FROM pg_replication_slots WHERE NOT temporary`

// refused reads twice, which has to be a config error with these parts in its message both times, and to leave the
// slots alone.
func (c *capture) refused(state []json.RawMessage, parts ...string) {
	c.t.Helper()
	if c.catalog == nil {
		c.catalog = discover(c.t, c.settings).configure("incremental")
	}
	before := c.value(slotsSQL)
	for range 2 {
		r := c.read(state)
		e := r.failed("config_error")
		for _, part := range parts {
			if !strings.Contains(e.Message, part) {
				c.t.Errorf("the message lacks %q: %s", part, e.Message)
			}
		}
		if len(r.records("t"))+len(r.states()) > 0 {
			c.t.Errorf("%d records and %d states came nevertheless", len(r.records("t")), len(r.states()))
		}
	}
	if after := c.value(slotsSQL); after != before {
		c.t.Errorf("the slots were %s and are %s", before, after)
	}
}

func testSlotMissing(t *testing.T, c *capture) {
	c.set("replication_slot", "nowhere")
	c.refused(nil, "nowhere does not exist", "pg_create_logical_replication_slot('nowhere', 'pgoutput')")
}

func testSlotPhysical(t *testing.T, c *capture) {
	c.exec("SELECT pg_create_physical_replication_slot('physical')")
	c.set("replication_slot", "physical")
	c.refused(nil, "physical", "pg_create_logical_replication_slot")
	c.exec("SELECT pg_drop_replication_slot('physical')")
}

func testSlotPlugin(t *testing.T, c *capture) {
	c.exec("SELECT pg_create_logical_replication_slot('other', 'test_decoding')")
	c.set("replication_slot", "other")
	c.refused(nil, "test_decoding", "pg_drop_replication_slot('other')")
	c.exec("SELECT pg_drop_replication_slot('other')")
}

func testSlotElsewhere(t *testing.T, c *capture) {
	other := newCaptureOn(t, c.Server, "", nil)
	c.set("replication_slot", other.slotName())
	c.refused(nil, "belongs to database "+other.Name, "pg_create_logical_replication_slot")
}

// A slot that decodes prepared transactions before they are committed would send what may never happen.
func testSlotOfTwoPhases(t *testing.T, c *capture) {
	if c.Version < 140000 {
		return // there are none
	}
	c.exec("SELECT pg_create_logical_replication_slot('phases', 'pgoutput', false, true)")
	c.set("replication_slot", "phases")
	c.refused(nil, "phases", "two_phase", "pg_drop_replication_slot('phases')")
	c.exec("SELECT pg_drop_replication_slot('phases')")
}

// A copy of the slot has all that the slot had then, and so all that comes after a state from before.
func testSlotCopied(t *testing.T, c *capture) {
	c.first()
	c.exec("SELECT pg_copy_logical_replication_slot($1, 'copied')", c.slotName())
	c.exec("INSERT INTO t VALUES (2)")
	was := c.slotName()
	c.set("replication_slot", "copied")
	expectList(t, c.sync().values("t", "id"), "2")
	c.exec("INSERT INTO t VALUES (3)")
	c.sync()
	c.sync()
	// The copy has moved on, the slot has not: it has everything still. Once it moves beyond a state, that is refused.
	c.set("replication_slot", was)
	expectList(t, c.sync().values("t", "id"))
	c.exec("INSERT INTO t VALUES (4)")
	c.exec("SELECT pg_replication_slot_advance('copied', pg_current_wal_lsn())")
	c.set("replication_slot", "copied")
	c.refused(c.state, "has moved on", lsnOf(t, c.state))
	c.exec("SELECT pg_drop_replication_slot('copied')")
}

// holdSlot streams from the slot, as another connection, until release is called. move makes it acknowledge the
// whole log.
func (c *capture) holdSlot() (move, release func()) {
	c.t.Helper()
	conn, err := pgconn.Connect(c.t.Context(), c.URL()+"?replication=database")
	if err == nil {
		err = pglogrepl.StartReplication(c.t.Context(), conn, c.slotName(), 0, pglogrepl.StartReplicationOptions{
			PluginArgs: []string{"proto_version '1'", "publication_names 'pub'"},
		})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	move = func() {
		end, err := pglogrepl.ParseLSN(c.value("SELECT pg_current_wal_flush_lsn()"))
		if err == nil {
			err = pglogrepl.SendStandbyStatusUpdate(c.t.Context(), conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: end})
		}
		if err != nil {
			c.t.Error(err)
		}
		c.await("SELECT confirmed_flush_lsn = $2 FROM pg_replication_slots WHERE slot_name = $1", c.slotName(), end)
	}
	return move, func() { _ = conn.Conn().Close() } // the server sees that by itself
}

func slotInUse(m message) bool {
	return m.Log != nil && m.Log.Level == "WARN" && strings.Contains(m.Log.Message, "in use")
}

func testSlotInUse(t *testing.T, c *capture) {
	c.first()
	_, release := c.holdSlot()
	c.exec("INSERT INTO t VALUES (2)")
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(slotInUse)
	release()
	expectList(t, p.wait().ok().values("t", "id"), "2")
}

func testSlotMadeAgain(t *testing.T, c *capture) {
	c.first()
	c.exec("INSERT INTO t VALUES (2)")
	c.exec("SELECT pg_drop_replication_slot($1)", c.slotName())
	c.refused(c.state, c.slotName()+" does not exist", "reset the connection", lsnOf(t, c.state), "are lost")
	c.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", c.slotName())
	c.exec("INSERT INTO t VALUES (3)")
	c.refused(c.state, "lost", lsnOf(t, c.state), "reset")
}

// While the connector waits for the slot, whoever has it moves it on beyond the state. The server would begin there
// without a word.
func testSlotMoved(t *testing.T, c *capture) {
	c.first()
	move, release := c.holdSlot()
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(slotInUse)
	c.exec("INSERT INTO t VALUES (2)")
	move()
	release()
	r := p.wait()
	if e := r.failed("config_error"); !strings.Contains(e.Message, "has moved on") || len(r.states()) > 0 {
		t.Errorf("%d states; %s", len(r.states()), e.Message)
	}
	c.refused(c.state, "has moved on", lsnOf(t, c.state))
}

// edited is a state with a part of its text replaced.
func edited(t *testing.T, states []json.RawMessage, old, replacement string) []json.RawMessage {
	t.Helper()
	text := string(states[0])
	if !strings.Contains(text, old) {
		t.Fatalf("the state has no %s: %s", old, text)
	}
	return []json.RawMessage{json.RawMessage(strings.ReplaceAll(text, old, replacement))}
}

func testStateAhead(t *testing.T, c *capture) {
	c.first()
	c.refused(edited(t, c.state, fmt.Sprintf(`"lsn":%q`, lsnOf(t, c.state)), `"lsn":"FFFF/0"`), "FFFF/0", "ahead", "Reset")
}

func testStateElsewhere(t *testing.T, c *capture) {
	c.first()
	system := c.value("SELECT system_identifier FROM pg_control_system()")
	c.refused(edited(t, c.state, system, "7000000000000000001"), "another database cluster", "7000000000000000001", system)
}

func testStateWithoutPosition(t *testing.T, c *capture) {
	c.first()
	var full map[string]any
	if err := json.Unmarshal(c.state[0], &full); err != nil {
		t.Fatal(err)
	}
	delete(full["global"].(map[string]any), "shared_state")
	c.refused([]json.RawMessage{text(t, full)}, "shared_state", "reset")
}

func testNoPublication(t *testing.T, c *capture) {
	c.first()
	c.exec("DROP PUBLICATION pub")
	c.refused(nil, "Publication pub does not exist", "CREATE PUBLICATION")
	c.refused(c.state, "Publication pub does not exist")
}

func testYoungPublication(t *testing.T, c *capture) {
	c.first()
	c.exec("DROP PUBLICATION pub")
	c.exec("INSERT INTO t VALUES (2)")
	c.exec("CREATE PUBLICATION pub FOR ALL TABLES")
	// Both times: only the position of the state, which the platform has in its keeping, may be confirmed to the slot.
	for range 2 {
		r := c.read(c.state)
		if e := r.failed("config_error"); !strings.Contains(e.Message, "Publication pub") ||
			!strings.Contains(e.Message, "make it again") {
			t.Errorf("%s", e.Message)
		}
	}
}

func testNoReplication(t *testing.T, c *capture) {
	c.first()
	role := c.role("reader")
	c.exec("GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + quoted(role.Name))
	c.settings = c.configAs(role, map[string]any{"replication_method": c.settings["replication_method"]})
	c.refused(nil, "REPLICATION")
	c.refused(c.state, "REPLICATION")
}

// confirmed is the slot's position.
func (c *capture) confirmed() string {
	c.t.Helper()
	return c.value("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1", c.slotName())
}

// What a sync acknowledges is the state that it was given, and it has the server's word for it when it ends.
func testAcknowledged(t *testing.T, c *capture) {
	made := c.confirmed()
	c.first()
	if got := c.confirmed(); got != made {
		t.Errorf("the first sync moved the slot from %s to %s", made, got)
	}
	for i := range 4 {
		c.exec("INSERT INTO t VALUES ($1)", 10+i)
		c.sync()
		if got, want := c.confirmed(), lsnOf(t, c.before); got != want {
			t.Errorf("the slot is at %s, the sync was given %s", got, want)
		}
	}
}

func testAcknowledgedReading(t *testing.T, c *capture) {
	c.set("lsn_commit_behaviour", "While reading Data")
	c.first()
	for i := range 3 {
		c.exec("INSERT INTO t VALUES ($1)", 10+i)
		c.sync()
		if got, want := c.confirmed(), lsnOf(t, c.state); got != want {
			t.Errorf("the slot is at %s, the sync wrote %s", got, want)
		}
	}
	c.refused(c.before, "lsn_commit_behaviour", "After loading Data in the destination")
}

func testHeartbeat(t *testing.T, c *capture) {
	c.exec("CREATE TABLE beat (id int PRIMARY KEY, n int); INSERT INTO beat VALUES (1, 0)")
	c.set("heartbeat_action_query", "UPDATE beat SET n = n + 1")
	c.first()
	before := c.value("SELECT n FROM beat")
	r := c.sync()
	expectList(t, r.changes("beat"), fmt.Sprintf(`+ {"id":1,"n":%s}`, c.value("SELECT n FROM beat")))
	if before == c.value("SELECT n FROM beat") {
		t.Error("the query was not run")
	}
	c.set("heartbeat_action_query", "UPDATE nowhere SET n = 1")
	c.exec("INSERT INTO t VALUES (2)")
	r = c.sync()
	expectList(t, r.values("t", "id"), "2")
	if !has(r.logs("WARN"), "heartbeat_action_query", "nowhere") {
		t.Errorf("no warning: %q", r.logs("WARN"))
	}
}

// A table of which nothing is heard must not keep the log of a busy neighbour.
func testIdle(t *testing.T, c *capture) {
	busy := newDBOn(t, c.Server)
	busy.exec("CREATE TABLE t (pad text)")
	c.first()
	const round = 10 << 20
	for range 6 {
		busy.exec("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
		busy.exec("CHECKPOINT") // as there are by themselves; they note which transactions are open
		r := c.sync()
		if states := r.states(); len(states) != 1 {
			t.Errorf("an idle sync wrote %d states, want 1", len(states))
		}
		if got, want := c.confirmed(), lsnOf(t, c.before); got != want {
			t.Errorf("the slot is at %s, the sync was given %s", got, want)
		}
	}
	const sql = "SELECT pg_current_wal_lsn() - restart_lsn < $2 FROM pg_replication_slots WHERE slot_name = $1"
	if c.value(sql, c.slotName(), 3*round) != "t" {
		t.Errorf("the slot keeps log of more than two of the rounds: %s", c.value(slotsSQL))
	}
	// A segment of the log that was switched has a gap at its end, which no transaction ever fills.
	c.exec("SELECT pg_switch_wal()")
	if states := c.sync().states(); len(states) != 1 {
		t.Errorf("%d states, want 1", len(states))
	}
}

// oursSQL counts the connector's sessions and temporary slots.
const oursSQL = `(SELECT count(*) FROM pg_replication_slots WHERE temporary) +
	(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> '')`

func testNothingLeft(t *testing.T, c *capture) {
	c.exec("INSERT INTO t SELECT generate_series(2, 100000)")
	c.first()
	c.await("SELECT " + oursSQL + " = 0")
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		for _, state := range [][]json.RawMessage{nil, c.state} {
			c.exec("UPDATE t SET id = id")
			in := input{config: c.settings, catalog: c.catalog}
			if state != nil {
				in.state = state
			}
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.Record != nil })
			p.signal(sig)
			if r := p.wait(); r.exit != 128+int(sig) {
				t.Errorf("exit code %d after %v", r.exit, sig)
			}
			c.await("SELECT " + oursSQL + " = 0")
			c.await("SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1", c.slotName())
		}
	}
}

// The temporary slot has to wait for an open transaction. It does not stay behind when the connector ends meanwhile.
func testKilledWaiting(t *testing.T, c *capture) {
	writer := c.connect()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		do(t, writer, "BEGIN; INSERT INTO t VALUES (7)")
		p := start(t, "read", c.incremental("t"))
		p.until(func(m message) bool { return m.Log != nil && strings.Contains(m.Log.Message, "open now") })
		c.await("SELECT EXISTS (SELECT FROM pg_replication_slots WHERE temporary)")
		p.signal(sig)
		if r := p.wait(); r.exit != 128+int(sig) || len(r.records("t")) > 0 {
			t.Errorf("exit code %d after %v, %d records", r.exit, sig, len(r.records("t")))
		}
		if sig == syscall.SIGTERM { // it asks the server to stop waiting
			c.await("SELECT " + oursSQL + " = 0")
		}
		do(t, writer, "ROLLBACK")
		c.await("SELECT " + oursSQL + " = 0")
	}
}
