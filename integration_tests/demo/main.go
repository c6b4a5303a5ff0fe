// Demo shows the connector at work, from an empty machine to records: it starts a throw-away PostgreSQL server, loads
// a small billing database into it, builds the connector, runs its commands and compares what arrives with what the
// tables hold. It needs Go and PostgreSQL (see package pgtest for where it looks) and leaves nothing behind.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// A step is one thing to show. Steps run in order; the first that fails ends the demo.
type step struct {
	name, about string
	run         func(ctx context.Context, d *demo) error
}

var steps = []step{
	{"server", "a PostgreSQL of its own, gone again at the end", startServer},
	{"load", "a small billing database", load},
	{"build", "the connector, as one binary", build},
	{"spec", "which settings are there?", spec},
	{"check", "do these settings work?", check},
	{"discover", "which streams does the database have?", discover},
	{"read", "full refresh of every stream", read},
	{"compare", "what arrived with what the tables hold", compare},
	{"standard", "only what is new, by a cursor column", byCursor.follow},
	{"xmin", "only what has changed, by the system column xmin", byXmin.follow},
	{"cdc", "inserts, updates and deletes, from the write-ahead log", byLog.follow},
}

// A demo is what the steps hand on to each other.
type demo struct {
	*screen
	dir      string            // of the binary and of the files that the connector is given
	server   *pgtest.Server    // from startServer on
	db       *pgtest.Database  // from load on
	reader   string            // the connector's role, from load on
	settings map[string]any    // and its settings
	streams  []json.RawMessage // from discover on: the streams as the connector described them
	tallies  map[string]*tally // from read on: what arrived, by stream
}

const exitInterrupted = 130

func main() {
	os.Exit(run())
}

// run goes through the steps, cleans up whatever happened, and gives the exit code.
func run() int {
	// A reader of stdout that has gone (demo | head) must not end the process before it has cleaned up.
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	begin := time.Now()
	d := &demo{screen: newScreen(ctx, os.Stdout)}
	err := d.play(ctx)
	interrupted := ctx.Err() != nil
	if interrupted {
		d.printf("\n\ndemo: interrupted, cleaning up\n")
		err = nil // whatever the step said was about that
	}
	if left := d.clean(); left != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", left))
	}
	switch {
	case err != nil:
		d.printf("\n%s\n", d.paint(red, "demo: "+err.Error()))
		return 1
	case interrupted:
		return exitInterrupted
	}
	d.printf("\n%s (%s)\n", d.paint(green, "demo: everything arrived"), took(time.Since(begin)))
	return 0
}

func (d *demo) play(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "source-postgres-demo-"); err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	for i, s := range steps {
		d.heading(i+1, s.name, s.about)
		if err := s.run(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// clean removes the database, the server and the files. It works after an interrupt too.
func (d *demo) clean() error {
	var errs []error
	if d.db != nil {
		errs = append(errs, d.db.Drop(context.Background()))
	}
	if d.server != nil {
		errs = append(errs, d.server.Stop())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
