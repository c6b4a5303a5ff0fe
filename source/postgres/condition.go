package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/crypto/ssh"

	"source-postgres/protocol"
)

// A condition is a way to fail of which the server says nothing: a cause, and how to tell it. What the error itself
// has to say follows cause.what.
type condition struct {
	cause
	is func(err error) (detail string, is bool)
}

const (
	reachHint = `Check "host" and "port", that the server is running and listens on that address, and that firewalls ` +
		`let this connector's address through.`
	authorityHint = `Put the certificate of the authority that signed it into "ssl_mode.ca_certificate" (cloud ` +
		`providers offer theirs for download).`
	serverHint = "The log of the server says why, if it was the server's doing."
)

// conditions are tried in this order; what none of them tells is the last one. A name that does not exist is a wrong
// setting; what refuses or does not answer may be a server that is being restarted, so trying again can help.
// docs/troubleshooting.md shows the table; a test holds them together.
var conditions = []condition{
	// Between the connection and the login.
	{cause{
		"08004", protocol.Config, "The server does not support SSL",
		`Turn on ssl on the server, or choose an "ssl_mode" that does not insist on it (prefer, allow, disable).`,
	}, as(errRefused)},
	{cause{
		"08006", protocol.Config, "the certificate of the server is not signed by an authority that is trusted",
		authorityHint,
	}, of(func(x509.UnknownAuthorityError) string { return "" })},
	{cause{
		"08006", protocol.Config, "the certificate of the server is for another host",
		`Set "host" to a name in the certificate's subject alternative names, or choose ssl_mode verify-ca, which does not ` +
			`compare names.`,
	}, of(func(e x509.HostnameError) string { return plainX509(e) })},
	{cause{
		"08006", protocol.Config, "the certificate of the server is not valid",
		"Renew the certificate on the server; if it is valid, look at the clock of the machine that runs this.",
	}, of(func(e x509.CertificateInvalidError) string { return plainX509(e) })},
	{cause{
		"08006", protocol.Config, "the certificate of the server cannot be verified", authorityHint,
	}, isUnverifiable},
	{cause{
		"08006", protocol.Config, "the server ended the encrypted connection",
		`If the server asks for a client certificate, check "ssl_mode.client_certificate" and "ssl_mode.client_key". ` +
			`TLS 1.2 or newer is needed.`,
	}, isAlert},
	{cause{
		"08006", protocol.Config, "no encrypted connection could be made",
		"The server must speak TLS 1.2 or newer on this port.",
	}, isHandshake},
	// Before the connection.
	{
		cause{"08001", protocol.Config, "the host name is not known", `Check "host" for a typing error.`},
		func(err error) (string, bool) {
			e, is := errors.AsType[*net.DNSError](err)
			return "", is && e.IsNotFound
		},
	},
	{
		cause{"08001", protocol.Transient, "the host name could not be looked up", "Look at the name server."},
		of(func(e *net.DNSError) string { return e.Err }),
	},
	{cause{
		"08001", protocol.Config, "the SSH server does not let connections through",
		"The SSH server must allow forwarding to the database's host and port: see AllowTcpForwarding and PermitOpen.",
	}, func(err error) (string, bool) {
		e, is := errors.AsType[*ssh.OpenChannelError](err)
		if !is || e.Reason != ssh.Prohibited {
			return "", false
		}
		return e.Message, true
	}},
	{cause{
		"08001", protocol.Transient, "the SSH server cannot connect to the database",
		`Check "host" and "port": they are used from the SSH server, where the name may mean something else.`,
	}, of(func(e *ssh.OpenChannelError) string { return e.Message })},
	{cause{
		"08001", protocol.Transient, "the connection was refused: nothing listens on that port", reachHint,
	}, as(syscall.ECONNREFUSED)},
	{
		cause{"08001", protocol.Transient, "there is no route to the host", reachHint},
		as(syscall.EHOSTUNREACH, syscall.ENETUNREACH),
	},
	{cause{
		"08001", protocol.Config, "there is no such socket, or it may not be opened",
		`Check "host" and "port": host is the directory of the socket.`,
	}, as(syscall.ENOENT, syscall.EACCES)},
	{cause{
		"08004", protocol.Config, "the server is not of the kind that is asked for",
		`Change "host", or targetServerType in "jdbc_url_params".`,
	}, func(err error) (string, bool) {
		_, is := as(pgconn.ErrStandbyConnection, pgconn.ErrPrimaryConnection)(err)
		return firstLine(unwrapAll(err)), is
	}},
	{
		cause{"08006", protocol.Transient, errTunnelLost.Error(), "Look at the SSH server, and the network to it."},
		as(errTunnelLost),
	},
	{cause{"08001", protocol.Transient, "the server did not answer in time", reachHint}, early(isTimeout)},
	{cause{"08006", protocol.Transient, "the server did not answer in time any more", serverHint}, isTimeout},
	{cause{
		"08006", protocol.Transient, "the server closed the connection before the login was done",
		"The log of the server says why: it may be restarting, or not accept the client certificate that was shown.",
	}, early(isLost)},
	{cause{"08006", protocol.Transient, "the connection to the server was lost", serverHint}, isLost},
	{cause{
		"08001", protocol.Config, "the server and the connector do not come to terms",
		`Check that "host" and "port" are those of a PostgreSQL server, and which way of logging in it demands.`,
	}, early(always)},
	{cause{"08000", protocol.System, "an error that the connector does not know", ""}, always},
}

