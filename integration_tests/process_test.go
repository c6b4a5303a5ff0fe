package integration

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// large makes a table t of some 30 MB, which no pipe and no socket can hold, and gives what a read of it needs.
func large(db *database, connections int) input {
	db.t.Helper()
	db.pages(4000)
	config := db.config(map[string]any{"max_db_connections": connections})
	return input{config: config, catalog: discover(db.t, config).configure("full_refresh", "t")}
}

// expectGone waits until the connector has no connection to the database any more: no session, no transaction, no lock.
func (d *database) expectGone() {
	d.t.Helper()
	d.await("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() " +
		"AND application_name = 'source-postgres'")
}

// waiting is the condition of a session that waits for the connector: to take what is sent, or, if the system's buffers
// have taken it all, to ask for more.
const waiting = "(wait_event = 'ClientWrite' OR wait_event = 'ClientRead' AND now() - state_change > '1s')"

// stalled waits until every session of the connector waits for it, for so long.
func (d *database) stalled(long string) {
	d.t.Helper()
	d.await("SELECT count(*) > 0 AND bool_and("+waiting+" AND now() - query_start > $1::interval) FROM pg_stat_activity "+
		"WHERE datname = current_database() AND application_name = 'source-postgres'", long)
}

// expectWhole reads on from where r stopped, with a new process, and expects that nothing is missing.
func (d *database) expectWhole(in input, r *result) {
	d.t.Helper()
	in.state = r.lastState()
	next := run(d.t, "read", in).ok()
	ids := append(r.values("t", "id"), next.values("t", "id")...)
	if missing := difference(d.column("SELECT id FROM t"), ids); len(missing) > 0 {
		d.t.Errorf("%d rows are missing after the second attempt", len(missing))
	}
}

// expectExit compares the exit code.
func (r *result) expectExit(code int) *result {
	r.t.Helper()
	if r.exit != code {
		r.t.Errorf("exit code %d, want %d; %s; stderr: %s", r.exit, code, r.traceText(), r.stderr)
	}
	return r
}

// stop sends a signal as who stops a container does: a process that has not ended ten seconds later is killed.
func (p *process) stop(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() }) // it may have ended
	p.t.Cleanup(func() { kill.Stop() })
}

// A signal in the middle of a read ends it in good order: all invariants of a failed run hold, the last line is whole,
// and every state covers only what was written.
func TestSignalDuringRead(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		for sig, code := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130} {
			t.Run(fmt.Sprintf("%v, %d connections", sig, connections), func(t *testing.T) {
				t.Parallel()
				db := newDB(t)
				in := large(db, connections)
				p := start(t, "read", in)
				p.until(func(m message) bool { return m.State != nil })
				p.stop(sig)
				r := p.wait().expectExit(code)
				r.failed("transient_error")
				expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
				db.expectGone()
				db.expectWhole(in, r)
			})
		}
	}
}

// awaitEnd waits until the process has ended, without reading its output.
func (p *process) awaitEnd() {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			p.t.Fatal(err)
		}
		if bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')'):], []byte(") Z")) {
			return
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			p.t.Fatal("the process did not end")
		}
	}
}

// While nobody reads the output the process can still be ended: by itself within its time of grace, or at once by a
// second signal.
func TestSignalWhileOutputIsBlocked(t *testing.T) {
	t.Parallel()
	for _, signals := range [][]syscall.Signal{{syscall.SIGTERM}, {syscall.SIGINT, syscall.SIGTERM}} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			in := large(db, 2)
			in.timeout = 30 * time.Second
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.Record != nil })
			db.stalled("0s")
			p.disturbed = true
			for _, sig := range signals {
				p.stop(sig)
			}
			p.awaitEnd()
			r := p.wait().expectExit(128 + int(signals[0]))
			db.expectGone()
			db.expectWhole(in, r)
		})
	}
}

