package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A capture is a database whose changes are read from the log, sync after sync, as a platform would.
type capture struct {
	*database
	settings map[string]any // of the connector
	catalog  *configuredCatalog
	before   []json.RawMessage // the state that the last sync went on from
	state    []json.RawMessage
	number   uint64 // the greatest _ab_cdc_lsn so far
}

// newCapture makes a database with what the SQL makes, a publication called pub unless the SQL makes it, and a slot.
func newCapture(t *testing.T, sql string, options ...string) *capture {
	t.Helper()
	c := &capture{database: newDB(t, options...)}
	c.exec(sql)
	if c.value("SELECT count(*) FROM pg_publication") == "0" {
		c.exec("CREATE PUBLICATION pub FOR ALL TABLES")
	}
	c.settings = c.config(map[string]any{"replication_method": map[string]any{
		"method": "CDC", "replication_slot": c.slot(),
		"publication": c.value("SELECT pubname FROM pg_publication LIMIT 1"),
	}})
	return c
}

// slot makes a replication slot and gives its name.
func (c *capture) slot() string {
	c.t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, c.Name)
	c.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
	return name
}

// first configures streams as incremental (without names all) and makes the first sync.
func (c *capture) first(names ...string) *result {
	c.t.Helper()
	c.catalog = discover(c.t, c.settings).configure("incremental", names...)
	r := c.read(nil).ok()
	c.keep(r)
	c.number = max(0, slices.Max(append(c.numbers(r), 0)))
	return r
}

// sync reads what has changed since the last one. The numbers of the records have to rise.
func (c *capture) sync() *result {
	c.t.Helper()
	r := c.read(c.state).ok()
	for _, n := range c.numbers(r) {
		if n <= c.number {
			c.t.Errorf("_ab_cdc_lsn %d after %d", n, c.number)
		}
		c.number = n
	}
	c.keep(r)
	return r
}

// changed is the changes that SQL makes, as changes of the stream.
func (c *capture) changed(stream, sql string) []string {
	c.t.Helper()
	c.exec(sql)
	return c.sync().changes(stream)
}

// again reads the changes of the last sync once more, from the state before it: the records have to be the same.
func (c *capture) again(r *result) {
	c.t.Helper()
	second := c.read(c.before).ok()
	got, want := recordTexts(second), recordTexts(r)
	if !slices.Equal(got, want) {
		c.t.Errorf("read again: %d records, want %d: %q, want %q", len(got), len(want), difference(got, want),
			difference(want, got))
	}
}

// read runs the connector from a state.
func (c *capture) read(state []json.RawMessage) *result {
	c.t.Helper()
	in := input{config: c.settings, catalog: c.catalog}
	if state != nil {
		in.state = state
	}
	return run(c.t, "read", in)
}

func (c *capture) keep(r *result) { c.before, c.state = c.state, r.lastState() }

