package cdc

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strconv"

	"source-postgres/source/catalog"
)

const (
	pendingRecords = 1000    // records that may wait for values to be looked up
	pendingBytes   = 4 << 20 // and bytes of theirs
)

// A pending record waits for values to be looked up, or behind one that does: records leave in their order.
type pending struct {
	t       *target
	values  [][]byte
	missing []bool // which values are to be looked up; nil: none
	key     [][]byte
	number  uint64
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
		if r.committing < t.since {
			continue // the first pass has seen it
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
		var old *tuple
		if m.old.present() && m.whole {
			old = &m.old
		}
		if err := r.record(ctx, t, &m.row, old, false); err != nil {
			return err
		}
	}
	return nil
}

// moved reports that an update changed the key: to the destination that is another row.
func (t *target) moved(m *message) bool {
	for _, i := range t.key {
		if m.row.kinds[i] == 't' && !bytes.Equal(m.old.values[i], m.row.values[i]) {
			return true
		}
	}
	return false
}

// record emits one record of t, or sets it aside until what it lacks has been looked up. old is the whole row before
// the change, where the log has it.
func (r *Reader) record(ctx context.Context, t *target, row, old *tuple, deleted bool) error {
	r.row = r.row[:0]
	var missing []bool
	for c, i := range t.from {
		var value []byte
		switch {
		case i >= 0 && row.kinds[i] == 'u' && old != nil:
			value = old.values[i]
		case i >= 0 && row.kinds[i] == 'u', i < 0 && t.Columns[c].Generated && !deleted:
			if missing == nil {
				missing = make([]bool, len(t.from))
			}
			missing[c] = true
		case i >= 0:
			value = row.values[i]
		}
		r.row = append(r.row, value)
	}
	r.number = max(r.number+1, r.begins)
	if missing == nil && len(r.waiting) == 0 {
		return r.emit(t, r.row, nil, r.number, deleted)
	}
	p := pending{t: t, missing: missing, number: r.number, deleted: deleted}
	for _, value := range r.row {
		p.values = append(p.values, copyOf(value))
		r.waitingBytes += len(value)
	}
	if missing != nil && t.again != nil {
		for _, i := range t.key {
			p.key = append(p.key, copyOf(row.values[i]))
		}
	}
	r.waiting = append(r.waiting, p)
	if len(r.waiting) >= pendingRecords || r.waitingBytes >= pendingBytes {
		return r.settle(ctx)
	}
	return nil
}

// settle looks up what the waiting records lack, and emits them.
func (r *Reader) settle(ctx context.Context) error {
	wanted := map[*target]map[string][][]byte{}
	for _, p := range r.waiting {
		if p.key == nil {
			continue
		}
		if wanted[p.t] == nil {
			wanted[p.t] = map[string][][]byte{}
		}
		wanted[p.t][keyText(p.key)] = p.key
	}
	found := map[*target]map[string][][]byte{}
	for t, keys := range wanted {
		var err error
		if found[t], err = r.find(ctx, t.again, keys); err != nil {
			return err
		}
	}
	for _, p := range r.waiting {
		var gone []string
		var present [][]byte
		if p.key != nil {
			present = found[p.t][keyText(p.key)]
		}
		for c, missing := range p.missing {
			switch {
			case !missing:
			case present != nil:
				p.values[c] = present[c]
			default:
				gone = append(gone, p.t.Columns[c].Name)
			}
		}
		if err := r.emit(p.t, p.values, gone, p.number, p.deleted); err != nil {
			return err
		}
	}
	clear(r.waiting)
	r.waiting, r.waitingBytes = r.waiting[:0], 0
	return nil
}

// emit writes a record. gone are columns whose value could not be had: the row has been changed or deleted again
// since, which a later record says.
func (r *Reader) emit(t *target, values [][]byte, gone []string, number uint64, deleted bool) error {
	r.values = append(r.values[:0], values...)
	for _, name := range t.Meta {
		switch name {
		case catalog.LSNColumn:
			r.digits = strconv.AppendUint(r.digits[:0], number, 10)
			r.values = append(r.values, r.digits)
		case catalog.UpdatedColumn:
			r.values = append(r.values, r.instant)
		default:
			if deleted {
				r.values = append(r.values, r.instant)
			} else {
				r.values = append(r.values, nil)
			}
		}
	}
	r.object, r.lost = t.object.Append(r.object[:0], r.lost[:0], r.values)
	for _, name := range gone {
		r.lost = appendGone(r.lost, name)
	}
	if len(gone) > 0 {
		slog.Debug("values could not be looked up", "stream", t.Descriptor, "columns", gone)
	}
	r.sent++
	r.sentBytes += len(r.object)
	t.rows++
	return r.emitter.Record(t.Header, r.object, r.lost)
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
