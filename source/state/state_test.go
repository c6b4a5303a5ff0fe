package state

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
)

var orders = protocol.StreamDescriptor{Name: "orders", Namespace: "public"}

func pointer[T any](v T) *T { return &v }

// states are one of every kind, with the text that is written for it.
func states() map[string]struct {
	state Stream
	text  string
} {
	mark := Mark{System: "7434567890123456789", OID: 16390, Snapshot: "750:760:750,755", Timeline: 2}
	cursor := &Cursor{
		Mark: mark, Field: "at", Type: 23, Value: pointer("5"), Time: 1700000000, OpenSince: 1699999999,
		Late: &Late{From: pointer("4")},
	}
	const (
		names      = `"version":2,`
		described  = `"stream_name":"orders","stream_namespace":"public"`
		marked     = `"system_identifier":"7434567890123456789","relation_oid":16390,"snapshot":"750:760:750,755"`
		promoted   = `,"timeline":2`
		cursorText = `{` + names + `"state_type":"cursor_based",` + described + `,"cursor_field":["at"],` +
			`"cursor":"5",` + marked +
			`,"snapshot_time":1700000000,"open_since":1699999999,"cursor_type":23,"late":{"from":"4"},"timeline":2}`
	)
	return map[string]struct {
		state Stream
		text  string
	}{
		"cursor": {cursor, cursorText},
		"cursor of a view": {
			&Cursor{Field: "a \"b\"", Value: pointer("\u2028 <&>"), Count: 3},
			`{` + names + `"state_type":"cursor_based",` + described + `,"cursor_field":["a \"b\""],` +
				`"cursor":"\u2028 \u003c\u0026\u003e",` +
				`"cursor_record_count":3}`,
		},
		"cursor without a value": {
			&Cursor{Field: "at", Late: &Late{}},
			`{` + names + `"state_type":"cursor_based",` + described + `,"cursor_field":["at"],"late":{}}`,
		},
		"cursor with an empty value": {
			&Cursor{Field: "at", Value: pointer(""), Partial: true},
			`{` + names + `"state_type":"cursor_based",` + described + `,"cursor_field":["at"],"cursor":"","partial":true}`,
		},
		"xmin": {
			&Xmin{Mark: Mark{OID: 7}, Bound: 5<<32 + 1234},
			`{` + names + `"state_type":"xmin",` + described + `,"num_wraparound":5,"xmin_xid_value":1234,` +
				`"xmin_raw_value":21474837714,` +
				`"relation_oid":7}`,
		},
		"pass that has begun": {
			&Ctid{Filenode: 16384},
			`{` + names + `"state_type":"ctid",` + described + `,"ctid":"(0,0)",` +
				`"relation_filenode":16384,"incremental_state":{}}`,
		},
		"pass in the middle": {
			&Ctid{Mark: mark, Filenode: 1 << 51, Done: Blocks{{0, 100}, {200, 300}, {4000, End}}, Then: cursor},
			`{` + names + `"state_type":"ctid",` + described + `,"ctid":"(99,65535)","relation_filenode":2251799813685248,` +
				`"incremental_state":` + cursorText + `,"ranges":[[200,300],[4000,4294967296]],` + marked + promoted + `}`,
		},
		"pass over what has changed": {
			&Ctid{Filenode: 1, Done: Blocks{{8, 9}}, Since: cursor, Then: cursor},
			`{` + names + `"state_type":"ctid",` + described + `,"ctid":"(0,0)","relation_filenode":1,` +
				`"incremental_state":` + cursorText +
				`,"ranges":[[8,9]],"since":` + cursorText + `}`,
		},
		"finished full refresh": {
			&Ctid{Filenode: 1, Done: Blocks{{0, End}}, Finished: true, SyncID: pointer(int64(9))},
			`{` + names + `"state_type":"ctid",` + described + `,"ctid":"(4294967295,65535)","relation_filenode":1,` +
				`"incremental_state":{},"finished":true,"sync_id":9}`,
		},
		"followed": {
			&Follow{Mark: Mark{OID: 5}, From: 0x16CA368, Filenode: 77},
			`{` + names + `"state_type":"cdc",` + described + `,"relation_filenode":77,"finished":true,` +
				`"relation_oid":5,"from":"0/16CA368"}`,
		},
		"whole": {
			&Whole{SyncID: pointer(int64(0))},
			`{` + names + `"state_type":"full_refresh",` + described + `,"finished":true,"sync_id":0}`,
		},
	}
}

// The keys of Airbyte's version 2 are written as Airbyte's connector reads them.
func TestStatesAreReadAsTheyWereWritten(t *testing.T) {
	for name, test := range states() {
		text := marshal(orders, test.state)
		if string(text) != test.text {
			t.Errorf("%s:\n%s, want\n%s", name, text, test.text)
		}
		got, namespace, err := parseStream(text, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, test.state) || namespace != "public" {
			t.Errorf("%s: read as %#v of schema %q from %s", name, got, namespace, text)
		}
	}
}

// Platforms may read a state and write it again; some of them keep numbers as doubles.
func TestStatesSurviveReadersThatKeepDoubles(t *testing.T) {
	for name, test := range states() {
		var loose map[string]any
		if err := json.Unmarshal(marshal(orders, test.state), &loose); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(loose)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := parseStream(text, nil); err != nil || !reflect.DeepEqual(got, test.state) {
			t.Errorf("%s: read as %#v, %v from %s", name, got, err, text)
		}
	}
}