// conditionOf is the first condition that err is.
func conditionOf(err error) cause {
	for _, c := range conditions {
		detail, is := c.is(err)
		if !is {
			continue
		}
		found := c.cause
		if detail != "" {
			found.what += ": " + detail
		}
		return found
	}
	return cause{kind: protocol.System}
}

// as tells errors that are one of targets.
func as(targets ...error) func(error) (string, bool) {
	return func(err error) (string, bool) {
		for _, target := range targets {
			if errors.Is(err, target) {
				return "", true
			}
		}
		return "", false
	}
}

// of tells errors of type T, of which detail says more.
func of[T error](detail func(T) string) func(error) (string, bool) {
	return func(err error) (string, bool) {
		e, is := errors.AsType[T](err)
		if !is {
			return "", false
		}
		return detail(e), true
	}
}

// early is for what failed before the login was done.
func early(is func(error) (string, bool)) func(error) (string, bool) {
	return func(err error) (string, bool) {
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); !connecting {
			return "", false
		}
		return is(err)
	}
}

func always(err error) (string, bool) { return firstLine(unwrapAll(err)), true }

// isUnverifiable tells what else crypto/x509 may have against a certificate.
func isUnverifiable(err error) (string, bool) {
	var (
		roots     x509.SystemRootsError
		weak      x509.InsecureAlgorithmError
		violated  x509.ConstraintViolationError
		unhandled x509.UnhandledCriticalExtension
	)
	is := errors.As(err, &roots) || errors.As(err, &weak) || errors.As(err, &violated) || errors.As(err, &unhandled)
	return plainX509(unwrapAll(err)), is
}

func isAlert(err error) (string, bool) {
	op, is := errors.AsType[*net.OpError](err)
	if !is || op.Op != "remote error" {
		return "", false
	}
	return op.Err.Error(), true
}

func isHandshake(err error) (string, bool) {
	failed, is := errors.AsType[*handshakeError](err)
	if !is || isNetwork(failed.err) {
		return "", false
	}
	return firstLine(failed), true
}

func isTimeout(err error) (string, bool) {
	_, is := as(context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT)(err)
	return "", is || pgconn.Timeout(err)
}

// Lost says whether err is the end of a connection, of which the server may have said nothing.
func Lost(err error) bool {
	_, lost := isLost(err)
	return lost
}

func isLost(err error) (string, bool) {
	return "", isNetwork(err) || errors.Is(err, pgconn.ErrConnClosed)
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
