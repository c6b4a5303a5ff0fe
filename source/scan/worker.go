package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
)

// A worker reads tasks with one connection, which is in a transaction of the session's snapshot.
type worker struct {
	conn    *pgconn.PgConn
	session *Session
	queue   *queue
	emit    *protocol.Emitter
	w       *protocol.Writer

	changes []byte // reused for every row, as is values
	values  [][]byte
}

func newWorker(conn *pgconn.PgConn, s *Session, q *queue, w *protocol.Writer) *worker {
	return &worker{conn: conn, session: s, queue: q, w: w, emit: w.Emitter()}
}

// run works until the queue is empty. An error is one that stops every worker; what concerns one stream only is noted
// there.
//
// After each piece of work the transaction is rolled back to a savepoint: that gives back the lock on the table, and
// keeps the transaction, and with it the snapshot, when a statement fails.
func (w *worker) run(ctx context.Context) error {
	if err := postgres.Exec(ctx, w.conn, "SAVEPOINT task"); err != nil {
		return postgres.Explain(err, "begin to read")
	}
	for {
		t, p := w.queue.next()
		var err error
		switch {
		case p != nil:
			err = w.begin(ctx, p)
		case t.p == nil:
			return nil
		case t.p.failure.Load() != nil || t.p.rewritten.Load():
			continue
		default:
			p, err = t.p, w.task(ctx, t)
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil || w.conn.IsClosed() || w.w.Err() != nil {
			return err
		}
		p.fail(explain(err, p))
		if err := w.emit.Flush(); err != nil {
			return err
		}
		if err := postgres.Exec(ctx, w.conn, rollback); err != nil {
			return postgres.Explain(err, "go on after an error")
		}
	}
}

const rollback = "ROLLBACK TO SAVEPOINT task"

// inBlockOrder leaves the server, until rollback, only ways to read a table that go from block to block.
const inBlockOrder = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; " +
	"SET LOCAL enable_seqscan = on"

// reach lets the server find the operators of the stream's cursor, until rollback.
func (w *worker) reach(ctx context.Context, p *progress) error {
	if p.Cursor == nil || p.Cursor.Away == "" {
		return nil
	}
	return postgres.Explain(postgres.Reach(ctx, w.conn, p.Cursor.Away), fmt.Sprintf("read table %s", p.Descriptor))
}

// begin opens a stream and hands its tasks to all workers.
func (w *worker) begin(ctx context.Context, p *progress) (err error) {
	var tasks []task
	defer func() { w.queue.opened(tasks) }()
	if err := p.begin(); err != nil {
		return err
	}
	if err := w.order(ctx, p); err != nil {
		return err
	}
	opened, err := w.open(ctx, w.session, p)
	if err != nil {
		return err
	}
	if p.from != nil || p.Method == plan.ByCursor || p.Method == plan.ByXmin { // else the server was not asked anything
		if err := postgres.Exec(ctx, w.conn, rollback); err != nil {
			return postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
		}
	}
	tasks = opened
	return nil
}

// explain puts an error about one stream into words.
func explain(err error, p *progress) *protocol.Error {
	e := &protocol.Error{}
	if !errors.As(err, &e) {
		e = &protocol.Error{
			Kind: protocol.System, Err: err,
			Message: fmt.Sprintf("Stream %s could not be read: %v.", p.Descriptor, err),
		}
	}
	about := *e
	about.Stream = &p.Descriptor
	return &about
}

func (w *worker) task(ctx context.Context, t task) error {
	p := t.p
	if t.query == "" {
		return p.finish(w.emit, t, 0)
	}
	rows, err := w.read(ctx, t)
	if err != nil {
		return err
	}
	if p.Paged {
		var now uint64
		if now, err = p.Table.Storage.CurrentFilenode(ctx, w.conn, rollback); err == nil && now != p.filenode {
			p.rewritten.Store(true)
		}
	} else {
		err = postgres.Exec(ctx, w.conn, rollback)
	}
	if err != nil {
		return postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
	}
	if p.rewritten.Load() {
		return w.emit.Flush()
	}
	return p.finish(w.emit, t, rows)
}

// changed reports that the statement does not read what the sync was planned for. A table that has taken the place of
// another is mostly too new for the snapshot, so that it seems empty; a column would be misread.
func (p *progress) changed(fields []pgconn.FieldDescription) error {
	if len(fields) < len(p.Columns) {
		return nil // the statement has failed, which the end of its rows says
	}
	e := &protocol.Error{Kind: protocol.Transient, Stream: &p.Descriptor}
	for i, c := range p.Columns {
		// A server that does not say where a column is from gives zeros.
		switch f := fields[i]; {
		case f.TableOID != 0 && f.TableOID != p.Table.OID:
			e.Message = fmt.Sprintf("Table %s was dropped or renamed before it had been read, and another one took its "+
				"place.", p.Descriptor)
			e.Hint = "The next attempt reads the new table from its beginning."
			return e
		case f.DataTypeOID != c.WireOID:
			e.Message = fmt.Sprintf("Column %q of table %s was given another type while the table was read.",
				c.Name, p.Descriptor)
			e.Hint = "The next attempt reads the table anew; refresh the source's schema if the type is to be another one " +
				"there."
			return e
		case f.TableAttributeNumber != 0 && f.TableAttributeNumber != uint16(c.Number):
			e.Message = fmt.Sprintf("Column %q of table %s was dropped or renamed while the table was read, and another one "+
				"took its place.", c.Name, p.Descriptor)
			e.Hint = "The next attempt reads the new column; reset the stream if it is to be read from its beginning."
			return e
		}
	}
	return nil
}

// batch is the number of rows between two looks at the clock.
const batch = 4096

// read hands every row of the task to the emitter, and says how many there were.
func (w *worker) read(ctx context.Context, t task) (int64, error) {
	marks := newBookmark(t)
	count, err := w.rows(ctx, t, marks, nil)
	if n := t.narrow(err, count, marks); n != nil {
		slog.Warn("a row is too large for the server to send; what cannot be in a record in any case is left out",
			"stream", t.p.Descriptor, "error", err)
		if err := postgres.Exec(ctx, w.conn, rollback); err != nil {
			return count, postgres.Explain(err, fmt.Sprintf("read table %s", t.p.Descriptor))
		}
		count, err = w.rows(ctx, t, marks, n)
	}
	if err != nil {
		return count, err
	}
	if t.order == byCursor && marks.count > 0 {
		marks.end()
		return count, w.settle(ctx, t.p)
	}
	return count, nil
}

// rows hands the rows of the task to the emitter: all of them, or those that a narrowing has not skipped.
func (w *worker) rows(ctx context.Context, t task, marks *bookmark, n *narrowing) (int64, error) {
	p := t.p
	query, lead := t.query, 0
	if n != nil {
		query, lead = n.query(&t), 1
	}
	formats := append(make([]int16, lead), p.Object.Formats()[:len(p.Columns)]...)
	if marks != nil {
		formats = append(formats, 0)
	}
	if err := w.reach(ctx, p); err != nil {
		return 0, err
	}
	if t.order == byBlock {
		if err := postgres.Exec(ctx, w.conn, inBlockOrder); err != nil {
			return 0, postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
		}
	}
	rows := w.conn.ExecParams(ctx, query, t.args, t.types, nil, formats)
	if changed := p.changed(rows.FieldDescriptions()[min(lead, len(rows.FieldDescriptions())):]); changed != nil {
		_, _ = rows.Close() // what it says matters no more
		return 0, changed
	}
	count, looked := int64(0), int64(0)
	held := postgres.Held(w.conn)
	for rows.NextRow() {
		values := rows.Values()
		if n != nil {
			if count < n.skip {
				count++
				looked = count
				continue
			}
			values = n.restore(values)
		}
		if err := w.row(p, marks, values); err != nil {
			postgres.Abandon(w.conn) // the rest of the rows is not wanted
			return count, err
		}
		if *held {
			clear(values)
			clear(w.values)
		}
		if count++; count-looked == batch {
			p.read(batch)
			looked = count
		}
	}
	p.read(count - looked)
	if _, err := rows.Close(); err != nil {
		return count, postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
	}
	return count, nil
}

// row hands one row to the emitter.
func (w *worker) row(p *progress, marks *bookmark, values [][]byte) error {
	w.values = append(append(w.values[:0], values[:len(p.Columns)]...), p.meta...)
	line := w.emit.Begin(p.Header)
	before := len(line)
	line, w.changes = p.Object.Append(line, w.changes[:0], w.values)
	err := w.emit.End(p.Header, line, w.changes)
	if err == nil && marks != nil {
		err = marks.row(w.emit, values[len(p.Columns)], len(line)-before)
	}
	return err
}
