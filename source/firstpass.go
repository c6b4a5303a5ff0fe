package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"source-postgres/protocol"
	"source-postgres/source/cdc"
	"source-postgres/source/plan"
	"source-postgres/source/scan"
	"source-postgres/source/state"
)

// pass carries out the first pass of streams, in a snapshot that shows just what had committed at one point of the log.
func (f *following) pass(ctx context.Context, streams []*plan.Stream) error {
	handOver := slices.ContainsFunc(streams, func(s *plan.Stream) bool { return s.Method == plan.ByLog })
	follow, err := f.snapshot(ctx, handOver)
	if err != nil {
		return err
	}
	if f.reader == nil {
		at := state.Log{LSN: follow.From, Number: follow.Number}
		if err := f.open(ctx, at, f.slot.Confirmed); err != nil {
			return err
		}
	}
	f.ledger.Log(f.reader.Position()) // what the states of the pass say of the log
	timed, cancel := context.WithTimeout(ctx, f.config.CDC.InitialLoadTimeout)
	defer cancel()
	err, log := f.beside(ctx, streams, handOver, func() error {
		return scan.Run(timed, f.session, streams, scan.Options{
			Workers: workers(f.config), Interval: f.config.CheckpointInterval, Ledger: f.ledger, Follow: follow, Begun: f.begun,
		}, f.w)
	})
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		err = &protocol.Error{
			Kind: protocol.Transient,
			Message: fmt.Sprintf("The first pass was interrupted after %s, so that the log does not grow for ever.",
				f.config.CDC.InitialLoadTimeout),
			Hint: "The next sync reads the log and then goes on with the pass. initial_load_timeout_hours sets the time.",
		}
	}
	for _, problem := range protocol.Problems(err) {
		var e *protocol.Error
		if errors.As(problem, &e) && e.Stream != nil {
			f.failed[*e.Stream] = true
		}
	}
	if f.onlyStreams(err) {
		for _, s := range streams {
			if s.Method == plan.ByLog { // of one that failed, too, what has been read is to be kept current
				f.reader.Follow(s, follow.From)
			}
		}
	}
	return errors.Join(err, log)
}

// beside reads streams for the first time, by pass, while the log goes on for the others, and gives the errors of both.
// The streams whose changes come from the log afterwards hand over at the reader's position, where states stay
// meanwhile.
func (f *following) beside(
	ctx context.Context, streams []*plan.Stream, handOver bool, pass func() error,
) (_, log error) {
	reads := func(d protocol.StreamDescriptor) bool {
		return slices.ContainsFunc(streams, func(s *plan.Stream) bool { return s.Descriptor == d })
	}
	others := slices.ContainsFunc(f.logged, func(s *plan.Stream) bool {
		return f.begun[s.Descriptor] && !reads(s.Descriptor)
	})
	if !others {
		return pass(), nil
	}
	if handOver {
		f.reader.Hold(reads)
		defer f.reader.Release()
	}
	var over atomic.Bool
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { over.Store(true); done <- err }()
		defer protocol.Recover(&err)
		err = pass()
	}()
	if log = f.reader.RunUntil(ctx, &over); log != nil && ctx.Err() == nil {
		slog.Warn("the log cannot be read any more; the first pass goes on to its end", "error", log)
	}
	return <-done, log
}

// snapshot begins the session's transaction anew, with a snapshot that shows just what had committed at one point of
// the log if handOver asks for that, and says what the rows read in it are to say of the log.
func (f *following) snapshot(ctx context.Context, handOver bool) (scan.Follow, error) {
	follow := scan.Follow{From: f.slot.Confirmed, Time: f.now}
	if f.reader != nil {
		follow.From = f.reader.Position().LSN
	}
	follow.Number = uint64(follow.From)
	if !handOver {
		return follow, f.session.Begin(ctx, "")
	}
	var point *cdc.Point
	err := f.waiting(func() (err error) {
		point, err = cdc.Consistent(ctx, f.server, f.session.Conn)
		return err
	})
	switch {
	case err == nil:
		follow.From = point.LSN
		err = f.session.Begin(ctx, point.Snapshot)
		point.Close()
		if err == nil && f.reader != nil {
			// A pass that goes on does not see which of the rows that were sent before are gone by now.
			err = f.reader.Run(ctx, point.LSN)
		}
	case errors.Is(err, cdc.ErrNoPoint):
		err = f.plain(ctx, err)
	}
	follow.Number = uint64(follow.From)
	if f.reader != nil { // rows read now are newer than every change sent so far
		follow.Number = max(follow.Number, f.reader.Position().Number+1)
		f.reader.Skip(follow.Number)
	}
	return follow, err
}

// plain begins the session's transaction without a consistent point. Whatever committed since the position that the log
// goes on from is sent twice then. Nothing is missed, provided that the snapshot shows all that committed before that
// position. A commit is in the log a moment before it can be seen: so where the log has just been read, every
// transaction that was open must be over first. The slot's own position is old enough.
func (f *following) plain(ctx context.Context, why error) error {
	slog.Warn("no temporary replication slot could be made: changes since the slot's position are sent again after the "+
		"first pass", "error", why)
	if f.reader != nil {
		if err := f.server.Rollback(ctx, f.session.Conn); err != nil {
			return err
		}
		if err := f.waiting(func() error { return cdc.Quiet(ctx, f.session.Conn) }); err != nil {
			return err
		}
	}
	return f.session.Begin(ctx, "")
}

// waiting does what may take long before anything is read: it waits for transactions to end. A state now and then says
// meanwhile that the sync is alive; it is where the sync stands, or, before the first pass, at the slot's position.
func (f *following) waiting(do func() error) error {
	at := state.Log{LSN: f.slot.Confirmed, System: f.session.System, Timeline: f.slot.Timeline}
	if f.reader != nil {
		at = f.reader.Position()
	}
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer protocol.Recover(&err)
		err = do()
	}()
	alive := time.NewTicker(f.config.CheckpointInterval)
	defer alive.Stop()
	emitter := f.w.Emitter()
	var failed error
	for {
		select {
		case err := <-done:
			return errors.Join(err, failed)
		case <-alive.C:
			if failed == nil {
				failed = emitter.Checkpoint(func() *protocol.State { return f.ledger.Log(at) })
			}
		}
	}
}
