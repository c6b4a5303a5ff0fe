package codec

import "encoding/binary"

// appendMoneyText reads money as lc_monetary C prints it, -$1,000.00, and as most others do: any currency sign
// before or after, parentheses or a minus for less than nothing, "," and "." in either role. The last of these, if
// exactly two digits follow it, is the decimal point; all others group thousands.
func appendMoneyText(dst, src []byte) ([]byte, Change) {
	point, count := -1, 0 // the last separator; digits after it
	negative := false
	total := 0
	for i, c := range src {
		switch {
		case c >= '0' && c <= '9':
			count++
			total++
		case c == '.' || c == ',':
			point, count = i, 0
		case c == '-' || c == '(':
			negative = true
		}
	}
	if total == 0 {
		return appendNull(dst)
	}
	if count != 2 {
		point = -1
	}
	if negative {
		dst = append(dst, '-')
	}
	start := len(dst)
	for i, c := range src {
		switch {
		case c >= '0' && c <= '9':
			if len(dst) == start+1 && dst[start] == '0' {
				dst = dst[:start]
			}
			dst = append(dst, c)
		case i == point:
			if len(dst) == start {
				dst = append(dst, '0')
			}
			dst = append(dst, '.')
		}
	}
	return dst, Exact
}

// appendMoneyBinary reads the 8 bytes, big-endian, of an amount in hundredths: what the digits of lc_monetary C
// make of it.
func appendMoneyBinary(dst, src []byte) ([]byte, Change) {
	if len(src) != 8 {
		return appendNull(dst)
	}
	v := binary.BigEndian.Uint64(src)
	if int64(v) < 0 {
		dst = append(dst, '-')
		v = -v
	}
	dst = appendUint(dst, v/100)
	n := len(dst)
	dst = append(dst, ".00"...)
	putPair(dst[n+1:], v%100)
	return dst, Exact
}
