package integration

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// quietServer starts a server for the test alone, on which nothing begins a transaction but the test.
func quietServer(t *testing.T) *pgtest.Server {
	t.Helper()
	return private(t, "autovacuum = off")
}

// An xminSync is a database whose streams are read incrementally by xmin, again and again.
type xminSync struct {
	*database
	in input
}

// byXmin prepares to read streams of the database; every stream is asked for incrementally, whatever discover says of
// it.
func (d *database) byXmin(streams ...string) *xminSync {
	d.t.Helper()
	config := d.config(map[string]any{"replication_method": map[string]any{"method": "Xmin"}})
	return &xminSync{d, input{config: config, catalog: discover(d.t, config).configure("incremental", streams...)}}
}

// sync reads to the end; the next one goes on from its states.
func (x *xminSync) sync() *result {
	x.t.Helper()
	streams := x.in.catalog.(*configuredCatalog).Streams
	for i := range streams {
		streams[i].SyncID++
	}
	r := run(x.t, "read", x.in).ok()
	x.in.state = r.lastState()
	return r
}

// expect syncs and compares the column id of a stream's records with a list like "1 2 2".
func (x *xminSync) expect(stream, want string) *result {
	x.t.Helper()
	r := x.sync()
	got := r.values(stream, "id")
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		x.t.Errorf("stream %s: ids %v, want %s", stream, got, want)
	}
	return r
}

// TestXmin reads by xmin on a server where nothing else happens, one case after the other, each in a database of its
// own.
func TestXmin(t *testing.T) {
	t.Parallel()
	s := quietServer(t)
	for _, test := range []struct {
		name string
		run  func(d *database)
	}{
		{"nothing new", testXminNothingNew},
		{"changes", testXminChanges},
		{"rolled back", testXminRolledBack},
		{"maintenance", testXminMaintenance},
		{"open transaction", testXminOpenTransaction},
		{"prepared transaction", testXminPrepared},
		{"views", testXminViews},
		{"partitions", testXminPartitions},
		{"foreign states", testXminForeignStates},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newDBOn(t, s)) })
	}
}

// blocks are how many blocks of the tables have ever been looked at. A session counts them when it ends.
func (x *xminSync) blocks() int64 {
	x.t.Helper()
	x.await("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() " +
		"AND backend_type = 'client backend'")
	n, err := strconv.ParseInt(x.value("SELECT sum(heap_blks_read + heap_blks_hit) FROM pg_statio_user_tables"), 10, 64)
	if err != nil {
		x.t.Fatal(err)
	}
	return n
}

func testXminNothingNew(d *database) {
	d.exec("CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 1000); CREATE TABLE b (id int)")
	x := d.byXmin()
	first := x.sync()
	if n := len(first.records("a")); n != 1000 || len(first.records("b")) != 0 {
		d.t.Errorf("%d records of a, %d of b, want 1000 and 0", n, len(first.records("b")))
	}
	before := x.blocks()
	if before == 0 {
		d.t.Errorf("the first sync has looked at no block")
	}
	for range 2 {
		again := x.sync()
		if n := len(again.records("a")) + len(again.records("b")); n != 0 || len(again.states()) != 2 {
			d.t.Errorf("%d records and %d states, want 0 and one for each of 2 streams", n, len(again.states()))
		}
		if after := x.blocks(); after != before {
			d.t.Errorf("without a transaction since the last sync the tables were scanned: %d blocks, now %d", before, after)
		}
	}
}

func testXminChanges(d *database) {
	d.exec("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 0 FROM generate_series(1, 9) AS g")
	x := d.byXmin("t")
	x.expect("t", "1 2 3 4 5 6 7 8 9")
	d.exec("UPDATE t SET v = 1 WHERE id = 4")
	x.expect("t", "4")
	d.exec("INSERT INTO t VALUES (10, 0)")
	x.expect("t", "10")
	d.exec("DELETE FROM t WHERE id = 5")
	x.expect("t", "")
	d.exec("INSERT INTO t VALUES (5, 2); DELETE FROM t WHERE id = 6; UPDATE t SET id = 11 WHERE id = 7")
	x.expect("t", "11 5")
	d.exec("SELECT 1 FROM t FOR UPDATE")
	x.expect("t", "")
	d.exec("TRUNCATE t; INSERT INTO t VALUES (1, 3)")
	x.expect("t", "1")
	x.expect("t", "")
}

