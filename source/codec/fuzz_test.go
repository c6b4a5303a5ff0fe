package codec

import (
	"encoding/json"
	"strings"
	"testing"
)

// fuzzText feeds any bytes to the text format of the named types: the answer is one JSON value, what was there before
// stays, and null is the only value of a type that lost it.
func fuzzText(f *testing.F, names ...string) {
	f.Helper()
	types := newTestTypes()
	var all []*Type
	for _, name := range names {
		all = append(all, types.find(f, name))
	}
	for _, c := range readCases(f) {
		for _, name := range names {
			if strings.HasPrefix(c.typ, strings.TrimSuffix(name, "[]")) {
				f.Add([]byte(c.text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, typ := range all {
			checkAppend(t, typ.Name, typ.Text, src)
		}
	})
}

func checkAppend(t *testing.T, name string, appender Append, src []byte) {
	t.Helper()
	before := string(src)
	got, change := appender([]byte("before"), src)
	value, ok := strings.CutPrefix(string(got), "before")
	if !ok || !json.Valid([]byte(value)) || string(src) != before {
		t.Fatalf("%s of %q: %s", name, src, got)
	}
	if value == "null" && change != Nulled || change > Altered {
		t.Fatalf("%s of %q: %s, change %d", name, src, value, change)
	}
}

func FuzzArray(f *testing.F) {
	fuzzText(f, "text[]", "int4[]", "timestamptz[]", "money[]", "box[]", "tags[]", "hstore[]", "bytea[]")
}

func FuzzTime(f *testing.F) { fuzzText(f, "date", "time", "timetz", "timestamp", "timestamptz") }

func FuzzNumber(f *testing.F) { fuzzText(f, "int8", "numeric", "float4", "float8", "money", "bool") }

func FuzzHstore(f *testing.F) { fuzzText(f, "hstore") }

func FuzzBinary(f *testing.F) {
	types := newTestTypes()
	for _, value := range binaryValues {
		f.Add(value)
	}
	f.Add(int32s(2, 0, 23, 2, 1, 3, 0, 4, 1, 4, 2, 4, 3, 4, 4, 4, 5, 4, 6))
	f.Fuzz(func(t *testing.T, src []byte) {
		for name := range binaryValues {
			checkAppend(t, name, types.find(t, name).Binary, src)
		}
		for _, name := range []string{"timetz[]", "bytea[]", "matrix[]"} {
			checkAppend(t, name, types.find(t, name).Binary, src)
		}
	})
}
