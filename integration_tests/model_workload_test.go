package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A modelTable is a table that a workload writes to, and the journal of what has been committed to it. Every statement
// that writes gives the rows a version that no other has.
type modelTable struct {
	name  string
	kind  string // the type of column at
	stamp string // its value in a row that is written
	index bool   // on at
	parts int    // partitions, between which rows move; 0: an ordinary table
	rows  int    // about as many

	ids  int64             // the last one
	free []int64           // ids of rows that were deleted
	live map[int64]int64   // version by id
	ever map[[2]int64]bool // id and version
	did  map[string]int    // statements by kind
}

// ballast is how long the values of a column are that nobody reads. The connector cuts a table into ranges of about
// equal size on disk; with five such rows, stored apart from the others, the few blocks of the table make several.
const ballast, ballasts = 8 << 20, 4

// lengths are bytes in column pad: of such rows one or many fit into a block.
var lengths = []int{20, 600, 3000, 5000, 7500}

// create makes the table. Its rows stand in its blocks uncompressed.
func (m *modelTable) create(db *database) {
	db.t.Helper()
	m.live, m.ever, m.did = map[int64]int64{}, map[[2]int64]bool{}, map[string]int{}
	if strings.HasPrefix(m.stamp, "nextval") {
		db.exec("CREATE SEQUENCE " + m.name + "_at")
	}
	columns := fmt.Sprintf(`(id bigint NOT NULL, version bigint NOT NULL, shard int NOT NULL, at %s NOT NULL DEFAULT %s,
		pad text, ballast text)`, m.kind, m.stamp)
	if m.parts == 0 {
		db.exec("CREATE TABLE " + m.name + columns + " WITH (fillfactor = 80)")
	} else {
		db.exec("CREATE TABLE " + m.name + columns + " PARTITION BY LIST (shard)")
	}
	db.exec("ALTER TABLE " + m.name + " ALTER COLUMN pad SET STORAGE PLAIN, ALTER COLUMN ballast SET STORAGE EXTERNAL")
	for i := range m.parts {
		db.exec(fmt.Sprintf("CREATE TABLE %s_%d PARTITION OF %[1]s FOR VALUES IN (%d)", m.name, i, i))
	}
	db.exec(fmt.Sprintf("CREATE INDEX %s_id ON %[1]s (id)", m.name))
	if m.index {
		db.exec(fmt.Sprintf("CREATE INDEX %s_by_at ON %[1]s (at)", m.name))
	}
}

// commit enters writes in the journal.
func commit(done []write) {
	for _, w := range done {
		t := w.table
		if w.version == 0 {
			delete(t.live, w.id)
			continue
		}
		t.live[w.id] = w.version
		t.ever[[2]int64{w.id, w.version}] = true
	}
	for _, w := range done {
		if _, there := w.table.live[w.id]; w.version == 0 && !there && !slices.Contains(w.table.free, w.id) {
			w.table.free = append(w.table.free, w.id)
		}
	}
}

// A write is a row as a transaction has left it.
type write struct {
	table       *modelTable
	id, version int64 // version 0: deleted
}

// A writer is a session of a workload.
type writer struct {
	conn  *pgx.Conn
	ends  int // one step in so many ends an open transaction
	open  bool
	done  []write // in the open transaction, or the statement
	saves []int   // how many of done came before each savepoint
}

// A workload writes to tables from several sessions, all driven by one goroutine, so that what they do depends on the
// seed alone. No statement waits for another's lock.
type workload struct {
	db       *database
	rand     *rand.Rand
	tables   []*modelTable
	writers  []*writer
	keeper   *pgx.Conn          // for maintenance
	prepared map[string][]write // prepared transactions by name
	prepares bool               // the server allows them
	names    int                // of prepared transactions
	version  int64
}

// newWorkload makes the tables and fills them.
func newWorkload(db *database, r *rand.Rand, tables []*modelTable) *workload {
	db.t.Helper()
	w := &workload{db: db, rand: r, tables: tables, prepared: map[string][]write{}}
	for _, ends := range []int{6, 6, 15, 80} {
		w.writers = append(w.writers, &writer{conn: db.connect(), ends: ends})
	}
	w.keeper = db.connect()
	do(db.t, w.keeper, "SET lock_timeout = '30ms'")
	w.prepares = db.value("SELECT current_setting('max_prepared_transactions')::int >= 10") == "t"
	for _, m := range tables {
		m.create(db)
		if err := w.load(db.t.Context(), w.writers[0], m); err != nil {
			db.t.Fatal(err)
		}
		commit(w.writers[0].take())
	}
	return w
}