func testXminRolledBack(d *database) {
	d.exec("CREATE TABLE t (id int)")
	x := d.byXmin("t")
	d.exec("BEGIN; INSERT INTO t VALUES (1); ROLLBACK")
	x.expect("t", "")
	d.exec("BEGIN; INSERT INTO t VALUES (2); ROLLBACK")
	d.exec("BEGIN; SAVEPOINT a; INSERT INTO t VALUES (3); ROLLBACK TO a; INSERT INTO t VALUES (4); SAVEPOINT b;" +
		"INSERT INTO t VALUES (5); COMMIT")
	x.expect("t", "4 5")
	x.expect("t", "")
}

func testXminMaintenance(d *database) {
	d.exec("CREATE TABLE t (id int PRIMARY KEY, pad text); INSERT INTO t SELECT g FROM generate_series(1, 5000) AS g")
	x := d.byXmin("t")
	if n := len(x.sync().records("t")); n != 5000 {
		d.t.Fatalf("%d records, want 5000", n)
	}
	for _, sql := range []string{
		"VACUUM (FREEZE) t", "VACUUM FULL t", "CLUSTER t USING t_pkey", "ANALYZE t",
		"ALTER TABLE t ADD COLUMN v int DEFAULT 7",
	} {
		d.exec(sql)
		d.exec("SELECT txid_current()")
		x.expect("t", "")
	}
	d.exec("UPDATE t SET pad = 'x' WHERE id = 77")
	d.exec("VACUUM (FREEZE) t")
	d.exec("VACUUM FULL t")
	x.expect("t", "77")
}

func testXminOpenTransaction(d *database) {
	d.exec("CREATE TABLE t (id int)")
	x := d.byXmin("t")
	writer := d.connect()
	do(d.t, writer, "BEGIN; INSERT INTO t VALUES (1)")
	d.exec("INSERT INTO t VALUES (2)")
	x.expect("t", "2")
	do(d.t, writer, "SAVEPOINT a; INSERT INTO t VALUES (3)")
	do(d.t, writer, "SAVEPOINT b; INSERT INTO t VALUES (4); ROLLBACK TO b")
	do(d.t, writer, "RELEASE a; SAVEPOINT c; INSERT INTO t VALUES (5)")
	d.exec("INSERT INTO t VALUES (6)")
	r := x.expect("t", "2 6") // what came after the beginning of the open transaction comes with every sync
	if warnings := r.logs("WARN"); !has(warnings, "open at the last sync", "public.t", "held_by=", "pid ") {
		d.t.Errorf("no warning of the open transaction: %q", warnings)
	}
	do(d.t, writer, "COMMIT")
	x.expect("t", "1 2 3 5 6")
	x.expect("t", "")
}

