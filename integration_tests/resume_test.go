package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fillSQL fills a table of columns id, version and pad with a row in each block: the connector reads some thousand
// blocks at a time, and so few rows make a table of several ranges.
const fillSQL = "INSERT INTO %s SELECT g, 1, repeat('x', 5000) FROM generate_series(%d, %d) AS g"

// pages makes table t with rows 1 to n, one in each block.
func (d *database) pages(n int) {
	d.t.Helper()
	d.exec("CREATE TABLE t (id int, version int, pad text); ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN")
	d.exec(fmt.Sprintf(fillSQL, "t", 1, n))
}

// settle waits until every transaction of the server that was open while table t was filled has ended: rows that were
// written while one was open at the first attempt may come again at the next, for it may have changed them.
func (d *database) settle() {
	d.t.Helper()
	d.await("SELECT txid_snapshot_xmin(txid_current_snapshot()) > (SELECT xmin::text::bigint FROM t LIMIT 1)")
}

// configureT selects the columns id and version of stream t.
func configureT(t *testing.T, config map[string]any) *configuredCatalog {
	t.Helper()
	return discover(t, config).configure("full_refresh", "t").selectColumns(t, "t", "id", "version")
}

// done is the SQL condition for rows in the blocks that a state says have been read.
func (s *state) done(t *testing.T) string {
	t.Helper()
	var pass struct {
		Ctid   string
		Ranges [][2]int64
	}
	if err := json.Unmarshal(s.Stream.State, &pass); err != nil {
		t.Fatal(err)
	}
	condition := fmt.Sprintf("ctid <= '%s'::tid", pass.Ctid)
	for _, r := range pass.Ranges {
		condition += fmt.Sprintf(" OR ctid >= '(%d,0)'::tid AND ctid < '(%d,0)'::tid", r[0], min(r[1], 1<<32-1))
	}
	return "(" + condition + ")"
}

// rowsBefore are the rows of the records of stream t that came before its nth state.
func (r *result) rowsBefore(states int) []string {
	r.t.Helper()
	before := &result{t: r.t}
	for _, m := range r.messages {
		if m.State != nil {
			if states--; states == 0 {
				break
			}
		}
		before.messages = append(before.messages, m)
	}
	return before.rows("t")
}

// From each state that a read has written another read brings just the rows of the blocks that were not done, which
// with those before the state are all.
func TestResumeFromEveryState(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"table", "partitions"} {
		for _, connections := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d connections", kind, connections), func(t *testing.T) {
				t.Parallel()
				db := newDB(t)
				if kind == "table" {
					db.pages(4500)
				} else {
					db.partitions()
				}
				resumeFromEveryState(t, db, connections)
			})
		}
	}
}

// partitions makes a partitioned table t with partitions of unlike size.
func (d *database) partitions() {
	d.t.Helper()
	d.exec(`CREATE TABLE t (id int, version int, pad text) PARTITION BY RANGE (id);
		ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN;
		CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1001);
		CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (1001) TO (3500);
		CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (3500) TO (MAXVALUE);`)
	d.exec(fmt.Sprintf(fillSQL, "t", 1, 4500))
}

func resumeFromEveryState(t *testing.T, db *database, connections int) {
	t.Helper()
	config := db.config(map[string]any{"max_db_connections": connections})
	catalog := configureT(t, config)
	all := db.rows("(SELECT id, version FROM t)")
	db.settle()
	whole := run(t, "read", input{config: config, catalog: catalog}).ok()
	whole.expectRows("t", all)
	states := whole.states()
	if len(states) < 3 {
		t.Fatalf("%d states: the table was not read by ranges", len(states))
	}
	for i, s := range states[:len(states)-1] {
		if s.Stats.RecordCount > float64(1024*connections) { // a range of 8 MiB, and what other connections have of theirs
			t.Errorf("%v records before a state", s.Stats.RecordCount)
		}
		left := db.rows("(SELECT id, version FROM t WHERE NOT " + s.done(t) + ")")
		if len(left) == 0 || len(left) == len(all) {
			t.Errorf("state %s is in the middle, but %d of %d rows are left", s.text, len(left), len(all))
		}
		r := run(t, "read", input{config: config, catalog: catalog, state: platformState(states[:i+1])}).ok()
		r.expectRows("t", left)
		union := append(whole.rowsBefore(i+1), r.rows("t")...)
		slices.Sort(union)
		if missing := difference(all, union); len(missing) > 0 {
			t.Errorf("state %s: %d rows come neither before it nor after it: %q", s.text, len(missing), missing[0])
		}
	}
}

