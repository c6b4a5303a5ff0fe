package protocol

import "unicode/utf8"

// AppendString appends src to dst as a JSON string, quotes included, and reports whether src was valid UTF-8.
// Every invalid byte becomes U+FFFD. Control characters are escaped, and so are U+0085, U+2028 and U+2029: readers that
// split their input with Python's str.splitlines take these three for line ends.
//
// It does not allocate beyond the growth of dst, and src may be the tail of dst's own array.
func AppendString(dst, src []byte) ([]byte, bool) {
	valid := true
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(src); {
		c := src[i]
		if plain[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, src[start:i]...)
			dst = appendEscaped(dst, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, src[start:i]...)
			dst = append(dst, `\ufffd`...)
			valid = false
			start = i + size
		case r == '\u0085':
			dst = append(dst, src[start:i]...)
			dst = append(dst, `\u0085`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, src[start:i]...)
			dst = append(dst, `\u202`...)
			dst = append(dst, hexDigits[r&0xF])
			start = i + size
		}
		i += size
	}
	dst = append(dst, src[start:]...)
	return append(dst, '"'), valid
}

const hexDigits = "0123456789abcdef"

// plain holds the bytes that stand for themselves in a JSON string and need no look at their neighbours.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7F; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xF])
}
