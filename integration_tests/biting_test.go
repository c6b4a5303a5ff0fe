package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// biting are settings of a role or database that would change values, or end a read, if sessions took them over.
var biting = []string{
	"statement_timeout = '1s'", "lock_timeout = '1s'", "idle_in_transaction_session_timeout = '1s'",
	"idle_session_timeout = '1s'", "default_transaction_read_only = on", "default_transaction_isolation = serializable",
	"default_transaction_deferrable = on", "DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kolkata'",
	"IntervalStyle = 'sql_standard'", "bytea_output = 'escape'", "extra_float_digits = -10", "search_path = 'nowhere'",
	"standard_conforming_strings = off", "backslash_quote = on", "escape_string_warning = off",
	"quote_all_identifiers = on", "client_encoding = 'LATIN1'", "lc_monetary = 'C.UTF-8'", "row_security = off",
	"xmloption = document", "array_nulls = off", "enable_seqscan = off", "enable_tidscan = off",
	"client_min_messages = debug5",
	"log_min_messages = fatal", "tcp_keepalives_idle = 1", "work_mem = '64kB'", "transform_null_equals = on",
	"wal_sender_timeout = '1s'", "max_parallel_workers_per_gather = 4", "jit_above_cost = 0",
	"cursor_tuple_fraction = 0.5",
}

const bitten = `CREATE TABLE t (id int PRIMARY KEY, version int, d date, ts timestamp, tz timestamptz, i interval,
	b bytea, f4 real, f8 float8, m money, n numeric, x text, a text[], j jsonb, tt timetz, r tstzrange, iv interval[]);
	INSERT INTO t SELECT g, g, '2024-02-03', '2024-02-03 04:05:06.789', '2024-02-03 04:05:06.789+00', '1 mon -2 days 3:04',
	'\x00ff5c27', 0.1, 0.1 + 0.2, '-1234.56', 1.10, E'a\\b''c"d', ARRAY['NULL', NULL, E'\\'], '{"a": "\\"}', '04:05+02',
	'[2024-02-03 04:05+00,)', ARRAY['1 day'::interval] FROM generate_series(1, 20) AS g;
	CREATE PUBLICATION pub FOR TABLE t;
	CREATE VIEW slow AS SELECT 1 AS id, pg_sleep(1.2)::text AS slept;`

var changing = regexp.MustCompile(`"_ab_cdc_(lsn|updated_at)":[^,}]*,?`)

// Whatever a role and a database have set for their sessions, no value is another and no read ends: neither by SELECT
// nor from the log.
func TestSettingsThatBite(t *testing.T) {
	t.Parallel()
	var plain map[string][]string
	for _, bite := range []bool{false, true} {
		db := newDB(t)
		db.exec(bitten)
		role := db.role("bitten")
		db.exec("GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + quoted(role.Name) + "; ALTER ROLE " +
			quoted(role.Name) + " REPLICATION")
		slot := (&capture{database: db}).slot()
		if bite {
			for i, setting := range biting {
				name, _, _ := strings.Cut(setting, " ")
				if db.value("SELECT count(*) FROM pg_settings WHERE lower(name) = lower($1)", name) == "0" {
					continue // of another version
				}
				place := "ROLE " + quoted(role.Name)
				if i%2 == 0 {
					place = "DATABASE " + quoted(db.Name)
				}
				if err := db.Exec(t.Context(), "ALTER "+place+" SET "+setting); err != nil {
					t.Errorf("%s: %v", setting, err)
				}
			}
		}
		got := map[string][]string{}
		for what, method := range map[string]map[string]any{
			"Standard": {"method": "Standard"}, "Xmin": {"method": "Xmin"},
			"CDC": {"method": "CDC", "replication_slot": slot, "publication": "pub"},
		} {
			settings := db.configAs(role, map[string]any{"replication_method": method, "max_db_connections": 2})
			expectSucceeded(t, what, settings)
			catalog := discover(t, settings)
			in := input{config: settings, catalog: catalog.configure("incremental", "t")}
			if what == "Standard" {
				in.catalog = catalog.configure("incremental", "t").cursor(t, "t", "version")
			}
			first := run(t, "read", in).ok()
			in.state = first.lastState()
			db.superuserExec("UPDATE t SET version = version + 20 WHERE id <= 3")
			second := run(t, "read", in).ok()
			if len(second.records("t")) < 3 {
				t.Errorf("%s: %d records after three updates", what, len(second.records("t")))
			}
			for _, rec := range append(first.rows("t"), second.rows("t")...) {
				got[what] = append(got[what], changing.ReplaceAllString(rec, ""))
			}
			got[what] = slices.Compact(sorted(got[what]))
			// A statement that takes longer than the role's limits.
			r := run(t, "read", input{config: settings, catalog: catalog.configure("full_refresh", "slow")}).ok()
			if len(r.records("slow")) != 1 {
				t.Errorf("%s: %d records of the slow view", what, len(r.records("slow")))
			}
			db.superuserExec("UPDATE t SET version = id")
		}
		if !bite {
			plain = got
			continue
		}
		for what, rows := range plain {
			expectSame(t, what, got[what], rows)
		}
	}
}

