package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// jumping is a server whose clock jump sets: "-1h" is an hour behind, "+1d" a day ahead. The library that does it is
// installed if root may; without it the test says so.
func jumping(t *testing.T) (s *pgtest.Server, jump func(offset string)) {
	t.Helper()
	library, err := pgtest.Faketime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s = private(t)
	clock := filepath.Join(t.TempDir(), "clock")
	for dir := filepath.Dir(clock); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // the server's account reads it
			t.Fatal(err)
		}
	}
	jump = func(offset string) {
		t.Helper()
		if err := os.WriteFile(clock, []byte(offset+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	jump("+0")
	s.Environment = []string{
		"LD_PRELOAD=" + library, "FAKETIME_TIMESTAMP_FILE=" + clock, "FAKETIME_NO_CACHE=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_RESET=1",
	}
	if err := s.Restart(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	return s, jump
}

// The server's clock is put back and forward, between two syncs and in the middle of one: nothing is missed, and the
// order of the changes stays what it was.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	s, jump := jumping(t)
	const sql = `CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), pad text);
		INSERT INTO t VALUES (0)`
	for _, method := range []string{"CDC", "Xmin", "Standard"} {
		t.Run(method, func(t *testing.T) {
			jump("+0")
			c := newCaptureOn(t, s, sql, nil)
			c.exec("CREATE INDEX ON t (at)")
			if method != "CDC" {
				c.settings["replication_method"] = map[string]any{"method": method}
			}
			c.catalog = discover(t, c.settings).configure("incremental", "t")
			if method == "Standard" {
				c.catalog.cursor(t, "t", "at")
			}
			c.keep(c.read(nil).ok())
			begun := c.value("SELECT clock_timestamp()")
			// Further back than the lookback of Standard nobody looks: an hour, less what the test takes.
			for n, offset := range []string{"-50m", "+0", "+2d", "+1d"} {
				if method == "Standard" && offset == "+1d" {
					break
				}
				jump(offset)
				c.exec("INSERT INTO t (id) VALUES ($1)", n+1)
				r := c.read(c.state).ok()
				if !has(r.values("t", "id"), c.value("SELECT $1::text", n+1)) {
					t.Errorf("clock %s: row %d did not come: %q", offset, n+1, r.values("t", "id"))
				}
				c.keep(r)
			}
			if c.value("SELECT max(at) > $1::timestamptz + '1 day' AND min(at) < $1::timestamptz FROM t", begun) != "t" {
				t.Error("the server's clock did not jump")
			}
			c.jumpDuringRead(jump)
		})
	}
}

// jumpDuringRead puts the clock forward and back while the destination does not take what it is sent.
func (c *capture) jumpDuringRead(jump func(string)) {
	c.t.Helper()
	c.exec("INSERT INTO t SELECT g, clock_timestamp() + '3 days', repeat('x', 1000) FROM generate_series(100, 30099) AS g")
	p := start(c.t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	p.until(func(m message) bool { return m.Record != nil })
	jump("+4d")
	c.exec("SELECT pg_sleep(0.3)")
	jump("-3h")
	r := p.wait()
	if r.exit != 0 { // the server may think that it has not heard of the connector for days
		r.failed("transient_error")
	}
	ids := r.values("t", "id")
	if state := r.lastState(); state != nil {
		c.state = state
	}
	ids = append(ids, c.read(c.state).ok().values("t", "id")...)
	if missing := difference(c.column("SELECT id FROM t WHERE id >= 100"), ids); len(missing) > 0 {
		c.t.Errorf("%d rows are missing after the second attempt", len(missing))
	}
}
