package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/codec"
	"source-postgres/source/postgres"
)

// A Database is the part of a database that a Filter asked for.
type Database struct {
	Tables []*Table // by schema, then name, in the byte order of both
	System string   // the cluster's system_identifier; set by who knows it
	// Outdated says that a table is left out which the snapshot has and the database has no more: it was dropped, or
	// another one took its place. A new snapshot shows which.
	Outdated bool
}

// A Filter says what to load.
type Filter struct {
	Schemas     []string                    // only these schemas; empty: every one but the system's
	Streams     []protocol.StreamDescriptor // only these tables; nil: all of them
	OIDs        []uint32                    // only these tables; nil: all of them
	Unreadable  bool                        // also tables without SELECT privilege
	Publication string                      // whose members get Published; empty: none do
}

// Load reads the tables of the filter in two queries. Tables and columns that the user cannot SELECT are left out,
// and so are the system's own relations. conn is in a transaction of its own.
func Load(ctx context.Context, conn *pgconn.PgConn, f Filter) (*Database, error) {
	l := loader{
		tables: map[uint32]*Table{}, db: &Database{}, keys: map[*Table][3][]int16{}, listed: map[*Table][]string{},
		away: map[uint32]string{}, computes: postgres.Version(conn) < 180000,
	}
	if err := postgres.Query(ctx, conn, relationsSQL, f.arguments(), l.relation); err != nil {
		return nil, postgres.Explain(err, "list the tables")
	}
	var all, partial []uint32
	for _, t := range l.db.Tables {
		all = append(all, t.OID)
	}
	if !f.Unreadable {
		partial = l.partial
	}
	args := [][]byte{oidArray(all), oidArray(partial)}
	if err := postgres.Query(ctx, conn, columnsSQL, args, l.column); err != nil {
		return nil, postgres.Explain(err, "list the columns")
	}
	l.finish()
	return l.db, nil
}

// Find gives the table of a stream. A stream without namespace is matched by its name, where only one table has it.
func (db *Database) Find(d protocol.StreamDescriptor) *Table {
	var found *Table
	for _, t := range db.Tables {
		if t.Name != d.Name || (d.Namespace != "" && t.Schema != d.Namespace) {
			continue
		}
		if found != nil {
			return nil
		}
		found = t
	}
	return found
}

