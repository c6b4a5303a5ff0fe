package integration

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	fieldLimit  = "SOURCE_FIELD_SIZE_LIMITATION"
	recordLimit = "SOURCE_RECORD_SIZE_LIMITATION"
)

// changes are a record's changes by field: "NULLED reason".
func (r *record) changes() map[string]string {
	found := map[string]string{}
	for _, c := range r.Meta.Changes {
		found[c.Field] += c.Change + " " + c.Reason
	}
	return found
}

// expectNulled says which fields of a record must be null for their size, and which reason each has; every other is
// there.
func (r *record) expectNulled(t *testing.T, want map[string]string) {
	t.Helper()
	got := r.changes()
	for field, value := range r.Data {
		reason := want[field]
		if reason != "" {
			reason = "NULLED " + reason
		}
		if (string(value) == "null") != (reason != "") || got[field] != reason {
			t.Errorf("%s: %.20s with change %q, want change %q", field, value, got[field], reason)
		}
	}
	if len(got) != len(want) {
		t.Errorf("changes %q, want %q", got, want)
	}
}

// A text of 200 MB is null, with the reason; the sync goes on, and the memory has grown by the text once and
// most.
func TestHugeField(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const size = 200 << 20
	db.exec(fmt.Sprintf(`CREATE TABLE t (id int PRIMARY KEY, v text, pad text);
		INSERT INTO t VALUES (1, 'before', ''), (2, repeat('x', %d), '');
		INSERT INTO t SELECT g, 'after', repeat('y', 1000) FROM generate_series(3, 1000) AS g`, size))
	config := db.config(map[string]any{"max_db_connections": 1})
	p := start(t, "read", input{config: config, catalog: discover(t, config).configure("full_refresh")})
	p.until(func(m message) bool { return m.Record != nil && string(m.Record.Data["id"]) == "3" })
	peak := p.memory() // the rows that follow fill the pipe: the process waits for its reader
	limit := int64(size + 64<<20)
	if raced {
		limit *= 4 // the race detector keeps notes of every byte
	}
	if peak == 0 || peak > limit {
		t.Errorf("memory has grown to %d MB over a text of %d MB", peak>>20, size>>20)
	}
	t.Logf("memory has grown to %d MB", peak>>20)
	records := p.wait().ok().records("t")
	if len(records) != 1000 {
		t.Fatalf("%d records, want 1000", len(records))
	}
	records[0].expectNulled(t, nil)
	records[1].expectNulled(t, map[string]string{"v": fieldLimit})
	records[999].expectNulled(t, nil)
}

