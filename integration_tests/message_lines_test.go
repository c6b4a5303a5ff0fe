package integration

import (
	"strings"
	"testing"
)

// good are lines of every kind that a reader of connectors takes, and below each what makes it one that none should.
var good = []struct {
	line   string
	broken [][2]string // an old text and a new one
}{
	{
		`{"type":"RECORD","record":{"stream":"t","namespace":"public","emitted_at":1700000000123,"data":{"id":1}}}`,
		[][2]string{
			{`"RECORD"`, `"Record"`},
			{`{"type":"RECORD",`, `{`},
			{`"record":{`, `"records":{`},
			{`"t"`, `""`},
			{`"stream":"t",`, ``},
			{`"public"`, `""`},
			{`"public"`, `null`},
			{`{"id":1}`, `{}`},
			{`{"id":1}`, `[]`},
			{`{"id":1}`, `{"id":1,"id":1}`},
			{`1700000000123`, `1700000000.5`},
			{`"emitted_at":1700000000123,`, ``},
			{`{"id":1}}}`, `{"id":1}}}{}`},
			{`"id"`, "\"\x85\""},
			{`"id"`, "\"\u0085\""},
			{`"id"`, "\"\u2028\""},
			{`"id"`, "\"\u2029\""},
			{`"id"`, "\"\x7f\""},
			{`{"id":1}`, `{"id":NaN}`},
			{`"data"`, `"meta":{"changes":[{"field":"id","change":"LOST","reason":"X"}]},"data"`},
			{`"id":1`, `"id":"` + strings.Repeat("x", 20_000_000) + `"`},
		},
	},
	{
		`{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"t","namespace":"public"},` +
			`"stream_state":{"a":1}},"sourceStats":{"recordCount":3.0}}}`,
		[][2]string{
			{`"STREAM"`, `"LEGACY"`},
			{`"type":"STREAM",`, ``},
			{`"type":"STREAM"`, `"type":"STREAM","data":{}`},
			{`3.0`, `3`},
			{`3.0`, `-1.0`},
			{`3.0`, `"3.0"`},
			{`,"sourceStats":{"recordCount":3.0}`, ``},
			{`{"recordCount":3.0}`, `{}`},
			{`{"a":1}`, `"a"`},
			{`{"a":1}`, `null`},
			{`"stream_state"`, `"state"`},
			{`"STREAM"`, `"GLOBAL"`},
			{`"name":"t",`, ``},
		},
	},
	{
		`{"type":"STATE","state":{"type":"GLOBAL","global":{"shared_state":{},"stream_states":[]},` +
			`"sourceStats":{"recordCount":0.0}}}`,
		[][2]string{{`"shared_state":{},`, ``}, {`,"stream_states":[]`, ``}, {`"shared_state":{}`, `"shared_state":null`}},
	},
	{
		`{"type":"LOG","log":{"level":"INFO","message":"m"}}`,
		[][2]string{{`INFO`, `NOTICE`}, {`INFO`, `info`}, {`"level":"INFO",`, ``}, {`,"message":"m"`, ``}},
	},
	{
		`{"type":"TRACE","trace":{"type":"ERROR","emitted_at":1.0,"error":{"message":"m","failure_type":"config_error"}}}`,
		[][2]string{
			{`"emitted_at":1.0,`, ``},
			{`"message":"m",`, ``},
			{`"m"`, `""`},
			{`,"failure_type":"config_error"`, ``},
			{`config_error`, `user_error`},
			{`"ERROR"`, `"ESTIMATE"`},
		},
	},
	{
		`{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1,"stream_status":{"stream_descriptor":` +
			`{"name":"t","namespace":"public"},"status":"STARTED"}}}`,
		[][2]string{{`STARTED`, `DONE`}, {`,"status":"STARTED"`, ``}, {`"public"`, `null`}, {`"t"`, `""`}},
	},
	{
		`{"type":"CONNECTION_STATUS","connectionStatus":{"status":"FAILED","message":"m"}}`,
		[][2]string{{`"m"`, `""`}, {`,"message":"m"`, ``}, {`FAILED`, `FAILURE`}, {`connectionStatus`, `connection_status`}},
	},
	{
		`{"type":"CATALOG","catalog":{"streams":[{"name":"t","namespace":"public","json_schema":{"type":"object",` +
			`"properties":{"id":{"type":"number","airbyte_type":"integer"},"l":{"type":"array","items":{"type":"string"}}}},` +
			`"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":false,"is_resumable":true}]}}`,
		[][2]string{
			{`"t"`, `""`},
			{`"public"`, `""`},
			{`"namespace":"public",`, ``},
			{`"object"`, `"array"`},
			{`"type":"object",`, ``},
			{`["full_refresh","incremental"]`, `["incremental","full_refresh"]`},
			{`["full_refresh","incremental"]`, `[]`},
			{`["full_refresh","incremental"]`, `["incremental"]`},
			{`"type":"object"`, `"type":"object","required":["id"]`},
			{`"type":"object"`, `"type":"object","additionalProperties":false`},
			{`{"type":"string"}`, `{"$ref":"#/a"}`},
			{`{"type":"string"}`, `{"type":"string","not":{}}`},
			{`,"items":{"type":"string"}`, ``},
			{`"number"`, `"integer64"`},
			{`{"type":"number","airbyte_type":"integer"}`, `{"allOf":[{"type":"number"}]}`},
			{`"source_defined_cursor":false,`, ``},
		},
	},
	{
		`{"type":"SPEC","spec":{"connectionSpecification":{"type":"object","properties":{}}}}`,
		[][2]string{{`"object"`, `"array"`}, {`"type":"object",`, ``}, {`connectionSpecification`, `specification`}},
	},
}

// The harness takes no line that breaks the protocol, and what it is to find in every run's output, it would find:
// fields that are missing, empty or of another type, characters that cut lines, records without data or too large,
// LEGACY states, counts without a decimal point, streams without a namespace, with incremental first or with keywords
// in their schema that not everybody knows, such as required.
func TestLinesThatBreakTheProtocol(t *testing.T) {
	t.Parallel()
	for _, kind := range good {
		if _, err := parse([]byte(kind.line)); err != nil {
			t.Errorf("%s: %v", kind.line, err)
		}
		for _, change := range kind.broken {
			line := strings.Replace(kind.line, change[0], change[1], 1)
			if _, err := parse([]byte(line)); line == kind.line || err == nil {
				t.Errorf("%s is taken", shortened([]byte(line)))
			}
		}
	}
}
