// Package plan decides what a sync reads, how, and from where. It does no I/O: everything it knows is handed to it.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/config"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// A Plan is what one sync does.
type Plan struct {
	Streams  []*Stream         // those that can be read, in the order of the configured catalog
	Broken   []*protocol.Error // one for each stream that cannot; Stream is set. They do not stop the others
	Notes    []string          // decisions that the user may want to know of
	Warnings []string          // and those that need the user's eye
}

// A Method is how a stream is read.
type Method uint8

// Refresh reads every row, each time; the others read every row once, then what has changed: by a cursor column, by
// xmin, or from the log.
const (
	Refresh Method = iota
	ByCursor
	ByXmin
	ByLog
)

// A Stream is how one stream is read. It does not change while it is.
type Stream struct {
	Table      *catalog.Table
	Descriptor protocol.StreamDescriptor // as the configured catalog spells it
	Header     *protocol.Header
	Columns    []catalog.Column // the selected ones, in the table's order; without any there are no records
	Key        []string         // the names of the columns that the destination tells rows apart by
	Meta       []string         // the columns that follow those of the table where changes come from the log: _ab_cdc_…
	Object     *codec.Object    // encodes a row of Columns and Meta, as a SELECT gives the former
	Limits     codec.Limits
	SyncID     *int64 // the sync's number, if the platform gives one
	Method     Method
	Cursor     *catalog.Column // for ByCursor
	Lookback   Lookback        // for ByCursor
	System     string          // the cluster's system_identifier
	Paged      bool            // can be read by ranges of blocks
	From       state.Stream    // where the stream goes on; nil: at the beginning
	Alter      string          // SQL that gives the table the replica identity that it lacks; empty: it has one
	Done       bool            // an earlier attempt of this very sync finished it: only its state is due
}

// A Lookback is how far behind the last cursor value rows are looked for that were committed late.
type Lookback struct {
	Seconds int64 // for cursors that are points in time
	Rows    int64 // for cursors that are numbers
}

// Build plans a sync of the streams in want. db has those of their tables that the user may read, with Storage; now
// is when the sync began.
func Build(
	c *config.Config, db *catalog.Database, want *protocol.ConfiguredCatalog, from *state.Set, now time.Time,
) *Plan {
	p := &Plan{}
	for i := range want.Streams {
		w := &want.Streams[i]
		d := w.Stream.Descriptor()
		table := db.Find(d)
		if table == nil {
			p.Broken = append(p.Broken, missing(c, d))
			continue
		}
		s := &Stream{
			Table: table, Descriptor: d, Header: protocol.NewHeader(d, now), SyncID: w.SyncID, System: db.System,
			Paged: table.Storage.Loaded() && !table.Partial,
		}
		s.Key = keyOf(w)
		broken := p.method(s, w, c)
		s.selectColumns(w.Stream.JSONSchema.Properties, c)
		if broken == nil {
			broken = s.keyed(w)
		}
		if broken == nil {
			broken = p.resume(s, from.Find(d))
		}
		if broken != nil {
			broken.Kind, broken.Stream = protocol.Config, &d
			p.Broken = append(p.Broken, broken)
			continue
		}
		if len(s.Columns) == 0 {
			p.Warnings = append(p.Warnings, fmt.Sprintf("Stream %s has no records: none of the table's columns is "+
				"selected in the configured catalog.", d))
		}
		p.Streams = append(p.Streams, s)
	}
	return p
}

func missing(c *config.Config, d protocol.StreamDescriptor) *protocol.Error {
	e := &protocol.Error{
		Kind: protocol.Config, Stream: &d,
		Message: fmt.Sprintf("Stream %s is in the configured catalog, but there is no such table that user %s may read.",
			d, c.Username),
		Hint: "Refresh the source's schema, and take the stream out if its table is gone.",
	}
	if d.Namespace != "" {
		user := postgres.Quote(c.Username)
		e.Hint = fmt.Sprintf("If the table exists, run: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s; "+
			"if it is gone, refresh the source's schema and take the stream out.",
			postgres.Quote(d.Namespace), user, postgres.Quote(d.Namespace, d.Name), user)
	}
	return e
}

// selectColumns takes the columns that are both configured and there. A configured column that the table has no more
// is left out of the records; a column that is not configured, or that the log will not have because the publication
// leaves it out, is never read.
func (s *Stream) selectColumns(properties map[string]protocol.Property, c *config.Config) {
	var columns []codec.Column
	for _, column := range s.Table.Columns {
		if _, ok := properties[column.Name]; ok && (s.Method != ByLog || !column.Unpublished) {
			s.Columns = append(s.Columns, column)
		}
	}
	if c.Method == config.MethodCDC {
		s.selectMeta(properties)
	}
	for _, column := range s.Columns {
		columns = append(columns, codec.Column{
			Name: column.Name, Type: column.Type,
			Key: slices.Contains(s.Table.Key, column.Name),
		})
	}
	columns = append(columns, MetaColumns(s.Meta)...)
	s.Limits = codec.Limits{Field: c.MaxFieldBytes, Record: c.MaxRecordCharacters}
	s.Object = codec.NewObject(columns, codec.MixedWire, s.Limits)
}