// relationsSQL lists relations. Parameters: schemas and streams, as JSON arrays or NULL; whether unreadable ones are
// wanted; the publication or NULL; their oids or NULL. Keys are numbers of columns; indkey holds INCLUDE columns too,
// which indnkeyatts leaves out. The list of numbers has the first column of each B-tree index (access method 403) of
// the whole table. The last column has those partitions whose replica identity, which is what counts in the log,
// lacks a column of the table's key. Privileges are those of the present, not of the snapshot: of a relation that has
// gone since they are NULL. Of a table that is published with its schema the entry is that of the schema, together with
// the transaction that last put the table there; pg_depend has both, since the catalog of the former came with version
// 15. Row filters and column lists came with it, which is why the row of the view is taken for JSON. Source: PostgreSQL
// documentation, chapter System Catalogs: pg_class, pg_index, pg_depend, pg_publication_tables.
const relationsSQL = `
WITH of_schema AS MATERIALIZED (
  SELECT s.objid AS entry, s.refobjid AS schema
    FROM pg_publication p
    JOIN pg_depend e ON e.refclassid = 'pg_publication'::regclass AND e.refobjid = p.oid
    JOIN pg_depend s ON s.classid = e.classid AND s.objid = e.objid AND s.refclassid = 'pg_namespace'::regclass
   WHERE p.pubname = $4 AND e.classid = to_regclass('pg_catalog.pg_publication_namespace')
)
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident,
       c.relrowsecurity AND row_security_active(c.oid),
       pt.tablename IS NOT NULL,
       has_table_privilege(c.oid, 'SELECT'),
       pk.indnkeyatts, pk.indkey, ri.indnkeyatts, ri.indkey,
       (SELECT string_agg(i.indkey[0]::text, ' ')
          FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
         WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND ic.relam = 403),
       to_jsonb(pt)->>'rowfilter', to_jsonb(pt)->'attnames', pg_has_role(c.relowner, 'USAGE'),
       coalesce(pr.oid::bigint, os.entry::bigint # (
         SELECT d.xmin::text::bigint
           FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
            AND d.refclassid = 'pg_namespace'::regclass), p.oid::bigint),
       pk.indimmediate,
       CASE WHEN c.relkind = 'p' AND $4 IS NOT NULL THEN (
         WITH RECURSIVE part (oid) AS (
           SELECT c.oid UNION SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
         )
         SELECT json_agg(format('%I.%I', ln.nspname, l.relname) ORDER BY ln.nspname, l.relname)
           FROM part JOIN pg_class l ON l.oid = part.oid JOIN pg_namespace ln ON ln.oid = l.relnamespace
          WHERE l.relkind = 'r' AND l.relreplident <> 'f' AND NOT EXISTS (
            SELECT FROM pg_index i
             WHERE i.indrelid = l.oid AND i.indimmediate
               AND CASE l.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
               AND NOT EXISTS (
                 SELECT FROM pg_attribute k
                  WHERE k.attrelid = c.oid
                    AND k.attnum = ANY (CASE c.relreplident WHEN 'i' THEN ri.indkey ELSE pk.indkey END)
                    AND k.attname NOT IN (
                      SELECT a.attname FROM pg_attribute a WHERE a.attrelid = l.oid AND a.attnum = ANY (i.indkey)))))
       END
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_index pk ON pk.indrelid = c.oid AND pk.indisprimary
  LEFT JOIN pg_index ri ON ri.indrelid = c.oid AND ri.indisreplident
  LEFT JOIN pg_publication_tables pt ON pt.pubname = $4 AND pt.schemaname = n.nspname AND pt.tablename = c.relname
  LEFT JOIN pg_publication p ON p.pubname = $4
  LEFT JOIN pg_publication_rel pr ON pr.prpubid = p.oid AND pr.prrelid = c.oid
  LEFT JOIN of_schema os ON os.schema = n.oid
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'catalog_history')
   AND NOT (c.relkind = 'v' AND c.relname IN ('pg_stat_statements', 'pg_stat_statements_info', 'pg_buffercache'))
   AND ($1::json IS NULL OR n.nspname::text IN (SELECT json_array_elements_text($1::json)))
   AND ($2::json IS NULL
        OR (n.nspname::text, c.relname::text) IN (
             SELECT w->>'namespace', w->>'name' FROM json_array_elements($2::json) AS w)
        OR c.relname::text IN (SELECT w->>'name' FROM json_array_elements($2::json) AS w WHERE w->>'namespace' IS NULL))
   AND ($5::oid[] IS NULL OR c.oid = ANY ($5))
   AND ($3::bool OR has_schema_privilege(n.oid, 'USAGE')
                AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'))) IS NOT FALSE
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`

// columnsSQL lists the columns of the relations in $1 (kind c), of those in $2 only the readable ones, and the types
// that they have and that are not built in (whose oids are below 10000), with the types those rest on (kind t). A
// true array type is one whose element type names it as its array. Source: PostgreSQL documentation, chapter System
// Catalogs: pg_attribute, pg_type.
const columnsSQL = `
WITH RECURSIVE col AS (
  SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attndims, a.attnotnull,
         a.attgenerated <> '' AS generated
    FROM pg_attribute a
   WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
     AND (a.attrelid <> ALL ($2::oid[]) OR has_column_privilege(a.attrelid, a.attnum, 'SELECT'))
), used AS (
  SELECT DISTINCT atttypid AS oid FROM col WHERE atttypid >= 10000` + restOfTypesSQL + `
)
SELECT 'c', attrelid::text, attname::text, attnum::text, atttypid::text, atttypmod::text, attndims::text,
       attnotnull::text, generated::text, NULL
  FROM col
UNION ALL` + usedTypesSQL

