package protocol

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// A Signal is the cause of a context that a signal ended.
type Signal struct {
	Signal syscall.Signal
	Stacks []byte // with SIGQUIT, what every goroutine was at
}

// Error names the signal.
func (s *Signal) Error() string { return "stopped by " + s.Signal.String() }

// grace is how long a read may take to end after a signal; platforms kill after ten seconds.
const grace = 5 * time.Second

// maxStacks is how many bytes of stacks are shown.
const maxStacks = 64 << 10

// WithSignals is a context that SIGTERM, SIGINT and SIGQUIT end, with a *Signal as its cause. A second signal, or a
// process that has not ended within the grace time (its stdout may be blocked for ever), exits at once with 128 plus
// the signal's number; that is safe at any moment, since a state is only ever written after the records it covers.
//
// SIGPIPE is ignored, so that a reader of stdout that has gone is an error like any other.
func WithSignals(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		s := (<-signals).(syscall.Signal)
		cause := &Signal{Signal: s}
		if s == syscall.SIGQUIT { // somebody wants to know; Go itself would show it on stderr and end at once
			cause.Stacks = make([]byte, maxStacks)
			cause.Stacks = cause.Stacks[:runtime.Stack(cause.Stacks, true)]
		}
		cancel(cause)
		select {
		case <-signals:
		case <-time.After(grace):
		}
		fmt.Fprintln(os.Stderr, "source-postgres: ended without waiting for the read to stop")
		os.Exit(128 + int(s))
	}()
	return ctx
}
