package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// errNotOurs is what a container or a server that was there before answers to the methods of this file.
var errNotOurs = errors.New("only a server that pgtest made from binaries (Private) can be halted and resumed")

// shutdowns are PostgreSQL's three ways to shut down, as pg_ctl names them.
var shutdowns = map[string]syscall.Signal{
	"smart":     syscall.SIGTERM, // waits for the sessions to end
	"fast":      syscall.SIGINT,  // ends the sessions; waits for the walsenders
	"immediate": syscall.SIGQUIT, // ends everything; recovery at the next start
}

// Halt shuts the server down in the given mode (smart, fast, immediate), keeps its data, and returns when it has ended.
func (s *Server) Halt(ctx context.Context, mode string) error {
	sig, ok := shutdowns[mode]
	if !ok {
		return fmt.Errorf("halt the server: unknown mode %q", mode)
	}
	return s.end(ctx, sig)
}

// Signal tells the server to shut down in the given mode and does not wait for it.
func (s *Server) Signal(mode string) error {
	sig, ok := shutdowns[mode]
	switch {
	case !ok:
		return fmt.Errorf("shut the server down: unknown mode %q", mode)
	case s.local == nil:
		return errNotOurs
	}
	if err := s.local.process.Signal(sig); err != nil {
		return fmt.Errorf("shut the server down: %w", err)
	}
	return nil
}

// Crash kills the postmaster (SIGKILL) and returns when it is gone. Its children end by themselves soon after; Resume
// waits for them.
func (s *Server) Crash(ctx context.Context) error {
	return s.end(ctx, syscall.SIGKILL)
}

// Restart is Halt, then Resume.
func (s *Server) Restart(ctx context.Context, mode string) error {
	if err := s.Halt(ctx, mode); err != nil {
		return err
	}
	return s.Resume(ctx)
}

// Resume starts a server that was halted or has crashed, on the same port, and returns when it takes connections.
func (s *Server) Resume(ctx context.Context) error {
	l := s.local
	if l == nil {
		return errNotOurs
	}
	for {
		err := s.run(ctx)
		// What a crash left behind is in the way until the last child has noticed and ended.
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
	}
}

// PID is the postmaster's process id, for tests that stop (SIGSTOP) the server or a part of it; 0 if it is not a child
// of this process.
func (s *Server) PID() int {
	if s.local == nil || s.local.process == nil {
		return 0
	}
	return s.local.process.Pid
}

func (s *Server) end(ctx context.Context, sig syscall.Signal) error {
	if s.local == nil {
		return errNotOurs
	}
	if err := s.local.process.Signal(sig); err != nil {
		return fmt.Errorf("end the server: %w", err)
	}
	select {
	case <-s.local.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end the server: %w", ctx.Err())
	}
}

// run starts the postmaster and waits until it takes connections. If it ends instead, the error has what it logged.
func (s *Server) run(ctx context.Context) error {
	l := s.local
	// Children of a server that has crashed may still write to it: nobody writes over what the other has written.
	const anew = os.O_CREATE | os.O_TRUNC | os.O_APPEND | os.O_WRONLY
	log, err := os.OpenFile(filepath.Join(l.dir, "log"), anew, 0o600)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer log.Close()
	// Not CommandContext: the server outlives the call.
	cmd := l.command(context.Background(), filepath.Join(l.bin, "postgres"),
		"-D", filepath.Join(l.dir, "data"), "-p", strconv.Itoa(s.Port))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cmd.Env, s.Environment...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	exited := make(chan struct{})
	l.process, l.exited = cmd.Process, exited
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	conn, err := s.awaitReady(ctx, exited)
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("start the server: %w: %s", err, text)
	}
	return conn.Close(ctx)
}