// selectMeta takes the configured columns that the connector makes. They win over a column of the table with such a
// name.
func (s *Stream) selectMeta(properties map[string]protocol.Property) {
	for _, name := range []string{catalog.LSNColumn, catalog.UpdatedColumn, catalog.DeletedColumn} {
		if _, ok := properties[name]; !ok {
			continue
		}
		s.Meta = append(s.Meta, name)
		s.Columns = slices.DeleteFunc(s.Columns, func(c catalog.Column) bool { return c.Name == name })
	}
}

// MetaColumns are columns of these names whose values come as the text that they are to be shown with.
func MetaColumns(names []string) []codec.Column {
	types := codec.NewMap(nil)
	var columns []codec.Column
	for _, name := range names {
		c := codec.Column{Name: name, Type: types.Type(pgtype.TextOID, -1, 0), Key: true}
		if name == catalog.LSNColumn {
			c.Type = types.Type(pgtype.NumericOID, -1, 0)
		}
		columns = append(columns, c)
	}
	return columns
}

// method decides how the stream is read. A stream that cannot be read incrementally because nobody chose a cursor, or
// because it is of a kind that has none, is read whole: some platforms ask for every stream to be incremental.
func (p *Plan) method(s *Stream, w *protocol.ConfiguredStream, c *config.Config) *protocol.Error {
	if w.SyncMode == protocol.FullRefresh {
		return nil
	}
	switch c.Method {
	case config.MethodCDC:
		s.Method = ByLog
		broken := s.followable(c)
		if broken == nil {
			p.deletable(s)
			if alter := s.Table.AlterIdentity(); alter != s.Alter {
				p.Warnings = append(p.Warnings, fmt.Sprintf("Stream %s: partitions have no replica identity with the stream's "+
					"key: the server refuses every UPDATE and DELETE on them, or does not say which row it was. Run: %s",
					s.Descriptor, alter))
			}
		}
		return broken
	case config.MethodXmin:
		if !s.Paged {
			p.whole(s, "it or a part of it is no table of this server, or the user may read "+
				"some of its columns only, so that there is no xmin of its own to read")
			return nil
		}
		s.Method = ByXmin
		return nil
	}
	field := w.CursorField
	if len(field) == 0 {
		field = w.Stream.DefaultCursorField
	}
	if len(field) == 0 {
		p.whole(s, "no cursor field is configured")
		return nil
	}
	s.Method = ByCursor
	s.Lookback = Lookback{Seconds: int64(c.Standard.Lookback.Seconds()), Rows: c.Standard.LookbackRows}
	s.Cursor = s.Table.Column(strings.Join(field, "."))
	switch {
	case s.Cursor == nil:
		return &protocol.Error{
			Message: fmt.Sprintf("The cursor field %q of stream %s is not a column of the "+
				"table.", strings.Join(field, "."), s.Descriptor),
			Hint: candidates(s.Table),
		}
	case !s.Cursor.Type.Cursor:
		return &protocol.Error{
			Message: fmt.Sprintf("The cursor field %q of stream %s is of type %s, which has no order to follow.",
				s.Cursor.Name, s.Descriptor, s.Cursor.Type.Name),
			Hint: candidates(s.Table),
		}
	}
	return nil
}

// whole notes that a stream is read whole although it is configured as incremental.
func (p *Plan) whole(s *Stream, why string) {
	p.Warnings = append(p.Warnings, fmt.Sprintf("Stream %s is configured as incremental, but %s: every row of it is "+
		"read in every "+
		"sync.", s.Descriptor, why))
}