// busy makes streams of which one sleeps, one waits for a lock, and one has more than the output takes; it starts a
// read of them, and gives it when all three are at it. Another session holds the lock to the end of the test.
func busy(db *database) *process {
	db.t.Helper()
	db.pages(900) // one range: with more of them all connections could be at this table
	db.exec("CREATE TABLE locked (id int); CREATE VIEW slow AS SELECT 1 AS id, pg_sleep(3600)::text AS slept")
	config := db.config(map[string]any{"max_db_connections": 3})
	catalog := discover(db.t, config).configure("full_refresh")
	slices.SortFunc(catalog.Streams, func(a, b configuredStream) int { // first those that take one connection each
		return strings.Compare(a.Stream.Name, b.Stream.Name)
	})
	do(db.t, db.connect(), "BEGIN; LOCK TABLE locked")
	p := start(db.t, "read", input{config: config, catalog: catalog, timeout: 30 * time.Second})
	p.until(func(m message) bool { return m.Record != nil })
	db.await("SELECT count(*) FILTER (WHERE wait_event = 'PgSleep') = 1 AND " +
		"count(*) FILTER (WHERE wait_event_type = 'Lock') = 1 AND count(*) FILTER (WHERE " + waiting + ") = 1 " +
		"FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'source-postgres'")
	return p
}

// A signal is heeded where the connector waits for the server, and the server is told to stop its work.
func TestSignalWhileServerIsBusy(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := busy(db)
	p.stop(syscall.SIGTERM)
	p.wait().expectExit(143).failed("transient_error")
	db.expectGone()
}

// The same when it is the output that has gone.
func TestOutputClosedWhileServerIsBusy(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := busy(db)
	p.hangUp()
	p.wait().expectExit(1)
	db.expectGone()
}

// The same in the middle of a result, where there is nothing to be written for a long time.
func TestOutputClosedInAResult(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE VIEW v AS SELECT g AS id, CASE WHEN g > 300 THEN pg_sleep(3600)::text " +
		"ELSE repeat('x', 1000) END AS pad FROM generate_series(1, 301) AS g")
	config := db.config(nil)
	p := start(t, "read", input{
		config: config, catalog: discover(t, config).configure("full_refresh"), timeout: 20 * time.Second,
	})
	p.until(func(m message) bool { return m.Record != nil })
	p.hangUp()
	p.wait().expectExit(1)
	db.expectGone()
}

// And when it is one of several connections that the server has ended.
func TestConnectionLostWhileServerIsBusy(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := busy(db)
	db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND " +
		"application_name = 'source-postgres' AND wait_event = 'PgSleep'")
	p.wait().expectExit(1).failed("transient_error")
	db.expectGone()
}

// A table that another session has locked keeps nobody waiting but those who read it.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	db.exec("CREATE TABLE a_locked (id int); INSERT INTO a_locked VALUES (7); CREATE TABLE a_parted (id int) " +
		"PARTITION BY LIST (id); CREATE TABLE a_part PARTITION OF a_parted DEFAULT; INSERT INTO a_parted VALUES (8)")
	in.config.(map[string]any)["max_db_connections"] = 3
	holder := db.connect()
	do(t, holder, "BEGIN; LOCK TABLE a_locked, a_part")
	for _, command := range []string{"check", "discover"} {
		startLine(t, "", in, command, "--config=$config").wait().expectAnswer(command, command)
	}
	in.catalog = discover(t, db.config(nil)).configure("full_refresh", "a_locked", "a_parted", "t")
	p := start(t, "read", in)
	p.until(func(m message) bool {
		return m.Trace != nil && m.Trace.Status != nil && m.Trace.Status.Stream.is("public.t") &&
			m.Trace.Status.Status == "COMPLETE"
	})
	do(t, holder, "COMMIT")
	r := p.wait()
	r.expectAnswer("read", "locked")
	if got := append(r.values("a_locked", "id"), r.values("a_parted", "id")...); !slices.Equal(got, []string{"7", "8"}) {
		t.Errorf("ids %v of the locked tables, want 7, 8", got)
	}
}

