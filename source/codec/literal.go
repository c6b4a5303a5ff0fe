package codec

import (
	"encoding/binary"
	"slices"

	"source-postgres/protocol"
)

func appendText(dst, src []byte) ([]byte, Change) {
	dst, valid := protocol.AppendString(dst, src)
	if !valid {
		return dst, Altered
	}
	return dst, Exact
}

func appendBoolText(dst, src []byte) ([]byte, Change) {
	if len(src) == 1 {
		switch src[0] {
		case 't':
			return append(dst, "true"...), Exact
		case 'f':
			return append(dst, "false"...), Exact
		}
	}
	return appendNull(dst)
}

func appendBoolBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 1 {
		return appendNull(dst)
	}
	if src[0] != 0 {
		return append(dst, "true"...), Exact
	}
	return append(dst, "false"...), Exact
}

// appendNumberText copies what PostgreSQL prints for a number, digit by digit. NaN and the infinities are null.
func appendNumberText(dst, src []byte) ([]byte, Change) {
	if !isNumber(src) {
		return appendNull(dst)
	}
	return append(dst, src...), Exact
}

// isNumber reports whether src is a number in the grammar of JSON (RFC 8259, 6), to which PostgreSQL's output keeps.
func isNumber(src []byte) bool {
	i := 0
	if len(src) > 0 && src[0] == '-' {
		i = 1
	}
	start := i
	i = skipDigits(src, i)
	if i == start || src[start] == '0' && i > start+1 {
		return false
	}
	if i < len(src) && src[i] == '.' {
		start = i + 1
		if i = skipDigits(src, start); i == start {
			return false
		}
	}
	if i < len(src) && src[i]|0x20 == 'e' {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(src, start); i == start {
			return false
		}
	}
	return i == len(src)
}

func skipDigits(src []byte, i int) int {
	for i < len(src) && src[i]-'0' <= 9 {
		i++
	}
	return i
}

// int2, int4 and int8 send 2, 4 or 8 bytes, big-endian, two's complement; oid sends 4 bytes without sign.

func appendInt2Binary(dst, src []byte) ([]byte, Change) {
	if len(src) != 2 {
		return appendNull(dst)
	}
	return appendInt(dst, int64(int16(binary.BigEndian.Uint16(src)))), Exact
}

func appendInt4Binary(dst, src []byte) ([]byte, Change) {
	if len(src) != 4 {
		return appendNull(dst)
	}
	return appendInt(dst, int64(int32(binary.BigEndian.Uint32(src)))), Exact
}

func appendInt8Binary(dst, src []byte) ([]byte, Change) {
	if len(src) != 8 {
		return appendNull(dst)
	}
	return appendInt(dst, int64(binary.BigEndian.Uint64(src))), Exact
}

func appendOIDBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 4 {
		return appendNull(dst)
	}
	return appendUint(dst, uint64(binary.BigEndian.Uint32(src))), Exact
}

func appendInt(dst []byte, v int64) []byte {
	if v < 0 {
		return appendUint(append(dst, '-'), -uint64(v))
	}
	return appendUint(dst, uint64(v))
}

// appendUint appends v in decimal, two digits at a time.
func appendUint(dst []byte, v uint64) []byte {
	if v < 10 {
		return append(dst, byte('0'+v))
	}
	var text [20]byte
	i := len(text)
	for v >= 100 {
		i -= 2
		putPair(text[i:], v%100)
		v /= 100
	}
	if v >= 10 {
		i -= 2
		putPair(text[i:], v)
	} else {
		i--
		text[i] = byte('0' + v)
	}
	return append(dst, text[i:]...)
}

// putPair writes v, below 100, as two digits.
func putPair(dst []byte, v uint64) {
	binary.LittleEndian.PutUint16(dst, decimal[v])
}

// decimal holds the two digits of each number below 100, and hexadecimal of each byte, the first in the low byte.
var decimal, hexadecimal = pairs(10), pairs(16)

func pairs(base int) (t [256]uint16) {
	const digits = "0123456789abcdef"
	for v := range base * base {
		t[v] = uint16(digits[v/base]) | uint16(digits[v%base])<<8
	}
	return t
}

// appendByteaBinary writes bytea's raw bytes as its text format does: \x and two hexadecimal digits a byte.
func appendByteaBinary(dst, src []byte) ([]byte, Change) {
	dst = append(dst, `"\\x`...)
	dst = appendHex(dst, src)
	return append(dst, '"'), Exact
}

func appendHex(dst, src []byte) []byte {
	n := len(dst)
	dst = extend(dst, 2*len(src))
	text := dst[n:]
	for _, c := range src {
		binary.LittleEndian.PutUint16(text, hexadecimal[c])
		text = text[2:]
	}
	return dst
}

// appendUUIDBinary writes uuid's 16 bytes in groups of 8-4-4-4-12 digits.
func appendUUIDBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 16 {
		return appendNull(dst)
	}
	n := len(dst)
	dst = append(dst, `"00000000-0000-0000-0000-000000000000"`...)
	text := dst[n+1 : n+37]
	for i, at := range [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		binary.LittleEndian.PutUint16(text[at:], hexadecimal[src[i]])
	}
	return dst, Exact
}

// extend makes dst n bytes longer; they are undefined.
func extend(dst []byte, n int) []byte {
	return slices.Grow(dst, n)[:len(dst)+n]
}
