package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// toasted are columns of every kind that PostgreSQL moves out of the row when it is large, with SQL for such values:
// %d makes them differ.
var toasted = []struct{ typ, value string }{
	{"text", "repeat('ä%d', 3000)"},
	{"varchar", "repeat('v%d', 3000)"},
	{"jsonb", `jsonb_build_object('k%d', repeat('j', 6000), 'n', 1.10)`},
	{"json", `json_build_array(%d, repeat('j', 6000))`},
	{"text[]", `array_fill('t%d'::text, ARRAY[2000]) || NULL::text`},
	{"int8[]", `array_fill(%d::int8, ARRAY[1000])`},
	{"bytea", `decode(repeat('%02d', 6000), 'hex')`},
	{"numeric", `repeat('1%d', 6000)::numeric / 7`},
	{"numeric[]", `array_fill(%d.50::numeric, ARRAY[1000])`},
	{"uuid[]", `array_fill(md5('%d')::uuid, ARRAY[500])`},
	{"date[]", `array_fill('2024-02-28'::date + %d, ARRAY[1000])`},
	{"xml", `('<x>' || repeat('x%d', 3000) || '</x>')::xml`},
	{"bit varying", `repeat('1', 40000 + %d)::bit varying`},
	{"tsvector", `(SELECT string_agg('w%d' || g, ' ') FROM generate_series(1, 2000) g)::tsvector`},
}

// toastTable makes a table of all of these, with id and small, and rows with the ids of 1 to n.
func toastTable(name string, n int) string {
	sql := "CREATE TABLE " + name + " (id int PRIMARY KEY, small int"
	for i, c := range toasted {
		sql += fmt.Sprintf(", c%d %s", i, c.typ)
	}
	sql += ");"
	for i := range toasted {
		sql += fmt.Sprintf("ALTER TABLE %s ALTER c%d SET STORAGE EXTERNAL;", name, i)
	}
	for id := 1; id <= n; id++ {
		sql += fmt.Sprintf("INSERT INTO %s VALUES (%d, 0", name, id)
		for _, c := range toasted {
			sql += ", " + fmt.Sprintf(c.value, id)
		}
		sql += ");"
	}
	return sql
}

// A large value that does not change is not in the log. Records have it all the same, of every type.
func TestUnchangedToast(t *testing.T) {
	t.Parallel()
	for _, identity := range []string{"DEFAULT", "FULL"} {
		t.Run(identity, func(t *testing.T) {
			t.Parallel()
			c := newCapture(t, toastTable("t", 3)+"ALTER TABLE t REPLICA IDENTITY "+identity)
			rows := c.first().records("t")
			c.exec("UPDATE t SET small = 1")
			c.exec("UPDATE t SET id = 9, small = 2 WHERE id = 3")
			c.exec("UPDATE t SET small = 3, c0 = 'changed' WHERE id = 1")
			c.exec("INSERT INTO t (id, small, c0) VALUES (5, 5, repeat('n', 9000)); UPDATE t SET small = 6 WHERE id = 5")
			r := c.sync()
			records := r.records("t")
			// id of each record, and the row of the first pass that has its large values; 0: none
			want := []struct {
				id, small string
				row       int
			}{
				{"1", "1", 1},
				{"2", "1", 2},
				{"3", "1", 3},
				{"3", "", 3},
				{"9", "2", 3},
				{"1", "3", 1},
				{"5", "5", 0},
				{"5", "6", 0},
			}
			if len(records) != len(want) {
				t.Fatalf("%d records, want %d", len(records), len(want))
			}
			for n, w := range want {
				rec := records[n]
				if string(rec.Data["id"]) != w.id || w.small != "" && string(rec.Data["small"]) != w.small {
					t.Errorf("record %d: id %s, small %s, want %+v", n, rec.Data["id"], rec.Data["small"], w)
				}
				if w.small == "" || w.row == 0 {
					continue
				}
				for i, kind := range toasted {
					field := fmt.Sprintf("c%d", i)
					got, was := string(rec.Data[field]), string(rows[w.row-1].Data[field])
					switch {
					case identity == "DEFAULT" && n == 2: // the row has another key by now
						was = "null"
						if !slices.Contains(rec.Meta.Changes, change{field, "NULLED", "SOURCE_RETRIEVAL_ERROR"}) {
							t.Errorf("record %d: %s: changes %v", n, field, rec.Meta.Changes)
						}
					case i == 0 && (n == 5 || identity == "DEFAULT" && n == 0): // as new as it was when looked up
						was = `"changed"`
					}
					if got != was {
						t.Errorf("record %d: %s %s: %s, want %s", n, field, kind.typ, shortened([]byte(got)), shortened([]byte(was)))
					}
				}
			}
			if identity == "FULL" {
				c.again(r)
				for i := range toasted {
					field := fmt.Sprintf("c%d", i)
					if got, was := string(records[3].Data[field]), string(rows[2].Data[field]); got != was {
						t.Errorf("deleted row: %s is %s, want %s", field, shortened([]byte(got)), shortened([]byte(was)))
					}
				}
			}
		})
	}
}

