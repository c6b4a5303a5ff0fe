package integration

import (
	"fmt"
	"strings"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// standbyOf starts a hot standby of db's server, and gives the same database there.
func standbyOf(t *testing.T, db *database, lines ...string) *database {
	t.Helper()
	s, err := db.Standby(t.Context(), lines...)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = db.Value(t.Context(), "SELECT 1") // the old connection went with the restart, which only its next use shows
	standby := &database{Database: &pgtest.Database{Server: s, Name: db.Name}, t: t}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	standby.await("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", db.value("SELECT pg_current_wal_lsn()"))
	return standby
}

// A standby that cancels a read, and ends its sessions, so as to go on with replay: the read goes on by itself under a
// new snapshot, says so, and nothing is missing, also of what was written meanwhile, and where the table was rewritten.
func TestConflictOnStandby(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"full refresh", "Standard", "Xmin"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			primary := newDBOn(t, private(t))
			primary.pages(4000)
			db := standbyOf(t, primary, "max_standby_streaming_delay=0", "hot_standby_feedback=off")
			settings := db.config(map[string]any{"max_db_connections": 2})
			mode, replayed := "incremental", "VACUUM t"
			if method == "full refresh" {
				mode, method = "full_refresh", "Standard"
				replayed = "DELETE FROM t WHERE id <= 2000; VACUUM FULL t" // the others move to where those were
			}
			settings["replication_method"] = map[string]any{"method": method}
			in := input{config: settings, catalog: discover(t, settings).configure(mode, "t")}
			if mode == "incremental" && method == "Standard" {
				in.catalog = in.catalog.(*configuredCatalog).cursor(t, "t", "version")
			}
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.State != nil })
			primary.exec("UPDATE t SET version = 2 WHERE id % 3 = 0; DELETE FROM t WHERE id = 4000")
			for _, sql := range strings.Split(replayed, "; ") {
				primary.exec(sql)
			}
			// In another database: here it might be cancelled as well.
			beside := &database{Database: &pgtest.Database{Server: db.Server, Name: "postgres"}, t: t}
			beside.await("SELECT sum(confl_snapshot) + sum(confl_lock) + sum(confl_bufferpin) > 0 " +
				"FROM pg_stat_database_conflicts")
			r := p.wait().ok()
			if !has(r.logs("WARN"), "goes on under a new snapshot", "hot_standby_feedback") {
				t.Errorf("no warning: %q", r.logs("WARN"))
			}
			last := map[string]string{}
			for _, rec := range r.records("t") {
				last[string(rec.Data["id"])] = string(rec.Data["version"])
			}
			var missing []string
			for _, row := range primary.column("SELECT concat_ws(' ', id, version) FROM t") {
				id, version, _ := strings.Cut(row, " ")
				if last[id] != version {
					missing = append(missing, fmt.Sprintf("%s (%q)", row, last[id]))
				}
			}
			if len(missing) > 0 {
				t.Errorf("%d rows are not as on the server: %q", len(missing), missing[:min(5, len(missing))])
			}
		})
	}
}

// Of several hosts the one is used that can be reached and is of the kind that is asked for; all connections go there.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	primary := newDBOn(t, private(t))
	primary.pages(500)
	primary.exec("CREATE VIEW here AS SELECT inet_server_port() AS port")
	standby := standbyOf(t, primary)
	port := func(d *database) string { return fmt.Sprintf("127.0.0.1:%d", d.Port) }
	nobody := fmt.Sprintf("127.0.0.1:%d", closedPort(t))
	for _, c := range []struct {
		hosts  []string
		target string
		want   *database
		says   []string
	}{
		{[]string{nobody, port(primary), port(standby)}, "any", primary, nil},
		{[]string{nobody, port(standby), port(primary)}, "", standby, nil},
		{[]string{port(standby), nobody, port(primary)}, "primary", primary, nil},
		{[]string{port(primary), port(standby)}, "secondary", standby, nil},
		{[]string{port(primary), port(standby)}, "preferSecondary", standby, nil},
		{[]string{port(primary), nobody}, "preferSecondary", primary, nil},
		{[]string{port(standby), port(primary)}, "preferPrimary", primary, nil},
		{[]string{port(standby), nobody}, "primary", nil, []string{port(standby), "of the kind", nobody, "refused"}},
	} {
		in := input{config: primary.config(map[string]any{
			"host": strings.Join(c.hosts, ","), "max_db_connections": 3, "jdbc_url_params": "targetServerType=" + c.target,
		}), catalog: discover(t, primary.config(nil)).configure("full_refresh")}
		if c.want == nil {
			expectIn(t, c.target, checked(t, in.config), c.says...)
			run(t, "read", in).failed("transient_error")
			continue
		}
		expectSucceeded(t, fmt.Sprintf("%v, %s", c.hosts, c.target), in.config)
		r := run(t, "read", in).ok()
		if n := len(r.records("t")); n != 500 {
			t.Errorf("%v, %s: %d records", c.hosts, c.target, n)
		}
		if got := r.values("here", "port"); len(got) != 1 || got[0] != fmt.Sprint(c.want.Port) {
			t.Errorf("%v, %s: the server at port %v was read, want %d", c.hosts, c.target, got, c.want.Port)
		}
	}
	expectIn(t, "a login that is refused ends the search", checked(t, primary.config(map[string]any{
		"host": port(primary) + "," + nobody, "password": "wrong",
	})), "State code: 28P01")
}
