package integration

import (
	"testing"
)

// A server that is restarted, in order or not, is one that may be tried again: the next attempt reads the rest.
func TestServerRestartedDuringRead(t *testing.T) {
	t.Parallel()
	s := private(t)
	db := newDBOn(t, s)
	in := large(db, 2)
	for what, restart := range map[string]func() error{
		"fast":      func() error { return s.Restart(t.Context(), "fast") },
		"immediate": func() error { return s.Restart(t.Context(), "immediate") },
		"crash": func() error {
			if err := s.Crash(t.Context()); err != nil {
				return err
			}
			return s.Resume(t.Context())
		},
	} {
		p := start(t, "read", in)
		p.until(func(m message) bool { return m.State != nil })
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		r := p.wait().expectExit(1)
		e := r.failed("transient_error")
		expectIn(t, what, e.Message, "State code: ")
		expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
		_, _ = db.Value(t.Context(), "SELECT 1") // the old connection is broken, which only its next use shows
		db.expectWhole(in, r)
		db.expectGone()
	}
}

// A query that an administrator cancels, or a session that is ended before its first row, is worth another try.
func TestQueryCancelled(t *testing.T) {
	t.Parallel()
	for what, function := range map[string]string{"cancelled": "pg_cancel_backend", "ended": "pg_terminate_backend"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.exec("CREATE VIEW v AS SELECT 1 AS id, pg_sleep(3600)::text AS slept; CREATE TABLE t (id int)")
			config := db.config(nil)
			in := input{config: config, catalog: discover(t, config).configure("full_refresh")}
			p := start(t, "read", in)
			db.await("SELECT count(" + function + "(pid)) > 0 FROM pg_stat_activity WHERE datname = current_database() AND " +
				"application_name = 'source-postgres' AND wait_event = 'PgSleep'")
			r := p.wait().expectExit(1)
			expectIn(t, what, r.failed("transient_error").Message, "State code: 57")
			expectStatuses(t, r, "v", "STARTED RUNNING INCOMPLETE")
			db.expectGone()
		})
	}
}
