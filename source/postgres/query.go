package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Query runs one statement with parameters in text format (nil is NULL) and hands each row's values, as text, to row;
// they are valid only until it returns. An error of row ends the query and is returned as it is; one of the server is
// not yet in the user's words: see Explain.
func Query(
	ctx context.Context, conn *pgconn.PgConn, sql string, params [][]byte, row func(values [][]byte) error,
) error {
	rows := conn.ExecParams(ctx, sql, params, nil, nil, nil)
	var failure error
	for rows.NextRow() {
		if failure == nil {
			failure = row(rows.Values())
		}
	}
	if _, err := rows.Close(); err != nil {
		return err
	}
	return failure
}

// Run runs statements without parameters, separated by semicolons, in one round trip, and hands the rows of all of them
// to row, as Query does. The first that fails is the last that is run.
func Run(ctx context.Context, conn *pgconn.PgConn, sql string, row func(values [][]byte)) error {
	results := conn.Exec(ctx, sql)
	for results.NextResult() {
		for rows := results.ResultReader(); rows.NextRow(); {
			row(rows.Values())
		}
	}
	return results.Close()
}

// Exec is Run, and drops what the statements return.
func Exec(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	return conn.Exec(ctx, sql).Close()
}

// Close ends a connection, and whatever the server still does for it: a backend at work, or waiting for a lock, does
// not notice that its client has gone. Close waits only a moment for that.
func Close(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if conn.IsBusy() {
		_ = conn.CancelRequest(ctx) // a server that cannot be told is not waited for
	}
	// A connection that cannot say goodbye is closed all the same.
	_ = conn.Close(ctx)
	// After a cancelled context the driver cancels the statement in a goroutine of its own.
	select {
	case <-conn.CleanupDone():
	case <-ctx.Done():
	}
}

// Abandon ends a connection in the middle of a result, without reading the rest of it.
func Abandon(conn *pgconn.PgConn) {
	_ = conn.Conn().Close()
}
