package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
)

// A cause is why something failed, for a user: code is an SQLSTATE, what is empty where the server's own words do.
type cause struct {
	code string
	kind protocol.FailureType
	what string
	hint string
}

// Explain words err, which came while doing something with the database, for the user: doing completes "Cannot …",
// for example "read public.orders". The result is nil for nil; err itself where it has been explained already, where
// it is several errors in one of which each has been, or where ctx was cancelled, which is nobody's failure; else a
// *protocol.Error that wraps err, whose message has the form
//
//	Cannot connect to the database. State code: 28P01; Message: password authentication failed for user "x".
//
// The SQLSTATE decides what kind of failure it is, never the text. Details that could hold data of rows are left out
// of the message.
func Explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	var explained *protocol.Error
	if errors.As(err, &explained) || errors.Is(err, context.Canceled) {
		return err
	}
	c := causeOf(err)
	return &protocol.Error{
		Kind: c.kind,
		Message: fmt.Sprintf("Cannot %s. State code: %s; Message: %s.", doing, c.code,
			strings.TrimRight(c.what, ".\n ")),
		Hint: c.hint,
		Err:  err,
	}
}

// explainReplication is Explain for a replication connection, which fails in ways of its own.
func explainReplication(err error, doing string) error {
	var known *pgconn.PgError
	if !errors.As(err, &known) {
		return Explain(err, doing)
	}
	e := &protocol.Error{
		Kind: protocol.Config, Err: err,
		Message: fmt.Sprintf("Cannot %s. State code: %s; Message: %s.", doing, known.Code, known.Message),
	}
	switch known.Code {
	case "08P01", "42601", "0A000": // poolers refuse the startup parameter, or take the commands for SQL
		e.Hint = "Reading changes from the log (CDC) needs a direct connection to the database: give the host and " +
			"port of the server itself, not those of a connection pooler or proxy."
	case "42501":
		e.Hint = "Let the user replicate: ALTER ROLE <user> REPLICATION; " +
			"on Amazon RDS: GRANT rds_replication TO <user>;"
	case "28000":
		e.Hint = "Let the user connect for replication: pg_hba.conf needs an entry for this user and database from " +
			"this address (logical replication uses the database's own entries, not those of the word replication)."
	default:
		return Explain(err, doing)
	}
	return e
}

// causeOf finds out why. What the server says goes before what the connection says: several addresses or ways may
// have been tried.
func causeOf(err error) cause {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		c := stateCause(said.Code)
		c.what = said.Message
		return c
	}
	return conditionOf(err)
}

// TooLarge says whether err is that a row, as text, is larger than what the server can hold in one piece.
func TooLarge(err error) bool { return hasCode(err, "54000") }

// hasCode says whether err is the server's error with this SQLSTATE.
func hasCode(err error, code string) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.Code == code
}
