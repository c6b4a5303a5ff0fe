package integration

import (
	"fmt"
	"slices"
	"testing"
)

// A hot standby is read as its primary is, by several connections. When it is promoted, the numbers of transactions
// mean nothing any more, which costs reading again what they could have told.
func TestIncrementalOnStandby(t *testing.T) {
	t.Parallel()
	primary := newDBOn(t, quietServer(t))
	primary.exec(fmt.Sprintf(blocksSQL, "", ""))
	primary.exec("CREATE INDEX ON t (at)")
	db := standbyOf(t, primary)
	x, in := db.byXmin("t"), db.byCursor("at", "t").standard(map[string]any{"cursor_lookback_rows": 10})
	for _, one := range []*input{&x.in, in} {
		one.config.(map[string]any)["max_db_connections"] = 3
		one.catalog.(*configuredCatalog).selectColumns(t, "t", "id", "version", "at")
	}
	expect := func(what, byXmin, byCursor string) {
		t.Helper()
		last := primary.value("SELECT pg_current_wal_insert_lsn()")
		db.await("SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= $1::pg_lsn", last)
		x.sync().expectIDs("t", byXmin)
		in.sync(t).expectIDs("t", byCursor)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	insert := func(ids ...int) string {
		sql := ""
		for _, id := range ids {
			sql += fmt.Sprintf("INSERT INTO t VALUES (%d, 1, %[1]d);", id)
		}
		return sql
	}
	all := primary.column("SELECT id FROM t")
	first := x.sync()
	want := 1
	if db.value("SELECT current_setting('server_version_num')::int >= 140000") == "t" { // there are ranges of blocks
		want = 3
	}
	if n := len(first.states()); n < want {
		t.Errorf("%d states of the first pass, want %d at least", n, want)
	}
	got := first.values("t", "id")
	slices.Sort(got)
	slices.Sort(all)
	expectSame(t, "first pass", got, all)
	if n := len(in.sync(t).records("t")); n != len(all) {
		t.Errorf("%d records of the first pass, want %d", n, len(all))
	}
	expect("nothing new", "", "")
	writer := primary.connect()
	do(t, writer, "BEGIN;"+insert(9001)+"SAVEPOINT s;"+insert(9002))
	primary.exec(insert(9100, 9101))
	expect("open transaction", "9100-9101", "9100-9101")
	do(t, writer, "COMMIT")
	primary.exec(insert(9200))
	expect("late commit", "9001-9002 9100-9101 9200", "9001-9002 9100-9101 9200")
	expect("nothing new", "", "")

	db.exec("SELECT pg_promote()")
	db.exec("CHECKPOINT")
	db.exec(insert(9300))
	r := x.sync()
	if n := len(r.values("t", "id")); n != len(all)+6 || !has(r.logs("WARN"), "promoted", "public.t") {
		t.Errorf("%d rows after the promotion, want all %d; warnings %q", n, len(all)+6, r.logs("WARN"))
	}
	in.sync(t).expectIDs("t", "9200 9300")
	expect("nothing new", "", "")
}
