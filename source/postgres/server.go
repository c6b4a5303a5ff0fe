package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// A Server is where connections to the database of one configuration come from. Goroutines may share it.
type Server struct {
	config   *config.Config
	base     *pgconn.Config // a copy of it makes each connection
	hosts    []*host        // to be tried in this order
	tunnel   *tunnel        // nil: no SSH tunnel
	settings []config.Setting
	plain    sync.Once            // warns that prefer or allow ended without encryption
	chosen   atomic.Pointer[host] // that of the first connection: all others go there too
}

// Open prepares connections as c says: it reads certificates and keys and, with a tunnel, logs in to the SSH server.
// The database itself is not contacted. Errors are *protocol.Error. Close the Server in the end.
func Open(ctx context.Context, c *config.Config) (*Server, error) {
	base, err := blank()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, base: base.Copy()}
	for _, h := range c.Hosts {
		secured, err := tlsConfig(c.TLS, h.Name)
		if err != nil {
			return nil, err
		}
		s.hosts = append(s.hosts, &host{Host: h, tls: secured})
	}
	for _, setting := range c.Driver.Settings {
		if isShape(setting.Name) {
			slog.WarnContext(ctx, "A setting in jdbc_url_params is ignored: the connector needs its own value.",
				"setting", setting.Name)
			continue
		}
		s.settings = append(s.settings, setting)
	}
	if c.Tunnel.Method != config.NoTunnel {
		if s.tunnel, err = openTunnel(ctx, c.Tunnel, c.Driver); err != nil {
			return nil, err
		}
	}
	s.complete()
	return s, nil
}

// complete fills in what all connections share.
func (s *Server) complete() {
	c, b := s.config, s.base
	b.Database, b.User, b.Password = c.Database, c.Username, c.Password
	b.ConnectTimeout = c.Driver.ConnectTimeout
	b.LookupFunc = net.DefaultResolver.LookupHost
	if s.tunnel != nil { // the name is the SSH server's to resolve
		b.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	}
	// client_encoding and application_name are among the few that poolers take from a client at startup.
	b.RuntimeParams = map[string]string{"application_name": c.Driver.ApplicationName, "client_encoding": "UTF8"}
	if c.Driver.Options != "" {
		b.RuntimeParams["options"] = c.Driver.Options
	}
	// The server builds a message in a buffer of at most 1 GB; a longer one is not PostgreSQL's.
	b.MaxProtocolMessageBodyLen = 1 << 30
}

// Close ends the tunnel, if there is one, and with it the connections through it. Connections without a tunnel are
// closed by those who opened them.
func (s *Server) Close() {
	if s.tunnel != nil {
		s.tunnel.close()
	}
}

// Connect opens a connection for queries; the caller closes it. Values come in the expected form only between Begin and
// Commit or Rollback; outside, only UTF-8 is asked for. The error is made as by Explain.
func (s *Server) Connect(ctx context.Context) (*pgconn.PgConn, error) {
	return s.open(ctx, s.base.Copy(), "connect to ", Explain)
}

// Replicate opens a connection for replication commands, with the session's settings pinned for its whole life; the
// caller closes it. The error is made as by Explain.
func (s *Server) Replicate(ctx context.Context) (*pgconn.PgConn, error) {
	c := s.base.Copy()
	c.RuntimeParams["replication"] = "database"
	conn, err := s.open(ctx, c, "open a replication connection to ", explainReplication)
	if err != nil {
		return nil, err
	}
	if err := s.pin(ctx, conn); err != nil {
		Close(conn)
		return nil, s.explainConnect(err, "open a replication connection to "+s.address(s.chosen.Load()), explainReplication)
	}
	gather(conn.Conn())
	return conn, nil
}

