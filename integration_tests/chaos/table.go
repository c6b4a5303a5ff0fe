package main

import (
	"fmt"
	"strings"
)

// A table is one that the workload writes to and the connector reads. Every statement that writes gives its rows a
// version that no other statement gives.
type table struct {
	name     string
	rows     int    // about as many
	cursor   string // type of column at: timestamptz or bigint
	stamp    string // its value in a row that is written
	index    bool   // on at
	parts    int    // partitions, between which rows move; 0: an ordinary table
	identity string // REPLICA IDENTITY: "", FULL or INDEX (without a primary key)
	ballast  bool   // see below
	toast    bool   // column big is read too
	bank     bool   // its rows' column bal always adds up to nothing
	calm     bool   // no transaction that stays open writes to it: what commits later has a greater cursor
	of       string // it is a view of that table, which tells nothing but its rows
}

// source is the name of the table that is written to.
func (t *table) source() string {
	if t.of != "" {
		return t.of
	}
	return t.name
}

// ballast is how long the values of a column are that nobody reads. The connector cuts a table into ranges of about
// equal size on disk; with some such rows, stored apart from the others, the few blocks of the table make several.
const ballast, ballasts = 8 << 20, 4

// The tables of each mode.
var (
	byCursor = []*table{
		{name: "clock", cursor: "timestamptz", stamp: "clock_timestamp()", index: true, rows: 700, ballast: true},
		{name: "began", cursor: "timestamptz", stamp: "now()", rows: 500, ballast: true, toast: true},
		{name: "counted", cursor: "bigint", stamp: "nextval('counted_at')", index: true, parts: 3, rows: 600},
		{name: "tied", cursor: "bigint", stamp: "nextval('tied_at') / 40", index: true, rows: 400},
		{name: "calm", cursor: "bigint", stamp: "nextval('calm_at')", index: true, rows: 300, calm: true},
		{name: "view", of: "calm"},
	}
	byXmin = []*table{
		{name: "single", cursor: "timestamptz", stamp: "now()", rows: 900, ballast: true, toast: true},
		{name: "parted", cursor: "timestamptz", stamp: "now()", parts: 3, rows: 900, ballast: true},
		{name: "small", cursor: "bigint", stamp: "nextval('small_at')", rows: 50, bank: true},
	}
	byBlock = append([]*table{{name: "view", of: "parted", parts: 3}}, byXmin...)
	byLog   = []*table{
		{name: "wide", cursor: "timestamptz", stamp: "now()", rows: 800, ballast: true},
		{name: "toast", cursor: "timestamptz", stamp: "now()", rows: 200, toast: true},
		{name: "whole", cursor: "timestamptz", stamp: "now()", rows: 200, toast: true, identity: "FULL"},
		{name: "keyed", cursor: "timestamptz", stamp: "now()", rows: 300, identity: "INDEX"},
		{name: "parted", cursor: "timestamptz", stamp: "now()", rows: 300, parts: 2},
		{name: "bank", cursor: "timestamptz", stamp: "now()", rows: 40, bank: true},
		{name: "bulk", cursor: "timestamptz", stamp: "now()", rows: 4000},
		{name: later, cursor: "timestamptz", stamp: "now()", rows: 200},
	}
)

// later is the table that becomes a stream only after some syncs.
const later = "later"

// key is the SQL of what tells rows apart; column is the first column of a statement that compares.
func (t *table) key() string {
	if t.parts > 0 {
		return "id::text || '/' || shard"
	}
	return "id::text"
}

// value is the SQL of what a destination has to have of a row besides its key.
func (t *table) value() string {
	sql := "version::text"
	if t.toast {
		sql += " || ' ' || split_part(big, ' ', 1)"
	}
	if t.bank {
		sql += " || ' ' || bal"
	}
	return sql
}

// columns are those that are read.
func (t *table) columns() []string {
	columns := []string{"id", "version", "at"}
	if t.parts > 0 {
		columns = append(columns, "shard")
	}
	if t.toast {
		columns = append(columns, "big")
	}
	if t.bank {
		columns = append(columns, "bal")
	}
	return columns
}

