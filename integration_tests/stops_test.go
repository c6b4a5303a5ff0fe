package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// settled waits until everything that has been written so far was written by transactions that no snapshot taken from
// now on counts among the open ones, or those that came after. Then just what is new since a sync comes with the next.
func (d *database) settled() {
	d.t.Helper()
	last := d.value("SELECT txid_current()")
	d.await("SELECT txid_snapshot_xmin(txid_current_snapshot()) > $1::bigint", last)
}

// versions are the rows of some messages' records of stream t, as id and version, in order.
func versions(t *testing.T, messages []message) []string {
	t.Helper()
	found := []string{}
	for _, m := range messages {
		if m.Record != nil && m.Record.name().is("t") {
			found = append(found, fmt.Sprintf("%s v%s", m.Record.Data["id"], m.Record.Data["version"]))
		}
	}
	slices.Sort(found)
	return found
}

// blocksSQL makes table t with a row and as much free space in each of 4,200 blocks: some ranges, in which rows stay
// when they are updated.
const blocksSQL = `
CREATE TABLE t (id int, version int, at bigint, pad text)%s;
ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
%s
INSERT INTO t SELECT g, 1, g, repeat('x', 3500) FROM generate_series(1, 8400) AS g;
DELETE FROM t WHERE id %% 2 = 0`

// longSQL makes table t with rows of 7 kB and an index on the cursor; growSQL adds as many, ten of them with the same
// cursor each time.
const (
	longSQL = `
CREATE TABLE t (id int, version int, at bigint, pad text);
ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
INSERT INTO t SELECT g, 1, g, repeat('x', 7000) FROM generate_series(1, 5500) AS g;
CREATE INDEX ON t (at)`
	growSQL = "INSERT INTO t SELECT g, 2, 10000 + g / 10, repeat('x', 7000) FROM generate_series(5501, 10500) AS g"
)

// changeSQL updates some rows in every range.
const changeSQL = "UPDATE t SET version = 2, at = 10000 + id / 70 WHERE id % 7 < 3"

// A sync that stops after a state, whichever it is, is gone on with by the next: what came before the state and what
// comes then is all that is due, and nothing comes twice but what connections had begun side by side with the one that
// wrote the state, or what has the very cursor where it stopped.
func TestStopAfterEveryState(t *testing.T) {
	t.Parallel()
	parts := strings.Repeat("CREATE TABLE t_%d PARTITION OF t FOR VALUES FROM (%d) TO (%d);\n", 3)
	parts = fmt.Sprintf(parts, 1, 0, 2000, 2, 2000, 6000, 3, 6000, 9000)
	plain := fmt.Sprintf(blocksSQL, "", "")
	for name, kind := range map[string]struct {
		method, sql, change string
		ordered             bool
	}{
		"Standard, first pass":           {"Standard", plain, "", false},
		"Standard, later, without index": {"Standard", plain, changeSQL, false},
		"Standard, later, by cursor":     {"Standard", longSQL, growSQL, true},
		"Xmin, first pass":               {"Xmin", plain, "", false},
		"Xmin, later":                    {"Xmin", plain, changeSQL, false},
		"Xmin, later, partitioned": {
			"Xmin", fmt.Sprintf(blocksSQL, " PARTITION BY RANGE (id)", parts), changeSQL, false,
		},
	} {
		for _, connections := range []int{1, 3} {
			if kind.ordered && connections > 1 { // one is enough for it
				continue
			}
			t.Run(fmt.Sprintf("%s, %d connections", name, connections), func(t *testing.T) {
				t.Parallel()
				db := newDB(t)
				db.exec(kind.sql)
				db.exec("VACUUM ANALYZE t")
				db.settled()
				config := db.config(map[string]any{
					"replication_method": map[string]any{"method": kind.method, "cursor_lookback_rows": 100},
					"max_db_connections": connections,
				})
				catalog := discover(t, config).configure("incremental", "t")
				if kind.method == "Standard" {
					catalog.cursor(t, "t", "at")
				}
				columns := []string{"id", "version", "at"}
				if kind.ordered {
					columns = append(columns, "pad")
				}
				in := input{config: config, catalog: catalog.selectColumns(t, "t", columns...)}
				due := "t"
				if kind.change != "" {
					in.state = run(t, "read", in).ok().lastState()
					db.exec(kind.change)
					db.settled()
					due = "t WHERE version = 2"
				}
				most := 2200 * (connections - 1) // rows of two ranges in flight
				if kind.ordered {
					most = 10
				}
				stopAfterEveryState(t, in, db.column("SELECT format('%s v%s', id, version) FROM "+due), most)
			})
		}
	}
}

// stopAfterEveryState reads once, and then from each state of that. Of the rows that are due at most so many come
// twice.
func stopAfterEveryState(t *testing.T, in input, due []string, most int) {
	t.Helper()
	slices.Sort(due)
	whole := run(t, "read", in).ok()
	expectSame(t, "the whole", versions(t, whole.messages), due)
	states := 0
	var twice []int
	for i, m := range whole.messages {
		if m.State == nil {
			continue
		}
		states++
		in.state = platformState([]*state{m.State})
		before, rest := versions(t, whole.messages[:i]), versions(t, run(t, "read", in).ok().messages)
		if missing := difference(due, append(before, rest...)); len(missing) > 0 {
			t.Errorf("state %s: %d rows come neither before it nor after it: %q", m.State.text, len(missing), missing[0])
		}
		if strange := difference(rest, due); len(strange) > 0 {
			t.Errorf("state %s: %d rows come that are not due: %q", m.State.text, len(strange), strange[0])
		}
		twice = append(twice, len(before)+len(rest)-len(due))
		if twice[states-1] > most {
			t.Errorf("state %s: %d rows come twice, want at most %d", m.State.text, twice[states-1], most)
		}
	}
	if states < 3 {
		t.Errorf("there are but %d states", states)
	}
	if last := twice[states-1]; last != 0 {
		t.Errorf("%d rows come again after the last state", last)
	}
	t.Logf("%d rows; read again after each of %d states: %v", len(due), states, twice)
}

// Where the cursor has an index, the rows that are due are found by it, wherever in the table they lie: a sync that
// brings few of them looks at few blocks, even if the server sorts what it has found.
func TestIndexServesTheCursor(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	// An autovacuum would look at blocks too, and be taken for somebody who writes.
	db.exec("CREATE TABLE t WITH (autovacuum_enabled = off) AS SELECT g AS id, g::bigint * 7919 % 300000 AS at, " +
		"repeat('x', 50) AS pad FROM generate_series(1, 300000) AS g; CREATE INDEX ON t (at)")
	db.exec("VACUUM ANALYZE t")
	db.settled()
	config := db.config(map[string]any{
		"replication_method": map[string]any{"method": "Standard", "cursor_lookback_rows": 500},
	})
	in := input{config: config, catalog: discover(t, config).configure("incremental", "t").cursor(t, "t", "at")}
	x := &xminSync{db, in}
	x.in.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "at")
	first := newTally(t, x.in, 300_000)
	first.end()
	x.in.state = platformState(first.states)
	db.exec("UPDATE t SET at = 300000 + id / 1000 WHERE id % 1000 = 0")
	db.settled()
	before := x.blocks()
	if n := len(x.sync().records("t")); n != 300 {
		t.Errorf("%d records, want the 300 that are due", n)
	}
	blocks := x.blocks() - before
	all, err := strconv.ParseInt(db.value("SELECT pg_relation_size('t') / 8192"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if blocks == 0 || blocks > all/2 {
		t.Errorf("a sync of 300 rows looks at %d blocks of %d", blocks, all)
	}
}