func TestLedgerOfStreamStates(t *testing.T) {
	s := NewLedger(nil, nil).Stream(orders, &Cursor{Field: "id", Value: pointer("7")})
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"STREAM","stream":{"stream_descriptor":{"name":"orders","namespace":"public"},` +
		`"stream_state":{"version":2,` +
		`"state_type":"cursor_based","stream_name":"orders","stream_namespace":"public","cursor_field":["id"],"cursor":"7"}}}`
	if string(text) != want {
		t.Errorf("%s, want\n%s", text, want)
	}
}

// While there is nothing new no two GLOBAL states in a row are the same, and each is read as the first of them.
func TestLedgerWithNothingNew(t *testing.T) {
	l := NewLedger(&Log{LSN: 16}, map[protocol.StreamDescriptor]Stream{orders: nil})
	for i, want := range []string{"", `"unchanged":1`, `"unchanged":2`} {
		global := l.Log(Log{LSN: 16})
		shared := string(global.Global.Shared)
		if !strings.Contains(shared, want) || want == "" && strings.Contains(shared, "unchanged") {
			t.Errorf("state %d: shared state %s, want %s", i, shared, want)
		}
		set, err := Parse([]protocol.State{*global}, true, "shop")
		if err != nil || *set.Log != (Log{LSN: 16}) || set.Find(orders) != nil {
			t.Errorf("state %d: %+v, %v, %v", i, set.Log, set.Find(orders), err)
		}
	}
	for _, news := range []*protocol.State{
		l.Log(Log{LSN: 32}), l.Stream(orders, &Follow{From: 8}), l.Stream(orders, &Follow{From: 16}),
	} {
		if strings.Contains(string(news.Global.Shared), "unchanged") {
			t.Errorf("shared state %s", news.Global.Shared)
		}
	}
}

// A GLOBAL state has every stream, in order of their names, whoever changes one.
func TestLedgerOfGlobalStates(t *testing.T) {
	other := protocol.StreamDescriptor{Name: "a", Namespace: "public"}
	l := NewLedger(&Log{LSN: 16, Number: 1 << 60, System: "7", Timeline: 3}, map[protocol.StreamDescriptor]Stream{
		orders: &Follow{From: 8},
	})
	l.Stream(other, &Ctid{Filenode: 5, Then: &Follow{From: 9}})
	global := l.Log(Log{LSN: 32, Number: 1<<60 + 1, System: "7", Timeline: 3})
	if global.Type != protocol.TypeGlobal || len(global.Global.Streams) != 2 ||
		global.Global.Streams[0].Descriptor != other {
		t.Fatalf("%+v", global.Global)
	}
	want := `{"version":2,"state_type":"cdc","lsn":"0/20","last_ab_cdc_lsn":"1152921504606846977",` +
		`"system_identifier":"7","timeline":3}`
	if got := string(global.Global.Shared); got != want {
		t.Errorf("shared state %s, want %s", got, want)
	}
	set, err := Parse([]protocol.State{*global}, true, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if got := (Log{LSN: 32, Number: 1<<60 + 1, System: "7", Timeline: 3}); *set.Log != got {
		t.Errorf("log %+v, want %+v", *set.Log, got)
	}
	if got := set.Find(other); !reflect.DeepEqual(got, &Ctid{Filenode: 5, Then: &Follow{From: 9}}) {
		t.Errorf("%#v", got)
	}
	if got := string(marshal(orders, set.Find(orders))); !strings.Contains(got, `"from":"0/8"`) {
		t.Errorf("%s", got)
	}
}

// While streams are left behind, the shared position is theirs, and the others say themselves how far they are.
func TestLedgerLeavesStreamsBehind(t *testing.T) {
	late, whole := protocol.StreamDescriptor{Name: "late"}, protocol.StreamDescriptor{Name: "whole"}
	begun := protocol.StreamDescriptor{Name: "begun"}
	l := NewLedger(&Log{LSN: 0x10, Number: 16, Sent: Sent{To: 0x18, XID: 7}}, map[protocol.StreamDescriptor]Stream{
		orders: &Follow{From: 0x8}, whole: &Whole{}, begun: &Ctid{Then: &Follow{From: 0x40}},
	})
	l.LeaveBehind(Log{LSN: 0x10, Sent: Sent{To: 0x18, XID: 7}}, map[protocol.StreamDescriptor]Stream{
		late: &Follow{From: 0x8},
	})
	set, err := Parse([]protocol.State{*l.Log(Log{LSN: 0x30, Number: 99})}, true, "")
	if err != nil {
		t.Fatal(err)
	}
	if set.Log.LSN != 0x10 || set.Log.Number != 99 || set.Log.Sent != (Sent{To: 0x18, XID: 7}) || set.Reached() != 0x40 {
		t.Errorf("log %+v, reached %s", set.Log, set.Reached())
	}
	for d, want := range map[protocol.StreamDescriptor]pglogrepl.LSN{late: 0x8, orders: 0x30, begun: 0x40} {
		if got := Followed(set.Find(d)); got == nil || got.From != want {
			t.Errorf("%s: %+v, want from %s", d.Name, got, want)
		}
	}
	if l.Needed(0x30) != 0x10 || l.Needed(0x8) != 0x8 {
		t.Errorf("needed %s and %s", l.Needed(0x30), l.Needed(0x8))
	}
}
