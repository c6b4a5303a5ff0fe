package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A cursorCase is a type of cursor: rows in the order of their values, of which first come before the first sync, and
// what the state says then and after all of them.
type cursorCase struct {
	typ         string
	first, next []string
	bound, last string
}

var cursorCases = map[string]cursorCase{
	"int2":         {"smallint", []string{"-1", "7"}, []string{"8"}, "7", "8"},
	"int2 minimum": {"smallint", []string{"-32768"}, []string{"-32767"}, "-32768", "-32767"},
	"int2 maximum": {"smallint", []string{"32766"}, []string{"32767"}, "32766", "32767"},
	"int4":         {"int", []string{"-1", "7"}, []string{"100", "2147483647"}, "7", "2147483647"},
	"int4 minimum": {"int", []string{"-2147483648"}, []string{"-2147483647"}, "-2147483648", "-2147483647"},
	"int8": {
		"bigint",
		[]string{"9", "9007199254740993"},
		[]string{"9223372036854775807"},
		"9007199254740993",
		"9223372036854775807",
	},
	"int8 minimum": {
		"bigint",
		[]string{"-9223372036854775808"},
		[]string{"-9223372036854775807"},
		"-9223372036854775808",
		"-9223372036854775807",
	},
	"oid":               {"oid", []string{"0", "9"}, []string{"10", "4294967295"}, "9", "4294967295"},
	"oid 0":             {"oid", []string{"0"}, []string{"1"}, "0", "1"},
	"domain":            {"positive", []string{"1", "2"}, []string{"3"}, "2", "3"},
	"domain of domains": {"small", []string{"1", "2"}, []string{"3"}, "2", "3"},
	"numeric": {
		"numeric",
		[]string{"2", "10.5", "1000000000000000000000000000001"},
		[]string{"1000000000000000000000000000001.5"},
		"1000000000000000000000000000001", "1000000000000000000000000000001.5",
	},
	"numeric of many digits": {
		"numeric",
		[]string{"0.1", "0.12345678901234567890123456789012345678901234567890"},
		[]string{"0.2"},
		"0.12345678901234567890123456789012345678901234567890", "0.2",
	},
	"numeric minimum": {
		"numeric",
		[]string{"-1e131071"},
		[]string{"-1e131000"},
		"-1" + strings.Repeat("0", 131071),
		"-1" + strings.Repeat("0", 131000),
	},
	"numeric scale": {"numeric(10,2)", []string{"1", "2.5"}, []string{"2.51"}, "2.50", "2.51"},
	"real":          {"real", []string{"0.1", "0.3"}, []string{"0.30000004", "3.4028235e+38"}, "0.3", "3.4028235e+38"},
	"real minimum":  {"real", []string{"-3.4028235e+38"}, []string{"-3.4028233e+38"}, "-3.4028235e+38", "-3.4028233e+38"},
	"double precision": {
		"double precision",
		[]string{"0.1", "0.30000000000000004"},
		[]string{"0.3000000000000001"},
		"0.30000000000000004",
		"0.3000000000000001",
	},
	"double precision extremes": {
		"double precision",
		[]string{"-1.7976931348623157e308"},
		[]string{"5e-324", "1.7976931348623157e308"},
		"-1.7976931348623157e+308", "1.7976931348623157e+308",
	},
	"money":   {"money", []string{"-12.5", "1234.56"}, []string{"1234567.89"}, "1234.56", "1234567.89"},
	"text":    {"text", []string{"", "B", "a"}, []string{"a\"\\\u2028\tü", "𝄞"}, "a", "𝄞"},
	"varchar": {"varchar(10)", []string{"A", "a"}, []string{"a ", "aa"}, "a", "aa"},
	"name":    {"name", []string{"A", "a"}, []string{"b"}, "a", "b"},
	"date": {
		"date",
		[]string{"1999-12-31", "2024-02-29"},
		[]string{"2024-03-01", "12345-01-02"},
		"2024-02-29",
		"12345-01-02",
	},
	"date BC":      {"date", []string{"0044-03-15 BC"}, []string{"0044-03-16 BC"}, "0044-03-15 BC", "0044-03-16 BC"},
	"date minimum": {"date", []string{"4714-11-24 BC"}, []string{"4714-11-25 BC"}, "4714-11-24 BC", "4714-11-25 BC"},
	"date maximum": {"date", []string{"5874897-12-30"}, []string{"5874897-12-31"}, "5874897-12-30", "5874897-12-31"},
	"time": {
		"time",
		[]string{"00:00", "13:00:01.000001"},
		[]string{"13:00:01.000002", "24:00"},
		"13:00:01.000001",
		"24:00:00",
	},
	// Those at the same moment are ordered by their zone.
	"timetz": {
		"timetz",
		[]string{"11:09:11.123456-05", "17:00+00", "18:00+01"},
		[]string{"17:00-00:00:01", "24:00-14"},
		"17:00:00.000000Z", "24:00:00-14",
	},
	"timestamp": {
		"timestamp",
		[]string{"2004-12-12 17:23:54.123455", "2004-12-12 17:23:54.123456"},
		[]string{"2004-12-12 17:23:54.123457"},
		"2004-12-12T17:23:54.123456", "2004-12-12T17:23:54.123457",
	},
	"timestamp(0)": {
		"timestamp(0)",
		[]string{"2004-12-12 17:23:53.9"},
		[]string{"2004-12-12 17:23:55"},
		"2004-12-12T17:23:54.000000", "2004-12-12T17:23:55.000000",
	},
	"timestamp BC": {
		"timestamp",
		[]string{"0044-03-15 12:00:00.5 BC"},
		[]string{"0044-03-15 12:00:00.500001 BC", "10000-01-01"},
		"0044-03-15T12:00:00.500000 BC", "10000-01-01T00:00:00.000000",
	},
	"timestamp minimum": {
		"timestamp",
		[]string{"4714-11-24 00:00 BC"},
		[]string{"4714-11-24 00:00:00.000001 BC"},
		"4714-11-24T00:00:00.000000 BC", "4714-11-24T00:00:00.000001 BC",
	},
	"timestamp maximum": {
		"timestamp",
		[]string{"294276-12-31 23:59:59.999998"},
		[]string{"294276-12-31 23:59:59.999999"},
		"294276-12-31T23:59:59.999998", "294276-12-31T23:59:59.999999",
	},
	"timestamptz": {
		"timestamptz",
		[]string{"2005-10-18 17:23:54.123455Z", "2005-10-18 10:23:54.123456-07"},
		[]string{"2005-10-18 17:23:54.123457Z", "12345-01-02 00:00Z"},
		"2005-10-18T17:23:54.123456Z", "12345-01-02T00:00:00.000000Z",
	},
	"timestamptz BC": {
		"timestamptz",
		[]string{"0044-03-15 12:00Z BC"},
		[]string{"0044-03-15 12:00:01Z BC"},
		"0044-03-15T12:00:00.000000Z BC", "0044-03-15T12:00:01.000000Z BC",
	},
	"timestamptz minimum": {
		"timestamptz",
		[]string{"4714-11-24 00:00Z BC"},
		[]string{"4714-11-24 00:00:00.000001Z BC"},
		"4714-11-24T00:00:00.000000Z BC", "4714-11-24T00:00:00.000001Z BC",
	},
}

