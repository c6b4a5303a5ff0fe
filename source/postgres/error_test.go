package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
)

// expectProblem: err is one *protocol.Error of this kind, its text holds every part, and nowhere in it is a canary.
func expectProblem(t *testing.T, err error, kind protocol.FailureType, parts ...string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("got %#v, want a %s", err, kind)
		return
	}
	for _, part := range parts {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%q does not contain %q", e.Error(), part)
		}
	}
	for cause := error(e); cause != nil; cause = errors.Unwrap(cause) {
		if strings.Contains(cause.Error(), "canary") {
			t.Errorf("a secret is shown: %s", cause)
		}
	}
}

func TestExplainServerErrors(t *testing.T) {
	for code, want := range map[string]protocol.FailureType{
		"28P01": protocol.Config, "28000": protocol.Config, "3D000": protocol.Config, "42501": protocol.Config,
		"42704": protocol.Config, "55000": protocol.Config, "55006": protocol.Transient, "53400": protocol.Config,
		"53300": protocol.Transient, "57P01": protocol.Transient, "57P02": protocol.Transient, "57P03": protocol.Transient,
		"57P05": protocol.Transient, "08006": protocol.Transient, "25P03": protocol.Transient, "25006": protocol.Transient,
		"40001": protocol.Transient, "40P01": protocol.Transient, "57014": protocol.Transient, "58P01": protocol.Config,
		"XX000": protocol.Transient, "0A000": protocol.Config, "22021": protocol.Config, "53100": protocol.Transient,
		"53200": protocol.Transient, "42601": protocol.System, "99999": protocol.System, "": protocol.System,
	} {
		said := &pgconn.PgError{Severity: "ERROR", Code: code, Message: "words", Detail: "canary"}
		err := Explain(fmt.Errorf("read x: %w", said), "read public.orders")
		expectProblem(t, err, want, "Cannot read public.orders. State code: "+code+"; Message: words.")
		if !errors.Is(err, said) {
			t.Errorf("%s: the cause is lost", code)
		}
	}
}

func TestExplainConditions(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		kind protocol.FailureType
		want string
	}{
		"unknown host": {&net.DNSError{Err: "no such host", IsNotFound: true}, protocol.Config, "08001"},
		"name service": {&net.DNSError{Err: "server misbehaving", IsTemporary: true}, protocol.Transient, "08001"},
		"refused":      {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, protocol.Transient, "08001"},
		"no TLS":       {errRefused, protocol.Config, "State code: 08004; Message: The server does not support SSL."},
		"authority":    {&handshakeError{x509.UnknownAuthorityError{}}, protocol.Config, "ssl_mode.ca_certificate"},
		"name":         {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}, protocol.Config, "verify-ca"},
		"alert":        {&net.OpError{Op: "remote error", Err: errors.New("tls: x")}, protocol.Config, "client certificate"},
		"reset":        {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, protocol.Transient, "08006"},
		"end":          {io.ErrUnexpectedEOF, protocol.Transient, "08006"},
		"timeout":      {context.DeadlineExceeded, protocol.Transient, "in time"},
		"tunnel":       {fmt.Errorf("%w: %w", errTunnelLost, io.EOF), protocol.Transient, "SSH"},
		"closed":       {pgconn.ErrConnClosed, protocol.Transient, "lost"},
		"else":         {errors.New("something"), protocol.System, "something"},
	} {
		err := Explain(fmt.Errorf("connect: %w", c.err), "connect")
		t.Run(name, func(t *testing.T) { expectProblem(t, err, c.kind, "Cannot connect.", c.want) })
	}
}

func TestExplainLeavesAlone(t *testing.T) {
	if err := Explain(nil, "x"); err != nil {
		t.Error(err)
	}
	known := &protocol.Error{Kind: protocol.Config, Message: "known"}
	for _, err := range []error{known, fmt.Errorf("x: %w", known), context.Canceled} {
		if got := Explain(err, "x"); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestExplainReplication(t *testing.T) {
	for code, want := range map[string]string{"08P01": "pooler", "42501": "REPLICATION", "28000": "pg_hba.conf"} {
		err := explainReplication(&pgconn.PgError{Code: code, Message: "words"}, "replicate")
		expectProblem(t, err, protocol.Config, "State code: "+code, want)
	}
	expectProblem(t, explainReplication(&pgconn.PgError{Code: "28P01", Message: "w"}, "x"), protocol.Config, "password")
	expectProblem(t, explainReplication(io.EOF, "x"), protocol.Transient, "08006")
}
