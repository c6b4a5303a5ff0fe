package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// expectStatuses compares the statuses of a stream, separated by blanks; several RUNNING in a row count as one.
func expectStatuses(t *testing.T, r *result, stream, want string) {
	t.Helper()
	if got := strings.Join(slices.Compact(r.statuses(stream)), " "); got != want {
		t.Errorf("%s: statuses %q, want %q", stream, got, want)
	}
}

// A stream that sends nothing has its three statuses and its state as well.
func TestStatusesOfEveryStream(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE filled (id int); INSERT INTO filled SELECT generate_series(1, 100);
CREATE TABLE empty (id int);
CREATE VIEW seen AS SELECT id FROM filled;
CREATE TABLE parted (id int) PARTITION BY RANGE (id);`)
	r := refresh(t, db.config(nil)).ok()
	for _, stream := range []string{"filled", "empty", "seen", "parted"} {
		expectStatuses(t, r, stream, "STARTED RUNNING COMPLETE")
		if got := platformStateOf(r, stream); got != 1 {
			t.Errorf("%s: %d states are kept, want 1", stream, got)
		}
	}
}

// platformStateOf counts the states that a platform keeps for a stream.
func platformStateOf(r *result, stream string) int {
	n := 0
	for _, text := range r.lastState() {
		if strings.Contains(string(text), fmt.Sprintf(`"name":%q`, stream)) {
			n++
		}
	}
	return n
}

func TestEstimates(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`
CREATE TABLE t (id int, v text); INSERT INTO t SELECT g, 'value' FROM generate_series(1, 1000) AS g;
CREATE TABLE parted (id int) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT generate_series(1, 500);
ANALYZE t, parted, parted_0, parted_1;`)
	r := refresh(t, db.config(nil), "t", "parted").ok()
	rows := map[string]int64{}
	for _, m := range r.messages {
		if m.Trace == nil || m.Trace.Estimate == nil {
			continue
		}
		e := m.Trace.Estimate
		if e.Type != "STREAM" || e.Namespace != "public" || e.Bytes <= 0 {
			t.Errorf("estimate %+v", e)
		}
		rows[e.Name] = e.Rows
	}
	if rows["t"] != 1000 || rows["parted"] != 500 || len(rows) != 2 {
		t.Errorf("estimated rows %v, want those that ANALYZE counted", rows)
	}
}

// broken makes a table, a view that fails after some rows, and another table.
const brokenSQL = `
CREATE TABLE a_good (id int); INSERT INTO a_good SELECT generate_series(1, 10);
CREATE VIEW b_broken AS SELECT id, 1 / (id - 5) AS v FROM a_good;
CREATE TABLE c_good (id int); INSERT INTO c_good SELECT generate_series(1, 10);`

// One broken stream does not stop the others; the sync fails in the end, and says which stream it was.
func TestOneBrokenStream(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.exec(brokenSQL)
			r := refresh(t, db.config(map[string]any{"max_db_connections": connections}))
			r.expectExit(1).expectOneBroken(db, "config_error", "b_broken", "STARTED RUNNING INCOMPLETE", "a_good", "c_good")
		})
	}
}

// Several broken streams are all named.
func TestSeveralBrokenStreams(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(brokenSQL + "CREATE TABLE gone (id int); CREATE VIEW worse AS SELECT id / 0 AS v FROM a_good")
	config := db.config(nil)
	catalog := discover(t, config).configure("full_refresh")
	db.exec("DROP TABLE gone")
	r := run(t, "read", input{config: config, catalog: catalog})
	e := r.failed("config_error")
	for _, stream := range []string{"public.b_broken", "public.gone", "public.worse"} {
		if !strings.Contains(e.Message, stream) {
			t.Errorf("the TRACE ERROR does not name %s: %s", stream, e.Message)
		}
	}
	expectStatuses(t, r, "gone", "STARTED INCOMPLETE")
	expectStatuses(t, r, "worse", "STARTED RUNNING INCOMPLETE")
	expectStatuses(t, r, "c_good", "STARTED RUNNING COMPLETE")
}

// A stream of the catalog that the database does not have, or that the role may not read.
func TestMissingStreams(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"dropped": "DROP TABLE b", "renamed": "ALTER TABLE b RENAME TO other",
		"moved":   "CREATE SCHEMA other; ALTER TABLE b SET SCHEMA other",
		"revoked": "REVOKE SELECT ON b FROM PUBLIC", "unusable": "ALTER TABLE b SET SCHEMA closed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			user := db.role("user")
			db.exec(`CREATE SCHEMA closed; CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int);
				INSERT INTO a VALUES (1); INSERT INTO c VALUES (3); GRANT SELECT ON a, b, c TO PUBLIC`)
			config := db.configAs(user, map[string]any{"schemas": nil})
			catalog := discover(t, config).configure("full_refresh")
			db.exec(change)
			r := run(t, "read", input{config: config, catalog: catalog})
			r.expectOneBroken(db, "config_error", "b", "STARTED INCOMPLETE", "a", "c")
		})
	}
}

// A sync of nothing but an unknown stream fails.
func TestOnlyAMissingStream(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (id int)")
	config := db.config(nil)
	catalog := discover(t, config).configure("full_refresh")
	catalog.find(t, "t").Stream.Name = "unknown"
	run(t, "read", input{config: config, catalog: catalog}).failedIn("config_error", "public.unknown")
}