// superuserExec runs SQL in a session without the database's settings for transactions.
func (d *database) superuserExec(sql string) {
	d.t.Helper()
	d.exec("BEGIN READ WRITE; SET LOCAL search_path = public; SET LOCAL statement_timeout = 0; " + sql + "; COMMIT")
}

// Where connections are short, fewer are used, and a warning says so.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.pages(3000)
	db.exec("CREATE TABLE held (id int); CREATE TABLE held_2 (id int); CREATE TABLE held_3 (id int)")
	role := db.role("limited")
	db.exec("GRANT SELECT ON t, held, held_2, held_3 TO " + quoted(role.Name) + "; " +
		"ALTER ROLE " + quoted(role.Name) + " REPLICATION; CREATE PUBLICATION pub FOR TABLE t; " +
		"ALTER TABLE t ADD PRIMARY KEY (id)")
	slot := (&capture{database: db}).slot()
	settings := db.configAs(role, map[string]any{"max_db_connections": 4})
	in := input{config: settings, catalog: discover(t, settings).configure("full_refresh", "t", "held", "held_2",
		"held_3")}
	holder := db.connect()
	db.expectGone()
	for limit, warnings := range map[int]int{1: 3, 2: 2, 3: 1, 4: 0} {
		db.exec(fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d", quoted(role.Name), limit))
		less := func(m message) bool {
			return m.Log != nil && has([]string{m.Log.Message}, "one connection less is used", "State code: 53300")
		}
		// So that there is work left when the last connection is tried.
		do(t, holder, "BEGIN; LOCK TABLE held, held_2, held_3")
		p := start(t, "read", in)
		for range warnings {
			p.until(less)
		}
		do(t, holder, "COMMIT")
		r := p.wait().ok()
		if n := len(r.records("t")); n != 3000 {
			t.Errorf("limit %d: %d records", limit, n)
		}
		warned := 0
		for _, m := range r.messages {
			if less(m) {
				warned++
			}
		}
		if warned != warnings {
			t.Errorf("limit %d: %d warnings, want %d: %q", limit, warned, warnings, r.logs("WARN"))
		}
		db.expectGone()
	}
	db.exec(fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT 1", quoted(role.Name)))
	settings["replication_method"] = map[string]any{"method": "CDC", "replication_slot": slot, "publication": "pub"}
	db.expectGone()
	expectIn(t, "CDC with one connection", checked(t, settings), "State code: 53300", "CONNECTION LIMIT")
	db.exec(fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT 2", quoted(role.Name)))
	db.expectGone()
	expectSucceeded(t, "CDC with two connections", settings)
	cdc := db.config(map[string]any{"replication_method": settings["replication_method"]})
	db.expectGone()
	run(t, "read", input{config: settings, catalog: discover(t, cdc).configure("incremental", "t")}).ok()
}

// A role whose planner is not to read blocks by number does not make every range a scan of the whole table.
func TestPlannerSettingsOfTheRole(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.pages(3000)
	role := db.role("reader")
	db.exec("GRANT SELECT ON t TO " + quoted(role.Name))
	db.exec("ALTER ROLE " + quoted(role.Name) + " SET enable_tidscan = off")
	config := db.configAs(role, nil)
	r := run(t, "read", input{config: config, catalog: configureT(t, config)}).ok()
	if n := len(r.records("t")); n != 3000 {
		t.Errorf("%d records", n)
	}
	db.expectGone() // sessions count what they did when they end
	if scans := db.value("SELECT seq_scan FROM pg_stat_user_tables"); scans != "0" && db.Version >= 140000 {
		t.Errorf("%s scans of the whole table", scans)
	}
}
