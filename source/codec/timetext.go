package codec

// The text formats under DateStyle ISO: 2024-02-29, 2024-02-29 13:00:01.123, 2024-02-29 13:00:01.123+05:30:15,
// 13:00:01.123, 13:00:01.123-08. Years have four digits or more; " BC" may follow at the very end; trailing zeros
// of the fraction, and parts of the offset that are zero, are left out. They are read and written anew, so that
// both formats give the same bytes.

func appendDateText(dst, src []byte) ([]byte, Change) {
	d, rest, ok := readDate(src)
	if !ok || !d.readEra(rest) {
		return appendNull(dst)
	}
	return append(appendEra(appendDate(append(dst, '"'), d), d), '"'), Exact
}

func appendTimestampText(dst, src []byte) ([]byte, Change) {
	d, clock, rest, ok := readTimestamp(src)
	if !ok || !d.readEra(rest) {
		return appendNull(dst)
	}
	return appendTimestamp(dst, d, clock, ""), Exact
}

func appendTimestamptzText(dst, src []byte) ([]byte, Change) {
	d, clock, rest, ok := readTimestamp(src)
	if !ok {
		return appendNull(dst)
	}
	offset, rest, ok := readOffset(rest)
	if !ok || !d.readEra(rest) {
		return appendNull(dst)
	}
	if offset != 0 {
		clock -= int64(offset) * second
		switch {
		case clock < 0:
			clock += day
			d = dateOf(d.days() - 1)
		case clock >= day:
			clock -= day
			d = dateOf(d.days() + 1)
		}
	}
	return appendTimestamp(dst, d, clock, "Z"), Exact
}

func appendTimeText(dst, src []byte) ([]byte, Change) {
	micros, rest, ok := readClock(src)
	if !ok || len(rest) > 0 {
		return appendNull(dst)
	}
	return appendTime(dst, micros, noZone)
}

func appendTimetzText(dst, src []byte) ([]byte, Change) {
	micros, rest, ok := readClock(src)
	if !ok {
		return appendNull(dst)
	}
	offset, rest, ok := readOffset(rest)
	if !ok || len(rest) > 0 {
		return appendNull(dst)
	}
	return appendTime(dst, micros, offset)
}

func readTimestamp(src []byte) (d date, clock int64, rest []byte, ok bool) {
	d, rest, ok = readDate(src)
	if !ok || len(rest) == 0 || rest[0] != ' ' {
		return d, 0, nil, false
	}
	clock, rest, ok = readClock(rest[1:])
	return d, clock, rest, ok && clock < day
}

// readDate reads the date at the start of src.
func readDate(src []byte) (d date, rest []byte, ok bool) {
	i := 0
	for i < len(src) && i < 7 && src[i]-'0' <= 9 { // the greatest year has seven digits
		d.year = d.year*10 + int(src[i]-'0')
		i++
	}
	if i < 4 || len(src) < i+6 || src[i] != '-' || src[i+3] != '-' {
		return d, nil, false
	}
	d.month = readPair(src[i+1:])
	d.day = readPair(src[i+4:])
	return d, src[i+6:], d.year > 0 && d.month >= 1 && d.month <= 12 && d.day >= 1 && d.day <= 31
}

// readEra takes rest, all that follows the date and its time, as the era and reports whether it is one.
func (d *date) readEra(rest []byte) bool {
	if string(rest) == " BC" {
		d.year = 1 - d.year
		return true
	}
	return len(rest) == 0
}

// readClock reads the time of day, 24:00:00 included, at the start of src.
func readClock(src []byte) (micros int64, rest []byte, ok bool) {
	if len(src) < 8 || src[2] != ':' || src[5] != ':' {
		return 0, nil, false
	}
	h, m, s := readPair(src), readPair(src[3:]), readPair(src[6:])
	if h < 0 || m < 0 || s < 0 || m > 59 || s > 59 {
		return 0, nil, false
	}
	micros = int64(h*3600+m*60+s) * second
	rest = src[8:]
	if len(rest) > 0 && rest[0] == '.' {
		i, unit := 1, int64(second)
		for i < len(rest) && i <= 6 && rest[i]-'0' <= 9 {
			unit /= 10
			micros += unit * int64(rest[i]-'0')
			i++
		}
		if i == 1 {
			return 0, nil, false
		}
		rest = rest[i:]
	}
	return micros, rest, micros <= day
}

// readOffset reads ±hh, ±hh:mm or ±hh:mm:ss at the start of src, in seconds east of UTC.
func readOffset(src []byte) (offset int, rest []byte, ok bool) {
	if len(src) < 3 || src[0] != '+' && src[0] != '-' {
		return 0, nil, false
	}
	h, m, s := readPair(src[1:]), 0, 0
	rest = src[3:]
	if len(rest) >= 3 && rest[0] == ':' {
		m, rest = readPair(rest[1:]), rest[3:]
		if len(rest) >= 3 && rest[0] == ':' {
			s, rest = readPair(rest[1:]), rest[3:]
		}
	}
	if h < 0 || m < 0 || s < 0 || h > 23 || m > 59 || s > 59 {
		return 0, nil, false
	}
	offset = h*3600 + m*60 + s
	if src[0] == '-' {
		offset = -offset
	}
	return offset, rest, true
}

// readPair is the number of two digits at the start of src, which has two bytes, or -1.
func readPair(src []byte) int {
	a, b := src[0]-'0', src[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}
