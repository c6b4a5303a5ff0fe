package state

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
)

// A recording is an offset as Debezium wrote it, with what it had delivered and what was in the log; see
// testdata/README.md.
type recording struct {
	Debezium, What, Key, Value string
	Delivered                  []pglogrepl.LSN
	Transactions               []struct {
		XID     uint32
		Changes []pglogrepl.LSN
		End     pglogrepl.LSN
	}
}

// due is which changes a reader reads that goes on from log, as the server and the reader of the log choose them: of
// the transactions that end beyond the position, all but what had been sent of the first.
func (r *recording) due(log *Log) []pglogrepl.LSN {
	var due []pglogrepl.LSN
	sent := log.Sent
	for _, tx := range r.Transactions {
		if tx.End <= log.LSN {
			continue
		}
		for i, at := range tx.Changes {
			alone := (i == 0 || tx.Changes[i-1] != at) && (i == len(tx.Changes)-1 || tx.Changes[i+1] != at)
			if sent.XID != tx.XID || at > sent.To || at == sent.To && !alone {
				due = append(due, at)
			}
		}
		sent = Sent{}
	}
	return due
}

// From where Debezium stopped, what it had not delivered is due, all of it, and nothing else: but for rows of one COPY
// that have one place in the log, of which the offset does not say how many it had delivered.
func TestOffsetsOfDebezium(t *testing.T) {
	file, err := os.Open("testdata/offsets.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	versions := map[string]int{}
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		versions[r.Debezium]++
		name := fmt.Sprintf("Debezium %s, %s", r.Debezium, r.What)
		_, database, _ := strings.Cut(strings.TrimSuffix(r.Key, `"}]`), `{"server":"`)
		log, _, err := parseLog(sharedOf(t, r.Key, r.Value), database)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var all []pglogrepl.LSN
		for _, tx := range r.Transactions {
			all = append(all, tx.Changes...)
		}
		want := all[len(r.Delivered):]
		if strings.Contains(r.What, "COPY") {
			want = all[len(r.Delivered)-2:]
		}
		if got := r.due(log); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: from %+v the changes at %v are due, want %v", name, log, got, want)
		}
	}
	if err := lines.Err(); err != nil || len(versions) < 3 {
		t.Errorf("recordings of versions %v, %v; want three of them", versions, err)
	}
}

