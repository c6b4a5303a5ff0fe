package cdc

import (
	"context"
	"slices"

	"source-postgres/source/state"
)

// A resumption leaves out what Airbyte's connector has sent of a transaction in which it stopped: it notes the place of
// the last change that it sent, not the end of the transaction.
type resumption struct {
	sent  state.Sent
	there bool   // a change at that very place has come
	last  []byte // its message, while it may be the only one there
}

// before reports that the change m, whose message is data, was sent before. Several rows of one COPY have one place in
// the log, and an update of a key is two records: how many of them were sent is not known, so that they are sent again.
// So are the changes of streams of which it is not certain that they were sent at all: those in their first pass.
func (r *Reader) before(ctx context.Context, m *message, data []byte) (bool, error) {
	to := uint64(r.resumed.sent.To)
	if to == 0 || r.xid != r.resumed.sent.XID || !r.settledBefore(m) {
		return false, nil
	}
	last := r.resumed.last
	r.resumed.last = nil
	switch {
	case r.begins < to:
		return true, nil
	case r.begins > to || m.kind == 'U' && r.moves(m):
		return false, nil
	case !r.resumed.there:
		r.resumed.there, r.resumed.last = true, slices.Clone(data)
		return true, nil
	case last == nil:
		return false, nil
	}
	again := message{charset: m.charset}
	if err := again.decode(last); err != nil {
		return false, err
	}
	return false, r.change(ctx, &again)
}

// moves reports that an update gives a row another key.
func (r *Reader) moves(m *message) bool {
	rel := r.relations[m.relation]
	if rel == nil || !m.old.present() || rel.check(m) != nil {
		return false
	}
	return slices.ContainsFunc(rel.targets, func(t *target) bool { return t.moved(m) })
}

// settledBefore reports that the first pass of every stream that gets m was over when the sync began.
func (r *Reader) settledBefore(m *message) bool {
	rel := r.relations[m.relation]
	return rel != nil && !slices.ContainsFunc(rel.targets, func(t *target) bool {
		_, over := t.From.(*state.Follow)
		return !over
	})
}