func (f *Filter) arguments() [][]byte {
	args := make([][]byte, 5)
	if len(f.Schemas) > 0 {
		args[0] = jsonText(f.Schemas)
	}
	if f.Streams != nil {
		args[1] = jsonText(f.Streams)
	}
	args[2] = strconv.AppendBool(nil, f.Unreadable)
	if f.Publication != "" {
		args[3] = []byte(f.Publication)
	}
	if f.OIDs != nil {
		args[4] = oidArray(f.OIDs)
	}
	return args
}

// jsonText is v as JSON; v is made of strings, which cannot fail to marshal.
func jsonText(v any) []byte {
	text, _ := json.Marshal(v)
	return text
}

// typesSQL lists the types in $1 that are not built in, with the types those rest on, as columnsSQL does.
const typesSQL = `
WITH RECURSIVE used AS (
  SELECT DISTINCT o AS oid FROM unnest($1::oid[]) AS o WHERE o >= 10000` + restOfTypesSQL + `
)` + usedTypesSQL

// restOfTypesSQL adds to used what its types rest on.
const restOfTypesSQL = `
  UNION
  SELECT rest.oid
    FROM used
    JOIN pg_type t ON t.oid = used.oid
    CROSS JOIN LATERAL (VALUES (t.typelem), (t.typbasetype)) AS rest (oid)
   WHERE rest.oid >= 10000`

// usedTypesSQL describes the types in used, in the columns that loader.column reads.
const usedTypesSQL = `
SELECT 't', t.oid::text, t.typname::text, t.typtype::text, t.typbasetype::text, t.typtypmod::text, t.typndims::text,
       (CASE WHEN e.typarray = t.oid THEN e.oid ELSE 0 END)::text,
       coalesce(e.typdelim, ',')::text,
       CASE WHEN t.typtype = 'b' AND NOT pg_type_is_visible(t.oid) THEN n.nspname::text END
  FROM used
  JOIN pg_type t ON t.oid = used.oid
  JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.oid = t.typelem`

// LoadTypes looks up the types called oids. One that the database does not have is a string to the Map.
func LoadTypes(ctx context.Context, conn *pgconn.PgConn, oids []uint32) (*codec.Map, error) {
	l := loader{away: map[uint32]string{}}
	if err := postgres.Query(ctx, conn, typesSQL, [][]byte{oidArray(oids)}, l.column); err != nil {
		return nil, postgres.Explain(err, "look up the types")
	}
	return codec.NewMap(l.types), nil
}

// A loader takes the rows of the two queries.
type loader struct {
	db      *Database
	tables  map[uint32]*Table
	keys    map[*Table][3][]int16 // primary key, replica identity index, first columns of indexes
	listed  map[*Table][]string   // columns that the publication lists
	partial []uint32              // tables of which not every column may be read
	columns []columnRow
	types   []codec.Info
	away    map[uint32]string // the schemas of types that search_path does not lead to
	// computes says that the log has no generated columns: a server from version 18 on refuses changes of a table whose
	// identity has one that is not published.
	computes bool
}

type columnRow struct {
	table  *Table
	column Column
	oid    uint32
	typmod int32
	dims   int
}

