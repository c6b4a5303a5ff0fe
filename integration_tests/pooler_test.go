package integration

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// pooler starts a PgBouncer before the database, in a pool mode, and gives its port; 0 where there is none and none can
// be installed, which the end of the run says.
func (d *database) pooler(mode string, lines ...string) int {
	d.t.Helper()
	program, err := pgtest.Tool(d.t.Context(), "pgbouncer", "pgbouncer")
	if err != nil {
		remark("NOT RUN: %s: %v", d.t.Name(), err)
		return 0
	}
	dir, err := os.MkdirTemp("/tmp", "pooler-")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	port := closedPort(d.t)
	config := fmt.Sprintf("[databases]\n* = host=%s port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = %s/users\npool_mode = %s\n%s\n", d.Host, d.Port, port, dir,
		mode, strings.Join(lines, "\n"))
	users := fmt.Sprintf("\"%s\" \"%s\"\n", d.User, d.Password)
	for name, content := range map[string]string{"pgbouncer.ini": config, "users": users} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	args := []string{"-q", dir + "/pgbouncer.ini"}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(program, args...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is told to end
		close(gone)
	}()
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.Close()
			return port
		}
		select {
		case <-tick.C:
		case <-gone:
			d.t.Fatalf("pgbouncer ended: %s", log.String())
		case <-d.t.Context().Done():
			d.t.Fatal("pgbouncer does not answer")
		}
	}
}

// Behind PgBouncer everything works as without it, but for CDC, which says where to connect instead.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			if server.Host != "127.0.0.1" && server.Host != "localhost" {
				remark("NOT RUN: %s: the server's address is not one that a local PgBouncer is sure to reach", t.Name())
				return
			}
			db.pages(3000)
			port := db.pooler(mode, "default_pool_size = 10")
			if port == 0 {
				return
			}
			settings := db.config(map[string]any{"port": port, "max_db_connections": 3})
			expectSucceeded(t, "check", settings)
			for _, method := range []string{"full refresh", "Standard", "Xmin"} {
				with, sync := maps.Clone(settings), "incremental"
				with["replication_method"] = map[string]any{"method": method}
				if method == "full refresh" {
					with["replication_method"], sync = map[string]any{"method": "Standard"}, "full_refresh"
				}
				catalog := discover(t, with).configure(sync, "t")
				if method == "Standard" {
					catalog.cursor(t, "t", "version")
				}
				in := input{config: with, catalog: catalog}
				r := run(t, "read", in).ok()
				r.expectRows("t", db.rows("t"))
				if warned := r.logs("WARN"); has(warned, "one connection less") || has(warned, "snapshot") {
					t.Errorf("%s: %q", method, warned)
				}
				if sync == "full_refresh" {
					continue
				}
				db.settle()
				db.exec("UPDATE t SET version = (SELECT max(version) + 1 FROM t) WHERE id < 10")
				in.state = r.lastState()
				got := sorted(run(t, "read", in).ok().values("t", "id"))
				for _, id := range db.column("SELECT id FROM t WHERE id < 10") {
					if !has(got, id) {
						t.Errorf("%s: row %s, which has changed, did not come: %v", method, id, got)
					}
				}
			}
			db.behindPooler(settings)
			db.exec("DROP PUBLICATION pub")
		})
	}
}

// behindPooler tries CDC.
func (d *database) behindPooler(settings map[string]any) {
	d.t.Helper()
	d.exec("CREATE PUBLICATION pub FOR TABLE t; ALTER TABLE t ADD PRIMARY KEY (id)")
	slot := (&capture{database: d}).slot()
	with := maps.Clone(settings)
	with["replication_method"] = map[string]any{"method": "CDC", "replication_slot": slot, "publication": "pub"}
	message := checked(d.t, with)
	expectIn(d.t, "CDC, check", message, "open a replication connection", "direct connection", "pooler")
	in := input{config: with, catalog: discover(d.t, with).configure("incremental", "t")}
	expectIn(d.t, "CDC, read", run(d.t, "read", in).failed("config_error").Message, "direct connection", "pooler")
}

// Addresses of every kind.
func TestAddresses(t *testing.T) {
	t.Parallel()
	s := private(t)
	db := newDBOn(t, s)
	dir, err := os.MkdirTemp("/tmp", "socket-") //nolint:usetesting // a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	addresses := "127.0.0.1,::1"
	hosts := []string{"127.0.0.1", "localhost", dir, "::1", "[::1]"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
	} else {
		remark("NOT RUN: %s: IPv6: %v", t.Name(), err)
		addresses, hosts = "127.0.0.1", hosts[:3]
	}
	db.exec("ALTER SYSTEM SET listen_addresses = '" + addresses + "'")
	db.exec("ALTER SYSTEM SET unix_socket_directories = '" + dir + "'")
	in := twoRows(db)
	if err := s.Restart(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	_, _ = db.Value(t.Context(), "SELECT 1") // the old connection is broken, which only its next use shows
	db.exec("CREATE PUBLICATION pub FOR TABLE t")
	db.exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")
	for _, host := range hosts {
		// As in libpq, encryption is nothing that a socket of the machine itself has or needs.
		mode := map[string]any{"mode": map[bool]string{true: "verify-full", false: "disable"}[host == dir]}
		in.config = db.config(map[string]any{"host": host, "ssl": nil, "ssl_mode": mode})
		for _, command := range []string{"check", "discover", "read"} {
			startLine(t, "", in, command, "--config=$config", "--catalog=$catalog").wait().expectAnswer(command, host)
		}
		with := db.config(map[string]any{
			"host": host, "ssl": nil, "ssl_mode": mode, "replication_method": map[string]any{
				"method": "CDC", "replication_slot": "slot", "publication": "pub",
			},
		})
		expectSucceeded(t, host+", CDC", with)
		catalog := discover(t, with).configure("incremental", "t")
		if n := len(run(t, "read", input{config: with, catalog: catalog}).ok().records("t")); n != 2 {
			t.Errorf("%s, CDC: %d records", host, n)
		}
	}
}
