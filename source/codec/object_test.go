package codec

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// columns makes columns of names and types, "id int4" each; a name that ends in ! is a key's.
func columns(tb testing.TB, types testTypes, specs ...string) []Column {
	tb.Helper()
	var cs []Column
	for _, spec := range specs {
		name, typ, _ := strings.Cut(spec, " ")
		name, key := strings.CutSuffix(name, "!")
		cs = append(cs, Column{Name: name, Type: types.find(tb, typ), Key: key})
	}
	return cs
}

// row makes the values of a row; NULL stands for SQL NULL.
func row(values ...string) [][]byte {
	r := make([][]byte, len(values))
	for i, v := range values {
		if v != "NULL" {
			r[i] = []byte(v)
		}
	}
	return r
}

func TestObject(t *testing.T) {
	types := newTestTypes()
	o := NewObject(columns(t, types, "id! int8", `a"b text`, "ü bool", "f float8", "at time"), TextWire, Limits{})
	tests := []struct {
		values       [][]byte
		object, lost string
	}{
		{row("1", "x", "t", "1.5", "12:00:00"), `{"id":1,"a\"b":"x","ü":true,"f":1.5,"at":"12:00:00.000000"}`, ``},
		{row("1", "", "NULL", "NULL", "NULL"), `{"id":1,"a\"b":"","ü":null,"f":null,"at":null}`, ``},
		{
			row("NULL", "NULL", "f", "NaN", "NULL"), `{"id":null,"a\"b":null,"ü":false,"f":null,"at":null}`,
			`[{"field":"f","change":"NULLED","reason":"SOURCE_SERIALIZATION_ERROR"}]`,
		},
		{
			row("1", "\xff", "t", "NaN", "24:00:00"), `{"id":1,"a\"b":"\ufffd","ü":true,"f":null,"at":"23:59:59.999999"}`,
			`[{"field":"a\"b","change":"TRUNCATED","reason":"SOURCE_SERIALIZATION_ERROR"},` +
				`{"field":"f","change":"NULLED","reason":"SOURCE_SERIALIZATION_ERROR"},` +
				`{"field":"at","change":"TRUNCATED","reason":"SOURCE_SERIALIZATION_ERROR"}]`,
		},
	}
	for _, test := range tests {
		object, lost := o.Append([]byte("dst"), []byte("changes"), test.values)
		if string(object) != "dst"+test.object || string(lost) != "changes"+test.lost {
			t.Errorf("%q:\n got %s %s\nwant %s %s", test.values, object[3:], lost[7:], test.object, test.lost)
		}
	}
	if object, lost := NewObject(nil, TextWire, Limits{}).Append(nil, nil, nil); string(object) != "{}" || lost != nil {
		t.Errorf("no columns: %s %s", object, lost)
	}
}

func TestObjectFormats(t *testing.T) {
	types := newTestTypes()
	cs := columns(t, types, "a int4", "b text", "c numeric", "d timestamptz[]", "e d_uuid", "f hstore")
	if got := NewObject(cs, TextWire, Limits{}).Formats(); !slices.Equal(got, []int16{0, 0, 0, 0, 0, 0}) {
		t.Errorf("text: %v", got)
	}
	mixed := NewObject(cs, MixedWire, Limits{})
	if got := mixed.Formats(); !slices.Equal(got, []int16{1, 0, 0, 1, 1, 0}) {
		t.Errorf("mixed: %v", got)
	}
	values := [][]byte{{0, 0, 1, 0}, []byte("x"), []byte("1.0"), int32s(0, 0, 1184), make([]byte, 16), nil}
	object, _ := mixed.Append(nil, nil, values)
	want := `{"a":256,"b":"x","c":1.0,"d":[],"e":"00000000-0000-0000-0000-000000000000","f":null}`
	if string(object) != want {
		t.Errorf("%s, want %s", object, want)
	}
}

func TestObjectFieldLimit(t *testing.T) {
	types := newTestTypes()
	o := NewObject(columns(t, types, "id! text", "v text", "n int4[]"), TextWire, Limits{Field: 12})
	const tooLarge = `"change":"NULLED","reason":"SOURCE_FIELD_SIZE_LIMITATION"}`
	tests := []struct {
		values       [][]byte
		object, lost string
	}{
		{
			row(strings.Repeat("k", 40), "0123456789", "NULL"),
			`{"id":"` + strings.Repeat("k", 40) + `","v":"0123456789","n":null}`, ``,
		},
		{row("k", "01234567890", "NULL"), `{"id":"k","v":null,"n":null}`, `[{"field":"v",` + tooLarge + `]`},
		{row("k", `012345678"`, "NULL"), `{"id":"k","v":null,"n":null}`, `[{"field":"v",` + tooLarge + `]`},
		{
			row("k", strings.Repeat("v", 100), "{1,2,3,4,5,6,7}"), `{"id":"k","v":null,"n":null}`,
			`[{"field":"v",` + tooLarge + `,{"field":"n",` + tooLarge + `]`,
		},
	}
	for _, test := range tests {
		object, lost := o.Append(nil, nil, test.values)
		if string(object) != test.object || string(lost) != test.lost {
			t.Errorf("%q:\n got %s %s\nwant %s %s", test.values, object, lost, test.object, test.lost)
		}
	}
}

