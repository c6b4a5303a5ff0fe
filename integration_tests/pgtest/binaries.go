package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// errNoBinaries says what a person has to do.
var errNoBinaries = errors.New("no PostgreSQL server programs (initdb, postgres) on this machine: " +
	"install PostgreSQL (Debian: apt-get install postgresql; macOS: brew install postgresql), or set PGTEST_BINDIR")

// debianDirs is where Debian's packages put the programs, one directory a major version.
const debianDirs = "/usr/lib/postgresql/*/bin"

// binaries finds the directory with the server's programs.
func binaries(ctx context.Context) (string, error) {
	if dir := os.Getenv("PGTEST_BINDIR"); dir != "" {
		if !complete(dir) {
			return "", fmt.Errorf("PGTEST_BINDIR: %s does not have both initdb and postgres", dir)
		}
		return dir, nil
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); complete(dir) {
			return dir, nil
		}
	}
	dirs, _ := filepath.Glob(debianDirs)
	sort.Slice(dirs, func(i, j int) bool { return majorOf(dirs[i]) > majorOf(dirs[j]) })
	for _, dir := range dirs {
		if complete(dir) {
			return dir, nil
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(path)) {
			return filepath.Dir(path), nil
		}
	}
	return "", errNoBinaries
}

func complete(dir string) bool {
	return executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres"))
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// majorOf is 15 for /usr/lib/postgresql/15/bin.
func majorOf(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// install installs Debian's packages and gives the directory of their programs. The cluster that the packages would
// make and start for themselves is not made.
func install(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", errNoBinaries
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", errNoBinaries
	}
	err := underLock(func() error {
		if _, err := binaries(ctx); err == nil {
			return nil
		}
		if err := preventCluster(); err != nil {
			return err
		}
		return apt(ctx, "postgresql", "postgresql-contrib")
	})
	if err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	return binaries(ctx)
}

// Tool gives the path of a program that is not PostgreSQL's own, such as pgbouncer or sshd. Where it is missing, the
// Debian package of it is installed, if this process is root and has apt-get; no service of it is started.
func Tool(ctx context.Context, name, debian string) (string, error) {
	if path, err := tool(name); err == nil {
		return path, nil
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is not on this machine, and installing it (%s) takes root", name, debian)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("%s is not on this machine, and there is no apt-get to install it with", name)
	}
	err := underLock(func() error {
		if _, err := tool(name); err == nil {
			return nil
		}
		// Debian's way to say that no service is to be started now.
		const policy = "/usr/sbin/policy-rc.d"
		if _, err := os.Stat(policy); errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
				return err
			}
			defer func() { _ = os.Remove(policy) }()
		}
		return apt(ctx, debian)
	})
	if err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return tool(name)
}

// tool looks where programs for administrators are, too.
func tool(name string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", name, exec.ErrNotFound)
}

// underLock runs do while no other test process does the same.
func underLock(do func() error) error {
	lock, err := os.OpenFile(filepath.Join(tempDir(), "pgtest.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return do()
}

// apt installs packages.
func apt(ctx context.Context, packages ...string) error {
	fmt.Fprintln(os.Stderr, "pgtest: installing with apt-get:", strings.Join(packages, " "))
	for _, args := range [][]string{
		{"update", "-qq"},
		append([]string{
			"install", "-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold",
			"-o", "DPkg::Lock::Timeout=120",
		}, packages...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, tail(out))
		}
	}
	return nil
}

// preventCluster keeps Debian's packages from making a cluster when they are installed.
func preventCluster() error {
	const conf = "/etc/postgresql-common/createcluster.conf"
	if _, err := os.Stat(conf); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		return err
	}
	return os.WriteFile(conf, []byte("create_main_cluster = false\n"), 0o644)
}

// tail is the end of a program's output, for an error.
func tail(out []byte) string {
	const limit = 2000
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return strings.TrimSpace(string(out))
}