// The values are looked up for many rows at a time.
func TestToastIsLookedUpInBatches(t *testing.T) {
	t.Parallel()
	const rows = 2500
	c := newCapture(t, fmt.Sprintf(`
CREATE TABLE "T ""o""" ("k'1" text, k2 timestamptz, small int, "big ""B""" text, PRIMARY KEY (k2, "k'1"));
ALTER TABLE "T ""o""" ALTER "big ""B""" SET STORAGE EXTERNAL;
INSERT INTO "T ""o""" SELECT 'k,"(' || n, '2024-01-01'::timestamptz + n * '1s'::interval, 0,
    'big' || n || repeat('x', 3000) FROM generate_series(1, %d) n`, rows))
	c.first()
	tap := newWiretap(t, c.Host, c.Port)
	c.settings["host"], c.settings["port"] = "127.0.0.1", tap.port
	expect := func(what string, most int) {
		t.Helper()
		before := lookups(tap)
		r := c.sync()
		if n := len(r.records(`T "o"`)); n != rows {
			t.Fatalf("%s: %d records, want %d", what, n, rows)
		}
		for _, rec := range r.records(`T "o"`) {
			n := strings.TrimSuffix(strings.TrimPrefix(string(rec.Data["k'1"]), `"k,\"(`), `"`)
			if !strings.HasPrefix(string(rec.Data[`big "B"`]), `"big`+n+"x") {
				t.Fatalf("%s: row %s has %s", what, n, shortened(rec.Data[`big "B"`]))
			}
		}
		if n := lookups(tap) - before; n == 0 || n > most {
			t.Errorf("%s: %d queries for %d rows, want at most %d", what, n, rows, most)
		}
	}
	c.exec(`UPDATE "T ""o""" SET small = 1`)
	expect("one transaction", 10)
	c.exec(fmt.Sprintf(`DO $$ BEGIN
		FOR i IN 1..%d LOOP UPDATE "T ""o""" SET small = 2 WHERE "k'1" = 'k,"(' || i; COMMIT; END LOOP; END $$`, rows))
	expect("a transaction for each", 20)
}

// Very large values are looked up few at a time.
func TestLargeToastInSmallBatches(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE "T ""o""" (id int PRIMARY KEY, small int, big text);
ALTER TABLE "T ""o""" ALTER big SET STORAGE EXTERNAL;
INSERT INTO "T ""o""" SELECT n, 0, repeat(chr(64 + n), 1000000) FROM generate_series(1, 24) n`)
	c.first()
	tap := newWiretap(t, c.Host, c.Port)
	c.settings["host"], c.settings["port"] = "127.0.0.1", tap.port
	c.exec(`UPDATE "T ""o""" SET small = 1`)
	records := c.sync().records(`T "o"`)
	if len(records) != 24 {
		t.Fatalf("%d records, want 24", len(records))
	}
	for i, rec := range records {
		want, _ := json.Marshal(strings.Repeat(string(rune(65+i)), 1_000_000))
		if string(rec.Data["big"]) != string(want) {
			t.Errorf("row %s has %s", rec.Data["id"], shortened(rec.Data["big"]))
		}
	}
	if n := lookups(tap); n < 3 || n > 10 {
		t.Errorf("%d queries for 24 MB", n)
	}
}

// lookups counts the queries by key.
func lookups(tap *wiretap) int {
	n := 0
	for _, sql := range tap.statements() {
		if strings.Contains(sql, `JOIN ONLY "public"."T ""o"""`) {
			n++
		}
	}
	return n
}

// A row that is gone by the time its value is looked up: the field is null and the record says why, and the change
// that took the row away follows.
func TestToastOfRowsThatAreGone(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, small int, big text, "o ""k" text);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
INSERT INTO t SELECT n, 0, repeat('x', 5000), 'o' FROM generate_series(1, 4) n`)
	c.first()
	c.exec("UPDATE t SET small = 1 WHERE id = 1")
	c.exec("DELETE FROM t WHERE id = 1")
	c.exec("UPDATE t SET small = 2 WHERE id = 2")
	c.exec("UPDATE t SET id = 20 WHERE id = 2")
	c.exec("UPDATE t SET small = 3 WHERE id = 3")
	c.exec("TRUNCATE t")
	c.exec("INSERT INTO t VALUES (3, 9, 'short', 'o')")
	r := c.sync()
	const gone = ` big NULLED: SOURCE_RETRIEVAL_ERROR`
	expectList(t, r.changes("t"), `+ {"big":null,"id":1,"o \"k":"o","small":1}`+gone, `- {"id":1}`,
		`+ {"big":null,"id":2,"o \"k":"o","small":2}`+gone, `- {"id":2}`, `+ {"big":null,"id":20,"o \"k":"o","small":2}`+gone,
		`+ {"big":"short","id":3,"o \"k":"o","small":3}`, `+ {"big":"short","id":3,"o \"k":"o","small":9}`)
	c.again(r)
}

