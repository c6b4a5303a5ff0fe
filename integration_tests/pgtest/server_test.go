package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownerEnv makes TestMain start a server, print what it made, and wait to be killed.
const ownerEnv = "PGTEST_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) == "" {
		os.Exit(m.Run())
	}
	s, err := Private(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.local.dir, s.PID())
	select {}
}

// private starts a server that is stopped when the test ends.
func private(t *testing.T, lines ...string) *Server {
	t.Helper()
	s, err := Private(t.Context(), lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.local.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the server's directory is still there: %v", err)
		}
	})
	return s
}

func TestServerSurvivesCrash(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := private(t, "work_mem=5MB")
	d, err := s.NewDatabase(ctx, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Exec(ctx, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)"); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []func() error{
		func() error { return s.Restart(ctx, "fast") },
		func() error { return errors.Join(s.Crash(ctx), s.Resume(ctx)) },
	} {
		if err := fault(); err != nil {
			t.Fatal(err)
		}
		// The old connection is broken, which only its next use shows.
		_, _ = d.Value(ctx, "SELECT 1")
		sum, err := d.Value(ctx, "SELECT sum(a) + $1 FROM t", 10)
		if err != nil || sum != "13" {
			t.Fatalf("sum after the fault = %s, %v; want 13", sum, err)
		}
	}
	if v, err := d.Value(ctx, "SHOW work_mem"); err != nil || v != "5MB" {
		t.Errorf("work_mem = %s, %v; want 5MB", v, err)
	}
}

// Drop has to get past an open session, a slot in use by nobody, a prepared transaction and a role.
func TestDropRemovesEverything(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := private(t)
	d, err := s.NewDatabase(ctx, "Ünïcode'\"name that is longer than any name in PostgreSQL may be, by far")
	if err != nil {
		t.Fatal(err)
	}
	role, err := d.NewRole(ctx, "reader", "REPLICATION")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		"CREATE TABLE t (a int)",
		"GRANT SELECT ON t TO " + quote(role.Name),
		"SELECT pg_create_logical_replication_slot('left', 'pgoutput')",
		"BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s left'",
	} {
		if err := d.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Drop(ctx); err != nil {
		t.Fatal(err)
	}
	other, err := s.NewDatabase(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	left, err := other.Value(ctx, `SELECT (SELECT count(*) FROM pg_replication_slots) +
		(SELECT count(*) FROM pg_roles WHERE rolname = $1) + (SELECT count(*) FROM pg_database WHERE datname = $2)`,
		role.Name, d.Name)
	if err != nil || left != "0" {
		t.Errorf("%s objects are left, %v; want 0", left, err)
	}
}

func TestKilledOwnerLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	owner := exec.CommandContext(ctx, os.Args[0])
	owner.Env = append(os.Environ(), ownerEnv+"=1")
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // it was killed
	err = poll(ctx, func() (bool, error) {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist) && !running(pid), nil
	})
	if err != nil {
		t.Errorf("the killed process left %s or process %d behind: %v", dir, pid, err)
	}
}

// running is false for a process that is gone, or has ended and waits for somebody to ask how.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(fields, "Z")
}
