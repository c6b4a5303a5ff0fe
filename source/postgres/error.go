package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/crypto/ssh"

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
		c.code, c.what = said.Code, said.Message
		return c
	}
	if c, is := tlsCause(err); is {
		return c
	}
	return networkCause(err)
}

// hasCode says whether err is the server's error with this SQLSTATE.
func hasCode(err error, code string) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.Code == code
}

// tlsCause is for what failed between the connection and the login.
func tlsCause(err error) (cause, bool) {
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		noSystem x509.SystemRootsError
		verify   *tls.CertificateVerificationError
		failed   *handshakeError
		op       *net.OpError
	)
	c := cause{code: "08006", kind: protocol.Config}
	switch {
	case errors.Is(err, errRefused):
		return cause{
			"08004", protocol.Config, "The server does not support SSL",
			`Turn on ssl on the server, or choose an "ssl_mode" that does not insist on it (prefer, allow, disable).`,
		}, true
	case errors.As(err, &unknown):
		c.what = "the certificate of the server is not signed by an authority that is trusted"
		c.hint = `Put the certificate of the authority that signed it into "ssl_mode.ca_certificate"` +
			` (cloud providers offer theirs for download).`
	case errors.As(err, &name):
		c.what = "the certificate of the server is for another host: " + plainX509(name)
		c.hint = `Set "host" to a name in the certificate's subject alternative names, or choose ssl_mode verify-ca, ` +
			`which does not compare names.`
	case errors.As(err, &invalid):
		c.what = "the certificate of the server is not valid: " + plainX509(invalid)
		c.hint = "Renew the certificate on the server; if it is valid, look at the clock of the machine that runs this."
	case errors.As(err, &noSystem), errors.As(err, &verify):
		c.what = "the certificate of the server cannot be verified: " + firstLine(err)
		c.hint = `Put the certificate of the authority that signed it into "ssl_mode.ca_certificate".`
	case errors.As(err, &op) && op.Op == "remote error":
		c.what = "the server ended the encrypted connection: " + op.Err.Error()
		c.hint = `If the server asks for a client certificate, check "ssl_mode.client_certificate" and ` +
			`"ssl_mode.client_key". TLS 1.2 or newer is needed.`
	case errors.As(err, &failed) && !isNetwork(failed.err):
		c.what = firstLine(failed)
		c.hint = "The server must speak TLS 1.2 or newer on this port."
	default:
		return cause{}, false
	}
	return c, true
}

// networkCause is for everything that is not the server's own message. A name that does not exist is a wrong setting;
// what refuses or does not answer may be a server that is being restarted, so trying again can help.
func networkCause(err error) cause {
	var dns *net.DNSError
	var channel *ssh.OpenChannelError
	reach := `Check "host" and "port", that the server is running and listens on that address, and that firewalls ` +
		`let this connector's address through.`
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return cause{"08001", protocol.Config, "the host name is not known", `Check "host" for a typing error.`}
	case errors.As(err, &dns):
		return cause{"08001", protocol.Transient, "the host name could not be looked up: " + dns.Err, ""}
	case errors.As(err, &channel) && channel.Reason == ssh.Prohibited:
		return cause{
			"08001", protocol.Config, "the SSH server does not let connections through: " + channel.Message,
			"The SSH server must allow forwarding to the database's host and port: see AllowTcpForwarding and PermitOpen.",
		}
	case errors.As(err, &channel):
		return cause{
			"08001", protocol.Transient, "the SSH server cannot connect to the database: " + channel.Message,
			`Check "host" and "port": they are used from the SSH server, where the name may mean something else.`,
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		return cause{"08001", protocol.Transient, "the connection was refused: nothing listens on that port", reach}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return cause{"08001", protocol.Transient, "there is no route to the host", reach}
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EACCES):
		return cause{
			"08001", protocol.Config, "there is no such socket, or it may not be opened",
			`Check "host" and "port".`,
		}
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrPrimaryConnection):
		return cause{
			"08004", protocol.Config, firstLine(unwrapAll(err)),
			`Change "host", or targetServerType in "jdbc_url_params".`,
		}
	case errors.Is(err, errTunnelLost):
		return cause{"08006", protocol.Transient, errTunnelLost.Error(), ""}
	}
	var connecting *pgconn.ConnectError
	early := errors.As(err, &connecting)
	timeout := pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT)
	switch {
	case timeout && early:
		return cause{"08001", protocol.Transient, "the server did not answer in time", reach}
	case timeout:
		return cause{"08006", protocol.Transient, "the server did not answer in time", ""}
	case isNetwork(err) && early:
		return cause{
			"08006", protocol.Transient, "the server closed the connection before the login was done",
			"The log of the server says why: it may be restarting, or not accept the client certificate that was shown.",
		}
	case isNetwork(err), errors.Is(err, pgconn.ErrConnClosed):
		return cause{
			"08006", protocol.Transient, "the connection to the server was lost",
			"The log of the server says why, if it was the server's doing.",
		}
	case early:
		return cause{
			"08001", protocol.Config, firstLine(unwrapAll(err)),
			`Check that "host" and "port" are those of a PostgreSQL server, and which way of logging in it demands.`,
		}
	}
	return cause{"08000", protocol.System, firstLine(unwrapAll(err)), ""}
}

// unwrapAll is the innermost error, of several joined the last: outer ones of the driver name addresses and users
// again.
func unwrapAll(err error) error {
	for {
		if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
			err = joined.Unwrap()[len(joined.Unwrap())-1]
			continue
		}
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

func plainX509(err error) string { return strings.TrimPrefix(err.Error(), "x509: ") }

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