// numbers are the _ab_cdc_lsn of a run's records, in order.
func (c *capture) numbers(r *result) []uint64 {
	c.t.Helper()
	var all []uint64
	for _, m := range r.messages {
		if m.Record == nil || m.Record.Data["_ab_cdc_lsn"] == nil {
			continue
		}
		n, err := strconv.ParseUint(string(m.Record.Data["_ab_cdc_lsn"]), 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// recordTexts are a run's records, in order, without the time at which they were emitted.
func recordTexts(r *result) []string {
	var all []string
	for _, m := range r.messages {
		if m.Record != nil {
			data, _ := json.Marshal(m.Record.Data)
			all = append(all, fmt.Sprint(m.Record.name(), string(data), m.Record.Meta.Changes))
		}
	}
	return all
}

// changes are the records of a stream in short, in order: + or - for a row that is there or deleted, and its fields
// as a JSON object; what the connector adds is left out, and null fields of a deleted row are too. Behind the object
// stand the fields whose value could not be had.
func (r *result) changes(stream string) []string {
	r.t.Helper()
	found := []string{}
	for _, rec := range r.records(stream) {
		sign := "+ "
		if deleted := rec.Data["_ab_cdc_deleted_at"]; deleted != nil && string(deleted) != "null" {
			sign = "- "
		}
		data := maps.Clone(rec.Data)
		maps.DeleteFunc(data, func(field string, value json.RawMessage) bool {
			return strings.HasPrefix(field, "_ab_cdc_") || sign == "- " && string(value) == "null"
		})
		text, err := json.Marshal(data)
		if err != nil {
			r.t.Fatal(err)
		}
		line := sign + string(text)
		for _, c := range rec.Meta.Changes {
			line += fmt.Sprintf(" %s %s: %s", c.Field, c.Change, c.Reason)
		}
		found = append(found, line)
	}
	return found
}

// expectList compares two lists in order.
func expectList(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !slices.Equal(got, want) {
		list := func(lines []string) (text string) {
			for _, line := range lines {
				text += "\n  " + shortened([]byte(line))
			}
			return text
		}
		t.Errorf("got%s\nwant%s", list(got), list(want))
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO t VALUES (1, 'a'), (2, NULL)`)
	r := c.first("t")
	expectList(t, r.changes("t"), `+ {"id":1,"v":"a"}`, `+ {"id":2,"v":null}`)
	expectList(t, c.sync().changes("t"))
	// One call is one transaction.
	c.exec("INSERT INTO t VALUES (3, 'c'); INSERT INTO other VALUES (1); UPDATE t SET v = 'b' WHERE id = 2")
	c.exec("DELETE FROM t WHERE id = 1")
	c.exec(`INSERT INTO t VALUES (3, 'x'), (4, 'd"\') ON CONFLICT (id) DO UPDATE SET v = excluded.v`)
	r = c.sync()
	expectList(t, r.changes("t"), `+ {"id":3,"v":"c"}`, `+ {"id":2,"v":"b"}`, `- {"id":1}`, `+ {"id":3,"v":"x"}`,
		`+ {"id":4,"v":"d\"\\"}`)
	c.again(r)
	expectList(t, c.sync().changes("t"))
	// A row that changes several times within a transaction.
	expectList(t, c.changed("t", `INSERT INTO t VALUES (9, '1'); UPDATE t SET v = '2' WHERE id = 9;
		DELETE FROM t WHERE id = 9; INSERT INTO t VALUES (9, '3')`),
		`+ {"id":9,"v":"1"}`, `+ {"id":9,"v":"2"}`, `- {"id":9}`, `+ {"id":9,"v":"3"}`)
}

// Every statement that writes rows, and writes that triggers and foreign keys make.
func TestStatements(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO log (what) VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()`)
	c.first()
	expectList(t, c.changed("t", "INSERT INTO t SELECT n, 'r' || n FROM generate_series(1, 3) n"),
		`+ {"id":1,"v":"r1"}`, `+ {"id":2,"v":"r2"}`, `+ {"id":3,"v":"r3"}`)
	c.exec("INSERT INTO child VALUES (10, 1), (20, 2)")
	c.exec("UPDATE t SET v = u.v FROM (VALUES (1, 'from')) AS u (id, v) WHERE u.id = t.id")
	c.exec("DELETE FROM t WHERE id = 2")
	c.exec("UPDATE t SET id = 5 WHERE id = 1")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":1,"v":"from"}`, `- {"id":2}`, `- {"id":1}`, `+ {"id":5,"v":"from"}`)
	expectList(t, r.changes("child"), `+ {"id":10,"t":1}`, `+ {"id":20,"t":2}`, `- {"id":20}`, `+ {"id":10,"t":5}`)
	c.again(r)
	copyIn(t, c.database, "COPY t FROM STDIN", "6\tcopied\n7\t\\N\n8\tä\n")
	r = c.sync()
	expectList(t, r.changes("t"), `+ {"id":6,"v":"copied"}`, `+ {"id":7,"v":null}`, `+ {"id":8,"v":"ä"}`)
	expectList(t, r.changes("log"), `+ {"n":4,"what":"INSERT"}`, `+ {"n":5,"what":"INSERT"}`, `+ {"n":6,"what":"INSERT"}`)
	c.again(r)
	if c.Version >= 150000 {
		expectList(t, c.changed("t", `MERGE INTO t USING (VALUES (6, 'merged'), (7, 'gone'), (99, 'new')) AS s (id, v)
			ON s.id = t.id WHEN MATCHED AND s.v = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v
			WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)`),
			`+ {"id":6,"v":"merged"}`, `- {"id":7}`, `+ {"id":99,"v":"new"}`)
	}
}

// copyIn runs COPY … FROM STDIN.
func copyIn(t *testing.T, d *database, sql, text string) {
	t.Helper()
	conn := d.connect()
	if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(text), sql); err != nil {
		t.Fatal(err)
	}
}

// Rows of a COPY share one position in the log, and a sync can stop between transactions that follow closely.
func TestCopiedRowsAreNumbered(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	c.first()
	var rows strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&rows, "%d\t\\N\n", i)
	}
	copyIn(t, c.database, "COPY t FROM STDIN", rows.String())
	c.exec("UPDATE t SET v = 'x' WHERE id < 10")
	r := c.sync()
	if n := len(r.records("t")); n != 2010 {
		t.Errorf("%d records, want 2010", n)
	}
	c.again(r)
	c.exec("UPDATE t SET v = 'y' WHERE id < 10")
	if n := len(c.sync().records("t")); n != 10 {
		t.Errorf("%d records, want 10", n)
	}
}

// A transaction's changes come when it commits, in the order of the commits, whatever lies between them in the log.
func TestInterleavedTransactions(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'a'), (3, 'a')")
	c.first()
	early, late, never := c.connect(), c.connect(), c.connect()
	do(t, late, "BEGIN; UPDATE t SET v = 'late' WHERE id = 1")
	do(t, never, "BEGIN; DELETE FROM t WHERE id = 3")
	do(t, early, "BEGIN; UPDATE t SET v = 'early' WHERE id = 2; COMMIT")
	expectList(t, c.sync().changes("t"), `+ {"id":2,"v":"early"}`)
	do(t, early, "BEGIN; INSERT INTO t VALUES (4, 'early')")
	do(t, late, "UPDATE t SET v = 'later' WHERE id = 1; INSERT INTO t VALUES (5, 'late')")
	do(t, early, "COMMIT")
	do(t, late, "COMMIT")
	do(t, early, "UPDATE t SET v = 'last' WHERE id = 1")
	do(t, never, "ROLLBACK")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":4,"v":"early"}`, `+ {"id":1,"v":"late"}`, `+ {"id":1,"v":"later"}`,
		`+ {"id":5,"v":"late"}`, `+ {"id":1,"v":"last"}`)
	c.again(r)
}

