package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Column lists and row filters hold for the first pass as they do for the log.
func TestListsAndFilters(t *testing.T) {
	t.Parallel()
	if server.Version < 150000 {
		t.Logf("%s has neither", server)
		return
	}
	c := newCapture(t, `
CREATE TABLE listed (id int PRIMARY KEY, shown text, hidden text);
CREATE TABLE filtered (id int PRIMARY KEY, active bool, "o'clock" text);
ALTER TABLE filtered REPLICA IDENTITY FULL;
INSERT INTO listed VALUES (1, 's', 'h');
INSERT INTO filtered VALUES (1, true, 'x'), (2, false, 'x'), (3, NULL, 'x'), (4, true, 'it''s');
CREATE PUBLICATION pub FOR TABLE listed (id, shown), filtered WHERE (active AND "o'clock" <> 'it''s')`)
	r := c.first()
	expectList(t, r.changes("listed"), `+ {"id":1,"shown":"s"}`)
	expectList(t, r.changes("filtered"), `+ {"active":true,"id":1,"o'clock":"x"}`)
	c.exec(`INSERT INTO listed VALUES (2, 't', 'i'); UPDATE listed SET hidden = 'j' WHERE id = 1;
		DELETE FROM listed WHERE id = 2`)
	c.exec(`INSERT INTO filtered VALUES (5, true, 'y'), (6, false, 'y');
		UPDATE filtered SET active = true WHERE id = 2; UPDATE filtered SET active = false WHERE id = 1;
		UPDATE filtered SET "o'clock" = 'z' WHERE id IN (3, 5); DELETE FROM filtered WHERE id IN (5, 6)`)
	r = c.sync()
	expectList(t, r.changes("listed"), `+ {"id":2,"shown":"t"}`, `+ {"id":1,"shown":"s"}`, `- {"id":2}`)
	expectList(t, r.changes("filtered"),
		`+ {"active":true,"id":5,"o'clock":"y"}`, `+ {"active":true,"id":2,"o'clock":"x"}`,
		`- {"active":true,"id":1,"o'clock":"x"}`, `+ {"active":true,"id":5,"o'clock":"z"}`,
		`- {"active":true,"id":5,"o'clock":"z"}`)
	c.again(r)
	// A column that joins the list is looked up for what happened before.
	c.exec("INSERT INTO listed VALUES (3, 'u', 'before')")
	c.exec("ALTER PUBLICATION pub SET TABLE listed, filtered")
	c.exec("INSERT INTO listed VALUES (4, 'v', 'after')")
	expectList(t, c.sync().changes("listed"), `+ {"hidden":"before","id":3,"shown":"u"}`,
		`+ {"hidden":"after","id":4,"shown":"v"}`)
}

