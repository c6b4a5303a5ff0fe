package cdc

import (
	"context"
	"fmt"
	"strings"

	"source-postgres/source/postgres"
)

// A lookup finds the present values of rows by key: of columns that the log leaves out because a large value did not
// change, or because they are generated. What it finds is at least as new as the change.
type lookup struct {
	select_ string   // SELECT … FROM … WHERE (key) IN
	types   []uint32 // of the key's columns
	keys    int
}

// newLookup selects the key, then every column of the stream, all as text.
func newLookup(t *target, s shape) *lookup {
	l := &lookup{keys: len(t.key)}
	var key, all []string
	for _, i := range t.key {
		key = append(key, postgres.Quote(s.columns[i].name))
		l.types = append(l.types, s.columns[i].oid)
	}
	all = append(all, key...)
	for _, c := range t.Columns {
		all = append(all, postgres.Quote(c.Name))
	}
	l.select_ = fmt.Sprintf("SELECT %s FROM %s WHERE (%s) IN (", strings.Join(all, ", "),
		postgres.Quote(t.Table.Schema, t.Table.Name), strings.Join(key, ", "))
	return l
}

// find gives the rows with the keys, by keyText, each as the values of the stream's columns.
func (r *Reader) find(ctx context.Context, l *lookup, keys map[string][][]byte) (map[string][][]byte, error) {
	if err := r.server.Begin(ctx, r.conn, ""); err != nil {
		return nil, err
	}
	var sql strings.Builder
	sql.WriteString(l.select_)
	var args [][]byte
	var types []uint32
	for _, key := range keys {
		if len(args) > 0 {
			sql.WriteString(", ")
		}
		sql.WriteByte('(')
		for i, value := range key {
			args = append(args, value)
			if i > 0 {
				sql.WriteString(", ")
			}
			fmt.Fprintf(&sql, "$%d", len(args))
		}
		types = append(types, l.types...)
		sql.WriteByte(')')
	}
	sql.WriteByte(')')
	found := map[string][][]byte{}
	rows := r.conn.ExecParams(ctx, sql.String(), args, types, nil, nil)
	for rows.NextRow() {
		v := rows.Values()
		values := make([][]byte, len(v)-l.keys)
		for i, value := range v[l.keys:] {
			values[i] = copyOf(value)
		}
		found[keyText(v[:l.keys])] = values
	}
	_, err := rows.Close()
	if back := r.server.Rollback(ctx, r.conn); err == nil {
		err = back
	}
	if err != nil && (ctx.Err() != nil || r.conn.IsClosed()) {
		return nil, postgres.Explain(err, "look up values that the log does not have")
	}
	// Otherwise the table is not what it was: its values cannot be had any more, which every record will say.
	return found, nil
}

// keyText makes one string of a key; no two keys have the same.
func keyText(key [][]byte) string {
	var b strings.Builder
	for _, value := range key {
		fmt.Fprintf(&b, "%d:", len(value))
		b.Write(value)
	}
	return b.String()
}

// copyOf keeps nil, which is NULL.
func copyOf(value []byte) []byte {
	if value == nil {
		return nil
	}
	return append(make([]byte, 0, len(value)), value...)
}
