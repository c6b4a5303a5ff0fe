package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cdcBlocked is how long nobody reads the connector's output in TestBlockedOutput. By default that is some times
// wal_sender_timeout; CDC_BLOCKED=90 tries what a slow destination does: a minute and a half with a limit of 5 s.
var cdcBlocked = flag.Int("cdc.blocked", fromEnvironment("CDC_BLOCKED", 4),
	"seconds for which TestBlockedOutput does not read; also CDC_BLOCKED")

// A server ends a replication connection from which it hears nothing for wal_sender_timeout. While stdout is
// blocked the connector goes on talking to it, and then to read.
func TestBlockedOutput(t *testing.T) {
	t.Parallel()
	patience := "1s"
	if *cdcBlocked > 30 {
		patience = "5s"
	}
	c := newCaptureOn(t, private(t, "wal_sender_timeout="+patience), "CREATE TABLE t (id int PRIMARY KEY, pad text)", nil)
	c.settings["jdbc_url_params"] = "socketTimeout=1"
	c.first()
	// Far more than the pipe, the connector's buffers and the sockets hold.
	const rows = 60_000
	c.exec("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, $1::int) AS n", rows)
	in := input{config: c.settings, catalog: c.catalog, state: c.state, timeout: 5 * time.Minute}
	p := start(t, "read", in)
	p.until(func(m message) bool { return m.Record != nil })
	sender := "SELECT coalesce(max(pid), 0) FROM pg_stat_replication"
	before := c.value(sender)
	c.exec("SELECT pg_sleep($1)", *cdcBlocked)
	if after := c.value(sender); after != before || after == "0" {
		t.Errorf("the server's process was %s and is %s", before, after)
	}
	r := p.wait().ok()
	if n := len(r.records("t")); n != rows {
		t.Errorf("%d records, want %d", n, rows)
	}
	c.keep(r)
	if n := len(c.sync().records("t")); n != 0 {
		t.Errorf("%d records came again", n)
	}
}

// A frozen connector is given up by the server. It notices, says so, and the next attempt goes on.
func TestFrozenConnector(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t, "wal_sender_timeout=1s"), "CREATE TABLE t (id int PRIMARY KEY, pad text)", nil)
	c.first()
	const rows = 40_000
	c.exec("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, $1::int) AS n", rows)
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(func(m message) bool { return m.Record != nil })
	p.freeze()
	c.await("SELECT NOT EXISTS (SELECT FROM pg_stat_replication)")
	p.thaw()
	p.wait().failed("transient_error")
	if n := len(c.sync().records("t")); n != rows {
		t.Errorf("%d records, want %d", n, rows)
	}
}

func (p *process) freeze() { p.tell(syscall.SIGSTOP) }

func (p *process) thaw() { p.tell(syscall.SIGCONT) }

func (p *process) tell(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// megabytes is the most memory that a read of the log may take.
const megabytes = 128

// Transactions of any size in the memory of a small one, and no state in the middle of one that could not be gone
// on from.
func TestHugeTransactions(t *testing.T) {
	t.Parallel()
	s := private(t, "logical_decoding_work_mem=64MB", "max_wal_size=4GB")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *capture)
	}{
		{"a million rows", testMillionRows},
		{"of other tables", testHugeElsewhere},
		{"subtransactions", testSubtransactions},
		{"many small ones", testSmallTransactions},
		{"stopped in the middle", testStopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, newCaptureOn(t, s, `CREATE TABLE t (id int PRIMARY KEY, v text);
				CREATE TABLE other (id int PRIMARY KEY, v text); CREATE TABLE unpublished (id int, v text)`, nil))
		})
	}
}

// syncTally is a sync of stream t with ids up to most, in which every record is counted and few are taken apart.
func (c *capture) syncTally(most int) *tally {
	c.t.Helper()
	count := newTally(c.t, input{config: c.settings, catalog: c.catalog, state: c.state}, most)
	return count
}

func (c *capture) keepTally(count *tally) {
	c.t.Helper()
	c.before, c.state = c.state, platformState(count.states)
	if count.peak > megabytes<<20 {
		c.t.Errorf("the connector took %d MB, more than %d", count.peak>>20, megabytes)
	}
}

func testMillionRows(t *testing.T, c *capture) {
	c.first("t")
	rows := fewer(1_000_000)
	end := c.value("SELECT pg_current_wal_flush_lsn()")
	c.exec("INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, $1::int) AS n", rows)
	count := c.syncTally(rows)
	count.end()
	c.keepTally(count)
	if count.records != rows {
		t.Errorf("%d records, want %d", count.records, rows)
	}
	t.Logf("%d MB", count.peak>>20)
	for _, s := range count.states {
		if s.Stats.RecordCount != 0 && s.Stats.RecordCount != float64(rows) {
			t.Errorf("a state after %v of the rows, at %s; the transaction began at %s", s.Stats.RecordCount,
				lsnOf(t, []json.RawMessage{s.text}), end)
		}
	}
	if n := len(c.sync().records("t")); n != 0 {
		t.Errorf("%d records came again", n)
	}
}