// A process that is killed in the middle of a large table loses nothing, and what comes twice are rows of ranges that
// it was at.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const rows = 2_000_000
	db.exec("CREATE TABLE t (id int, version int)")
	db.exec("INSERT INTO t SELECT g, 1 FROM generate_series(1, $1::int) AS g", rows)
	config := db.config(nil)
	in := input{config: config, catalog: configureT(t, config)}
	db.settle()
	first := newTally(t, in, rows)
	first.read(rows * 6 / 10)
	first.kill()
	if len(first.states) == 0 {
		t.Fatal("no state in the first half of the table")
	}
	last := first.states[len(first.states)-1]
	in.state = platformState(first.states)
	second := newTally(t, in, rows)
	second.end()
	twice := 0
	for id := 1; id <= rows; id++ {
		if !first.saved[id] && !second.seen[id] {
			t.Fatalf("row %d is missing", id)
		}
		if first.saved[id] && second.seen[id] {
			twice++
		}
	}
	left := db.value("SELECT count(*) FROM t WHERE NOT " + last.done(t))
	if got := fmt.Sprint(second.records); got != left {
		t.Errorf("the second attempt brought %s rows, want the %s in the blocks that the state left", got, left)
	}
	t.Logf("killed after %d records and %d states; %d rows came twice", first.records, len(first.states), twice)
}

// An attempt is a read of stream t that is killed after some states.
type attempt struct {
	rows  []string // of the records before the last of them, in order
	state *state
}

// interrupt reads until the nth state, and kills.
func interrupt(t *testing.T, in input, states int) attempt {
	t.Helper()
	p := start(t, "read", in)
	var last *state
	for range states {
		last = p.until(func(m message) bool { return m.State != nil }).State
	}
	before := len(p.messages)
	p.signal(syscall.SIGKILL)
	r := p.wait()
	r.messages = r.messages[:before]
	return attempt{ordered(r), last}
}

// ordered are the rows of the records of stream t in the order in which they came.
func ordered(r *result) []string {
	r.t.Helper()
	var rows []string
	for _, rec := range r.records("t") {
		rows = append(rows, canonical(r.t, text(r.t, rec.Data)))
	}
	return rows
}

// newest keeps of each row what came last, as a destination that deduplicates does.
func newest(t *testing.T, attempts ...[]string) map[int]int {
	t.Helper()
	versions := map[int]int{}
	for _, rows := range attempts {
		for _, row := range rows {
			var fields struct{ ID, Version int }
			if err := json.Unmarshal([]byte(row), &fields); err != nil {
				t.Fatal(err)
			}
			versions[fields.ID] = fields.Version
		}
	}
	return versions
}

// expectNewest compares every row of table t with what came last of it.
func expectNewest(t *testing.T, db *database, got map[int]int) {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT id, version FROM t")
	if err != nil {
		t.Fatal(err)
	}
	missing, old := []string{}, []string{}
	for _, row := range rows {
		var id, version int
		if _, err := fmt.Sscan(row[0], &id); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(row[1], &version); err != nil {
			t.Fatal(err)
		}
		switch have, ok := got[id]; {
		case !ok:
			missing = append(missing, row[0])
		case have != version:
			old = append(old, row[0])
		}
	}
	if len(missing)+len(old) > 0 {
		t.Errorf("of %d rows %d are missing (%q), %d are an old version (%q)", len(rows), len(missing),
			missing[:min(5, len(missing))], len(old), old[:min(5, len(old))])
	}
}

// moved makes sure that rows of table t which fulfil a condition lie in blocks that a state says have been read.
func (d *database) moved(s *state, condition string) {
	d.t.Helper()
	if n := d.value("SELECT count(*) FROM t WHERE " + s.done(d.t) + " AND " + condition); n == "0" {
		d.t.Fatalf("no row with %s was moved into the blocks that have been read", condition)
	}
}

// Between attempts rows are updated, by which they move from blocks that have not been read into free space of blocks
// that have; others are inserted there, changed there, deleted. Two interruptions, and none of it is lost.
func TestResumeAfterWrites(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.pages(6000)
			db.exec("CREATE INDEX t_id ON t (id)")
			db.exec("DELETE FROM t WHERE id <= 900 OR id BETWEEN 1100 AND 1900")
			db.exec("VACUUM t")
			config := db.config(map[string]any{"max_db_connections": connections})
			in := input{config: config, catalog: configureT(t, config)}
			first := interrupt(t, in, 3)

			db.exec("UPDATE t SET version = 2 WHERE id BETWEEN 5000 AND 5900")
			db.exec(fmt.Sprintf(fillSQL, "t", 10_001, 10_020))
			db.exec("UPDATE t SET version = 2 WHERE id BETWEEN 900 AND 920")
			db.exec("DELETE FROM t WHERE id BETWEEN 4500 AND 4600")
			db.moved(first.state, "id BETWEEN 5000 AND 5900")
			db.exec("VACUUM (FREEZE) t")

			in.state = platformState([]*state{first.state})
			second := interrupt(t, in, 1)
			db.exec("UPDATE t SET version = 3 WHERE id BETWEEN 5700 AND 5999")
			db.moved(second.state, "id BETWEEN 5700 AND 5999 AND version = 3")

			in.state = platformState([]*state{second.state})
			last := run(t, "read", in).ok()
			expectNewest(t, db, newest(t, first.rows, second.rows, ordered(last)))
		})
	}
}