// A row that the server cannot send, since it has more than 1 GB, comes without the fields that are too large in any
// case; the rows beside it come once, as they are.
func TestRowThatCannotBeSent(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	lz4 := db.value(`SELECT coalesce(max('COMPRESSION lz4'), '') FROM pg_settings
		WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)`) // much faster, from version 14 on
	db.exec(`CREATE TABLE t (id int PRIMARY KEY, version int, a text ` + lz4 + `, n int, b bytea,
			"C d" varchar ` + lz4 + `) WITH (fillfactor = 10);
		INSERT INTO t SELECT g, g - 1000000000, 'a', g, '\x0102', 'c' FROM generate_series(1, 300) AS g;
		INSERT INTO t VALUES (301, 301, repeat(repeat('x', 1000), 540000), 7, NULL, ''), (302, 302, 'é', 8, '\x', NULL);
		UPDATE t SET "C d" = repeat(repeat('y', 1000), 540000) WHERE id = 301; UPDATE t SET n = n WHERE id = 302;
		CREATE INDEX ON t (version); ANALYZE t (version)`)
	settings := db.config(map[string]any{"max_db_connections": 1})
	in := input{config: settings, catalog: discover(t, settings).configure("incremental").cursor(t, "t", "version")}
	for _, rows := range []int{302, 4} { // by blocks, then by the cursor, where the row of the value before comes twice
		r := run(t, "read", in).ok()
		records := r.records("t")
		if len(records) != rows {
			t.Fatalf("%d records, want %d", len(records), rows)
		}
		records[0].expectNulled(t, nil)
		large := records[rows-2]
		if string(large.Data["n"]) != "7" || string(large.Data["b"]) != "null" {
			t.Errorf("n is %s, b %s", large.Data["n"], large.Data["b"])
		}
		delete(large.Data, "b") // NULL in the table as well
		large.expectNulled(t, map[string]string{"a": fieldLimit, "C d": fieldLimit})
		if got := string(records[rows-1].Data["a"]) + string(records[rows-1].Data["b"]); got != `"é""\\x"` {
			t.Errorf("the row behind it has %s", got)
		}
		if raced {
			return // each read takes the server seconds; there is nothing new for the race detector in the others
		}
		in.state = r.lastState()
		db.exec("UPDATE t SET version = id + 1000 WHERE id >= 300")
	}
	// The log does not have the large values of an update: they are looked up.
	db.exec("CREATE PUBLICATION pub FOR TABLE t")
	c := &capture{database: db, settings: settings}
	settings["replication_method"] = map[string]any{"method": "CDC", "replication_slot": c.slot(), "publication": "pub"}
	c.catalog = discover(t, settings).configure("incremental").selectColumns(t, "t", "id")
	c.keep(c.read(nil).ok())
	c.catalog = discover(t, settings).configure("incremental").selectColumns(t, "t", "id", "a", "n", "C d")
	db.exec("UPDATE t SET n = 9 WHERE id >= 301")
	records := c.sync().records("t")
	if len(records) != 2 {
		t.Fatalf("%d records from the log, want 2", len(records))
	}
	records[0].expectNulled(t, map[string]string{"a": fieldLimit, "C d": fieldLimit})
	if string(records[1].Data["a"]) != `"é"` || len(records[1].Meta.Changes) > 0 {
		t.Errorf("the row behind it: %s, changes %+v", records[1].Data["a"], records[1].Meta.Changes)
	}
}

// The limits by default: 16 million bytes of JSON in a field, 20 million characters in a record.
func TestSizeLimitsByDefault(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE TABLE t (id int, a text, b text, c text, d bytea);
INSERT INTO t (id, a) VALUES (1, repeat('x', 15999998)), (2, repeat('x', 15999999)), (3, repeat('"', 7999999)),
  (4, repeat('"', 8000000));
INSERT INTO t (id, a, b, c) VALUES (5, repeat('x', 7000000), repeat('y', 8000000), repeat('z', 6000000)),
  (6, repeat('🙂', 3900000), repeat('🙂', 3900000), repeat('🙂', 2000000));
INSERT INTO t (id, a, d) VALUES (7, 'a', decode(repeat('ab', 7999997), 'hex')),
  (8, 'a', decode(repeat('ab', 7999998), 'hex'));`)
	r := refresh(t, db.config(nil)).ok()
	want := map[string]map[string]string{
		"1": {}, "2": {"a": fieldLimit}, "3": {}, "4": {"a": fieldLimit}, "5": {"b": recordLimit}, "6": {},
		"7": {}, "8": {"d": fieldLimit},
	}
	for _, rec := range r.records("t") {
		id := string(rec.Data["id"])
		for _, column := range []string{"a", "b", "c", "d"} {
			if string(rec.Data[column]) == "null" && want[id][column] == "" {
				delete(rec.Data, column) // NULL in the table as well
			}
		}
		t.Run("row "+id, func(t *testing.T) { rec.expectNulled(t, want[id]) })
	}
	if n := len(r.records("t")); n != len(want) {
		t.Errorf("%d records, want %d", n, len(want))
	}
	for _, line := range r.lines {
		if n := len(utf16.Encode([]rune(string(line)))); n >= 20_000_000 {
			t.Errorf("a line of %d characters: %s", n, shortened(line[:100]))
		}
	}
}

// A record above the limit loses its largest fields, one after the other, until it fits; never its key, and none that
// need not go.
func TestRecordLimit(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE TABLE t (key text PRIMARY KEY, a text, b text, c text, n int);
INSERT INTO t VALUES ('fits', repeat('a', 500), repeat('b', 500), repeat('c', 500), 1),
  ('one', repeat('a', 500), repeat('b', 1500), repeat('c', 600), 1),
  ('two', repeat('a', 1300), repeat('b', 1200), repeat('c', 1100), 1),
  (repeat('k', 1900), repeat('a', 100), repeat('b', 200), repeat('c', 300), 1);`)
	r := refresh(t, db.config(map[string]any{"max_record_characters": 2500, "max_field_bytes": 1_000_000})).ok()
	want := map[string]map[string]string{
		`"fits"`: nil, `"one"`: {"b": recordLimit}, `"two"`: {"a": recordLimit, "b": recordLimit},
		`"` + strings.Repeat("k", 1900) + `"`: {"c": recordLimit, "b": recordLimit},
	}
	if n := len(r.records("t")); n != len(want) {
		t.Errorf("%d records, want %d", n, len(want))
	}
	for _, rec := range r.records("t") {
		key := string(rec.Data["key"])
		fields, ok := want[key]
		if !ok {
			t.Fatalf("a record with key %.20s", key)
		}
		t.Run(key[:4], func(t *testing.T) { rec.expectNulled(t, fields) })
	}
	for _, line := range r.lines {
		if len(line) > 2500 && strings.Contains(string(line), `"RECORD"`) {
			t.Errorf("a record of %d characters", len(line))
		}
	}
}

