package state

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"source-postgres/protocol"
)

// What Airbyte's connector has written, in its versions 2 and 3.
func TestStatesOfAirbyte(t *testing.T) {
	cursor := &Cursor{Field: "id", Value: pointer("5"), Count: 1}
	const (
		named = `"stream_name":"t","stream_namespace":"public",`
		five  = `"cursor_field":["id"],"cursor":"5","cursor_record_count":1`
	)
	for _, test := range []struct {
		text string
		want Stream
	}{
		{`{"version":2,"state_type":"cursor_based",` + named + five + `}`, cursor},
		{`{` + named + five + `}`, cursor},
		{`{"state_type":"cursor_based","cursor_field":["id"],"cursor":null}`, &Cursor{Field: "id"}},
		{
			`{"version":2,"state_type":"ctid","ctid":"(0,2)","relation_filenode":16384,` +
				`"incremental_state":{"version":2,"state_type":"cursor_based",` + five + `}}`,
			&Ctid{Filenode: 16384, Tuple: 2, Then: cursor, Moved: cursor},
		},
		{
			`{"state_type":"ctid","ctid":"(17,9)","incremental_state":{},"relation_filenode":16384}`,
			&Ctid{Filenode: 16384, Done: Blocks{{0, 17}}, Tuple: 9},
		},
		{
			`{"state_type":"ctid","ctid":"(17,9)","incremental_state":null,"relation_filenode":1}`,
			&Ctid{Filenode: 1, Done: Blocks{{0, 17}}, Tuple: 9},
		},
		{
			`{"version":2,"state_type":"ctid","ctid":"(0,0)","relation_filenode":5,"incremental_state":{"version":2,` +
				`"state_type":"xmin","num_wraparound":0,"xmin_xid_value":1234,"xmin_raw_value":1234}}`,
			&Ctid{Mark: Mark{Snapshot: "1234:1234:"}, Filenode: 5, Then: &Xmin{Bound: 1234}},
		},
		{
			`{"version":2,"state_type":"xmin","num_wraparound":0,"xmin_xid_value":1234,"xmin_raw_value":1234}`,
			&Xmin{Bound: 1234},
		},
		{
			`{"version":2,"state_type":"xmin","num_wraparound":2,"xmin_xid_value":1234,"xmin_raw_value":8589935826}`,
			&Xmin{Bound: 2<<32 + 1234},
		},
		{`{"version":2,"state_type":"xmin","num_wraparound":2,"xmin_xid_value":1234}`, &Xmin{Bound: 2<<32 + 1234}},
		{
			`{"version":3,"state_type":"cursor_based",` + named + `"ctid":null,"cursors":{"id":9007199254740993}}`,
			&Cursor{Field: "id", Value: pointer("9007199254740993")},
		},
		{
			`{"version":3,"state_type":"cursor_based","cursors":{"at":"2024-02-29T13:00:01.123456"},"relation_filenode":5}`,
			&Cursor{Field: "at", Value: pointer("2024-02-29T13:00:01.123456")},
		},
		{`{"version":3,"state_type":"cursor_based","cursors":{"id":null}}`, &Cursor{Field: "id"}},
		{`{"version":3,"state_type":"xmin_based",` + named + `"xmin":1234}`, &Xmin{Bound: 1234}},
		{`{"version":3,"state_type":"ctid_based",` + named + `"ctid":null,"relation_filenode":null}`, &Whole{}},
		{
			`{"version":3,"state_type":"ctid_based","ctid":"(12,7)","cursors":{"id":5},"relation_filenode":16384}`,
			&Ctid{
				Filenode: 16384, Done: Blocks{{0, 12}}, Tuple: 7, Then: &Cursor{Field: "id", Value: pointer("5")},
				Moved: &Cursor{Field: "id", Value: pointer("5")},
			},
		},
		{
			`{"version":3,"state_type":"xmin_based","ctid":"(12,7)","xmin":77,"relation_filenode":16384}`,
			&Ctid{
				Mark: Mark{Snapshot: "77:77:"}, Filenode: 16384, Done: Blocks{{0, 12}}, Tuple: 7, Then: &Xmin{Bound: 77},
			},
		},
		{`{"version":3,"state_type":"ctid_based","ctid":"(12,7)","relation_filenode":1}`, &Ctid{
			Filenode: 1, Done: Blocks{{0, 12}}, Tuple: 7,
		}},
		// A stream that was configured and never read, or read as full refresh.
		{`{}`, nil},
		{`null`, nil},
		{``, nil},
		{`{` + named + `"cursor_field":[]}`, nil},
		{`{` + named + `"cursor_field":["id"]}`, nil},
		{`{"stream_name":"t","unheard_of":[1,{}]}`, nil},
	} {
		got, _, err := parseStream(json.RawMessage(test.text), nil)
		if err != nil || !reflect.DeepEqual(got, test.want) && (got != nil || test.want != nil) {
			t.Errorf("%s: %#v, %v; want %#v", test.text, got, err, test.want)
		}
	}
}