// A transaction that is open while the first attempt reads has moved rows already; it commits between the attempts. Its
// subtransactions have numbers of their own.
func TestResumeAfterAnOpenTransaction(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.pages(4000)
	db.exec("DELETE FROM t WHERE id <= 900")
	db.exec("VACUUM t")
	writer := db.connect()
	do(t, writer, "BEGIN; UPDATE t SET version = 2 WHERE id BETWEEN 3000 AND 3300")
	do(t, writer, "SAVEPOINT s; UPDATE t SET version = 2 WHERE id BETWEEN 3301 AND 3600; RELEASE s")
	config := db.config(map[string]any{"max_db_connections": 1})
	in := input{config: config, catalog: configureT(t, config)}
	first := interrupt(t, in, 1)
	do(t, writer, "COMMIT")
	db.moved(first.state, "id BETWEEN 3000 AND 3300")
	db.moved(first.state, "id BETWEEN 3301 AND 3600")

	in.state = platformState([]*state{first.state})
	last := run(t, "read", in).ok()
	expectNewest(t, db, newest(t, first.rows, ordered(last)))
}

// Blocks that are added behind the end that the first attempt saw are read by the next.
func TestResumeAfterGrowth(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.pages(3000)
	config := db.config(map[string]any{"max_db_connections": 1})
	in := input{config: config, catalog: configureT(t, config)}
	first := interrupt(t, in, 2)
	db.exec(fmt.Sprintf(fillSQL, "t", 3001, 6000))
	in.state = platformState([]*state{first.state})
	last := run(t, "read", in).ok()
	expectNewest(t, db, newest(t, first.rows, ordered(last)))
}

// Where the blocks are not those of the first attempt any more, the stream starts over, and says so.
func TestResumeAfterARewrite(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"VACUUM FULL":         "VACUUM FULL t",
		"TRUNCATE":            "TRUNCATE t; " + fmt.Sprintf(fillSQL, "t", 7001, 7100),
		"ALTER TYPE":          "ALTER TABLE t ALTER COLUMN version TYPE bigint",
		"recreated":           "CREATE TABLE new AS SELECT * FROM t; DROP TABLE t; ALTER TABLE new RENAME TO t",
		"swapped":             "ALTER TABLE t RENAME TO old; CREATE TABLE t AS SELECT -id AS id, version FROM old",
		"partition attached":  "ALTER TABLE t ATTACH PARTITION t_0 FOR VALUES FROM (-10) TO (0)", // older than the others
		"partition detached":  "ALTER TABLE t DETACH PARTITION t_1",
		"partition rewritten": "VACUUM FULL t_2",
		"SET UNLOGGED":        "ALTER TABLE t SET UNLOGGED",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			if strings.HasPrefix(name, "partition") {
				db.exec("CREATE TABLE t_0 (id int, version int, pad text); INSERT INTO t_0 VALUES (-1, 1, 'x'), (-2, 1, 'y')")
				db.partitions()
			} else {
				db.pages(2500)
			}
			config := db.config(map[string]any{"max_db_connections": 1})
			in := input{config: config, catalog: configureT(t, config)}
			first := interrupt(t, in, 1)
			db.exec(sql)
			in.state = platformState([]*state{first.state})
			last := run(t, "read", in).ok()
			last.expectRows("t", db.rows("(SELECT id, version FROM t)"))
			if logs := append(last.logs("INFO"), last.logs("WARN")...); !has(logs, "public.t", "starts over") {
				t.Errorf("no log says that the stream starts over: %q", logs)
			}
		})
	}
}

// Partitions that are added between two attempts, with rows of any age, are read whole; of the others only what was
// left.
func TestResumeWithNewPartitions(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.partitions()
	db.exec("CREATE TABLE t_4 (LIKE t); INSERT INTO t_4 VALUES (-1, 1, 'x'), (-2, 1, 'y')")
	config := db.config(map[string]any{"max_db_connections": 1})
	in := input{config: config, catalog: configureT(t, config)}
	db.settle()
	first := interrupt(t, in, 1)
	left := db.rows("(SELECT id, version FROM t WHERE NOT " + first.state.done(t) + ")")
	db.exec(`ALTER TABLE t ATTACH PARTITION t_4 FOR VALUES FROM (-10) TO (0);
		CREATE TABLE t_5 PARTITION OF t FOR VALUES FROM (-20) TO (-10); INSERT INTO t_5 VALUES (-11, 1, 'z')`)
	in.state = platformState([]*state{first.state})
	second := run(t, "read", in).ok()
	added := db.rows("(SELECT id, version FROM t WHERE id < 0)")
	second.expectRows("t", sorted(append(left, added...)))
	// What was added is known as such also to the attempt after the next.
	states := second.states()
	if len(states) < 2 {
		t.Fatalf("%d states", len(states))
	}
	in.state = platformState(states[:1])
	third := run(t, "read", in).ok()
	left = db.rows("(SELECT id, version FROM t WHERE id > 0 AND NOT " + states[0].done(t) + ")")
	third.expectRows("t", sorted(append(left, added...)))
}
