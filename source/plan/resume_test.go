package plan

import (
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/config"
	"source-postgres/source/state"
)

func pointer[T any](v T) *T { return &v }

var (
	mark     = state.Mark{System: system, OID: oid, Snapshot: "5:5:"}
	byID     = &state.Cursor{Mark: mark, Field: "id", Value: pointer("7")}
	byTime   = &state.Cursor{Field: "at"}
	xmin     = &state.Xmin{Mark: mark, Bound: 700}
	some     = state.Blocks{{From: 0, To: 3}}
	whole    = state.Blocks{{From: 0, To: state.End}}
	standard = request{method: config.MethodStandard, mode: protocol.Incremental, cursor: []string{"id"}}
	byXmin   = request{method: config.MethodXmin, mode: protocol.Incremental}
	refresh  = request{method: config.MethodStandard, mode: protocol.FullRefresh, sync: pointer(int64(4))}
)

// pass is a pass over the table as it is stored now.
func pass(done state.Blocks, since, then state.Stream) *state.Ctid {
	return &state.Ctid{Mark: mark, Filenode: filenode, Done: done, Since: since, Then: then}
}

// rewritten is the pass over other files.
func rewritten(p *state.Ctid) *state.Ctid {
	other := *p
	other.Filenode++
	return &other
}

// after is the request with a state.
func (r request) after(from state.Stream) request {
	r.from = from
	return r
}

func TestWhereAStreamGoesOn(t *testing.T) {
	recreated := *byID
	recreated.OID++
	elsewhere := pass(some, nil, nil)
	elsewhere.System = "123"
	foreign := *byID
	foreign.Mark = state.Mark{}
	wider, other := *byID, *byID
	wider.Type, other.Type = pgtype.Int8OID, pgtype.TextOID
	finished := &state.Ctid{Mark: mark, Filenode: filenode, Done: whole, Finished: true, SyncID: pointer(int64(4))}
	for name, test := range map[string]struct {
		request
		want state.Stream
		done bool
		says string // in a note or warning; empty: there is none
	}{
		"cursor":                   {standard.after(byID), byID, false, ""},
		"cursor of Airbyte":        {standard.after(&foreign), &foreign, false, ""},
		"cursor of a view":         {standard.after(byID).on(catalog.View), byID, false, ""},
		"cursor of a kindred type": {standard.after(&wider), &wider, false, ""},
		"first pass, another type": {
			standard.after(pass(some, nil, &other)), pass(some, nil, &other), false, "goes on",
		},
		"another field":                   {standard.after(byTime), nil, false, `was "at" and is now "id"`},
		"recreated":                       {standard.after(&recreated), nil, false, "dropped and created again"},
		"first pass":                      {standard.after(pass(some, nil, byID)), pass(some, nil, byID), false, "goes on"},
		"first pass, rewritten":           {standard.after(rewritten(pass(some, nil, byID))), nil, false, "starts over"},
		"first pass, another field":       {standard.after(pass(some, nil, byTime)), nil, false, "starts over"},
		"pass of changes":                 {standard.after(pass(some, byID, byID)), pass(some, byID, byID), false, "goes on"},
		"pass of changes, rewritten":      {standard.after(rewritten(pass(some, byID, byID))), byID, false, "starts over"},
		"pass, now a view":                {standard.after(pass(some, nil, byID)).on(catalog.View), nil, false, ""},
		"pass of changes, now a view":     {standard.after(pass(some, byID, byID)).on(catalog.View), byID, false, ""},
		"full refresh before":             {standard.after(finished), nil, false, ""},
		"full refresh before, whole":      {standard.after(&state.Whole{}), nil, false, ""},
		"full refresh before, unfinished": {standard.after(pass(some, nil, nil)), nil, false, ""},
		"Xmin":                            {byXmin.after(xmin), xmin, false, ""},
		"Xmin, first pass":                {byXmin.after(pass(some, nil, xmin)), pass(some, nil, xmin), false, "goes on"},
		"Xmin, pass, rewritten":           {byXmin.after(rewritten(pass(some, xmin, xmin))), xmin, false, "starts over"},
		"refresh":                         {refresh.after(pass(some, nil, nil)), pass(some, nil, nil), false, "goes on"},
		"refresh, rewritten":              {refresh.after(rewritten(pass(some, nil, nil))), nil, false, "starts over"},
		"refresh, finished":               {refresh.after(finished), nil, true, ""},
		"refresh, finished whole":         {refresh.after(&state.Whole{SyncID: pointer(int64(4))}), nil, true, ""},
		"refresh, finished earlier":       {refresh.after(&state.Whole{SyncID: pointer(int64(3))}), nil, false, ""},
		"refresh, finished, no number":    {refresh.after(&state.Whole{}), nil, false, ""},
		"refresh of an incremental one":   {refresh.after(pass(some, nil, byID)), nil, false, ""},
		"refresh after a cursor":          {refresh.after(byID), nil, false, ""},
		"refresh, another cluster":        {refresh.after(elsewhere), nil, false, "another database cluster"},
		"refresh, now a view":             {refresh.after(pass(some, nil, nil)).on(catalog.View), nil, false, ""},
	} {
		s, p := test.stream(t)
		if s.Done != test.done || !reflect.DeepEqual(s.From, test.want) && (s.From != nil || test.want != nil) {
			t.Errorf("%s: done %t, from %#v; want %t, %#v", name, s.Done, s.From, test.done, test.want)
		}
		said := strings.Join(append(p.Notes, p.Warnings...), "\n")
		if !strings.Contains(said, test.says) || test.says == "" && said != "" {
			t.Errorf("%s: it is said %q, want %q", name, said, test.says)
		}
	}
}

func TestStatesThatAreRefused(t *testing.T) {
	elsewhere, other := *byID, *byID
	elsewhere.System = "123"
	other.Type = pgtype.TextOID
	for name, test := range map[string]struct {
		request
		says []string
	}{
		"cursor of another type":          {standard.after(&other), []string{"text", `"7"`, "Reset"}},
		"changes, cursor of another type": {standard.after(pass(some, &other, byID)), []string{"text", "Reset"}},
		"another cluster":                 {standard.after(&elsewhere), []string{"123", system, "reset"}},
		"Xmin for Standard":               {standard.after(xmin), []string{"Xmin", "replication method"}},
		"Xmin's first pass for Standard":  {standard.after(pass(some, nil, xmin)), []string{"Xmin"}},
		"Xmin's changes for Standard":     {standard.after(pass(some, xmin, xmin)), []string{"Xmin"}},
		"Standard for Xmin":               {byXmin.after(byID), []string{"Standard", "cursor"}},
		"CDC for Standard":                {standard.after(&state.Follow{From: 5}), []string{"CDC"}},
		"CDC's first pass for Xmin":       {byXmin.after(pass(some, nil, &state.Follow{From: 5})), []string{"CDC"}},
	} {
		expectBroken(t, name, test.build(t), append(test.says, "public.orders", "Nothing was read")...)
	}
}
