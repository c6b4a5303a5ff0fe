package cdc

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"

	"source-postgres/source/catalog"
)

const (
	pendingRecords = 1000    // records that may wait for values to be looked up
	pendingBytes   = 4 << 20 // and bytes of theirs
)

// A pending record waits for values to be looked up, or behind one that does: records leave in their order. It may
// wait beyond the end of its transaction, but no longer than to the next state.
type pending struct {
	t       *target
	values  [][]byte
	missing []bool // which values are to be looked up; nil: none
	key     [][]byte
	number  uint64
	instant []byte
	deleted bool
}

// change makes the records of one change.
func (r *Reader) change(ctx context.Context, m *message) error {
	rel := r.relations[m.relation]
	if rel == nil {
		return unknownRelation(m.relation)
	}
	if len(rel.targets) == 0 {
		return nil
	}
	if err := rel.check(m); err != nil {
		return err
	}
	for _, t := range rel.targets {
		if t.held || r.committing < t.since {
			continue // it is not its turn yet, or the first pass has seen it
		}
		if m.kind == 'D' {
			if err := r.record(ctx, t, &m.old, nil, true); err != nil {
				return err
			}
			continue
		}
		if m.old.present() && t.moved(m) {
			if err := r.record(ctx, t, &m.old, nil, true); err != nil {
				return err
			}
		}
		if err := r.record(ctx, t, &m.row, &m.old, false); err != nil {
			return err
		}
	}
	return nil
}

// moved reports that an update changed the key: to the destination that is another row. Of what follows from a row
// nobody knows yet whether it changed; a row that goes and comes again is the same.
func (t *target) moved(m *message) bool {
	key := t.key
	if m.whole {
		key = t.told
	}
	for _, i := range key {
		// Of a partition that is identified by other columns than its root the old row has nothing else.
		if kind := m.row.kinds[i]; m.old.kinds[i] == 't' && kind != 'u' &&
			(kind == 'n' || !bytes.Equal(m.old.values[i], m.row.values[i])) {
			return true
		}
	}
	return m.whole && slices.Contains(t.derived, true)
}

// record emits one record of t, or sets it aside until what it lacks has been looked up. old is what the log has of
// the row before the change.
func (r *Reader) record(ctx context.Context, t *target, row, old *tuple, deleted bool) error {
	r.row = r.row[:0]
	var missing []bool
	for c, i := range t.from {
		var value []byte
		known := deleted && !t.derived[c] || t.again.lacks(c)
		if i >= 0 {
			value, known = row.value(i, old)
		}
		if !known {
			if missing == nil {
				missing = make([]bool, len(t.from))
			}
			missing[c] = true
		}
		r.row = append(r.row, value)
	}
	// A first pass in whose snapshot the transaction is missing has the number of its point, which may lie behind the
	// change, but not behind the commit.
	r.number = max(r.number, uint64(r.committing), t.above) + 1
	if missing == nil && len(r.waiting) == 0 {
		return r.emit(t, r.row, nil, r.number, r.instant, deleted)
	}
	p := pending{t: t, missing: missing, number: r.number, instant: copyOf(r.instant), deleted: deleted}
	for _, value := range r.row {
		p.values = append(p.values, copyOf(value))
		r.waitingBytes += len(value)
	}
	if missing != nil {
		p.key = t.keyOf(row, old)
	}
	r.waiting = append(r.waiting, p)
	if len(r.waiting) >= pendingRecords || r.waitingBytes >= pendingBytes {
		return r.settle(ctx)
	}
	return nil
}

// keyOf is a copy of what values of a row can be looked up by; nil if they cannot. Where a key did not change and is
// large, the log has it with the old row.
func (t *target) keyOf(row, old *tuple) [][]byte {
	if len(t.key) == 0 && !slices.ContainsFunc(t.Columns, func(c catalog.Column) bool { return c.Generated }) {
		return nil
	}
	var key [][]byte
	for i := range row.kinds {
		if len(t.key) > 0 && !slices.Contains(t.key, i) {
			continue
		}
		value, known := row.value(i, old)
		if !known && len(t.key) == 0 {
			return nil
		}
		key = append(key, copyOf(value))
	}
	return key
}

