package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// tablespace makes a tablespace of the server, in a directory beside its data.
func (d *database) tablespace(name string) {
	d.t.Helper()
	if d.value("SELECT count(*) FROM pg_tablespace WHERE spcname = $1", name) != "0" {
		return
	}
	dir := filepath.Join(filepath.Dir(d.value("SHOW data_directory")), name)
	d.exec("COPY (SELECT) TO PROGRAM 'mkdir -m 700 " + dir + "'") // it has to be the server's
	d.exec("CREATE TABLESPACE " + name + " LOCATION '" + dir + "'")
}

// A server that has no connection to give is tried again; one less than was wished for only makes the read slower.
func TestServerFullOfConnections(t *testing.T) {
	t.Parallel()
	c := newCaptureOn(t, private(t, "max_connections=8", "superuser_reserved_connections=2", "max_wal_senders=3"),
		"CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", nil)
	role := c.role("reader")
	c.exec("GRANT SELECT ON t TO " + quoted(role.Name) + "; ALTER ROLE " + quoted(role.Name) + " REPLICATION")
	c.settings = c.configAs(role, map[string]any{"replication_method": c.settings["replication_method"]})
	c.first()
	c.exec("INSERT INTO t VALUES (2)")
	var held []interface{ Close(context.Context) error }
	for range 6 {
		held = append(held, c.connect())
	}
	before := c.confirmed()
	for range 2 {
		e := c.read(c.state).failed("transient_error")
		expectIn(t, "full", e.Message, "53300")
	}
	if after := c.confirmed(); after != before {
		t.Errorf("the slot moved from %s to %s", before, after)
	}
	for _, conn := range held {
		_ = conn.Close(t.Context()) // whether it says goodbye does not matter
	}
	c.await("SELECT count(*) < 4 FROM pg_stat_activity WHERE backend_type = 'client backend'")
	expectList(t, c.sync().values("t", "id"), "2")
}

// spilling makes a view whose rows the server has to sort on its disk, beside a table that it has not.
func spilling(db *database) input {
	db.t.Helper()
	db.exec(`CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100);
		CREATE VIEW sorted AS SELECT g AS id, g * 7919 % 300000 AS at, repeat('x', 100) AS pad
		FROM generate_series(1, 100000) AS g`)
	db.exec("ALTER DATABASE " + quoted(db.Name) + " SET work_mem = '64kB'")
	config := db.config(map[string]any{"replication_method": map[string]any{"method": "Standard"}})
	catalog := discover(db.t, config).configure("incremental").cursor(db.t, "sorted", "at").cursor(db.t, "t", "id")
	return input{config: config, catalog: catalog}
}

// A limit of the role's is for a person to raise; other streams are read.
func TestTempFileLimit(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := spilling(db)
	db.exec("ALTER DATABASE " + quoted(db.Name) + " SET temp_file_limit = '1MB'")
	r := run(t, "read", in)
	e := r.failed("config_error")
	expectIn(t, "limit", e.Message, "53400")
	if e.Stream == nil || !e.Stream.is("sorted") {
		t.Errorf("the TRACE ERROR is about %v", e.Stream)
	}
	expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
	db.exec("ALTER DATABASE " + quoted(db.Name) + " RESET temp_file_limit")
	in.state = r.lastState()
	if n := len(run(t, "read", in).ok().records("sorted")); n != 100_000 {
		t.Errorf("%d records, want 100000", n)
	}
}

// smallDisk puts a directory of a halted server on a disk of its own, of so many megabytes. grow makes it larger; back
// puts the directory of a halted server back to where it was.
func smallDisk(t *testing.T, dir string, megabytes int) (grow func(megabytes int), back func()) {
	t.Helper()
	var owner syscall.Stat_t
	if err := syscall.Stat(dir, &owner); err != nil {
		t.Fatal(err)
	}
	aside := dir + ".aside"
	size := func(n int) string {
		return fmt.Sprintf("size=%dm,mode=700,uid=%d,gid=%d", n, owner.Uid, owner.Gid)
	}
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, size(megabytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	run("cp", "-a", aside+"/.", dir)
	grow = func(n int) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, size(n)); err != nil {
			t.Fatal(err)
		}
	}
	return grow, func() {
		t.Helper()
		run("rm", "-rf", aside)
		run("cp", "-a", dir, aside)
		run("umount", dir)
		run("rmdir", dir)
		run("mv", aside, dir)
	}
}

// asRoot reports whether the test can do what only root may, and says plainly if it cannot.
func asRoot(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return true
	}
	fmt.Fprintf(os.Stderr, "integration: %s needs root and was not run\n", t.Name())
	return false
}

