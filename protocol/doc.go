// Package protocol speaks the Airbyte protocol: the command line, the messages on stdout and the exit code. It knows
// nothing of PostgreSQL.
//
// A connector implements Connector and hands it to Run, which reads the command and its files, validates the settings
// and is the only writer of errors. During a read everything goes through one Writer; each goroutine that produces
// records has an Emitter of its own.
package protocol

// Version is the connector's version; the build stamps it.
var Version = "dev"