// A cursor of every type: its values stand in the state exactly, the next sync gets what lies above or was written with
// the very value, and nothing else, in both ways of reading.
func testCursorTypes(t *testing.T, db *database) {
	db.exec("CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN small AS positive CHECK (VALUE < 100)")
	db.useIndexes()
	var all []string
	each := func(do func(table string, c cursorCase)) {
		for name, c := range cursorCases {
			do(name, c)
			do(name+" indexed", c)
		}
	}
	insert := func(table string, id int, values []string) {
		for i, v := range values {
			db.exec("INSERT INTO "+quoted(table)+" VALUES ($1, $2)", id+i, v)
		}
	}
	each(func(table string, c cursorCase) {
		db.exec("CREATE TABLE " + quoted(table) + " (id int, c " + c.typ + ")")
		if strings.HasSuffix(table, " indexed") {
			db.exec("CREATE INDEX ON " + quoted(table) + " (c)")
		}
		all = append(all, table)
		insert(table, 0, c.first)
	})
	slices.Sort(all)
	in := db.byCursor("c", all...)
	expect := func(ids func(c cursorCase) string, bound func(c cursorCase) string) *result {
		t.Helper()
		db.exec("SELECT txid_current()")
		r := in.sync(t)
		each(func(table string, c cursorCase) {
			r.expectIDs(table, ids(c))
			r.expectBound(table, bound(c))
		})
		return r
	}
	none := func(cursorCase) string { return "" }
	bound := func(c cursorCase) string { return c.bound }
	last := func(c cursorCase) string { return c.last }
	expect(func(c cursorCase) string { return fmt.Sprintf("0-%d", len(c.first)-1) }, bound)
	expect(none, bound)
	each(func(table string, c cursorCase) {
		insert(table, 10, c.next)
		insert(table, 20, []string{c.bound})
	})
	r := expect(func(c cursorCase) string { return fmt.Sprintf("10-%d 20", len(c.next)+9) }, last)
	each(func(table string, c cursorCase) {
		got, want := r.values(table, "id"), []string{"20"}
		for i := range c.next {
			want = append(want, fmt.Sprint(10+i))
		}
		if strings.HasSuffix(table, " indexed") && !slices.Equal(got, want) {
			t.Errorf("%s: ids %q, want them in the order of the cursor: %q", table, got, want)
		}
		states := r.cursors(table)
		if n := states[len(states)-1].Count; strings.HasSuffix(table, " indexed") && n != 1 {
			t.Errorf("%s: %d rows have the last value, want 1", table, n)
		}
	})
	expect(none, last)
}

