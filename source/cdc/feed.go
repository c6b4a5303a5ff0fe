package cdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"source-postgres/source/postgres"
)

const (
	chunkSize = 256 << 10              // bytes of messages that are handed over at a time
	chunks    = 4                      // that may wait
	askAfter  = 300 * time.Millisecond // of silence: then the server is asked where it stands
	minWait   = 5 * time.Millisecond   // the least that a receive may have left to wait
	pingEvery = 10 * time.Second       // at the most between two status messages; less if the server's patience is shorter
)

// A feed owns the replication connection: it alone receives from it and writes to it. It passes on what it receives
// in chunks, and while nobody takes them, because stdout is blocked, it goes on telling the server that it is alive:
// a server that hears nothing for wal_sender_timeout ends the connection.
//
// In its status messages the written position is what has been received, and the flushed and applied ones are what
// may be forgotten. All three are always set, for an unset one is filled in with the written one; and the written one
// is up to date, for a server that is always told an old one answers each time.
//
// The server reads its log again from some place before the slot's position. What may be forgotten is only said when it
// has come that far: told so before, it may remove the files that it is reading.
type feed struct {
	conn     *pgconn.PgConn
	full     chan []byte // messages, each behind its length in 4 bytes
	empty    chan []byte
	accepted func() pglogrepl.LSN
	received pglogrepl.LSN
	held     pglogrepl.LSN // where the slot was at the beginning
	come     pglogrepl.LSN // how far the server has come in reading its log
	told     bool          // what may be forgotten
	every    time.Duration
	pinged   time.Time
	until    time.Time // the deadline of the next receive
}

func newFeed(
	conn *pgconn.PgConn, patience time.Duration, accepted func() pglogrepl.LSN, from, held pglogrepl.LSN,
) *feed {
	f := &feed{
		conn: conn, full: make(chan []byte, chunks), empty: make(chan []byte, chunks+2), accepted: accepted,
		received: from, held: held, every: pingEvery,
	}
	if patience > 0 {
		f.every = min(f.every, patience/3)
	}
	return f
}

// run receives until ctx ends or the connection does; then full is closed.
func (f *feed) run(ctx context.Context) error {
	defer close(f.full)
	stop := context.AfterFunc(ctx, func() { _ = f.conn.Conn().SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	chunk := make([]byte, 0, chunkSize)
	if err := f.status(true); err != nil {
		return err
	}
	for {
		if err := f.await(ctx, len(chunk) > 0); err != nil {
			return err
		}
		m, err := f.conn.ReceiveMessage(context.Background())
		switch {
		case ctx.Err() != nil:
			return nil
		case isTimeout(err) && len(chunk) > 0:
			// The chunk could not be handed over before; perhaps it can now.
		case isTimeout(err):
			// Nothing has come for a while. The answer says how far the server has got.
			if err := f.status(true); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if chunk, err = f.keep(chunk, m); err != nil {
				return err
			}
		}
		if chunk, err = f.pass(ctx, chunk); err != nil {
			return err
		}
		if time.Since(f.pinged) > f.every {
			if err := f.status(false); err != nil {
				return err
			}
		}
	}
}

// await gives the next receive its deadline. While there is more to be had at once the last one will do; but it must
// not have passed, for the buffer may hold a part of a message only, the rest of which has to be read. A chunk that
// waits to be handed over is not left waiting for the next message.
func (f *feed) await(ctx context.Context, waiting bool) error {
	now := time.Now()
	if postgres.Buffered(f.conn) > 0 && f.until.Sub(now) > minWait {
		return nil
	}
	wait := askAfter
	if waiting {
		wait = 2 * minWait
	}
	f.until = now.Add(wait)
	if err := f.conn.Conn().SetReadDeadline(f.until); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// keep appends what is in m to the chunk.
func (f *feed) keep(chunk []byte, m pgproto3.BackendMessage) ([]byte, error) {
	switch m := m.(type) {
	case *pgproto3.CopyData:
		if len(m.Data) == 0 {
			return chunk, errors.New("receive from the log: an empty message")
		}
		chunk = binary.BigEndian.AppendUint32(chunk, uint32(len(m.Data)))
		chunk = append(chunk, m.Data...)
		err := f.note(m.Data)
		m.Data = nil // it may be huge
		return chunk, err
	case *pgproto3.ErrorResponse:
		return chunk, pgconn.ErrorResponseToPgError(m)
	case *pgproto3.NoticeResponse:
		if m.Code == "55000" { // version 18 passes over what an earlier one refuses: the changes would be lost
			return chunk, fmt.Errorf("%w: %s", errSkipped, m.Message)
		}
	case *pgproto3.CopyDone:
		return chunk, errors.New("receive from the log: the server ended the stream")
	}
	return chunk, nil // notices and changed parameters
}

// note keeps the position up to date and answers a keepalive that asks for it.
//
// A change: 'w', where it begins, where the server stands, the time. A keepalive: 'k', where the server stands, the
// time, and whether it wants an answer. All in 8 bytes but the last.
func (f *feed) note(data []byte) error {
	asks := false
	switch {
	case data[0] == 'w' && len(data) >= 25:
	case data[0] == 'k' && len(data) == 18:
		asks = data[17] != 0
	default:
		return fmt.Errorf("receive from the log: message %q of %d bytes is unknown", data[0], len(data))
	}
	f.come = pglogrepl.LSN(binary.BigEndian.Uint64(data[1:]))
	f.received = max(f.received, f.come)
	if !f.told && f.come >= f.accepted() {
		return f.status(true)
	}
	if asks {
		return f.status(false)
	}
	return nil
}

// pass hands the chunk over when it is full, or when there is nothing more to be had at once; while it cannot, it
// keeps the connection alive.
func (f *feed) pass(ctx context.Context, chunk []byte) ([]byte, error) {
	if len(chunk) < chunkSize {
		if len(chunk) == 0 || postgres.Buffered(f.conn) > 0 {
			return chunk, nil
		}
		select {
		case f.full <- chunk:
			return f.fresh(), nil
		default:
			return chunk, nil // it can just as well grow meanwhile
		}
	}
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		select {
		case f.full <- chunk:
			return f.fresh(), nil
		case <-ticker.C:
			if err := f.status(false); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (f *feed) fresh() []byte {
	select {
	case chunk := <-f.empty:
		return chunk[:0]
	default:
		return make([]byte, 0, chunkSize)
	}
}

// done gives a chunk back.
func (f *feed) done(chunk []byte) {
	if cap(chunk) > 4*chunkSize {
		return // it held a huge change
	}
	select {
	case f.empty <- chunk:
	default:
	}
}

func (f *feed) status(ask bool) error {
	f.pinged = time.Now()
	accepted := f.held
	if f.told = f.told || f.come >= f.accepted(); f.told {
		accepted = f.accepted()
	}
	err := pglogrepl.SendStandbyStatusUpdate(context.Background(), f.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: max(f.received, accepted), WALFlushPosition: accepted, WALApplyPosition: accepted,
		ClientTime: f.pinged, ReplyRequested: ask,
	})
	if err != nil {
		return fmt.Errorf("tell the server where the reading stands: %w", err)
	}
	return nil
}

// errSkipped says that the server leaves out changes from before the publication was made.
var errSkipped = errors.New("changes are passed over")

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
