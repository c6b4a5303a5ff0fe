package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// A peer stands for servers that misbehave, which a real one cannot be made to do. It counts connections.
type peer struct {
	listener net.Listener
	running  sync.WaitGroup
	mu       sync.Mutex
	accepted int
}

// newPeer serves each connection with serve, which gets the number of the connection, from 1.
func newPeer(t *testing.T, serve func(conn net.Conn, n int)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{listener: l}
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.accepted++
			n := p.accepted
			p.mu.Unlock()
			p.running.Go(func() {
				defer conn.Close()
				serve(conn, n)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.running.Wait()
	})
	return p
}

func (p *peer) port() uint16 { return uint16(p.listener.Addr().(*net.TCPAddr).Port) }

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *peer) config(mode config.TLSMode) *config.Config {
	return &config.Config{
		Hosts: []config.Host{{Name: "127.0.0.1", Port: p.port()}}, Database: "d", Username: "u",
		Password: "canary", TLS: config.TLS{Mode: mode}, Tunnel: config.Tunnel{Method: config.NoTunnel},
		Driver: config.Driver{ConnectTimeout: time.Minute, Silence: time.Minute, KeepAlive: true, ApplicationName: "test"},
	}
}

// answerTLS reads the request for TLS and answers it with answer.
func answerTLS(conn net.Conn, answer string) {
	_, _ = io.ReadFull(conn, make([]byte, 8))
	_, _ = io.WriteString(conn, answer)
}

// login reads the startup message, then sends messages, the second and later ones each after an answer of the client.
func login(conn net.Conn, messages ...pgproto3.BackendMessage) {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	for i, m := range messages {
		if i > 0 {
			if err := b.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
				return
			}
			if _, err := b.Receive(); err != nil {
				return
			}
		}
		b.Send(m)
		if b.Flush() != nil {
			return
		}
	}
}

func refusal(code string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "no"}
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func connectTo(t *testing.T, c *config.Config) error {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := s.Connect(t.Context())
	if err == nil {
		Close(conn)
	}
	return err
}

func TestFailedLoginIsNotRepeatedUnencrypted(t *testing.T) {
	server := selfSigned(t)
	for _, code := range []string{"28P01", "28000"} { // 28000 is also what a failed channel binding gives
		p := newPeer(t, func(conn net.Conn, _ int) {
			answerTLS(conn, "S")
			login(tls.Server(conn, server), &pgproto3.AuthenticationCleartextPassword{}, refusal(code))
		})
		expectProblem(t, connectTo(t, p.config(config.Prefer)), protocol.Config, "State code: "+code)
		if n := p.connections(); n != 1 {
			t.Errorf("%s: %d connections", code, n)
		}
	}
}

func TestOtherWayIsTriedWhenDeclined(t *testing.T) {
	server := selfSigned(t)
	welcome := func(conn net.Conn) {
		login(conn, &pgproto3.AuthenticationOk{})
		_, _ = conn.Write([]byte{'Z', 0, 0, 0, 5, 'I'})
		_, _ = io.Copy(io.Discard, conn)
	}
	for name, c := range map[string]struct {
		mode        config.TLSMode
		first       func(conn net.Conn)
		second      func(conn net.Conn)
		connections int
	}{
		"prefer, no entry for TLS": {config.Prefer, func(conn net.Conn) {
			answerTLS(conn, "S")
			login(tls.Server(conn, server), refusal("28000"))
		}, welcome, 2},
		"prefer, handshake fails": {config.Prefer, func(conn net.Conn) {
			answerTLS(conn, "S")
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_, _ = io.Copy(io.Discard, conn)
		}, welcome, 2},
		"prefer, no TLS": {config.Prefer, func(conn net.Conn) {
			answerTLS(conn, "N")
			welcome(conn)
		}, welcome, 1},
		"allow, no entry without TLS": {
			config.Allow, func(conn net.Conn) { login(conn, refusal("28000")) },
			func(conn net.Conn) {
				answerTLS(conn, "S")
				welcome(tls.Server(conn, server))
			}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(conn net.Conn, n int) {
				if n == 1 {
					c.first(conn)
				} else {
					c.second(conn)
				}
			})
			if err := connectTo(t, p.config(c.mode)); err != nil || p.connections() != c.connections {
				t.Errorf("%v, %d connections", err, p.connections())
			}
		})
	}
}

