package cdc

import (
	"io"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/plan"
)

// shapeOf is a relation with columns of these names, of type text; those that begin with * are its identity.
func shapeOf(identity byte, names ...string) (shape, []*codec.Type) {
	s := shape{schema: "public", name: "t", identity: identity}
	var types []*codec.Type
	for _, name := range names {
		c := column{name: name, oid: pgtype.TextOID, typmod: -1}
		if name[0] == '*' {
			c.key, c.name = true, name[1:]
		}
		s.columns = append(s.columns, c)
		types = append(types, codec.NewMap(nil).Type(c.oid, -1, 0))
	}
	return s, types
}

// The columns of the log are found by name, and rows by the identity or, where that is all columns or none, by the key.
func TestTargets(t *testing.T) {
	stream := newStream("t", "a", pgtype.TextOID, "b", pgtype.TextOID, "c", pgtype.TextOID)
	for name, test := range map[string]struct {
		identity byte
		columns  []string
		from     []int
		key      []int
	}{
		"as it is":       {'d', []string{"*a", "b", "c"}, []int{0, 1, 2}, []int{0}},
		"another order":  {'d', []string{"c", "x", "*a", "b"}, []int{2, 3, 0}, []int{2}},
		"columns lack":   {'d', []string{"x", "*a"}, []int{1, -1, -1}, []int{1}},
		"by an index":    {'i', []string{"a", "*b", "*c"}, []int{0, 1, 2}, []int{1, 2}},
		"whole":          {'f', []string{"*b", "*a", "*c"}, []int{1, 0, 2}, []int{1}},
		"nothing":        {'n', []string{"a", "b", "c"}, []int{0, 1, 2}, []int{0}},
		"key was other":  {'f', []string{"*b", "*c"}, []int{-1, 0, 1}, nil},
		"without a name": {'d', nil, []int{-1, -1, -1}, nil},
	} {
		s, types := shapeOf(test.identity, test.columns...)
		to := newTarget(&follower{Stream: stream}, s, types)
		if !slices.Equal(to.from, test.from) || !slices.Equal(to.key, test.key) {
			t.Errorf("%s: columns %v by %v, want %v by %v", name, to.from, to.key, test.from, test.key)
		}
	}
}

// A relation feeds the stream of its table, and, as a partition, those of the tables above it.
func TestFollowers(t *testing.T) {
	table := newStream("t", "a", pgtype.TextOID)
	root := newStream("root", "a", pgtype.TextOID)
	table.Table.OID, root.Table.OID, root.Table.Kind = 7, 8, catalog.Partitioned
	r := newTestReader(io.Discard, table, root)
	for _, test := range []struct {
		oid         uint32
		partitioned bool
		want        []*plan.Stream
	}{
		{7, false, []*plan.Stream{table}},
		{8, false, []*plan.Stream{root}},
		{8, true, []*plan.Stream{root}},
		{7, true, nil},
		{9, false, nil},
	} {
		var got []*plan.Stream
		for _, f := range r.followers(test.oid, test.partitioned) {
			got = append(got, f.Stream)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%d (%t) feeds %v", test.oid, test.partitioned, got)
		}
	}
	if !r.partitioned {
		t.Error("the partitions of a stream are not looked for")
	}
	r.Follow(table, 7)
	r.Follow(table, 5)
	if len(r.streams) != 2 || r.streams[0].since != 7 {
		t.Errorf("%d streams, the first since %d", len(r.streams), r.streams[0].since)
	}
}

// A lookup has each row once, and asks for no more columns than are missing.
func TestLookupQuery(t *testing.T) {
	stream := newStream("t", "a", pgtype.TextOID, `b"`, pgtype.TextOID, "c", pgtype.TextOID, "d", pgtype.TextOID)
	s, types := shapeOf('d', "*a", `*b"`, "c")
	to := newTarget(&follower{Stream: stream}, s, types)
	to.again.dropped[3] = true
	f := newFinding(len(to.Columns))
	row := func(a, b string, missing ...bool) *pending {
		return &pending{t: to, missing: missing, key: [][]byte{[]byte(a), []byte(b)}}
	}
	f.want(row("1", "x", false, false, true, false))
	f.want(row("2", "x", false, false, true, false))
	f.want(row("1", "x", false, false, false, true))
	f.want(row("1x", "", false, false, true, false))
	sql, args, oids := to.again.query(f)
	const want = `SELECT wanted."position", found."c", NULL FROM (VALUES (0, $1, $2), (1, $3, $4), (2, $5, $6)) ` +
		`AS wanted ("position", k0, k1) JOIN ONLY "public"."t" AS found ` +
		`ON found."a" = wanted.k0 AND found."b""" = wanted.k1 ` +
		`ORDER BY wanted."position"`
	if sql != want || len(args) != 6 || len(oids) != 6 {
		t.Errorf("%d arguments of %d types: %s\nwant %s", len(args), len(oids), sql, want)
	}
	stream.Table.Kind = catalog.Partitioned
	if got := newLookup(to, s).table; got != `"public"."t"` {
		t.Errorf("a partitioned table is looked up in %s", got)
	}
}

// Records leave in their order up to the first whose values are still to be fetched.
func TestFoundValues(t *testing.T) {
	stream := newStream("t", "a", pgtype.TextOID, "b", pgtype.TextOID)
	s, types := shapeOf('d', "*a", "b")
	to := newTarget(&follower{Stream: stream}, s, types)
	r := newTestReader(io.Discard, stream)
	var part []pending
	f := newFinding(2)
	for _, key := range []string{"1", "", "2", "1", "3", ""} {
		p := pending{t: to, values: [][]byte{[]byte(key), nil}}
		if key != "" {
			p.key, p.missing = [][]byte{[]byte(key)}, []bool{false, true}
			f.want(&p)
		}
		part = append(part, p)
	}
	f.rows[0] = [][]byte{nil, []byte("found")}
	for _, test := range []struct{ until, want int }{{3, 6}, {2, 4}, {1, 2}} {
		f.until = test.until
		n, err := r.emitFound(part, map[*target]*finding{to: f})
		if err != nil || n != test.want {
			t.Errorf("with %d rows fetched %d records leave, want %d (%v)", test.until, n, test.want, err)
		}
	}
}
