package codec

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// binaryValues are everyday values in the binary format, textValues the same in text.
var binaryValues = map[string][]byte{
	"bool":        {1},
	"int4":        int32s(1234567),
	"int8":        int32s(2, 12345),
	"oid":         int32s(16384),
	"float4":      int32s(int32(math.Float32bits(3.4145))),
	"float8":      binary.BigEndian.AppendUint64(nil, math.Float64bits(1234.5678)),
	"money":       int32s(0, 100101),
	"date":        int32s(8825),
	"time":        binary.BigEndian.AppendUint64(nil, 46801123456),
	"timetz":      append(binary.BigEndian.AppendUint64(nil, 46801123456), 0xFF, 0xFF, 0x8F, 0x80),
	"timestamp":   binary.BigEndian.AppendUint64(nil, 762526801123456),
	"timestamptz": binary.BigEndian.AppendUint64(nil, 762526801123456),
	"uuid":        []byte("\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11"),
	"bytea":       []byte("0123456789abcdef0123456789abcdef"),
	"int4[]":      int32s(1, 0, 23, 5, 1, 4, 1, 4, 22, 4, 333, 4, 4444, 4, 55555),
	"float8[]": int32s(1, 0, 701, 3, 1, 8, 0x3FF80000, 0, 8, 0x3FB99999, int32(-0x66666666), 8,
		0x40934A45, 0x6D5CFAAD),
}

var textValues = map[string]string{
	"bool": "t", "int4": "1234567", "int8": "8589946937", "oid": "16384", "float4": "3.4145", "float8": "1234.5678",
	"money": "$1,001.01", "date": "2024-02-29", "time": "13:00:01.123456", "timetz": "13:00:01.123456+08",
	"timestamp": "2024-02-29 13:00:01.123456", "timestamptz": "2024-02-29 13:00:01.123456+00",
	"uuid":  "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
	"bytea": `\x3031323334353637383961626364656630313233343536373839616263646566`, "int4[]": "{1,22,333,4444,55555}",
	"float8[]": "{1.5,0.1,1234.5678}", "numeric": "12345.6789", "text": "just a few words now",
	"text[]": `{one,"two words","thr\"ee"}`, "jsonb": `{"id": 12, "name": "foo bar", "tags": ["a", "b"], "on": true}`,
	"hstore": `"a"=>"b", "c d"=>NULL`, "interval": "1 day 04:05:06",
}

// The values of the benchmark are the same in both formats.
func TestFormatsAgree(t *testing.T) {
	types := newTestTypes()
	for name, value := range binaryValues {
		typ := types.find(t, name)
		text, c := typ.Text(nil, []byte(textValues[name]))
		binary, d := typ.Binary(nil, value)
		if !bytes.Equal(text, binary) || c != Exact || d != Exact {
			t.Errorf("%s: text gives %s (change %d), binary %s (change %d)", name, text, c, binary, d)
		}
	}
}

func BenchmarkValue(b *testing.B) {
	types := newTestTypes()
	dst := make([]byte, 0, 1024)
	for name, text := range textValues {
		typ := types.find(b, name)
		b.Run(name+"/text", func(b *testing.B) {
			src := []byte(text)
			for b.Loop() {
				dst, _ = typ.Text(dst[:0], src)
			}
		})
		if typ.Binary == nil {
			continue
		}
		b.Run(name+"/binary", func(b *testing.B) {
			src := binaryValues[name]
			for b.Loop() {
				dst, _ = typ.Binary(dst[:0], src)
			}
		})
	}
}

func BenchmarkRow(b *testing.B) {
	types := newTestTypes()
	o := NewObject(columns(b, types, "id! int8", "name text", "amount numeric", "created_at timestamptz", "active bool"),
		MixedWire, Limits{Field: 16_000_000, Record: 20_000_000})
	values := [][]byte{
		binaryValues["int8"], []byte("just a few words now"), []byte("12345.6789"),
		binaryValues["timestamptz"], binaryValues["bool"],
	}
	var object, changes []byte
	b.ReportAllocs()
	for b.Loop() {
		object, changes = o.Append(object[:0], changes[:0], values)
	}
	b.SetBytes(int64(len(object)))
}
