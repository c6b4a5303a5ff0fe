package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// shape holds the settings that decide how the server writes values. They are the same in every session, replication
// included, so that a value has one text however it comes.
var shape = []config.Setting{
	{Name: "TimeZone", Value: "UTC"},
	{Name: "DateStyle", Value: "ISO, MDY"},
	{Name: "IntervalStyle", Value: "postgres"},
	{Name: "bytea_output", Value: "hex"},
	{Name: "extra_float_digits", Value: "1"}, // any value above 0 is shortest-exact; before 12 it takes 3, see pinned
	{Name: "client_encoding", Value: "UTF8"}, // or SQL_ASCII, see pinned
	{Name: "lc_monetary", Value: "C"},
	{Name: "standard_conforming_strings", Value: "on"},
	{Name: "quote_all_identifiers", Value: "off"},
}

// work holds the settings that long reads need. Settings of the user's own go before these.
var work = []config.Setting{
	{Name: "statement_timeout", Value: "0"},
	{Name: "lock_timeout", Value: "5min"},                     // a table locked for longer is worth an error
	{Name: "idle_in_transaction_session_timeout", Value: "0"}, // the reader is idle while stdout is full
	{Name: "transaction_timeout", Value: "0"},                 // PostgreSQL 17
	{Name: "tcp_user_timeout", Value: "0"},                    // nor does it take data then
	{Name: "jit", Value: "off"},                               // compiling costs more than a plain scan gains
	{Name: "max_parallel_workers_per_gather", Value: "0"},     // ranges are read in parallel already
	{Name: "synchronize_seqscans", Value: "off"},              // a scan begins at the first page
	{Name: "enable_tidscan", Value: "on"},                     // else each range is a scan of the whole table
	{Name: "enable_seqscan", Value: "on"},
	{Name: "enable_indexscan", Value: "on"},
	{Name: "enable_sort", Value: "on"},
}

// replicationWork takes the place of work in replication sessions, which are idle outside a transaction too.
var replicationWork = []config.Setting{
	{Name: "statement_timeout", Value: "0"},
	{Name: "lock_timeout", Value: "0"}, // a slot is made when the transactions that are open have ended
	{Name: "idle_in_transaction_session_timeout", Value: "0"},
	{Name: "idle_session_timeout", Value: "0"}, // PostgreSQL 14
	{Name: "transaction_timeout", Value: "0"},
	{Name: "tcp_user_timeout", Value: "0"},
}

// isShape says whether name is one of the settings that nobody else may decide.
func isShape(name string) bool {
	return slices.ContainsFunc(shape, func(s config.Setting) bool { return strings.EqualFold(s.Name, name) })
}

// pinned is shape for a server of this version and encoding. A SQL_ASCII database holds bytes in no particular
// encoding: asked for UTF8, the server refuses each row that is not valid; asked for SQL_ASCII, it gives the bytes as
// they are.
func pinned(version int, encoding string) []config.Setting {
	settings := slices.Clone(shape)
	for i := range settings {
		switch {
		case settings[i].Name == "extra_float_digits" && version < 120000:
			settings[i].Value = "3"
		case settings[i].Name == "client_encoding" && encoding == "SQL_ASCII":
			settings[i].Value = "SQL_ASCII"
		}
	}
	return settings
}

// assignments is the SQL that applies the user's settings, one statement each, then the other lists in one statement:
// of defaults those that the user has not set, and all of the connector's own; what the server does not know is
// passed over. local makes all of them end with the transaction.
func assignments(user, defaults, own []config.Setting, local bool) string {
	var sql strings.Builder
	given := map[string]bool{}
	for _, s := range user {
		given[strings.ToLower(s.Name)] = true
		fmt.Fprintf(&sql, "SELECT pg_catalog.set_config(%s, %s, %t); ", Literal(s.Name), Literal(s.Value), local)
	}
	var values []string
	row := func(s config.Setting) { values = append(values, "("+Literal(s.Name)+", "+Literal(s.Value)+")") }
	for _, s := range defaults {
		if !given[strings.ToLower(s.Name)] {
			row(s)
		}
	}
	for _, s := range own {
		row(s)
	}
	fmt.Fprintf(&sql, "SELECT pg_catalog.set_config(s.name, s.value, %t) FROM (VALUES %s) AS s (name, value) "+
		"WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL", local, strings.Join(values, ", "))
	return sql.String()
}

