package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// configured is a configured catalog with one full refresh of each stream, given as JSON objects of an AirbyteStream's
// further fields.
func configuredJSON(streams ...string) string {
	for i, s := range streams {
		streams[i] = `{"sync_mode":"full_refresh","destination_sync_mode":"append","stream":{` + s + `,"json_schema":` +
			`{"type":"object","properties":{"id":{"type":"number"}}},"supported_sync_modes":["full_refresh"]}}`
	}
	return `{"streams":[` + strings.Join(streams, ",") + `]}`
}

// A catalog that asks for something unclear is refused as a whole, before anything is read.
func TestCatalogsThatAreRefused(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	const public = `"name":"t","namespace":"public"`
	good := configuredJSON(public)
	for what, c := range map[string]struct {
		catalog, want string
		stream        bool // the error has a descriptor
	}{
		"twice":              {configuredJSON(public, public), "public.t is in the configured catalog twice", true},
		"unknown sync mode":  {strings.Replace(good, "full_refresh", "INVALID", 1), `sync mode "INVALID"`, true},
		"other spelling":     {strings.Replace(good, "full_refresh", "Full_Refresh", 1), `sync mode "Full_Refresh"`, true},
		"no sync mode":       {strings.Replace(good, `"sync_mode":"full_refresh",`, "", 1), `sync mode ""`, true},
		"sync mode null":     {strings.Replace(good, `"full_refresh"`, "null", 1), `sync mode ""`, true},
		"sync mode a number": {strings.Replace(good, `"full_refresh"`, "1", 1), "does not hold a configured catalog", false},
		"no streams":         {`{"streams":[]}`, "has no streams", false},
		"streams null":       {`{"streams":null}`, "has no streams", false},
		"nothing":            {`{}`, "has no streams", false},
		"null":               {`null`, "has no streams", false},
		"a list":             {`[]`, "it must not be of the JSON type array", false},
		"a text":             {`"catalog"`, "does not hold a configured catalog", false},
		"stream a text":      {`{"streams":["t"]}`, "does not hold a configured catalog", false},
		"stream null":        {`{"streams":[null]}`, "has no name", false},
		"no stream":          {`{"streams":[{"sync_mode":"full_refresh"}]}`, "has no name", false},
		"empty name":         {configuredJSON(`"name":"","namespace":"public"`), "has no name", false},
		"name a number":      {configuredJSON(`"name":5`), `"streams.stream.name" must not be`, false},
		"from discover":      {`{"type":"CATALOG","catalog":{"streams":[{"name":"t"}]}}`, "has no streams", false},
	} {
		in.catalog = json.RawMessage(c.catalog)
		r := run(t, "read", in)
		e := r.failed("config_error")
		expectIn(t, what, e.Message, c.want)
		if c.stream != (e.Stream != nil && e.Stream.is("public.t")) || r.exit != 1 {
			t.Errorf("%s: exit code %d, the error is about %v", what, r.exit, e.Stream)
		}
		for _, m := range r.messages {
			if m.Log == nil && (m.Trace == nil || m.Trace.Error == nil) {
				t.Errorf("%s: a %s message", what, m.Type)
			}
		}
	}
}

// Everything that is wrong in a catalog is told at once.
func TestCatalogWithSeveralFaults(t *testing.T) {
	t.Parallel()
	catalog := configuredJSON(`"name":"a"`, `"name":"a"`, `"name":""`, `"name":"b","namespace":null`)
	i := strings.LastIndex(catalog, `{"sync_mode":"full_refresh"`)
	catalog = catalog[:i] + strings.Replace(catalog[i:], "full_refresh", "both", 1)
	in := input{
		config:  map[string]any{"host": "h", "port": 1, "database": "d", "username": "u"},
		catalog: json.RawMessage(catalog),
	}
	e := run(t, "read", in).failed("config_error")
	expectIn(t, "faults", e.Message, "Stream a is in the configured catalog twice", "has no name", `sync mode "both"`)
}

