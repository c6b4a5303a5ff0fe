package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A shape is what of a stream depends on the replication method.
type shape struct {
	modes  string // separated by blanks
	own    bool   // source_defined_cursor
	cursor string // default_cursor_field
	key    string // source_defined_primary_key, separated by blanks
}

const (
	full = "full_refresh"
	both = "full_refresh incremental"
)

func (s *stream) expectShape(t *testing.T, want shape) {
	t.Helper()
	var key []string
	for _, column := range s.PrimaryKey {
		key = append(key, column...)
	}
	got := shape{
		strings.Join(s.SyncModes, " "), s.OwnCursor, strings.Join(s.DefaultCursor, " "), strings.Join(key, " "),
	}
	if got != want {
		t.Errorf("%s: %+v, want %+v", s.name(), got, want)
	}
}

// expectResumable reports other streams (names separated by blanks) than those of which a full refresh can go on.
func (c *catalog) expectResumable(t *testing.T, want string) {
	t.Helper()
	var names []string
	for _, s := range c.Streams {
		if s.Resumable {
			names = append(names, s.Name)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("is_resumable: %s, want %s", got, want)
	}
}

// Read incrementally is what has a column that can be a cursor.
func TestDiscoverStandard(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE keyed (id int PRIMARY KEY, v uuid);
CREATE TABLE text_only (v text);
CREATE TABLE no_order (id uuid PRIMARY KEY, j jsonb, b bit(3), f bool, c char(3), p point);
CREATE TABLE no_columns ();
CREATE VIEW seen AS SELECT * FROM keyed;
CREATE VIEW seen_no_order AS SELECT * FROM no_order;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM keyed;
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id);`)
	c := discover(t, db.config(map[string]any{"replication_method": map[string]any{"method": "Standard"}}))
	for name, want := range map[string]shape{
		"keyed":         {modes: both, key: "id"},
		"text_only":     {modes: both},
		"no_order":      {modes: full, key: "id"},
		"no_columns":    {modes: full},
		"seen":          {modes: both},
		"seen_no_order": {modes: full},
		"kept":          {modes: both},
		"parted":        {modes: both, key: "id"},
	} {
		c.find(t, name).expectShape(t, want)
	}
	c.expectResumable(t, "kept keyed no_columns no_order text_only")
	if n := c.find(t, "no_columns").JSONSchema.Properties; n == nil || len(n) != 0 {
		t.Errorf("a table without columns has properties %v, want an empty object", n)
	}
	// Without a method it is this one.
	for i, s := range discover(t, db.config(nil)).Streams {
		if !slices.Equal(s.SyncModes, c.Streams[i].SyncModes) {
			t.Errorf("%s without a method: %q", s.name(), s.SyncModes)
		}
	}
}

// Read incrementally are all that have xmin; the cursor is the connector's own.
func TestDiscoverXmin(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE keyed (id int PRIMARY KEY);
CREATE TABLE no_key (v uuid);
CREATE VIEW seen AS SELECT * FROM keyed;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM keyed;
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id);`)
	want := map[string]shape{
		"keyed":  {modes: both, own: true, key: "id"},
		"no_key": {modes: both, own: true},
		"seen":   {modes: full, own: true},
		"kept":   {modes: both, own: true},
		"parted": {modes: both, own: true, key: "id"},
	}
	if db.loopback() {
		db.exec("CREATE FOREIGN TABLE remote (id int) SERVER self OPTIONS (table_name 'keyed')")
		want["remote"] = shape{modes: full, own: true}
	}
	c := discover(t, db.config(map[string]any{"replication_method": map[string]any{"method": "Xmin"}}))
	for name, shape := range want {
		c.find(t, name).expectShape(t, shape)
	}
	c.expectResumable(t, "kept keyed no_key")
}

