package codec

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
)

// Bytes that are no value of their type are null, whatever they are.
func TestMalformed(t *testing.T) {
	types := newTestTypes()
	text := map[string][]string{
		"bool":    {"", "true", "x", "tt"},
		"int4":    {"", "-", "1-", "0x1", "01", "+1", " 1", "1 ", "--1", "1,2", `"`},
		"numeric": {"", "-", ".5", "5.", "1e", "1e+", "e5", "1.2.3", "-Infinity", "nan", "1_000", "00"},
		"float8":  {"Infinity", "inf", "1e5e5", "1e+-5"},
		"money":   {"", "$", "-", "kr"},
		"date": {
			"", "2024", "2024-1-1", "2024-13-01", "2024-00-01", "2024-01-32", "2024-01-00", "0000-01-01", "999-01-01",
			"2024-01-01BC", "2024-01-01 AD", "2024-01-01 BCE", "2024/01/01", "12345678-01-01", "-2024-01-01", "01/02/2024",
		},
		"time": {
			"", "1:00:00", "24:00:01", "25:00:00", "12:60:00", "12:00:60", "12:00", "12:00:00.", "12:00:00.1234567",
			"12:00:00+00", "12:00:00 ", "aa:00:00", "24:00:00.000001",
		},
		"timetz": {
			"12:00:00", "12:00:00Z", "12:00:00+1", "12:00:00+24", "12:00:00+01:", "12:00:00+01:60",
			"12:00:00+aa",
		},
		"timestamp":   {"2024-01-01", "2024-01-01T00:00:00", "2024-01-01 24:00:00", "2024-01-01 00:00:00+00", "x"},
		"timestamptz": {"2024-01-01 00:00:00", "2024-01-01 00:00:00Z", "2024-01-01 00:00:00+00 AD"},
		"int4[]": {
			"", "{", "}", "1", "{1", "1}", "{1,}", "{,1}", "{1}}", "{{1}", "{1}x", "{1,2", "[0:1]", "[0:1]=", "{}{}",
			"{1 {2}}", "{1}{2}", "{{1},2", "{" + strings.Repeat("{", 6) + "1" + strings.Repeat("}", 7),
		},
		"text[]": {`{"a}`, `{"a\"}`, `{"a\`, `{"a"b}`, `{a"b"}`, `{a\b}`, `{"a""b"}`, `{""`},
		"hstore": {
			"a=>b", `"a"`, `"a"=>`, `"a"=>b`, `"a"=>"b`, `"a"=>"b",`, `"a"=>"b", `, `"a"=>"b" "c"=>"d"`, `"a"=>"b\`,
			`"a"=>null`, `"a"=>NULLx`,
		},
	}
	for name, values := range text {
		typ := types.find(t, name)
		for _, value := range values {
			if got, change := typ.Text([]byte("["), []byte(value)); string(got) != "[null" || change != Nulled {
				t.Errorf("%s %q: %s, change %d; want null, %d", name, value, got[1:], change, Nulled)
			}
		}
	}
}

func TestMalformedBinary(t *testing.T) {
	types := newTestTypes()
	sizes := map[string]int{
		"bool": 1, "int2": 2, "int4": 4, "int8": 8, "oid": 4, "float4": 4, "float8": 8, "money": 8,
		"date": 4, "timestamp": 8, "timestamptz": 8, "time": 8, "timetz": 12, "uuid": 16,
	}
	for _, b := range builtins {
		if b.binary == nil || b.name == "bytea" {
			continue
		}
		size, ok := sizes[b.name]
		if !ok {
			t.Errorf("%s: no size", b.name)
		}
		for n := range 20 {
			got, change := types.find(t, b.name).Binary(nil, make([]byte, n))
			if n != size && (string(got) != "null" || change != Nulled) || n == size && change != Exact {
				t.Errorf("%s of %d bytes: %s, change %d", b.name, n, got, change)
			}
		}
	}
	long := binary.BigEndian.AppendUint64(nil, 86_400_000_001)
	for _, value := range [][]byte{long, []byte("\xff\xff\xff\xff\xff\xff\xff\xff")} {
		if got, change := types.find(t, "time").Binary(nil, value); string(got) != "null" || change != Nulled {
			t.Errorf("time %x: %s, change %d", value, got, change)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	types := newTestTypes()
	tests := []struct{ typ, text, want string }{
		{"text", "caf\xe9", `"caf\ufffd"`},
		{"mood", "\xff", `"\ufffd"`},
		{"text[]", "{\"a\\\"\xe9\",NULL,\xe9}", `["a\"\ufffd",null,"\ufffd"]`},
		{"hstore", "\"\xe9\"=>\"b\"", `"{\"\\ufffd\":\"b\"}"`},
	}
	for _, test := range tests {
		got, change := types.find(t, test.typ).Text(nil, []byte(test.text))
		if string(got) != test.want || change != Altered {
			t.Errorf("%s %q: %s, change %d; want %s, %d", test.typ, test.text, got, change, test.want, Altered)
		}
	}
}

// Money is read whatever lc_monetary printed it, as long as it has hundredths.
func TestMoneyLocales(t *testing.T) {
	for text, want := range map[string]string{
		"-$1,000.00":   "-1000.00",
		"($1,000.00)":  "-1000.00",
		"$-0.05":       "-0.05",
		"1.234,56 €":   "1234.56",
		"-1 234,56 kr": "-1234.56",
		"¥1,000":       "1000",
		"Fr. 12'50.00": "1250.00",
		".05":          "0.05",
		"$007.10":      "7.10",
		"00":           "0",
	} {
		if got, change := appendMoneyText(nil, []byte(text)); string(got) != want || change != Exact {
			t.Errorf("%s: %s, change %d; want %s", text, got, change, want)
		}
	}
}

func TestLongNumeric(t *testing.T) {
	types := newTestTypes()
	digits := "1" + strings.Repeat("0", 131071) + "." + strings.Repeat("0", 16382) + "1"
	if got, change := types.find(t, "numeric").Text(nil, []byte(digits)); string(got) != digits || change != Exact {
		t.Errorf("%d digits: %d bytes, change %d", len(digits), len(got), change)
	}
}

func TestIntegers(t *testing.T) {
	values := []int64{0, math.MaxInt64, math.MinInt64}
	for v := int64(1); v > 0 && v < math.MaxInt64/10; v *= 10 {
		values = append(values, v-1, v, v+1, -v, 2*v, 9*v+9, 1-v)
	}
	for _, v := range values {
		if got := string(appendInt(nil, v)); got != strconv.FormatInt(v, 10) {
			t.Errorf("%d: %s", v, got)
		}
	}
}

// Every float comes back from its text, those included that PostgreSQL prints with a digit more than strconv.
func TestFloatsRoundTrip(t *testing.T) {
	for _, v := range []float64{3.97025e20, 1.1961661e20, 9007199254740993, 1 << 62, 1e22, 1e23, math.MaxFloat64, 5e-324} {
		got, _ := appendFloat8Binary(nil, binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
		if back, err := strconv.ParseFloat(string(got), 64); err != nil || back != v {
			t.Errorf("%v comes back as %v (%s)", v, back, got)
		}
	}
	for exponent := range 255 {
		for mantissa := range uint32(64) {
			v := math.Float32frombits(uint32(exponent)<<23 | mantissa<<17)
			got, _ := appendFloat4Binary(nil, binary.BigEndian.AppendUint32(nil, math.Float32bits(v)))
			if back, err := strconv.ParseFloat(string(got), 32); err != nil || float32(back) != v || !json.Valid(got) {
				t.Errorf("%v comes back as %v (%s)", v, back, got)
			}
		}
	}
}