// A publication of everything, or of a schema; what is published but not selected does not matter.
func TestPublicationsOfMany(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY);
CREATE TABLE s.other (id int PRIMARY KEY); CREATE UNLOGGED TABLE s.unlogged (id int PRIMARY KEY);
CREATE PUBLICATION everything FOR ALL TABLES`)
	c.settings["schemas"] = []string{"public", "s"}
	c.first("public.t", "s.t")
	c.exec(`INSERT INTO s.other SELECT generate_series(1, 1000); INSERT INTO s.t VALUES (1); INSERT INTO t VALUES (2);
		CREATE TABLE s.late (id int PRIMARY KEY); INSERT INTO s.late VALUES (1); INSERT INTO s.unlogged VALUES (1)`)
	r := c.sync()
	expectList(t, r.changes("s.t"), `+ {"id":1}`)
	expectList(t, r.changes("public.t"), `+ {"id":2}`)
	// A table that is made later is a stream like any other.
	c.catalog = discover(t, c.settings).configure("incremental", "public.t", "s.late")
	r = c.read(c.state).ok()
	c.keep(r)
	expectList(t, r.changes("s.late"), `+ {"id":1}`)
	c.exec("INSERT INTO s.late VALUES (2)")
	c.exec("INSERT INTO t VALUES (3)")
	r = c.sync()
	expectList(t, r.changes("s.late"), `+ {"id":2}`)
	expectList(t, r.changes("public.t"), `+ {"id":3}`)
	c.catalog = discover(t, c.settings).configure("incremental", "public.t", "s.unlogged")
	if e := c.read(c.state).failed("config_error"); !has([]string{e.Message}, "s.unlogged", "SET LOGGED") {
		t.Errorf("error %s", e.Message)
	}
	if c.Version < 150000 {
		return
	}
	c.exec("CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA s")
	c.settings["replication_method"].(map[string]any)["publication"] = "of_schema"
	c.catalog = discover(t, c.settings).configure("incremental", "public.t", "s.t")
	c.exec("SELECT pg_drop_replication_slot($1)", c.settings["replication_method"].(map[string]any)["replication_slot"])
	c.slot()
	e := c.read(nil)
	got := e.failed("config_error")
	if !has([]string{got.Message}, "public.t", `ALTER PUBLICATION "of_schema" ADD TABLE`) {
		t.Errorf("error %s", got.Message)
	}
	expectList(t, e.changes("s.t"), `+ {"id":1}`)
}

// Names are names, whatever is in them.
func TestNamesInTheLog(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE SCHEMA "S ""s.'x";
CREATE TABLE "S ""s.'x"."T; DROP ""t""'" ("Id ""'\" int PRIMARY KEY, "_AB_cdc" text, "größe,(" text);
ALTER TABLE "S ""s.'x"."T; DROP ""t""'" ALTER "größe,(" SET STORAGE EXTERNAL;
INSERT INTO "S ""s.'x"."T; DROP ""t""'" VALUES (1, 'a', repeat('b', 3000));
CREATE PUBLICATION "Pub ""x"", 'y'" FOR ALL TABLES`)
	c.settings["schemas"] = []string{`S "s.'x`}
	name := `T; DROP "t"'`
	long := `"größe,(":"` + strings.Repeat("b", 3000) + `"`
	expectList(t, c.first().changes(name), `+ {"Id \"'\\":1,"_AB_cdc":"a",`+long+`}`)
	c.exec(`UPDATE "S ""s.'x"."T; DROP ""t""'" SET "_AB_cdc" = 'c'`)
	r := c.sync()
	expectList(t, r.changes(name), `+ {"Id \"'\\":1,"_AB_cdc":"c",`+long+`}`)
	c.exec(`DELETE FROM "S ""s.'x"."T; DROP ""t""'"`)
	expectList(t, c.sync().changes(name), `- {"Id \"'\\":1}`)
}

// A stream that the publication has not is an error of its own; the others are read to their end. When it comes back it
// is read from the beginning, since the log lacks what happened meanwhile; that deletes are among it is said.
func TestStreamOutsideThePublication(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);
CREATE PUBLICATION pub FOR TABLE a, b`)
	c.first()
	c.exec("ALTER PUBLICATION pub DROP TABLE b")
	c.exec("INSERT INTO a VALUES (2); INSERT INTO b VALUES (2); DELETE FROM b WHERE id = 1")
	r := c.read(c.state)
	r.failedIn("config_error", "public.b", "public.b", `ALTER PUBLICATION "pub" ADD TABLE "public"."b"`)
	expectList(t, r.changes("a"), `+ {"id":2}`)
	expectList(t, r.statuses("a"), "STARTED", "RUNNING", "COMPLETE")
	expectList(t, r.statuses("b"), "STARTED", "INCOMPLETE")
	if !has(r.logs("WARN"), "the log has nothing of what is written to the table", "public.b") {
		t.Errorf("warnings %q", r.logs("WARN"))
	}
	c.keep(r)
	c.exec("ALTER PUBLICATION pub ADD TABLE b")
	c.exec("INSERT INTO a VALUES (3); INSERT INTO b VALUES (3)")
	r = c.read(c.state).ok()
	c.keep(r)
	expectList(t, r.changes("a"), `+ {"id":3}`)
	expectList(t, r.changes("b"), `+ {"id":3}`, `+ {"id":2}`, `+ {"id":3}`)
	if !has(r.logs("WARN"), "Stream public.b is read from its beginning", "deleted", "reset the stream") {
		t.Errorf("warnings %q", r.logs("WARN"))
	}
	if r = c.sync(); len(r.logs("WARN")) > 0 {
		t.Errorf("warnings of a later sync: %q", r.logs("WARN"))
	}
}

// Streams that are read whole have their place next to those that the log keeps current.
func TestWholeStreamsNextToTheLog(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE unkeyed (id int); CREATE VIEW seen AS SELECT * FROM t;
INSERT INTO t VALUES (1, 'a'); INSERT INTO unkeyed VALUES (1), (1);
CREATE MATERIALIZED VIEW kept AS SELECT * FROM t;
CREATE PUBLICATION pub FOR TABLE t`)
	c.catalog = discover(t, c.settings).configure("full_refresh")
	c.catalog.find(t, "t").SyncMode = "incremental"
	c.catalog.selectColumns(t, "kept", "id")
	r := c.read(nil).ok()
	expectGlobal(t, r, "public.kept", "public.seen", "public.t", "public.unkeyed")
	for i := range c.catalog.Streams {
		c.catalog.Streams[i].SyncID = 2
	}
	c.exec("UPDATE t SET v = 'b'; INSERT INTO unkeyed VALUES (2)")
	r = c.read(r.lastState()).ok()
	expectList(t, r.changes("t"), `+ {"id":1,"v":"b"}`)
	expectList(t, r.changes("unkeyed"), `+ {"id":1}`, `+ {"id":1}`, `+ {"id":2}`)
	expectList(t, r.changes("seen"), `+ {"id":1,"v":"b"}`)
	expectGlobal(t, r, "public.kept", "public.seen", "public.t", "public.unkeyed")
	for _, stream := range []string{"seen", "unkeyed", "kept"} {
		if len(r.records(stream)) == 0 {
			t.Fatalf("%s: no records", stream)
		}
		data := r.records(stream)[0].Data
		_, lsn := data["_ab_cdc_lsn"]
		if _, deleted := data["_ab_cdc_deleted_at"]; lsn != (stream != "kept") || deleted != lsn {
			t.Errorf("%s: record %v", stream, data)
		}
	}
	// All of them whole.
	c.catalog.find(t, "t").SyncMode = "full_refresh"
	r = c.read(nil).ok()
	expectList(t, r.changes("t"), `+ {"id":1,"v":"b"}`)
	expectGlobal(t, r, "public.kept", "public.seen", "public.t", "public.unkeyed")
}

