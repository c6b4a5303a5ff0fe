// Package cdc reads changes from the write-ahead log: with a replication slot and the pgoutput plugin, from the
// position that a state names up to where the log stood when the reading began.
package cdc

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/config"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// A state is written at the end of a transaction when so much has been sent since the last one.
const (
	stateRecords = 10_000
	stateBytes   = 16 << 20
	stateEvery   = 10 * time.Second
)

// releaseWithin bounds the wait for the server to notice that a replication connection has ended, and releaseEvery is
// how often it is looked at.
const (
	releaseWithin = 2 * time.Second
	releaseEvery  = 5 * time.Millisecond
)

// answers is how many messages of the server are waited for so that it takes note of the last status.
const answers = 10

// A Reader reads the log for the streams that it keeps current. It is used by one goroutine.
type Reader struct {
	server      *postgres.Server
	conn        *pgconn.PgConn // for questions; not in a transaction between them
	config      *config.Config
	streams     []*follower
	partitioned bool // one of the streams is a partitioned table
	ledger      *state.Ledger
	writer      *protocol.Writer
	emitter     *protocol.Emitter
	accepted    atomic.Uint64 // the LSN up to which the server may forget; the feed reads it too
	patience    time.Duration // wal_sender_timeout; 0: endless
	charset     *charset      // of the log's texts; nil: UTF-8

	at        state.Log // what the next state says
	number    uint64    // the last _ab_cdc_lsn
	relations map[uint32]*relation
	logged    time.Time

	held   *state.Log // where states stay, between Hold and Release
	beyond int64      // records sent since Hold

	// Of this Run.
	target pglogrepl.LSN
	stop   *atomic.Bool  // ends it before target is reached; nil: nothing does
	over   bool          // every change before target has been read, or stop says so
	stands pglogrepl.LSN // what the last keepalive said
	dry    uint64        // when the server was seen to have nothing more before target; 0: it was not
	from   pglogrepl.LSN
	began  time.Time
	had    int64 // records before it
	// Before the end of the first transaction: what has been sent of it.
	resumed resumption

	// Of the transaction that is being read.
	inside     bool
	committing pglogrepl.LSN
	xid        uint32
	begins     uint64 // where the present change begins
	instant    []byte // when it committed, as records show it

	waiting      []pending
	waitingBytes int
	batch        int // how many of them are looked up together
	sent         int // records since the last state
	sentBytes    int
	saved        time.Time

	row, values  [][]byte // reused for every change, as are the next two
	lost, digits []byte
}

// A follower is a stream that the log keeps current.
type follower struct {
	*plan.Stream
	since pglogrepl.LSN // changes that committed before were seen by its first pass, or have been sent
	above uint64        // the greatest number that one of its records may have
	held  bool          // its changes wait for Release
	rows  int64
}

// Options say what a Reader reads.
type Options struct {
	Config  *config.Config
	Ledger  *state.Ledger
	Writer  *protocol.Writer
	From    state.Log     // where to go on
	Accept  pglogrepl.LSN // what the server may forget: only what the platform has in its keeping
	Timeout time.Duration // wal_sender_timeout
}

// NewReader is a Reader with a connection of its own. Close it in the end.
func NewReader(ctx context.Context, server *postgres.Server, o Options) (*Reader, error) {
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, err
	}
	err = postgres.Linger(ctx, conn)
	var texts *charset
	if err == nil {
		texts, err = loadCharset(ctx, conn)
	}
	if err != nil {
		postgres.Close(conn)
		return nil, err
	}
	r := &Reader{
		server: server, conn: conn, config: o.Config, ledger: o.Ledger, writer: o.Writer, emitter: o.Writer.Emitter(),
		patience: o.Timeout, charset: texts, at: o.From, number: o.From.Number, saved: time.Now(),
	}
	r.accepted.Store(uint64(o.Accept))
	return r, nil
}

// Close ends the connection for questions.
func (r *Reader) Close() { postgres.Close(r.conn) }

// Position is how far the log has been read.
func (r *Reader) Position() state.Log { return r.at }

// Skip raises the numbers to be given out above number.
func (r *Reader) Skip(number uint64) {
	r.number = max(r.number, number)
	r.at.Number = r.number
}