// Read incrementally is what the publication has and the log can tell the rows of; the cursor is the connector's own.
func TestDiscoverCDC(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE keyed (b int, a int, v text, PRIMARY KEY (b, a));
CREATE TABLE outside (id int PRIMARY KEY);
CREATE TABLE no_key (id int);
CREATE TABLE whole (id int);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE by_index (id int PRIMARY KEY, y int NOT NULL, x int NOT NULL);
CREATE UNIQUE INDEX by_index_x_y ON by_index (x, y);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_x_y;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE VIEW seen AS SELECT * FROM keyed;
CREATE TABLE by_leaf (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE by_leaf_1 PARTITION OF by_leaf FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION pub FOR TABLE keyed, no_key, whole, by_index, by_leaf;`)
	c := discoverCDC(t, db)
	lsn := "_ab_cdc_lsn"
	for name, want := range map[string]shape{
		"keyed":     {both, true, lsn, "b a"},
		"outside":   {full, true, lsn, "id"},
		"no_key":    {modes: full},
		"whole":     {both, true, lsn, ""},
		"by_index":  {both, true, lsn, "x y"},
		"unlogged":  {full, true, lsn, "id"},
		"seen":      {modes: full},
		"by_leaf":   {full, true, lsn, "id"},
		"by_leaf_1": {both, true, lsn, "id"},
	} {
		s := c.find(t, name)
		s.expectShape(t, want)
		for column, schema := range map[string]string{
			lsn: numberSchema, "_ab_cdc_updated_at": stringSchema, "_ab_cdc_deleted_at": stringSchema,
		} {
			if got := string(s.JSONSchema.Properties[column]); got != schema {
				t.Errorf("%s: schema of %s is %q, want %s", name, column, got, schema)
			}
		}
	}
	c.expectResumable(t, "by_index by_leaf_1 keyed no_key outside unlogged whole")
	db.exec("ALTER PUBLICATION pub SET (publish_via_partition_root = true)")
	c = discoverCDC(t, db)
	c.find(t, "by_leaf").expectShape(t, shape{both, true, lsn, "id"})
	c.find(t, "by_leaf_1").expectShape(t, shape{full, true, lsn, "id"})
}

func discoverCDC(t *testing.T, db *database) *catalog {
	t.Helper()
	return discover(t, db.config(map[string]any{"replication_method": map[string]any{
		"method": "CDC", "replication_slot": "slot", "publication": "pub",
	}}))
}

// Schemas of fields.
const (
	booleanSchema     = `{"type":"boolean"}`
	integerSchema     = `{"type":"number","airbyte_type":"integer"}`
	numberSchema      = `{"type":"number"}`
	stringSchema      = `{"type":"string"}`
	dateSchema        = `{"type":"string","format":"date"}`
	timeSchema        = `{"type":"string","format":"time","airbyte_type":"time_without_timezone"}`
	timetzSchema      = `{"type":"string","format":"time","airbyte_type":"time_with_timezone"}`
	timestampSchema   = `{"type":"string","format":"date-time","airbyte_type":"timestamp_without_timezone"}`
	timestamptzSchema = `{"type":"string","format":"date-time","airbyte_type":"timestamp_with_timezone"}`
)

func arrayOf(items string) string { return `{"type":"array","items":` + items + `}` }

// schemas says for each schema of a field which types have it.
var schemas = map[string]string{
	booleanSchema: "bool",
	integerSchema: `smallint, integer, bigint, smallserial, serial, bigserial, oid, numeric(5), numeric(20,0), d_int`,
	numberSchema:  `numeric, numeric(10,2), real, double precision, money, d_price`,
	stringSchema: `text, varchar, varchar(10), char(3), "char", name, uuid, bytea, bit(3), varbit, interval, json,
		jsonb, jsonpath, xml, inet, cidr, macaddr, macaddr8, point, line, lseg, box, path, polygon, circle, int4range,
		int8range, numrange, tsrange, tstzrange, daterange, tsvector, tsquery, pg_lsn, txid_snapshot, regclass, xid, tid,
		mood, pair, own_range, d_mood, d_of_d`,
	dateSchema:             "date, d_date",
	timeSchema:             "time, time(0)",
	timetzSchema:           "timetz",
	timestampSchema:        "timestamp, timestamp(3)",
	timestamptzSchema:      "timestamptz",
	arrayOf(booleanSchema): "bool[]",
	arrayOf(integerSchema): "int2[], int4[], int8[], oid[], d_int[]",
	arrayOf(numberSchema):  "numeric[], numeric(5)[], numeric(10,2)[], real[], float8[], money[], d_price[]",
	arrayOf(stringSchema): `text[], varchar(3)[], char(3)[], name[], bytea[], bit(3)[], varbit[], uuid[], json[],
		jsonb[], inet[], interval[], xml[], box[], mood[], pair[], own_range[], tags`,
	arrayOf(dateSchema):                     "date[]",
	arrayOf(timeSchema):                     "time[]",
	arrayOf(timetzSchema):                   "timetz[]",
	arrayOf(timestampSchema):                "timestamp[]",
	arrayOf(timestamptzSchema):              "timestamptz[]",
	arrayOf(arrayOf(integerSchema)):         "int4[][]",
	arrayOf(arrayOf(arrayOf(stringSchema))): "text[][][]",
}

func TestDiscoverSchemaOfEveryType(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE own_range AS RANGE (subtype = int4);
CREATE DOMAIN d_int AS int CHECK (VALUE > 0);
CREATE DOMAIN d_price AS numeric(10,2);
CREATE DOMAIN d_date AS date;
CREATE DOMAIN d_mood AS mood;
CREATE DOMAIN d_text AS text;
CREATE DOMAIN d_of_d AS d_text;
CREATE DOMAIN tags AS text[];`)
	wants := map[string]string{}
	var columns []string
	add := func(typ, schema string) {
		column := fmt.Sprintf("c%d %s", len(columns), typ)
		columns = append(columns, fmt.Sprintf(`"%s" %s`, strings.ReplaceAll(column, `"`, `""`), typ))
		wants[column] = schema
	}
	for schema, types := range schemas {
		for _, typ := range splitTypes(types) {
			add(typ, schema)
		}
	}
	if db.Version >= 140000 {
		add("int4multirange", stringSchema)
	}
	for _, extension := range []string{"hstore", "citext", "ltree"} {
		if db.extension(extension) {
			add(extension, stringSchema)
			add(extension+"[]", arrayOf(stringSchema))
		}
	}
	db.exec("CREATE TABLE t (" + strings.Join(columns, ", ") + ")")
	got := discover(t, db.config(nil)).find(t, "t").JSONSchema.Properties
	for column, want := range wants {
		if !sameJSON(t, got[column], want) {
			t.Errorf("%s: %s, want %s", column, got[column], want)
		}
	}
	if len(got) != len(wants) {
		t.Errorf("%d properties, want %d", len(got), len(wants))
	}
}

// splitTypes splits a list of types at commas that are followed by a blank.
func splitTypes(types string) []string {
	var split []string
	for typ := range strings.SplitSeq(strings.Join(strings.Fields(types), " "), ", ") {
		split = append(split, typ)
	}
	return split
}

func sameJSON(t *testing.T, got json.RawMessage, want string) bool {
	t.Helper()
	return len(got) > 0 && bytes.Equal([]byte(canonical(t, got)), []byte(canonical(t, []byte(want))))
}

// What harnesses and destinations do not understand in a JSON schema must not be there.
func TestDiscoverSchemasArePlain(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(kindsSQL)
	line := string(catalogLine(run(t, "discover", input{config: db.config(nil)}).ok()))
	for _, keyword := range []string{`"required"`, `"$ref"`, `"allOf"`, `"not"`, `"additionalProperties"`, `null`} {
		if line == "" || strings.Contains(line, keyword) {
			t.Errorf("the catalog contains %s: %s", keyword, line)
		}
	}
}
