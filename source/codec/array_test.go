package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// int32s makes a binary array value: 4 bytes each, big-endian.
func int32s(values ...int32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func TestArrayBinary(t *testing.T) {
	types := newTestTypes()
	tests := []struct {
		typ    string
		value  []byte
		want   string
		change Change
	}{
		{"int4[]", int32s(0, 0, 23), `[]`, Exact},
		{"int4[]", int32s(1, 0, 23, 2, 1, 4, 7, 4, -8), `[7,-8]`, Exact},
		{"int4[]", int32s(1, 1, 23, 3, 1, -1, 4, 7, -1), `[null,7,null]`, Exact},
		{"int4[]", int32s(2, 0, 23, 2, 1, 3, 0, 4, 1, 4, 2, 4, 3, 4, 4, 4, 5, 4, 6), `[[1,2,3],[4,5,6]]`, Exact},
		{"int4[]", int32s(3, 0, 23, 1, 1, 2, 1, 1, 1, 4, 1, 4, 2), `[[[1],[2]]]`, Exact},
		{"date[]", int32s(1, 0, 1082, 2, 1, 4, 0, 4, 0x7FFFFFFF), `["2000-01-01",null]`, Nulled},
		{"int4[]", nil, `null`, Nulled},
		{"int4[]", int32s(-1, 0, 23), `null`, Nulled},
		{"int4[]", int32s(7, 0, 23), `null`, Nulled},
		{"int4[]", int32s(1, 0, 23, 2, 1, 4, 7), `null`, Nulled},
		{"int4[]", int32s(1, 0, 23, 1, 1, 4, 7, 8), `null`, Nulled},
		{"int4[]", int32s(1, 0, 23, 1, 1, 5, 7), `null`, Nulled},
		{"int4[]", int32s(1, 0, 23, 1, 1, -2), `null`, Nulled},
		{"int4[]", int32s(1, 0, 23, 0, 1), `null`, Nulled},
		{"int4[]", int32s(2, 0, 23, 0x7FFFFFFF, 1, 0x7FFFFFFF, 1, -1), `null`, Nulled},
	}
	for _, test := range tests {
		got, change := types.find(t, test.typ).Binary([]byte("["), test.value)
		if string(got[1:]) != test.want || change != test.change {
			t.Errorf("%s %x: %s, change %d; want %s, %d", test.typ, test.value, got[1:], change, test.want, test.change)
		}
	}
}

func TestArrayLarge(t *testing.T) {
	types := newTestTypes()
	const n = 1_000_000
	text := append(append([]byte("{"), bytes.Repeat([]byte(`"a\"b",`), n-1)...), `"a\"b"}`...)
	got, change := types.find(t, "text[]").Text(nil, text)
	var back []string
	if err := json.Unmarshal(got, &back); err != nil || len(back) != n || back[n-1] != `a"b` || change != Exact {
		t.Errorf("%d elements, change %d, %v", len(back), change, err)
	}
}

// What an array reports is the worst of its elements.
func TestWorse(t *testing.T) {
	for _, test := range []struct{ a, b, want Change }{
		{Exact, Exact, Exact},
		{Exact, Altered, Altered},
		{Altered, Exact, Altered},
		{Altered, Nulled, Nulled},
		{Nulled, Altered, Nulled},
		{Nulled, Exact, Nulled},
		{Exact, Nulled, Nulled},
	} {
		if got := worse(test.a, test.b); got != test.want {
			t.Errorf("worse(%d, %d) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
