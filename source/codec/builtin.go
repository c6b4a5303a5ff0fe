package codec

import (
	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
)

// A builtin is a type that every server has, or every server of some version.
type builtin struct {
	oid    uint32
	array  uint32 // OID of the type of its arrays
	name   string
	schema protocol.Property
	text   Append
	binary Append // nil where the text is as fast, or is all there is to say
	cursor bool
}

// builtins are all built-in types that a column can have, apart from the arrays of these. A type that is not here is a
// string of PostgreSQL's text.
//
// Source: src/include/catalog/pg_type.dat of PostgreSQL.
var builtins = []builtin{
	// Numbers and bool.
	{pgtype.BoolOID, pgtype.BoolArrayOID, "bool", protocol.Boolean, appendBoolText, appendBoolBinary, false},
	{pgtype.Int2OID, pgtype.Int2ArrayOID, "int2", protocol.Integer, appendNumberText, appendInt2Binary, true},
	{pgtype.Int4OID, pgtype.Int4ArrayOID, "int4", protocol.Integer, appendNumberText, appendInt4Binary, true},
	{pgtype.Int8OID, pgtype.Int8ArrayOID, "int8", protocol.Integer, appendNumberText, appendInt8Binary, true},
	{pgtype.OIDOID, pgtype.OIDArrayOID, "oid", protocol.Integer, appendNumberText, appendOIDBinary, true},
	{pgtype.NumericOID, pgtype.NumericArrayOID, "numeric", protocol.Number, appendNumberText, nil, true},
	{pgtype.Float4OID, pgtype.Float4ArrayOID, "float4", protocol.Number, appendNumberText, appendFloat4Binary, true},
	{pgtype.Float8OID, pgtype.Float8ArrayOID, "float8", protocol.Number, appendNumberText, appendFloat8Binary, true},
	{790, 791, "money", protocol.Number, appendMoneyText, appendMoneyBinary, true},
	// Dates and times.
	{pgtype.DateOID, pgtype.DateArrayOID, "date", protocol.Date, appendDateText, appendDateBinary, true},
	{pgtype.TimeOID, pgtype.TimeArrayOID, "time", protocol.Time, appendTimeText, appendTimeBinary, true},
	{pgtype.TimetzOID, pgtype.TimetzArrayOID, "timetz", protocol.TimeWithZone, appendTimetzText, appendTimetzBinary, true},
	{
		pgtype.TimestampOID, pgtype.TimestampArrayOID, "timestamp", protocol.Timestamp,
		appendTimestampText, appendTimestampBinary, true,
	},
	{
		pgtype.TimestamptzOID, pgtype.TimestamptzArrayOID, "timestamptz", protocol.TimestampWithZone,
		appendTimestamptzText, appendTimestamptzBinary, true,
	},
	{pgtype.IntervalOID, pgtype.IntervalArrayOID, "interval", protocol.String, appendText, nil, false},
	// Text, and what is known by its text.
	{pgtype.TextOID, pgtype.TextArrayOID, "text", protocol.String, appendText, nil, true},
	{pgtype.VarcharOID, pgtype.VarcharArrayOID, "varchar", protocol.String, appendText, nil, true},
	{pgtype.BPCharOID, pgtype.BPCharArrayOID, "bpchar", protocol.String, appendText, nil, false},
	{pgtype.QCharOID, pgtype.QCharArrayOID, "char", protocol.String, appendText, nil, false},
	{pgtype.NameOID, pgtype.NameArrayOID, "name", protocol.String, appendText, nil, true},
	{pgtype.ByteaOID, pgtype.ByteaArrayOID, "bytea", protocol.String, appendText, appendByteaBinary, false},
	{pgtype.UUIDOID, pgtype.UUIDArrayOID, "uuid", protocol.String, appendText, appendUUIDBinary, false},
	{pgtype.JSONOID, pgtype.JSONArrayOID, "json", protocol.String, appendText, nil, false},
	{pgtype.JSONBOID, pgtype.JSONBArrayOID, "jsonb", protocol.String, appendText, nil, false},
	{pgtype.JSONPathOID, pgtype.JSONPathArrayOID, "jsonpath", protocol.String, appendText, nil, false},
	{pgtype.XMLOID, pgtype.XMLArrayOID, "xml", protocol.String, appendText, nil, false},
	{pgtype.BitOID, pgtype.BitArrayOID, "bit", protocol.String, appendText, nil, false},
	{pgtype.VarbitOID, pgtype.VarbitArrayOID, "varbit", protocol.String, appendText, nil, false},
	// Networks.
	{pgtype.InetOID, pgtype.InetArrayOID, "inet", protocol.String, appendText, nil, false},
	{pgtype.CIDROID, pgtype.CIDRArrayOID, "cidr", protocol.String, appendText, nil, false},
	{pgtype.MacaddrOID, pgtype.MacaddrArrayOID, "macaddr", protocol.String, appendText, nil, false},
	{pgtype.Macaddr8OID, 775, "macaddr8", protocol.String, appendText, nil, false},
	// Geometry. box is the one type with a delimiter of its own.
	{pgtype.PointOID, pgtype.PointArrayOID, "point", protocol.String, appendText, nil, false},
	{pgtype.LineOID, pgtype.LineArrayOID, "line", protocol.String, appendText, nil, false},
	{pgtype.LsegOID, pgtype.LsegArrayOID, "lseg", protocol.String, appendText, nil, false},
	{pgtype.BoxOID, pgtype.BoxArrayOID, "box", protocol.String, appendText, nil, false},
	{pgtype.PathOID, pgtype.PathArrayOID, "path", protocol.String, appendText, nil, false},
	{pgtype.PolygonOID, pgtype.PolygonArrayOID, "polygon", protocol.String, appendText, nil, false},
	{pgtype.CircleOID, pgtype.CircleArrayOID, "circle", protocol.String, appendText, nil, false},
	// Ranges and multiranges.
	{pgtype.Int4rangeOID, pgtype.Int4rangeArrayOID, "int4range", protocol.String, appendText, nil, false},
	{pgtype.Int8rangeOID, pgtype.Int8rangeArrayOID, "int8range", protocol.String, appendText, nil, false},
	{pgtype.NumrangeOID, pgtype.NumrangeArrayOID, "numrange", protocol.String, appendText, nil, false},
	{pgtype.TsrangeOID, pgtype.TsrangeArrayOID, "tsrange", protocol.String, appendText, nil, false},
	{pgtype.TstzrangeOID, pgtype.TstzrangeArrayOID, "tstzrange", protocol.String, appendText, nil, false},
	{pgtype.DaterangeOID, pgtype.DaterangeArrayOID, "daterange", protocol.String, appendText, nil, false},
	{pgtype.Int4multirangeOID, pgtype.Int4multirangeArrayOID, "int4multirange", protocol.String, appendText, nil, false},
	{pgtype.Int8multirangeOID, pgtype.Int8multirangeArrayOID, "int8multirange", protocol.String, appendText, nil, false},
	{pgtype.NummultirangeOID, pgtype.NummultirangeArrayOID, "nummultirange", protocol.String, appendText, nil, false},
	{pgtype.TsmultirangeOID, pgtype.TsmultirangeArrayOID, "tsmultirange", protocol.String, appendText, nil, false},
	{pgtype.TstzmultirangeOID, pgtype.TstzmultirangeArrayOID, "tstzmultirange", protocol.String, appendText, nil, false},
	{pgtype.DatemultirangeOID, pgtype.DatemultirangeArrayOID, "datemultirange", protocol.String, appendText, nil, false},
	// Text search.
	{pgtype.TSVectorOID, pgtype.TSVectorArrayOID, "tsvector", protocol.String, appendText, nil, false},
	{3615, 3645, "tsquery", protocol.String, appendText, nil, false},
	// The server's own.
	{22, 1006, "int2vector", protocol.String, appendText, nil, false},
	{24, 1008, "regproc", protocol.String, appendText, nil, false},
	{pgtype.TIDOID, pgtype.TIDArrayOID, "tid", protocol.String, appendText, nil, false},
	{pgtype.XIDOID, pgtype.XIDArrayOID, "xid", protocol.String, appendText, nil, false},
	{pgtype.CIDOID, pgtype.CIDArrayOID, "cid", protocol.String, appendText, nil, false},
	{30, 1013, "oidvector", protocol.String, appendText, nil, false},
	{pgtype.ACLItemOID, pgtype.ACLItemArrayOID, "aclitem", protocol.String, appendText, nil, false},
	{1790, 2201, "refcursor", protocol.String, appendText, nil, false},
	{2202, 2207, "regprocedure", protocol.String, appendText, nil, false},
	{2203, 2208, "regoper", protocol.String, appendText, nil, false},
	{2204, 2209, "regoperator", protocol.String, appendText, nil, false},
	{2205, 2210, "regclass", protocol.String, appendText, nil, false},
	{2206, 2211, "regtype", protocol.String, appendText, nil, false},
	{2970, 2949, "txid_snapshot", protocol.String, appendText, nil, false},
	{3220, 3221, "pg_lsn", protocol.String, appendText, nil, false},
	{3734, 3735, "regconfig", protocol.String, appendText, nil, false},
	{3769, 3770, "regdictionary", protocol.String, appendText, nil, false},
	{4089, 4090, "regnamespace", protocol.String, appendText, nil, false},
	{4096, 4097, "regrole", protocol.String, appendText, nil, false},
	{4191, 4192, "regcollation", protocol.String, appendText, nil, false},
	{5038, 5039, "pg_snapshot", protocol.String, appendText, nil, false},
	{pgtype.XID8OID, pgtype.XID8ArrayOID, "xid8", protocol.String, appendText, nil, false},
}

// Size is SQL for the number of bytes of a value of type oid, where that can be large and is known without reading the
// value; "" where not. JSON is never shorter than that by more than an Object allows for (Longest).
func Size(oid uint32, value string) string {
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.ByteaOID:
		return "octet_length(" + value + ")"
	case pgtype.JSONOID, pgtype.XMLOID:
		return "octet_length(" + value + "::text)"
	}
	return ""
}