// A signal is heeded while the connector waits for somebody who never answers.
func TestSignalWhileConnecting(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	for what, settings := range map[string]map[string]any{
		"database": {}, "TLS": {"ssl_mode": map[string]any{"mode": "require"}},
		"tunnel": {"tunnel_method": nil},
	} {
		for _, command := range []string{"check", "discover", "read"} {
			entered := make(chan struct{}, 1)
			port := listen(t, func(c net.Conn) {
				entered <- struct{}{}
				silent(c)
			})
			in.config = map[string]any{
				"host": "127.0.0.1", "port": port, "database": "d", "username": "u", "password": "password of the user",
				"ssl_mode": settings["ssl_mode"],
			}
			if what == "tunnel" {
				in.config.(map[string]any)["tunnel_method"] = tunnelTo(port)
			}
			p := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog")
			select {
			case <-entered:
			case <-p.ctx.Done():
				t.Fatalf("%s, %s: no connection was made", what, command)
			}
			p.stop(syscall.SIGTERM)
			p.wait().expectExit(143).failed("transient_error")
		}
	}
}

// Nobody reads the output any more: there is nothing to go on for.
func TestOutputClosed(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			in := large(db, connections)
			in.timeout = 30 * time.Second
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.State != nil })
			p.hangUp()
			r := p.wait().expectExit(1)
			db.expectGone()
			db.expectWhole(in, r)
		})
	}
}

// The same for every command, when nobody has ever read.
func TestOutputClosedFromTheStart(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	for _, command := range []string{"spec", "check", "discover", "read"} {
		p := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog")
		p.hangUp()
		p.wait().expectExit(1)
	}
}

// A platform whose destination is slow does not read for a while. Time limits that the database sets for its sessions
// do not count meanwhile, and neither does that of the network.
func TestOutputBlockedForAWhile(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			in := large(db, connections)
			for _, setting := range []string{
				"statement_timeout = '500ms'", "idle_in_transaction_session_timeout = '500ms'", "lock_timeout = '500ms'",
				"tcp_user_timeout = '500ms'", "client_connection_check_interval = '200ms'",
			} {
				name, _, _ := strings.Cut(setting, " ")
				if db.value("SELECT count(*) FROM pg_settings WHERE name = $1", name) == "1" {
					db.exec("ALTER DATABASE " + quoted(db.Name) + " SET " + setting)
				}
			}
			in.config.(map[string]any)["jdbc_url_params"] = "socketTimeout=1"
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.Record != nil })
			db.stalled("1500ms")
			r := p.wait().ok()
			expectSame(t, "ids", sorted(r.values("t", "id")), sorted(db.column("SELECT id FROM t")))
			db.expectGone()
		})
	}
}

func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }

// Nothing stays behind on the server, however a command ends, and nothing is written there.
func TestNothingIsLeftOnTheServer(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	user := db.role("user")
	db.exec("GRANT SELECT ON t TO " + quoted(user.Name) + "; ALTER ROLE " + quoted(user.Name) +
		" SET default_transaction_read_only = on; CREATE VIEW broken AS SELECT 1 / 0 AS id")
	const objects = `SELECT concat_ws(', ', (SELECT count(*) FROM pg_class),
		(SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()),
		(SELECT count(*) FROM pg_replication_slots WHERE database = current_database()))`
	before := db.value(objects)
	for _, config := range []map[string]any{
		db.config(nil), db.configAs(user, nil), db.configAs(user, map[string]any{"schemas": []string{"none"}}),
	} {
		for _, command := range []string{"check", "discover", "read"} {
			in.config = config
			startLine(t, "", in, command, "--config=$config", "--catalog=$catalog").wait()
			db.expectGone()
		}
	}
	config := db.config(nil)
	run(t, "read", input{config: config, catalog: discover(t, config).configure("full_refresh")}).expectExit(1)
	db.expectGone()
	if after := db.value(objects); after != before {
		t.Errorf("relations, prepared transactions, slots: %s, before %s", after, before)
	}
}
