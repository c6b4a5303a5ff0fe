package postgres

import "source-postgres/protocol"

// states says what an SQLSTATE, or a whole class of them (two characters), means for a sync: whether a person has to
// act (Config) or trying again may help (Transient). What is not here is a statement that the connector should not
// have sent.
//
// Source: PostgreSQL documentation, appendix "PostgreSQL Error Codes".
var states = map[string]cause{
	"08":    {kind: protocol.Transient},
	"08P01": {kind: protocol.Config, hint: poolerHint},
	"0A000": {kind: protocol.Config},
	"22":    {kind: protocol.Config}, // a stored value or an expression of a view
	"22021": {kind: protocol.Config, hint: "A stored text is not valid in the database's encoding. Mend the row, or " +
		"leave the column out."},
	"22P05": {kind: protocol.Config, hint: "A stored text has no form in UTF-8. Mend the row, or leave the column out."},
	"25006": {kind: protocol.Transient},
	"25P02": {kind: protocol.System},
	"25P03": {kind: protocol.Transient, hint: "Raise idle_in_transaction_session_timeout for the user."},
	"26000": {kind: protocol.Config, hint: poolerHint},
	"28": {kind: protocol.Config, hint: "Check the user name, and that pg_hba.conf on the server has an entry for this " +
		`user, database and address; an entry may also insist on encryption or refuse it ("ssl_mode").`},
	"28P01": {kind: protocol.Config, hint: `Check "username" and "password".`},
	"2F":    {kind: protocol.Config}, // a function of the database that a view calls
	"38":    {kind: protocol.Config},
	"39":    {kind: protocol.Config},
	"3D000": {kind: protocol.Config, hint: `Check "database": names are case-sensitive.`},
	"3F000": {kind: protocol.Config, hint: `Check "schemas": names are case-sensitive.`},
	"40":    {kind: protocol.Transient},
	"40001": {kind: protocol.Transient, hint: standbyHint},
	"42501": {kind: protocol.Config, hint: "Let the user read: GRANT USAGE ON SCHEMA <schema> TO <user>; " +
		"GRANT SELECT ON ALL TABLES IN SCHEMA <schema> TO <user>;"},
	"42704": {kind: protocol.Config},
	"42703": {kind: protocol.Config, hint: "A column was dropped or renamed: refresh the schema of the connection."},
	"42P01": {kind: protocol.Config, hint: "A table was dropped or renamed: refresh the schema of the connection."},
	"53":    {kind: protocol.Transient},
	"53300": {kind: protocol.Transient, hint: `Lower "max_db_connections", or raise max_connections on the server or ` +
		`the user's CONNECTION LIMIT.`},
	"53400": {kind: protocol.Config, hint: "Raise the limit that the message names on the server."},
	"55":    {kind: protocol.Transient},
	"55000": {kind: protocol.Config},
	"55006": {kind: protocol.Transient, hint: "An earlier run may still be ending; if it stays, another program uses it."},
	"55P03": {kind: protocol.Transient, hint: "Another session holds a lock on the table, for example a migration."},
	"57":    {kind: protocol.Transient},
	"57014": {kind: protocol.Transient, hint: "The server or an administrator cancelled the statement: see " +
		"statement_timeout of the user, or, on a standby, max_standby_streaming_delay and hot_standby_feedback."},
	"57P03": {kind: protocol.Transient, hint: "The server is starting up or shutting down."},
	"57P04": {kind: protocol.Config, hint: "The database was dropped."},
	"58":    {kind: protocol.Transient},
	"58P01": {kind: protocol.Config},
	"F0":    {kind: protocol.Config},
	"HV":    {kind: protocol.Transient}, // a foreign server
	"P0":    {kind: protocol.Config},    // raised by a function of the database
	"XX":    {kind: protocol.Transient},
}

const (
	poolerHint  = "A connection pooler or proxy may stand before the database: connect to the server itself."
	standbyHint = "On a standby, queries are cancelled when they stand in the way of replay: set hot_standby_feedback " +
		"= on there, or raise max_standby_streaming_delay."
)

// stateCause is the row for code, else the one for its class, else a fault of the connector.
func stateCause(code string) cause {
	if c, ok := states[code]; ok {
		return c
	}
	if len(code) == 5 {
		if c, ok := states[code[:2]]; ok {
			return c
		}
	}
	return cause{kind: protocol.System}
}