// candidates says which columns could be the cursor.
func candidates(t *catalog.Table) string {
	var names []string
	for _, c := range t.Columns {
		if c.Type.Cursor {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return "No column of the table would do; read the stream as full refresh, or choose Xmin or CDC."
	}
	return "Choose one of these: " + strings.Join(names, ", ") + "."
}

// keyOf names the columns of the key that the platform gives a stream.
func keyOf(w *protocol.ConfiguredStream) []string {
	key := w.PrimaryKey
	if len(key) == 0 {
		key = w.Stream.SourceDefinedPrimaryKey
	}
	var names []string
	for _, path := range key {
		names = append(names, strings.Join(path, "."))
	}
	return names
}

// keyed says which column a destination tells rows apart by that records do not have: platforms end the whole sync at
// the first record without a key, and with a part of it rows would be taken for each other.
func (s *Stream) keyed(w *protocol.ConfiguredStream) *protocol.Error {
	if w.SyncMode != protocol.Incremental || w.DestinationSyncMode != protocol.AppendDedup {
		return nil
	}
	for _, name := range s.Key {
		if s.Table.Column(name) == nil && !slices.Contains(s.Meta, name) {
			return &protocol.Error{
				Message: fmt.Sprintf("The primary key of stream %s has the column %q, which the table does not have, or which "+
					"may not be read: the destination could not tell its rows apart.", s.Descriptor, name),
				Hint: "Refresh the source's schema, and reset the stream if its rows have another key now.",
			}
		}
	}
	return nil
}

// deletable warns if the log says of a deleted row other columns than those that the stream is keyed by: then the
// destination cannot tell which row it was.
func (p *Plan) deletable(s *Stream) {
	t := s.Table
	identity := t.Key
	switch t.Identity {
	case catalog.IdentityFull:
		return
	case catalog.IdentityIndex:
		identity = t.IdentityKey
	}
	lacks := func(key []string) bool {
		return slices.ContainsFunc(s.Key, func(name string) bool { return !slices.Contains(key, name) })
	}
	if !lacks(identity) || s.Alter != "" {
		return
	}
	how := "FULL"
	if t.KeyIdentifies() && !lacks(t.Key) {
		how = "DEFAULT"
	}
	p.Warnings = append(p.Warnings, fmt.Sprintf("Stream %s is keyed by %s, but its replica identity is %s: what the log "+
		"says of deleted rows and changed keys does not tell the destination which rows they were. Run: ALTER TABLE %s "+
		"REPLICA IDENTITY %s; or refresh the source's schema and reset the stream.", s.Descriptor, strings.Join(s.Key, ", "),
		strings.Join(identity, ", "), postgres.Quote(t.Schema, t.Name), how))
}

// followable says why the log cannot keep the stream current.
func (s *Stream) followable(c *config.Config) *protocol.Error {
	t := s.Table
	name := postgres.Quote(t.Schema, t.Name)
	switch {
	case t.Kind != catalog.Ordinary && t.Kind != catalog.Partitioned:
		return &protocol.Error{
			Message: fmt.Sprintf("Stream %s is configured as incremental, but is no table: the log has no changes of "+
				"it.", s.Descriptor),
			Hint: "Set the stream to full refresh.",
		}
	case t.Unlogged:
		return &protocol.Error{
			Message: fmt.Sprintf("Stream %s is configured as incremental, but its table is unlogged: the log has no "+
				"changes of it.",
				s.Descriptor),
			Hint: fmt.Sprintf("Run: ALTER TABLE %s SET LOGGED; or set the stream to full refresh.", name),
		}
	case !t.Published && t.Kind == catalog.Partitioned:
		return &protocol.Error{
			Message: fmt.Sprintf("Stream %s is configured as incremental, but publication %s does not publish the changes of "+
				"its partitions as those of the whole table.", s.Descriptor, c.CDC.Publication),
			Hint: fmt.Sprintf("Run: ALTER PUBLICATION %s SET (publish_via_partition_root = true); and, if the table is not in "+
				"the publication yet: ALTER PUBLICATION %[1]s ADD TABLE %s; or choose its partitions as streams instead.",
				postgres.Quote(c.CDC.Publication), name),
		}
	case !t.Published:
		return &protocol.Error{
			Message: fmt.Sprintf("Stream %s is configured as incremental, but is not in publication "+
				"%s.", s.Descriptor, c.CDC.Publication),
			Hint: fmt.Sprintf("Run: ALTER PUBLICATION %s ADD TABLE %s; or set the stream to full refresh.",
				postgres.Quote(c.CDC.Publication), name),
		}
	case t.Filtered:
		return &protocol.Error{
			Message: fmt.Sprintf("Row-level security hides rows of stream %s from user %s, but not in the log: the first "+
				"pass and the log "+
				"would disagree.", s.Descriptor, c.Username),
			Hint: fmt.Sprintf("Run: ALTER ROLE %s BYPASSRLS; or set the stream to full refresh.", postgres.Quote(c.Username)),
		}
	}
	alter := t.AlterIdentity()
	switch {
	case alter != "" && t.Owned && c.CDC.ManageIdentity:
		s.Alter = alter
		return nil
	case t.HasIdentity():
		return nil
	}
	return &protocol.Error{
		Message: fmt.Sprintf("The table of stream %s has no replica identity: the log would not say which rows are "+
			"updated and deleted.",
			s.Descriptor),
		Hint: "Run: " + alter,
	}
}