// value is the value at i; of a large one that did not change, what the row had before, if the log says so. Otherwise
// it is not known. A value that is large enough to be left out is never NULL: an old row that has NULL there is a key.
func (t *tuple) value(i int, old *tuple) (value []byte, known bool) {
	if t.kinds[i] != 'u' {
		return t.values[i], true
	}
	if old != nil && old.present() && old.kinds[i] == 't' {
		return old.values[i], true
	}
	return nil, false
}

// settle looks up what the waiting records lack, and emits them.
func (r *Reader) settle(ctx context.Context) error {
	if r.batch == 0 {
		r.batch = firstBatch
	}
	for rest := r.waiting; len(rest) > 0; {
		part := rest[:min(r.batch, len(rest))]
		found := map[*target]*finding{}
		room := foundBytes
		for i := range part {
			t := part[i].t
			if part[i].key == nil || found[t] != nil {
				continue
			}
			found[t] = newFinding(len(t.Columns))
			for j := range part[i:] {
				if p := &part[i+j]; p.t == t && p.key != nil {
					found[t].want(p)
				}
			}
			held, err := r.find(ctx, t, found[t], room)
			if err != nil {
				return err
			}
			room -= held
		}
		n, err := r.emitFound(part, found)
		if err != nil {
			return err
		}
		switch {
		case n < len(part):
			r.batch = n
		case n == r.batch:
			r.batch = min(2*n, pendingRecords)
		}
		rest = rest[n:]
	}
	clear(r.waiting)
	r.waiting, r.waitingBytes = r.waiting[:0], 0
	return nil
}

// emitFound emits the records of part up to the first whose values were left for the next time, and gives their
// number.
func (r *Reader) emitFound(part []pending, found map[*target]*finding) (int, error) {
	for n := range part {
		p := &part[n]
		var present [][]byte
		if p.key != nil {
			f := found[p.t]
			at := f.index[keyText(p.key)]
			if at >= f.until {
				return n, nil
			}
			present = f.rows[at]
		}
		var gone []string
		for c, missing := range p.missing {
			switch {
			case !missing:
			case present != nil && p.t.again.finds(c):
				p.values[c] = present[c]
			default:
				gone = append(gone, p.t.Columns[c].Name)
			}
		}
		if err := r.emit(p.t, p.values, gone, p.number, p.instant, p.deleted); err != nil {
			return 0, err
		}
	}
	return len(part), nil
}

// emit writes a record. gone are columns whose value could not be had: the row has been changed or deleted again
// since, which a later record says.
func (r *Reader) emit(
	t *target, values [][]byte, gone []string, number uint64, instant []byte, deleted bool,
) error {
	r.values = append(r.values[:0], values...)
	for _, name := range t.Meta {
		switch name {
		case catalog.LSNColumn:
			r.digits = strconv.AppendUint(r.digits[:0], number, 10)
			r.values = append(r.values, r.digits)
		case catalog.UpdatedColumn:
			r.values = append(r.values, instant)
		default:
			if deleted {
				r.values = append(r.values, instant)
			} else {
				r.values = append(r.values, nil)
			}
		}
	}
	line := r.emitter.Begin(t.Header)
	before := len(line)
	line, r.lost = t.object.Append(line, r.lost[:0], r.values)
	for _, name := range gone {
		r.lost = appendGone(r.lost, name)
	}
	if len(gone) > 0 {
		slog.Debug("values could not be looked up", "stream", t.Descriptor, "columns", gone)
	}
	r.sent++
	r.beyond++
	if r.inside {
		r.at.Ahead++
	}
	r.sentBytes += len(line) - before
	t.rows++
	return r.emitter.End(t.Header, line, r.lost)
}

// appendGone adds to changes, a JSON array or nothing, that a column is null because its value could not be retrieved.
func appendGone(changes []byte, name string) []byte {
	if len(changes) == 0 {
		changes = append(changes, '[')
	} else {
		changes[len(changes)-1] = ','
	}
	field, _ := json.Marshal(name) // a string cannot fail to marshal
	changes = append(changes, `{"field":`...)
	changes = append(changes, field...)
	return append(changes, `,"change":"NULLED","reason":"SOURCE_RETRIEVAL_ERROR"}]`...)
}
