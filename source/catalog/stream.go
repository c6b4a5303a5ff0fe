package catalog

import (
	"fmt"
	"slices"
	"strings"

	"source-postgres/protocol"
	"source-postgres/source/postgres"
)

// An Offer says which shape of streams discover makes: it depends on how changes will be read.
type Offer uint8

// The three replication methods.
const (
	OfferCursor Offer = iota // a column that the user chooses
	OfferXmin                // the system column xmin
	OfferLog                 // the write-ahead log
)

// The columns that every stream gets when changes come from the log.
const (
	LSNColumn     = "_ab_cdc_lsn"
	UpdatedColumn = "_ab_cdc_updated_at"
	DeletedColumn = "_ab_cdc_deleted_at"
)

// InstantFormat is how the values of UpdatedColumn and DeletedColumn are written, in UTC.
const InstantFormat = "2006-01-02T15:04:05.000000Z"

// Stream is the table as discover offers it.
func (t *Table) Stream(offer Offer) protocol.Stream {
	s := protocol.Stream{
		Name: t.Name, Namespace: t.Schema,
		JSONSchema:              protocol.Schema{Type: "object", Properties: map[string]protocol.Property{}},
		SupportedSyncModes:      []protocol.SyncMode{protocol.FullRefresh},
		DefaultCursorField:      []string{},
		SourceDefinedPrimaryKey: [][]string{},
		IsResumable:             t.Kind == Ordinary || t.Kind == Materialized,
	}
	for _, c := range t.Columns {
		s.JSONSchema.Properties[c.Name] = c.Type.Schema
	}
	key := t.Key
	incremental := false
	switch offer {
	case OfferCursor:
		for _, c := range t.Columns {
			incremental = incremental || c.Type.Cursor
		}
	case OfferXmin:
		// Airbyte 3.6 offers xmin for views no more: a view has no such column. A foreign table's is meaningless.
		incremental = t.Kind != View && t.Kind != Foreign
		s.SourceDefinedCursor = true
	case OfferLog:
		s.JSONSchema.Properties[LSNColumn] = protocol.Number
		s.JSONSchema.Properties[UpdatedColumn] = protocol.String
		s.JSONSchema.Properties[DeletedColumn] = protocol.String
		incremental = t.Published && !t.Unlogged && t.HasIdentity()
		// A keyed table outside the publication has its cursor too, as in Airbyte's catalogs: adding it to the publication
		// then changes nothing but the modes.
		if incremental || len(t.Key) > 0 {
			s.SourceDefinedCursor = true
			s.DefaultCursorField = []string{LSNColumn}
		}
		if t.Identity == IdentityIndex {
			key = t.IdentityKey // the log identifies rows by this index and no other
		}
	}
	if incremental {
		s.SupportedSyncModes = append(s.SupportedSyncModes, protocol.Incremental)
	}
	for _, name := range key {
		s.SourceDefinedPrimaryKey = append(s.SourceDefinedPrimaryKey, []string{name})
	}
	return s
}

// HasIdentity reports whether updates and deletes of the table can be told apart by row, or come whole.
func (t *Table) HasIdentity() bool {
	switch t.Identity {
	case IdentityFull:
		return true
	case IdentityIndex:
		return t.logs(t.IdentityKey)
	case IdentityNothing:
		return false
	}
	return t.KeyIdentifies()
}

// KeyIdentifies reports whether the table has a primary key by which the log can tell rows apart.
func (t *Table) KeyIdentifies() bool { return !t.Deferrable && t.logs(t.Key) }

// AlterIdentity is SQL that gives the table, and partitions of it, the replica identity that they lack; "" if none
// does. A partition has nothing of its root's.
func (t *Table) AlterIdentity() string {
	var statements []string
	if name := postgres.Quote(t.Schema, t.Name); !t.HasIdentity() {
		identity := "FULL"
		if t.KeyIdentifies() {
			identity = "DEFAULT"
		}
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY %s;", name, identity))
	}
	for _, name := range t.Unidentified {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL;", name))
	}
	return strings.Join(statements, " ")
}

// logs reports that the log has every column of a key.
func (t *Table) logs(key []string) bool {
	return len(key) > 0 && !slices.ContainsFunc(key, func(name string) bool { return t.Column(name).Computed })
}
