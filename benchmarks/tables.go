package main

import (
	"context"
	"fmt"
	"strings"
)

// A table's rows are made by SQL from their number g, and are the same every time. The first column is the key.
type table struct {
	name    string
	rows    int64
	columns []column
}

type column struct{ name, kind, value string }

// pseudo is a number from 0 to n-1 that looks like chance; the salt makes columns differ.
func pseudo(n, salt int64) string {
	return fmt.Sprintf("(g * 2654435761 + %d) %% 4294967291 %% %d", salt*40503, n)
}

var narrow = table{"narrow", 5_000_000, []column{
	{"id", "int8", "g"},
	{"owner", "int4", pseudo(100_000, 1)},
	{"updated_at", "timestamptz", "timestamptz '2020-01-01 00:00:00Z' + g * interval '1.000001 s'"},
	{"note", "text", "left(md5(g::text), 4 + g::int % 16)"},
}}

// wide has four columns of each of ten types. In each, one row in eleven is NULL.
var wide = table{"wide", 1_000_000, wideColumns()}

func wideColumns() []column {
	columns := []column{{"id", "int8", "g"}}
	for i := range int64(4) {
		for _, c := range []column{
			{"small", "int4", pseudo(1_000_000, i)},
			{"large", "int8", pseudo(4_000_000_000, i+4) + " * 1000003"},
			{"ratio", "float8", pseudo(1_000_000_007, i+8) + " / 1024.0"},
			{"amount", "numeric(14,4)", "(" + pseudo(2_000_000_000, i+12) + ") / 10000.0"},
			{"flag", "boolean", pseudo(2, i+16) + " = 1"},
			{"label", "text", fmt.Sprintf("repeat(md5((g + %d)::text), 1 + g::int %% 2)", i)},
			{"moment", "timestamptz", "timestamptz '2020-01-01 00:00:00Z' + " + pseudo(2_000_000_000, i+20) +
				" * interval '0.070001 s'"},
			{"day", "date", "date '2000-01-01' + (" + pseudo(10_000, i+24) + ")::int"},
			{"ident", "uuid", fmt.Sprintf("md5((g * 4 + %d)::text)::uuid", i)},
			{"extra", "jsonb", fmt.Sprintf(`jsonb_build_object('n', g, 'tag', left(md5((g + %d)::text), 8))`, i)},
		} {
			value := fmt.Sprintf("CASE WHEN (g + %d) %% 11 > 0 THEN %s END", i, c.value)
			columns = append(columns, column{fmt.Sprintf("%s_%d", c.name, i+1), c.kind, value})
		}
	}
	return columns
}

// lineitem is like the table of that name in TPC-H, which gives the columns and the sets of values.
var lineitem = table{"lineitem", 3_000_000, []column{
	{"l_id", "int8", "g"},
	{"l_orderkey", "int8", "g / 4 + 1"},
	{"l_partkey", "int8", pseudo(200_000, 1) + " + 1"},
	{"l_suppkey", "int8", pseudo(10_000, 2) + " + 1"},
	{"l_quantity", "numeric(15,2)", pseudo(50, 3) + " + 1"},
	{"l_extendedprice", "numeric(15,2)", "(90000 + " + pseudo(10_000_000, 4) + ") / 100.0"},
	{"l_discount", "numeric(15,2)", "(" + pseudo(11, 5) + ") / 100.0"},
	{"l_tax", "numeric(15,2)", "(" + pseudo(9, 6) + ") / 100.0"},
	{"l_returnflag", "char(1)", "substr('ARN', (1 + " + pseudo(3, 7) + ")::int, 1)"},
	{"l_linestatus", "char(1)", "substr('OF', (1 + " + pseudo(2, 8) + ")::int, 1)"},
	{"l_shipdate", "date", "date '1992-01-02' + (" + pseudo(2_526, 9) + ")::int"},
	{"l_commitdate", "date", "date '1992-01-31' + (" + pseudo(2_466, 10) + ")::int"},
	{"l_receiptdate", "date", "date '1992-01-03' + (" + pseudo(2_556, 11) + ")::int"},
	{
		"l_shipinstruct", "char(25)",
		"(ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + " + pseudo(4, 12) + "]",
	},
	{
		"l_shipmode", "char(10)",
		"(ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[1 + " + pseudo(7, 13) + "]",
	},
	{"l_comment", "varchar(44)", "left(md5(g::text) || md5(g::text), (10 + " + pseudo(34, 14) + ")::int)"},
}}

// create makes the table, empty.
func (t *table) create() string {
	var b strings.Builder
	for _, c := range t.columns {
		fmt.Fprintf(&b, "%s %s, ", c.name, c.kind)
	}
	return fmt.Sprintf("CREATE TABLE %s (%sPRIMARY KEY (%s))", t.name, b.String(), t.columns[0].name)
}

// insert adds the rows from number first to number last: numbers, or SQL for them.
func (t *table) insert(first, last any) string {
	values := make([]string, len(t.columns))
	for i, c := range t.columns {
		values[i] = c.value
	}
	return fmt.Sprintf("INSERT INTO %s SELECT %s FROM generate_series((%v)::int8, (%v)::int8) AS g",
		t.name, strings.Join(values, ", "), first, last)
}

// load makes the table with its rows, as a table is that has been there for long.
func (b *bench) load(ctx context.Context, t *table, rows int64) error {
	note("loading %s: %d rows", t.name, rows)
	return b.exec(ctx, t.create(), t.insert(1, rows), "VACUUM (FREEZE, ANALYZE) "+t.name, "CHECKPOINT")
}

// documents has one jsonb of about 250 bytes a row, lists one text[] of six, texts one text of 100 kB that is stored
// out of line and not compressed.
var documents = table{"documents", 1_000_000, []column{
	{"id", "int8", "g"},
	{"document", "jsonb", `jsonb_build_object('id', g, 'name', md5(g::text), ` +
		`'tags', jsonb_build_array('a', 'b', g % 7), ` +
		`'address', jsonb_build_object('street', md5((g + 1)::text), 'zip', g % 100000), 'active', g % 3 = 0, ` +
		`'score', g / 7.0, 'note', repeat('x ', (g % 20)::int))`},
}}

var lists = table{"lists", 1_000_000, []column{
	{"id", "int8", "g"},
	{"words", "text[]", `ARRAY[left(md5(g::text), 8), 'two words', NULL, 'say "it"', left(md5((g + 1)::text), 12), '']`},
}}

var texts = table{"texts", 3_000, []column{
	{"id", "int8", "g"},
	{"body", "text", `(SELECT string_agg(md5((g * 4000 + i)::text), '') FROM generate_series(1, 3125) AS i)`},
}}