func (l *loader) relation(v [][]byte) error {
	switch {
	case v[8] == nil:
		l.db.Outdated = true
		return nil
	case !utf8.Valid(v[1]) || !utf8.Valid(v[2]):
		unnameable("table", v[1], v[2])
		return nil
	}
	t := &Table{
		OID: oid(v[0]), Schema: string(v[1]), Name: string(v[2]), Kind: Kind(v[3][0]),
		Unlogged: v[4][0] == 'u', Identity: Identity(v[5][0]), Filtered: isTrue(v[6]), Published: isTrue(v[7]),
	}
	l.keys[t] = [3][]int16{numbers(v[9], v[10]), numbers(v[11], v[12]), numbers(nil, v[13])}
	t.RowFilter, t.Owned, t.Deferrable = string(v[14]), isTrue(v[16]), v[18] != nil && !isTrue(v[18])
	if v[17] != nil {
		t.Member = oid(v[17])
	}
	if v[15] != nil {
		var listed []string
		if err := json.Unmarshal(v[15], &listed); err != nil {
			return fmt.Errorf("load tables: %w", err)
		}
		l.listed[t] = listed
	}
	if v[19] != nil {
		if err := json.Unmarshal(v[19], &t.Unidentified); err != nil {
			return fmt.Errorf("load tables: %w", err)
		}
	}
	if t.Partial = !isTrue(v[8]); t.Partial {
		l.partial = append(l.partial, t.OID)
	}
	l.tables[t.OID] = t
	l.db.Tables = append(l.db.Tables, t)
	return nil
}

// unnameable warns of what no message could name: a database with encoding SQL_ASCII takes any bytes for a name.
func unnameable(what string, name ...[]byte) {
	slog.Warn("a "+what+" is left out, since its name is not valid UTF-8: rename it", "name",
		strings.ToValidUTF8(string(bytes.Join(name, []byte{'.'})), "\ufffd"))
}

func (l *loader) column(v [][]byte) error {
	if v[0][0] == 't' {
		l.types = append(l.types, codec.Info{
			OID: oid(v[1]), Name: string(v[2]), Kind: v[3][0], Base: oid(v[4]), BaseTypmod: int32(integer(v[5])),
			Dims: int(integer(v[6])), Elem: oid(v[7]), Delim: v[8][0],
		})
		if v[9] != nil {
			l.away[oid(v[1])] = string(v[9])
		}
		return nil
	}
	t := l.tables[oid(v[1])]
	if t == nil {
		return fmt.Errorf("load columns: relation %s was not listed", v[1])
	}
	if !utf8.Valid(v[2]) {
		unnameable("column", []byte(t.Schema), []byte(t.Name), v[2])
		return nil
	}
	l.columns = append(l.columns, columnRow{
		table:  t,
		column: Column{Name: string(v[2]), Number: int16(integer(v[3])), NotNull: isTrue(v[7]), Generated: isTrue(v[8])},
		oid:    oid(v[4]), typmod: int32(integer(v[5])), dims: int(integer(v[6])),
	})
	return nil
}

// finish gives the tables their columns, in order, with their types, and their keys.
func (l *loader) finish() {
	types := codec.NewMap(l.types)
	domains := map[uint32]uint32{}
	for _, t := range l.types {
		if t.Kind == 'd' {
			domains[t.OID] = t.Base
		}
	}
	for _, row := range l.columns {
		row.column.Type = types.Type(row.oid, row.typmod, row.dims)
		row.column.OID, row.column.WireOID = row.oid, row.oid
		for domains[row.column.WireOID] != 0 {
			row.column.WireOID = domains[row.column.WireOID]
		}
		row.column.Away = l.away[row.column.WireOID]
		row.table.Columns = append(row.table.Columns, row.column)
	}
	for _, t := range l.db.Tables {
		for i := range t.Columns {
			listed, ok := l.listed[t]
			t.Columns[i].Unpublished = ok && !t.Columns[i].Generated && !slices.Contains(listed, t.Columns[i].Name)
			t.Columns[i].Computed = l.computes && t.Columns[i].Generated
			t.Columns[i].Indexed = slices.Contains(l.keys[t][2], t.Columns[i].Number)
		}
		sort.Slice(t.Columns, func(i, j int) bool { return t.Columns[i].Number < t.Columns[j].Number })
		t.Key = t.names(l.keys[t][0])
		t.IdentityKey = t.names(l.keys[t][1])
	}
}