// take empties the list of what was done.
func (s *writer) take() []write {
	done := s.done
	s.done, s.saves = nil, nil
	return done
}

// step is one statement of some session. A transaction once in a while stays open for the rest of the test.
func (w *workload) step(ctx context.Context) error {
	if w.rand.IntN(15) == 0 {
		return w.maintain(ctx)
	}
	s := w.writers[w.rand.IntN(len(w.writers))]
	if !s.open {
		if w.rand.IntN(2) == 0 {
			s.open = true
			return s.run(ctx, "BEGIN")
		}
		if err := w.change(ctx, s); err != nil {
			return err
		}
		commit(s.take())
		return nil
	}
	if w.rand.IntN(s.ends) == 0 {
		return w.end(ctx, s)
	}
	switch n := w.rand.IntN(20); {
	case n < 4:
		s.saves = append(s.saves, len(s.done))
		return s.run(ctx, fmt.Sprintf("SAVEPOINT s%d", len(s.saves)))
	case n < 6 && len(s.saves) > 0:
		to := w.rand.IntN(len(s.saves))
		s.done, s.saves = s.done[:s.saves[to]], s.saves[:to+1]
		return s.run(ctx, fmt.Sprintf("ROLLBACK TO s%d", to+1))
	case n < 7 && len(s.saves) > 0:
		s.saves = s.saves[:len(s.saves)-1]
		return s.run(ctx, fmt.Sprintf("RELEASE s%d", len(s.saves)+1))
	}
	return w.change(ctx, s)
}

func (s *writer) run(ctx context.Context, sql string) error {
	if _, err := s.conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("run %s: %w", sql, err)
	}
	return nil
}

// end ends a session's transaction: mostly it commits.
func (w *workload) end(ctx context.Context, s *writer) error {
	s.open = false
	done := s.take()
	switch n := w.rand.IntN(10); {
	case n < 2:
		return s.run(ctx, "ROLLBACK")
	case n < 4 && w.prepares && len(w.prepared) < 3:
		w.names++
		name := fmt.Sprintf("%s_%d", w.db.Name, w.names)
		w.prepared[name] = done
		return s.run(ctx, "PREPARE TRANSACTION '"+name+"'")
	}
	if err := s.run(ctx, "COMMIT"); err != nil {
		return err
	}
	commit(done)
	return nil
}

// finish ends one of the prepared transactions, if there is one.
func (w *workload) finish(ctx context.Context, s *writer) error {
	names := slices.Sorted(maps.Keys(w.prepared))
	if len(names) == 0 || s.open {
		return nil
	}
	name := names[w.rand.IntN(len(names))]
	done := w.prepared[name]
	delete(w.prepared, name)
	if w.rand.IntN(3) == 0 {
		return s.run(ctx, "ROLLBACK PREPARED '"+name+"'")
	}
	if err := s.run(ctx, "COMMIT PREPARED '"+name+"'"); err != nil {
		return err
	}
	commit(done)
	return nil
}

// settle ends every transaction.
func (w *workload) settle(ctx context.Context) error {
	for _, s := range w.writers {
		if s.open {
			if err := w.end(ctx, s); err != nil {
				return err
			}
		}
	}
	for len(w.prepared) > 0 {
		if err := w.finish(ctx, w.writers[0]); err != nil {
			return err
		}
	}
	return nil
}

// change writes some rows of some table.
func (w *workload) change(ctx context.Context, s *writer) error {
	m := w.tables[w.rand.IntN(len(w.tables))]
	few := 1 + w.rand.IntN(50)
	switch n := w.rand.IntN(10); {
	case len(m.live) < m.rows*3/4:
		return w.fill(ctx, s, m, m.rows/6)
	case n < 2:
		return w.insert(ctx, s, m, few/4+1)
	case n < 4 || len(m.live) > m.rows*5/4:
		return w.delete(ctx, s, m, few/4+1)
	}
	return w.update(ctx, s, m, few)
}