func TestEncryptedModesNeverGoOnUnencrypted(t *testing.T) {
	for answer, want := range map[string]string{
		"N":                          "State code: 08004; Message: The server does not support SSL.",
		"X":                          "State code: 08006",
		"SE\x00\x00\x00\x08\x00\x00": "State code: 08006", // bytes of a third party behind the answer
	} {
		for _, mode := range []config.TLSMode{config.Require, config.VerifyCA, config.VerifyFull} {
			p := newPeer(t, func(conn net.Conn, _ int) {
				answerTLS(conn, answer)
				_, _ = io.Copy(io.Discard, conn)
			})
			expectProblem(t, connectTo(t, p.config(mode)), protocol.Config, want)
			if n := p.connections(); n != 1 {
				t.Errorf("%q, %s: %d connections", answer, mode, n)
			}
		}
	}
}

func TestUnverifiedServerGetsNoPassword(t *testing.T) {
	server := selfSigned(t)
	for _, mode := range []config.TLSMode{config.VerifyCA, config.VerifyFull} {
		var got []byte
		p := newPeer(t, func(conn net.Conn, _ int) {
			answerTLS(conn, "S")
			secured := tls.Server(conn, server)
			got, _ = io.ReadAll(secured)
		})
		expectProblem(t, connectTo(t, p.config(mode)), protocol.Config, "the certificate of the server")
		p.listener.Close()
		p.running.Wait()
		if len(got) > 0 {
			t.Errorf("%s: the server received %q", mode, got)
		}
	}
}

func TestCancelledConnectEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := newPeer(t, func(conn net.Conn, _ int) {
		_, _ = io.ReadFull(conn, make([]byte, 8)) // and never an answer
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	s, err := Open(ctx, p.config(config.Require))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// environment is everything that pgconn would listen to.
var environment = []string{
	"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME",
	"PGCONNECT_TIMEOUT", "PGSSLMODE", "PGSSLKEY", "PGSSLCERT", "PGSSLCERTMODE", "PGSSLSNI", "PGSSLROOTCERT",
	"PGSSLPASSWORD", "PGSSLNEGOTIATION", "PGTARGETSESSIONATTRS", "PGSERVICE", "PGSERVICEFILE", "PGTZ", "PGOPTIONS",
	"PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGREQUIREAUTH",
}

func TestSurroundingsHaveNoSay(t *testing.T) {
	driver := func() map[string]any {
		b, err := newBlank()
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{base: b, config: &config.Config{
			Database: "d", Username: "u",
			Driver: config.Driver{ApplicationName: "a", ConnectTimeout: time.Second},
		}}
		s.complete()
		values := map[string]any{} // functions cannot be compared
		v := reflect.ValueOf(*b)
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Type.Kind() != reflect.Func {
				values[f.Name] = v.Field(i).Interface()
			} else if f.IsExported() {
				values[f.Name] = v.Field(i).IsNil()
			}
		}
		return values
	}
	t.Setenv("HOME", t.TempDir())
	for _, name := range environment {
		t.Setenv(name, "") // so that it is put back at the end
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	clean := driver()
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".postgresql"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		".pgpass", ".pg_service.conf", ".postgresql/postgresql.crt",
		".postgresql/postgresql.key", ".postgresql/root.crt",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte("*:*:*:*:canary\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range environment {
		t.Setenv(name, "canary")
	}
	if got := driver(); !reflect.DeepEqual(got, clean) {
		t.Errorf("with an environment  %v\nwithout one          %v", got, clean)
	}
	if clean["Password"] != "" || clean["User"] != "u" || len(clean) < 15 {
		t.Errorf("the driver's settings: %v", clean)
	}
	if os.Getenv("PGSERVICE") != "canary" {
		t.Error("PGSERVICE was not put back")
	}
}
