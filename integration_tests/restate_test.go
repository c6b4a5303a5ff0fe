package integration

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// readStates makes table t of three rows and view seen of it, reads both, and gives the states.
func readStates(t *testing.T, db *database) (input, []json.RawMessage) {
	t.Helper()
	db.exec(`CREATE TABLE t (id int, version int); INSERT INTO t VALUES (1, 1), (2, 1), (3, 1);
		CREATE VIEW seen AS SELECT * FROM t`)
	config := db.config(nil)
	in := input{config: config, catalog: discover(t, config).configure("full_refresh")}
	r := run(t, "read", in).ok()
	return in, r.lastState()
}

// withSync is a configured catalog as JSON with another sync_id for each stream; nil leaves it out.
func withSync(t *testing.T, catalog any, id any) any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(text(t, catalog), &fields); err != nil {
		t.Fatal(err)
	}
	for _, s := range fields["streams"].([]any) {
		s := s.(map[string]any)
		if s["sync_id"] = id; id == nil {
			delete(s, "sync_id")
		}
	}
	return fields
}

// A stream that an earlier attempt of the same sync has finished is not read again; another sync wants it anew.
func TestFinishedStreams(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in, states := readStates(t, db)
	catalog := in.catalog
	in.state = states
	for _, test := range []struct {
		name    string
		sync    any
		records int
	}{{"the same sync", 101, 0}, {"another sync", 102, 3}, {"no sync_id", nil, 3}} {
		in.catalog = withSync(t, catalog, test.sync)
		r := run(t, "read", in).ok()
		for _, stream := range []string{"t", "seen"} {
			if n := len(r.records(stream)); n != test.records {
				t.Errorf("%s: %d records of %s, want %d", test.name, n, stream, test.records)
			}
			expectStatuses(t, r, stream, "STARTED RUNNING COMPLETE")
		}
	}
	// A state without a sync_id belongs to none, and neither does one with 1: PyAirbyte gives it to every sync.
	for _, of := range []any{nil, 1} {
		in.catalog, in.state = withSync(t, catalog, of), nil
		in.state = run(t, "read", in).ok().lastState()
		for _, sync := range []any{101, 1, nil} {
			in.catalog = withSync(t, catalog, sync)
			r := run(t, "read", in).ok()
			if n, seen := len(r.records("t")), len(r.records("seen")); n != 3 || seen != 3 {
				t.Errorf("a state with sync_id %v, sync_id %v: %d and %d records, want 3", of, sync, n, seen)
			}
		}
	}
}

// A state as platforms change it: fields added, the namespace taken away, one stream reset.
func TestStatesOfPlatforms(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in, states := readStates(t, db)
	change := func(stream string, edit func(state, inner, descriptor map[string]any)) []any {
		var changed []any
		for _, text := range states {
			var s map[string]any
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			inner := s["stream"].(map[string]any)
			descriptor := inner["stream_descriptor"].(map[string]any)
			if descriptor["name"] == stream {
				edit(s, inner, descriptor)
			}
			changed = append(changed, s)
		}
		return changed
	}
	for name, test := range map[string]struct {
		state   any
		records int // of t; seen is finished in every case
	}{
		"fields added": {change("t", func(s, inner, d map[string]any) {
			stats := map[string]any{"recordCount": 3}
			maps.Copy(s, map[string]any{"id": 7, "partition_id": "p", "destinationStats": stats, "data": nil})
			inner["later"], d["later"] = []int{1}, nil
			inner["stream_state"].(map[string]any)["later"] = map[string]any{"a": 1}
		}), 0},
		"no namespace":   {change("t", func(_, _, d map[string]any) { delete(d, "namespace") }), 0},
		"null namespace": {change("t", func(_, _, d map[string]any) { d["namespace"] = nil }), 0},
		"null state": {change("t", func(_, inner, _ map[string]any) {
			inner["stream_state"] = nil
		}), 3},
		"no state": {change("t", func(_, inner, _ map[string]any) { delete(inner, "stream_state") }), 3},
		"empty state": {change("t", func(_, inner, _ map[string]any) {
			inner["stream_state"] = map[string]any{}
		}), 3},
		"of an unknown stream": {change("t", func(_, _, d map[string]any) { d["name"] = "other" }), 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := in
			in.state = test.state
			r := run(t, "read", in).ok()
			if n := len(r.records("t")); n != test.records {
				t.Errorf("%d records of t, want %d", n, test.records)
			}
			if n := len(r.records("seen")); n != 0 {
				t.Errorf("%d records of seen, want none", n)
			}
		})
	}
	for _, empty := range []string{"[]", "{}", "", "null", `[{"type":"LEGACY","data":{}}]`} {
		in.state = empty
		if n := len(run(t, "read", in).ok().records("t")); n != 3 {
			t.Errorf("state %q: %d records of t, want 3", empty, n)
		}
	}
}