func (w *workload) pad() int { return lengths[w.rand.IntN(len(lengths))] }

func (w *workload) shard(m *modelTable) int { return w.rand.IntN(max(m.parts, 1)) }

// ids are n ids that no row has: new ones, and sometimes those of deleted rows.
func (w *workload) ids(m *modelTable, n int) []int64 {
	var ids []int64
	for range n {
		if len(m.free) > 0 && w.rand.IntN(3) == 0 {
			ids = append(ids, m.free[0])
			m.free = m.free[1:]
			continue
		}
		m.ids++
		ids = append(ids, m.ids)
	}
	return ids
}

// wrote notes the rows that a statement has written, in a version that is 0 for deleted ones.
func (s *writer) wrote(m *modelTable, ids []int64, version int64, kind string) {
	m.did[kind]++
	for _, id := range ids {
		s.done = append(s.done, write{m, id, version})
	}
}

func (w *workload) insert(ctx context.Context, s *writer, m *modelTable, n int) error {
	w.version++
	ids := w.ids(m, n)
	sql := fmt.Sprintf(`INSERT INTO %s (id, version, shard, at, pad)
		SELECT id, $2, $3, %s, repeat('x', $4) FROM unnest($1::bigint[]) AS id`, m.name, m.stamp)
	if _, err := s.conn.Exec(ctx, sql, ids, w.version, w.shard(m), w.pad()); err != nil {
		return fmt.Errorf("insert into %s: %w", m.name, err)
	}
	s.wrote(m, ids, w.version, "insert")
	return nil
}

// load fills an empty table.
func (w *workload) load(ctx context.Context, s *writer, m *modelTable) error {
	w.version++
	for i := range ballasts {
		id := -int64(i) - 1
		sql := fmt.Sprintf("INSERT INTO %s (id, version, shard, ballast) VALUES ($1, $2, $3, repeat('b', $4))", m.name)
		if _, err := s.conn.Exec(ctx, sql, id, w.version, w.shard(m), ballast); err != nil {
			return fmt.Errorf("insert into %s: %w", m.name, err)
		}
		s.done = append(s.done, write{m, id, w.version})
	}
	return w.fill(ctx, s, m, m.rows)
}

// fill adds many rows by COPY; their cursor is the column's default.
func (w *workload) fill(ctx context.Context, s *writer, m *modelTable, n int) error {
	w.version++
	ids := w.ids(m, n)
	var rows [][]any
	for _, id := range ids {
		rows = append(rows, []any{id, w.version, int32(w.shard(m)), strings.Repeat("x", w.pad())})
	}
	columns := []string{"id", "version", "shard", "pad"}
	if _, err := s.conn.CopyFrom(ctx, pgx.Identifier{m.name}, columns, pgx.CopyFromRows(rows)); err != nil {
		return fmt.Errorf("copy to %s: %w", m.name, err)
	}
	s.wrote(m, ids, w.version, "copy")
	return nil
}

// someSQL are n rows from id $1 on that no other transaction has locked.
const someSQL = "id IN (SELECT id FROM %[1]s WHERE id >= $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id"

func (w *workload) delete(ctx context.Context, s *writer, m *modelTable, n int) error {
	rows, _ := s.conn.Query(ctx, fmt.Sprintf("DELETE FROM %[1]s WHERE "+someSQL, m.name), 1+w.rand.Int64N(m.ids), n)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("delete from %s: %w", m.name, err)
	}
	s.wrote(m, ids, 0, "delete")
	return nil
}

// update gives rows a new length as well, so that they move.
func (w *workload) update(ctx context.Context, s *writer, m *modelTable, n int) error {
	w.version++
	sql := fmt.Sprintf("UPDATE %[1]s SET version = $3, pad = repeat('x', $4), shard = $5, at = %[2]s WHERE "+someSQL,
		m.name, m.stamp)
	rows, _ := s.conn.Query(ctx, sql, 1+w.rand.Int64N(m.ids), n, w.version, w.pad(), w.shard(m))
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("update %s: %w", m.name, err)
	}
	s.wrote(m, ids, w.version, "update")
	return nil
}