func testXminPrepared(d *database) {
	d.exec("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
	x := d.byXmin("t")
	x.expect("t", "1")
	d.exec("BEGIN; INSERT INTO t VALUES (2); SAVEPOINT a; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'one'")
	d.exec("BEGIN; INSERT INTO t VALUES (4); PREPARE TRANSACTION 'two'")
	x.expect("t", "")
	d.exec("INSERT INTO t VALUES (5)")
	x.expect("t", "5")
	d.exec("ROLLBACK PREPARED 'two'")
	r := x.expect("t", "5")
	if warnings := r.logs("WARN"); !has(warnings, "open at the last sync", "prepared transaction 'one'") {
		d.t.Errorf("no warning names the prepared transaction: %q", warnings)
	}
	d.exec("COMMIT PREPARED 'one'")
	x.expect("t", "2 3 5")
	x.expect("t", "")
}

func testXminViews(d *database) {
	d.exec(`CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2);
		CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t`)
	x := d.byXmin("v", "m")
	found := discover(d.t, x.in.config.(map[string]any))
	for stream, want := range map[string]bool{"v": false, "m": true, "t": true} {
		if got := slices.Contains(found.find(d.t, stream).SyncModes, "incremental"); got != want {
			d.t.Errorf("discover offers incremental for %s: %t, want %t", stream, got, want)
		}
	}
	x.expect("m", "1 2")
	r := x.expect("m", "")
	if got := r.values("v", "id"); len(got) != 2 {
		d.t.Errorf("the view is read whole each time, but came with %v", got)
	}
	if warnings := r.logs("WARN"); !has(warnings, "public.v", "every row") || has(warnings, "public.m", "every row") {
		d.t.Errorf("no warning of just the view: %q", warnings)
	}
	d.exec("INSERT INTO t VALUES (3)")
	x.expect("m", "")
	d.exec("REFRESH MATERIALIZED VIEW m")
	x.expect("m", "1 2 3")
	d.exec("CREATE UNIQUE INDEX ON m (id); INSERT INTO t VALUES (4)")
	d.exec("REFRESH MATERIALIZED VIEW CONCURRENTLY m")
	x.expect("m", "4")
}

func testXminPartitions(d *database) {
	d.exec(`CREATE TABLE t (id int, shard int) PARTITION BY LIST (shard);
		CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 (shard int, id int);
		ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES IN (2);
		INSERT INTO t VALUES (1, 1), (2, 2), (3, 1)`)
	x := d.byXmin("t", "t_2")
	x.expect("t", "1 2 3")
	d.exec("UPDATE t SET shard = 2 WHERE id = 3")
	r := x.expect("t", "3")
	if got := r.values("t_2", "id"); !slices.Equal(got, []string{"3"}) {
		d.t.Errorf("the partition's own stream has %v, want 3", got)
	}
	d.exec("CREATE TABLE t_3 PARTITION OF t FOR VALUES IN (3); INSERT INTO t VALUES (4, 3)")
	x.expect("t", "4")
	d.exec("ALTER TABLE t DETACH PARTITION t_1")
	x.expect("t", "")
}

// testXminForeignStates: a state of another cluster, or of a later time of this one, is none to go on from.
func testXminForeignStates(d *database) {
	d.exec("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
	x := d.byXmin("t")
	x.expect("t", "1")
	now, err := strconv.ParseUint(d.value("SELECT txid_current()"), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	later := now + 1000
	raw := map[string]any{"xmin_raw_value": later, "xmin_xid_value": later, "num_wraparound": 0, "snapshot": nil}
	for name, test := range map[string]struct {
		keys map[string]any
		says string
	}{
		"another cluster":        {map[string]any{"system_identifier": "1"}, "another database cluster"},
		"a later bound":          {raw, strconv.FormatUint(later, 10)},
		"a bound of another age": {map[string]any{"xmin_raw_value": now + 1<<32, "snapshot": nil}, "backup"},
		"a later snapshot":       {map[string]any{"snapshot": "9999999:9999999:"}, "9999999"},
	} {
		d.t.Run(name, func(t *testing.T) {
			in := x.in
			in.state = withKeys(t, x.in.state, "t", test.keys)
			r := run(t, "read", in)
			e := r.failed("config_error")
			if !strings.Contains(e.Message, test.says) || !strings.Contains(e.Message, "Nothing was read") {
				t.Errorf("the error says %q, not %q", e.Message, test.says)
			}
			if len(r.records("t"))+len(r.states()) > 0 {
				t.Errorf("%d records, %d states", len(r.records("t")), len(r.states()))
			}
		})
	}
	standby := x.in
	standby.state = withKeys(d.t, x.in.state, "t", map[string]any{"timeline": 77})
	r := run(d.t, "read", standby).ok()
	got, warnings := r.values("t", "id"), r.logs("WARN")
	if !slices.Equal(got, []string{"1"}) || !has(warnings, "promoted", "public.t", "77") {
		d.t.Errorf("of another timeline: ids %v, want all; warnings %q", got, warnings)
	}
	foreign := map[string]any{"system_identifier": nil, "relation_oid": nil, "snapshot": nil}
	x.in.state = withKeys(d.t, x.in.state, "t", foreign)
	d.exec("INSERT INTO t VALUES (2)")
	x.expect("t", "2")
	x.in.state = []json.RawMessage{}
	x.expect("t", "1 2")
}