// expectGlobal: every state is for all streams together and names them.
func expectGlobal(t *testing.T, r *result, names ...string) {
	t.Helper()
	states := r.states()
	if len(states) == 0 {
		t.Error("no state")
	}
	for _, s := range states {
		if s.Global == nil {
			t.Fatalf("state %s is not GLOBAL", s.text)
		}
		var got []string
		for _, inner := range s.Global.Streams {
			got = append(got, inner.Descriptor.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("state of %v, want %v", got, names)
		}
		var shared struct {
			LSN  string `json:"lsn"`
			Type string `json:"state_type"`
		}
		if err := json.Unmarshal(s.Global.Shared, &shared); err != nil || shared.LSN == "" || shared.Type != "cdc" {
			t.Errorf("shared state %s: %v", s.Global.Shared, err)
		}
	}
}

// Messages of other kinds in the log are no changes.
func TestOtherMessages(t *testing.T) {
	t.Parallel()
	c := newCapture(t, "CREATE TABLE t (id int PRIMARY KEY)")
	c.first()
	origin := "origin " + c.Name
	c.exec("SELECT pg_logical_emit_message(true, 'p', 'in a transaction'), pg_logical_emit_message(false, 'p', 'at once')")
	c.exec("SELECT pg_replication_origin_create($1)", origin)
	conn := c.connect()
	do(t, conn, "SELECT pg_replication_origin_session_setup('"+origin+"')")
	do(t, conn, "BEGIN; SELECT pg_replication_origin_xact_setup('0/123', '2020-01-01'); INSERT INTO t VALUES (1); COMMIT")
	do(t, conn, "SELECT pg_replication_origin_session_reset(); SELECT pg_replication_origin_drop('"+origin+"')")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":1}`)
	c.again(r)
}

// The records of all streams together are numbered in the order of the changes.
func TestStreamsShareTheNumbers(t *testing.T) {
	t.Parallel()
	var tables strings.Builder
	for i := range 5 {
		fmt.Fprintf(&tables, "CREATE TABLE t%d (id int PRIMARY KEY);", i)
	}
	c := newCapture(t, tables.String())
	c.first()
	for i := range 20 {
		c.exec(fmt.Sprintf("INSERT INTO t%d VALUES (%d); INSERT INTO t%d VALUES (%[2]d + 100)", i%5, i, (i+1)%5))
	}
	r := c.sync() // which looks at the order
	if n := len(c.numbers(r)); n != 40 {
		t.Errorf("%d records, want 40", n)
	}
	c.again(r)
	expectGlobal(t, r, "public.t0", "public.t1", "public.t2", "public.t3", "public.t4")
}
