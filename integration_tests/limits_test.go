package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memory is what the connector has to do with, in MB.
const smallMemory = 64

// confined is a command that runs the connector on one processor and, where this machine lets us say so, in a control
// group: if it needs more memory the kernel ends it.
func confined(t *testing.T) []string {
	t.Helper()
	wrap := []string{"taskset", "-c", "0"}
	group := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprintf("pgtest-%d-%s", os.Getpid(), strings.ToLower(t.Name())))
	limit, value := "memory.limit_in_bytes", fmt.Sprint(smallMemory<<20)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		group, limit = filepath.Join("/sys/fs/cgroup", filepath.Base(group)), "memory.max"
	}
	err := os.Mkdir(group, 0o755)
	if err == nil {
		t.Cleanup(func() { _ = os.Remove(group) }) // it is empty by now
		err = os.WriteFile(filepath.Join(group, limit), []byte(value), 0o600)
	}
	if err != nil || raced {
		fmt.Fprintf(os.Stderr, "integration: %s has no control group, so that memory was not limited: %v\n", t.Name(), err)
		return wrap
	}
	return append(wrap, "/bin/sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$@"`, group)
}

// One processor and 64 MB are enough for many rows, for 1,600 columns, and transactions of many large values.
func TestSmallMachine(t *testing.T) {
	t.Parallel()
	rows, large, wide := fewer(60_000), fewer(60), fewer(300)
	c := newCaptureOn(t, private(t), `CREATE TABLE narrow (id int PRIMARY KEY, v text);
		CREATE TABLE large (id int PRIMARY KEY, n int, v text); ALTER TABLE large ALTER v SET STORAGE EXTERNAL`, nil)
	var columns []string
	for i := range 1599 {
		columns = append(columns, fmt.Sprintf("c%0*d bool", 62-i%2, i)) // names of 63 bytes
	}
	c.exec("CREATE TABLE wide (id int PRIMARY KEY, " + strings.Join(columns, ", ") + ")")
	c.exec("INSERT INTO wide (id) SELECT generate_series(1, $1::int)", wide)
	c.exec("INSERT INTO large SELECT g, 0, repeat('x', 400000) FROM generate_series(1, $1::int) AS g", large)
	c.exec("INSERT INTO narrow SELECT g, 'value ' || g FROM generate_series(1, $1::int) AS g", rows)
	c.settings["max_db_connections"] = 4
	wrap := confined(t)
	found := run(t, "discover", input{config: c.settings, wrap: wrap}).ok()
	c.catalog = found.catalog().configure("incremental")
	read := func() *result {
		r := run(t, "read", input{config: c.settings, catalog: c.catalog, state: orNone(c.state), wrap: wrap}).ok()
		c.keep(r)
		return r
	}
	r := read()
	for table, want := range map[string]int{"narrow": rows, "large": large, "wide": wide} {
		if n := len(r.records(table)); n != want {
			t.Errorf("%s: %d records, want %d", table, n, want)
		}
	}
	c.exec("UPDATE narrow SET v = 'other' WHERE id % 6 > 0")
	c.exec("UPDATE large SET n = 1; UPDATE wide SET id = -id")
	r = read()
	for table, want := range map[string]int{"narrow": rows - rows/6, "large": large, "wide": 2 * wide} {
		if n := len(r.records(table)); n != want {
			t.Errorf("%s: %d records, want %d", table, n, want)
		}
	}
}

// A thousand streams, in a catalog of five megabytes.
func TestThousandStreams(t *testing.T) {
	t.Parallel()
	s := private(t, "max_locks_per_transaction=512")
	c := newCaptureOn(t, s, "", nil)
	c.exec(`DO $$ DECLARE columns text; BEGIN
  SELECT string_agg(format('c%s int', lpad(n::text, 62, '0')), ', ') INTO columns FROM generate_series(1, 44) AS n;
  FOR i IN 1..1000 LOOP
    EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, %s)', rpad(i || '_', 62, 'x'), columns);
    EXECUTE format('INSERT INTO t%s (id) VALUES (%s)', rpad(i || '_', 62, 'x'), i);
    IF i % 100 = 0 THEN COMMIT; END IF;
  END LOOP;
END $$`)
	c.catalog = discover(t, c.settings).configure("incremental")
	text, err := json.Marshal(c.catalog)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 5<<20 || len(c.catalog.Streams) != 1000 {
		t.Fatalf("the catalog has %d streams in %d bytes", len(c.catalog.Streams), len(text))
	}
	r := c.read(nil).ok()
	c.keep(r)
	written, records := 0, 0
	for i, m := range r.messages {
		written += len(r.lines[i])
		if m.Record != nil {
			records++
		}
	}
	t.Logf("%d streams in %v: %d records, %d states, %d MB written, %d MB of memory", len(c.catalog.Streams),
		r.ended.Sub(r.begun), records, len(r.states()), written>>20, r.maxRSS>>20)
	if records != 1000 {
		t.Errorf("%d records, want 1000", records)
	}
	if written > 40<<20 {
		t.Errorf("%d MB were written for a thousand rows", written>>20)
	}
	c.exec("INSERT INTO t777_" + strings.Repeat("x", 58) + " (id) VALUES (5000)")
	if n := len(c.sync().messages); n == 0 {
		t.Error("nothing came")
	}
}
