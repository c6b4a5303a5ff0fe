package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/source/codec"
)

// A typeSession is a connection that prints values as the connector's do, with the types of its database.
type typeSession struct {
	t    *testing.T
	conn *pgconn.PgConn
}

func newTypeSession(t *testing.T, d *database) *typeSession {
	t.Helper()
	config, err := pgconn.ParseConfig(d.URL())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "bytea_output": "hex",
		"extra_float_digits": "1", "lc_monetary": "C", "client_encoding": "UTF8",
	} {
		config.RuntimeParams[name] = value
	}
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) }) // t.Context() is over by then
	return &typeSession{t, conn}
}

// rows runs one statement with parameters in binary, and results in the given format codes.
func (s *typeSession) rows(sql string, oids []uint32, params [][]byte, formats ...int16) [][][]byte {
	s.t.Helper()
	binary := make([]int16, len(params))
	for i := range binary {
		binary[i] = 1
	}
	result := s.conn.ExecParams(s.t.Context(), sql, params, oids, binary, formats).Read()
	if result.Err != nil {
		s.t.Fatalf("%s: %v", sql, result.Err)
	}
	return result.Rows
}

// types reads pg_type.
func (s *typeSession) types() *codec.Map {
	s.t.Helper()
	var infos []codec.Info
	for _, row := range s.rows(`
		SELECT t.oid, t.typname, t.typtype, CASE WHEN e.typarray = t.oid THEN e.oid ELSE 0 END,
		       coalesce(e.typdelim, t.typdelim), t.typbasetype, t.typtypmod, t.typndims
		FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem`, nil, nil) {
		infos = append(infos, codec.Info{
			OID: uint32(number(s.t, row[0])), Name: string(row[1]), Kind: row[2][0], Elem: uint32(number(s.t, row[3])),
			Delim: row[4][0], Base: uint32(number(s.t, row[5])), BaseTypmod: int32(number(s.t, row[6])),
			Dims: number(s.t, row[7]),
		})
	}
	return codec.NewMap(infos)
}