// What does not commit is not there; what a savepoint takes back is not either.
func TestRollbacks(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	c.first()
	c.exec("BEGIN; INSERT INTO t VALUES (1); ROLLBACK")
	c.exec(`BEGIN; INSERT INTO t VALUES (2, 'a'); SAVEPOINT s; INSERT INTO t VALUES (3); SAVEPOINT deeper;
		UPDATE t SET v = 'b'; ROLLBACK TO s; INSERT INTO t VALUES (4, 'c'); SAVEPOINT kept; INSERT INTO t VALUES (5, 'd');
		RELEASE kept; COMMIT`)
	c.exec(`DO $$ BEGIN
		FOR i IN 10..12 LOOP
			BEGIN INSERT INTO t VALUES (i, 'sub'); IF i = 11 THEN RAISE 'no'; END IF;
			EXCEPTION WHEN raise_exception THEN NULL; END;
		END LOOP; END $$`)
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":2,"v":"a"}`, `+ {"id":4,"v":"c"}`, `+ {"id":5,"v":"d"}`,
		`+ {"id":10,"v":"sub"}`, `+ {"id":12,"v":"sub"}`)
	c.again(r)
	// Thousands of subtransactions, most of which do not survive.
	c.exec(`DO $$ BEGIN
		FOR i IN 100..3099 LOOP
			BEGIN INSERT INTO t VALUES (i, 'many'); IF i % 3 <> 0 THEN RAISE 'no'; END IF;
			EXCEPTION WHEN raise_exception THEN NULL; END;
		END LOOP; END $$`)
	if n := len(c.sync().records("t")); n != 1000 {
		t.Errorf("%d records, want 1000", n)
	}
}

