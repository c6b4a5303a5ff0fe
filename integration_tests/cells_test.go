package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A typeCase is one line of the codec's testdata/types.txt.
type typeCase struct {
	line                       int
	typ, literal, json, change string
}

// readTypes reads the lines of types.txt that the server can serve, and makes in the database what they need: the
// file's first lines say how they are written.
func readTypes(t *testing.T, db *database) []typeCase {
	t.Helper()
	file, err := os.ReadFile("../source/codec/testdata/types.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []typeCase
	served := true
	for i, line := range strings.Split(string(file), "\n") {
		switch {
		case line == "":
			served = true
		case strings.HasPrefix(line, "# needs: server "):
			version, err := strconv.Atoi(strings.TrimPrefix(line, "# needs: server "))
			if err != nil {
				t.Fatalf("types.txt:%d: %v", i+1, err)
			}
			served = served && db.Version/10000 >= version
		case strings.HasPrefix(line, "# needs: extension "):
			served = served && db.extension(strings.TrimPrefix(line, "# needs: extension "))
		case strings.HasPrefix(line, "# create: ") && served:
			db.exec(strings.TrimPrefix(line, "# create: "))
		case line[0] != '#' && served:
			cases = append(cases, parseType(t, i+1, line))
		}
	}
	return cases
}

func parseType(t *testing.T, number int, line string) typeCase {
	t.Helper()
	columns := append(strings.Split(line, "|"), "")
	if len(columns) < 5 || len(columns) > 6 {
		t.Fatalf("types.txt:%d: %d columns", number, len(columns)-1)
	}
	for i := range columns {
		var err error
		if columns[i], err = url.PathUnescape(strings.TrimSpace(columns[i])); err != nil {
			t.Fatalf("types.txt:%d: %v", number, err)
		}
	}
	return typeCase{number, columns[0], columns[1], columns[3], columns[4]}
}

// Every value of types.txt, and a NULL of its type, in the cell of a record.
func TestCells(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	cases := readTypes(t, db)
	if len(cases) < 300 {
		t.Errorf("types.txt has %d cases for this server", len(cases))
	}
	const perTable = 100
	for from := 0; from < len(cases); from += perTable {
		makeTypesTable(db, fmt.Sprintf("t%d", from/perTable), cases[from:min(from+perTable, len(cases))])
	}
	config := db.config(nil)
	catalog := discover(t, config).configure("full_refresh")
	// PostgreSQL lets an array be nested more or less deeply than its column was declared, which the schema follows.
	for i := range catalog.Streams {
		for _, c := range cases {
			properties := catalog.Streams[i].Stream.JSONSchema.Properties
			if properties[c.column()] != nil && strings.HasSuffix(c.typ, "[]") {
				properties[c.column()] = json.RawMessage(`{"type":["array","string","number","boolean"]}`)
			}
		}
	}
	r := run(t, "read", input{config: config, catalog: catalog}).ok()
	for from := 0; from < len(cases); from += perTable {
		table := fmt.Sprintf("t%d", from/perTable)
		part := cases[from:min(from+perTable, len(cases))]
		records := r.records(table)
		if len(records) != 2 {
			t.Fatalf("%s: %d records, want 2", table, len(records))
		}
		filled, null := records[0], records[1]
		if string(filled.Data["filled"]) != "true" {
			filled, null = null, filled
		}
		for _, c := range part {
			c.expect(t, filled)
		}
		for field, value := range null.Data {
			if field != "filled" && string(value) != "null" {
				t.Errorf("%s of %s is %s for NULL", field, table, value)
			}
		}
		if len(null.Meta.Changes) > 0 {
			t.Errorf("%s: changes %+v in a row of NULLs", table, null.Meta.Changes)
		}
	}
}

// expect checks a case's cell and its entry in the record's changes.
func (c *typeCase) expect(t *testing.T, rec *record) {
	t.Helper()
	if got := string(rec.Data[c.column()]); got != c.json {
		t.Errorf("types.txt:%d: %s %s: %s, want %s", c.line, c.typ, c.literal, got, c.json)
	}
	var changes []string
	for _, change := range rec.Meta.Changes {
		if change.Field == c.column() {
			changes = append(changes, change.Change)
			if change.Reason != "SOURCE_SERIALIZATION_ERROR" {
				t.Errorf("types.txt:%d: %s %s: reason %s", c.line, c.typ, c.literal, change.Reason)
			}
		}
	}
	if got := strings.Join(changes, " "); got != c.change {
		t.Errorf("types.txt:%d: %s %s: change %q, want %q", c.line, c.typ, c.literal, got, c.change)
	}
}

func (c *typeCase) column() string { return fmt.Sprintf("line %d", c.line) }

// makeTypesTable makes a table with a column for each case, a row of the values and a row of NULLs.
func makeTypesTable(db *database, table string, cases []typeCase) {
	db.t.Helper()
	var columns, values []string
	for _, c := range cases {
		columns = append(columns, quoted(c.column())+" "+c.typ)
		values = append(values, fmt.Sprintf("(%s)::%s", c.literal, c.typ))
	}
	db.exec(fmt.Sprintf(`CREATE TABLE %s (filled bool, %s); INSERT INTO %[1]s VALUES (true, %[3]s);
		INSERT INTO %[1]s (filled) VALUES (false)`, table, strings.Join(columns, ", "), strings.Join(values, ", ")))
}

// What the session, the role or the database is set to changes no value.
func TestCellsDoNotDependOnSettings(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	db.exec(`
CREATE TABLE t (ts timestamptz, tz timetz, d date, i interval, b bytea, f float8, r float4, n numeric, m money, x text,
  h tstzrange, a timestamptz[]);
INSERT INTO t VALUES ('1900-01-01 00:00:00+00', '13:00:01.5-08', '2024-02-29', '-1 mon 3 days 04:05:06', '\x00ff5c',
  0.1, 0.1, 1.10, 12.5, 'a\b', '[2024-01-01 00:00+00,2024-02-01 00:00+00)', '{2024-01-01 00:00+02}');
GRANT SELECT ON t TO ` + user.Name)
	config := db.configAs(user, nil)
	want := refresh(t, config).ok().rows("t")
	for _, setting := range []string{
		"TimeZone = 'Europe/Amsterdam'", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'iso_8601'", "bytea_output = 'escape'",
		"extra_float_digits = -5", "standard_conforming_strings = off", "backslash_quote = off", "client_encoding = 'LATIN1'",
		"search_path = pg_catalog", "quote_all_identifiers = on", "default_transaction_read_only = on", "row_security = on",
		"array_nulls = off", "statement_timeout = '1h'", "default_transaction_isolation = 'serializable'",
	} {
		db.exec("ALTER ROLE " + user.Name + " SET " + setting)
	}
	r := refresh(t, config).ok()
	r.expectRows("t", want)
	for field, value := range map[string]string{
		"ts": `"1900-01-01T00:00:00.000000Z"`, "tz": `"13:00:01.500000-08:00"`, "d": `"2024-02-29"`,
		"i": `"-1 mons +3 days 04:05:06"`, "b": `"\\x00ff5c"`, "f": "0.1", "r": "0.1", "n": "1.10", "m": "12.50",
		"x": `"a\\b"`, "a": `["2023-12-31T22:00:00.000000Z"]`,
		"h": `"[\"2024-01-01 00:00:00+00\",\"2024-02-01 00:00:00+00\")"`,
	} {
		got := r.records("t")[0].Data[field]
		if string(got) != value {
			t.Errorf("%s: %s, want %s", field, got, value)
		}
	}
}
