// Package pgtest finds or starts a PostgreSQL server for tests and hands out databases on it.
//
// Start takes the first of these that is there:
//
//   - the server that PGTEST_URL names (a superuser's URL; wal_level must be logical),
//   - a container, where an engine answers and has the image PGTEST_IMAGE (postgres:17),
//   - a server of its own made from the binaries on this machine (PGTEST_BINDIR, else pg_config, else the newest of
//     /usr/lib/postgresql/*/bin, else PATH), in a temporary directory,
//   - a container again, after a short try to pull the image,
//   - a server of its own after installing Debian's packages, where the process is root and has apt-get.
//
// PGTEST_REQUIRE=url, docker or local allows only that one, and fails where it is not there.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Server is a running PostgreSQL server that this process may do with as it likes. Goroutines may share it.
type Server struct {
	Host           string
	Port           int
	User, Password string   // a superuser's
	Version        int      // server_version_num: 150018 is 15.18
	Via            string   // where it came from: "local /usr/lib/postgresql/15", "docker postgres:17" or "url"
	Inside         string   // host:port for other containers of the engine's usual network; empty if there are none
	Environment    []string // further variables of the server's process, from the next Resume on

	params url.Values // further parameters of PGTEST_URL, such as sslmode
	local  *local     // nil unless this process started it from binaries
	stop   func() error
}

// settings are what the tests need of a server that is started for them. Commits are still written in order and at
// once: only the wait for the disk is left out.
var settings = []string{
	"wal_level=logical",
	"max_wal_senders=30",
	"max_replication_slots=30",
	"max_connections=200",
	"max_prepared_transactions=20",
	"max_locks_per_transaction=256",
	"fsync=off",
	"full_page_writes=off",
	"log_min_messages=fatal",
	"log_checkpoints=off",
}

const (
	startTimeout = 60 * time.Second
	pollInterval = 20 * time.Millisecond
)

// Start gives a server for the tests of this process. The caller stops it.
func Start(ctx context.Context) (*Server, error) {
	require := os.Getenv("PGTEST_REQUIRE")
	switch require {
	case "", "docker", "local", "url":
	default:
		return nil, fmt.Errorf("PGTEST_REQUIRE is %q; it may be docker, local or url", require)
	}
	if address := os.Getenv("PGTEST_URL"); address != "" && (require == "" || require == "url") {
		return existing(ctx, address)
	}
	switch require {
	case "url":
		return nil, errors.New("PGTEST_REQUIRE=url, but PGTEST_URL is not set")
	case "docker":
		return startContainer(ctx, 3*time.Minute)
	case "local":
		return startLocal(ctx, nil)
	}
	s, dockerErr := startContainer(ctx, 0)
	if dockerErr == nil {
		return s, nil
	}
	dir, err := binaries(ctx)
	if err != nil && !errors.Is(dockerErr, errNoEngine) {
		if s, dockerErr = startContainer(ctx, time.Minute); dockerErr == nil {
			return s, nil
		}
	}
	if err != nil {
		dir, err = install(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("no PostgreSQL server for the tests: no PGTEST_URL; %w; %w", dockerErr, err)
	}
	return launch(ctx, dir, nil)
}

// Private starts a server from binaries that is the caller's alone, with lines of postgresql.conf after pgtest's own.
// Such a server can be halted, crashed and resumed; the caller stops it.
func Private(ctx context.Context, lines ...string) (*Server, error) {
	return startLocal(ctx, lines)
}

// Stop ends the server and removes its files, or its container; a server that was there before is left as it is. Only
// the first call does anything.
func (s *Server) Stop() error {
	if s.stop == nil {
		return nil
	}
	stop := s.stop
	s.stop = nil
	return stop()
}

// String names the server's version and where it came from.
func (s *Server) String() string {
	return fmt.Sprintf("PostgreSQL %d.%d (%s)", s.Version/10000, s.Version%10000, s.Via)
}

// Program is the path of one of PostgreSQL's client programs: psql, pg_basebackup. Of a server that this process
// started it is the one that came with it.
func (s *Server) Program(name string) (string, error) {
	if s.local != nil {
		if path := filepath.Join(s.local.bin, name); executable(path) {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return path, nil
}

// URL is the address of a database of the server, with the superuser's name and password.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(s.User, s.Password),
		Host: s.Host + ":" + strconv.Itoa(s.Port), Path: "/" + database, RawQuery: s.params.Encode(),
	}
	return u.String()
}

// existing takes the server at address.
func existing(ctx context.Context, address string) (*Server, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("PGTEST_URL is not a URL (postgres://user:password@host:port/postgres)")
	}
	port, err := strconv.Atoi(u.Port())
	if u.Port() == "" {
		port, err = 5432, nil
	}
	if err != nil {
		return nil, fmt.Errorf("PGTEST_URL: port: %w", err)
	}
	password, _ := u.User.Password()
	s := &Server{
		Host: u.Hostname(), Port: port, User: u.User.Username(), Password: password, Via: "url", params: u.Query(),
	}
	conn, err := s.awaitReady(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("PGTEST_URL: %w", err)
	}
	defer conn.Close(ctx)
	var level string
	var super bool
	row := conn.QueryRow(ctx, "SELECT current_setting('wal_level'), current_setting('is_superuser')::boolean")
	if err := row.Scan(&level, &super); err != nil {
		return nil, fmt.Errorf("PGTEST_URL: read wal_level: %w", err)
	}
	if level != "logical" || !super {
		return nil, fmt.Errorf("PGTEST_URL: the tests need wal_level logical and a superuser; wal_level is %s, superuser %t",
			level, super)
	}
	return s, nil
}

// awaitReady connects to the server as soon as it lets us, notes its version, and gives the connection. It ends early
// when gone is closed.
func (s *Server) awaitReady(ctx context.Context, gone <-chan struct{}) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn, s.readVersion(ctx, conn)
		}
		select {
		case <-tick.C:
		case <-gone:
			return nil, errors.New("the server ended while it started")
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to the server: %w", err)
		}
	}
}

func (s *Server) readVersion(ctx context.Context, conn *pgx.Conn) error {
	const query = "SELECT current_setting('server_version_num')::int"
	if err := conn.QueryRow(ctx, query).Scan(&s.Version); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	return nil
}

// random gives a word of n random bytes in hex.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}