func TestFieldLimit(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE TABLE t (key text PRIMARY KEY, a text, b int[], c jsonb);
INSERT INTO t VALUES (repeat('k', 500), repeat('a', 98), ARRAY[1], '{}'), ('2', repeat('a', 99), NULL, NULL),
  ('3', '', (SELECT array_agg(g) FROM generate_series(1, 1000) AS g), jsonb_build_object('v', repeat('j', 500)));`)
	r := refresh(t, db.config(map[string]any{"max_field_bytes": 100})).ok()
	for _, rec := range r.records("t") {
		switch key := string(rec.Data["key"]); key {
		case `"2"`:
			if rec.changes()["a"] != "NULLED "+fieldLimit || len(rec.Meta.Changes) != 1 {
				t.Errorf("key 2: changes %+v", rec.Meta.Changes)
			}
		case `"3"`:
			rec.expectNulled(t, map[string]string{"b": fieldLimit, "c": fieldLimit})
		default:
			rec.expectNulled(t, nil)
		}
	}
	if n := len(r.records("t")); n != 3 {
		t.Errorf("%d records, want 3", n)
	}
}

// Memory does not depend on the number of rows.
func TestMemoryIsFlat(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE TABLE few (id int, v text, at timestamptz);
		CREATE TABLE many (LIKE few);
		INSERT INTO few SELECT g, 'value ' || g, now() FROM generate_series(1, 100000) AS g;
		INSERT INTO many SELECT g, 'value ' || g, now() FROM generate_series(1, 1000000) AS g;`)
	config := db.config(map[string]any{"max_db_connections": 2})
	peaks := map[string]int64{}
	for table, rows := range map[string]int{"few": 100_000, "many": 1_000_000} {
		c := newTally(t, input{config: config, catalog: discover(t, config).configure("full_refresh", table)}, rows)
		c.end()
		if c.records != rows {
			t.Errorf("%s: %d records, want %d", table, c.records, rows)
		}
		peaks[table] = c.peak
	}
	t.Logf("%d MB for 100,000 rows, %d MB for 1,000,000", peaks["few"]>>20, peaks["many"]>>20)
	if peaks["few"] == 0 || peaks["many"] > peaks["few"]+peaks["few"]/2+16<<20 {
		t.Errorf("%d bytes for 100,000 rows, %d for 1,000,000", peaks["few"], peaks["many"])
	}
}