// beginSQL opens a read-only transaction in one round trip. A snapshot can only be set before the first query; the
// settings are local to the transaction, so that they hold behind a pooler that hands each transaction to another
// session, and leave nothing behind there.
func beginSQL(snapshot string, user []config.Setting, version int, encoding string) string {
	sql := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
	if snapshot != "" {
		sql += "SET TRANSACTION SNAPSHOT " + Literal(snapshot) + "; "
	}
	return sql + assignments(user, work, pinned(version, encoding), true)
}

// Begin opens a read-only REPEATABLE READ transaction on conn, in which values are written as this connector expects
// them; reads must happen in one. A snapshot that another transaction exported is taken over; "" takes a new one.
// After an error no transaction is open. The error is made by Explain.
func (s *Server) Begin(ctx context.Context, conn *pgconn.PgConn, snapshot string) error {
	results, err := conn.Exec(ctx, beginSQL(snapshot, s.settings, Version(conn), Encoding(conn))).ReadAll()
	if err == nil {
		return nil
	}
	if back := s.Rollback(ctx, conn); back != nil {
		Close(conn) // a transaction that cannot be ended must not be used by the next
	}
	return s.explainBegin(err, snapshot != "", completed(results))
}

// completed counts the statements of a batch that succeeded.
func completed(results []*pgconn.Result) int {
	n := 0
	for _, r := range results {
		if r.Err == nil {
			n++
		}
	}
	return n
}

// explainBegin words a failure of beginSQL by the statement that failed: done of them had succeeded.
func (s *Server) explainBegin(err error, snapshot bool, done int) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) || done == 0 {
		return Explain(err, "begin a transaction")
	}
	e := &protocol.Error{Err: err}
	if snapshot {
		done--
	}
	switch {
	case done == 0:
		e.Kind = protocol.Transient
		e.Message = fmt.Sprintf("The snapshot that several connections share is gone. State code: %s; Message: %s.",
			said.Code, said.Message)
		e.Hint = "The connection that holds it was lost, or a pooler gave the connections different servers."
	case done <= len(s.settings):
		e.Kind = protocol.Config
		e.Message = fmt.Sprintf("The server refuses the setting %q. State code: %s; Message: %s.",
			s.settings[done-1].Name, said.Code, said.Message)
		e.Hint = `Change options (or currentSchema) in "jdbc_url_params".`
	default:
		return Explain(err, "begin a transaction")
	}
	return e
}

// Reach adds a schema to search_path, for as long as settings of the transaction on conn live: the server finds the
// operators of a type by it alone.
func Reach(ctx context.Context, conn *pgconn.PgConn, schema string) error {
	return Exec(ctx, conn, "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', "+
		"nullif(pg_catalog.current_setting('search_path'), ''), "+Literal(Quote(schema))+"), true)")
}

// Linger keeps the server from ending a session because it is idle between transactions (idle_session_timeout, version
// 14): one that is only asked now and then while the log is read, or while the destination takes its time.
func Linger(ctx context.Context, conn *pgconn.PgConn) error {
	err := Exec(ctx, conn, "SELECT pg_catalog.set_config('idle_session_timeout', '0', false) "+
		"WHERE pg_catalog.current_setting('idle_session_timeout', true) IS NOT NULL")
	return Explain(err, "begin a session")
}

// Commit ends the transaction on conn and keeps what it did.
func (s *Server) Commit(ctx context.Context, conn *pgconn.PgConn) error {
	_, err := conn.Exec(ctx, "COMMIT").ReadAll()
	return Explain(err, "commit a transaction")
}

// Rollback ends the transaction on conn, a failed one too; without a transaction it does nothing.
func (s *Server) Rollback(ctx context.Context, conn *pgconn.PgConn) error {
	if conn.TxStatus() == 'I' {
		return nil
	}
	_, err := conn.Exec(ctx, "ROLLBACK").ReadAll()
	return Explain(err, "roll back a transaction")
}

// pin applies the settings to a replication session for as long as it lives. A time limit that the user has set is
// meant for queries, so it does not count here.
func (s *Server) pin(ctx context.Context, conn *pgconn.PgConn) error {
	own := append(slices.Clone(replicationWork), pinned(Version(conn), Encoding(conn))...)
	_, err := conn.Exec(ctx, assignments(s.settings, nil, own, false)).ReadAll()
	return err
}
