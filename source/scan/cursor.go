package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// order makes sure that the server compares cursors by their own type: without a word it takes the operators of another
// one where the user may not use the schema that has them.
func (w *worker) order(ctx context.Context, p *progress) error {
	if p.Cursor == nil || p.Cursor.Away == "" {
		return nil
	}
	schema, user := p.Cursor.Away, ""
	err := postgres.Query(ctx, w.conn, "SELECT current_user WHERE NOT has_schema_privilege($1, 'USAGE')",
		[][]byte{[]byte(schema)}, func(v [][]byte) error {
			user = string(v[0])
			return nil
		})
	switch {
	case err != nil:
		return postgres.Explain(err, fmt.Sprintf("look up the cursor's type of %s", p.Descriptor))
	case user == "":
		return w.reach(ctx, p)
	}
	return &protocol.Error{
		Kind: protocol.Config, Stream: &p.Descriptor,
		Message: fmt.Sprintf("The cursor field %q of stream %s is of type %s, whose schema %s the user may not use: its "+
			"values cannot be compared.", p.Cursor.Name, p.Descriptor, p.Cursor.Type.Name, schema),
		Hint: fmt.Sprintf("Run: GRANT USAGE ON SCHEMA %s TO %s;", postgres.Quote(schema), postgres.Quote(user)),
	}
}

// openCursor reads every row once, then those whose cursor lies above the last one, and those that were committed late.
func (w *worker) openCursor(ctx context.Context, s *Session, p *progress) ([]task, error) {
	from := p.from
	pass, resumed := from.(*state.Ctid)
	if resumed {
		from = pass.Since
	}
	then := &state.Cursor{
		Mark: p.mark, Field: p.Cursor.Name, Type: p.Cursor.WireOID, Time: s.Time, OpenSince: s.Time,
	}
	p.then = then
	var last *state.Cursor
	if c, ok := from.(*state.Cursor); ok {
		own := *c
		last = &own
		then.Value, then.Count = last.Value, last.Count
		p.since = from
		w.age(ctx, p, last, then)
	}
	then.Late = p.open(last, s)
	if !p.Paged {
		return w.openView(ctx, p, last, then)
	}
	if last == nil {
		if err := w.bound(ctx, p, then); err != nil {
			return nil, err
		}
		if err := w.warnNulls(ctx, p); err != nil {
			return nil, err
		}
		return w.openPass(ctx, p, s.Snapshot, condition{})
	}
	late := noRow
	if before, err := ParseSnapshot(last.Snapshot); p.promoted {
		late = everyRow // and whatever it was that had been written
	} else if err != nil {
		if err := w.recount(ctx, p, last); err != nil {
			return nil, err
		}
	} else if late = s.Snapshot.writtenSince(before.Xmin); late == noRow && !resumed && !last.Partial {
		return []task{{p: p}}, nil // nobody has written anything since
	}
	c := p.due(last, late)
	if !resumed {
		t, sorts, err := w.inOrder(ctx, p, c, last)
		if err != nil || !sorts {
			return []task{t}, err
		}
	}
	if err := w.bound(ctx, p, then); err != nil {
		return nil, err
	}
	return w.openPass(ctx, p, s.Snapshot, c)
}

// blameState gives err in other words where it comes of a value in the state that is none of the cursor's type.
func (w *worker) blameState(ctx context.Context, p *progress, err error) error {
	var said *pgconn.PgError
	last, ok := p.since.(*state.Cursor)
	if !ok || last.Value == nil || !errors.As(err, &said) || !strings.HasPrefix(said.Code, "22") {
		return err
	}
	if postgres.Exec(ctx, w.conn, rollback) != nil {
		return err
	}
	args, types := [][]byte{[]byte(*last.Value)}, []uint32{p.Cursor.WireOID}
	if _, bad := w.conn.ExecParams(ctx, "SELECT $1", args, types, nil, nil).Close(); bad == nil {
		return err // it is a value; an expression of a view does not like another one
	}
	return &protocol.Error{
		Kind: protocol.Config, Stream: &p.Descriptor, Err: err,
		Message: fmt.Sprintf("The state of stream %s says that its cursor %q has come to %q, which is no value of the "+
			"column's type, %s.", p.Descriptor, last.Field, *last.Value, p.Cursor.Type.Name),
		Hint: "Nothing of it was read. If the column was given another type, reset the stream to read it again.",
	}
}

