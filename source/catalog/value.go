package catalog

import (
	"bytes"
	"strconv"
)

// The values of the queries come as PostgreSQL's text. They are the server's own, so that a value which does not
// parse is a fault of the query; it then reads as zero.

func integer(v []byte) int64 {
	n, _ := strconv.ParseInt(string(v), 10, 64)
	return n
}

func oid(v []byte) uint32 {
	n, _ := strconv.ParseUint(string(v), 10, 32)
	return uint32(n)
}

// isTrue reads a boolean, as boolean or as its text.
func isTrue(v []byte) bool { return len(v) > 0 && v[0] == 't' }

// numbers gives the first count numbers of an int2vector, all of them if count is nil; NULL (no such index) gives none.
func numbers(count, vector []byte) []int16 {
	var all []int16
	for _, field := range bytes.Fields(vector) {
		if count == nil || int64(len(all)) < integer(count) {
			all = append(all, int16(integer(field)))
		}
	}
	return all
}

// oidArray writes an oid[] literal.
func oidArray(oids []uint32) []byte {
	text := []byte{'{'}
	for i, o := range oids {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendUint(text, uint64(o), 10)
	}
	return append(text, '}')
}
