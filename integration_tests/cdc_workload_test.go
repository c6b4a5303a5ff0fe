package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
)

// logTables are the tables of TestModelOfLog. Rows of wide fill a block each, so that it has several ranges; the
// texts of toast are stored apart, and most updates leave them alone.
const logTables = `
CREATE TABLE wide (id bigint PRIMARY KEY, version bigint NOT NULL, pad text) WITH (fillfactor = 90);
ALTER TABLE wide ALTER COLUMN pad SET STORAGE PLAIN;
CREATE TABLE toast (id bigint PRIMARY KEY, version bigint NOT NULL, big text NOT NULL);
ALTER TABLE toast ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE full_identity (id bigint PRIMARY KEY, version bigint NOT NULL, big text NOT NULL);
ALTER TABLE full_identity ALTER COLUMN big SET STORAGE EXTERNAL;
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE index_identity (id bigint NOT NULL UNIQUE, version bigint NOT NULL);
ALTER TABLE index_identity REPLICA IDENTITY USING INDEX index_identity_id_key;
CREATE TABLE parted (id bigint, shard int, version bigint NOT NULL, PRIMARY KEY (id, shard)) PARTITION BY LIST (shard);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_1 (version bigint NOT NULL, shard int NOT NULL, gone int, id bigint NOT NULL);
ALTER TABLE parted_1 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
CREATE TABLE later (id bigint PRIMARY KEY, version bigint NOT NULL)`

// A logTable says how the workload writes to a table, and what tells its rows apart. $1 is an id, $2 a version, $3
// a number.
type logTable struct {
	name           string
	keys, fields   []string
	insert, update string
	rows           int
}

var logTableList = []logTable{
	{
		"wide",
		[]string{"id"},
		[]string{"id", "version"},
		"INSERT INTO wide VALUES ($1, $2, repeat('x', 7000 + $3))", "version = $2, pad = repeat('x', 6000 + $3)", 3400,
	},
	{
		"toast",
		[]string{"id"},
		[]string{"id", "version", "big"},
		"INSERT INTO toast VALUES ($1, $2, repeat($3::text, 3000))", "version = $2", 200,
	},
	{
		"full_identity",
		[]string{"id"},
		[]string{"id", "version", "big"},
		"INSERT INTO full_identity VALUES ($1, $2, repeat($3::text, 3000))", "version = $2", 200,
	},
	{
		"index_identity",
		[]string{"id"},
		[]string{"id", "version"},
		"INSERT INTO index_identity VALUES ($1, $2)", "version = $2", 300,
	},
	{
		"parted",
		[]string{"id", "shard"},
		[]string{"id", "shard", "version"},
		"INSERT INTO parted VALUES ($1, $3 % 2, $2)", "version = $2", 400,
	},
	{"later", []string{"id"}, []string{"id", "version"}, "INSERT INTO later VALUES ($1, $2)", "version = $2", 300},
}

// A logWorkload writes from several sessions, driven by one goroutine. No statement waits for another's lock.
type logWorkload struct {
	db       *database
	rand     *rand.Rand
	conns    []*pgx.Conn
	open     []bool
	keeper   *pgx.Conn
	version  int64
	ids      int64
	prepared []string
	did      map[string]int
}

func newLogWorkload(db *database, r *rand.Rand) *logWorkload {
	db.t.Helper()
	w := &logWorkload{db: db, rand: r, conns: make([]*pgx.Conn, 4), open: make([]bool, 4), did: map[string]int{}}
	db.exec(logTables)
	for _, table := range logTableList {
		into, values, _ := strings.Cut(table.insert, " VALUES (")
		values = strings.NewReplacer("$1", "n::bigint", "$2", "0", "$3", "(n % 9)").Replace(strings.TrimSuffix(values, ")"))
		db.exec(fmt.Sprintf("%s SELECT %s FROM generate_series(1, %d) AS n", into, values, table.rows))
	}
	w.ids = 10_000
	return w
}

// connect makes sure of a session: a restart of the server ends all of them, and their transactions.
func (w *logWorkload) connect(ctx context.Context, conn **pgx.Conn) (err error) {
	if *conn != nil && !(*conn).IsClosed() {
		return nil
	}
	if *conn, err = w.db.Connect(ctx); err == nil {
		_, err = (*conn).Exec(ctx, "SET lock_timeout = '30ms'")
	}
	return err
}