// A state that nobody can read is an error that names the stream; it is never taken for none.
func TestMalformedStates(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in, _ := readStates(t, db)
	pass := func(fields string) string { return `{"version":2,"state_type":"ctid",` + fields + `}` }
	const before = `{"type":"STREAM","stream":{"stream_descriptor":{"name":"t","namespace":"public"},"stream_state":`
	good := pass(`"ctid":"(0,0)","relation_filenode":1`)
	for name, inner := range map[string]string{
		"a number":              `5`,
		"a text":                `"x"`,
		"a list":                `[]`,
		"unknown type":          `{"version":2,"state_type":"wal"}`,
		"no filenode":           pass(`"ctid":"(0,0)"`),
		"no ctid":               pass(`"relation_filenode":1`),
		"ctid without brackets": pass(`"ctid":"0,0","relation_filenode":1`),
		"ctid of words":         pass(`"ctid":"(a,b)","relation_filenode":1`),
		"ctid below zero":       pass(`"ctid":"(-1,0)","relation_filenode":1`),
		"ctid above all":        pass(`"ctid":"(4294967296,0)","relation_filenode":1`),
		"ctid with more":        pass(`"ctid":"(0,0)) OR (1=1","relation_filenode":1`),
		"range backwards":       pass(`"ctid":"(0,0)","relation_filenode":1,"ranges":[[9,5]]`),
		"range below zero":      pass(`"ctid":"(0,0)","relation_filenode":1,"ranges":[[-5,9]]`),
		"range of words":        pass(`"ctid":"(0,0)","relation_filenode":1,"ranges":[["a","b"]]`),
		"finished too early":    pass(`"ctid":"(7,65535)","relation_filenode":1,"finished":true`),
		"filenode a text":       pass(`"ctid":"(0,0)","relation_filenode":"x"`),
		"twice":                 good + `}},` + before + good,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := in
			in.state = "[" + before + inner + `}}]`
			r := run(t, "read", in)
			if e := r.failed("config_error"); !strings.Contains(e.Message, "public.t") {
				t.Errorf("the error does not name the stream: %s", e.Message)
			}
			if len(r.records("t"))+len(r.records("seen")) > 0 {
				t.Error("records came nevertheless")
			}
		})
	}
	for name, state := range map[string]string{
		"not JSON": `[{`, "a number": `5`, "unknown type": `[{"type":"OTHER"}]`, "no content": `[{"type":"STREAM"}]`,
		"global": `[{"type":"GLOBAL","global":{"shared_state":{"state_type":"cdc","lsn":"0/1"},"stream_states":[]}}]`,
		"legacy": `[{"type":"LEGACY","data":{"cdc":false,"streams":[{"cursor":"5"}]}}]`,
	} {
		in.state = state
		if e := run(t, "read", in).failed("config_error"); !strings.Contains(e.Message, "tate") {
			t.Errorf("%s: %s", name, e.Message)
		}
	}
}
