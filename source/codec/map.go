package codec

import (
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
)

// An Info is one row of pg_type, as far as a Type depends on it.
type Info struct {
	OID        uint32
	Name       string
	Kind       byte   // typtype: b, c, d, e, p, r or m
	Elem       uint32 // the type of the elements if this is a true array type, else 0
	Delim      byte   // typdelim of that type, the array's own for any other; 0 is a comma
	Base       uint32 // a domain's base type, else 0
	BaseTypmod int32  // the domain's typmod of its base type, -1 for none
	Dims       int    // typndims of a domain over an array
}

// A Map knows the types of one database. It is not safe for concurrent use; the Types that it returns are.
type Map struct {
	infos map[uint32]Info
	types map[column]*Type
}

// column is what a column's Type depends on.
type column struct {
	oid    uint32
	typmod int32
	dims   int
}

// NewMap is a Map of the built-in types and infos, the database's own. A built-in type in infos is passed over.
func NewMap(infos []Info) *Map {
	m := &Map{infos: make(map[uint32]Info, len(infos)+2*len(builtins)), types: make(map[column]*Type)}
	for _, info := range infos {
		m.infos[info.OID] = info
	}
	for i := range builtins {
		b := &builtins[i]
		delim := byte(',')
		if b.oid == pgtype.BoxOID {
			delim = ';'
		}
		m.infos[b.array] = Info{OID: b.array, Name: "_" + b.name, Kind: 'b', Elem: b.oid, Delim: delim}
		m.infos[b.oid] = Info{OID: b.oid, Name: b.name, Kind: 'b', Delim: delim}
	}
	return m
}

// builtinTypes has the Type of each of the builtins by OID.
var builtinTypes = func() map[uint32]*Type {
	types := make(map[uint32]*Type, len(builtins))
	for _, b := range builtins {
		types[b.oid] = &Type{Name: b.name, Schema: b.schema, Text: b.text, Binary: b.binary, Cursor: b.cursor}
	}
	return types
}()

// Type is the Type of a column with the given atttypid, atttypmod and attndims; dims of 0 or less counts as 1 for an
// array and is of no matter for any other type. It is never nil: what the Map does not know is a string of PostgreSQL's
// text. The same arguments give the same Type.
func (m *Map) Type(oid uint32, typmod int32, dims int) *Type {
	key := column{oid, typmod, dims}
	t := m.types[key]
	if t == nil {
		// Stands for the type while it is made: a domain over itself, which no server has, then has an end.
		m.types[key] = stringOf("oid " + strconv.FormatUint(uint64(oid), 10))
		t = m.make(key)
		m.types[key] = t
	}
	return t
}

func (m *Map) make(c column) *Type {
	info, known := m.infos[c.oid]
	switch {
	case !known:
		return m.types[c]
	case c.oid == pgtype.NumericOID && isInteger(c.typmod):
		return integerNumeric
	case builtinTypes[c.oid] != nil:
		return builtinTypes[c.oid]
	case info.Elem != 0:
		// The typmod is that of the elements, but numeric(5)[] is an array of numbers all the same.
		return arrayOf(m.Type(info.Elem, -1, 0), info.Delim, c.dims)
	case info.Base != 0:
		t := *m.Type(info.Base, info.BaseTypmod, info.Dims)
		t.Name = info.Name
		return &t
	case info.Kind == 'b' && info.Name == "hstore":
		return &Type{Name: info.Name, Schema: protocol.String, Text: appendHstore}
	case info.Kind == 'b' && info.Name == "citext":
		return &Type{Name: info.Name, Schema: protocol.String, Text: appendText, Cursor: true}
	}
	return stringOf(info.Name)
}

func stringOf(name string) *Type {
	return &Type{Name: name, Schema: protocol.String, Text: appendText}
}

func arrayOf(element *Type, delim byte, dims int) *Type {
	if delim == 0 {
		delim = ','
	}
	t := &Type{
		Name:   element.Name + "[]",
		Schema: protocol.ArrayOf(element.Schema),
		Text:   arrayText(element.Text, delim),
		array:  true,
	}
	for ; dims > 1; dims-- {
		t.Schema = protocol.ArrayOf(t.Schema)
	}
	if element.Binary != nil {
		t.Binary = arrayBinary(element.Binary)
	}
	return t
}

// integerNumeric is numeric without digits after the decimal point.
var integerNumeric = func() *Type {
	t := *builtinTypes[pgtype.NumericOID]
	t.Schema = protocol.Integer
	return &t
}()

// isInteger reports whether a numeric of this typmod has no digits after the decimal point. Four bytes' header are
// added to a typmod; above 16 bits is the precision, the low 11 bits are the scale with its sign (always positive
// before server 15).
//
// Source: src/backend/utils/adt/numeric.c of PostgreSQL.
func isInteger(typmod int32) bool {
	if typmod < 4 {
		return false
	}
	scale := (typmod - 4) << 21 >> 21
	return scale <= 0
}
