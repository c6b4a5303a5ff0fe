package protocol

import "errors"

// A Property is the JSON schema of one field of a stream, as JSON text. Properties that the connector makes are the
// constants below and arrays of them; a property read from a configured catalog is kept as it came.
//
// Source: Airbyte's supported data types.
type Property string

// The types of Airbyte that PostgreSQL's types map to. None of them says "null": every field of a stream may be null.
const (
	Boolean           Property = `{"type":"boolean"}`
	Integer           Property = `{"type":"number","airbyte_type":"integer"}`
	Number            Property = `{"type":"number"}`
	String            Property = `{"type":"string"}`
	Date              Property = `{"type":"string","format":"date"}`
	Time              Property = `{"type":"string","format":"time","airbyte_type":"time_without_timezone"}`
	TimeWithZone      Property = `{"type":"string","format":"time","airbyte_type":"time_with_timezone"}`
	Timestamp         Property = `{"type":"string","format":"date-time","airbyte_type":"timestamp_without_timezone"}`
	TimestampWithZone Property = `{"type":"string","format":"date-time","airbyte_type":"timestamp_with_timezone"}`
)

// ArrayOf is the schema of an array whose elements have schema items.
func ArrayOf(items Property) Property {
	return `{"type":"array","items":` + items + `}`
}

// MarshalJSON gives the schema as it stands.
func (p Property) MarshalJSON() ([]byte, error) {
	if p == "" {
		return nil, errors.New("marshal property: it is empty")
	}
	return []byte(p), nil
}

// UnmarshalJSON keeps the schema as it came; null is kept as the text null.
func (p *Property) UnmarshalJSON(text []byte) error {
	*p = Property(text)
	return nil
}