// The large value's column is gone, or the whole table: what is still there is looked up.
func TestToastOfColumnsThatAreGone(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, small int, a text, b text);
ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
INSERT INTO t VALUES (1, 0, repeat('a', 5000), repeat('b', 5000));
CREATE TABLE renamed_key (LIKE t INCLUDING ALL);
INSERT INTO renamed_key SELECT * FROM t`)
	c.first()
	c.catalog.find(t, "renamed_key").DestinationSyncMode = "append"
	c.exec("UPDATE t SET small = 1; ALTER TABLE t DROP a; UPDATE t SET small = 2")
	c.exec(`UPDATE renamed_key SET small = 1; ALTER TABLE renamed_key RENAME id TO identity;
		UPDATE renamed_key SET small = 2`)
	r := c.sync()
	b := `"b":"` + strings.Repeat("b", 5000) + `"`
	expectList(t, r.changes("t"), `+ {`+b+`,"id":1,"small":1}`, `+ {`+b+`,"id":1,"small":2}`)
	// No row can be found by a key that is no more.
	records := r.changes("renamed_key")
	if len(records) != 2 || records[0] != `+ {"a":null,"b":null,"small":1} a NULLED: SOURCE_RETRIEVAL_ERROR b NULLED: `+
		`SOURCE_RETRIEVAL_ERROR` || !strings.Contains(records[1], b) {
		t.Errorf("renamed_key: %d: %s", len(records), shortened([]byte(strings.Join(records, "\n"))))
	}
}

// A damaged value is null, and stops neither its table nor the others.
func TestDamagedToast(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, small int, big text);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
INSERT INTO t SELECT n, 0, repeat('x', 3000) FROM generate_series(1, 3) n`)
	if !c.extension("pg_surgery") {
		return
	}
	c.first()
	c.exec("UPDATE t SET small = 1")
	toast := c.value("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 't'::regclass")
	chunks := c.value("SELECT array_agg(ctid) FROM " + toast + " WHERE chunk_id = (SELECT max(chunk_id) FROM " + toast +
		")")
	c.exec("SELECT heap_force_kill($1::regclass, $2::tid[])", toast, chunks)
	r := c.sync()
	big := `"big":"` + strings.Repeat("x", 3000) + `"`
	expectList(t, r.changes("t"), `+ {`+big+`,"id":1,"small":1}`, `+ {`+big+`,"id":2,"small":1}`,
		`+ {"big":null,"id":3,"small":1} big NULLED: SOURCE_RETRIEVAL_ERROR`)
	if !has(r.logs("WARN"), "cannot be looked up", "public.t", "missing chunk") {
		t.Errorf("no warning: %q", r.logs("WARN"))
	}
}