// privateHalted is a server of the test's own that has been halted, and its data directory.
func privateHalted(t *testing.T, sql string, lines ...string) (db *database, s *pgtest.Server, data string) {
	t.Helper()
	s = private(t, lines...)
	db = newDBOn(t, s)
	if sql != "" {
		db.exec(sql)
	}
	data = db.value("SHOW data_directory")
	if err := s.Halt(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	return db, s, data
}

func resume(t *testing.T, db *database, s *pgtest.Server) {
	t.Helper()
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _ = db.Value(t.Context(), "SELECT 1") // the old connection is broken, which only its next use shows
}

// A server whose disk is full of temporary files is tried again: somebody will make room.
func TestDiskFullOfTemporaryFiles(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	db, s, data := privateHalted(t, "")
	dir := filepath.Join(data, "base", "pgsql_tmp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var owner syscall.Stat_t
	if err := syscall.Stat(data, &owner); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	grow, _ := smallDisk(t, dir, 1)
	resume(t, db, s)
	in := spilling(db)
	r := run(t, "read", in)
	expectIn(t, "disk full", r.failed("transient_error").Message, "53100")
	expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
	grow(100)
	in.state = r.lastState()
	if n := len(run(t, "read", in).ok().records("sorted")); n != 100_000 {
		t.Errorf("%d records, want 100000", n)
	}
}

// A server whose disk is full of log crashes. When it has room again nothing is missing.
func TestDiskFullOfLog(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	c := newCaptureOn(t, private(t, "min_wal_size=32MB", "max_wal_size=32MB"),
		"CREATE TABLE t (id int PRIMARY KEY, pad text); INSERT INTO t SELECT g, '' FROM generate_series(1, 10) AS g", nil)
	data := c.value("SHOW data_directory")
	c.first()
	if err := c.Halt(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	grow, back := smallDisk(t, filepath.Join(data, "pg_wal"), 112)
	resume(t, c.database, c.Server)
	before := c.confirmed()
	p := start(t, "read", input{config: c.settings, catalog: c.catalog, state: c.state})
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = c.Exec(t.Context(), fmt.Sprintf(
			"INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(%d, %d) AS g", 1000*i+11, 1000*i+1010))
		if i == 99 {
			err = c.Exec(t.Context(), "SELECT pg_switch_wal()")
		}
		if err == nil {
			err = c.Exec(t.Context(), "SELECT pg_switch_wal()")
		}
	}
	r := p.wait()
	if r.exit != 0 {
		r.failed("transient_error")
	}
	if err == nil {
		t.Fatal("the disk did not fill up")
	}
	if e := c.read(c.state).failed("transient_error"); !strings.Contains(e.Message, "State code: ") {
		t.Errorf("while the server is down: %s", e.Message)
	}
	grow(400)
	_ = c.Halt(t.Context(), "immediate") // it has ended by itself
	resume(t, c.database, c.Server)
	if after := c.confirmed(); after != before {
		t.Errorf("the slot moved from %s to %s", before, after)
	}
	r = c.read(c.state).ok()
	expectSame(t, "ids", sorted(r.values("t", "id")), sorted(c.column("SELECT id::text FROM t WHERE id > 10")))
	if err := c.Halt(t.Context(), "immediate"); err != nil {
		t.Fatal(err)
	}
	back()
	resume(t, c.database, c.Server)
}

// A server that is to shut down when everybody has left lets the read come to its end.
func TestSmartShutdownDuringRead(t *testing.T) {
	t.Parallel()
	s := private(t)
	db := newDBOn(t, s)
	in := large(db, 2)
	p := start(t, "read", in)
	p.until(func(m message) bool { return m.State != nil })
	halted := make(chan error, 1)
	go func() { halted <- s.Halt(t.Context(), "smart") }()
	want := sorted(db.column("SELECT id FROM t"))
	if err := db.Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())"); err == nil {
		t.Error("the test's own session is still there")
	}
	r := p.wait()
	if r.exit == 0 {
		expectSame(t, "ids", sorted(r.values("t", "id")), want)
	} else {
		r.failed("transient_error") // a further connection was refused
	}
	if err := <-halted; err != nil {
		t.Fatal(err)
	}
	resume(t, db, s)
	db.expectWhole(in, r)
}

// A state that was cut off is none: nothing is read, wherever it was cut.
func TestTruncatedStates(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
	c.first()
	whole, err := json.Marshal(c.state)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < len(whole); n += len(whole) / 12 {
		in := input{config: c.settings, catalog: c.catalog, state: string(whole[:n])}
		r := run(t, "read", in)
		if e := r.failed("config_error"); !strings.Contains(e.Message, "tate") || len(r.records("t")) > 0 {
			t.Errorf("cut after %d bytes: %s", n, e.Message)
		}
	}
}
