package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"source-postgres/source/config"
)

// A host is one of the places where the server may be.
type host struct {
	config.Host
	tls *tls.Config // nil: never encrypted
}

// address names the database at h for messages.
func (s *Server) address(h *host) string {
	if h.Name != "" && h.Name[0] == '/' {
		return "the database at " + h.Name
	}
	at := "the database at " + net.JoinHostPort(h.Name, strconv.Itoa(int(h.Port)))
	if s.tunnel != nil {
		at += " through the SSH tunnel"
	}
	return at
}

// open connects to the chosen host or, before there is one, to the first that can be reached and is of the kind that is
// asked for, which is then chosen: connections to different servers could not share a snapshot. A server that refuses
// the login ends the search, as in libpq. The error, made by explain, tells of every host that was tried.
func (s *Server) open(
	ctx context.Context, c *pgconn.Config, doing string, explain func(error, string) error,
) (*pgconn.PgConn, error) {
	hosts := s.hosts
	if h := s.chosen.Load(); h != nil {
		hosts = []*host{h}
	}
	var problems []error
	for _, kind := range s.kinds() {
		problems = nil
		c.ValidateConnect = kind
		for _, h := range hosts {
			conn, err := s.connect(ctx, c, h)
			if err == nil {
				s.chosen.CompareAndSwap(nil, h)
				return conn, nil
			}
			problems = append(problems, s.explainConnect(err, doing+s.address(h), explain))
			if _, said := errors.AsType[*pgconn.PgError](err); ctx.Err() != nil || said && !hasCode(err, "57P03") {
				return nil, errors.Join(problems...)
			}
		}
	}
	if len(problems) == 1 {
		return nil, problems[0]
	}
	return nil, errors.Join(problems...)
}

// kinds are the checks of a server's kind, each to be tried on all hosts before the next.
func (s *Server) kinds() []pgconn.ValidateConnectFunc {
	primary, standby := pgconn.ValidateConnectTargetSessionAttrsPrimary, pgconn.ValidateConnectTargetSessionAttrsStandby
	switch s.config.Driver.Target {
	case config.Primary:
		return []pgconn.ValidateConnectFunc{primary}
	case config.Standby:
		return []pgconn.ValidateConnectFunc{standby}
	case config.PreferPrimary:
		return []pgconn.ValidateConnectFunc{primary, nil}
	case config.PreferStandby:
		return []pgconn.ValidateConnectFunc{standby, nil}
	}
	return []pgconn.ValidateConnectFunc{nil}
}

// connect tries the ways that the TLS mode allows, one after the other. The next is tried only when the server
// declined this one before it was sent any credential: a wrong password must not go out once more unencrypted.
func (s *Server) connect(ctx context.Context, c *pgconn.Config, h *host) (*pgconn.PgConn, error) {
	var first error
	c.Host, c.Port = h.Name, h.Port
	ways := s.ways()
	for i, way := range ways {
		sent := false
		var ahead *readAhead
		c.DialFunc = s.dialer(way, h)
		c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
			ahead = &readAhead{r: r}
			return pgproto3.NewFrontend(ahead, &passwordWatch{w: w, sent: &sent})
		}
		conn, err := pgconn.ConnectConfig(ctx, c)
		if err == nil {
			conn.CustomData()[aheadKey] = ahead
			s.warnPlain(ctx, conn)
			return conn, nil
		}
		if i > 0 && (errors.Is(err, errRefused) || way == plaintext && hasCode(err, "28000")) {
			return nil, first // the second way was closed as well: the first says more
		}
		if i+1 == len(ways) || sent || !s.declined(err) {
			return nil, err
		}
		first = err
	}
	return nil, first
}
