// Package plan decides what a sync reads, how, and from where. It does no I/O: everything it knows is handed to it.
package plan

import (
	"fmt"
	"time"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/config"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// A Plan is what one sync does.
type Plan struct {
	Streams []*Stream         // those that can be read, in the order of the configured catalog
	Broken  []*protocol.Error // one for each stream that cannot; Stream is set. They do not stop the others
	Notes   []string          // what the user should know of the decisions
}

// A Stream is how one stream is read. It does not change while it is.
type Stream struct {
	Table      *catalog.Table
	Descriptor protocol.StreamDescriptor // as the configured catalog spells it
	Header     *protocol.Header
	Columns    []catalog.Column // the selected ones, in the table's order; without any there are no records
	Object     *codec.Object    // encodes a row of Columns
	SyncID     *int64           // the sync's number, if the platform gives one
	Paged      bool             // read by ranges of blocks; else in one go
	From       *state.Ctid      // where an earlier attempt stopped, in the same files; nil: from the beginning
	Done       bool             // an earlier attempt of this very sync finished it: only its state is due
}

// Build plans a sync of the streams in want. db has those of their tables that the user may read, with Storage; now is when
// the sync began.
func Build(c *config.Config, db *catalog.Database, want *protocol.ConfiguredCatalog, from *state.Set, now time.Time) *Plan {
	p := &Plan{}
	for i := range want.Streams {
		w := &want.Streams[i]
		d := w.Stream.Descriptor()
		table := db.Find(d)
		if table == nil {
			p.Broken = append(p.Broken, missing(c, d))
			continue
		}
		if w.SyncMode == protocol.Incremental {
			p.Broken = append(p.Broken, &protocol.Error{Kind: protocol.Config, Stream: &d,
				Message: fmt.Sprintf("Stream %s is configured as incremental, which this version cannot read.", d),
				Hint:    "Set the stream to full refresh."})
			continue
		}
		s := &Stream{Table: table, Descriptor: d, Header: protocol.NewHeader(d, now), SyncID: w.SyncID}
		s.selectColumns(w.Stream.JSONSchema.Properties, c)
		s.Paged = table.Storage.Loaded()
		if note := s.resume(from.Find(d)); note != "" {
			p.Notes = append(p.Notes, note)
		}
		p.Streams = append(p.Streams, s)
	}
	return p
}

func missing(c *config.Config, d protocol.StreamDescriptor) *protocol.Error {
	return &protocol.Error{Kind: protocol.Config, Stream: &d,
		Message: fmt.Sprintf("Stream %s is in the configured catalog, but there is no such table that user %s may read.",
			d, c.Username),
		Hint: fmt.Sprintf("If the table exists, run: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s; "+
			"if it is gone, refresh the source's schema and take the stream out.",
			postgres.Quote(d.Namespace), postgres.Quote(c.Username), postgres.Quote(d.Namespace, d.Name), postgres.Quote(c.Username)),
	}
}

// selectColumns takes the columns that are both configured and there. A configured column that the table has no more is left
// out of the records; a column that is not configured is never read.
func (s *Stream) selectColumns(properties map[string]protocol.Property, c *config.Config) {
	var columns []codec.Column
	for _, column := range s.Table.Columns {
		if _, ok := properties[column.Name]; !ok {
			continue
		}
		key := false
		for _, name := range s.Table.Key {
			key = key || name == column.Name
		}
		s.Columns = append(s.Columns, column)
		columns = append(columns, codec.Column{Name: column.Name, Type: column.Type, Key: key})
	}
	limits := codec.Limits{Field: c.MaxFieldBytes, Record: c.MaxRecordCharacters}
	s.Object = codec.NewObject(columns, codec.MixedWire, limits)
}

// resume decides where the stream starts, and says so where it is not what the state asked for.
func (s *Stream) resume(from state.Stream) (note string) {
	switch from := from.(type) {
	case *state.Whole:
		s.Done = sameSync(s.SyncID, from.SyncID)
	case *state.Ctid:
		switch {
		case from.Finished:
			// A finished full refresh is only skipped within the sync that finished it: any other wants the table anew.
			s.Done = sameSync(s.SyncID, from.SyncID)
		case !s.Paged:
		case from.Filenode != s.Table.Storage.Filenode:
			return fmt.Sprintf("Stream %s starts over: the table was rewritten or truncated since the state was written "+
				"(relation_filenode %d, now %d).", s.Descriptor, from.Filenode, s.Table.Storage.Filenode)
		default:
			s.From = from
			return fmt.Sprintf("Stream %s goes on where an earlier attempt stopped.", s.Descriptor)
		}
	}
	return ""
}

func sameSync(a, b *int64) bool { return a != nil && b != nil && *a == *b }
