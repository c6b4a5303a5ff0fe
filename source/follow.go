package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/cdc"
	"source-postgres/source/config"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
	"source-postgres/source/scan"
	"source-postgres/source/state"
)

// A following is a sync whose changes come from the log. It has up to three parts: the log, for the streams whose
// first pass is over or was begun by an earlier attempt; then the first pass of those that need one; then the log
// from there on.
type following struct {
	config  *config.Config
	server  *postgres.Server
	session *scan.Session
	slot    *cdc.Slot
	plan    *plan.Plan
	ledger  *state.Ledger
	reader  *cdc.Reader
	w       *protocol.Writer
	now     time.Time

	from   *state.Set                         // where the streams go on
	logged []*plan.Stream                     // the streams that the log keeps current
	unread []protocol.StreamDescriptor        // those that cannot be read
	begun  map[protocol.StreamDescriptor]bool // reported as started
	failed map[protocol.StreamDescriptor]bool // by the first pass
}

// follow reads the streams of p; from is the state that they go on from.
func follow(
	ctx context.Context, c *config.Config, session *scan.Session, p *plan.Plan, from *state.Set, now time.Time,
	w *protocol.Writer,
) error {
	f := &following{
		config: c, server: session.Server, session: session, plan: p, from: from, w: w, now: now,
		begun: map[protocol.StreamDescriptor]bool{}, failed: map[protocol.StreamDescriptor]bool{},
	}
	for _, broken := range p.Broken {
		f.unread = append(f.unread, *broken.Stream)
	}
	var err error
	if f.slot, err = cdc.Ready(ctx, session.Conn, c, from.Log); err != nil {
		return err
	}
	if err := f.continuous(ctx); err != nil {
		return err
	}
	if from.Log != nil && from.Log.Number == 0 {
		// Airbyte's connector numbers rows of a first pass by where the log ends at that time, which may be far beyond the
		// position.
		from.Log.Number = uint64(f.slot.Flushed)
	}
	unfit := f.identify(ctx)
	streams := map[protocol.StreamDescriptor]state.Stream{}
	for _, s := range p.Streams {
		streams[s.Descriptor] = f.stands(s)
		if s.Method == plan.ByLog {
			f.logged = append(f.logged, s)
		}
	}
	f.ledger = state.NewLedger(from.Log, streams)
	if err := f.leave(ctx); err != nil {
		return errors.Join(unfit, err)
	}
	err = f.parts(ctx, from.Log)
	if f.reader != nil {
		f.reader.Close()
	}
	return errors.Join(unfit, err, f.finish(err))
}

// stands is where s stands before it is read. A stream that is read from its beginning, but had been begun, is followed
// until its pass begins.
func (f *following) stands(s *plan.Stream) state.Stream {
	since, begun := f.seen(s)
	if s.From != nil || !begun || s.Table.Storage == nil {
		return moved(s)
	}
	return &state.Ctid{Filenode: s.Table.Storage.Filenode, Then: &state.Follow{From: since}}
}

// moved is the state that s goes on from. It warns of what happened to the table since the end of its first pass and is
// not in the log, and takes note of it so that it warns once.
func moved(s *plan.Stream) state.Stream {
	done, over := s.From.(*state.Follow)
	if !over {
		return s.From
	}
	now := *done
	if now.Member = s.Table.Member; done.Member != 0 && done.Member != now.Member {
		slog.Warn("since the last sync the table was taken out of the publication and put back with another entry, or the "+
			"publication is another one. If that was not in one transaction, what was written meanwhile is not in the log: "+
			"reset the stream", "stream", s.Descriptor)
	}
	// New partitions change the files of a partitioned table all the time.
	if s.Table.Kind == catalog.Ordinary && s.Table.Storage != nil {
		now.Filenode = s.Table.Storage.Filenode
	}
	if done.Filenode != 0 && done.Filenode != now.Filenode {
		slog.Warn("the table has been rewritten since the last sync. The log has neither the values that ALTER TABLE … TYPE "+
			"… USING gave to rows that were there, nor the rows that TRUNCATE took, nor what was written between SET UNLOGGED "+
			"and SET LOGGED: if that is what happened, reset the stream. After VACUUM FULL or CLUSTER nothing is to be done",
			"stream", s.Descriptor)
	}
	return &now
}

