package codec

// A Change says what a value lost on its way into JSON; the zero Change is nothing.
type Change uint8

// The changes. In a record's meta.changes, Altered is TRUNCATED and the other three are NULLED.
const (
	Exact          Change = iota
	Nulled                // JSON or the schema cannot hold the value: it is null
	Altered               // the value is there, but not quite as it is stored: 24:00:00, bytes that are no UTF-8
	FieldTooLarge         // the field is above Limits.Field: it is null
	RecordTooLarge        // the record is above Limits.Record and this was one of its largest fields: it is null
)

// detail is what follows the field's name in an entry of meta.changes.
//
// Source: Airbyte protocol, AirbyteRecordMessageMetaChange.
var detail = [...]string{
	Nulled:         `,"change":"NULLED","reason":"SOURCE_SERIALIZATION_ERROR"}`,
	Altered:        `,"change":"TRUNCATED","reason":"SOURCE_SERIALIZATION_ERROR"}`,
	FieldTooLarge:  `,"change":"NULLED","reason":"SOURCE_FIELD_SIZE_LIMITATION"}`,
	RecordTooLarge: `,"change":"NULLED","reason":"SOURCE_RECORD_SIZE_LIMITATION"}`,
}

// appendChange appends the entry of one field, whose name is given as JSON, to the array that begins at
// changes[start]; the array is left open.
func appendChange(changes []byte, start int, name []byte, c Change) []byte {
	if len(changes) == start {
		changes = append(changes, '[')
	} else {
		changes = append(changes, ',')
	}
	changes = append(changes, `{"field":`...)
	changes = append(changes, name...)
	return append(changes, detail[c]...)
}

// worse is what a value with two changed parts reports: a part that is gone before one that is altered.
func worse(a, b Change) Change {
	if a == Exact || a == Altered && b != Exact {
		return b
	}
	return a
}

// appendNull is the answer to a value that JSON cannot hold, and to bytes that are no value of their type.
func appendNull(dst []byte) ([]byte, Change) {
	return append(dst, "null"...), Nulled
}