// Follow makes the Reader keep a stream current from now on; since is what its first pass has seen.
func (r *Reader) Follow(s *plan.Stream, since pglogrepl.LSN) {
	for _, f := range r.streams {
		if f.Descriptor == s.Descriptor {
			f.since = max(f.since, since)
			return
		}
	}
	r.streams = append(r.streams, &follower{Stream: s, since: since})
	r.partitioned = r.partitioned || s.Table.Kind == catalog.Partitioned
}

// Run reads every change that committed before target and writes a state that says so at the end.
func (r *Reader) Run(ctx context.Context, target pglogrepl.LSN) error { return r.run(ctx, target, nil) }

// RunUntil reads on until stop says that it is enough, and then to the end of the transaction.
func (r *Reader) RunUntil(ctx context.Context, stop *atomic.Bool) error {
	return r.run(ctx, math.MaxUint64, stop)
}

func (r *Reader) run(ctx context.Context, target pglogrepl.LSN, stop *atomic.Bool) error {
	conn, err := r.start(ctx)
	if err != nil {
		return err
	}
	defer r.release(ctx, conn)
	// Only now does the slot belong to this process. A server that is asked for a position before the slot's begins at
	// the slot's without a word.
	slot, err := LookUp(ctx, r.conn, r.config)
	if err != nil {
		return err
	}
	if err := slot.Covers(r.at.LSN, r.config); err != nil {
		return err
	}
	// Of a Run that was broken off in a transaction nothing is left.
	r.relations, r.inside, r.number = map[uint32]*relation{}, false, r.at.Number
	r.waiting, r.waitingBytes = r.waiting[:0], 0
	r.target, r.stop, r.resumed = target, stop, resumption{sent: r.at.Sent}
	r.stands, r.dry = 0, 0
	r.from, r.began, r.logged, r.had = r.at.LSN, time.Now(), time.Now(), r.records()
	r.reach(r.at.LSN)
	if stop == nil {
		slog.Info("reading the log", "from", r.at.LSN, "to", target, "bytes", max(int64(target)-int64(r.at.LSN), 0))
	}
	f := newFeed(conn, r.patience, func() pglogrepl.LSN { return pglogrepl.LSN(r.accepted.Load()) }, r.at.LSN,
		slot.Confirmed)
	group, both := errgroup.WithContext(ctx)
	receiving, enough := context.WithCancel(both)
	group.Go(func() (err error) {
		defer protocol.Recover(&err)
		if err := f.run(receiving); err != nil {
			return explain(err, r.config)
		}
		return nil
	})
	group.Go(func() (err error) {
		defer enough()
		defer protocol.Recover(&err)
		return r.consume(both, f)
	})
	err = r.blame(ctx, group.Wait())
	if err == nil {
		r.finished()
	}
	return err
}

// release ends the replication connection and waits until the slot is free again, so that whoever comes next, the next
// sync above all, does not find it in use. A goodbye would first have to wait for what the server is still sending.
func (r *Reader) release(ctx context.Context, conn *pgconn.PgConn) {
	postgres.Abandon(conn)
	r.watch(ctx, func(slot *Slot, err error) bool {
		return err != nil || slot.Active == "" // if it cannot be seen, there is nothing to wait for
	})
}

// consume makes records of what the feed gives until the target is reached. When nothing comes, since the server is
// busy with changes of other tables, and in a transaction that has no end, a state now and then says that the sync is
// alive.
func (r *Reader) consume(ctx context.Context, f *feed) error {
	m := message{charset: r.charset}
	alive := time.NewTimer(r.untilState())
	defer alive.Stop()
	for !r.over {
		var chunk []byte
		var ok bool
		select {
		case chunk, ok = <-f.full:
		case <-alive.C:
			if err := r.checkpoint(ctx, false); err != nil {
				return err
			}
			alive.Reset(r.untilState())
			continue
		}
		if !ok {
			return ctx.Err() // the feed says why
		}
		for rest := chunk; len(rest) > 0 && !r.over; {
			size := 4 + int(binary.BigEndian.Uint32(rest))
			if err := r.message(ctx, &m, rest[4:size]); err != nil {
				return err
			}
			rest = rest[size:]
		}
		f.done(chunk)
		r.progress(ctx)
	}
	if err := r.checkpoint(ctx, true); err != nil {
		return err
	}
	return r.settled(ctx, f)
}

