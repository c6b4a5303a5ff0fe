package scan

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/postgres"
)

// A worker reads tasks with one connection, which is in a transaction of the shared snapshot.
type worker struct {
	conn            *pgconn.PgConn
	emit            *protocol.Emitter
	w               *protocol.Writer
	object, changes []byte // reused for every row
}

func newWorker(conn *pgconn.PgConn, w *protocol.Writer) *worker {
	return &worker{conn: conn, w: w, emit: w.Emitter()}
}

// run reads tasks until there are none. An error is one that stops every worker; what concerns one stream only is noted there.
//
// Each task is rolled back to a savepoint when it is done: that gives back the lock on its table, and keeps the transaction,
// and with it the snapshot, when a statement fails.
func (w *worker) run(ctx context.Context, tasks <-chan task) error {
	if err := postgres.Exec(ctx, w.conn, "SAVEPOINT task"); err != nil {
		return postgres.Explain(err, "begin to read")
	}
	for t := range tasks {
		if t.p.failure.Load() != nil || t.p.rewritten.Load() {
			continue
		}
		err := w.task(ctx, t)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || w.conn.IsClosed() || w.w.Err() != nil {
			return err
		}
		t.p.fail(w.explain(err, t.p))
		if err := w.emit.Flush(); err != nil {
			return err
		}
		if err := postgres.Exec(ctx, w.conn, "ROLLBACK TO SAVEPOINT task"); err != nil {
			return postgres.Explain(err, "go on after an error")
		}
	}
	return nil
}

// explain puts an error about one stream into words.
func (w *worker) explain(err error, p *progress) *protocol.Error {
	e := &protocol.Error{}
	if !errors.As(err, &e) {
		e = &protocol.Error{Kind: protocol.System, Message: fmt.Sprintf("Stream %s: %v.", p.Descriptor, err), Err: err}
	}
	about := *e
	about.Stream = &p.Descriptor
	return &about
}

func (w *worker) task(ctx context.Context, t task) error {
	p := t.p
	if err := p.begin(); err != nil {
		return err
	}
	if p.Done || len(p.Columns) == 0 {
		return p.finish(w.emit, t)
	}
	if err := w.read(ctx, t); err != nil {
		return err
	}
	if p.Paged {
		now, err := p.Table.Storage.CurrentFilenode(ctx, w.conn)
		if err != nil {
			return postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
		}
		if now != p.filenode {
			p.rewritten.Store(true)
		}
	}
	if err := postgres.Exec(ctx, w.conn, "ROLLBACK TO SAVEPOINT task"); err != nil {
		return postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
	}
	if p.rewritten.Load() {
		return w.emit.Flush()
	}
	return p.finish(w.emit, t)
}

// changed reports that a column is of another type than when the sync was planned: its values would be misread.
func (p *progress) changed(fields []pgconn.FieldDescription) error {
	for i, f := range fields {
		if c := p.Columns[i]; f.DataTypeOID != c.WireOID {
			return &protocol.Error{Kind: protocol.Transient, Stream: &p.Descriptor,
				Message: fmt.Sprintf("Column %q of table %s was given another type while the table was read.", c.Name, p.Descriptor),
				Hint:    "The next attempt reads the table anew; refresh the source's schema if the type is to be another one there."}
		}
	}
	return nil
}

// batch is how many rows are read between two looks at the clock.
const batch = 4096

// keep is the largest buffer for a row that is kept for the next one.
const keep = 1 << 20

// read hands every row of the task to the emitter.
func (w *worker) read(ctx context.Context, t task) error {
	p := t.p
	rows := w.conn.ExecParams(ctx, query(t), nil, nil, nil, p.Object.Formats())
	if changed := p.changed(rows.FieldDescriptions()); changed != nil {
		_, _ = rows.Close() // what it says matters no more
		return changed
	}
	count := int64(0)
	for rows.NextRow() {
		w.object, w.changes = p.Object.Append(w.object[:0], w.changes[:0], rows.Values())
		if err := w.emit.Record(p.Header, w.object, w.changes); err != nil {
			postgres.Abandon(w.conn) // the rest of the rows is not wanted
			return err
		}
		if cap(w.object) > keep {
			w.object = nil
		}
		if count++; count == batch {
			p.read(count)
			count = 0
		}
	}
	p.read(count)
	if _, err := rows.Close(); err != nil {
		return postgres.Explain(err, fmt.Sprintf("read table %s", p.Descriptor))
	}
	return nil
}

// query is the statement of the task. The parts of a table are read through the table itself: who may read a partitioned table
// need not be allowed to read its partitions.
func query(t task) string {
	var sql strings.Builder
	sql.WriteString("SELECT ")
	for i, c := range t.p.Columns {
		if i > 0 {
			sql.WriteString(", ")
		}
		sql.WriteString(postgres.Quote(c.Name))
	}
	sql.WriteString(" FROM ")
	sql.WriteString(postgres.Quote(t.p.Table.Schema, t.p.Table.Name))
	if t.where != "" {
		sql.WriteString(" WHERE ")
		sql.WriteString(t.where)
	}
	return sql.String()
}
