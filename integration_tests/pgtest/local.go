package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// guardScript ends the server and removes its directory ($1) when its standard input closes. That happens when Stop
// closes the pipe, and also when this process is killed in whatever way, since nobody else holds the pipe's other end.
// SIGQUIT is PostgreSQL's immediate shutdown.
const guardScript = `read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
n=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done
cd /
rm -rf "$1" || { sleep 1; rm -rf "$1"; }`

// A local is a server made from the binaries of this machine. Everything it writes is under dir.
type local struct {
	bin, dir string
	account  *syscall.Credential // whom the server runs as; nil is ourselves
	guard    *exec.Cmd
	leash    io.Closer // closing it makes the guard end the server

	process *os.Process
	exited  chan struct{} // closed when the process is gone
}

func startLocal(ctx context.Context, lines []string) (*Server, error) {
	bin, err := binaries(ctx)
	if err != nil {
		bin, err = install(ctx)
	}
	if err != nil {
		return nil, err
	}
	return launch(ctx, bin, lines)
}

// launch makes a cluster with the binaries in bin and starts it.
func launch(ctx context.Context, bin string, lines []string) (s *Server, err error) {
	account, err := unprivileged()
	if err != nil {
		return nil, err
	}
	sweep()
	l, err := newLocal(bin, account)
	if err != nil {
		return nil, err
	}
	s = &Server{
		Host: "127.0.0.1", User: "postgres", Password: random(16),
		Via: "local " + filepath.Dir(bin), local: l, stop: l.remove,
	}
	if err := l.initialize(ctx, s.Password, lines); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// newLocal makes a guarded directory for a server.
func newLocal(bin string, account *syscall.Credential) (*local, error) {
	dir, err := os.MkdirTemp(tempDir(), fmt.Sprintf("pgtest-%d-", os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("make a directory for the server: %w", err)
	}
	l := &local{bin: bin, dir: dir, account: account}
	if err := l.watch(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, nil
}

// begin starts the server on a free port. Another process may take that before the server does; then the next one is
// tried.
func (s *Server) begin(ctx context.Context) (err error) {
	for range 5 {
		if s.Port, err = freePort(); err == nil {
			err = s.Resume(ctx)
		}
		if err == nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return err
}

// watch hands the directory to the server's account and starts the guard.
func (l *local) watch() error {
	if l.account != nil {
		if err := os.Chown(l.dir, int(l.account.Uid), int(l.account.Gid)); err != nil {
			return fmt.Errorf("give the server its directory: %w", err)
		}
	}
	l.guard = l.command(context.Background(), "/bin/sh", "-c", guardScript, "pgtest-guard", l.dir)
	leash, err := l.guard.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the guard: %w", err)
	}
	l.leash = leash
	if err := l.guard.Start(); err != nil {
		return fmt.Errorf("start the guard: %w", err)
	}
	return nil
}

// command is a command that runs as the server's account, in its directory, in a process group of its own (so that an
// interrupt from the terminal does not reach it), with messages in English.
func (l *local) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = l.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: l.account}
	return cmd
}

// initialize makes the cluster: UTF-8, C locale, passwords by SCRAM on loopback, no Unix sockets (their paths are
// limited to 107 bytes).
func (l *local) initialize(ctx context.Context, password string, lines []string) error {
	data, secret := filepath.Join(l.dir, "data"), filepath.Join(l.dir, "password")
	// The directory lets nobody else in.
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the superuser's password: %w", err)
	}
	initdb := l.command(ctx, filepath.Join(l.bin, "initdb"), "-D", data, "-U", "postgres", "-A", "scram-sha-256",
		"--pwfile="+secret, "-E", "UTF8", "--no-locale", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("run initdb: %w: %s", err, out)
	}
	conf := strings.Join(append(append([]string{""}, settings...), lines...), "\n") +
		"\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n"
	return appendFile(filepath.Join(data, "postgresql.conf"), conf)
}

// remove ends the server and removes its directory: the guard does both.
func (l *local) remove() error {
	if err := l.leash.Close(); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	if err := l.guard.Wait(); err != nil {
		return fmt.Errorf("stop the server: guard: %w", err)
	}
	if l.exited != nil {
		<-l.exited
	}
	return nil
}

// sweep removes directories of processes that ended together with their guard, as at a power cut. A server that still
// runs in one ends by itself when it misses its lock file.
func sweep() {
	old, _ := filepath.Glob(filepath.Join(tempDir(), "pgtest-*-*"))
	for _, dir := range old {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(dir), "-")[1])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // another sweep may be at it
		}
	}
}

// tempDir is a directory that the server's account can enter.
func tempDir() string {
	if os.Geteuid() == 0 {
		return "/tmp"
	}
	return os.TempDir()
}

// unprivileged is the account that PostgreSQL's programs run as; nil where this process is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("find an account for the server, which refuses to run as root: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find an account for the server: %w", err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find an account for the server: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
