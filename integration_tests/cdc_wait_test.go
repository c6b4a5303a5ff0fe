package integration

import (
	"encoding/json"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// A platform ends a sync of which it hears nothing. Whatever is waited for, a state comes at least as often as
// checkpoint_target_interval_seconds says, and each can be gone on from.
func TestStatesWhileWaiting(t *testing.T) {
	t.Parallel()
	s := private(t, "wal_sender_timeout=0")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *capture)
	}{
		{"for the first pass", testWaitForPass},
		{"for the first pass of a stream that joins", testWaitForJoining},
		{"for the slot", testWaitForSlot},
		{"for the server", testWaitForServer},
		{"in a transaction", testWaitInTransaction},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCaptureOn(t, s, `CREATE TABLE t (id int PRIMARY KEY, pad text); INSERT INTO t VALUES (1);
				CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1)`, nil)
			c.settings["checkpoint_target_interval_seconds"] = 1
			test.run(t, c)
		})
	}
}

// someStates reads until some more states have come, and gives the last of them. No record may come meanwhile.
func (p *process) someStates() []json.RawMessage {
	p.t.Helper()
	var last message
	for range 2 {
		last = p.until(func(m message) bool { return m.State != nil || m.Record != nil })
		if last.State == nil {
			p.t.Fatal("a record came before what was waited for")
		}
	}
	return []json.RawMessage{last.State.text}
}

// testWaitForPass: before there is anything to say, the state is that nothing was read.
func testWaitForPass(t *testing.T, c *capture) {
	writer := c.connect()
	do(t, writer, "BEGIN; INSERT INTO t VALUES (2)")
	p := start(t, "read", c.incremental("t"))
	state := p.someStates()
	do(t, writer, "COMMIT")
	expectList(t, p.wait().ok().values("t", "id"), "1", "2")
	c.exec("INSERT INTO t VALUES (3)")
	in := c.incremental("t")
	in.state = state
	expectList(t, run(t, "read", in).ok().values("t", "id"), "1", "2", "3")
}

func testWaitForJoining(t *testing.T, c *capture) {
	c.first("t")
	writer := c.connect()
	do(t, writer, "BEGIN; INSERT INTO later VALUES (2)")
	in := c.incremental("t", "later")
	in.state = c.state
	p := start(t, "read", in)
	in.state = p.someStates()
	do(t, writer, "COMMIT")
	expectList(t, p.wait().ok().values("later", "id"), "1", "2")
	expectList(t, run(t, "read", in).ok().values("later", "id"), "1", "2")
}

func testWaitForSlot(t *testing.T, c *capture) {
	c.first("t")
	_, release := c.holdSlot()
	c.exec("INSERT INTO t VALUES (2)")
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	c.state = p.someStates()
	release()
	expectList(t, p.wait().ok().values("t", "id"), "2")
	expectList(t, c.sync().values("t", "id"), "2")
}

// sender is the server's process that sends the log.
func (c *capture) sender() (tell func(syscall.Signal)) {
	c.t.Helper()
	c.await("SELECT EXISTS (SELECT FROM pg_stat_replication)")
	pid, err := strconv.Atoi(c.value("SELECT pid FROM pg_stat_replication"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // it may have ended
	return func(sig syscall.Signal) {
		c.t.Helper()
		if err := syscall.Kill(pid, sig); err != nil {
			c.t.Fatal(err)
		}
	}
}

// testWaitForServer: the server says nothing, as one that decodes what nobody wants. The connector has begun to read
// when it is stopped, and has read one transaction of two.
func testWaitForServer(t *testing.T, c *capture) {
	c.first("t")
	c.exec("INSERT INTO t VALUES (2)")
	c.exec("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(3, 20000) AS n")
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(func(m message) bool { return m.Record != nil })
	tell := c.sender()
	tell(syscall.SIGSTOP)
	p.until(func(m message) bool { return m.State != nil })
	tell(syscall.SIGCONT)
	if n := len(p.wait().ok().records("t")); n != 19_999 {
		t.Errorf("%d records, want 19999", n)
	}
}

// testWaitInTransaction: the server stops in the middle of a transaction. The states that come then are from before it.
func testWaitInTransaction(t *testing.T, c *capture) {
	c.first("t")
	const rows = 40_000
	c.exec("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(2, $1::int) AS n", rows)
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(func(m message) bool { return m.Record != nil })
	tell := c.sender()
	tell(syscall.SIGSTOP)
	state := p.until(func(m message) bool { return m.State != nil }).State
	idle := 0 // states in a row: what the connector had by then has come out
	p.until(func(m message) bool {
		switch {
		case m.Record != nil:
			idle = 0
		case m.State != nil:
			idle++
		}
		return idle == 2
	})
	tell(syscall.SIGCONT)
	r := p.wait().ok()
	c.state = []json.RawMessage{state.text}
	if n := len(r.records("t")); n != rows-1 || state.Stats.RecordCount == 0 {
		t.Errorf("%d records, want %d, %v before the first state", n, rows-1, state.Stats.RecordCount)
	}
	c.number = 0
	if again := c.sync(); !slices.Equal(recordTexts(again), recordTexts(r)) {
		t.Errorf("%d records from the state in the middle, want the same %d", len(again.records("t")), len(r.records("t")))
	}
}
