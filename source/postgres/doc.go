// Package postgres connects to a PostgreSQL server and speaks of it: TLS, the SSH tunnel, sessions whose output does
// not depend on the server's settings, names, versions, and failures in words for the user.
//
// Nothing outside the settings has a say in how a connection is made: no PG* environment variable, password file,
// service file or file in the home directory.
package postgres