// An array takes more bytes in binary than its JSON does.
func TestObjectFieldLimitBinaryArray(t *testing.T) {
	types := newTestTypes()
	value := int32s(1, 0, 20, 100, 1)
	for range 100 {
		value = append(value, int32s(8, 0, 7)...)
	}
	want := `{"v":[` + strings.Repeat("7,", 99) + `7]}`
	o := NewObject(columns(t, types, "v int8[]"), MixedWire, Limits{Field: 201})
	if object, lost := o.Append(nil, nil, [][]byte{value}); string(object) != want || len(lost) > 0 {
		t.Errorf("%s %s", object, lost)
	}
}

func TestObjectRecordLimit(t *testing.T) {
	types := newTestTypes()
	const limit = 2000
	o := NewObject(columns(t, types, "id! text", "a text", "b text", "c float8"), TextWire, Limits{Record: limit})
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name    string
		values  [][]byte
		dropped string // names of the fields that must be null for it
	}{
		{"fits", row("k", x(800), x(800), "1"), ""},
		{"the largest is enough", row("k", x(900), x(1000), "1"), "b"},
		{"in order of size", row("k", x(5000), x(9000), "1"), "a b"},
		{"keys never", row(x(9000), x(200), x(300), "1"), "a b"},
		{"nothing to be won", row(x(9000), "a", "b", "NaN"), ""},
		{"characters, not bytes", row("k", strings.Repeat("櫻", 1500), "NULL", "1"), ""},
		{"two units each", row("k", strings.Repeat("🚀", 1000), "é", "1"), "a"},
		{"with its changes", row("k", x(1680), "NULL", "NaN"), "a"},
	}
	for _, test := range tests {
		object, lost := o.Append(nil, nil, test.values)
		var got map[string]any
		if err := json.Unmarshal(object, &got); err != nil || len(got) != 4 {
			t.Errorf("%s: %v, %d fields", test.name, err, len(got))
		}
		var changes []struct{ Field, Change, Reason string }
		if len(lost) > 0 {
			if err := json.Unmarshal(lost, &changes); err != nil {
				t.Errorf("%s: %s: %v", test.name, lost, err)
			}
		}
		var dropped []string
		for _, c := range changes {
			if c.Reason == "SOURCE_RECORD_SIZE_LIMITATION" {
				dropped = append(dropped, c.Field)
				if got[c.Field] != nil {
					t.Errorf("%s: %s is there", test.name, c.Field)
				}
			}
		}
		if strings.Join(dropped, " ") != test.dropped {
			t.Errorf("%s: dropped %q, want %q", test.name, dropped, test.dropped)
		}
		size := len(utf16.Encode([]rune(string(object)+string(lost)))) + envelope
		if size > limit && len(test.values[0]) < limit {
			t.Errorf("%s: %d characters", test.name, size)
		}
	}
}

// allocatedBy counts the allocations of one row once the buffers have grown.
func allocatedBy(o *Object, values [][]byte) float64 {
	var object, changes []byte
	return testing.AllocsPerRun(100, func() {
		object, changes = o.Append(object[:0], changes[:0], values)
	})
}

func TestObjectAllocations(t *testing.T) {
	types := newTestTypes()
	var names []string
	var values [][]byte
	for _, c := range readCases(t) {
		names = append(names, "c "+c.typ)
		values = append(values, []byte(c.text))
	}
	o := NewObject(columns(t, types, names...), TextWire, Limits{Field: 16_000_000, Record: 20_000_000})
	if n := allocatedBy(o, values); n != 0 {
		t.Errorf("text: %v allocations a row", n)
	}
	names, values = nil, nil
	for name, value := range binaryValues {
		names = append(names, "c "+name)
		values = append(values, value)
	}
	o = NewObject(columns(t, types, names...), MixedWire, Limits{Field: 16_000_000, Record: 20_000_000})
	if n := allocatedBy(o, values); n != 0 {
		t.Errorf("binary: %v allocations a row", n)
	}
}