// A prepared transaction counts when its second phase commits it.
func TestPreparedChanges(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY, v text)")
	c.first()
	kept, dropped := "kept "+c.Name, "dropped "+c.Name
	c.exec("BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION '" + kept + "'")
	c.exec("BEGIN; INSERT INTO t VALUES (2, 'prepared'); PREPARE TRANSACTION '" + dropped + "'")
	c.exec("INSERT INTO t VALUES (3, 'now')")
	expectList(t, c.sync().changes("t"), `+ {"id":3,"v":"now"}`)
	c.exec("ROLLBACK PREPARED '" + dropped + "'")
	c.exec("COMMIT PREPARED '" + kept + "'")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":1,"v":"prepared"}`)
	c.again(r)
}

// The columns that the connector adds: commit time by the server's clock, and the same for deletes.
func TestChangeMetadata(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE moments (id int, at timestamptz)")
	rows := c.first("t")
	if len(rows.records("t")) != 0 {
		t.Errorf("%d records of an empty table", len(rows.records("t")))
	}
	began := c.value("SELECT clock_timestamp()")
	c.exec("INSERT INTO t VALUES (1)")
	middle := c.value("SELECT clock_timestamp()")
	c.exec("DELETE FROM t")
	ended := c.value("SELECT clock_timestamp()")
	r := c.sync()
	if n := len(r.records("t")); n != 2 {
		t.Fatalf("%d records, want 2", n)
	}
	within := func(rec *record, field, from, to string) {
		t.Helper()
		var at string
		if err := json.Unmarshal(rec.Data[field], &at); err != nil || !shapes["timestamp_with_timezone"].MatchString(at) {
			t.Errorf("%s is %s", field, rec.Data[field])
		}
		if c.value("SELECT $1::timestamptz BETWEEN $2 AND $3", at, from, to) != "t" {
			t.Errorf("%s is %s, not between %s and %s", field, at, from, to)
		}
	}
	inserted, deleted := r.records("t")[0], r.records("t")[1]
	within(inserted, "_ab_cdc_updated_at", began, middle)
	within(deleted, "_ab_cdc_updated_at", middle, ended)
	within(deleted, "_ab_cdc_deleted_at", middle, ended)
	if got := inserted.Data["_ab_cdc_deleted_at"]; string(got) != "null" {
		t.Errorf("_ab_cdc_deleted_at of an insert is %s", got)
	}
	if !bytes.Equal(deleted.Data["_ab_cdc_updated_at"], deleted.Data["_ab_cdc_deleted_at"]) {
		t.Errorf("a delete was at %s and %s", deleted.Data["_ab_cdc_updated_at"], deleted.Data["_ab_cdc_deleted_at"])
	}
	// Just as many fields as were selected.
	c.catalog.selectColumns(t, "t", "id", "_ab_cdc_deleted_at")
	c.exec("INSERT INTO t VALUES (2)")
	r = c.sync()
	if text, _ := json.Marshal(r.records("t")[0].Data); string(text) != `{"_ab_cdc_deleted_at":null,"id":2}` {
		t.Errorf("record %s", text)
	}
}
