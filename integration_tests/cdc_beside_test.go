package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// While streams are read for the first time the log of the others goes on. Whatever state of such a sync is gone on
// from, the destination has in the end just what the tables have.
func TestLogGoesOnBesideFirstPass(t *testing.T) {
	t.Parallel()
	s := private(t)
	for _, test := range []struct {
		name    string
		streams []string
	}{
		{"a stream joins", []string{"early", "slow", "t"}},
		{"a view is read whole", []string{"slow", "t"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCaptureOn(t, s, `CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE early (id int PRIMARY KEY, v int);
				INSERT INTO t SELECT n, 0 FROM generate_series(1, 10) AS n;
				INSERT INTO early SELECT n, 0 FROM generate_series(1, 10) AS n;
				CREATE VIEW slow AS SELECT 1 AS id FROM pg_advisory_xact_lock_shared(7)`, nil)
			events := recordsAndStates(c.first("t"))
			c.exec("UPDATE t SET v = 1 WHERE id = 1")
			c.settings["checkpoint_target_interval_seconds"] = 1
			c.settings["max_db_connections"] = 1
			c.catalog = discover(t, c.settings).configure("incremental", test.streams...)
			c.catalog.find(t, "slow").SyncMode = "full_refresh"
			holder := c.connect()
			do(t, holder, "SELECT pg_advisory_lock(7)")
			p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
			c.await("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
			for round := range 3 {
				v := round + 2
				c.exec(fmt.Sprintf(`UPDATE t SET v = %[1]d WHERE id <= 3; DELETE FROM early WHERE id = %[1]d;
					UPDATE early SET v = %[1]d WHERE id > 5; INSERT INTO t VALUES (%[1]d + 100, 1)`, v))
				p.until(func(m message) bool {
					return m.Record != nil && m.Record.Stream == "t" && string(m.Record.Data["v"]) == fmt.Sprint(v)
				})
				p.until(func(m message) bool { return m.State != nil })
			}
			do(t, holder, "SELECT pg_advisory_unlock(7)")
			r := p.wait().ok()
			expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
			events = append(events, recordsAndStates(r)...)
			c.exec("DELETE FROM t WHERE id = 2; UPDATE t SET v = 50 WHERE id = 3; UPDATE early SET v = 50 WHERE id = 7")
			tried := 0
			for i, e := range events {
				if e.State == nil {
					continue
				}
				tried++
				again := c.read(platformState([]*state{e.State})).ok()
				for _, lost := range []bool{true, false} {
					had := events
					if lost {
						had = events[:i]
					}
					for _, stream := range test.streams {
						if stream == "slow" || !lost && !e.State.knows(stream) {
							continue // a stream that begins anew is taken away at the destination
						}
						copied := newCopied([]string{"id"}, []string{"id", "v"})
						for _, m := range append(append([]message{}, had...), recordsAndStates(again)...) {
							if m.Record != nil && m.Record.Stream == stream {
								copied.take(t, m.Record)
							}
						}
						copied.compare(t, c.database, stream)
					}
				}
				if t.Failed() {
					t.Fatalf("state %d: %s", i, e.State.text)
				}
			}
			if tried < 5 {
				t.Errorf("%d states", tried)
			}
		})
	}
}

// knows reports that a state says how far a stream was read.
func (s *state) knows(stream string) bool {
	return slices.ContainsFunc(s.Global.Streams, func(inner streamState) bool {
		return inner.Descriptor.is(stream) && strings.Contains(string(inner.State), "state_type")
	})
}

// recordsAndStates are those messages of a run, in order.
func recordsAndStates(r *result) []message {
	var all []message
	for _, m := range r.messages {
		if m.Record != nil || m.State != nil {
			all = append(all, m)
		}
	}
	return all
}
