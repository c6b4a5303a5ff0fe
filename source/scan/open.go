package scan

import (
	"context"
	"fmt"
	"log/slog"

	"source-postgres/protocol"
	"source-postgres/source/plan"
	"source-postgres/source/state"
)

// adviseBytes is the size of a table from which on the log is the better way to follow its changes.
const adviseBytes = 500 << 30

// open makes the tasks of the stream and fixes, before the first row is read, what will hold when they are done. It
// asks the server what it must know for that, with a worker's connection.
func (w *worker) open(ctx context.Context, s *Session, p *progress) ([]task, error) {
	now := s.Snapshot
	p.mark = state.Mark{System: s.System, OID: p.Table.OID, Snapshot: now.Text, Timeline: s.Timeline}
	p.first, p.since, p.then, p.done, p.tuple, p.moved = p.mark, nil, nil, nil, 0, nil
	if err := p.behind(s); err != nil {
		if p.Method != plan.Refresh {
			return nil, err
		}
		slog.Warn("the state is ahead of the server; the stream starts over", "stream", p.Descriptor)
		p.from = nil
	}
	p.promote(s)
	p.meta = p.follow.meta(p.Meta)
	if p.Paged {
		p.filenode = p.Table.Storage.Filenode
		p.files = p.filenode
	}
	if p.Method == plan.ByLog {
		p.then = &state.Follow{
			Mark: p.mark, From: p.follow.From, Filenode: p.Table.Storage.Filenode, Member: p.Table.Member,
		}
	}
	var tasks []task
	var err error
	switch {
	case p.Done || len(p.Columns) == 0:
		tasks = []task{{p: p}}
	case p.Method == plan.ByCursor:
		if tasks, err = w.openCursor(ctx, s, p); err != nil {
			err = w.blameState(ctx, p, err)
		}
	case p.Method == plan.ByXmin:
		tasks, err = w.openXmin(ctx, s, p)
	case p.Paged:
		tasks, err = w.openPass(ctx, p, now, condition{})
	default:
		tasks = []task{{p: p, query: p.query("")}}
	}
	p.left = len(tasks)
	return tasks, err
}

// openPass makes a pass over the rows that fulfil fresh, which goes on where an earlier attempt stopped.
func (w *worker) openPass(ctx context.Context, p *progress, now Snapshot, fresh condition) ([]task, error) {
	from, ok := p.from.(*state.Ctid)
	if !ok {
		return p.pass(nil, fresh, condition{sql: noRow}), nil
	}
	p.done, p.since, p.tuple, p.moved, p.files = from.Done, from.Since, from.Tuple, from.Moved, from.Filenode
	if from.Snapshot != "" {
		p.first.Snapshot = from.Snapshot
	}
	again, err := w.resumed(ctx, p, from, now)
	if err != nil {
		return nil, err
	}
	return p.pass(from.Done, fresh, p.orAdded(from, again)), nil
}

// openXmin reads every row, or those that transactions since the last sync's bound have written. The next bound is
// the oldest transaction that is still open now: what it writes is not visible yet.
func (w *worker) openXmin(ctx context.Context, s *Session, p *progress) ([]task, error) {
	now := s.Snapshot
	p.then = &state.Xmin{Mark: p.mark, Bound: now.Xmin}
	if p.Table.Storage.Bytes > adviseBytes {
		slog.Warn("the table is larger than what the Xmin method is good for, since every sync scans all of it: choose CDC",
			"stream", p.Descriptor, "bytes", p.Table.Storage.Bytes)
	}
	from := p.from
	pass, resumed := from.(*state.Ctid)
	if resumed {
		from = pass.Since
	}
	last, ok := from.(*state.Xmin)
	if !ok {
		return w.openPass(ctx, p, now, condition{})
	}
	fresh := now.writtenSince(last.Bound)
	switch {
	case fresh == everyRow:
		slog.Warn("more than 2^32 transactions have passed since the last sync: every row is read "+
			"again", "stream", p.Descriptor)
	case now.Xmin <= last.Bound && now.Xmax > now.Xmin+1:
		slog.Warn("a transaction that was open at the last sync still is: what was written since it began is read again",
			append([]any{"stream", p.Descriptor}, s.holder(ctx, w.conn)...)...)
	}
	if !resumed {
		p.since = last
	}
	if !p.Paged {
		return []task{{p: p, query: p.query("", fresh)}}, nil
	}
	return w.openPass(ctx, p, now, condition{sql: fresh})
}

// promote notes that the server was promoted since the state, from a standby that may have lacked the last of the
// transactions that the state knows of: then others have got their numbers since, which do not tell any more what has
// been written. Blocks, too, may have been filled otherwise.
func (p *progress) promote(s *Session) {
	was := state.MarkOf(p.from).Timeline
	if p.promoted = was != 0 && was != s.Timeline; !p.promoted {
		return
	}
	slog.Warn("the server was promoted since the last sync: it may have lost transactions that the sync saw, and have "+
		"others in their place; what those could have written is read again",
		"stream", p.Descriptor, "timeline", was, "now", s.Timeline)
	if pass, ok := p.from.(*state.Ctid); ok {
		p.from = pass.Since
	}
	if p.Method == plan.ByXmin {
		p.from = nil
	}
}

// behind reports that the server has not got as far as the state: then the numbers of transactions, which tell what has
// been written since, begin again somewhere below it. Numbers above the oldest transaction that was open then do not
// count: a crash forgets those of which nothing had been written to the disk, and what gets them anew is looked at.
func (p *progress) behind(s *Session) error {
	bound := uint64(0)
	if then, err := ParseSnapshot(state.MarkOf(p.from).Snapshot); err == nil {
		bound = then.Xmin
	}
	if last, ok := p.from.(*state.Xmin); ok {
		bound = max(bound, last.Bound)
	}
	if bound <= s.Snapshot.Xmax {
		return nil
	}
	e := &protocol.Error{
		Kind: protocol.Config, Stream: &p.Descriptor,
		Message: fmt.Sprintf("The state of stream %s knows of transaction %d, but the server has only come to %d: it was "+
			"restored from a backup or replaced by an older copy.", p.Descriptor, bound, s.Snapshot.Xmax),
		Hint: "Nothing was read. Reset the connection to read everything again.",
	}
	if s.Standby {
		e.Kind = protocol.Transient
		e.Message = fmt.Sprintf("The state of stream %s knows of transaction %d, but this standby has only come to %d.",
			p.Descriptor, bound, s.Snapshot.Xmax)
		e.Hint = "It follows its primary at a distance; the next attempt may find it further on."
	}
	return e
}