func number(t *testing.T, text []byte) int {
	t.Helper()
	n, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Every line of types.txt is what this server makes of it, in both wire formats: integers and decimals to the last
// digit.
func TestTypesOnServer(t *testing.T) {
	file, err := os.ReadFile("../source/codec/testdata/types.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := newDB(t)
	s := newTypeSession(t, d)
	types, skip, cases := s.types(), false, 0
	for i, line := range strings.Split(string(file), "\n") {
		where := fmt.Sprintf("types.txt:%d", i+1)
		if line == "" {
			skip = false
		}
		if version, ok := strings.CutPrefix(line, "# needs: server "); ok {
			skip = d.Version/10000 < number(t, []byte(version))
		}
		if extension, ok := strings.CutPrefix(line, "# needs: extension "); ok {
			available := d.value("SELECT count(*) FROM pg_available_extensions WHERE name = $1", extension)
			if skip = available == "0"; !skip {
				d.exec("CREATE EXTENSION IF NOT EXISTS " + extension)
				types = s.types()
			}
		}
		if statement, ok := strings.CutPrefix(line, "# create: "); ok {
			d.exec(statement)
			types = s.types()
		}
		if line == "" || line[0] == '#' || skip {
			continue
		}
		columns := strings.Split(line, "|")
		for i := range columns {
			if columns[i], err = url.PathUnescape(strings.TrimSpace(columns[i])); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
		}
		s.checkType(types, where, append(columns, ""))
		cases++
	}
	if cases < 300 {
		t.Errorf("types.txt has %d cases for this server", cases)
	}
}

// checkType stores the literal in a table and holds what comes back against the text, the JSON and the change.
func (s *typeSession) checkType(types *codec.Map, where string, columns []string) {
	s.t.Helper()
	name, literal, text, json, change := columns[0], columns[1], columns[2], columns[3], columns[4]
	s.rows("DROP TABLE IF EXISTS pg_temp.v", nil, nil)
	s.rows("CREATE TEMPORARY TABLE v AS SELECT NULL::"+name+" AS v LIMIT 0", nil, nil)
	s.rows("INSERT INTO v VALUES (("+literal+")::"+name+")", nil, nil)
	row := s.rows("SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = 'v'::regclass AND attname = 'v'",
		nil, nil)[0]
	typ := types.Type(uint32(number(s.t, row[0])), int32(number(s.t, row[1])), 0)

	value := s.rows("SELECT v FROM v", nil, nil, 0)[0][0]
	if string(value) != text {
		s.t.Errorf("%s: %s of %s is %q, want %q", where, name, literal, value, text)
	}
	check := func(format string, got []byte, c codec.Change) {
		word := map[codec.Change]string{codec.Nulled: "NULLED", codec.Altered: "TRUNCATED"}[c]
		if string(got) != json || word != change {
			s.t.Errorf("%s: %s %s from %s: %s %s, want %s %s", where, name, literal, format, got, word, json, change)
		}
	}
	got, c := typ.Text(nil, value)
	check("text", got, c)
	if typ.Binary != nil {
		got, c = typ.Binary(nil, s.rows("SELECT v FROM v", nil, nil, 1)[0][0])
		check("binary", got, c)
	}
}

// Random values have the same JSON in both formats; floats have the digits that the server prints.
func TestFormatsAgreeOnServer(t *testing.T) {
	s := newTypeSession(t, newDB(t))
	types := s.types()
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	bits := func() uint64 { return random.Uint64() }
	// Where 17 digits can be exactly halfway between two floats, the servers' rule differs from IEEE rounding.
	near := func() uint64 { return uint64(1023+45+random.IntN(95))<<52 | random.Uint64()>>12 }
	short := func() uint64 { return math.Float64bits(float64(random.IntN(1e5)) * math.Pow10(random.IntN(40)-8)) }
	short4 := func() uint64 {
		return uint64(math.Float32bits(float32(random.IntN(1e5)) * float32(math.Pow10(random.IntN(20)-6))))
	}
	const firstTimestamp, lastTimestamp = -211813488000000000, 9223371331199999999
	timestamp := func() uint64 { return uint64(firstTimestamp + random.Int64N(lastTimestamp)) }
	date := func() uint64 { return uint64(random.Int64N(2147483494) - 2451545) }
	for _, test := range []struct {
		name       string
		oid, array uint32
		size       int // bytes
		value      func() uint64
	}{
		{"float8", pgtype.Float8OID, pgtype.Float8ArrayOID, 8, bits},
		{"float8", pgtype.Float8OID, pgtype.Float8ArrayOID, 8, near},
		{"float8", pgtype.Float8OID, pgtype.Float8ArrayOID, 8, short},
		{"float4", pgtype.Float4OID, pgtype.Float4ArrayOID, 4, bits},
		{"float4", pgtype.Float4OID, pgtype.Float4ArrayOID, 4, short4},
		{"timestamp", pgtype.TimestampOID, pgtype.TimestampArrayOID, 8, timestamp},
		{"timestamptz", pgtype.TimestamptzOID, pgtype.TimestamptzArrayOID, 8, timestamp},
		{"date", pgtype.DateOID, pgtype.DateArrayOID, 4, date},
		{"time", pgtype.TimeOID, pgtype.TimeArrayOID, 8, func() uint64 { return random.Uint64N(86_400_000_001) }},
		{"int8", pgtype.Int8OID, pgtype.Int8ArrayOID, 8, bits},
		{"int4", pgtype.Int4OID, pgtype.Int4ArrayOID, 4, bits},
	} {
		typ := types.Type(test.oid, -1, 0)
		rows := s.rows("SELECT v, v FROM unnest($1::"+test.name+"[]) v", []uint32{test.array},
			[][]byte{randomArray(test.oid, test.size, test.value)}, 0, 1)
		for _, row := range rows {
			text, c := typ.Text(nil, row[0])
			binary, d := typ.Binary(nil, row[1])
			if !bytes.Equal(text, binary) || c != d {
				t.Errorf("%s %s (%x): %s from text, %s from binary", test.name, row[0], row[1], text, binary)
			}
		}
	}
}

// randomArray is a binary array of values whose last size bytes count.
func randomArray(oid uint32, size int, value func() uint64) []byte {
	const n = 10_000
	var b []byte
	for _, v := range []uint32{1, 0, oid, n, 1} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	for range n {
		b = binary.BigEndian.AppendUint32(b, uint32(size))
		b = append(b, binary.BigEndian.AppendUint64(nil, value())[8-size:]...)
	}
	return b
}
