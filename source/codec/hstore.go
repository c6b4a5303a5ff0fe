package codec

import (
	"bytes"
	"slices"

	"source-postgres/protocol"
)

// appendHstore reads hstore's text, "key"=>"value", "other"=>NULL with backslashes before quotes and backslashes, and
// appends a string that holds the JSON object of it.
//
// Source: PostgreSQL documentation, F.18 "hstore".
func appendHstore(dst, src []byte) ([]byte, Change) {
	start := len(dst)
	dst = append(dst, '{')
	var change Change
	for first := true; len(src) > 0; first = false {
		if !first {
			if !bytes.HasPrefix(src, []byte(", ")) {
				return appendNull(dst[:start])
			}
			src = src[2:]
			dst = append(dst, ',')
		}
		var size int
		var c Change
		if dst, size, c = appendWord(dst, src); size == 0 || !bytes.HasPrefix(src[size:], []byte("=>")) {
			return appendNull(dst[:start])
		}
		src = src[size+2:]
		change = worse(change, c)
		dst = append(dst, ':')
		if bytes.HasPrefix(src, []byte("NULL")) {
			dst = append(dst, "null"...)
			src = src[4:]
			continue
		}
		if dst, size, c = appendWord(dst, src); size == 0 {
			return appendNull(dst[:start])
		}
		src = src[size:]
		change = worse(change, c)
	}
	dst = append(dst, '}')
	end := len(dst)
	dst, _ = protocol.AppendString(dst, dst[start:])
	return slices.Delete(dst, start, end), change
}

// appendWord appends the quoted word that src begins with and returns how many bytes of src it took, 0 if there is
// none.
func appendWord(dst, src []byte) (_ []byte, size int, c Change) {
	if len(src) == 0 || src[0] != '"' {
		return dst, 0, Exact
	}
	return appendQuoted(dst, src, appendText)
}
