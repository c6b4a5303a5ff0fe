package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/source/codec"
)

// A kind is a type whose two wire formats are compared; value is SQL that makes one from the number g.
type kind struct {
	name, value string
	oid         uint32
}

var kinds = []kind{
	{"bool", pseudo(2, 1) + " = 1", pgtype.BoolOID},
	{"int4", pseudo(100_000_000, 1), pgtype.Int4OID},
	{"int8", pseudo(4_000_000_000, 1) + " * 1000003", pgtype.Int8OID},
	{"float8", pseudo(1_000_000_007, 1) + " / 1024.0", pgtype.Float8OID},
	{"numeric(15,2)", "(" + pseudo(10_000_000, 1) + ") / 100.0", pgtype.NumericOID},
	{"date", "date '1992-01-02' + (" + pseudo(10_000, 1) + ")::int", pgtype.DateOID},
	{"timestamptz", "timestamptz '2020-01-01 00:00:00Z' + g * interval '1.000001 s'", pgtype.TimestamptzOID},
	{"uuid", "md5(g::text)::uuid", pgtype.UUIDOID},
	{"bytea", "decode(md5(g::text), 'hex')", pgtype.ByteaOID},
	{"text", "left(md5(g::text), 4 + g::int % 16)", pgtype.TextOID},
	{"char(25)", "left(md5(g::text), 4 + g::int % 16)", pgtype.BPCharOID},
	{"jsonb", `jsonb_build_object('n', g, 'tag', left(md5(g::text), 8))`, pgtype.JSONBOID},
	{"int4[]", "ARRAY[g::int4, 1, 2, 3]", pgtype.Int4ArrayOID},
	{"text[]", "ARRAY[left(md5(g::text), 8), 'b', 'c']", pgtype.TextArrayOID},
}

const (
	formatRows    = 300_000
	formatColumns = 8
)

// formats measures what a value costs in each of the two wire formats, at the server and here: what a SELECT asks for
// in binary is decided by it. The types that the connector reads as text only are received in binary, and dropped.
func formats(ctx context.Context, b *bench) error {
	conn, err := pgconn.Connect(ctx, b.db.URL())
	if err != nil {
		return fmt.Errorf("connect to measure formats: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows := b.scaled(formatRows)
	err = b.report.add("\n### Formats: ns a value, %s rows × %d\n\n| type | wall, text | wall, binary | server, text | "+
		"server, binary | connector reads |\n|---|--:|--:|--:|--:|---|\n", grouped(rows), formatColumns)
	for _, k := range kinds {
		if err == nil {
			err = b.format(ctx, conn, k, rows)
		}
	}
	return err
}

func (b *bench) format(ctx context.Context, conn *pgconn.PgConn, k kind, rows int64) error {
	note("formats: %s", k.name)
	names := make([]string, formatColumns)
	columns := make([]codec.Column, formatColumns)
	types := codec.NewMap(nil)
	for i := range names {
		names[i] = fmt.Sprintf("c%d", i+1)
		columns[i] = codec.Column{Name: names[i], Type: types.Type(k.oid, -1, 0)}
	}
	create := fmt.Sprintf("CREATE TABLE format AS SELECT v AS %s FROM generate_series(1, %d) AS g, "+
		"LATERAL (SELECT (%s)::%s AS v) AS value", strings.Join(names, ", v AS "), rows, k.value, k.name)
	if err := b.exec(ctx, create, "VACUUM (FREEZE, ANALYZE) format"); err != nil {
		return err
	}
	wires := []codec.Wire{codec.TextWire, codec.MixedWire}
	var wall, server [2]spread
	for format := range wires {
		var samples []sample
		for range b.rounds + 1 { // the first warms the caches
			s, err := b.receive(ctx, conn, "SELECT * FROM format", int16(format), codec.NewObject(columns, wires[format],
				codec.Limits{}))
			if err != nil {
				return err
			}
			samples = append(samples, s)
		}
		each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(rows*formatColumns) }
		wall[format] = spreadOf(samples[1:], func(s sample) float64 { return each(s.wall) })
		server[format] = spreadOf(samples[1:], func(s sample) float64 { return each(s.server) })
	}
	asked := "text"
	if columns[0].Type.Binary != nil {
		asked = "binary"
	}
	err := b.report.add("| %s | %.0f | %.0f | %.0f | %.0f | %s |\n", k.name, wall[0].median, wall[1].median,
		server[0].median, server[1].median, asked)
	if err != nil {
		return err
	}
	return b.exec(ctx, "DROP TABLE format")
}

// receive runs a query with all results in one format. If o can read that format, each row becomes JSON.
func (b *bench) receive(
	ctx context.Context, conn *pgconn.PgConn, sql string, format int16, o *codec.Object,
) (s sample, err error) {
	readable := o.Formats()[0] == format
	before, err := b.serverCPU()
	if err != nil {
		return s, err
	}
	begin := time.Now()
	rows := conn.ExecParams(ctx, sql, nil, nil, nil, []int16{format})
	var object, changes []byte
	for rows.NextRow() {
		if readable {
			object, changes = o.Append(object[:0], changes[:0], rows.Values())
		}
	}
	if _, err := rows.Close(); err != nil {
		return s, fmt.Errorf("measure formats: %w", err)
	}
	s.wall = time.Since(begin)
	after, err := b.serverCPU()
	s.server = after - before
	return s, err
}
