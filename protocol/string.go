package protocol

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// AppendString appends src to dst as a JSON string, quotes included, and reports whether src was valid UTF-8.
// Every invalid byte becomes U+FFFD. Control characters are escaped, U+0085 among them, and so are U+2028 and U+2029:
// readers that split their input with Python's str.splitlines take these three for line ends.
//
// It does not allocate beyond the growth of dst, and src may be the tail of dst's own array. What that array holds
// beyond the result is undefined.
func AppendString(dst, src []byte) ([]byte, bool) {
	valid := true
	dst = slices.Grow(dst, len(src)+room)
	n := len(dst)
	dst = dst[:cap(dst)]
	dst[n] = '"'
	n++
	// Invariant of the loop: dst[n:] has space for the rest of src and room-1 bytes more.
	for i := 0; i < len(src); {
		for i+8 <= len(src) {
			w := binary.LittleEndian.Uint64(src[i:])
			binary.LittleEndian.PutUint64(dst[n:], w)
			if m := special(w); m != 0 {
				k := bits.TrailingZeros64(m) / 8
				i += k
				n += k
				break
			}
			i += 8
			n += 8
		}
		for i < len(src) && plain[src[i]] {
			dst[n] = src[i]
			i++
			n++
		}
		if i == len(src) {
			break
		}
		c := src[i]
		switch {
		case c == '"' || c == '\\':
			binary.LittleEndian.PutUint16(dst[n:], '\\'|uint16(c)<<8)
			i++
			n += 2
			if len(dst)-n < len(src)-i+room {
				dst = widen(dst, n, len(src)-i)
			}
		case c < 0x80:
			dst, n = escape(dst, n, c, len(src)-i)
			i++
		default:
			dst, i, n, valid = appendRunes(dst, src, i, n, valid)
		}
	}
	dst[n] = '"'
	return dst[:n+1], valid
}

// appendRunes is AppendString's loop for what is not ASCII: from src[i] to the next byte that is.
func appendRunes(dst, src []byte, i, n int, valid bool) ([]byte, int, int, bool) {
	for i < len(src) && src[i] >= 0x80 {
		c := src[i]
		if c > 0xC2 && c < 0xE0 && i+1 < len(src) && src[i+1]&0xC0 == 0x80 {
			binary.LittleEndian.PutUint16(dst[n:], uint16(c)|uint16(src[i+1])<<8)
			i += 2
			n += 2
			continue
		}
		// E1, E3 to EC: three bytes, none of which limits another. What is written too far is written again.
		if c > 0xE0 && c < 0xED && c != 0xE2 && i+4 <= len(src) {
			if w := binary.LittleEndian.Uint32(src[i:]); w&0xC0C000 == 0x808000 {
				binary.LittleEndian.PutUint32(dst[n:], w)
				i += 3
				n += 3
				continue
			}
		}
		size := sequence(src[i:])
		switch {
		case size == 0:
			valid = false
			dst, n = escapeRune(dst, n, 0xFFFD, len(src)-i)
			size = 1
		case c == 0xC2 && src[i+1] < 0xA0:
			dst, n = escapeRune(dst, n, uint16(src[i+1]), len(src)-i)
		case c == 0xE2 && src[i+1] == 0x80 && src[i+2]|1 == 0xA9:
			dst, n = escapeRune(dst, n, 0x2000|uint16(src[i+2]&0x3F), len(src)-i)
		default:
			n += copy(dst[n:], src[i:i+size])
		}
		i += size
	}
	return dst, i, n, valid
}

// room is what AppendString keeps free beyond the rest of its source: two quotes, one escape, one word copied too far.
const room = 2 + 6 + 8

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// special marks, by the high bit of each byte, what of the 8 bytes in w does not stand for itself in a JSON string. The
// lowest mark is exact; above it, borrows and carries may have left others.
func special(w uint64) uint64 {
	marks := w | (w + lowBits) | (w - lowBits*0x20)
	marks |= (w ^ lowBits*'"') - lowBits
	marks |= (w ^ lowBits*'\\') - lowBits
	return marks & highBits
}

// sequence is the length of the UTF-8 sequence that src begins with, which is no ASCII, or 0 where it is invalid.
//
// Source: Unicode, table 3-7 "Well-Formed UTF-8 Byte Sequences".
func sequence(src []byte) int {
	c := src[0]
	switch {
	case c < 0xC2 || c > 0xF4 || len(src) < 2:
		return 0
	case c < 0xE0:
		if src[1]&0xC0 == 0x80 {
			return 2
		}
		return 0
	}
	low, high := byte(0x80), byte(0xBF)
	switch c {
	case 0xE0:
		low = 0xA0
	case 0xED:
		high = 0x9F
	case 0xF0:
		low = 0x90
	case 0xF4:
		high = 0x8F
	}
	if src[1] < low || src[1] > high || len(src) < 3 || src[2]&0xC0 != 0x80 {
		return 0
	}
	if c < 0xF0 {
		return 3
	}
	if len(src) < 4 || src[3]&0xC0 != 0x80 {
		return 0
	}
	return 4
}

const hexDigits = "0123456789abcdef"

// plain holds the bytes that stand for themselves in a JSON string and need no look at their neighbours.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7F; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// escape writes c escaped at dst[n] and makes sure that there is room for the left bytes of the source after it.
func escape(dst []byte, n int, c byte, left int) ([]byte, int) {
	short := byte(0)
	switch c {
	case '"', '\\':
		short = c
	case '\n':
		short = 'n'
	case '\r':
		short = 'r'
	case '\t':
		short = 't'
	default:
		return escapeRune(dst, n, uint16(c), left)
	}
	dst[n] = '\\'
	dst[n+1] = short
	return widen(dst, n+2, left), n + 2
}

func escapeRune(dst []byte, n int, r uint16, left int) ([]byte, int) {
	dst[n] = '\\'
	dst[n+1] = 'u'
	dst[n+2] = hexDigits[r>>12]
	dst[n+3] = hexDigits[r>>8&0xF]
	dst[n+4] = hexDigits[r>>4&0xF]
	dst[n+5] = hexDigits[r&0xF]
	return widen(dst, n+6, left), n + 6
}

// widen returns dst, grown where what follows dst[n] is less than left bytes and room.
func widen(dst []byte, n, left int) []byte {
	if len(dst)-n >= left+room {
		return dst
	}
	dst = slices.Grow(dst[:n], left+room)
	return dst[:cap(dst)]
}
