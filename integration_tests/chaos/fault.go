package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// A fault is what befalls an attempt to read, and when.
type fault struct {
	name  string
	at    int64 // the byte of the output after which it comes
	exact bool  // of a kill: nothing that is still in the pipe arrives
	quiet bool  // the attempt has to be complete all the same
}

// faults by name. A kind that stands several times comes more often.
var faults = []struct {
	name  string
	quiet bool
	log   bool // only where the log is read
}{
	{name: "none", quiet: true},
	{name: "none", quiet: true},
	{name: "kill"},
	{name: "kill"},
	{name: "kill"},
	{name: "kill"},
	{name: "terminate"},
	{name: "terminate"},
	{name: "hang up"},
	{name: "block stdout", quiet: true},
	{name: "freeze"},
	{name: "restart fast"},
	{name: "restart immediate"},
	{name: "crash"},
	{name: "end sessions"},
	{name: "cancel statements"},
	{name: "cut network"},
	{name: "cut network"},
	{name: "delay network", quiet: true},
	{name: "stall network", quiet: true},
	{name: "half-open network"},
	{name: "end walsenders", log: true},
	{name: "slot in use", quiet: true, log: true},
}

// chooseFault draws the next one. It comes somewhere in about as many bytes as an attempt has written before.
func (v *verifier) chooseFault(r *rand.Rand) fault {
	kind, expected, log, without := faults[r.IntN(len(faults))], v.expected, v.mode.log, v.without
	if r.IntN(2) == 0 && v.hard {
		kind.name, kind.quiet, kind.log = "kill", false, false
	}
	if without["outages"] && kind.name != "none" && kind.name != "terminate" {
		kind.name, kind.quiet, kind.log = "kill", false, false
	}
	f := fault{name: kind.name, quiet: kind.quiet, exact: r.IntN(2) == 0}
	reach := []int64{2000, expected / 8, expected / 2, expected, expected * 5 / 4}[r.IntN(5)]
	f.at = 1 + r.Int64N(max(reach, 1))
	if kind.log && !log || without["faults"] {
		return fault{name: "none", quiet: true}
	}
	return f
}

// patience is how long what holds an attempt up lasts: longer than the wal_sender_timeout of the server.
const (
	patience         = 1300 * time.Millisecond
	walSenderTimeout = "1s"
)

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// strike does to the connector, its network or the server what is to befall it. What it gives waits until that is over.
func (v *verifier) strike(ctx context.Context, p *process, f fault) (over func() error) {
	v.struck[f.name]++
	nothing := func() error { return nil }
	switch f.name {
	case "kill":
		_ = p.cmd.Process.Kill() // it may have ended
	case "terminate":
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	case "hang up":
		p.stdout.Close()
	case "block stdout":
		wait(ctx, patience)
	case "freeze":
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		wait(ctx, patience)
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	case "restart fast":
		return v.background(func() error { return v.server.Restart(ctx, "fast") })
	case "restart immediate":
		return v.background(func() error { return v.server.Restart(ctx, "immediate") })
	case "crash":
		return v.background(func() error {
			if err := v.server.Crash(ctx); err != nil {
				return err
			}
			return v.server.Resume(ctx)
		})
	case "end sessions":
		return v.tell(ctx, "pg_terminate_backend", "application_name = 'source-postgres'")
	case "end walsenders":
		return v.tell(ctx, "pg_terminate_backend", "backend_type = 'walsender'")
	case "cancel statements":
		return v.tell(ctx, "pg_cancel_backend", "application_name = 'source-postgres'")
	case "cut network":
		v.proxy.cut()
	case "delay network":
		v.proxy.slow(3 * time.Millisecond)
		return func() error { v.proxy.slow(0); return nil }
	case "stall network":
		pass := v.proxy.stall()
		wait(ctx, patience/3)
		pass()
	case "half-open network":
		pass := v.proxy.stall()
		wait(ctx, patience)
		v.proxy.cut()
		pass()
	}
	return nothing
}

// background does something while the output is read on: a server that shuts down waits for what it is sending.
func (v *verifier) background(do func() error) (over func() error) {
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	return func() error {
		err := <-ended
		_ = v.db.Exec(context.Background(), "SELECT 1") // finds that its connection is gone: the next call opens another
		return err
	}
}

// tell calls a function for sessions.
func (v *verifier) tell(ctx context.Context, function, which string) (over func() error) {
	err := v.db.Exec(ctx, fmt.Sprintf("SELECT %s(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND %s",
		function, which))
	return func() error { return err }
}
