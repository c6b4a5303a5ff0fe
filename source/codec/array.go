package codec

import (
	"encoding/binary"
	"slices"
)

// maxDepth is how many dimensions an array can have.
//
// Source: MAXDIM in src/include/utils/array.h of PostgreSQL.
const maxDepth = 6

// arrayText reads arrays whose elements element reads, from the text format: {1,NULL,"a \"b\" \\ c"}, nested once
// for each dimension that the value has, delim between elements; bounds as in [0:1]={1,2} come first where they are
// not from 1. An element that cannot be carried is null or altered, and its Change is that of the array.
//
// Source: PostgreSQL documentation, 8.15.6 "Array Input and Output Syntax".
func arrayText(element Append, delim byte) Append {
	return func(dst, src []byte) ([]byte, Change) {
		start := len(dst)
		dst, change, ok := appendArray(dst, skipBounds(src), element, delim)
		if !ok {
			return appendNull(dst[:start])
		}
		return dst, change
	}
}

// skipBounds returns src without the bounds of the dimensions.
func skipBounds(src []byte) []byte {
	if len(src) > 0 && src[0] == '[' {
		for i, c := range src {
			if c == '=' {
				return src[i+1:]
			}
		}
	}
	return src
}

func appendArray(dst, src []byte, element Append, delim byte) (_ []byte, change Change, ok bool) {
	depth, i := 0, 0
	for first := true; ; first = false {
		// Before an element: it, or the start or (only if empty) the end of an array.
		switch {
		case i == len(src), depth == 0 && !first:
			return dst, change, false
		case src[i] == '{':
			if depth == maxDepth {
				return dst, change, false
			}
			depth++
			i++
			dst = append(dst, '[')
			if i == len(src) || src[i] != '}' {
				continue
			}
		case depth == 0:
			return dst, change, false
		default:
			var size int
			var c Change
			if dst, size, c = appendElement(dst, src[i:], element, delim); size == 0 {
				return dst, change, false
			}
			i += size
			change = worse(change, c)
		}
		// After an element.
		for i < len(src) && src[i] == '}' && depth > 0 {
			depth--
			i++
			dst = append(dst, ']')
		}
		if depth == 0 {
			return dst, change, i == len(src)
		}
		if i == len(src) || src[i] != delim {
			return dst, change, false
		}
		i++
		dst = append(dst, ',')
	}
}

// appendElement appends the element that src begins with and returns how many bytes of src it took, 0 if it is
// malformed.
func appendElement(dst, src []byte, element Append, delim byte) (_ []byte, size int, c Change) {
	if src[0] == '"' {
		return appendQuoted(dst, src, element)
	}
	for size < len(src) && src[size] != delim && src[size] != '}' {
		if src[size] == '"' || src[size] == '{' || src[size] == '\\' {
			return dst, 0, Exact
		}
		size++
	}
	switch {
	case size == 0:
		return dst, 0, Exact
	case string(src[:size]) == "NULL":
		return append(dst, "null"...), size, Exact
	}
	dst, c = element(dst, src[:size])
	return dst, size, c
}

// appendQuoted appends what is between the quotes that src begins with and returns how many bytes of src it took,
// quotes included, or 0 if the second is missing. A backslash stands before a quote or another backslash.
func appendQuoted(dst, src []byte, element Append) (_ []byte, size int, c Change) {
	i := 1
	for i < len(src) && src[i] != '"' && src[i] != '\\' {
		i++
	}
	if i < len(src) && src[i] == '"' { // the usual case: no backslash
		dst, c = element(dst, src[1:i])
		return dst, i + 1, c
	}
	// Unescape behind dst, append the element behind that, and move it down.
	start := len(dst)
	dst = append(dst, src[1:i]...)
	for ; i < len(src) && src[i] != '"'; i++ {
		if src[i] == '\\' {
			i++
		}
		if i < len(src) {
			dst = append(dst, src[i])
		}
	}
	if i >= len(src) {
		return dst[:start], 0, Exact
	}
	end := len(dst)
	dst, c = element(dst, dst[start:])
	return slices.Delete(dst, start, end), i + 1, c
}

// arrayBinary reads arrays whose elements element reads, from the binary format.
//
//	int32   number of dimensions, 0 for an empty array
//	int32   1 if there are NULLs (the elements say so themselves)
//	uint32  type of the elements (the column says so already)
//	then for each dimension
//	int32   number of elements
//	int32   lower bound
//	then for each element, the last dimension running fastest
//	int32   bytes of it, -1 for NULL
//	        the element
//
// Source: array_send in src/backend/utils/adt/arrayfuncs.c of PostgreSQL.
func arrayBinary(element Append) Append {
	return func(dst, src []byte) ([]byte, Change) {
		if len(src) < 12 {
			return appendNull(dst)
		}
		depth := int(binary.BigEndian.Uint32(src))
		if depth == 0 {
			return append(dst, "[]"...), Exact
		}
		if depth > maxDepth || len(src) < 12+8*depth {
			return appendNull(dst)
		}
		// lengths[d] is how many elements one array at depth d holds, those nested in it included.
		var lengths [maxDepth]int
		total := 1
		for d := depth - 1; d >= 0; d-- {
			n := int(int32(binary.BigEndian.Uint32(src[12+8*d:])))
			if n <= 0 || n > len(src)/4/total { // each element takes 4 bytes at least
				return appendNull(dst)
			}
			total *= n
			lengths[d] = total
		}
		start := len(dst)
		dst, change, ok := appendElements(dst, src[12+8*depth:], element, lengths[:depth])
		if !ok {
			return appendNull(dst[:start])
		}
		return dst, change
	}
}

func appendElements(dst, src []byte, element Append, lengths []int) (_ []byte, change Change, ok bool) {
	last := len(lengths) - 1
	for n := 0; n < lengths[0]; n += lengths[last] {
		if n > 0 {
			dst = append(dst, ',')
		}
		for _, length := range lengths {
			if n%length == 0 {
				dst = append(dst, '[')
			}
		}
		for i := range lengths[last] {
			if len(src) < 4 {
				return dst, change, false
			}
			size := int(int32(binary.BigEndian.Uint32(src)))
			src = src[4:]
			if i > 0 {
				dst = append(dst, ',')
			}
			if size == -1 {
				dst = append(dst, "null"...)
				continue
			}
			if size < 0 || size > len(src) {
				return dst, change, false
			}
			var c Change
			dst, c = element(dst, src[:size])
			change = worse(change, c)
			src = src[size:]
		}
		for _, length := range lengths {
			if (n+lengths[last])%length == 0 {
				dst = append(dst, ']')
			}
		}
	}
	return dst, change, len(src) == 0
}