// explainConnect words a failure to connect: as explain does, but for a database that may not be entered and for what
// the user's own options cause.
func (s *Server) explainConnect(err error, doing string, explain func(error, string) error) error {
	var said *pgconn.PgError
	if errors.As(err, &said) && said.Code == "42501" && strings.Contains(said.Detail, "CONNECT") {
		return &protocol.Error{
			Kind: protocol.Config, Err: err,
			Message: fmt.Sprintf("Cannot %s. State code: %s; Message: %s.", doing, said.Code, said.Message),
			Hint: fmt.Sprintf("Let the user in, with the CONNECT privilege: GRANT CONNECT ON DATABASE %s TO %s;",
				Quote(s.config.Database), Quote(s.config.Username)),
		}
	}
	if s.config.Driver.Options == "" && len(s.settings) == 0 || !errors.As(err, &said) {
		return explain(err, doing)
	}
	switch said.Code {
	case "42601", "42704", "22023": // syntax, unknown setting, bad value
		return &protocol.Error{
			Kind: protocol.Config, Err: err, Hint: `Change options in "jdbc_url_params".`,
			Message: fmt.Sprintf("Cannot %s. State code: %s; Message: %s.", doing, said.Code, said.Message),
		}
	}
	return explain(err, doing)
}

// A way is how an attempt to connect treats encryption.
type way int

const (
	plaintext way = iota
	optional      // encrypted, or on the same connection plain where the server offers no TLS
	encrypted
)

func (s *Server) ways() []way {
	switch s.config.TLS.Mode {
	case config.Disable:
		return []way{plaintext}
	case config.Allow:
		return []way{plaintext, encrypted}
	case config.Prefer:
		return []way{optional, plaintext}
	}
	return []way{encrypted}
}

// declined says whether err is the server's no to this way of connecting, so that another may do: pg_hba.conf has no
// entry for it, or the two do not agree on TLS. A failed handshake counts only without a client certificate, which it
// may be about.
func (s *Server) declined(err error) bool {
	var failed *handshakeError
	if errors.As(err, &failed) {
		return !isNetwork(failed.err) && s.config.TLS.Certificate == ""
	}
	return hasCode(err, "28000")
}

// warnPlain says once that a mode which would have liked to encrypt did not.
func (s *Server) warnPlain(ctx context.Context, conn *pgconn.PgConn) {
	_, isTLS := conn.Conn().(*tls.Conn)
	local := conn.Conn().RemoteAddr().Network() == "unix"
	if isTLS || local || s.config.TLS.Mode != config.Prefer {
		return
	}
	s.plain.Do(func() {
		slog.WarnContext(ctx, "Connections to the database are not encrypted: the server does not offer TLS to this "+
			"user. Turn it on there and choose ssl_mode require, or choose disable if this is intended.")
	})
}

// passwordWatch notes whether a message with a credential was written: 'p' is the type of all of them.
type passwordWatch struct {
	w    io.Writer
	sent *bool
}

func (p *passwordWatch) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == 'p' {
		*p.sent = true
	}
	return p.w.Write(b)
}

// blank is a pgconn.Config that owes nothing to the process's surroundings. pgconn accepts only what its ParseConfig
// made, which reads the environment and the home directory. Every key that could matter is given here, and a socket
// directory as host keeps it from reading certificates; only PGSERVICE cannot be overruled by a key, so it is taken
// away meanwhile.
var blank = sync.OnceValues(newBlank)

func newBlank() (*pgconn.Config, error) {
	if service, set := os.LookupEnv("PGSERVICE"); set {
		// Neither fails for a name and a value that the environment held already.
		_ = os.Unsetenv("PGSERVICE")
		defer func() { _ = os.Setenv("PGSERVICE", service) }()
	}
	c, err := pgconn.ParseConfig("host=/nowhere port=5432 user=nobody password=none dbname=none connect_timeout=0 " +
		"sslmode=disable sslcertmode=allow sslnegotiation=postgres target_session_attrs=any passfile='' " +
		"min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=prefer require_auth=''")
	if err != nil {
		return nil, &protocol.Error{
			Kind: protocol.System, Message: "The database driver could not be prepared.",
			Err: fmt.Errorf("prepare driver: %w", err),
		}
	}
	c.Fallbacks, c.TLSConfig, c.SSLNegotiation = nil, nil, ""
	c.KerberosSrvName, c.KerberosSpn = "", ""
	return c, nil
}
