package source

import (
	"context"
	"log/slog"
	"slices"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/state"
)

// leave keeps the states of streams that cannot be read now. The log is kept for them, so that they lose nothing of
// what it has; what it does not have is lost to them, and said to be. Of those that were never read the state says so.
func (f *following) leave(ctx context.Context) error {
	for _, d := range f.unread {
		if f.from.Find(d) == nil {
			f.ledger.Keep(d, nil)
		}
	}
	if f.from.Log == nil {
		return nil
	}
	tables, err := f.unreadTables(ctx)
	if err != nil {
		return err
	}
	from := *f.from.Log
	behind := map[protocol.StreamDescriptor]state.Stream{}
	for _, d := range f.unread {
		last := f.from.Find(d)
		if last == nil {
			continue
		}
		followed, oid := state.Followed(last), state.MarkOf(last).OID
		i := slices.IndexFunc(tables, func(t *catalog.Table) bool {
			return t.OID == oid || oid == 0 && t.Descriptor() == d
		})
		switch {
		case followed == nil || followed.Missed || i < 0 && oid != 0:
			f.ledger.Keep(d, last) // the log has nothing for it, and never will
			continue
		case i >= 0 && (!tables[i].Published || tables[i].Unlogged):
			slog.Warn("the log has nothing of what is written to the table of a stream now: when it has, the stream will be "+
				"read from its beginning, and rows that were deleted until then stay in the destination: reset the stream then",
				"stream", d)
			missed := *followed
			missed.Mark, missed.Missed = state.MarkOf(last), true
			f.ledger.Keep(d, &missed)
			continue
		}
		needed := max(followed.From, f.from.Log.LSN)
		if len(behind) == 0 || needed < from.LSN {
			from.LSN = needed
		}
		behind[d] = last
		slog.Warn("a stream cannot be read now; the log is kept for it until it can be. Mend what its error says, or take "+
			"it out of the connection, before the server has no room left", "stream", d, "from", needed,
			"wal_retained_bytes", f.slot.Retained)
	}
	if from.LSN > f.from.Log.LSN {
		from.Sent = state.Sent{}
	}
	if len(behind) > 0 {
		f.ledger.LeaveBehind(from, behind)
	}
	return nil
}

// unreadTables are the tables, as far as there are any, that the states of the streams which cannot be read are of:
// whatever they are called by now, and whoever may read them.
func (f *following) unreadTables(ctx context.Context) ([]*catalog.Table, error) {
	known := catalog.Filter{OIDs: []uint32{}, Unreadable: true, Publication: f.config.CDC.Publication}
	named := catalog.Filter{
		Streams: []protocol.StreamDescriptor{}, Unreadable: true, Publication: f.config.CDC.Publication,
	}
	for _, d := range f.unread {
		last := f.from.Find(d)
		if oid := state.MarkOf(last).OID; oid != 0 {
			known.OIDs = append(known.OIDs, oid)
		} else if last != nil { // Airbyte's connector does not say which table it read
			named.Streams = append(named.Streams, d)
		}
	}
	var tables []*catalog.Table
	for _, filter := range []catalog.Filter{known, named} {
		if len(filter.OIDs)+len(filter.Streams) == 0 {
			continue
		}
		db, err := catalog.Load(ctx, f.session.Conn, filter)
		if err != nil {
			return nil, err
		}
		tables = append(tables, db.Tables...)
	}
	return tables, nil
}
