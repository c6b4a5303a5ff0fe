package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/integration_tests/pgtest"
)

// A session is one of the workload's. A restart of the server ends all of them, and their transactions.
type session struct {
	conn  *pgconn.PgConn
	ends  int // one step in so many ends an open transaction
	saves int // savepoints that are set
}

func (s *session) open() bool {
	return s.conn != nil && !s.conn.IsClosed() && s.conn.TxStatus() != 'I'
}

// A workload writes to tables from several sessions, all driven by one goroutine, so that what they do depends on the
// seed and on what the tables hold alone. No statement waits for another's lock for long.
type workload struct {
	db       *pgtest.Database
	tables   []*table
	without  set
	sessions []*session
	keeper   session // for what administrators do
	rand     *rand.Rand
	version  int64
	ids      int64
	prepared []string // transactions
	did      map[string]int
}

// newWorkload makes the tables and fills them.
func newWorkload(ctx context.Context, db *pgtest.Database, tables []*table, without set) (*workload, error) {
	w := &workload{db: db, without: without, ids: 1_000_000, did: map[string]int{}}
	for _, ends := range []int{3, 5, 12, 60} {
		if without["longtx"] {
			ends = 3
		}
		w.sessions = append(w.sessions, &session{ends: ends})
	}
	if err := db.Exec(ctx, journalSQL); err != nil {
		return nil, err
	}
	var views []*table
	for _, t := range tables {
		if t.of != "" {
			views = append(views, t)
			continue
		}
		w.tables = append(w.tables, t)
		if err := db.Exec(ctx, t.createSQL()); err != nil {
			return nil, err
		}
		if err := db.Exec(ctx, t.fillSQL(1, t.rows, w.next())); err != nil {
			return nil, err
		}
	}
	for _, view := range views {
		if err := db.Exec(ctx, view.createSQL()); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *workload) next() int64 {
	w.version++
	return w.version
}

// ready makes sure of a session's connection.
func (w *workload) ready(ctx context.Context, s *session) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	conn, err := w.db.Connect(ctx)
	if err != nil {
		return err
	}
	s.conn, s.saves = conn.PgConn(), 0
	return s.run(ctx, "SET lock_timeout = '30ms'")
}

func (s *session) run(ctx context.Context, sql string) error {
	_, err := s.conn.Exec(ctx, sql).ReadAll()
	return err
}

// step is one statement of some session. A statement that cannot have its lock, or whose key is taken, rolls its
// transaction back. What a server that goes down says is no error.
func (w *workload) step(ctx context.Context) error {
	s, sql := w.sessions[w.rand.IntN(len(w.sessions))], ""
	if w.rand.IntN(20) == 0 {
		s, sql = &w.keeper, w.maintenance()
	}
	if err := w.ready(ctx, s); err != nil {
		return ignoreShutdown(ctx, err)
	}
	if s != &w.keeper {
		sql = w.statement(s)
	}
	if sql == "" {
		return w.finish(ctx)
	}
	return w.make(ctx, s, sql)
}

// linger leaves a transaction open that has a number, for which a first pass has to wait.
func (w *workload) linger(ctx context.Context) error {
	s := w.sessions[len(w.sessions)-1]
	err := w.ready(ctx, s)
	if err == nil && !s.open() {
		err = s.run(ctx, "BEGIN")
	}
	if err == nil {
		err = s.run(ctx, "SELECT txid_current()")
	}
	return ignoreShutdown(ctx, err)
}

// burst is how many transactions commit makes.
const burst = 20

// commit changes the rows from first on of every table, in short transactions that follow each other as fast as the
// server can. No other is open.
func (w *workload) commit(ctx context.Context, first int) error {
	s := w.sessions[0]
	if err := w.ready(ctx, s); err != nil {
		return ignoreShutdown(ctx, err)
	}
	var b strings.Builder
	for _, t := range w.tables {
		version := w.next()
		w.version += burst
		bal, second := "", ""
		if t.bank { // of two rows: what all of them have stays the same
			bal = fmt.Sprintf(", bal = bal + CASE id WHEN 1 + (%d + i) %% %d THEN 1 ELSE -1 END", first, t.rows)
			second = fmt.Sprintf(", 1 + (%d + i) %% %d", first+1, t.rows)
		}
		fmt.Fprintf(&b, "UPDATE %s SET version = %d + i, at = %s%s WHERE id IN (1 + (%d + i) %% %d%s); ", t.name, version,
			t.stamp, bal, first, t.rows, second)
	}
	return w.make(ctx, s, fmt.Sprintf("DO $$BEGIN FOR i IN 1..%d LOOP %s COMMIT; END LOOP; END$$", burst, b.String()))
}