// Streams of one name in several schemas are told apart, in records, states and statuses.
func TestStreamsOfOneName(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE SCHEMA b; CREATE SCHEMA "public.b"; CREATE TABLE t (id int); CREATE TABLE b.t (id int);
		CREATE TABLE "public.b".t (id int); CREATE TABLE "b.t" (id int);
		INSERT INTO t VALUES (1); INSERT INTO b.t VALUES (2), (3); INSERT INTO "b.t" VALUES (4);
		INSERT INTO "public.b".t VALUES (5)`)
	config := db.config(map[string]any{"schemas": nil})
	catalog := discover(t, config).configure("full_refresh")
	in := input{config: config, catalog: catalog}
	r := run(t, "read", in).ok()
	got := map[streamName][]string{}
	for _, m := range r.messages {
		if m.Record != nil {
			got[m.Record.name()] = append(got[m.Record.name()], string(m.Record.Data["id"]))
		}
	}
	want := map[streamName][]string{
		{"t", "public"}: {"1"}, {"t", "b"}: {"2", "3"}, {"b.t", "public"}: {"4"}, {"t", "public.b"}: {"5"},
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("records %v, want %v", got, want)
	}
	// The state of one is not taken for another's: without it just that stream is read again.
	for i, name := range []streamName{{"t", "b"}, {"t", "public.b"}, {"b.t", "public"}} {
		in.state = slices.DeleteFunc(r.lastState(), func(text json.RawMessage) bool {
			var s state
			return json.Unmarshal(text, &s) != nil || s.Stream.Descriptor == name
		})
		again := run(t, "read", in).ok()
		for _, m := range again.messages {
			if m.Record != nil && m.Record.name() != name {
				t.Errorf("without the state of %s a record of %s came", name, m.Record.name())
			}
		}
		if n := len(again.values(name.String(), "id")); n == 0 {
			t.Errorf("case %d: no record of %s", i, name)
		}
	}
}

// A stream without a namespace is looked for in the configured schemas, and stays without one in every message.
func TestStreamsWithoutNamespace(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	db.exec("CREATE SCHEMA other; CREATE TABLE other.t (id int); CREATE TABLE other.o (id int); " +
		"INSERT INTO other.o VALUES (7)")
	for _, namespace := range []string{"", `,"namespace":null`, `,"namespace":""`} {
		in.catalog = json.RawMessage(configuredJSON(`"name":"t"` + namespace))
		r := run(t, "read", in).ok()
		r.expectAnswer("read", namespace)
		expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
		for _, m := range r.messages {
			if m.Record != nil && m.Record.Namespace != "" {
				t.Errorf("a record has namespace %q", m.Record.Namespace)
			}
		}
		in := in
		in.state = r.lastState()
		if n := len(run(t, "read", in).ok().records("t")); n != 2 {
			t.Errorf("after a whole sync: %d records, want 2", n)
		}
	}
	// Outside the configured schemas there is no such stream.
	in.catalog = json.RawMessage(configuredJSON(`"name":"o"`))
	run(t, "read", in).failedIn("config_error", "o")
}

// A catalog of very many streams, all but one of which are gone: the one is read, and the error stays readable.
func TestCatalogOfManyStreams(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	streams := []string{`"name":"t","namespace":"public"`}
	for i := range 2000 {
		streams = append(streams, fmt.Sprintf(`"name":"gone %d","namespace":"public"`, i))
	}
	in.catalog = json.RawMessage(configuredJSON(streams...))
	r := run(t, "read", in)
	e := r.failed("config_error")
	if ids := r.values("t", "id"); !slices.Equal(ids, []string{"1", "2"}) {
		t.Errorf("ids %v of the stream that is there", ids)
	}
	expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
	expectStatuses(t, r, "gone 1999", "STARTED INCOMPLETE")
	// Platforms cut messages at 50,000 characters.
	if n := max(len(e.Message), len(e.InternalMessage)); n > 50_000 {
		t.Errorf("the error has %d bytes", n)
	}
	expectIn(t, "many", e.Message, "public.gone 0", "more.")
}

// What is wrong with a state stops the sync before anything is read; it is never taken for no state.
func TestStatesThatAreRefused(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	const t1 = `{"type":"STREAM","stream":{"stream_descriptor":{"name":"t","namespace":"public"},"stream_state":`
	whole := `{"version":2,"state_type":"full_refresh"}}}`
	cursor := func(fields string) string {
		return `[` + t1 + `{"version":2,"state_type":"cursor_based",` + fields + `}}}]`
	}
	xmin := func(fields string) string { return `[` + t1 + `{"version":2,"state_type":"xmin",` + fields + `}}}]` }
	const global = `{"type":"GLOBAL","global":{"shared_state":{"state_type":"cdc","lsn":"0/1"},"stream_states":[]}}`
	for what, state := range map[string]string{
		"twice":                  `[` + t1 + whole + `,` + t1 + whole + `]`,
		"mixed":                  `[` + t1 + whole + `,` + global + `]`,
		"global":                 `[` + global + `]`,
		"global, bare":           global,
		"two global":             `[` + global + `,` + global + `]`,
		"no descriptor":          `[{"type":"STREAM","stream":{"stream_state":{}}}]`,
		"no name":                `[{"type":"STREAM","stream":{"stream_descriptor":{"namespace":"t"},"stream_state":{}}}]`,
		"name null":              `[{"type":"STREAM","stream":{"stream_descriptor":{"name":null},"stream_state":{}}}]`,
		"name a number":          `[{"type":"STREAM","stream":{"stream_descriptor":{"name":5},"stream_state":{}}}]`,
		"type a number":          `[{"type":5}]`,
		"unknown type":           `[{"type":"Stream","stream":{"stream_descriptor":{"name":"t"}}}]`,
		"no content":             `[{"type":"STREAM"}]`,
		"other content":          `[{"type":"STREAM","global":{"stream_states":[]}}]`,
		"a list in it":           `[[]]`,
		"cut off":                `[` + t1 + `{"version":2`,
		"more behind":            `[] []`,
		"a text":                 `"[]"`,
		"true":                   `true`,
		"old data":               `{"cdc":false,"streams":[{"stream_name":"t","stream_namespace":"public","cursor":"1"}]}`,
		"cursor of two fields":   cursor(`"cursor_field":["a","b"],"cursor":"1"`),
		"cursor of no field":     cursor(`"cursor":"1"`),
		"cursor field a text":    cursor(`"cursor_field":"id","cursor":"1"`),
		"cursor a number":        cursor(`"cursor_field":["id"],"cursor":1`),
		"negative count":         cursor(`"cursor_field":["id"],"cursor":"1","cursor_record_count":-1`),
		"xmin without value":     xmin(`"num_wraparound":0`),
		"negative xmin":          xmin(`"xmin_xid_value":-1`),
		"xmin above 64 bits":     xmin(`"xmin_xid_value":18446744073709551616`),
		"version a text":         xmin(`"xmin_xid_value":1,"version":"two"`),
		"number beyond a double": xmin(`"xmin_xid_value":1e999`),
	} {
		for _, mode := range []string{"full_refresh", "incremental"} {
			in.catalog = json.RawMessage(strings.Replace(configuredJSON(`"name":"t","namespace":"public",`+
				`"default_cursor_field":["id"]`), "full_refresh", mode, 1))
			in.state = state
			r := run(t, "read", in)
			expectIn(t, what, r.failed("config_error").Message, "tate")
			if n := len(r.records("t")); n > 0 || r.exit != 1 {
				t.Errorf("%s, %s: exit code %d, %d records", what, mode, r.exit, n)
			}
		}
	}
}

// States of streams that are not read are nobody's business, as long as they can be told apart.
func TestStatesOfOtherStreams(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	of := func(name, state string) string {
		return `{"type":"STREAM","stream":{"stream_descriptor":{"name":"` + name + `","namespace":"public"},"stream_state":` +
			state + `}}`
	}
	for what, state := range map[string]string{
		"one":          `[` + of("other", `{"state_type":"cursor_based","cursor_field":["id"],"cursor":"9"}`) + `]`,
		"null":         `[` + of("other", `null`) + `,` + of("t", `null`) + `]`,
		"empty":        `[` + of("other", `{}`) + `,` + of("t", `{}`) + `]`,
		"null element": `[null]`,
		"empty legacy": `[{"type":"LEGACY"},{"data":null},{"type":"LEGACY","data":{}}]`,
		"blanks":       " \n\t[ \n ] \r\n",
	} {
		in.state = state
		run(t, "read", in).expectAnswer("read", what)
	}
}

// A STREAM state was written by another method than the log.
func TestStreamStateForCDC(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	in.state = run(t, "read", in).ok().lastState()
	in.config = db.config(map[string]any{"replication_method": map[string]any{
		"method": "CDC", "replication_slot": "s", "publication": "p",
	}})
	expectIn(t, "STREAM", run(t, "read", in).failed("config_error").Message, "STREAM", "another replication method")
}
