package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// errRefused is the server's answer N to the request for TLS.
var errRefused = errors.New("the server does not support TLS")

// A handshakeError says that the server offered TLS and the two did not come to terms.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// tlsConfig is what t means for connections to host; nil for mode disable. Errors are *protocol.Error.
func tlsConfig(t config.TLS, host string) (*tls.Config, error) {
	if t.Mode == config.Disable {
		return nil, nil
	}
	// crypto/tls would verify chain and name together, and the name by other rules than libpq: verify does it.
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: true}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, &protocol.Error{
				Kind:    protocol.Config,
				Message: `Setting "ssl_mode.ca_certificate" holds no certificate that can be read.`,
				Hint:    "Paste the whole PEM text, with its BEGIN and END lines.",
			}
		}
	}
	// As in libpq, require with a certificate authority at hand is verify-ca.
	if t.Mode == config.VerifyCA || t.Mode == config.VerifyFull || t.Mode == config.Require && t.CA != "" {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if err := verifyChain(s.PeerCertificates, c.RootCAs); err != nil || t.Mode != config.VerifyFull {
				return err
			}
			return verifyName(s.PeerCertificates[0], host)
		}
	}
	if t.Certificate == "" {
		return c, nil
	}
	pair, err := keyPair(t)
	if err != nil {
		return nil, err
	}
	// The certificate is sent whatever authorities the server names, as libpq does: the server then says what it minds.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	return c, nil
}

// verifyChain checks that chain leads to one of roots (nil: the system's); it leaves the host name aside.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool) error {
	if len(chain) == 0 {
		return errors.New("the server sent no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// verifyName checks that a certificate is for host, by libpq's rules: a name of any kind in the subject alternative
// names will do, and the common name where there is none of the kind that host is of. PostgreSQL's own documentation
// shows how to make certificates with a common name only.
func verifyName(c *x509.Certificate, host string) error {
	host = strings.TrimSuffix(host, ".")
	address := net.ParseIP(host)
	if slices.ContainsFunc(c.DNSNames, func(name string) bool { return sameName(name, host) }) ||
		slices.ContainsFunc(c.IPAddresses, func(other net.IP) bool { return other.Equal(address) }) {
		return nil
	}
	none := len(c.DNSNames) == 0
	if address != nil {
		none = len(c.IPAddresses) == 0
	}
	if none && sameName(c.Subject.CommonName, host) {
		return nil
	}
	return x509.HostnameError{Certificate: c, Host: host}
}

// sameName compares a name in a certificate with host: *. at its beginning stands for one label.
func sameName(name, host string) bool {
	if strings.EqualFold(name, host) {
		return name != ""
	}
	domain, wild := strings.CutPrefix(name, "*.")
	_, rest, dotted := strings.Cut(host, ".")
	return wild && dotted && domain != "" && net.ParseIP(host) == nil && strings.EqualFold(domain, rest)
}

// dialer connects to the server's port and sees to encryption itself, so that pgconn gets a connection that is ready.
// Like this a refusal of TLS, a failed handshake and a failed login can be told apart, and prefer goes on unencrypted
// on the same connection, as libpq does.
func (s *Server) dialer(w way, h *host) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.dial(ctx, network, address)
		if err != nil || w == plaintext || network == "unix" {
			return conn, err
		}
		secured, err := encrypt(ctx, conn, h.tls, w)
		if err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
}

func (s *Server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.tunnel != nil {
		return s.tunnel.dial(ctx, network, address)
	}
	d := net.Dialer{KeepAlive: -1}
	if network == "tcp" {
		setLiveness(&d, s.config.Driver)
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newInflow(conn), nil
}

// setLiveness makes the operating system notice a dead peer: probes while nothing is sent, TCP_USER_TIMEOUT (where
// there is one) while sent data is not acknowledged. Without the latter a status update to a dead server is retried
// for a quarter of an hour.
func setLiveness(d *net.Dialer, c config.Driver) {
	if !c.KeepAlive || c.Silence == 0 {
		return
	}
	const probes = 3
	idle := max(c.Silence/2, time.Second)
	d.KeepAlive = 0
	d.KeepAliveConfig = net.KeepAliveConfig{
		Enable: true, Idle: idle, Interval: max((c.Silence-idle)/probes, time.Second), Count: probes,
	}
	d.Control = func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { setUserTimeout(fd, c.Silence) })
	}
}

// encrypt asks the server for TLS on conn (PostgreSQL's frontend/backend protocol, SSLRequest) and shakes hands.
// Exactly one byte is read in between: whatever somebody else may have put behind it reaches the handshake, which
// fails of it.
func encrypt(ctx context.Context, conn net.Conn, c *tls.Config, w way) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// Int32 length 8, Int32 code 80877103.
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		return nil, err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	switch {
	case answer[0] == 'N' && w == optional:
		return conn, nil
	case answer[0] == 'N':
		return nil, errRefused
	case answer[0] != 'S':
		return nil, &handshakeError{errors.New("the answer to the request for TLS is not PostgreSQL's")}
	}
	secured := tls.Client(conn, c)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, &handshakeError{err}
	}
	return secured, nil
}

// isNetwork says whether err is about the connection and not about what was said on it.
func isNetwork(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op != "remote error" && op.Op != "local error" // these two are TLS alerts
	}
	for _, target := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded,
		context.DeadlineExceeded, context.Canceled, syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