// step is one statement of some session. An error of a session that the server has ended is none.
func (w *logWorkload) step(ctx context.Context) error {
	i := w.rand.IntN(len(w.conns))
	if w.rand.IntN(25) == 0 {
		return w.maintain(ctx)
	}
	if w.conns[i] == nil || w.conns[i].IsClosed() {
		w.open[i] = false
	}
	if err := w.connect(ctx, &w.conns[i]); err != nil {
		return ignoreShutdown(err)
	}
	sql, args := w.statement(i)
	_, err := w.conns[i].Exec(ctx, sql, args...)
	if isCode(err, "23505") || isCode(err, "55P03") { // the new id is taken, or somebody else is about to take it
		w.open[i] = false
		_, err = w.conns[i].Exec(ctx, "ROLLBACK")
	}
	if err != nil && !w.conns[i].IsClosed() && !isCode(err, "57P") {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// ignoreShutdown is nil for the errors of a server that is not there at the moment.
func ignoreShutdown(err error) error {
	if err == nil || isCode(err, "57P") || strings.Contains(err.Error(), "refused") ||
		strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "EOF") {
		return nil
	}
	return err
}

// statement is the next one of session i; some sessions keep their transactions open for long.
func (w *logWorkload) statement(i int) (string, []any) {
	ends := []int{3, 5, 12, 40}[i]
	switch n := w.rand.IntN(20); {
	case !w.open[i] && n < 9:
		w.open[i] = true
		return "BEGIN", nil
	case w.open[i] && w.rand.IntN(ends) == 0:
		w.open[i] = false
		switch {
		case n < 3:
			return "ROLLBACK", nil
		case n < 6 && len(w.prepared) < 2:
			name := fmt.Sprintf("%s_%d", w.db.Name, w.next())
			w.prepared = append(w.prepared, name)
			return "PREPARE TRANSACTION '" + name + "'", nil
		}
		return "COMMIT", nil
	case w.open[i] && n < 3:
		// A new savepoint hides an old one of its name.
		return []string{"SAVEPOINT s", "SAVEPOINT s", "DO $$BEGIN BEGIN UPDATE later SET version = version; RAISE 'no'; " +
			"EXCEPTION WHEN raise_exception THEN NULL; END; END$$"}[n], nil
	}
	return w.change()
}

func (w *logWorkload) next() int64 {
	w.version++
	return w.version
}

// change writes some rows of some table.
func (w *logWorkload) change() (string, []any) {
	table := logTableList[w.rand.IntN(len(logTableList))]
	version, number := w.next(), int64(w.rand.IntN(9))
	some := fmt.Sprintf(" WHERE id IN (SELECT id FROM %s WHERE id >= %d ORDER BY id LIMIT %d FOR UPDATE SKIP LOCKED)",
		table.name, w.rand.IntN(table.rows), 1+w.rand.IntN(6))
	one := fmt.Sprintf(" WHERE id IN (SELECT id FROM %s WHERE id >= %d ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
		table.name, w.rand.IntN(table.rows))
	w.did[table.name]++
	values := strings.NewReplacer("$1", fmt.Sprint(w.newID(table)), "$2", fmt.Sprint(version), "$3", fmt.Sprint(number))
	switch n := w.rand.IntN(20); {
	case n < 5:
		return values.Replace(table.insert) + " ON CONFLICT DO NOTHING", nil
	case n < 9:
		return "DELETE FROM " + table.name + some, nil
	case n < 11: // the key changes
		return values.Replace("UPDATE " + table.name + " SET id = $1, " + table.update + one), nil
	case n < 13 && table.name == "parted":
		return values.Replace("UPDATE parted SET shard = 1 - shard, version = $2" + one), nil
	case n < 13 && (table.name == "toast" || table.name == "full_identity"):
		return values.Replace("UPDATE " + table.name + " SET version = $2, big = repeat($3::text, 3100)" + some), nil
	case n < 14: // as much as a transaction of many rows
		return values.Replace(fmt.Sprintf("UPDATE %s SET %s WHERE id IN (SELECT id FROM %[1]s WHERE id %% 7 = %[3]d "+
			"FOR UPDATE SKIP LOCKED)", table.name, table.update, w.rand.IntN(7))), nil
	}
	return values.Replace("UPDATE " + table.name + " SET " + table.update + some), nil
}

// newID is an id for a row: mostly a new one, sometimes one that a deleted row may have had.
func (w *logWorkload) newID(table logTable) int64 {
	if table.name != "wide" && w.rand.IntN(3) > 0 {
		return 1 + w.rand.Int64N(int64(table.rows))
	}
	w.ids++
	return w.ids
}

// maintain does what administrators do, if it gets the lock that it needs.
func (w *logWorkload) maintain(ctx context.Context) error {
	if err := w.connect(ctx, &w.keeper); err != nil {
		return ignoreShutdown(err)
	}
	sql := []string{
		"VACUUM FULL wide", "VACUUM FULL parted_1", "VACUUM FULL toast", "VACUUM (FREEZE) wide", "CHECKPOINT",
		"SELECT pg_switch_wal()", "CLUSTER index_identity USING index_identity_id_key", "", "", "",
	}[w.rand.IntN(10)]
	if sql == "" {
		return w.finish(ctx)
	}
	_, err := w.keeper.PgConn().Exec(ctx, sql).ReadAll()
	if err == nil || isCode(err, "55P03") || isCode(err, "57P") || w.keeper.IsClosed() {
		return nil
	}
	return fmt.Errorf("%s: %w", sql, err)
}

// finish ends one of the prepared transactions. A restart may have come before it was prepared.
func (w *logWorkload) finish(ctx context.Context) error {
	if len(w.prepared) == 0 {
		return nil
	}
	verb := "COMMIT"
	if w.rand.IntN(3) == 0 {
		verb = "ROLLBACK"
	}
	_, err := w.keeper.PgConn().Exec(ctx, verb+" PREPARED '"+w.prepared[0]+"'").ReadAll()
	if err == nil || isCode(err, "42704") {
		w.prepared = w.prepared[1:]
		return nil
	}
	if w.keeper.IsClosed() || isCode(err, "57P") {
		return nil
	}
	return err
}

// settle ends every transaction, by COMMIT or ROLLBACK. Those of sessions that the server has ended are over.
func (w *logWorkload) settle(ctx context.Context, how string) error {
	for i, conn := range w.conns {
		if conn != nil && w.open[i] {
			if _, err := conn.Exec(ctx, how); err != nil && !conn.IsClosed() && !isCode(err, "57P") {
				return err
			}
		}
		w.open[i] = false
	}
	if err := w.connect(ctx, &w.keeper); err != nil {
		return ignoreShutdown(err)
	}
	for range len(w.prepared) {
		if err := w.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}