// settled waits until the server has taken note of what it may forget: what it was told just before the connection ends
// it may never read. It does not wait for ever, since the next sync says it again.
func (r *Reader) settled(ctx context.Context, f *feed) error {
	for range answers {
		slot, err := LookUp(ctx, r.conn, r.config)
		if err != nil {
			return err
		}
		if uint64(slot.Confirmed) >= r.accepted.Load() {
			return nil
		}
		chunk, ok := <-f.full // what it holds comes after the last state: the next sync reads it again
		if !ok {
			return ctx.Err()
		}
		f.done(chunk)
	}
	return nil
}

// message takes one message of the stream: a keepalive or a change.
func (r *Reader) message(ctx context.Context, m *message, data []byte) error {
	position := pglogrepl.LSN(binary.BigEndian.Uint64(data[1:]))
	if data[0] == 'k' {
		if r.inside {
			return nil // it may stand beyond this transaction's end, of which something is still to come
		}
		r.reach(position)
		if err := r.drained(ctx, position, binary.BigEndian.Uint64(data[9:])); err != nil {
			return err
		}
		return r.checkpoint(ctx, false)
	}
	if err := m.decode(data[25:]); err != nil {
		return err
	}
	switch m.kind {
	case 'B':
		if m.commit >= r.target {
			r.reach(r.target)
			return nil
		}
		r.inside, r.committing, r.xid = true, m.commit, m.xid
		r.instant = m.committed.UTC().AppendFormat(r.instant[:0], catalog.InstantFormat)
	case 'C':
		r.inside, r.at.Sent, r.resumed = false, state.Sent{}, resumption{}
		r.reach(m.commit)
		return r.checkpoint(ctx, false)
	case 'R':
		rel, err := r.relate(ctx, m.shape)
		if err != nil {
			return err
		}
		r.relations[m.shape.oid] = rel
	case 'I', 'U', 'D':
		r.begins = uint64(position)
		if sent, err := r.before(ctx, m, data[25:]); sent || err != nil {
			return err
		}
		return r.change(ctx, m)
	case 'T':
		r.truncated(m.relations)
	}
	return nil
}

// reach notes that everything that committed before position has been read, and no part of what committed later.
func (r *Reader) reach(position pglogrepl.LSN) {
	r.at.LSN, r.at.Number, r.at.Ahead = max(r.at.LSN, position), r.number, 0
	r.over = r.at.LSN >= r.target || r.stop != nil && r.stop.Load()
}

// untilState is how long there may be no state from now on.
func (r *Reader) untilState() time.Duration {
	return time.Until(r.saved.Add(r.config.CheckpointInterval))
}

// checkpoint writes a state if enough has been sent since the last one, or if it is the last. Within a transaction,
// which only time can make it do, the state is from before it: whoever goes on from there reads all of it again.
func (r *Reader) checkpoint(ctx context.Context, last bool) error {
	sent, bytes := r.sent+len(r.waiting), r.sentBytes+r.waitingBytes
	due := sent >= stateRecords || bytes >= stateBytes || sent > 0 && time.Since(r.saved) >= stateEvery
	if !last && (!due || r.inside) && r.untilState() > 0 {
		return nil
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	at := r.at
	if r.held != nil {
		at = *r.held
		at.Ahead = r.beyond
	}
	needed := at.LSN
	err := r.emitter.Checkpoint(func() *protocol.State {
		needed = r.ledger.Needed(at.LSN)
		return r.ledger.Log(at)
	})
	if err != nil {
		return err
	}
	if r.config.CDC.AcknowledgeReading {
		r.accepted.Store(uint64(needed))
	}
	r.sent, r.sentBytes, r.saved = 0, 0, time.Now()
	return nil
}

// truncated warns: a TRUNCATE has no records.
func (r *Reader) truncated(relations []uint32) {
	for _, oid := range relations {
		rel := r.relations[oid]
		if rel != nil && slices.ContainsFunc(rel.targets, func(t *target) bool { return r.committing >= t.since }) {
			slog.Warn("the table was truncated: the rows that it had are not reported as deleted",
				"table", rel.schema+"."+rel.name)
		}
	}
}