// A key may itself be large enough to be moved out of the row.
func TestToastedKey(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (k text PRIMARY KEY, small int, big text);
ALTER TABLE t ALTER k SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL;
INSERT INTO t VALUES (repeat('k', 2500), 0, repeat('b', 5000))`)
	c.first()
	c.exec("UPDATE t SET small = 1")
	c.exec("UPDATE t SET k = repeat('l', 2500)")
	c.exec("DELETE FROM t")
	c.exec("INSERT INTO t VALUES (repeat('l', 2500), 2, 'b')")
	k, l := `"k":"`+strings.Repeat("k", 2500)+`"`, `"k":"`+strings.Repeat("l", 2500)+`"`
	expectList(t, c.sync().changes("t"), `+ {"big":null,`+k+`,"small":1} big NULLED: SOURCE_RETRIEVAL_ERROR`,
		`- {`+k+`}`, `+ {"big":"b",`+l+`,"small":1}`, `- {`+l+`}`, `+ {"big":"b",`+l+`,"small":2}`)
}

// The log has no generated columns (before version 18, and then only if asked to): they are looked up as well.
func TestGeneratedColumns(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE unkeyed (n int, "o ""k" json, big text, twice int GENERATED ALWAYS AS (n * 2) STORED,
    size int GENERATED ALWAYS AS (length(big || ("o ""k"->>'a'))) STORED);
ALTER TABLE unkeyed ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
CREATE TABLE whole (LIKE t INCLUDING ALL);
ALTER TABLE whole REPLICA IDENTITY FULL;
INSERT INTO t VALUES (1, 1)`)
	expectList(t, c.first().changes("t"), `+ {"id":1,"n":1,"twice":2}`)
	const gone = " twice NULLED: SOURCE_RETRIEVAL_ERROR"
	row3, whole1, unkeyed2 := `+ {"id":3,"n":7,"twice":null}`+gone, `+ {"id":1,"n":1,"twice":null}`+gone, `- {"n":2}`
	deleted1 := `- {"id":1,"n":1}`
	if c.Version >= 180000 { // the server refuses to delete from a table whose identity is FULL unless it publishes them
		c.exec("ALTER PUBLICATION pub SET (publish_generated_columns = stored)")
		row3, whole1 = `+ {"id":3,"n":7,"twice":14}`, `+ {"id":1,"n":1,"twice":2}`
		deleted1, unkeyed2 = `- {"id":1,"n":1,"twice":2}`, `- {"n":2,"size":5001,"twice":4}`
	}
	c.exec("INSERT INTO t VALUES (2, 5), (3, 7), (4, NULL); DELETE FROM t WHERE id = 3; UPDATE t SET n = 10 WHERE id = 1")
	c.exec("INSERT INTO whole VALUES (1, 1), (2, 2); DELETE FROM whole WHERE id = 1")
	c.catalog.selectColumns(t, "unkeyed", "n", "twice", "size", "_ab_cdc_lsn", "_ab_cdc_deleted_at")
	c.exec(`INSERT INTO unkeyed VALUES (1, '{"a":"x"}', repeat('b', 5000)), (NULL, NULL, NULL)`)
	c.exec("UPDATE unkeyed SET n = 2 WHERE n = 1; DELETE FROM unkeyed")
	r := c.sync()
	expectList(t, r.changes("t"), `+ {"id":2,"n":5,"twice":10}`, row3, `+ {"id":4,"n":null,"twice":null}`, `- {"id":3}`,
		`+ {"id":1,"n":10,"twice":20}`)
	expectList(t, r.changes("whole"), whole1, `+ {"id":2,"n":2,"twice":4}`, deleted1)
	// Where no key tells rows apart they are computed, from the row as the change left it.
	expectList(t, r.changes("unkeyed"), `+ {"n":1,"size":5001,"twice":2}`, `+ {"n":null,"size":null,"twice":null}`,
		`+ {"n":2,"size":5001,"twice":4}`, `- {}`, unkeyed2)
	c.again(r)
}

// Of tables that inherit from each other each has its own rows, though keys may be the same.
func TestInheritedChanges(t *testing.T) {
	t.Parallel()
	c := newCapture(t, `
CREATE TABLE parent (id int PRIMARY KEY, small int, big text);
ALTER TABLE parent ALTER big SET STORAGE EXTERNAL;
CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (parent);
INSERT INTO child VALUES (1, 0, repeat('c', 3000), 1);
INSERT INTO parent VALUES (1, 0, repeat('p', 3000))`)
	parent, child := `"big":"`+strings.Repeat("p", 3000)+`"`, `"big":"`+strings.Repeat("c", 3000)+`"`
	r := c.first()
	expectList(t, r.changes("parent"), `+ {`+parent+`,"id":1,"small":0}`)
	expectList(t, r.changes("child"),
		`+ {`+child+`,"extra":1,"id":1,"small":0}`)
	c.exec("UPDATE parent SET small = 1") // both
	c.exec("INSERT INTO child VALUES (2, 2, 'x', 2)")
	r = c.sync()
	expectList(t, r.changes("parent"), `+ {`+parent+`,"id":1,"small":1}`)
	expectList(t, r.changes("child"),
		`+ {`+child+`,"extra":1,"id":1,"small":1}`, `+ {"big":"x","extra":2,"id":2,"small":2}`)
}

// A statement takes 65,535 parameters: of a wide table few rows fit into one.
func TestComputedInBatches(t *testing.T) {
	t.Parallel()
	var columns strings.Builder
	for i := range 200 {
		fmt.Fprintf(&columns, "c%d int, ", i)
	}
	c := newCapture(t, "CREATE TABLE t (id int, "+columns.String()+`"position" int GENERATED ALWAYS AS (id + 1) STORED);
		ALTER TABLE t REPLICA IDENTITY FULL`)
	c.first()
	c.catalog.selectColumns(t, "t", "id", "position", "_ab_cdc_lsn", "_ab_cdc_deleted_at")
	const rows = 1200
	c.exec("INSERT INTO t SELECT generate_series(1, $1::int)", rows)
	records := c.sync().changes("t")
	for i, line := range records {
		if want := fmt.Sprintf(`+ {"id":%d,"position":%d}`, i+1, i+2); line != want {
			t.Fatalf("record %d is %s, want %s", i, line, want)
		}
	}
	if len(records) != rows {
		t.Errorf("%d records, want %d", len(records), rows)
	}
}
