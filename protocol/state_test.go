package protocol

import (
	"encoding/json"
	"testing"
)

func TestParseStates(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty file", "", "null"},
		{"blank", " \n", "null"},
		{"null", "null", "null"},
		{"no states", "[]", "[]"},
		{"empty object", "{}", "null"},
		{"empty legacy state", `[{"type":"LEGACY","data":{}}]`, "[]"},
		{
			"stream with what platforms add",
			`[{"id":7,"type":"STREAM","stream":{"stream_descriptor":{"name":"t","namespace":null},"stream_state":{"a":1}},` +
				`"sourceStats":{"recordCount":3},"destinationStats":{"recordCount":3.0},"partition_id":"x"}]`,
			`[{"type":"STREAM","stream":{"stream_descriptor":{"name":"t"},"stream_state":{"a":1}},` +
				`"sourceStats":{"recordCount":3.0}}]`,
		},
		{
			"stream that is reset", `[{"type":"STREAM","stream":{"stream_descriptor":{"name":"t"},"stream_state":null}}]`,
			`[{"type":"STREAM","stream":{"stream_descriptor":{"name":"t"},"stream_state":null}}]`,
		},
		{
			"global", `[{"type":"GLOBAL","global":{"shared_state":{"lsn":"0/1"},"stream_states":[]}}]`,
			`[{"type":"GLOBAL","global":{"shared_state":{"lsn":"0/1"},"stream_states":[]}}]`,
		},
		{"bare legacy object", `{"cdc":false,"streams":[]}`, `[{"type":"LEGACY","data":{"cdc":false,"streams":[]}}]`},
		{
			"bare state", `{"type":"GLOBAL","global":{"stream_states":[]}}`,
			`[{"type":"GLOBAL","global":{"stream_states":[]}}]`,
		},
	} {
		states, err := ParseStates([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := json.Marshal(states)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%s:\n got  %s\n want %s", c.name, got, c.want)
		}
	}
	for _, text := range []string{
		"x", `"x"`, `[1]`, `[{"type":"STREAM"}]`, `[{"type":"GLOBAL","global":null}]`, `[{"type":"X"}]`, `[{]`, `{"a":`,
	} {
		if states, err := ParseStates([]byte(text)); err == nil {
			t.Errorf("%s was read as %v", text, states)
		}
	}
}

func FuzzParseStates(f *testing.F) {
	f.Add([]byte(`[{"type":"STREAM","stream":{"stream_descriptor":{"name":"t"},"stream_state":{}}}]`))
	f.Add([]byte(`{"data":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		states, err := ParseStates(text)
		for _, s := range states {
			if err == nil && (s.Type == TypeStream && s.Stream == nil || s.Type == TypeGlobal && s.Global == nil) {
				t.Errorf("state without content: %+v", s)
			}
		}
	})
}
