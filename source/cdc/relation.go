package cdc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/plan"
)

// A relation is what the log calls a table, with the streams that its changes belong to.
type relation struct {
	shape
	targets []*target
}

// A target is one stream that takes the changes of a relation, and how a row of the relation becomes a record of it.
type target struct {
	*follower
	object *codec.Object // encodes the stream's columns, then Meta, from the log's texts
	from   []int         // the position of each column in the relation's rows; -1: the log does not have it
	key    []int         // the positions in the relation's rows of what identifies a row
	told   []int         // of what the destination tells rows apart by too; of an old row only a whole one has it
	// derived says which of the stream's columns are a part of the key that the log never has. They follow from a whole
	// row.
	derived []bool
	again   *lookup // finds values that the log does not have
}

// relate makes the relation of a shape: which streams it feeds. Names do not tell: at the time of the changes the table
// may have had another one, and its own may have been another table's.
func (r *Reader) relate(ctx context.Context, s shape) (*relation, error) {
	if s.schema == "" {
		s.schema = "pg_catalog"
	}
	rel := &relation{shape: s}
	followers := r.followers(s.oid, false)
	if r.partitioned {
		above, err := r.ancestors(ctx, s.oid)
		if err != nil {
			return nil, err
		}
		for _, oid := range above {
			followers = append(followers, r.followers(oid, true)...)
		}
	}
	if len(followers) == 0 {
		return rel, nil
	}
	types, err := r.typesOf(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, f := range followers {
		if len(f.Columns) == 0 {
			continue // without columns there are no records
		}
		rel.targets = append(rel.targets, newTarget(f, s, types))
	}
	return rel, nil
}

// followers are the streams of a table; partitioned asks only for streams of partitioned tables.
func (r *Reader) followers(oid uint32, partitioned bool) []*follower {
	var found []*follower
	for _, f := range r.streams {
		if f.Table.OID == oid && (!partitioned || f.Table.Kind == catalog.Partitioned) {
			found = append(found, f)
		}
	}
	return found
}

func newTarget(f *follower, s shape, types []*codec.Type) *target {
	t := &target{follower: f}
	var columns []codec.Column
	var lost []string
	for i, c := range s.columns {
		if c.key {
			t.key = append(t.key, i)
		}
	}
	// Where every column is the identity, or none, the table's own key, where it has one, tells rows apart.
	if s.identity == 'f' || len(t.key) == 0 {
		t.key = nil
		for _, name := range f.Table.Key {
			if i := s.position(name); i >= 0 {
				t.key = append(t.key, i)
			}
		}
		if len(t.key) != len(f.Table.Key) {
			t.key = nil
		}
	}
	t.told = slices.Clone(t.key)
	for _, name := range f.Key {
		if i := s.position(name); i >= 0 && !slices.Contains(t.told, i) {
			t.told = append(t.told, i)
		}
	}
	for _, c := range f.Columns {
		i := s.position(c.Name)
		t.derived = append(t.derived, i < 0 && c.Computed && s.identity == 'f' && len(t.key) == 0 &&
			slices.Contains(f.Key, c.Name))
		kind := c.Type
		switch {
		case i >= 0 && s.columns[i].oid != c.OID:
			kind = types[i] // it had another type then
		case i < 0 && !c.Generated: // the log of most versions has no generated columns
			lost = append(lost, c.Name)
		}
		t.from = append(t.from, i)
		columns = append(columns, codec.Column{Name: c.Name, Type: kind, Key: i >= 0 && slices.Contains(t.told, i)})
	}
	if len(lost) > 0 {
		slog.Info("columns are not in these changes of the table: they were made before the columns were, or after they "+
			"were dropped or renamed; the present values are looked up", "stream", f.Descriptor, "columns", lost)
	}
	t.object = codec.NewObject(append(columns, plan.MetaColumns(f.Meta)...), codec.TextWire, f.Limits)
	t.again = newLookup(t, s)
	return t
}

func (s *shape) position(name string) int {
	return slices.IndexFunc(s.columns, func(c column) bool { return c.name == name })
}

// typesOf gives the types of the columns. Those that the database has no more are shown as text.
func (r *Reader) typesOf(ctx context.Context, s shape) ([]*codec.Type, error) {
	var oids []uint32
	for _, c := range s.columns {
		oids = append(oids, c.oid)
	}
	known, err := catalog.LoadTypes(ctx, r.conn, oids)
	if err != nil {
		return nil, err
	}
	types := make([]*codec.Type, len(s.columns))
	for i, c := range s.columns {
		types[i] = known.Type(c.oid, c.typmod, 1)
	}
	return types, nil
}

// check holds a change against its relation.
func (rel *relation) check(m *message) error {
	has := len(m.row.kinds)
	if m.kind == 'D' || has == len(rel.columns) && m.old.present() {
		has = len(m.old.kinds)
	}
	if has == len(rel.columns) {
		return nil
	}
	return &protocol.Error{
		Kind: protocol.System,
		Message: fmt.Sprintf("A change of table %s.%s in the log has %d values where the table had %d columns.",
			rel.schema, rel.name, has, len(rel.columns)),
	}
}

func unknownRelation(oid uint32) error {
	return &protocol.Error{
		Kind:    protocol.System,
		Message: fmt.Sprintf("The log has a change of table %d, which it did not introduce.", oid),
	}
}
