package codec

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"source-postgres/protocol"
)

// A testCase is one line of testdata/types.txt.
type testCase struct {
	line               int
	typ, text, wantRaw string
	change             Change
}

func readCases(tb testing.TB) []testCase {
	tb.Helper()
	file, err := os.Open("testdata/types.txt")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	var cases []testCase
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		if lines.Text() == "" || lines.Text()[0] == '#' {
			continue
		}
		columns := strings.Split(lines.Text(), "|")
		if len(columns) < 4 || len(columns) > 5 {
			tb.Fatalf("types.txt:%d: %d columns", n, len(columns))
		}
		for i := range columns {
			if columns[i], err = url.PathUnescape(strings.TrimSpace(columns[i])); err != nil {
				tb.Fatalf("types.txt:%d: %v", n, err)
			}
		}
		c := testCase{line: n, typ: columns[0], text: columns[2], wantRaw: columns[3]}
		if len(columns) == 5 {
			change, ok := map[string]Change{"NULLED": Nulled, "TRUNCATED": Altered}[columns[4]]
			if !ok {
				tb.Fatalf("types.txt:%d: change %q", n, columns[4])
			}
			c.change = change
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return cases
}

// testTypes knows the types that types.txt creates.
type testTypes struct {
	m    *Map
	oids map[string]uint32
}

func newTestTypes() testTypes {
	oids := make(map[string]uint32)
	for _, b := range builtins {
		oids[b.name], oids[b.name+"[]"] = b.oid, b.array
	}
	var infos []Info
	next := uint32(20000)
	add := func(info Info) {
		info.OID = next
		infos = append(infos, info, Info{OID: next + 1, Name: "_" + info.Name, Kind: 'b', Elem: next, Delim: ','})
		oids[info.Name], oids[info.Name+"[]"] = next, next+1
		next += 2
	}
	for _, name := range []string{"citext", "hstore", "ltree", "cube", "isbn"} {
		add(Info{Name: name, Kind: 'b', Delim: ','})
	}
	add(Info{Name: "mood", Kind: 'e'})
	add(Info{Name: "inventory_item", Kind: 'c'})
	add(Info{Name: "textrange", Kind: 'r'})
	for _, name := range []string{
		"bool", "int2", "int4", "int8", "oid", "numeric", "float4", "float8", "money", "text",
		"bytea", "uuid", "date", "time", "timetz", "timestamp", "timestamptz", "jsonb",
	} {
		add(Info{Name: "d_" + name, Kind: 'd', Base: oids[name], BaseTypmod: -1})
	}
	add(Info{Name: "price", Kind: 'd', Base: oids["numeric"], BaseTypmod: 10<<16 | 2 + 4})
	add(Info{Name: "whole", Kind: 'd', Base: oids["numeric"], BaseTypmod: 20<<16 + 4})
	add(Info{Name: "whole_again", Kind: 'd', Base: oids["whole"], BaseTypmod: -1})
	add(Info{Name: "tags", Kind: 'd', Base: oids["text[]"], BaseTypmod: -1, Dims: 1})
	add(Info{Name: "matrix", Kind: 'd', Base: oids["int4[]"], BaseTypmod: -1, Dims: 2})
	add(Info{Name: "feeling", Kind: 'd', Base: oids["mood"], BaseTypmod: -1})
	return testTypes{NewMap(infos), oids}
}

// find finds the Type of a name as types.txt spells it: numeric(10,2), "char"[], int4[][].
func (tt testTypes) find(tb testing.TB, spelling string) *Type {
	tb.Helper()
	name, dims := spelling, 0
	for strings.HasSuffix(name, "[]") {
		name = strings.TrimSuffix(name, "[]")
		dims++
	}
	typmod := int32(-1)
	if base, args, ok := strings.Cut(name, "("); ok {
		name = base
		if base == "numeric" {
			precision, scale, _ := strings.Cut(strings.TrimSuffix(args, ")"), ",")
			p, _ := strconv.Atoi(precision)
			s, _ := strconv.Atoi(scale)
			typmod = int32(p<<16|s&0x7FF) + 4
		}
	}
	name = strings.Trim(name, `"`)
	if dims > 0 {
		name += "[]"
	}
	oid, ok := tt.oids[name]
	if !ok {
		tb.Fatalf("no type %s", name)
	}
	return tt.m.Type(oid, typmod, dims)
}

// The texts of types.txt, infinity and NaN among them, which become null and are marked.
func TestTypesText(t *testing.T) {
	types := newTestTypes()
	seen := make(map[string]bool)
	for _, c := range readCases(t) {
		typ := types.find(t, c.typ)
		seen[typ.Name] = true
		got, change := typ.Text([]byte("["), []byte(c.text))
		if got := string(got[1:]); got != c.wantRaw || change != c.change {
			t.Errorf("types.txt:%d: %s %s: %s, change %d; want %s, change %d",
				c.line, c.typ, c.text, got, change, c.wantRaw, c.change)
		}
		if !json.Valid(got[1:]) {
			t.Errorf("types.txt:%d: %s is not JSON", c.line, got[1:])
		}
		if got[0] != '[' {
			t.Errorf("types.txt:%d: what was there before is overwritten", c.line)
		}
		checkSchema(t, c, typ.Schema, got[1:])
	}
	for _, b := range builtins {
		if !seen[b.name] && !strings.HasPrefix(b.name, "reg") {
			t.Errorf("types.txt has no case of %s", b.name)
		}
	}
}

// checkSchema checks that the value is of the type that the schema says. Arrays may be nested deeper or less deep than
// declared: PostgreSQL does not enforce it.
func checkSchema(t *testing.T, c testCase, schema protocol.Property, value []byte) {
	t.Helper()
	var s struct {
		Type  string
		Items json.RawMessage
	}
	if err := json.Unmarshal([]byte(schema), &s); err != nil {
		t.Fatalf("types.txt:%d: schema %s: %v", c.line, schema, err)
	}
	want := map[string]string{"boolean": "tf", "number": "-0123456789", "string": `"`, "array": "["}[s.Type]
	if string(value) != "null" && !strings.ContainsRune(want, rune(value[0])) {
		t.Errorf("types.txt:%d: %s does not fit its schema %s", c.line, value, schema)
	}
}

// docs/types.md gives every type the schema that it has, and lists it among the cursors if it can be one.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/types.md")
	if err != nil {
		t.Fatal(err)
	}
	types, cursors, _ := strings.Cut(string(text), "\n## Cursors\n")
	cursors, _, _ = strings.Cut(cursors, ".")
	schemas := map[string]protocol.Property{ // by their names in the table
		"boolean": protocol.Boolean, "integer": protocol.Integer, "number": protocol.Number, "string": protocol.String,
		"date": protocol.Date, "time_without_timezone": protocol.Time, "time_with_timezone": protocol.TimeWithZone,
		"timestamp_without_timezone": protocol.Timestamp, "timestamp_with_timezone": protocol.TimestampWithZone,
	}
	documented := map[string]protocol.Property{}
	for line := range strings.Lines(types) {
		if columns := strings.Split(line, " | "); len(columns) >= 4 {
			for _, name := range strings.Split(columns[0], "`") {
				documented[name] = schemas[columns[1]]
			}
		}
	}
	for _, b := range builtins {
		if documented[b.name] != b.schema {
			t.Errorf("docs/types.md gives %s the schema %s; it has %s", b.name, documented[b.name], b.schema)
		}
		if strings.Contains(cursors, "`"+b.name+"`") != b.cursor {
			t.Errorf("docs/types.md: %s can be a cursor: %t", b.name, b.cursor)
		}
	}
}
