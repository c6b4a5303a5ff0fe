//go:build image

package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// These tests run the image with launcher/launch, which does what the platform's launcher does.

// launch starts a command so, and gives the directory that the container has, too.
func launch(t *testing.T, command string, in input, env ...string) (*process, string) {
	t.Helper()
	image := imageUnderTest(t)
	script, err := filepath.Abs("launcher/launch")
	if err != nil {
		t.Fatal(err)
	}
	var shared string
	p := startAs(t, command, in, func(ctx context.Context, dir string) *exec.Cmd {
		shared = dir
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		files := map[string]any{"connectionConfiguration": in.config}
		if command == "read" {
			files = map[string]any{"connectorConfig": in.config, "catalog": in.catalog, "inputState": in.state}
		}
		for name, content := range files {
			if content == nil {
				continue
			}
			path := filepath.Join(dir, name+".json")
			if err := os.WriteFile(path, text(t, content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(ctx, script, image, command, dir)
		cmd.Env = append(os.Environ(), env...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		return cmd
	})
	return p, shared
}

// As the platform starts it: user 1000:1000 without capabilities, in a directory of the platform's.
func TestLauncherSpecCheckDiscover(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE numbers (id int PRIMARY KEY, name text)")
	for _, command := range []string{"spec", "check", "discover"} {
		p, _ := launch(t, command, input{config: db.config(nil)})
		r := p.wait().ok()
		if command == "check" && r.status().Status != "SUCCEEDED" {
			t.Errorf("check: %+v", r.status())
		}
	}
	p, _ := launch(t, "check", input{config: db.config(map[string]any{"password": "another one"})})
	if r := p.wait().ok(); r.status().Status != "FAILED" {
		t.Errorf("check with a wrong password: %+v", r.status())
	}
}

// launchedRows is more than what fits in a pipe.
const launchedRows = 20_000

func launchedTable(t *testing.T) (*database, input) {
	t.Helper()
	db := newDB(t)
	db.exec("CREATE TABLE t (id int PRIMARY KEY, name text)")
	db.exec("INSERT INTO t SELECT i, 'name of ' || i FROM generate_series(1, $1) i", launchedRows)
	config := db.config(nil)
	return db, input{config: config, catalog: discover(t, config).configure("full_refresh")}
}

// The whole table comes from standard output through the pipes, whether they are read fast or slowly; with the states
// of a finished sync the next one begins anew.
func TestLauncherRead(t *testing.T) {
	t.Parallel()
	_, in := launchedTable(t)
	for name, env := range map[string][]string{"fast": nil, "slow": {"LAUNCH_RATE=500000"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := launch(t, "read", in, env...)
			r := p.wait().ok()
			if n := len(r.records("t")); n != launchedRows {
				t.Fatalf("%d records, want %d", n, launchedRows)
			}
			again := in
			again.state = r.lastState()
			p, _ = launch(t, "read", again)
			expectStatuses(t, p.wait().ok(), "t", "STARTED RUNNING COMPLETE")
		})
	}
}

// A read that fails says so with its exit code, which is all that the platform goes by.
func TestLauncherFailedRead(t *testing.T) {
	t.Parallel()
	db, in := launchedTable(t)
	db.exec("DROP TABLE t")
	p, _ := launch(t, "read", in)
	p.wait().expectExit(1).failed("config_error")
}

// However the platform ends a read, and whatever of it the connector notices, the next attempt has what is missing.
func TestLauncherEndsARead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(t *testing.T, p *process, dir string)
		exit int
	}{
		"termination file": {func(t *testing.T, _ *process, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, "TERMINATED"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, 143},
		// The first process of the container is a shell, which hands no signal on: the connector is killed.
		"pod deleted": {func(_ *testing.T, p *process, _ string) { p.signal(syscall.SIGTERM) }, 1},
		"reader gone": {func(_ *testing.T, p *process, _ string) { p.hangUp() }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			in := large(db, 1)
			p, dir := launch(t, "read", in)
			p.until(func(m message) bool { return m.State != nil })
			p.disturbed = true
			test.end(t, p, dir)
			db.expectGone() // meanwhile nobody reads, so that it is not because the read was over
			r := p.wait().expectExit(test.exit)
			db.expectWhole(in, r)
		})
	}
}