// sharedOf is a shared_state as Airbyte's connector writes it.
func sharedOf(t *testing.T, key, value string) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(map[string]any{"state": map[string]string{key: value}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOffsetKeys(t *testing.T) {
	const (
		plain   = `["shop",{"server":"shop"}]`
		wrapped = `{"schema":null,"payload":["shop",{"server":"shop"}]}`
		broken  = `["shop",{"server":"shop"}]}`
	)
	offset := func(lsn int) string { return fmt.Sprintf(`{"transaction_id":null,"lsn":%d,"txId":5,"ts_usec":1}`, lsn) }
	for _, test := range []struct {
		offsets  map[string]any
		database string
		want     pglogrepl.LSN
		says     string
	}{
		{map[string]any{plain: offset(7)}, "shop", 7, ""},
		{map[string]any{wrapped: offset(7)}, "shop", 7, ""},
		{map[string]any{broken: offset(7)}, "shop", 7, ""},
		{map[string]any{plain: json.RawMessage(offset(7))}, "shop", 7, ""},
		{map[string]any{plain: offset(7), wrapped: offset(5), broken: offset(4)}, "shop", 7, ""},
		{map[string]any{`["a_b.c-d",{"server":"a_b.c-d"}]`: offset(7)}, "a b.c-d", 7, ""},
		{map[string]any{`["a b",{"server":"a b"}]`: offset(7)}, "a b", 7, ""},
		{map[string]any{plain: offset(7), `["x",{"server":"x"}]`: offset(9)}, "shop", 7, ""},
		{map[string]any{plain: offset(7)}, "other", 0, "of database shop, and other is configured"},
		{map[string]any{`["a b",{"server":"a b"}]`: offset(7), `["a_b",{"server":"a_b"}]`: offset(8)}, "a b", 0, "several"},
		{map[string]any{"shop": offset(7)}, "shop", 0, "not of the form"},
		{map[string]any{plain: "{}"}, "shop", 0, "no lsn"},
		{map[string]any{plain: nil}, "shop", 0, "empty"},
		{map[string]any{plain: `{"lsn":-1}`}, "shop", 0, "parse offset"},
		{map[string]any{plain: `{"lsn":7,"snapshot":true,"last_snapshot_record":false}`}, "shop", 0, "middle of a snapshot"},
		{map[string]any{plain: `{"lsn":7,"snapshot":"INITIAL","last_snapshot_record":false}`}, "shop", 0, "middle of"},
		{map[string]any{plain: `{"lsn":7,"snapshot":true,"last_snapshot_record":true}`}, "shop", 7, ""},
		{map[string]any{plain: `{"lsn":9,"lsn_proc":9,"lsn_commit":7,"txId":3}`}, "shop", 7, ""},
		{map[string]any{plain: `{"lsn":18446744073709551615}`}, "shop", 1<<64 - 1, ""},
	} {
		text, err := json.Marshal(map[string]any{"state": test.offsets})
		if err != nil {
			t.Fatal(err)
		}
		log, _, err := parseLog(text, test.database)
		switch {
		case test.says == "" && (err != nil || log.LSN != test.want):
			t.Errorf("%s: %+v, %v; want %d", text, log, err, test.want)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: error %v does not say %q", text, err, test.says)
		}
	}
}

// What the streams of a GLOBAL state of Airbyte's connector say.
func TestStreamsOfAirbyteWithALog(t *testing.T) {
	const (
		key   = `["shop",{"server":"shop"}]`
		still = `{"transaction_id":null,"lsn":8,"txId":5,"ts_usec":1}`
		moved = `{"lsn_proc":8,"messageType":"INSERT","lsn_commit":8,"lsn":8,"txId":5,"ts_usec":1}`
		named = `"stream_name":"orders","stream_namespace":"public"`
	)
	follow, again := &Follow{From: 8}, &Ctid{Then: &Follow{From: 8}}
	half := &Ctid{Filenode: 5, Done: Blocks{{0, 3}}, Tuple: 4, Then: follow}
	for _, test := range []struct {
		offset, text string
		want         Stream
	}{
		{moved, `{` + named + `,"cursor_field":["_ab_cdc_lsn"]}`, follow},
		{moved, `{` + named + `,"cursor_field":[]}`, follow},
		{moved, `{` + named + `,"cursor_field":["id"],"cursor":null}`, follow},
		{moved, `{` + named + `}`, again},
		{moved, `{}`, again},
		{moved, `null`, again},
		{moved, ``, again},
		{moved, `{"version":3,"state_type":"ctid_based",` + named + `,"relation_filenode":5}`, follow},
		{moved, `{"version":2,"state_type":"ctid","ctid":"(3,4)","incremental_state":{},"relation_filenode":5}`, half},
		{still, `{"version":2,"state_type":"ctid","ctid":"(3,4)","incremental_state":{},"relation_filenode":5}`, half},
		{still, `{"version":3,"state_type":"ctid_based","ctid":"(3,4)","relation_filenode":5}`, half},
		{moved, `{"version":3,"state_type":"ctid_based","ctid":"(3,4)","relation_filenode":5}`, &Ctid{
			Filenode: 5, Then: follow,
		}},
	} {
		global := protocol.State{Type: protocol.TypeGlobal, Global: &protocol.GlobalState{
			Shared:  sharedOf(t, key, test.offset),
			Streams: []protocol.StreamState{{Descriptor: orders, State: json.RawMessage(test.text)}},
		}}
		set, err := Parse([]protocol.State{global}, true, "shop")
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got := set.Find(orders); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %#v, want %#v", test.text, got, test.want)
		}
		legacy := protocol.State{Type: protocol.TypeLegacy, Data: json.RawMessage(fmt.Sprintf(
			`{"cdc":true,"cdc_state":%s,"streams":[%s]}`, sharedOf(t, key, test.offset), test.text,
		))}
		if !strings.Contains(test.text, named) {
			continue
		}
		set, err = Parse([]protocol.State{legacy}, true, "shop")
		if err != nil || !reflect.DeepEqual(set.Find(orders), test.want) || set.Log.LSN != 8 {
			t.Errorf("%s in a LEGACY state: %#v, %v; want %#v", test.text, set.Find(orders), err, test.want)
		}
	}
}

// Without a position in the log only a stream of which something is said is more than a beginning.
func TestGlobalStatesWithoutAPosition(t *testing.T) {
	done := `{"stream_name":"orders","stream_namespace":"public","cursor_field":[]}`
	for _, test := range []struct {
		shared, text string
		want         Stream
	}{
		{``, `{}`, nil},
		{`null`, `null`, nil},
		{`{}`, ``, nil},
		{`{"state":{}}`, `{}`, nil},
		{`{"state":null}`, `{}`, nil},
		{`{}`, done, &Follow{}},
		{`{"version":2,"state_type":"cdc","lsn":"0/8"}`, `{}`, nil},
		{`{"version":2,"state_type":"cdc","lsn":"0/8"}`, `{"version":2,"stream_name":"orders"}`, nil},
	} {
		set, err := Parse([]protocol.State{{Type: protocol.TypeGlobal, Global: &protocol.GlobalState{
			Shared:  json.RawMessage(test.shared),
			Streams: []protocol.StreamState{{Descriptor: orders, State: json.RawMessage(test.text)}},
		}}}, true, "shop")
		if err != nil {
			t.Errorf("%s with %s: %v", test.shared, test.text, err)
			continue
		}
		if got := set.Find(orders); !reflect.DeepEqual(got, test.want) && (got != nil || test.want != nil) {
			t.Errorf("%s with %s: %#v, want %#v", test.shared, test.text, got, test.want)
		}
	}
}

func TestLegacyStates(t *testing.T) {
	legacy := func(text string) protocol.State {
		return protocol.State{Type: protocol.TypeLegacy, Data: json.RawMessage(text)}
	}
	const stream = `{"stream_name":"orders","stream_namespace":"public","cursor_field":["id"],"cursor":"5"}`
	set, err := Parse([]protocol.State{legacy(`{"cdc":false,"streams":[` + stream + `]}`)}, false, "shop")
	if want := (&Cursor{Field: "id", Value: pointer("5")}); err != nil || !reflect.DeepEqual(set.Find(orders), want) {
		t.Errorf("%#v, %v; want %#v", set.Find(orders), err, want)
	}
	// Beside a state of today it is the same once more.
	set, err = Parse([]protocol.State{
		legacy(`{"cdc":false,"streams":[` + stream + `]}`),
		streamOf("orders", "public", `{"state_type":"xmin","xmin_xid_value":3}`),
	}, false, "shop")
	if want := (&Xmin{Bound: 3}); err != nil || !reflect.DeepEqual(set.Find(orders), want) {
		t.Errorf("%#v, %v; want %#v", set.Find(orders), err, want)
	}
	for _, test := range []struct {
		text   string
		global bool
		says   string
	}{
		{`{"cdc":false,"streams":[` + stream + `]}`, true, "another replication method"},
		{`{"cdc":true,"cdc_state":{},"streams":[]}`, false, "another replication method"},
		{`{"cursor":5}`, false, "neither streams nor cdc_state"},
		{`{"streams":5}`, false, "parse state"},
		{`{"streams":[{"cursor":"5"}]}`, false, "no stream_name"},
		{`{"streams":[5]}`, false, "parse state"},
	} {
		_, err := Parse([]protocol.State{legacy(test.text)}, test.global, "shop")
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v does not say %q", test.text, err, test.says)
		}
	}
}

