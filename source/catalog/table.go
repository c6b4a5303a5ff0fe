package catalog

import (
	"source-postgres/protocol"
	"source-postgres/source/codec"
)

// A Kind is pg_class.relkind.
type Kind byte

// The relations that can be streams.
const (
	Ordinary     Kind = 'r'
	Partitioned  Kind = 'p'
	View         Kind = 'v'
	Materialized Kind = 'm'
	Foreign      Kind = 'f'
)

// A Table is one relation that the user may read, whatever its kind. It is immutable after Load, but for Storage.
type Table struct {
	OID          uint32
	Schema, Name string
	Kind         Kind
	Unlogged     bool     // its changes never reach the log
	Filtered     bool     // row-level security hides rows of it from this user
	Published    bool     // by the publication that Load was asked about
	Member       uint32   // a number of its entry in that publication; of the publication itself if it is of all tables
	RowFilter    string   // the publication's, as SQL; empty: every row
	Owned        bool     // the user owns it
	Partial      bool     // the user may only read some of its columns, and so none of the system columns
	Identity     Identity // what an update or delete of it carries in the log
	Columns      []Column // those the user may read, in the table's order
	Key          []string // the primary key's columns in key order; empty without one
	Deferrable   bool     // the primary key is, so that it identifies no rows in the log
	Unidentified []string // partitions without a replica identity that has its key, as SQL; set if a publication is asked
	IdentityKey  []string // the columns of the replica identity index, if Identity is IdentityIndex
	Storage      *Storage // set by LoadStorage for tables that have pages of their own
}

// An Identity is pg_class.relreplident.
type Identity byte

// The replica identities: the primary key, every column, one unique index, nothing.
const (
	IdentityDefault Identity = 'd'
	IdentityFull    Identity = 'f'
	IdentityIndex   Identity = 'i'
	IdentityNothing Identity = 'n'
)

// A Column is a column that the user may read.
type Column struct {
	Name      string
	Number    int16 // attnum
	Type      *codec.Type
	OID       uint32 // of the type
	WireOID   uint32 // the type that the server names with its values: for a domain the one it rests on
	Away      string // the schema of that type, and of its operators, where search_path does not lead to it
	NotNull   bool
	Indexed   bool // it is the first column of a B-tree index of the whole table
	Generated bool // GENERATED … STORED or VIRTUAL
	Computed  bool // generated, and never in the log
	// Unpublished says that the publication lists the table's columns, and not this one.
	Unpublished bool
}

// Descriptor names the stream that the table is.
func (t *Table) Descriptor() protocol.StreamDescriptor {
	return protocol.StreamDescriptor{Name: t.Name, Namespace: t.Schema}
}

// Column finds a column by name; nil if there is none that the user may read.
func (t *Table) Column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// names gives the columns with the numbers in key, in key's order; nil if the user may not read one of them, for a
// key that is not whole is none.
func (t *Table) names(key []int16) []string {
	var names []string
	for _, number := range key {
		for _, c := range t.Columns {
			if c.Number == number {
				names = append(names, c.Name)
			}
		}
	}
	if len(names) != len(key) {
		return nil
	}
	return names
}
