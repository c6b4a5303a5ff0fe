package codec

import (
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// Go's calendar is proleptic Gregorian too, with a year 0.
func TestDateOf(t *testing.T) {
	epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for days := int64(-2_500_000); days < 3_000_000; days += 37 {
		want := epoch.AddDate(0, 0, int(days))
		got := dateOf(days)
		if got.year != want.Year() || got.month != int(want.Month()) || got.day != want.Day() {
			t.Fatalf("%d days: %v, want %v", days, got, want)
		}
		if got.days() != days {
			t.Fatalf("%v: %d days, want %d", got, got.days(), days)
		}
	}
	for _, days := range []int64{math.MinInt32, math.MaxInt32} {
		if d := dateOf(days); d.days() != days {
			t.Errorf("%d days: %v, which is %d days", days, d, d.days())
		}
	}
}

// A session whose TimeZone could not be set to UTC prints other offsets, before 1900 even with seconds.
func TestTimestamptzOtherZone(t *testing.T) {
	for text, want := range map[string]string{
		"2004-10-19 10:23:54.5+02":               `"2004-10-19T08:23:54.500000Z"`,
		"2004-10-19 20:23:54-08":                 `"2004-10-20T04:23:54.000000Z"`,
		"2004-03-01 00:00:00+05:30":              `"2004-02-29T18:30:00.000000Z"`,
		"1900-01-01 00:19:32+00:19:32":           `"1900-01-01T00:00:00.000000Z"`,
		"0001-01-01 00:00:00+01":                 `"0001-12-31T23:00:00.000000Z BC"`,
		"0001-12-31 23:30:00-01 BC":              `"0001-01-01T00:30:00.000000Z"`,
		"294277-01-01 00:59:59.999999+01":        `"294276-12-31T23:59:59.999999Z"`,
		"4714-11-24 00:00:00+00 BC":              `"4714-11-24T00:00:00.000000Z BC"`,
		"4714-11-24 00:19:32.000001+00:19:32 BC": `"4714-11-24T00:00:00.000001Z BC"`,
	} {
		if got, change := appendTimestamptzText(nil, []byte(text)); string(got) != want || change != Exact {
			t.Errorf("%s: %s, change %d; want %s", text, got, change, want)
		}
	}
}

// The binary formats, on values whose text is in types.txt.
func TestTimesBinary(t *testing.T) {
	types := newTestTypes()
	int64s := func(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
	int32s := func(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
	timetz := func(micros int64, west int32) []byte { return append(int64s(micros), int32s(west)...) }
	tests := []struct {
		typ    string
		value  []byte
		want   string
		change Change
	}{
		{"date", int32s(0), `"2000-01-01"`, Exact},
		{"date", int32s(-1), `"1999-12-31"`, Exact},
		{"date", int32s(2145031948), `"5874897-12-31"`, Exact},
		{"date", int32s(-2451545), `"4714-11-24 BC"`, Exact},
		{"date", int32s(math.MaxInt32), `null`, Nulled},
		{"date", int32s(math.MinInt32), `null`, Nulled},
		{"timestamp", int64s(0), `"2000-01-01T00:00:00.000000"`, Exact},
		{"timestamp", int64s(-1), `"1999-12-31T23:59:59.999999"`, Exact},
		{"timestamp", int64s(-86_400_000_000), `"1999-12-31T00:00:00.000000"`, Exact},
		{"timestamp", int64s(9223371331199999999), `"294276-12-31T23:59:59.999999"`, Exact},
		{"timestamptz", int64s(-211813488000000000), `"4714-11-24T00:00:00.000000Z BC"`, Exact},
		{"timestamp", int64s(math.MaxInt64), `null`, Nulled},
		{"timestamptz", int64s(math.MinInt64), `null`, Nulled},
		{"time", int64s(86_400_000_000), `"23:59:59.999999"`, Altered},
		{"timetz", timetz(3_600_000_000, -8*3600), `"01:00:00.000000+08:00"`, Exact},
		{"timetz", timetz(3_600_000_000, 0), `"01:00:00.000000Z"`, Exact},
		{"timetz", timetz(3_600_000_000, 12600), `"01:00:00.000000-03:30"`, Exact},
		{"timetz", timetz(86_400_000_000, 57599), `"15:59:59.000000Z"`, Altered},
		{"timetz", timetz(0, -57599), `"08:00:01.000000Z"`, Altered},
		{"timetz", timetz(0, math.MinInt32), `null`, Nulled},
	}
	for _, test := range tests {
		got, change := types.find(t, test.typ).Binary(nil, test.value)
		if string(got) != test.want || change != test.change {
			t.Errorf("%s %x: %s, change %d; want %s, %d", test.typ, test.value, got, change, test.want, test.change)
		}
	}
}
