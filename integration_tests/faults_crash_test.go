package integration

import "testing"

// A server that crashes forgets the numbers of transactions that never got to its disk, and gives them out again. A
// state that knows of them is none of another history: what the new ones write comes.
func TestCrashForgetsTransactions(t *testing.T) {
	t.Parallel()
	s := private(t)
	for _, method := range []string{"Standard", "Xmin"} {
		t.Run(method, func(t *testing.T) {
			db := newDBOn(t, s)
			db.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CHECKPOINT")
			config := db.config(map[string]any{"replication_method": map[string]any{"method": method}})
			catalog := discover(t, config).configure("incremental")
			if method == "Standard" {
				catalog.cursor(t, "t", "id")
			}
			in := input{config: config, catalog: catalog}
			for range 5 { // numbers that are given out, and of which nothing is written
				do(t, db.connect(), "BEGIN; SELECT txid_current()")
			}
			in.state = run(t, "read", in).ok().lastState()
			if err := s.Crash(t.Context()); err != nil {
				t.Fatal(err)
			}
			resume(t, db, s)
			for id := range 8 {
				db.exec("INSERT INTO t VALUES ($1)", id+2)
			}
			r := run(t, "read", in).ok()
			if missing := difference(db.column("SELECT id FROM t WHERE id > 1"), r.values("t", "id")); len(missing) > 0 {
				t.Errorf("rows %q are missing", missing)
			}
		})
	}
}
