package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

// segment is how many transactions a file in pg_xact is about: 4 in a byte, 8 kB in a block, 32 blocks.
const segment = 4 * 8192 * 32

// jump ends the server and starts it again with xid as the number of its next transaction, which is less than 2^31
// further on. Every row is frozen before, as it would be after so many transactions.
func (x *xminSync) jump(xid uint64) {
	x.t.Helper()
	data, bin := x.value("SHOW data_directory"), x.value("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
	x.exec("UPDATE pg_database SET datallowconn = true")
	for _, name := range x.column("SELECT datname FROM pg_database") {
		other := &pgtest.Database{Server: x.Server, Name: name}
		conn, err := other.Connect(x.t.Context())
		if err != nil {
			x.t.Fatal(err)
		}
		do(x.t, conn, "VACUUM (FREEZE)")
		if err := conn.Close(x.t.Context()); err != nil {
			x.t.Fatal(err)
		}
	}
	if err := x.Halt(x.t.Context(), "fast"); err != nil {
		x.t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		x.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	next := strconv.FormatUint(xid, 10)
	reset := exec.CommandContext(x.t.Context(), filepath.Join(bin, "pg_resetwal"), "-x", next, "-D", data)
	reset.Dir = data
	if os.Geteuid() == 0 {
		reset.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if out, err := reset.CombinedOutput(); err != nil {
		x.t.Fatalf("run pg_resetwal: %v: %s", err, out)
	}
	status := filepath.Join(data, "pg_xact", fmt.Sprintf("%04X", xid/segment))
	if err := os.WriteFile(status, make([]byte, segment/4), 0o600); err != nil {
		x.t.Fatal(err)
	}
	if err := os.Chown(status, int(owner.Uid), int(owner.Gid)); err != nil {
		x.t.Fatal(err)
	}
	if err := x.Resume(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	if err := x.Exec(x.t.Context(), "SELECT 1"); err == nil {
		x.t.Fatal("a connection has outlived its server")
	}
}

// insert adds rows, each by a transaction of its own.
func (x *xminSync) insert(from, to int) {
	x.t.Helper()
	x.exec(fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END $$", from, to))
}

// bound is the one in the last state of a sync.
func (x *xminSync) bound(r *result) uint64 {
	x.t.Helper()
	states := r.states()
	var inner struct {
		Raw uint64 `json:"xmin_raw_value"`
	}
	if err := json.Unmarshal(states[len(states)-1].Stream.State, &inner); err != nil {
		x.t.Fatal(err)
	}
	return inner.Raw
}

// since syncs; every row from id on has to come, and of older ones at most so many.
func (x *xminSync) since(id, to, most int) *result {
	x.t.Helper()
	r := x.sync()
	var want []string
	for i := id; i <= to; i++ {
		want = append(want, strconv.Itoa(i))
	}
	got := r.values("t", "id")
	if lost := difference(want, got); len(lost) > 0 {
		x.t.Errorf("%d rows are lost: %v", len(lost), lost)
	}
	again := len(got) - len(want)
	if again > most {
		x.t.Errorf("%d rows came again, want at most %d", again, most)
	}
	x.t.Logf("the next bound is %d; of %d rows %d came again", x.bound(r), len(got), again)
	return r
}

// The number of the next transaction goes from 3 to 2^32 and from there to 3 again; a state and a row go with it.
func TestXminTurn(t *testing.T) {
	t.Parallel()
	const turn = uint64(1) << 32
	d := newDBOn(t, quietServer(t))
	d.exec("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100)")
	x := d.byXmin("t")
	r := x.since(1, 100, 0)
	first, early := x.in.state, x.bound(r)

	x.jump(2_000_000_000)
	x.since(101, 100, 0)
	x.insert(101, 110)
	x.since(101, 110, 0)
	middle := x.in.state
	x.insert(111, 120)

	x.jump(4_000_000_000) // more than half a turn after the state
	x.insert(121, 130)
	x.since(111, 130, 0)

	x.jump(turn - 300)
	x.insert(131, 150)
	r = x.since(131, 150, 0)
	if b := x.bound(r); b >= turn || b < turn-300 {
		t.Fatalf("the bound before the turn is %d", b)
	}
	before := x.in.state

	// The counter turns while a transaction is open that began before; it has rows of subtransactions on both sides.
	long := x.connect()
	do(t, long, "BEGIN; INSERT INTO t VALUES (10001); SAVEPOINT a; INSERT INTO t VALUES (10002)")
	x.insert(151, 550)
	do(t, long, "SAVEPOINT b; INSERT INTO t VALUES (10003); SAVEPOINT c; INSERT INTO t VALUES (10004); ROLLBACK TO c")
	r = x.since(151, 550, 0)
	if b, after := x.bound(r), x.value("SELECT txid_current()"); b >= turn || len(after) < 10 || after < "4294967296" {
		t.Fatalf("at the turn the bound is %d and the next transaction %s", b, after)
	}
	do(t, long, "COMMIT")
	r = x.sync()
	got := r.values("t", "id")
	for _, id := range []string{"10001", "10002", "10003"} {
		if !slices.Contains(got, id) {
			t.Errorf("row %s, committed after the turn, is lost", id)
		}
	}
	if len(got) > 403 || slices.Contains(got, "10004") {
		t.Errorf("%d rows after the turn, want those since the open transaction began: %v", len(got), got)
	}
	if b := x.bound(r); b < turn {
		t.Errorf("the bound after the turn is %d", b)
	}
	x.since(1, 0, 0)
	x.insert(551, 560)
	x.since(551, 560, 0)

	// Frozen rows have kept the numbers of the first turn: when the counter comes to them again, they may come again,
	// once.
	for x.value("SELECT txid_current()") < strconv.FormatUint(turn+early+10, 10) {
		x.insert(561, 660)
		x.exec("DELETE FROM t WHERE id BETWEEN 561 AND 660")
	}
	x.since(1, 0, 100)
	x.since(1, 0, 0)

	for name, state := range map[string]any{"more than half a turn ago": middle, "before the turn": before} {
		x.in.state = state
		last := map[string]int{"more than half a turn ago": 111, "before the turn": 151}[name]
		r := x.since(last, 560, 560)
		if has(r.logs("WARN"), "2^32") {
			t.Errorf("%s: %q", name, r.logs("WARN"))
		}
	}
	x.in.state = first
	r = x.since(1, 560, 3)
	if warnings := r.logs("WARN"); !has(warnings, "2^32", "public.t", "every row") {
		t.Errorf("no warning that the state is more than a turn old: %q", warnings)
	}
}
