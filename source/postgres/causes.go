package postgres

import "source-postgres/protocol"

// A state says what an SQLSTATE means for a sync: whether a person has to act (Config) or trying again may help
// (Transient), what it is about, and what to do.
type state struct {
	kind  protocol.FailureType
	means string
	hint  string // may be empty
}

// states is by SQLSTATE, or by a whole class of them (two characters). What is not here is a statement that the
// connector should not have sent. docs/troubleshooting.md shows the table; a test holds them together, and another
// provokes every row on a server.
//
// Source: PostgreSQL documentation, appendix "PostgreSQL Error Codes".
var states = map[string]state{
	"08": {protocol.Transient, "the connection was lost or broken off", ""},
	"08P01": {
		protocol.Config, "the two do not speak the same protocol",
		"A connection pooler or proxy may stand before the database: connect to the server itself.",
	},
	"0A000": {protocol.Config, "the server cannot do this", "The message says what."},
	"22": {
		protocol.Config, "a stored value, or an expression of a view, fails",
		"Mend the row or the view, or leave the stream out.",
	},
	"22021": {
		protocol.Config, "a stored text is not valid in the database's encoding",
		"Mend the row, or leave the column out.",
	},
	"22P05": {protocol.Config, "a stored text has no form in UTF-8", "Mend the row, or leave the column out."},
	"25006": {
		protocol.Transient, "the transaction is read-only",
		"The server may just be changing its role. If it stays: a view that is read calls a function that writes, or CDC " +
			"is to write on a standby.",
	},
	"25P02": {protocol.System, "the transaction had failed before", ""},
	"25P03": {
		protocol.Transient, "the transaction was idle for too long",
		"Take idle_in_transaction_session_timeout out of options in \"jdbc_url_params\".",
	},
	"26000": {
		protocol.Config, "a prepared statement is gone",
		"A connection pooler or proxy may stand before the database: connect to the server itself.",
	},
	"28": {
		protocol.Config, "the server lets nobody in with this user, database, address and encryption",
		"Check the user name, and that pg_hba.conf on the server has an entry for this user, database and address; an " +
			"entry may also insist on encryption or refuse it (\"ssl_mode\").",
	},
	"28P01": {protocol.Config, "the password is wrong", `Check "username" and "password".`},
	"2F":    {protocol.Config, "a function of the database fails", "See the function that the view calls."},
	"38":    {protocol.Config, "an external function fails", "See the function that the view calls."},
	"39":    {protocol.Config, "an external function was called wrongly", "See the function that the view calls."},
	"3D000": {protocol.Config, "there is no such database", `Check "database": names are case-sensitive.`},
	"3F000": {protocol.Config, "there is no such schema", `Check "schemas": names are case-sensitive.`},
	"40":    {protocol.Transient, "the transaction was rolled back", ""},
	"40001": {
		protocol.Transient, "on a standby, the query stood in the way of replay",
		"Set hot_standby_feedback = on there, or raise max_standby_streaming_delay.",
	},
	"42501": {
		protocol.Config, "a privilege is missing",
		"Let the user read: GRANT USAGE ON SCHEMA <schema> TO <user>; GRANT SELECT ON ALL TABLES IN SCHEMA <schema> TO " +
			"<user>;",
	},
	"42703": {
		protocol.Config, "a column was dropped or renamed", "Refresh the schema of the connection.",
	},
	"42704": {protocol.Config, "something that is named does not exist", "The message says what."},
	"42P01": {protocol.Config, "a table was dropped or renamed", "Refresh the schema of the connection."},
	"53":    {protocol.Transient, "the server is short of memory or disk", ""},
	"53300": {
		protocol.Transient, "the server, or the user's limit, has no connection left",
		`Lower "max_db_connections", or raise max_connections on the server or the user's CONNECTION LIMIT.`,
	},
	"53400": {
		protocol.Config, "a limit of the server's configuration is reached", "Raise the limit that the message names.",
	},
	"54": {
		protocol.Config, "a limit of PostgreSQL is reached, for example 1 GB for the text of a row",
		"Leave the largest column out, or make the row smaller.",
	},
	"55":    {protocol.Transient, "something is not in the state for this", ""},
	"55000": {protocol.Config, "something is not in the state for this", "The message says what."},
	"55006": {
		protocol.Transient, "it is in use", "An earlier run may still be ending; if it stays, another program uses it.",
	},
	"55P03": {
		protocol.Transient, "another session holds a lock on the table",
		"A migration, for example; try again when it is over.",
	},
	"57": {protocol.Transient, "the server or an administrator ended it", ""},
	"57014": {
		protocol.Transient, "the server or an administrator cancelled the statement",
		"See statement_timeout in options of \"jdbc_url_params\", or, on a standby, max_standby_streaming_delay and " +
			"hot_standby_feedback.",
	},
	"57P03": {protocol.Transient, "the server is starting up or shutting down", ""},
	"57P04": {protocol.Config, "the database was dropped", `Change "database".`},
	"58":    {protocol.Transient, "an error of the system under the server", "See the server's log."},
	"58P01": {protocol.Config, "a file is missing on the server", "See the server's log."},
	"F0":    {protocol.Config, "a configuration file of the server is wrong or locked", "See the server's log."},
	"HV":    {protocol.Transient, "a foreign server fails", "See the log of the server behind the foreign table."},
	"P0":    {protocol.Config, "a function of the database raised an error", "See the function that the view calls."},
	"XX":    {protocol.Transient, "an internal error of the server, for example a damaged table", "See the server's log."},
}

// stateCause is the row for code, else the one for its class, else a fault of the connector.
func stateCause(code string) cause {
	s, ok := states[code]
	if !ok && len(code) == 5 {
		s, ok = states[code[:2]]
	}
	if !ok {
		s.kind = protocol.System
	}
	return cause{code: code, kind: s.kind, hint: s.hint}
}