// identify gives tables the replica identity that they lack, where the user owns them. A stream whose table cannot be
// given one is not read.
func (f *following) identify(ctx context.Context) error {
	var errs []error
	f.plan.Streams = slices.DeleteFunc(f.plan.Streams, func(s *plan.Stream) bool {
		if s.Alter == "" {
			return false
		}
		conn, err := f.server.Connect(ctx)
		if err == nil {
			// Who waits for a lock on the table makes everyone wait who comes after.
			err = postgres.Exec(ctx, conn, "SET lock_timeout = '5s'; "+s.Alter)
			postgres.Close(conn)
		}
		if err == nil {
			slog.Warn("the table was given a replica identity; manage_replica_identity turns this off", "stream", s.Descriptor,
				"sql", s.Alter)
			return false
		}
		if s.Table.HasIdentity() {
			slog.Warn("partitions have no replica identity with the stream's key, and none could be given to them", "stream",
				s.Descriptor, "sql", s.Alter, "error", err)
			return false
		}
		f.unread = append(f.unread, s.Descriptor)
		errs = append(errs, &protocol.Error{
			Kind: protocol.Config, Stream: &s.Descriptor, Err: err,
			Message: fmt.Sprintf("The table of stream %s has no replica identity, and none could be given to it.", s.Descriptor),
			Hint:    "Run: " + s.Alter,
		}, f.start(s), f.w.Status(s.Descriptor, protocol.Incomplete))
		return true
	})
	return errors.Join(errs...)
}

// continuous makes sure that the log still has everything that came after the state, and that it is the log of the
// state.
func (f *following) continuous(ctx context.Context) error {
	log := f.from.Log
	if log == nil {
		return f.fresh()
	}
	reached := *log
	reached.LSN = f.from.Reached()
	reset := fmt.Sprintf("Nothing was read. Reset the connection: every table is read again. Slot: %s.", f.config.CDC.Slot)
	e := &protocol.Error{Kind: protocol.Config, Hint: reset}
	switch {
	case log.System != "" && f.session.System != "" && log.System != f.session.System:
		e.Message = fmt.Sprintf("The state is of another database cluster: its system identifier is %s, this server's is %s.",
			log.System, f.session.System)
	case reached.LSN > f.slot.Flushed:
		e.Message = fmt.Sprintf("The state is at %s, ahead of the server's log, which ends at %s: the server was "+
			"restored from a backup "+
			"or replaced.", reached.LSN, f.slot.Flushed)
	default:
		if err := f.slot.Covers(log.LSN, f.config); err != nil {
			return err
		}
		return cdc.SameHistory(ctx, f.server, reached, f.slot.Timeline)
	}
	return e
}

// fresh makes sure that without a position in the log no stream is said to have been read up to one.
func (f *following) fresh() error {
	for _, s := range f.plan.Streams {
		if _, ok := f.seen(s); ok {
			return &protocol.Error{
				Kind: protocol.Config,
				Message: fmt.Sprintf("The state has no shared_state, so that it does not say how far the log had been read for "+
					"stream %s.", s.Descriptor),
				Hint: "Nothing was read. Give the whole state as an earlier sync wrote it, or reset the connection.",
			}
		}
	}
	return nil
}