// version2 is what version 2 of Airbyte's connector asks of a state: which keys, of which types.
var version2 = map[string]map[string]func(any) bool{
	typeCursor: {
		"cursor_field": func(v any) bool {
			list, ok := v.([]any)
			return ok && len(list) == 1 && isText(list[0])
		},
		"cursor":              func(v any) bool { return v == nil || isText(v) },
		"cursor_record_count": func(v any) bool { return v == nil || isNumber(v) },
	},
	typeXmin: {"num_wraparound": isNumber, "xmin_xid_value": isNumber, "xmin_raw_value": isNumber},
	typeCtid: {
		"ctid": func(v any) bool {
			var block, tuple int64
			n, err := fmt.Sscanf(fmt.Sprint(v), "(%d,%d)", &block, &tuple)
			return err == nil && n == 2
		},
		"relation_filenode": isNumber,
		"incremental_state": func(v any) bool { _, ok := v.(map[string]any); return ok },
	},
}

func isText(v any) bool { _, ok := v.(string); return ok }

func isNumber(v any) bool { _, ok := v.(float64); return ok }

// complaint is what is wrong with a state by the rules of version 2; "" if it is one.
func complaint(s map[string]any) string {
	kind, _ := s["state_type"].(string)
	keys, ok := version2[kind]
	if s["version"] != 2.0 || !ok || !isText(s["stream_name"]) || !isText(s["stream_namespace"]) {
		return fmt.Sprintf("version %v, state_type %q", s["version"], kind)
	}
	for key, fits := range keys {
		if !fits(s[key]) {
			return fmt.Sprintf("%s: %v", key, s[key])
		}
	}
	if then, ok := s["incremental_state"].(map[string]any); ok && len(then) > 0 {
		return complaint(then)
	}
	return ""
}

// Whoever goes back to Airbyte's connector takes states of Standard and Xmin along.
func TestStatesAreVersion2(t *testing.T) {
	moved := &Cursor{Field: "id", Value: pointer("5"), Count: 1}
	all := map[string]Stream{
		"begun by Airbyte": &Ctid{Filenode: 1, Done: Blocks{{0, 3}}, Tuple: 4, Then: moved, Moved: moved},
	}
	for name, s := range states() {
		switch s.state.(type) {
		case *Ctid, *Cursor, *Xmin:
			all[name] = s.state
		}
	}
	for name, s := range all {
		var loose map[string]any
		if err := json.Unmarshal(marshal(orders, s), &loose); err != nil {
			t.Fatal(err)
		}
		if wrong := complaint(loose); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	if len(all) < 8 {
		t.Errorf("%d states, want one of every kind", len(all))
	}
}