// What makes no sense is never taken for a state that says nothing.
func TestMalformedStates(t *testing.T) {
	const pass = `{"state_type":"ctid","relation_filenode":1,`
	for _, test := range []struct{ text, says string }{
		{`[]`, "parse state"},
		{`"x"`, "parse state"},
		{`{"version":"2"}`, "parse state"},
		{`{`, "parse state"},
		{`{"state_type":"cursors"}`, "cursors"},
		{`{"state_type":"cursor_based","cursor":"5"}`, "cursor_field"},
		{`{"state_type":"cursor_based","cursor":"5","cursor_field":["a","b"]}`, "cursor_field"},
		{`{"cursor":"5","cursor_field":["a","b"]}`, "cursor_field"},
		{`{"state_type":"cursor_based","cursor":5,"cursor_field":["a"]}`, "cursor"},
		{`{"state_type":"cursor_based","cursor_field":["a"],"cursor_record_count":-1}`, "cursor_record_count"},
		{`{"state_type":"cursor_based","cursor_field":["a"],"snapshot":"12"}`, "snapshot"},
		{`{"state_type":"cursor_based","cursor_field":["a"],"snapshot":"1:2:x"}`, "snapshot"},
		{`{"state_type":"xmin"}`, "xmin_xid_value"},
		{`{"state_type":"xmin","xmin_xid_value":-1}`, "parse state"},
		{`{"state_type":"ctid","ctid":"(0,1)"}`, "relation_filenode"},
		{`{"state_type":"ctid","relation_filenode":1}`, "ctid"},
		{pass + `"ctid":"0,1"}`, "ctid"},
		{pass + `"ctid":"(0,1)x"}`, "ctid"},
		{pass + `"ctid":"(-1,1)"}`, "ctid"},
		{pass + `"ctid":"(4294967296,1)"}`, "ctid"},
		{pass + `"ctid":"(0,0)","ranges":[[5,3]]}`, "range"},
		{pass + `"ctid":"(0,0)","ranges":[[-1,3]]}`, "range"},
		{pass + `"ctid":"(0,0)","ranges":[[0,4294967297]]}`, "range"},
		{pass + `"ctid":"(5,0)","finished":true}`, "blocks are missing"},
		{pass + `"ctid":"(5,0)","incremental_state":{"state_type":"xmin"}}`, "xmin_xid_value"},
		{pass + `"ctid":"(5,0)","since":{"state_type":"odd"}}`, "odd"},
		{pass + `"ctid":"(5,0)","since":{"state_type":"full_refresh"}}`, "begin or end"},
		{pass + `"ctid":"(5,0)","incremental_state":` + pass + `"ctid":"(5,0)"}}`, "begin or end"},
		{pass + `"ctid":"(5,65536)"}`, "ctid"},
		{pass + `"ctid":"(5,0)","moved_since":{"state_type":"xmin","xmin_xid_value":3}}`, "moved_since"},
		{`{"state_type":"xmin","xmin_xid_value":18446744073709551615}`, "not the number of a transaction"},
		{`{"version":4,"state_type":"ctid_based"}`, "version 4"},
		{`{"version":3,"state_type":"ctid","ctid":"(0,0)"}`, "of version 3"},
		{`{"version":3,"state_type":"cursor_based","cursors":{"a":1,"b":2}}`, "several cursors"},
		{`{"version":3,"state_type":"cursor_based","cursors":{"a":[1]}}`, "neither a text nor a number"},
		{`{"version":3,"state_type":"cursor_based","cursors":{}}`, "neither a ctid nor cursors"},
		{`{"version":3,"state_type":"xmin_based"}`, "neither a ctid nor cursors"},
		{`{"version":3,"state_type":"ctid_based","ctid":"(1,1)"}`, "relation_filenode"},
		{`{"state_type":"cdc"}`, "LSN"},
		{`{"state_type":"cdc","from":"zzz"}`, "LSN"},
	} {
		got, _, err := parseStream(json.RawMessage(test.text), nil)
		if err == nil || got != nil {
			t.Errorf("%s: %#v, no error", test.text, got)
		} else if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %q does not say %q", test.text, err, test.says)
		}
	}
}