// parts carries out the parts of the sync that are due.
func (f *following) parts(ctx context.Context, log *state.Log) error {
	if log != nil {
		if err := f.open(ctx, *log, log.LSN); err != nil {
			return err
		}
		for _, s := range f.logged {
			if since, ok := f.seen(s); ok {
				f.reader.Follow(s, since)
				if err := f.start(s); err != nil {
					return err
				}
			}
		}
		if err := f.readLog(ctx); err != nil {
			return err
		}
	}
	var passes []*plan.Stream
	for _, s := range f.plan.Streams {
		if _, over := s.From.(*state.Follow); !over {
			passes = append(passes, s)
		}
	}
	if len(passes) == 0 {
		return nil
	}
	err := f.pass(ctx, passes)
	if !f.onlyStreams(err) || len(f.logged) == 0 {
		return err
	}
	return errors.Join(err, f.readLog(ctx))
}

// seen says from where on the changes of a stream belong to it, and whether it has been begun at all. Of a first pass
// that is not over, too, changes are sent: it will read what they have made of the rows, and deletes it cannot see. The
// same goes for one that starts over because the table was rewritten.
func (f *following) seen(s *plan.Stream) (pglogrepl.LSN, bool) {
	from := f.from.Find(s.Descriptor)
	if oid := state.MarkOf(from).OID; oid != 0 && oid != s.Table.OID {
		return 0, false // of a table that is gone
	}
	followed := state.Followed(from)
	if followed == nil || s.Method != plan.ByLog {
		return 0, false
	}
	return followed.From, true
}

func (f *following) open(ctx context.Context, at state.Log, accept pglogrepl.LSN) (err error) {
	at.System, at.Timeline = f.session.System, f.slot.Timeline
	f.reader, err = cdc.NewReader(ctx, f.server, cdc.Options{
		Config: f.config, Ledger: f.ledger, Writer: f.w, From: at, Accept: accept, Timeout: f.slot.Patience,
	})
	return err
}

// start reports a stream as begun.
func (f *following) start(s *plan.Stream) error {
	f.begun[s.Descriptor] = true
	return errors.Join(f.w.Status(s.Descriptor, protocol.Started), f.w.Status(s.Descriptor, protocol.Running))
}

// readLog reads the log up to where it ends now.
func (f *following) readLog(ctx context.Context) error {
	// The session's own snapshot would hold back vacuum, and with it the slot.
	if err := f.server.Rollback(ctx, f.session.Conn); err != nil {
		return err
	}
	if err := postgres.Linger(ctx, f.session.Conn); err != nil {
		return err
	}
	f.heartbeat(ctx)
	slot, err := cdc.LookUp(ctx, f.session.Conn, f.config)
	if err != nil {
		return err
	}
	return f.reader.Run(ctx, slot.Flushed)
}

// heartbeat runs the user's query. It is the one statement that may write.
func (f *following) heartbeat(ctx context.Context) {
	query := f.config.CDC.HeartbeatQuery
	if query == "" {
		return
	}
	conn, err := f.server.Connect(ctx)
	if err == nil {
		defer postgres.Close(conn)
		err = postgres.Exec(ctx, conn, query)
	}
	if err != nil && ctx.Err() == nil {
		slog.Warn("heartbeat_action_query failed", "error", err)
	}
}

// onlyStreams reports that err is about single streams, so that the others can go on.
func (f *following) onlyStreams(err error) bool {
	for _, problem := range protocol.Problems(err) {
		var e *protocol.Error
		if !errors.As(problem, &e) || e.Stream == nil {
			return false
		}
	}
	return true
}

// finish gives the streams of the log their terminal status.
func (f *following) finish(err error) error {
	var errs []error
	whole := f.onlyStreams(err)
	for _, s := range f.logged {
		switch {
		case !f.begun[s.Descriptor]:
		case whole && !f.failed[s.Descriptor]:
			errs = append(errs, f.w.Status(s.Descriptor, protocol.Complete))
		default:
			errs = append(errs, f.w.Status(s.Descriptor, protocol.Incomplete))
		}
	}
	return errors.Join(errs...)
}
