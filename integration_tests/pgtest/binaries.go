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
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// majorOf is 15 for /usr/lib/postgresql/15/bin.
func majorOf(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// install installs Debian's packages and gives the directory of their programs. The cluster that the packages would
// make and start for themselves is not made. Several test processes may call it at once: one installs, the others wait
// for it.
func install(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", errNoBinaries
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return "", errNoBinaries
	}
	lock, err := os.OpenFile(filepath.Join(tempDir(), "pgtest.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("install PostgreSQL: lock %s: %w", lock.Name(), err)
	}
	if dir, err := binaries(ctx); err == nil {
		return dir, nil
	}
	if err := preventCluster(); err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	fmt.Fprintln(os.Stderr, "pgtest: no PostgreSQL server programs found; installing postgresql with apt-get")
	for _, args := range [][]string{
		{"update", "-qq"},
		{
			"install", "-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold",
			"-o", "DPkg::Lock::Timeout=120", "postgresql", "postgresql-contrib",
		},
	} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("install PostgreSQL: apt-get %s: %w: %s", args[0], err, tail(out))
		}
	}
	return binaries(ctx)
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