func streamOf(name, namespace, text string) protocol.State {
	return protocol.State{Type: protocol.TypeStream, Stream: &protocol.StreamState{
		Descriptor: protocol.StreamDescriptor{Name: name, Namespace: namespace}, State: json.RawMessage(text),
	}}
}

// A state without a namespace serves the stream that it names inside, or else any of its name.
func TestFindByNamespace(t *testing.T) {
	const xmin = `{"state_type":"xmin","xmin_xid_value":1}`
	set, err := Parse([]protocol.State{
		streamOf("a", "one", xmin), streamOf("b", "", `{"state_type":"xmin","xmin_xid_value":2,"stream_namespace":"two"}`),
		streamOf("c", "", `{"state_type":"xmin","xmin_xid_value":3}`), streamOf("d", "one", "null"),
	}, false, "shop")
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[protocol.StreamDescriptor]uint64{
		{Name: "a", Namespace: "one"}: 1, {Name: "a", Namespace: "two"}: 0, {Name: "a"}: 0,
		{Name: "b", Namespace: "two"}: 2, {Name: "b", Namespace: "one"}: 0,
		{Name: "c", Namespace: "any"}: 3, {Name: "c"}: 3,
		{Name: "d", Namespace: "one"}: 0, {Name: "e", Namespace: "one"}: 0,
	} {
		bound := uint64(0)
		if x, ok := set.Find(d).(*Xmin); ok {
			bound = x.Bound
		}
		if bound != want {
			t.Errorf("%v: bound %d, want %d", d, bound, want)
		}
	}
	if (&Set{}).Find(orders) != nil {
		t.Error("the zero Set has a state")
	}
}

// Every problem is told, each with its stream.
func TestParseTellsEveryProblem(t *testing.T) {
	_, err := Parse([]protocol.State{
		streamOf("a", "s", `{"state_type":"odd"}`), streamOf("b", "s", `{}`),
		streamOf(
			"c",
			"s",
			`{"state_type":"xmin","xmin_xid_value":1}`,
		), streamOf("c", "s", `{"state_type":"xmin","xmin_xid_value":2}`),
		{Type: protocol.TypeGlobal, Global: &protocol.GlobalState{}},
	}, false, "shop")
	problems := protocol.Problems(err)
	wants := []string{"s.a cannot be read", "two states for stream s.c", "type GLOBAL"}
	if len(problems) != len(wants) {
		t.Fatalf("%d problems, want %d: %v", len(problems), len(wants), err)
	}
	for i, want := range wants {
		e, ok := problems[i].(*protocol.Error) //nolint:errorlint // Problems takes wrapped errors apart
		if !ok || e.Kind != protocol.Config || !strings.Contains(e.Message, want) {
			t.Errorf("problem %d is %v, want a config error that says %q", i, problems[i], want)
		}
	}
	if _, err := Parse([]protocol.State{streamOf("a", "s", "{}")}, true, "shop"); err == nil {
		t.Error("a STREAM state is taken where a GLOBAL one is due")
	}
}

// Whatever a state holds, reading it does not break, and what was read is written so that it is read alike.
func FuzzParseStream(f *testing.F) {
	for _, s := range states() {
		f.Add([]byte(s.text))
	}
	f.Add([]byte(`{"state_type":"xmin","xmin_xid_value":18446744073709551615,"num_wraparound":18446744073709551615}`))
	f.Add([]byte(`{"state_type":"ctid","ctid":"(4294967295,65536)","relation_filenode":0,"ranges":[[0,0],[3,4],[4,9]]}`))
	f.Add([]byte(`{"version":3,"state_type":"ctid_based","ctid":"(12,7)","cursors":{"id":5},"relation_filenode":16384}`))
	f.Add([]byte(`{"version":3,"state_type":"xmin_based","xmin":1234}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, namespace, err := parseStream(text, nil)
		if err != nil || first == nil {
			return
		}
		d := protocol.StreamDescriptor{Name: "t", Namespace: namespace}
		again := marshal(d, first)
		second, _, err := parseStream(again, nil)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Errorf("%s is written as %s, which is %#v, %v; want %#v", text, again, second, err, first)
		}
	})
}