// Nothing comes for a while, and the read does not end before the log does.
func testHugeElsewhere(t *testing.T, c *capture) {
	c.exec("DROP PUBLICATION pub; CREATE PUBLICATION pub FOR TABLE t, other")
	c.first("t")
	c.exec("INSERT INTO t VALUES (1)")
	c.exec("INSERT INTO other SELECT n, repeat('x', 100) FROM generate_series(1, 100000) AS n")
	c.exec("INSERT INTO unpublished SELECT n, repeat('x', 100) FROM generate_series(1, 100000) AS n")
	c.exec("INSERT INTO t VALUES (2)")
	end := c.value("SELECT pg_current_wal_flush_lsn()")
	r := c.sync()
	expectList(t, r.values("t", "id"), "1", "2")
	if got := lsnOf(t, c.state); c.value("SELECT $1::pg_lsn >= $2::pg_lsn", got, end) != "t" {
		t.Errorf("the state is at %s, the log was at %s before", got, end)
	}
}

func testSubtransactions(t *testing.T, c *capture) {
	c.first("t")
	subtransactions := fewer(10_000)
	c.exec(fmt.Sprintf(`DO $$ BEGIN
		FOR i IN 1..%d LOOP
			BEGIN
				INSERT INTO t VALUES (i, 'x');
				IF i %% 2 = 0 THEN RAISE 'no'; END IF;
			EXCEPTION WHEN raise_exception THEN NULL; END;
		END LOOP; END $$`, subtransactions))
	if n := len(c.sync().records("t")); n != subtransactions/2 {
		t.Errorf("%d records, want %d", n, subtransactions/2)
	}
	var nested strings.Builder
	for i := range 100 {
		fmt.Fprintf(&nested, "SAVEPOINT s%d; INSERT INTO t VALUES (%d, 'nested');", i, 1_000_000+i)
	}
	c.exec("BEGIN; " + nested.String() + "ROLLBACK TO s50; COMMIT")
	if n := len(c.sync().records("t")); n != 50 {
		t.Errorf("%d records, want 50", n)
	}
}

// Each of them could be the last that a state covers; states come now and then, not with each.
func testSmallTransactions(t *testing.T, c *capture) {
	c.first("t")
	const transactions = 30_000
	c.exec(fmt.Sprintf("DO $$ BEGIN FOR i IN 1..%d LOOP INSERT INTO t VALUES (i, 'x'); COMMIT; END LOOP; END $$",
		transactions))
	count := c.syncTally(transactions)
	count.end()
	c.keepTally(count)
	if count.records != transactions || len(count.states) < 3 || len(count.states) > 10 {
		t.Errorf("%d records and %d states, want %d and one for about 10,000", count.records, len(count.states), transactions)
	}
	for _, s := range count.states {
		if s.Stats.RecordCount > 10_000 {
			t.Errorf("%v records before a state", s.Stats.RecordCount)
		}
	}
	// From a state in the middle, just what it does not cover.
	covered := 0
	for _, s := range count.states[:2] {
		covered += int(s.Stats.RecordCount)
	}
	c.state = []json.RawMessage{count.states[1].text}
	again := c.syncTally(transactions)
	again.end()
	if again.records != transactions-covered || again.seen[covered] || !again.seen[covered+1] {
		t.Errorf("%d records from a state that covers %d of %d", again.records, covered, transactions)
	}
}

// SIGTERM in the middle of a long log: the last line is whole, the statuses say so, and the next sync goes on.
func testStopped(t *testing.T, c *capture) {
	c.first("t")
	const transactions, each = 50, 2000
	c.exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN 0..%d LOOP
		INSERT INTO t SELECT i * %d + n, repeat('x', 300) FROM generate_series(1, %[2]d) AS n; COMMIT; END LOOP; END $$`,
		transactions-1, each))
	got := map[string]bool{}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT} {
		p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
		for range 12_000 {
			p.next()
		}
		p.signal(sig)
		r := p.wait()
		if r.exit != 128+int(sig) {
			t.Errorf("exit code %d after %v; %s", r.exit, sig, r.traceText())
		}
		if len(r.states()) > 0 {
			c.keep(r)
		}
		if sig != syscall.SIGKILL {
			expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
			r.failed("transient_error")
		}
		for _, id := range r.values("t", "id") {
			got[id] = true
		}
	}
	r := c.read(c.state).ok()
	for _, id := range r.values("t", "id") {
		got[id] = true
	}
	if len(got) != transactions*each || len(r.records("t")) == transactions*each {
		t.Errorf("%d rows in all, want %d; %d came with the last sync", len(got), transactions*each, len(r.records("t")))
	}
}

// Without anything new a sync ends by itself, however often.
func TestIdleSyncs(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t), "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE busy (n int)", nil)
	c.first("t")
	for range 5 {
		r := c.sync()
		if len(r.states()) != 1 || len(r.records("t")) != 0 {
			t.Errorf("%d states and %d records", len(r.states()), len(r.records("t")))
		}
		expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
	}
	// While others write without end a sync ends as well: at the position where the log was when it began.
	writer := c.connect()
	ended := make(chan error, 1)
	go func() {
		_, err := writer.PgConn().Exec(t.Context(),
			"DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM t) LOOP INSERT INTO busy VALUES (1); COMMIT; END LOOP; END $$").ReadAll()
		ended <- err
	}()
	c.sync()
	c.sync()
	c.exec("INSERT INTO t VALUES (1)")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