// make makes a statement in a session.
func (w *workload) make(ctx context.Context, s *session, sql string) error {
	err := s.run(ctx, sql)
	var said *pgconn.PgError
	if errors.As(err, &said) && said.Code[:2] != "57" && !s.conn.IsClosed() {
		s.saves = 0
		back := error(nil)
		if s.open() {
			back = s.run(ctx, "ROLLBACK")
		}
		switch said.Code {
		// A key that is taken; no lock; a deadlock; an index or column that is there already or not any more; a table with
		// pending triggers; a savepoint that went with its transaction.
		case "23505", "55P03", "40P01", "42704", "42701", "42703", "42P07", "55006", "3B001", "25P01", "0A000":
			return ignoreShutdown(ctx, back)
		}
	}
	if err := ignoreShutdown(ctx, err); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	kind, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	w.did[kind]++
	return nil
}

// ignoreShutdown is nil for the errors of a server that is not there at the moment.
func ignoreShutdown(ctx context.Context, err error) error {
	var said *pgconn.PgError
	if ctx.Err() == nil && errors.As(err, &said) && said.Code[:2] != "57" {
		return err
	}
	return nil // of the network
}

// statement is the next one of a session; some sessions keep their transactions open for long.
func (w *workload) statement(s *session) string {
	n := w.rand.IntN(20)
	switch {
	case !s.open() && n < 9:
		s.saves = 0
		return "BEGIN"
	case s.open() && w.rand.IntN(s.ends) == 0:
		return w.end(n)
	case s.open() && n < 3:
		s.saves++
		return fmt.Sprintf("SAVEPOINT s%d", s.saves)
	case s.open() && n < 5 && s.saves > 0:
		to := 1 + w.rand.IntN(s.saves)
		s.saves = to
		return fmt.Sprintf("ROLLBACK TO s%d", to)
	case s.open() && n < 6 && s.saves > 0:
		s.saves--
		return fmt.Sprintf("RELEASE s%d", s.saves+1)
	}
	return w.change(s.open())
}

// end ends a transaction.
func (w *workload) end(n int) string {
	switch {
	case n < 4:
		return "ROLLBACK"
	case n < 7 && len(w.prepared) < 2 && !w.without["prepared"]:
		name := fmt.Sprintf("%s_%d", w.db.Name, w.next())
		w.prepared = append(w.prepared, name)
		return "PREPARE TRANSACTION '" + name + "'"
	}
	return "COMMIT"
}

// finish ends one of the prepared transactions. A rollback or a restart may have come before it was prepared.
func (w *workload) finish(ctx context.Context) error {
	if len(w.prepared) == 0 || w.keeper.conn == nil {
		return nil
	}
	verb := "COMMIT"
	if w.rand.IntN(3) == 0 {
		verb = "ROLLBACK"
	}
	err := w.keeper.run(ctx, verb+" PREPARED '"+w.prepared[0]+"'")
	if err == nil || isCode(err, "42704") {
		w.prepared = w.prepared[1:]
		return nil
	}
	return ignoreShutdown(ctx, err)
}

func isCode(err error, code string) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.Code == code
}

// settle ends every transaction.
func (w *workload) settle(ctx context.Context, how string) error {
	for _, s := range w.sessions {
		if s.open() {
			if err := s.run(ctx, how); ignoreShutdown(ctx, err) != nil && !s.conn.IsClosed() {
				return err
			}
		}
	}
	for len(w.prepared) > 0 && ctx.Err() == nil {
		if err := w.ready(ctx, &w.keeper); err != nil {
			return ignoreShutdown(ctx, err)
		}
		if err := w.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends the sessions.
func (w *workload) close(ctx context.Context) {
	for _, s := range append(w.sessions, &w.keeper) {
		if s.conn != nil {
			_ = s.conn.Close(ctx) // the server may be gone
		}
	}
}
