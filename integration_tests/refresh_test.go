package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// Money that is moved between the accounts of two tables while they are read is there once: all records of a sync are
// of one moment, whatever table they are of and whichever connection read them.
func TestRefreshIsOneSnapshot(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const accounts = 2000
	for _, table := range []string{"a", "b"} {
		db.exec(fmt.Sprintf(`CREATE TABLE %s (id int PRIMARY KEY, balance int, pad text);
			ALTER TABLE %[1]s ALTER COLUMN pad SET STORAGE PLAIN;
			INSERT INTO %[1]s SELECT g, 100, repeat('x', 5000) FROM generate_series(1, %d) AS g`, table, accounts))
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for range 2 {
		conn := db.connect()
		writers.Go(func() {
			for ctx.Err() == nil {
				sql := fmt.Sprintf("BEGIN; UPDATE a SET balance = balance - %[1]d WHERE id = %d; "+
					"UPDATE b SET balance = balance + %[1]d WHERE id = %d; COMMIT",
					rand.IntN(100), rand.IntN(accounts)+1, rand.IntN(accounts)+1)
				if _, err := conn.PgConn().Exec(context.WithoutCancel(ctx), sql).ReadAll(); err != nil {
					t.Errorf("move money: %v", err)
					return
				}
			}
		})
	}
	db.await("SELECT sum(balance) < 100 * $1::int - 1000 FROM a", accounts) // the writers are at work
	config := db.config(map[string]any{"max_db_connections": 4})
	catalog := discover(t, config).configure("full_refresh").selectColumns(t, "a", "id", "balance")
	catalog.selectColumns(t, "b", "id", "balance")
	p := start(t, "read", input{config: config, catalog: catalog})
	p.until(func(m message) bool { return m.Record != nil })
	before := db.value("SELECT sum(balance) FROM a")
	db.await("SELECT sum(balance) < $1::int FROM a", before) // they have written since the read began
	r := p.wait().ok()
	total := 0
	for _, table := range []string{"a", "b"} {
		values := r.values(table, "balance")
		if len(values) != accounts {
			t.Errorf("table %s: %d records, want %d", table, len(values), accounts)
		}
		for _, value := range values {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	if total != 2*accounts*100 {
		t.Errorf("the balances add up to %d, want %d", total, 2*accounts*100)
	}
}

// emitted are the emitted_at of a stream's records, in order.
func (r *result) emitted(stream string) []int64 {
	var found []int64
	for _, rec := range r.records(stream) {
		found = append(found, rec.EmittedAt)
	}
	return found
}

// Two reads bring the same rows, however many connections they use; each record has an emitted_at within its own read,
// which the harness sees to (ledger.record), and after all of the read before.
func TestRefreshTwiceIsTheSame(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, amount numeric, tags text[], j jsonb, f float8);
INSERT INTO t SELECT g, '2024-01-01'::timestamptz + g * interval '1 min', g / 7.0, ARRAY['a', g::text],
  jsonb_build_object('n', g), g / 3.0 FROM generate_series(1, 3000) AS g;
CREATE VIEW seen AS SELECT * FROM t WHERE id < 100;`)
	one := refresh(t, db.config(map[string]any{"max_db_connections": 1})).ok()
	four := refresh(t, db.config(map[string]any{"max_db_connections": 4})).ok()
	for stream, rows := range map[string]int{"t": 3000, "seen": 99} {
		if n := len(one.records(stream)); n != rows {
			t.Errorf("%s: %d records, want %d", stream, n, rows)
		}
		four.expectRows(stream, one.rows(stream))
		if first, then := slices.Max(one.emitted(stream)), slices.Min(four.emitted(stream)); then <= first {
			t.Errorf("%s: emitted_at %d in the second read, %d in the first", stream, then, first)
		}
	}
}

func TestManySmallTables(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const tables = 300
	db.exec(fmt.Sprintf(`DO $$ BEGIN
  FOR i IN 1..%d LOOP
    EXECUTE format('CREATE TABLE t%%s (id int, v text);
      INSERT INTO t%%1$s SELECT g, ''of %%1$s'' FROM generate_series(1, %%s) AS g', i, i %% 5);
  END LOOP;
END $$`, tables))
	config := db.config(map[string]any{"max_db_connections": 4})
	r := refresh(t, config).ok()
	got := map[string][]string{}
	for _, m := range r.messages {
		if m.Record != nil {
			got[m.Record.Stream] = append(got[m.Record.Stream], string(m.Record.Data["id"])+string(m.Record.Data["v"]))
		}
	}
	for i := 1; i <= tables; i++ {
		table := fmt.Sprintf("t%d", i)
		var want []string
		for id := 1; id <= i%5; id++ {
			want = append(want, fmt.Sprintf(`%d"of %d"`, id, i))
		}
		slices.Sort(got[table])
		if !slices.Equal(got[table], want) {
			t.Errorf("%s: %q, want %q", table, got[table], want)
		}
	}
}

// threeSQL makes a table that fills the connector's output more than any buffer takes, and two others.
const threeSQL = `
CREATE TABLE a (id int, pad text); INSERT INTO a SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) AS g;
CREATE TABLE b (id int); INSERT INTO b SELECT generate_series(1, 100);
CREATE TABLE c (id int); INSERT INTO c SELECT generate_series(1, 100);`

// A table that goes away before it is its turn, because of what happens while another is read, fails alone.
func TestTableLostDuringRead(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"dropped": "DROP TABLE b", "revoked": "REVOKE SELECT ON b FROM PUBLIC", "renamed": "ALTER TABLE b RENAME TO other",
		"column dropped": "ALTER TABLE b DROP COLUMN id", "schema closed": "ALTER TABLE b SET SCHEMA closed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			user := db.role("user")
			db.exec(threeSQL + "CREATE SCHEMA closed; GRANT SELECT ON a, b, c TO PUBLIC")
			config := db.configAs(user, map[string]any{"max_db_connections": 1})
			p := start(t, "read", input{config: config, catalog: discover(t, config).configure("full_refresh")})
			p.until(func(m message) bool { return m.Record != nil })
			db.exec(sql)
			r := p.wait()
			r.expectExit(1).failedIn("config_error", "public.b", "public.b")
			if n := len(r.records("b")); n != 0 {
				t.Errorf("%d records of b", n)
			}
			expectStatuses(t, r, "b", "STARTED RUNNING INCOMPLETE")
			for _, stream := range []string{"a", "c"} {
				expectStatuses(t, r, stream, "STARTED RUNNING COMPLETE")
				r.expectRows(stream, db.rows(stream))
			}
		})
	}
}

// rewriteDuring reads table t with one connection, runs sql as soon as it gets the table, between two ranges, and gives
// what came.
func rewriteDuring(t *testing.T, db *database, sql string) *result {
	t.Helper()
	config := db.config(map[string]any{"max_db_connections": 1})
	catalog := discover(t, config).configure("full_refresh", "t")
	p := start(t, "read", input{config: config, catalog: catalog})
	p.until(func(m message) bool { return m.Record != nil })
	writer := db.connect()
	pid := writer.PgConn().PID()
	finished := make(chan error, 1)
	go func() {
		_, err := writer.PgConn().Exec(t.Context(), sql).ReadAll()
		finished <- err
	}()
	db.await("SELECT count(*) > 0 FROM pg_locks WHERE pid = $1 AND NOT granted", pid)
	r := p.wait()
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	return r
}

// versions are the records of t, without what fills their pages.
func (r *result) versions() []string {
	var got []string
	for _, rec := range r.records("t") {
		got = append(got, fmt.Sprintf(`{"id":%s,"version":%s}`, rec.Data["id"], rec.Data["version"]))
	}
	return got
}

// A table that is rewritten between two of its ranges starts over within the same sync.
func TestTableRewrittenDuringRead(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"VACUUM FULL": "VACUUM FULL t",
		"TRUNCATE":    "TRUNCATE t; " + fmt.Sprintf(fillSQL, "t", 7001, 7100),
		"UPDATE all":  "BEGIN; LOCK TABLE t; UPDATE t SET version = 2; COMMIT",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.pages(2500)
			old := db.rows("(SELECT id, version FROM t)")
			r := rewriteDuring(t, db, sql).ok()
			got := r.versions()
			if name == "UPDATE all" { // no rewrite: the snapshot still shows what was there
				slices.Sort(got)
				expectSame(t, "t", got, old)
				return
			}
			if missing := difference(db.rows("(SELECT id, version FROM t)"), got); len(missing) > 0 {
				t.Errorf("%d rows are missing: %q", len(missing), missing[0])
			}
			if !has(r.logs("WARN"), "rewritten", "public.t") {
				t.Errorf("warnings %q do not say that the table was rewritten", r.logs("WARN"))
			}
			expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
		})
	}
}

// Values of a column that got another type in the middle of the read would be misread: the attempt fails, the next one
// starts over.
func TestColumnRetypedDuringRead(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.pages(2500)
	r := rewriteDuring(t, db, "ALTER TABLE t ALTER COLUMN version TYPE text")
	r.failedIn("transient_error", "public.t", `"version"`)
	expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
	config := db.config(nil)
	next := run(t, "read", input{config: config, catalog: configureT(t, config), state: r.lastState()}).ok()
	next.expectRows("t", db.rows("(SELECT id, version FROM t)"))
}

// A connection that is lost ends the attempt as one that may be tried again, from the state that it reached.
func TestConnectionLostDuringRead(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.pages(4000)
			config := db.config(map[string]any{"max_db_connections": connections})
			catalog := discover(t, config).configure("full_refresh", "t")
			p := start(t, "read", input{config: config, catalog: catalog})
			p.until(func(m message) bool { return m.State != nil })
			db.await("SELECT count(*) > 0 FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
				"WHERE datname = current_database() AND application_name = 'source-postgres' AND state <> 'idle') AS ended")
			r := p.wait()
			r.failed("transient_error")
			expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
			next := run(t, "read", input{config: config, catalog: catalog, state: r.lastState()}).ok()
			ids := append(r.values("t", "id"), next.values("t", "id")...)
			if missing := difference(db.column("SELECT id FROM t"), ids); len(missing) > 0 {
				t.Errorf("%d rows are missing after the second attempt", len(missing))
			}
		})
	}
}

// Fields that a platform adds to the configured catalog, or writes as null, are passed over.
func TestCatalogOfPlatforms(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
	config := db.config(nil)
	catalog := `{"later":1,"streams":[{"stream":{"name":"t","namespace":"public","json_schema":{"type":"object",
		"properties":{"id":{"type":"number","later":null}},"later":[]},"supported_sync_modes":null,
		"source_defined_cursor":null,"default_cursor_field":null,"source_defined_primary_key":null,"is_resumable":null,
		"is_file_based":null,"later":{}},
		"sync_mode":"full_refresh","destination_sync_mode":"anything","cursor_field":null,"primary_key":null,
		"generation_id":null,"minimum_generation_id":null,"sync_id":null,"include_files":null,"later":true}]}`
	run(t, "read", input{config: config, catalog: json.RawMessage(catalog)}).ok().expectRows("t", db.rows("t"))
}

// A table, or a column, that takes the place of the one of its name that is being read is another one: the two are not
// mixed.
func TestSwappedDuringRead(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"table": "LOCK TABLE t; CREATE TABLE fresh (LIKE t); INSERT INTO fresh SELECT id, 2, pad FROM t; " +
			"ALTER TABLE t RENAME TO old; ALTER TABLE fresh RENAME TO t",
		"dropped table": "LOCK TABLE t; CREATE TABLE fresh AS TABLE t; DROP TABLE t; ALTER TABLE fresh RENAME TO t",
		"column":        "ALTER TABLE t RENAME version TO old; ALTER TABLE t ADD version int DEFAULT 2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.pages(2500)
			r := rewriteDuring(t, db, "BEGIN; "+sql+"; COMMIT")
			r.failedIn("transient_error", "public.t", "took its place")
			expectStatuses(t, r, "t", "STARTED RUNNING INCOMPLETE")
			if name == "column" {
				return // rows that were read before it keep the old one
			}
			config := db.config(nil)
			next := run(t, "read", input{config: config, catalog: configureT(t, config), state: r.lastState()}).ok()
			next.expectRows("t", db.rows("(SELECT id, version FROM t)"))
		})
	}
}

// A partition that is dropped between two ranges takes its rows along; the others go on.
func TestPartitionDroppedDuringRead(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.partitions()
	r := rewriteDuring(t, db, "DROP TABLE t_2").ok()
	if missing := difference(db.rows("(SELECT id, version FROM t)"), r.versions()); len(missing) > 0 {
		t.Errorf("%d rows are missing: %q", len(missing), missing[0])
	}
	if len(r.logs("WARN")) > 0 {
		t.Errorf("warnings %q, want none", r.logs("WARN"))
	}
	expectStatuses(t, r, "t", "STARTED RUNNING COMPLETE")
}
