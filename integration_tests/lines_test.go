package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// LOG_LEVEL says from which level on there are LOG messages; everything else comes at every level.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	in.config.(map[string]any)["unknown"] = 1                                    // an INFO
	in.config.(map[string]any)["ssl_mode"] = map[string]any{"mode": "verify-ca"} // a WARN: ssl is false
	levels := []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
	for setting, level := range map[string]string{
		"": "INFO", "LOG_LEVEL=": "INFO", "LOG_LEVEL=nonsense": "INFO", "LOG_LEVEL=INFO": "INFO", "LOG_LEVEL=info": "INFO",
		"LOG_LEVEL=WARN": "WARN", "LOG_LEVEL=warning": "WARN", "LOG_LEVEL=ERROR": "ERROR", "LOG_LEVEL=FATAL": "FATAL",
		"LOG_LEVEL=DEBUG": "DEBUG", "LOG_LEVEL=Trace": "TRACE",
	} {
		in.env = []string{"OTHER=1", setting}
		r := run(t, "read", in)
		r.expectAnswer("read", setting)
		for i, l := range levels {
			n := len(r.logs(l))
			wanted := i >= slices.Index(levels, level)
			if n > 0 && !wanted || n == 0 && wanted && (l == "INFO" || l == "WARN") {
				t.Errorf("%q: %d logs of level %s", setting, n, l)
			}
		}
	}
}

var replaced = regexp.MustCompile("\ufffd+")

// The bytes of a SQL_ASCII database need not be text at all. Each line of the output is one all the same, and what is
// not UTF-8 is replaced and marked.
func TestBytesThatAreNoText(t *testing.T) {
	t.Parallel()
	db := newDB(t, "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	db.exec(`CREATE TABLE t (id int PRIMARY KEY, v text, list text[], doc json, code "char");
		SET client_encoding = 'SQL_ASCII'; SET standard_conforming_strings = on`)
	for i, bytes := range []string{`caf\351`, `\200`, `\377\376`, `\355\240\200`, `\302`, `a\302\205b`, `\340\200\200`} {
		db.exec(fmt.Sprintf(`INSERT INTO t SELECT %d, v, ARRAY[v, NULL, 'x'], ('{"k":"' || v || '"}')::json, '\%o'::"char"
			FROM (SELECT E'%s' AS v) AS one`, i, 0o200+i, bytes))
	}
	r := refresh(t, db.config(nil)).ok()
	want := []string{"caf?", "?", "?", "?", "?", "a\u0085b", "?"}
	for i, rec := range r.records("t") {
		var v string
		if err := json.Unmarshal(rec.Data["v"], &v); err != nil {
			t.Fatal(err)
		}
		// Whether a run of invalid bytes becomes one character or several is not laid down.
		if got := replaced.ReplaceAllString(v, "?"); got != want[i] {
			t.Errorf("row %d: %q, want %q", i, v, want[i])
		}
		marked := slices.ContainsFunc(rec.Meta.Changes, func(c change) bool { return c.Field == "v" })
		if marked != strings.Contains(want[i], "?") {
			t.Errorf("row %d: changes %v", i, rec.Meta.Changes)
		}
	}
	if n := len(r.records("t")); n != len(want) {
		t.Errorf("%d records, want %d", n, len(want))
	}
}

// Rows of a megabyte, which no buffer holds, come whole from several connections at once.
func TestParallelRowsOfAMegabyte(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tables := []string{"a", "b", "c"}
	for _, table := range tables {
		db.exec(fmt.Sprintf("CREATE TABLE %s (id int, v text); INSERT INTO %[1]s SELECT g, repeat('%[1]s', 1000000) "+
			"FROM generate_series(1, 8) AS g", table))
	}
	config := db.config(map[string]any{"max_db_connections": len(tables)})
	in := input{config: config, catalog: discover(t, config).configure("full_refresh"), pipe: smallPipe}
	r := run(t, "read", in).ok()
	turns := 0 // how often a record is not of the stream of the one before
	for i, m := range r.messages[1:] {
		if before := r.messages[i]; m.Record != nil && before.Record != nil && m.Record.Stream != before.Record.Stream {
			turns++
		}
	}
	if turns == 0 {
		t.Error("the tables were read one after the other")
	}
	for _, table := range tables {
		whole := `"` + strings.Repeat(table, 1_000_000) + `"`
		if n := len(r.records(table)); n != 8 {
			t.Errorf("%s: %d records, want 8", table, n)
		}
		for _, v := range r.values(table, "v") {
			if v != whole {
				t.Errorf("%s: a value of %d characters: %s", table, len(v), shortened([]byte(v)))
			}
		}
	}
}

// nasty is every character that some reader of lines or of JSON trips over, but NUL, which PostgreSQL does not store.
func nasty() string {
	text := `"\/'</script>{"type":"STATE"}` + "\x7f\u0085\u00a0\u2028\u2029\ufeff\ufffe\U0010ffff\U0001f600e\u0301\u202e"
	for c := rune(1); c < 0xA0; c++ {
		if unicode.IsControl(c) {
			text += string(c)
		}
	}
	return text + "\n" + `{"type":"STATE","state":{"type":"STREAM"}}` + "\r\n"
}

// No data, no name and no message of the server makes two lines of one.
func TestLinesStayWhole(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const injected = "\n{\"type\":\"STATE\",\"state\":{\"type\":\"STREAM\"}}\n\u0085\u2028\x1e\x7f\u009f"
	column, table := "c"+injected[:20]+"\u2028", "t\n\u0085\"{}"
	db.exec(fmt.Sprintf("CREATE TABLE %s (id int, %s text, list text[], doc jsonb)", quoted(table), quoted(column)))
	db.exec(fmt.Sprintf("INSERT INTO %s VALUES (1, $1, ARRAY[$2, NULL], to_jsonb($3::text))", quoted(table)),
		nasty(), nasty(), nasty())
	db.exec(fmt.Sprintf(`CREATE FUNCTION loud() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
		RAISE WARNING '%[1]s'; RAISE NOTICE '%[1]s'; RETURN 1; END $f$;
		CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION '%[1]s'; END $f$;
		CREATE VIEW loud AS SELECT loud() AS id; CREATE VIEW broken AS SELECT broken() AS id`, injected))
	r := refresh(t, db.config(nil))
	r.failed("config_error")
	expectStatuses(t, r, "loud", "STARTED RUNNING COMPLETE")
	expectStatuses(t, r, "broken", "STARTED RUNNING INCOMPLETE")
	records := r.records(table)
	if len(records) != 1 {
		t.Fatalf("%d records, want 1", len(records))
	}
	var value, doc string
	var list []*string
	for field, v := range map[string]any{column: &value, "list": &list, "doc": &doc} {
		if err := json.Unmarshal(records[0].Data[field], v); err != nil {
			t.Fatalf("field %q: %v", field, err)
		}
	}
	var inner string
	if err := json.Unmarshal([]byte(doc), &inner); err != nil {
		t.Fatal(err)
	}
	if value != nasty() || len(list) != 2 || *list[0] != nasty() || list[1] != nil || inner != nasty() {
		t.Errorf("values %q, %v, %q; want %q", value, list, inner, nasty())
	}
}
