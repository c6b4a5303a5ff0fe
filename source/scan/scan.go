// Package scan reads tables with SQL. Several connections share one snapshot and take ranges of tables from one list,
// so that all of them are busy to the end with one large table as well as with many small ones.
package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/errgroup"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// rewrites is how often a stream is begun anew because its table was rewritten while it was read.
const rewrites = 5

// Options say how a scan goes about it.
type Options struct {
	Workers int // the most connections at a time, the session's among them
	// Interval is the longest time between two states of a stream that sends records or is being searched for some.
	Interval time.Duration
	Ledger   *state.Ledger                      // makes the states
	Follow   Follow                             // for streams whose changes come from the log
	Begun    map[protocol.StreamDescriptor]bool // streams that have been reported as started; Run adds to it
}

// A Follow is what a first pass hands over to the log.
type Follow struct {
	From   pglogrepl.LSN // the snapshot shows every transaction that committed before, and no other
	Number uint64        // the rows' _ab_cdc_lsn
	Time   time.Time     // their _ab_cdc_updated_at
}

// meta gives the values of the columns called names in a row of the first pass.
func (f *Follow) meta(names []string) [][]byte {
	var values [][]byte
	for _, name := range names {
		switch name {
		case catalog.LSNColumn:
			values = append(values, strconv.AppendUint(nil, f.Number, 10))
		case catalog.UpdatedColumn:
			values = append(values, []byte(f.Time.UTC().Format(catalog.InstantFormat)))
		default:
			values = append(values, nil)
		}
	}
	return values
}

// Run reads the streams and writes their records, states and statuses. A stream that cannot be read does not stop the
// others; the errors of all of them are joined in the order of the streams. When Run returns every stream that was
// begun has its terminal status, but for those whose changes come from the log.
func Run(ctx context.Context, s *Session, streams []*plan.Stream, o Options, w *protocol.Writer) error {
	all := make([]*progress, len(streams))
	for i, stream := range streams {
		all[i] = &progress{Stream: stream, from: stream.From, interval: o.Interval, ledger: o.Ledger, follow: o.Follow, w: w}
		all[i].noTIDRange = postgres.Version(s.Conn) < 140000
		all[i].began, all[i].saved = time.Now(), time.Now()
		all[i].logged.Store(time.Now().Unix())
		all[i].started.Store(o.Begun[stream.Descriptor])
	}
	err := runAttempts(ctx, s, all, o.Workers, w)
	var errs []error
	for _, p := range all {
		if p.started.Load() && o.Begun != nil {
			o.Begun[p.Descriptor] = true
		}
		errs = append(errs, p.end(err))
	}
	return errors.Join(errors.Join(errs...), err)
}

// runRounds reads the streams, and those again whose table was rewritten on the way: under a new snapshot, since to
// the old one a table that was truncated or given another type of column looks empty.
func runRounds(ctx context.Context, s *Session, all []*progress, workers int, w *protocol.Writer) error {
	round := all
	for range rewrites {
		if err := runRound(ctx, s, round, workers, w); err != nil {
			return err
		}
		var again []*progress
		var tables []*catalog.Table
		for _, p := range round {
			if p.rewritten.Load() && p.failure.Load() == nil {
				slog.Warn("the table was rewritten while it was read; the stream starts over", "stream", p.Descriptor)
				p.restart()
				again = append(again, p)
				tables = append(tables, p.Table)
			}
		}
		if len(again) == 0 {
			return nil
		}
		if err := s.Begin(ctx, ""); err != nil {
			return err
		}
		if err := catalog.LoadStorage(ctx, s.Conn, tables); err != nil {
			return err
		}
		round = again
	}
	for _, p := range round {
		p.fail(&protocol.Error{
			Kind: protocol.Transient, Stream: &p.Descriptor,
			Message: fmt.Sprintf("Table %s was rewritten %d times while it was read.", p.Descriptor, rewrites),
			Hint:    "Keep VACUUM FULL, CLUSTER and TRUNCATE away from it while it is read for the first time.",
		})
	}
	return nil
}

// runRound reads each stream once.
func runRound(ctx context.Context, s *Session, round []*progress, workers int, w *protocol.Writer) error {
	workers = max(min(workers, shares(round)), 1)
	snapshot := ""
	if workers > 1 {
		var err error
		if snapshot, err = s.export(ctx); err != nil {
			return err
		}
	}
	queue := newQueue(round)
	group, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		group.Go(func() (err error) {
			defer protocol.Recover(&err)
			defer queue.stopOn(&err)
			if i == 0 {
				return newWorker(s.Conn, s, queue, w).run(ctx)
			}
			return runShared(ctx, s, snapshot, queue, w)
		})
	}
	return group.Wait()
}

// shares is into how many pieces the work can be cut at the most.
func shares(round []*progress) int {
	n := 0
	for _, p := range round {
		n++
		if p.Paged {
			n += len(p.ranges(p.missing())) - 1
		}
	}
	return n
}

// runShared is a worker with a connection of its own in the shared snapshot. If that cannot be opened there is one
// worker less, and the others do its work.
func runShared(ctx context.Context, s *Session, snapshot string, queue *queue, w *protocol.Writer) error {
	conn, err := s.Server.Connect(ctx)
	if err == nil {
		defer postgres.Close(conn)
		err = s.Server.Begin(ctx, conn, snapshot)
	}
	if err != nil {
		if ctx.Err() == nil {
			slog.Warn("one connection less is used: it could not be opened", "error", err)
		}
		return nil
	}
	return newWorker(conn, s, queue, w).run(ctx)
}
