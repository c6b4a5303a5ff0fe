package codec

import "source-postgres/protocol"

// Append appends src, a value in one of PostgreSQL's two wire formats, to dst as one JSON value. Where the Change
// is not Exact there is still one valid JSON value: null, or the altered one. Bytes that are no value of the type
// give null and Nulled. src is never nil (SQL NULL is the caller's) and is not kept; it may be the tail of dst's
// own array. An Append does not allocate beyond the growth of dst and is safe for concurrent use.
type Append func(dst, src []byte) ([]byte, Change)

// A Type says how a PostgreSQL type appears to Airbyte. It is immutable.
type Type struct {
	Name   string            // PostgreSQL's name, for people
	Schema protocol.Property // of a value that is not null
	Text   Append            // from the text format; always there: logical replication sends text
	Binary Append            // from the binary format, or nil: the SELECT asks for text
	Cursor bool              // its values are ordered and its text keeps the order's place: may be chosen as a cursor

	array bool // its binary format may take more bytes than its JSON
}