// createSQL makes the table, with a trigger that notes in table journal, in the same transaction, every version that
// is written. Rows stand in the table's blocks uncompressed.
func (t *table) createSQL() string {
	if t.of != "" {
		return fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s;\n", t.name, t.of)
	}
	var b strings.Builder
	if strings.HasPrefix(t.stamp, "nextval") {
		fmt.Fprintf(&b, "CREATE SEQUENCE IF NOT EXISTS %s_at;\n", t.name)
	}
	key, more := ", PRIMARY KEY (id)", " WITH (fillfactor = 80)"
	switch {
	case t.parts > 0:
		key, more = ", PRIMARY KEY (id, shard)", " PARTITION BY LIST (shard)"
	case t.identity == "INDEX":
		key = ", UNIQUE (id)"
	}
	fmt.Fprintf(&b, `CREATE TABLE %s (id bigint NOT NULL, version bigint NOT NULL, shard int NOT NULL DEFAULT 0,
		at %s NOT NULL DEFAULT %s, bal int NOT NULL DEFAULT 0, pad text, big text NOT NULL DEFAULT '', ballast text%s)%s;
		ALTER TABLE %[1]s ALTER pad SET STORAGE PLAIN, ALTER ballast SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL;
		`, t.name, t.cursor, t.stamp, key, more)
	for i := range t.parts {
		if i == 1 { // its columns stand in another order
			fmt.Fprintf(&b, `CREATE TABLE %s_1 (big text NOT NULL DEFAULT '', gone int, ballast text, pad text,
				at %s NOT NULL DEFAULT %s, shard int NOT NULL DEFAULT 0, bal int NOT NULL DEFAULT 0, version bigint NOT NULL,
				id bigint NOT NULL);
				ALTER TABLE %[1]s_1 DROP COLUMN gone, ALTER pad SET STORAGE PLAIN, ALTER ballast SET STORAGE EXTERNAL;
				ALTER TABLE %[1]s ATTACH PARTITION %[1]s_1 FOR VALUES IN (1);`, t.name, t.cursor, t.stamp)
			continue
		}
		fmt.Fprintf(&b, "CREATE TABLE %s_%d PARTITION OF %[1]s FOR VALUES IN (%d);\n", t.name, i, i)
	}
	if t.index {
		fmt.Fprintf(&b, "CREATE INDEX %s_by_at ON %[1]s (at);\n", t.name)
	}
	switch t.identity {
	case "FULL":
		fmt.Fprintf(&b, "ALTER TABLE %s REPLICA IDENTITY FULL;\n", t.name)
	case "INDEX":
		fmt.Fprintf(&b, "ALTER TABLE %s REPLICA IDENTITY USING INDEX %[1]s_id_key;\n", t.name)
	}
	for _, event := range []string{"INSERT", "UPDATE"} {
		fmt.Fprintf(&b, `CREATE TRIGGER note_%s AFTER %[1]s ON %s REFERENCING NEW TABLE AS written
			FOR EACH STATEMENT EXECUTE FUNCTION note();`, event, t.name)
	}
	return b.String()
}

// journalSQL makes the journal.
const journalSQL = `
CREATE TABLE journal (stream text, id bigint, shard int, version bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	INSERT INTO journal SELECT TG_TABLE_NAME, id, shard, version FROM written;
	RETURN NULL;
END$$;`

// fillSQL adds rows with ids from first on.
func (t *table) fillSQL(first int64, rows int, version int64) string {
	shard := "0"
	if t.parts > 0 {
		shard = fmt.Sprintf("n %% %d", t.parts)
	}
	var b strings.Builder
	if t.ballast {
		fmt.Fprintf(&b, "INSERT INTO %s (id, version, shard, ballast) SELECT -n, %d, %s, repeat('b', %d) "+
			"FROM generate_series(1, %d) AS n ON CONFLICT DO NOTHING;", t.name, version, shard, ballast, ballasts)
	}
	pad := "repeat('x', 20 + n % 40 * 180)"
	if !t.ballast {
		pad = "'x'"
	}
	fmt.Fprintf(&b, "INSERT INTO %s (id, version, shard, pad, big) SELECT n, %d, %s, %s, %s "+
		"FROM generate_series(%d::int, %d) AS n ON CONFLICT DO NOTHING;",
		t.name, version, shard, pad, t.big(version), first, first+int64(rows)-1)
	return b.String()
}

// big is the SQL of a value of column big: it begins with the version that wrote it.
func (t *table) big(version int64) string {
	if !t.toast {
		return "''"
	}
	return fmt.Sprintf("'%d ' || repeat('b', 3000)", version)
}
