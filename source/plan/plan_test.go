package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/config"
	"source-postgres/source/state"
)

const (
	system   = "7434567890123456789"
	oid      = 16390
	filenode = 16395
)

// orders is a table of two possible cursors; a view has no storage.
func orders(kind catalog.Kind) *catalog.Table {
	types := codec.NewMap(nil)
	t := &catalog.Table{OID: oid, Schema: "public", Name: "orders", Kind: kind, Key: []string{"id"}}
	for i, c := range []struct {
		name string
		oid  uint32
	}{{"id", pgtype.Int8OID}, {"at", pgtype.TimestamptzOID}, {"what", pgtype.JSONBOID}} {
		t.Columns = append(
			t.Columns,
			catalog.Column{Name: c.name, Number: int16(i + 1), Type: types.Type(c.oid, -1, 0), WireOID: c.oid},
		)
	}
	if kind == catalog.Ordinary || kind == catalog.Materialized || kind == catalog.Partitioned {
		t.Storage = &catalog.Storage{Parts: []uint32{oid}, Filenode: filenode, Blocks: []int64{5}, Bytes: 40960}
	}
	return t
}

// A request is what one stream is asked for.
type request struct {
	kind   catalog.Kind
	method config.Method
	mode   protocol.SyncMode
	cursor []string
	sync   *int64
	from   state.Stream
}

// on is the request for another kind of relation.
func (r request) on(kind catalog.Kind) request {
	r.kind = kind
	return r
}

// in is the request in another mode.
func (r request) in(mode protocol.SyncMode) request {
	r.mode = mode
	return r
}

// by is the request with another cursor field.
func (r request) by(cursor ...string) request {
	r.cursor = cursor
	return r
}

// build plans the stream orders as requested.
func (r request) build(t *testing.T) *Plan {
	t.Helper()
	if r.kind == 0 {
		r.kind = catalog.Ordinary
	}
	table := orders(r.kind)
	want := &protocol.ConfiguredCatalog{Streams: []protocol.ConfiguredStream{{
		Stream: protocol.Stream{
			Name:      "orders",
			Namespace: "public",
			JSONSchema: protocol.Schema{Properties: map[string]protocol.Property{
				"id": protocol.Integer, "what": protocol.String, "gone": protocol.String,
			}},
		},
		SyncMode: r.mode, CursorField: r.cursor, SyncID: r.sync,
	}}}
	c := &config.Config{
		Method: r.method, Username: "reader", MaxFieldBytes: 1000, MaxRecordCharacters: 1000,
		Standard: config.Standard{Lookback: time.Minute, LookbackRows: 7},
	}
	set := &state.Set{}
	if r.from != nil {
		message := state.NewLedger(nil, nil).Stream(table.Descriptor(), r.from)
		var err error
		if set, err = state.Parse([]protocol.State{*message}, false, "shop"); err != nil {
			t.Fatal(err)
		}
	}
	return Build(c, &catalog.Database{Tables: []*catalog.Table{table}, System: system}, want, set, time.Now())
}

// stream is the only stream of a plan that has nothing broken.
func (r request) stream(t *testing.T) (*Stream, *Plan) {
	t.Helper()
	p := r.build(t)
	if len(p.Broken) > 0 || len(p.Streams) != 1 {
		t.Fatalf("%+v: broken: %v", r, p.Broken)
	}
	return p.Streams[0], p
}

func TestColumnsAreThoseConfiguredAndThere(t *testing.T) {
	s, _ := request{mode: protocol.FullRefresh, method: config.MethodStandard}.stream(t)
	if len(s.Columns) != 2 || s.Columns[0].Name != "id" || s.Columns[1].Name != "what" {
		t.Errorf("columns %+v, want id and what", s.Columns)
	}
	if s.Header == nil || s.Object == nil || s.System != system || !s.Paged {
		t.Errorf("stream %+v", s)
	}
}

func TestMethodOfAStream(t *testing.T) {
	for name, test := range map[string]struct {
		request
		want    Method
		warning string
		paged   bool
	}{
		"full refresh":            {standard.in(protocol.FullRefresh), Refresh, "", true},
		"full refresh, Xmin":      {byXmin.in(protocol.FullRefresh), Refresh, "", true},
		"cursor not selected":     {standard.by("at"), ByCursor, "", true},
		"view":                    {standard.on(catalog.View), ByCursor, "", false},
		"no cursor":               {standard.by(), Refresh, "no cursor field is configured", true},
		"Xmin":                    {byXmin.by("what"), ByXmin, "", true},
		"materialized view, Xmin": {byXmin.on(catalog.Materialized), ByXmin, "", true},
		"view, Xmin":              {byXmin.on(catalog.View), Refresh, "xmin", false},
		"foreign table, Xmin":     {byXmin.on(catalog.Foreign), Refresh, "xmin", false},
	} {
		s, p := test.stream(t)
		if s.Method != test.want || s.Paged != test.paged || s.From != nil || s.Done {
			t.Errorf("%s: stream %+v", name, s)
		}
		if s.Method == ByCursor &&
			(s.Cursor == nil || s.Cursor.Name != test.cursor[0] || s.Lookback != Lookback{Seconds: 60, Rows: 7}) {
			t.Errorf("%s: cursor %+v, lookback %+v", name, s.Cursor, s.Lookback)
		}
		if warnings := strings.Join(p.Warnings, "\n"); !strings.Contains(warnings, test.warning) ||
			test.warning == "" && warnings != "" {
			t.Errorf("%s: warnings %q, want %q", name, warnings, test.warning)
		}
	}
}

// expectBroken checks that the plan's one stream is broken, with a config error that says what it should.
func expectBroken(t *testing.T, what string, p *Plan, says ...string) {
	t.Helper()
	if len(p.Broken) != 1 || len(p.Streams) != 0 {
		t.Fatalf("%s: %d broken streams, %d others", what, len(p.Broken), len(p.Streams))
	}
	e := p.Broken[0]
	if e.Kind != protocol.Config || e.Stream == nil || e.Stream.Name != "orders" {
		t.Errorf("%s: a %s about %v", what, e.Kind, e.Stream)
	}
	for _, part := range says {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%s: %q does not say %q", what, e.Error(), part)
		}
	}
}

func TestCursorsThatWillNotDo(t *testing.T) {
	for _, cursor := range [][]string{{"what"}, {"gone"}, {"ID"}, {"id", "at"}} {
		p := request{method: config.MethodStandard, mode: protocol.Incremental, cursor: cursor}.build(t)
		expectBroken(t, strings.Join(cursor, "."), p, strings.Join(cursor, "."), "public.orders", "id, at.")
	}
}

func TestTableThatIsNotThere(t *testing.T) {
	want := &protocol.ConfiguredCatalog{
		Streams: []protocol.ConfiguredStream{{Stream: protocol.Stream{Name: "orders", Namespace: `a"b`}}},
	}
	p := Build(&config.Config{Username: "reader"}, &catalog.Database{}, want, &state.Set{}, time.Now())
	expectBroken(t, "missing", p, `GRANT USAGE ON SCHEMA "a""b" TO "reader"`, `GRANT SELECT ON "a""b"."orders"`)
}
