package integration

import (
	"fmt"
	"strings"
	"testing"
)

// expectAllRows reads the streams and compares each with the relation itself.
func expectAllRows(t *testing.T, db *database, config map[string]any, streams ...string) *result {
	t.Helper()
	r := refresh(t, config, streams...).ok()
	for _, stream := range streams {
		want := db.rows(stream)
		r.expectRows(stream, want)
		expectStatuses(t, r, stream, "STARTED RUNNING COMPLETE")
	}
	return r
}

func TestPartitionedTables(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE by_list (id int, v text) PARTITION BY LIST (v);
CREATE TABLE by_list_a PARTITION OF by_list FOR VALUES IN ('a', 'b');
CREATE TABLE by_list_null PARTITION OF by_list FOR VALUES IN (NULL);
CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT;
INSERT INTO by_list SELECT g, (ARRAY['a', 'b', 'c', 'd', NULL])[g % 5 + 1] FROM generate_series(1, 100) AS g;

CREATE TABLE by_range (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM (MINVALUE) TO (50);
CREATE TABLE by_range_2 PARTITION OF by_range FOR VALUES FROM (50) TO (MAXVALUE);
INSERT INTO by_range SELECT g, 'v' FROM generate_series(1, 100) AS g;

CREATE TABLE by_hash (id int, v text) PARTITION BY HASH (id);
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE by_hash_2 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO by_hash SELECT g, 'v' FROM generate_series(1, 100) AS g;

CREATE TABLE levels (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE levels_1 PARTITION OF levels FOR VALUES FROM (0) TO (50) PARTITION BY LIST (v);
CREATE TABLE levels_1_a PARTITION OF levels_1 FOR VALUES IN ('a');
CREATE TABLE levels_1_rest PARTITION OF levels_1 DEFAULT PARTITION BY HASH (id);
CREATE TABLE levels_1_rest_0 PARTITION OF levels_1_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE levels_1_rest_1 PARTITION OF levels_1_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE levels_2 PARTITION OF levels FOR VALUES FROM (50) TO (200);
INSERT INTO levels SELECT g, (ARRAY['a', 'b'])[g % 2 + 1] FROM generate_series(1, 150) AS g;

CREATE TABLE no_rows (id int) PARTITION BY RANGE (id);
CREATE TABLE no_rows_1 PARTITION OF no_rows FOR VALUES FROM (0) TO (50);
CREATE TABLE no_partitions (id int) PARTITION BY RANGE (id);
CREATE TABLE no_rows_deep (id int) PARTITION BY RANGE (id);
CREATE TABLE no_rows_deep_1 PARTITION OF no_rows_deep FOR VALUES FROM (0) TO (50) PARTITION BY RANGE (id);`)
	expectAllRows(t, db, db.config(nil),
		"by_list", "by_list_a", "by_list_null", "by_list_rest", "by_range", "by_range_1", "by_range_2",
		"by_hash", "by_hash_0", "by_hash_1", "by_hash_2",
		"levels", "levels_1", "levels_1_a", "levels_1_rest", "levels_1_rest_0", "levels_1_rest_1", "levels_2",
		"no_rows", "no_rows_1", "no_partitions", "no_rows_deep", "no_rows_deep_1")
}

// Partitions of several ranges each, very unlike in size, read by several connections: every row once.
func TestLargePartitions(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (id int, pad text) PARTITION BY RANGE (id);
ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (3000);
CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (3000) TO (8000);
INSERT INTO t SELECT g, repeat('x', 5000) FROM generate_series(1, 7000) AS g;`)
	config := db.config(map[string]any{"max_db_connections": 3})
	catalog := discover(t, config).configure("full_refresh", "t").selectColumns(t, "t", "id")
	r := run(t, "read", input{config: config, catalog: catalog}).ok()
	r.expectRows("t", db.rows("(SELECT id FROM t)"))
	if n := len(r.states()); n < 3 {
		t.Errorf("%d states: the table was not read by ranges", n)
	}
}

// Who may read a partitioned table need not be allowed to read its partitions.
func TestPartitionedTableWithoutRightsOnPartitions(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	db.exec(`
CREATE TABLE t (id int) PARTITION BY RANGE (id);
CREATE SCHEMA closed;
CREATE TABLE closed.t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20);
INSERT INTO t SELECT generate_series(1, 19);
CREATE TABLE parent (id int);
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO child VALUES (1, 1);
GRANT SELECT ON t, parent TO ` + user.Name)
	config := db.configAs(user, map[string]any{"schemas": nil})
	if got := strings.Join(discover(t, config).names(), " "); got != "public.parent public.t" {
		t.Errorf("streams %s", got)
	}
	expectAllRows(t, db, config, "t", "parent")
}

// A parent has the rows of its children, each once, without the children's own columns.
func TestInheritance(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE parent (id int, v text);
CREATE TABLE other (id int, w text);
CREATE TABLE child (extra int) INHERITS (parent);
CREATE TABLE grandchild (more text) INHERITS (child);
CREATE TABLE both_parents () INHERITS (parent, other);
CREATE TABLE diamond () INHERITS (child, both_parents);
INSERT INTO parent SELECT g, 'parent' FROM generate_series(1, 10) AS g;
INSERT INTO child SELECT g, 'child', g FROM generate_series(11, 20) AS g;
INSERT INTO grandchild SELECT g, 'grandchild', g, 'more' FROM generate_series(21, 30) AS g;
INSERT INTO both_parents SELECT g, 'both', 'w' FROM generate_series(31, 40) AS g;
INSERT INTO diamond (id, v) SELECT g, 'diamond' FROM generate_series(41, 50) AS g;`)
	r := expectAllRows(t, db, db.config(nil), "parent", "other", "child", "grandchild", "both_parents", "diamond")
	if n := len(r.records("parent")); n != 50 {
		t.Errorf("parent: %d records, want 50", n)
	}
}

func TestViews(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	db.exec(`
CREATE TABLE hidden (id int, v text);
INSERT INTO hidden SELECT g, 'v' || g FROM generate_series(1, 50) AS g;
CREATE VIEW seen AS SELECT id, v, id > 10 AS large FROM hidden WHERE id % 2 = 0;
CREATE VIEW of_view AS SELECT count(*)::int AS n, max(v) AS last FROM seen;
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM hidden WHERE id < 5;
CREATE VIEW no_rows AS SELECT * FROM hidden WHERE false;
CREATE RECURSIVE VIEW nums (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM nums WHERE n < 20;
GRANT SELECT ON seen, of_view, barrier, no_rows, nums TO ` + user.Name)
	expectAllRows(t, db, db.configAs(user, nil), "seen", "of_view", "barrier", "no_rows", "nums")
}

// A materialized view without data fails on its own.
func TestMaterializedViews(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (id int, v text);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 50) AS g;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM t;
CREATE MATERIALIZED VIEW no_data AS SELECT * FROM t WITH NO DATA;
DELETE FROM t WHERE id > 20;`)
	config := db.config(nil)
	expectAllRows(t, db, config, "kept")
	r := refresh(t, config)
	r.expectOneBroken(db, "config_error", "no_data", "STARTED RUNNING INCOMPLETE", "t", "kept")
}

// Foreign tables, also as partitions and children; one that cannot be reached fails on its own.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE near (id int, v text); INSERT INTO near SELECT g, 'v' || g FROM generate_series(1, 50) AS g")
	config := db.config(nil)
	if !db.loopback() {
		expectAllRows(t, db, config, "near")
		return
	}
	db.exec(`
CREATE FOREIGN TABLE remote (id int, v text) SERVER self OPTIONS (table_name 'near');
CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_local PARTITION OF parted FOR VALUES FROM (100) TO (200);
INSERT INTO parted SELECT g, 'local' FROM generate_series(100, 120) AS g;
CREATE FOREIGN TABLE parted_remote PARTITION OF parted FOR VALUES FROM (0) TO (100)
  SERVER self OPTIONS (table_name 'near');
CREATE TABLE parent (id int, v text);
INSERT INTO parent VALUES (1000, 'parent');
CREATE FOREIGN TABLE child () INHERITS (parent) SERVER self OPTIONS (table_name 'near');`)
	expectAllRows(t, db, config, "near", "remote", "parted", "parted_local", "parted_remote", "parent", "child")

	db.exec(`
CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (user 'x', password 'x');
CREATE FOREIGN TABLE lost (id int) SERVER nowhere OPTIONS (table_name 'near');`)
	r := refresh(t, config, "lost", "near", "remote")
	r.expectOneBroken(db, "transient_error", "lost", "STARTED RUNNING INCOMPLETE", "near", "remote")
}