// openView reads a relation without rows of its own, in the order of the cursor: that can be gone on with after each
// value.
func (w *worker) openView(ctx context.Context, p *progress, last, then *state.Cursor) ([]task, error) {
	if last == nil {
		return []task{p.ordered(condition{}, "", nil)}, w.warnNulls(ctx, p)
	}
	if err := w.recount(ctx, p, last); err != nil {
		return nil, err
	}
	then.Count = last.Count
	return []task{p.ordered(p.due(last, noRow), advances(last), last.Value)}, nil
}

// ordered makes a task that reads rows by ascending cursor. Its last column is the cursor's text where the row moves
// the bound on: where the cursor is finite and stands, compared as advance says, above last.
func (p *progress) ordered(c condition, advance string, last *string) task {
	column := postgres.Quote(p.Cursor.Name)
	var on []string
	if advance != "" && last != nil {
		on = append(on, column+advance)
	}
	if finite := p.finite(); finite != "" {
		on = append(on, finite)
	}
	key := column + "::text"
	if len(on) > 0 {
		key = "CASE WHEN " + strings.Join(on, " AND ") + " THEN " + key + " END"
	}
	// The key's own name may be that of the column, or of another: only a qualified name is surely the column.
	query := p.query(", "+key, c.sql) + " ORDER BY " +
		postgres.Quote(p.Table.Schema, p.Table.Name, p.Cursor.Name) + " NULLS FIRST"
	if c.sql != everyRow { // no NULL is among them, and this is the order that indexes have
		query = strings.TrimSuffix(query, " NULLS FIRST")
	}
	return task{p: p, query: query, args: c.args, types: c.types, order: byCursor}
}

// inOrder is the task that reads the rows of c in the order of the cursor, and whether a pass over the table is better,
// which can be shared out and gone on with: it is where the server reckons that the order costs more than the whole
// table does, as without an index. Whether the server sorts says nothing: it does so for a few rows of a large table,
// too, which it has found with an index.
func (w *worker) inOrder(ctx context.Context, p *progress, c condition, last *state.Cursor) (task, bool, error) {
	t := p.ordered(c, advances(last), last.Value)
	ordered, err := w.cost(ctx, t)
	whole := 0.0
	if err == nil {
		whole, err = w.cost(ctx, task{query: p.query("")})
	}
	if err != nil {
		return t, false, postgres.Explain(err, fmt.Sprintf("plan the reading of %s", p.Descriptor))
	}
	return t, ordered > whole, nil
}

// cost is what the server reckons that a task costs in all. EXPLAIN begins with a line like
// Sort  (cost=12.50..13.25 rows=300 width=8).
func (w *worker) cost(ctx context.Context, t task) (float64, error) {
	var first string
	rows := w.conn.ExecParams(ctx, "EXPLAIN "+t.query, t.args, t.types, nil, nil)
	for rows.NextRow() {
		if first == "" {
			first = string(rows.Values()[0])
		}
	}
	if _, err := rows.Close(); err != nil {
		return 0, err
	}
	var begin, total float64
	figures := first[max(strings.LastIndex(first, "(cost="), 0):]
	if _, err := fmt.Sscanf(figures, "(cost=%f..%f", &begin, &total); err != nil {
		return 0, fmt.Errorf("parse the plan %q: %w", first, err)
	}
	return total, nil
}

// bound fixes the value that the stream will have reached when everything in the snapshot has been read: the greatest
// finite one, by the server's order. It never goes back.
func (w *worker) bound(ctx context.Context, p *progress, then *state.Cursor) error {
	column := postgres.Quote(p.Cursor.Name)
	where := ""
	if finite := p.finite(); finite != "" {
		where = " WHERE " + finite
	}
	if !p.Cursor.Indexed {
		concurrently := "CONCURRENTLY "
		if p.Table.Kind == catalog.Partitioned { // the server refuses it
			concurrently = ""
		}
		slog.Warn("the cursor has no index: every sync scans the whole table; run the statement", "stream", p.Descriptor,
			"sql", fmt.Sprintf("CREATE INDEX %sON %s (%s);", concurrently, p.relation(), column))
	}
	var args [][]byte
	var types []uint32
	query := fmt.Sprintf("SELECT m::text, true FROM (SELECT max(%s) AS m FROM %s%s) AS bound", column, p.relation(), where)
	if then.Value != nil {
		args, types = [][]byte{[]byte(*then.Value)}, []uint32{p.Cursor.WireOID}
		query = strings.Replace(query, "true", "m > $1", 1)
	}
	var top []byte
	higher := false
	rows := w.conn.ExecParams(ctx, query, args, types, nil, nil)
	for rows.NextRow() {
		v := rows.Values()
		if v[0] != nil {
			top = append(top, v[0]...)
			higher = string(v[1]) == "t"
		}
	}
	if _, err := rows.Close(); err != nil {
		return postgres.Explain(err, fmt.Sprintf("look up the greatest cursor of %s", p.Descriptor))
	}
	if !higher {
		return nil
	}
	if !utf8.Valid(top) {
		return p.unspeakable(top)
	}
	p.reach(then, top)
	return nil
}

