package integration

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"source-postgres/integration_tests/pgtest"
)

var handOvers = flag.Int("cdc.handovers", fromEnvironment("CDC_HANDOVERS", 200),
	"first passes of TestHandOver; also CDC_HANDOVERS")

// private starts a server that is the test's alone. A first pass waits for transactions of every database of its
// server, so that tests of it need one where nobody else leaves any open.
func private(t *testing.T, lines ...string) *pgtest.Server {
	t.Helper()
	s, err := pgtest.Private(t.Context(), lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newCaptureOn is newCapture on a server of the test's own, with more settings of the replication method.
func newCaptureOn(t *testing.T, s *pgtest.Server, sql string, method map[string]any) *capture {
	t.Helper()
	c := &capture{database: newDBOn(t, s)}
	c.exec(sql)
	c.exec("CREATE PUBLICATION pub FOR ALL TABLES")
	settings := map[string]any{"method": "CDC", "replication_slot": c.slot(), "publication": "pub"}
	for name, value := range method {
		settings[name] = value
	}
	c.settings = c.config(map[string]any{"replication_method": settings})
	return c
}

// slotName is the slot of the capture's settings.
func (c *capture) slotName() string {
	return c.settings["replication_method"].(map[string]any)["replication_slot"].(string)
}

// A copied is what a destination makes of a stream's records, in two ways: what came last for a key holds, or what
// has the greatest _ab_cdc_lsn.
type copied struct {
	keys    []string // the fields that tell rows apart
	fields  []string // what is compared
	arrived map[string]string
	highest map[string]numbered
}

type numbered struct {
	number uint64
	row    string // empty: deleted
}

func newCopied(keys, fields []string) *copied {
	return &copied{keys: keys, fields: fields, arrived: map[string]string{}, highest: map[string]numbered{}}
}

// take enters a record. Its fields are integers and texts that JSON does not escape.
func (c *copied) take(t *testing.T, rec *record) {
	t.Helper()
	key, row := joined(rec, c.keys), joined(rec, c.fields)
	if string(rec.Data["_ab_cdc_deleted_at"]) != "null" {
		row = ""
		delete(c.arrived, key)
	} else {
		c.arrived[key] = row
	}
	number, err := strconv.ParseUint(string(rec.Data["_ab_cdc_lsn"]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if number >= c.highest[key].number {
		c.highest[key] = numbered{number, row}
	}
}

func joined(rec *record, fields []string) string {
	var all []string
	for _, field := range fields {
		all = append(all, strings.Trim(string(rec.Data[field]), `"`))
	}
	return strings.Join(all, "|")
}

// compare holds both ways against the table.
func (c *copied) compare(t *testing.T, db *database, table string) {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT concat_ws('|', "+strings.Join(c.keys, ", ")+"), concat_ws('|', "+
		strings.Join(c.fields, ", ")+") FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, row := range rows {
		want[row[0]] = row[1]
	}
	highest := map[string]string{}
	for key, n := range c.highest {
		if n.row != "" {
			highest[key] = n.row
		}
	}
	for way, got := range map[string]map[string]string{"by arrival": c.arrived, "by _ab_cdc_lsn": highest} {
		var wrong []string
		for key, row := range want {
			if got[key] != row {
				wrong = append(wrong, fmt.Sprintf("row %s is %.60q, the destination has %.60q", key, row, got[key]))
			}
		}
		for key, row := range got {
			if _, there := want[key]; !there {
				wrong = append(wrong, fmt.Sprintf("row %s is not there, the destination has %.60q", key, row))
			}
		}
		slices.Sort(wrong)
		if len(wrong) > 0 {
			t.Errorf("%s %s: %d of %d rows are wrong: %s", table, way, len(wrong), len(want),
				strings.Join(wrong[:min(5, len(wrong))], "; "))
		}
	}
}

// TestHandOver begins first passes while several sessions commit as fast as they can, with transactions open across the
// start, one of them prepared. After one more sync, with nothing going on, source and destination are equal each time.
func TestHandOver(t *testing.T) {
	t.Parallel()
	s := private(t)
	const databases = 4
	for i := range databases {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			h := newHandOver(t, s)
			for range max(1, *handOvers/databases) {
				h.once()
				if t.Failed() {
					return
				}
			}
			t.Logf("%d statements, %d rows", h.version.Load(), len(h.copied.arrived))
		})
	}
}

// once makes a first pass and one more sync.
func (h *handOver) once() {
	h.t.Helper()
	h.copied = newCopied([]string{"id"}, []string{"id", "version"})
	stop := h.write()
	p := start(h.t, "read", input{config: h.settings, catalog: h.catalog})
	p.until(func(m message) bool { return m.State != nil || m.Trace != nil && m.Trace.Error != nil }) // of the first pass
	stop()
	r := p.wait().ok()
	h.take(r)
	h.take(h.read(r.lastState()).ok())
	h.copied.compare(h.t, h.database, "t")
}

func (h *handOver) take(r *result) {
	h.t.Helper()
	for _, rec := range r.records("t") {
		h.copied.take(h.t, rec)
	}
}

// A handOver is a table and the sessions that write to it.
type handOver struct {
	*capture
	copied  *copied
	version counter
	writers []*pgx.Conn
	holder  *pgx.Conn
}

// A counter counts; goroutines may share it.
type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

// Load is the last number.
func (c *counter) Load() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func newHandOver(t *testing.T, s *pgtest.Server) *handOver {
	t.Helper()
	h := &handOver{capture: newCaptureOn(t, s, `CREATE TABLE t (id bigint PRIMARY KEY, version bigint NOT NULL);
		INSERT INTO t SELECT n, 0 FROM generate_series(1, 300) AS n`, nil)}
	h.catalog = discover(t, h.settings).configure("incremental")
	for range 2 {
		h.writers = append(h.writers, h.connect())
	}
	h.holder = h.connect()
	return h
}

// write lets the sessions write until stop is called, which ends every transaction.
func (h *handOver) write() (stop func()) {
	h.t.Helper()
	prepared := fmt.Sprintf("%s_%d", h.Name, h.version.next())
	do(h.t, h.holder, fmt.Sprintf(`BEGIN; INSERT INTO t VALUES (1000000, %d) ON CONFLICT (id) DO UPDATE SET version =
		excluded.version; PREPARE TRANSACTION '%s'`, h.version.next(), prepared))
	ctx, cancel := context.WithCancel(h.t.Context())
	var group sync.WaitGroup
	errs := make([]error, len(h.writers)+1)
	for i, conn := range h.writers {
		group.Go(func() { errs[i] = h.writeBy(ctx, conn, i) })
	}
	// Both are open when the connector starts, and end while the snapshot is being made.
	group.Go(func() {
		for _, sql := range []string{
			fmt.Sprintf(`BEGIN; DELETE FROM t WHERE id = 1000001; INSERT INTO t VALUES (1000001, %d);
				SELECT pg_sleep(0.02); COMMIT; SELECT pg_sleep(0.01)`, h.version.next()),
			"COMMIT PREPARED '" + prepared + "'",
		} {
			_, err := h.holder.PgConn().Exec(h.t.Context(), sql).ReadAll()
			errs[len(h.writers)] = errors.Join(errs[len(h.writers)], err)
		}
	})
	return func() {
		cancel()
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			h.t.Fatal(err)
		}
	}
}

// writeBy writes to rows that belong to one session.
func (h *handOver) writeBy(ctx context.Context, conn *pgx.Conn, session int) error {
	for ctx.Err() == nil {
		var sql strings.Builder
		sql.WriteString("BEGIN;")
		for range 1 + rand.IntN(4) {
			id := int64(rand.IntN(200)*len(h.writers) + session)
			switch rand.IntN(4) {
			case 0:
				fmt.Fprintf(&sql, "DELETE FROM t WHERE id = %d;", id)
			case 1:
				fmt.Fprintf(&sql, "UPDATE t SET version = %d WHERE id = %d;", h.version.next(), id)
			default:
				fmt.Fprintf(&sql, "INSERT INTO t VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET version = excluded.version;",
					id, h.version.next())
			}
		}
		sql.WriteString("COMMIT")
		if _, err := conn.PgConn().Exec(h.t.Context(), sql.String()).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}

// A commit is in the log a moment before it can be seen. Here that moment lasts as long as we like: the commit
// waits for a standby that does not exist. Who takes the log's position first and a snapshot then, and reads the
// log from there on, never gets the row. The connector does, by both of its ways.
func TestCommitNotYetVisible(t *testing.T) {
	t.Parallel()
	// Only the writer's commits wait.
	s := private(t, "max_replication_slots=3", "synchronous_standby_names=nobody", "synchronous_commit=local")
	const sql = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE later (id int PRIMARY KEY)"
	c := newCaptureOn(t, s, sql, nil)
	c.exec("SELECT pg_create_logical_replication_slot('naive', 'test_decoding')")
	writer := c.connect()
	do(t, writer, "SET synchronous_commit = on")
	hold := func(statement string) (release func()) {
		t.Helper()
		ended := make(chan error, 1)
		go func() {
			_, err := writer.PgConn().Exec(t.Context(), statement).ReadAll()
			ended <- err
		}()
		waiting := "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')"
		c.await("SELECT " + waiting)
		return func() {
			t.Helper()
			c.exec("SELECT pg_cancel_backend($1)", writer.PgConn().PID()) // which ends the wait, not the transaction
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}

	release := hold("INSERT INTO t VALUES (1)")
	lsn := c.value("SELECT pg_current_wal_lsn()")
	seen := c.value("SELECT count(*) FROM t")
	p := start(t, "read", c.incremental("t"))
	c.await("SELECT EXISTS (SELECT FROM pg_replication_slots WHERE temporary)")
	release()
	c.exec("SELECT pg_replication_slot_advance('naive', $1)", lsn)
	streamed := c.value("SELECT count(*) FROM pg_logical_slot_peek_changes('naive', NULL, NULL) WHERE data LIKE 'table%'")
	if seen != "0" || streamed != "0" {
		t.Errorf("the naive order saw %s rows and streamed %s: it was to miss the row", seen, streamed)
	}
	r := p.wait().ok()
	expectList(t, r.values("t", "id"), "1")

	// A stream that joins, with no slot left for its first pass.
	c.exec("SELECT pg_create_logical_replication_slot('last', 'test_decoding')")
	release = hold("INSERT INTO later VALUES (2)")
	in := c.incremental("t", "later")
	in.state = r.lastState()
	p = start(t, "read", in)
	p.until(func(m message) bool {
		return m.Log != nil && strings.Contains(m.Log.Message, "no temporary replication slot")
	})
	c.exec("SELECT pg_sleep(0.3)") // time in which a snapshot would be taken that does not show the row
	release()
	r = p.wait().ok()
	expectList(t, r.values("later", "id"), "2")
}

// incremental is the input of a read of streams.
func (c *capture) incremental(names ...string) input {
	c.t.Helper()
	return input{config: c.settings, catalog: discover(c.t, c.settings).configure("incremental", names...)}
}

// lsnOf is the position that the last state of a platform names.
func lsnOf(t *testing.T, states []json.RawMessage) string {
	t.Helper()
	var s struct {
		Global struct {
			Shared struct {
				LSN string `json:"lsn"`
			} `json:"shared_state"`
		} `json:"global"`
	}
	if len(states) != 1 {
		t.Fatalf("%d states, want one", len(states))
	}
	if err := json.Unmarshal(states[0], &s); err != nil {
		t.Fatal(err)
	}
	return s.Global.Shared.LSN
}