func TestTablesOfOddKinds(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE UNLOGGED TABLE unlogged (id int, v text);
INSERT INTO unlogged SELECT g, 'v' FROM generate_series(1, 50) AS g;
CREATE TABLE no_rows (id int PRIMARY KEY, v text);
CREATE TABLE emptied (id int, v text);
INSERT INTO emptied SELECT g, 'v' FROM generate_series(1, 50) AS g;
DELETE FROM emptied;
CREATE TABLE no_key (id int, v text);
INSERT INTO no_key SELECT 1, 'same' FROM generate_series(1, 50);
INSERT INTO no_key SELECT NULL, NULL FROM generate_series(1, 3);
CREATE TABLE generated (id int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (2 * a) STORED);
INSERT INTO generated (a) SELECT generate_series(1, 10);
CREATE TABLE of_type (id int, row_value no_key);
INSERT INTO of_type (id) VALUES (1);`)
	expectAllRows(t, db, db.config(nil), "unlogged", "no_rows", "emptied", "no_key", "generated", "of_type")
}

func TestManyColumns(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	var columns []string
	for i := range 1600 {
		columns = append(columns, fmt.Sprintf("c%d smallint", i))
	}
	db.exec("CREATE TABLE t (" + strings.Join(columns, ", ") + "); INSERT INTO t (c0, c800, c1599) VALUES (1, 2, 3)")
	r := refresh(t, db.config(nil)).ok()
	records := r.records("t")
	if len(records) != 1 || len(records[0].Data) != 1600 {
		t.Fatalf("%d records, want 1 with 1600 fields", len(records))
	}
	for field, value := range records[0].Data {
		want := map[string]string{"c0": "1", "c800": "2", "c1599": "3"}[field]
		if want == "" {
			want = "null"
		}
		if string(value) != want {
			t.Errorf("%s: %s, want %s", field, value, want)
		}
	}
}

// A table with row-level security is read as far as the role may see it, and the log says which table that is.
func TestRowLevelSecurity(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user, owner := db.role("user"), db.role("owner")
	db.exec(fmt.Sprintf(`
CREATE TABLE filtered (id int, mine bool);
INSERT INTO filtered SELECT g, g %% 2 = 0 FROM generate_series(1, 50) AS g;
ALTER TABLE filtered ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON filtered FOR SELECT TO %[1]s USING (mine);
CREATE TABLE invisible (id int);
INSERT INTO invisible VALUES (1);
ALTER TABLE invisible ENABLE ROW LEVEL SECURITY;
CREATE TABLE open (id int);
INSERT INTO open VALUES (1);
GRANT SELECT ON filtered, invisible, open TO %[1]s;
ALTER TABLE filtered OWNER TO %[2]s;`, user.Name, owner.Name))
	r := refresh(t, db.configAs(user, nil)).ok()
	r.expectRows("filtered", db.rows("(SELECT * FROM filtered WHERE mine)"))
	r.expectRows("invisible", nil)
	r.expectRows("open", db.rows("open"))
	warnings := r.logs("WARN")
	if !has(warnings, "row-level security", "public.filtered", "public.invisible") || has(warnings, "public.open") {
		t.Errorf("warnings %q, want one that names filtered and invisible", warnings)
	}
	// To the owner, and to a superuser, its policies do not apply.
	for _, config := range []map[string]any{db.configAs(owner, nil), db.config(nil)} {
		r = refresh(t, config, "filtered").ok()
		r.expectRows("filtered", db.rows("filtered"))
		if warnings := r.logs("WARN"); len(warnings) != 0 {
			t.Errorf("warnings %q, want none", warnings)
		}
	}
}