// unspeakable is the error of a cursor that a state cannot hold: a text in a SQL_ASCII database can be no text at all.
func (p *progress) unspeakable(value []byte) error {
	return &protocol.Error{
		Kind: protocol.Config, Stream: &p.Descriptor,
		Message: fmt.Sprintf("The cursor field %q of stream %s has a value that is not valid UTF-8, %q, so that no state "+
			"can say how far the stream has been read.", p.Cursor.Name, p.Descriptor, value),
		Hint: "Choose another cursor field, or correct the value: the database's encoding, SQL_ASCII, takes any bytes.",
	}
}

// reach moves the bound on to a value given as the server's text.
func (p *progress) reach(then *state.Cursor, text []byte) {
	value := string(text)
	if exact, change := p.Cursor.Type.Text(nil, text); change == codec.Exact {
		value = unquote(exact)
	}
	then.Value, then.Count = &value, 0
}

// unquote is the content of a JSON string, or the text of any other JSON value.
func unquote(text []byte) string {
	var s string
	if len(text) > 0 && text[0] == '"' && json.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}

// warnNulls says how many rows only this first pass will ever deliver.
func (w *worker) warnNulls(ctx context.Context, p *progress) error {
	if p.Cursor.NotNull {
		return nil
	}
	query := fmt.Sprintf("SELECT count(*) FROM %s WHERE %s IS NULL", p.relation(), postgres.Quote(p.Cursor.Name))
	err := postgres.Query(ctx, w.conn, query, nil, func(v [][]byte) error {
		if n := string(v[0]); n != "0" {
			slog.Warn("rows whose cursor is NULL are read now, and changes of them never again", "stream", p.Descriptor,
				"cursor", p.Cursor.Name, "rows", n)
		}
		return nil
	})
	if err != nil {
		return postgres.Explain(err, fmt.Sprintf("count the rows of %s without a cursor", p.Descriptor))
	}
	return nil
}

// recount compares how many rows have the last value now with how many had when it became the last: if they differ,
// all of them are due again. It serves where rows do not tell who wrote them.
func (w *worker) recount(ctx context.Context, p *progress, last *state.Cursor) error {
	if last.Value == nil || last.Partial {
		return nil
	}
	count, err := w.count(ctx, p, *last.Value)
	last.Partial = count != last.Count
	last.Count = count
	return err
}

// settle counts the rows that have the bound, where the next sync will compare with their number and values that are
// equal may be written in several ways (1.0 and 1.00), so that the reading could not.
func (w *worker) settle(ctx context.Context, p *progress) error {
	then := p.then.(*state.Cursor)
	if p.Paged || then.Value == nil {
		return nil
	}
	switch p.Cursor.WireOID {
	case pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID, pgtype.TextOID, pgtype.VarcharOID:
	default:
		if p.Cursor.Type.Name != "citext" {
			return nil
		}
	}
	var err error
	then.Count, err = w.count(ctx, p, *then.Value)
	return err
}

// count is how many rows have the value.
func (w *worker) count(ctx context.Context, p *progress, value string) (int64, error) {
	query := fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = $1", p.relation(), postgres.Quote(p.Cursor.Name))
	rows := w.conn.ExecParams(ctx, query, [][]byte{[]byte(value)}, []uint32{p.Cursor.WireOID}, nil, nil)
	var count int64
	for rows.NextRow() {
		count, _ = strconv.ParseInt(string(rows.Values()[0]), 10, 64) // a bigint of the server's
	}
	if _, err := rows.Close(); err != nil {
		return 0, postgres.Explain(err, fmt.Sprintf("look up the last cursor of %s", p.Descriptor))
	}
	return count, nil
}
