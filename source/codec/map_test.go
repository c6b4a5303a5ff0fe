package codec

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
)

func TestMapSchemas(t *testing.T) {
	types := newTestTypes()
	arrayOf := protocol.ArrayOf
	tests := []struct {
		typ    string
		schema protocol.Property
		cursor bool
		binary bool
	}{
		{"bool", protocol.Boolean, false, true},
		{"int2", protocol.Integer, true, true},
		{"oid", protocol.Integer, true, true},
		{"numeric", protocol.Number, true, false},
		{"numeric(5)", protocol.Integer, true, false},
		{"numeric(38,0)", protocol.Integer, true, false},
		{"numeric(1000,-1000)", protocol.Integer, true, false},
		{"numeric(3,-2)", protocol.Integer, true, false},
		{"numeric(3,5)", protocol.Number, true, false},
		{"numeric(1000,1000)", protocol.Number, true, false},
		{"numeric(10,2)", protocol.Number, true, false},
		{"float4", protocol.Number, true, true},
		{"money", protocol.Number, true, true},
		{"text", protocol.String, true, false},
		{"varchar", protocol.String, true, false},
		{"citext", protocol.String, true, false},
		{"bpchar", protocol.String, false, false},
		{"bytea", protocol.String, false, true},
		{"uuid", protocol.String, false, true},
		{"interval", protocol.String, false, false},
		{"date", protocol.Date, true, true},
		{"time", protocol.Time, true, true},
		{"timetz", protocol.TimeWithZone, true, true},
		{"timestamp", protocol.Timestamp, true, true},
		{"timestamptz", protocol.TimestampWithZone, true, true},
		{"numeric[]", arrayOf(protocol.Number), false, false},
		{"numeric(20)[]", arrayOf(protocol.Number), false, false},
		{"oid[]", arrayOf(protocol.Integer), false, true},
		{"bit[]", arrayOf(protocol.String), false, false},
		{"int4[]", arrayOf(protocol.Integer), false, true},
		{"int4[][][]", arrayOf(arrayOf(arrayOf(protocol.Integer))), false, true},
		{"hstore", protocol.String, false, false},
		{"mood", protocol.String, false, false},
		{"mood[]", arrayOf(protocol.String), false, false},
		{"price", protocol.Number, true, false},
		{"whole", protocol.Integer, true, false},
		{"whole_again", protocol.Integer, true, false},
		{"d_int8", protocol.Integer, true, true},
		{"d_timestamptz[]", arrayOf(protocol.TimestampWithZone), false, true},
		{"tags", arrayOf(protocol.String), false, false},
		{"matrix", arrayOf(arrayOf(protocol.Integer)), false, true},
		{"matrix[]", arrayOf(arrayOf(arrayOf(protocol.Integer))), false, true},
	}
	for _, test := range tests {
		typ := types.find(t, test.typ)
		if typ.Schema != test.schema || typ.Cursor != test.cursor || (typ.Binary != nil) != test.binary {
			t.Errorf("%s: schema %s, cursor %v, binary %v; want %s, %v, %v", test.typ,
				typ.Schema, typ.Cursor, typ.Binary != nil, test.schema, test.cursor, test.binary)
		}
		if types.find(t, test.typ) != typ {
			t.Errorf("%s: two Types", test.typ)
		}
	}
}

func TestMapNames(t *testing.T) {
	types := newTestTypes()
	for _, name := range []string{"int4", "int4[]", "hstore", "hstore[]", "price", "mood[]"} {
		if got := types.find(t, name).Name; got != name {
			t.Errorf("Type of %s is named %s", name, got)
		}
	}
}

func TestMapUnknown(t *testing.T) {
	m := NewMap([]Info{
		{OID: 1, Name: "loop", Kind: 'd', Base: 1, BaseTypmod: -1},
		{OID: 2, Name: "lost", Kind: 'd', Base: 99999, BaseTypmod: -1},
		{OID: 3, Name: "_lost", Kind: 'b', Elem: 99999},
		{OID: 4, Name: "hstore", Kind: 'e'},
		{OID: pgtype.Int4OID, Name: "impostor", Kind: 'e'},
	})
	tests := []struct {
		oid    uint32
		schema protocol.Property
		want   string
	}{
		{0, protocol.String, `"{\"a\"}"`},
		{99999, protocol.String, `"{\"a\"}"`},
		{1, protocol.String, `"{\"a\"}"`},
		{2, protocol.String, `"{\"a\"}"`},
		{3, protocol.ArrayOf(protocol.String), `["a"]`},
		{4, protocol.String, `"{\"a\"}"`},
		{pgtype.Int4OID, protocol.Integer, `null`},
	}
	for _, test := range tests {
		typ := m.Type(test.oid, -1, 0)
		got, _ := typ.Text(nil, []byte(`{"a"}`))
		if typ.Schema != test.schema || string(got) != test.want {
			t.Errorf("type %d: schema %s, value %s; want %s, %s", test.oid, typ.Schema, got, test.schema, test.want)
		}
	}
}