// The order of texts is that of the column's collation, as the server sees it.
func testCursorCollations(t *testing.T, db *database) {
	db.useIndexes()
	collations := map[string]string{"C": `"C"`, "POSIX": `"POSIX"`}
	if db.value("SELECT count(*) FROM pg_collation WHERE collname = 'en-x-icu'") != "0" {
		db.exec(`CREATE COLLATION upper_first (provider = icu, locale = 'en-u-kf-upper');
			CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
		collations["ICU"], collations["upper first"] = `"en-x-icu"`, "upper_first"
		collations["nondeterministic"] = "caseless"
	}
	var all []string
	each := func(sql string) {
		for _, table := range all {
			db.exec(strings.ReplaceAll(sql, "%", quoted(table)))
		}
	}
	for name, collation := range collations {
		for _, table := range []string{name, name + " indexed"} {
			all = append(all, table)
			db.exec("CREATE TABLE " + quoted(table) + " (id int, c text COLLATE " + collation + ")")
		}
		db.exec("CREATE INDEX ON " + quoted(name+" indexed") + " (c)")
	}
	each("INSERT INTO % VALUES (1, 'a'), (2, 'B'), (3, 'b'), (4, '_c'), (5, 'é')")
	in := db.byCursor("c", all...)
	r := in.sync(t)
	for _, table := range all {
		r.expectIDs(table, "1-5")
		if got, top := r.bound(table), db.value("SELECT max(c) FROM "+quoted(table)); got != top {
			t.Errorf("%s: the bound is %q, want the server's maximum %q", table, got, top)
		}
	}
	bounds := map[string]string{}
	for _, table := range all {
		bounds[table] = r.bound(table)
	}
	each("INSERT INTO % VALUES (11, 'A'), (12, 'C'), (13, 'f'), (14, 'É'), (15, 'z'), (16, 'Z'), (17, 'é')")
	r = in.sync(t)
	for _, table := range all {
		want := db.column("SELECT id FROM "+quoted(table)+" WHERE id > 10 AND c >= $1", bounds[table])
		slices.Sort(want)
		got := r.values(table, "id")
		slices.Sort(got)
		expectSame(t, table, got, want)
		higher := db.value("SELECT $1 = max(c) FROM "+quoted(table), r.bound(table))
		if higher != "t" {
			t.Errorf("%s: the bound is %q, which is not the greatest", table, r.bound(table))
		}
	}
	db.exec("SELECT txid_current()")
	r = in.sync(t)
	for _, table := range all {
		r.expectIDs(table, "")
	}
}

// Values that are equal to the server and written otherwise are ties.
func testEqualCursors(t *testing.T, db *database) {
	db.useIndexes()
	ties := map[string][]string{
		"numeric":          {"1.0", "1.00", "1"},
		"double precision": {"0", "-0", "0"},
		"real":             {"-0", "0", "-0"},
	}
	if db.value("SELECT count(*) FROM pg_collation WHERE collname = 'en-x-icu'") != "0" {
		db.exec("CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
		ties["text COLLATE caseless"] = []string{"a", "A", "a"}
	}
	if db.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'") != "0" {
		db.exec("CREATE EXTENSION citext")
		ties[`citext COLLATE "default"`] = []string{"a", "A", "a"}
	}
	var all []string
	for typ, values := range ties {
		for _, table := range []string{typ, typ + " indexed"} {
			db.exec("CREATE TABLE " + quoted(table) + " (id int, c " + typ + ")")
			db.exec("INSERT INTO "+quoted(table)+" VALUES (1, $1), (2, $2), (3, $2)", values[0], values[1])
			db.exec("CREATE VIEW " + quoted("view of "+table) + " AS SELECT * FROM " + quoted(table))
			all = append(all, table, "view of "+table)
		}
		db.exec("CREATE INDEX ON " + quoted(typ+" indexed") + " (c)")
	}
	in := db.byCursor("c", all...)
	for _, want := range []string{"1-3", "", ""} {
		r := in.sync(t)
		for _, table := range all {
			r.expectIDs(table, want)
		}
		db.exec("SELECT txid_current()")
	}
	for typ, values := range ties {
		for _, table := range []string{typ, typ + " indexed"} {
			db.exec("INSERT INTO "+quoted(table)+" VALUES (4, $1)", values[2])
		}
	}
	for _, want := range []string{"4", ""} {
		r := in.sync(t)
		for _, table := range all {
			if strings.HasPrefix(table, "view") && want != "" {
				want := "1-4" // a view's rows do not say which are new
				r.expectIDs(table, want)
				continue
			}
			r.expectIDs(table, want)
		}
		db.exec("SELECT txid_current()")
	}
}

// The columns that would do as a cursor are what a type's place in the order allows; others are refused, naming those.
func TestCursorWithoutOrder(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE TYPE mood AS ENUM ('sad', 'ok');
		CREATE TABLE t (id int, at timestamptz, "the name" text, p point, j jsonb, u uuid, b boolean, m mood,
			x bytea, a int[], ch char(3));
		CREATE TABLE none (p point)`)
	in := db.byCursor("id", "t")
	catalog := in.catalog.(*configuredCatalog)
	other := discover(t, db.config(nil)).configure("incremental", "t", "none")
	for _, field := range []string{"p", "j", "u", "b", "m", "x", "a", "ch", "gone", "ID", "the name.x"} {
		run(t, "read", input{config: in.config, catalog: catalog.cursor(t, "t", field)}).
			failedIn("config_error", "public.t", fmt.Sprintf("%q", field), "public.t", "id, at, the name")
	}
	// Another stream goes on; a table without any such column says so.
	other.cursor(t, "t", "at")
	other.cursor(t, "none", "p")
	db.exec("INSERT INTO t (id) VALUES (1)")
	r := run(t, "read", input{config: in.config, catalog: other})
	if e := r.failed("config_error"); !strings.Contains(e.Message, "full refresh") ||
		strings.Contains(e.Message, "Choose one") {
		t.Errorf("message %q", e.Message)
	}
	r.expectIDs("t", "1")
	expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
	expectStatuses(t, r, "none", "STARTED INCOMPLETE")
}

// A column whose name has a dot, or comes as several parts, is found.
func testCursorNames(t *testing.T, db *database) {
	const table, column = `we"ird.t'ab%le\` + "\u2028", `C"ur's.or \%d`
	db.exec("CREATE TABLE " + quoted(table) + " (id int, " + quoted(column) + " timestamp)")
	in := &input{
		config:  db.config(nil),
		catalog: discover(t, db.config(nil)).configure("incremental").cursor(t, table, column),
	}
	db.exec("INSERT INTO " + quoted(table) + " VALUES (1, '2024-01-01'), (2, NULL), (3, 'infinity')")
	r := in.sync(t)
	r.expectIDs(table, "1-3")
	r.expectBound(table, "2024-01-01T00:00:00.000000")
	db.exec("INSERT INTO " + quoted(table) + " VALUES (4, '2024-01-01'), (5, '2024-01-02')")
	in.sync(t).expectIDs(table, "4 5")
	for _, warning := range r.logs("WARN") {
		if _, sql, ok := strings.Cut(warning, "sql="); ok {
			db.exec(strings.TrimSuffix(sql, ";"))
		}
	}
	if n := db.value("SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'"); n != "1" {
		t.Errorf("%s indexes were made of the warnings %q", n, r.logs("WARN"))
	}
	db.exec("SELECT txid_current()")
	in.sync(t).expectIDs(table, "")
	state := r.lastState()[0]
	var named struct {
		Stream struct {
			State cursorState `json:"stream_state"`
		}
	}
	if err := json.Unmarshal(state, &named); err != nil {
		t.Fatal(err)
	}
	if named.Stream.State.Name != table || named.Stream.State.Field[0] != column {
		t.Errorf("the state names %q and %q", named.Stream.State.Name, named.Stream.State.Field)
	}
}
