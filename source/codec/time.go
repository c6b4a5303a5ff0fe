package codec

import (
	"encoding/binary"
	"math"
)

const (
	second = 1_000_000 // microseconds
	day    = 86400 * second
)

// The binary formats, all big-endian: date int32 days since 2000-01-01; timestamp and timestamptz int64
// microseconds since 2000-01-01 00:00:00 (in UTC); time int64 microseconds since midnight; timetz the same and
// int32 seconds *west* of UTC. The least and the greatest number of date and the two timestamps are -infinity and
// infinity.
//
// Source: src/backend/utils/adt/date.c and timestamp.c of PostgreSQL.

func appendDateBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 4 {
		return appendNull(dst)
	}
	days := int32(binary.BigEndian.Uint32(src))
	if days == math.MinInt32 || days == math.MaxInt32 {
		return appendNull(dst)
	}
	d := dateOf(int64(days))
	return append(appendEra(appendDate(append(dst, '"'), d), d), '"'), Exact
}

func appendTimestampBinary(dst, src []byte) ([]byte, Change) { return appendInstant(dst, src, "") }

func appendTimestamptzBinary(dst, src []byte) ([]byte, Change) { return appendInstant(dst, src, "Z") }

func appendInstant(dst, src []byte, zone string) ([]byte, Change) {
	if len(src) != 8 {
		return appendNull(dst)
	}
	micros := int64(binary.BigEndian.Uint64(src))
	if micros == math.MinInt64 || micros == math.MaxInt64 {
		return appendNull(dst)
	}
	days := micros / day
	clock := micros % day
	if clock < 0 {
		clock += day
		days--
	}
	return appendTimestamp(dst, dateOf(days), clock, zone), Exact
}

func appendTimeBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 8 {
		return appendNull(dst)
	}
	return appendTime(dst, int64(binary.BigEndian.Uint64(src)), noZone)
}

func appendTimetzBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 12 {
		return appendNull(dst)
	}
	west := int32(binary.BigEndian.Uint32(src[8:]))
	return appendTime(dst, int64(binary.BigEndian.Uint64(src)), -int(west))
}

// A date is a day of the proleptic Gregorian calendar. Year 0 is 1 BC.
type date struct{ year, month, day int }

// dateOf is the date that is so many days after 2000-01-01; |days| is below 2^31.
func dateOf(days int64) date {
	// n counts from a 1 March at the start of a 400-year cycle, so far back that no day is negative: years then end
	// with February, and the leap day is the last of its cycle of 4 years.
	const cycle, back = 146097, 20000
	n := uint64(days + 730425 + back*cycle) // 730425 days from 0000-03-01 to 2000-01-01
	century := (4*n + 3) / cycle
	n -= century * cycle / 4
	year := (4*n + 3) / 1461
	n -= year * 1461 / 4
	month := (5*n + 2) / 153 // months since March: 31, 30, 31, 30, 31 days, repeated
	d := date{int(century*100+year) - back*400, int(month) + 3, int(n-(153*month+2)/5) + 1}
	if month >= 10 {
		d.year++
		d.month -= 12
	}
	return d
}

// days is the inverse of dateOf.
func (d date) days() int64 {
	year, month := int64(d.year), int64(d.month)-3
	if month < 0 {
		year--
		month += 12
	}
	const back = 20000 // cycles of 400 years
	year += back * 400
	return year*365 + year/4 - year/100 + year/400 + (153*month+2)/5 + int64(d.day-1) - 730425 - back*146097
}

// appendDate appends the date, the year with at least four digits, without its era.
func appendDate(dst []byte, d date) []byte {
	year := d.year
	if year <= 0 {
		year = 1 - year
	}
	if year > 9999 {
		dst = appendUint(dst, uint64(year/10000))
		year %= 10000
	}
	n := len(dst)
	dst = append(dst, "0000-00-00"...)
	text := dst[n : n+10]
	putPair(text, uint64(year)/100)
	putPair(text[2:], uint64(year)%100)
	putPair(text[5:], uint64(d.month))
	putPair(text[8:], uint64(d.day))
	return dst
}

func appendEra(dst []byte, d date) []byte {
	if d.year <= 0 {
		return append(dst, " BC"...)
	}
	return dst
}

// appendClock appends a time of day, always with six digits of its second's fraction.
func appendClock(dst []byte, micros int64) []byte {
	n := len(dst)
	dst = append(dst, "00:00:00.000000"...)
	text := dst[n : n+15]
	seconds, fraction := uint32(micros/second), uint32(micros%second)
	putPair(text, uint64(seconds/3600))
	putPair(text[3:], uint64(seconds/60%60))
	putPair(text[6:], uint64(seconds%60))
	putPair(text[9:], uint64(fraction/10000))
	putPair(text[11:], uint64(fraction/100%100))
	putPair(text[13:], uint64(fraction%100))
	return dst
}

func appendTimestamp(dst []byte, d date, clock int64, zone string) []byte {
	dst = appendDate(append(dst, '"'), d)
	dst = appendClock(append(dst, 'T'), clock)
	dst = appendEra(append(dst, zone...), d)
	return append(dst, '"')
}

// noZone is the offset of a time without one.
const noZone = math.MaxInt

// appendTime appends a time of day with its offset in seconds east of UTC. 24:00:00 becomes the last microsecond of the
// day. The consumers' formats have no seconds in offsets: such a time is given in UTC. Both are Altered.
func appendTime(dst []byte, micros int64, offset int) ([]byte, Change) {
	if micros < 0 || micros > day || offset != noZone && (offset < -day/second || offset > day/second) {
		return appendNull(dst)
	}
	change := Exact
	if offset != noZone && offset%60 != 0 {
		micros = (micros - int64(offset)*second + 2*day) % day
		offset, change = 0, Altered
	}
	if micros == day {
		micros, change = day-1, Altered
	}
	dst = appendClock(append(dst, '"'), micros)
	switch offset {
	case noZone:
	case 0:
		dst = append(dst, 'Z')
	default:
		sign := byte('+')
		if offset < 0 {
			sign, offset = '-', -offset
		}
		n := len(dst)
		dst = append(dst, sign, '0', '0', ':', '0', '0')
		putPair(dst[n+1:], uint64(offset/3600))
		putPair(dst[n+4:], uint64(offset/60%60))
	}
	return append(dst, '"'), change
}
