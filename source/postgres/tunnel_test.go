package postgres

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// An sshServer forwards connections for the user "tunnel" with the password "canary", and refuses those to port 1.
func sshServer(t *testing.T) (*peer, ssh.PublicKey) {
	t.Helper()
	signer := hostKey(t)
	c := &ssh.ServerConfig{PasswordCallback: func(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if m.User() != "tunnel" || string(password) != "canary" {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	c.AddHostKey(signer)
	p := newPeer(t, func(conn net.Conn, _ int) {
		_, channels, requests, err := ssh.NewServerConn(conn, c)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for open := range channels {
			forward(open)
		}
	})
	return p, signer.PublicKey()
}

func hostKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func forward(open ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(open.ExtraData(), &to); err != nil || to.Port == 1 {
		_ = open.Reject(ssh.Prohibited, "not to there")
		return
	}
	target, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = open.Reject(ssh.ConnectionFailed, "nobody there")
		return
	}
	channel, requests, err := open.Accept()
	if err != nil {
		target.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	go func() {
		_, _ = io.Copy(channel, target)
		_ = channel.Close()
	}()
	go func() {
		_, _ = io.Copy(target, channel)
		target.Close()
	}()
}

// An SSH server that has died without a word is noticed, and so is that there is no tunnel any more.
func TestDeadTunnel(t *testing.T) {
	signer := hostKey(t)
	c := &ssh.ServerConfig{NoClientAuth: true}
	c.AddHostKey(signer)
	p := newPeer(t, func(conn net.Conn, _ int) {
		_, _, requests, err := ssh.NewServerConn(conn, c)
		if err != nil {
			return
		}
		for range requests { // and never an answer
		}
	})
	tun, err := openTunnel(t.Context(), tunnelTo(p, ""), config.Driver{ConnectTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer tun.close()
	tun.watch(10 * time.Millisecond)
	_, err = tun.dial(t.Context(), "tcp", "127.0.0.1:1")
	if !errors.Is(err, errTunnelLost) {
		t.Errorf("got %v", err)
	}
	expectProblem(t, Explain(err, "connect"), protocol.Transient, "State code: 08006", "the SSH connection was lost")
}

func tunnelTo(p *peer, hostKey string) config.Tunnel {
	return config.Tunnel{
		Method: config.TunnelPassword, Host: "127.0.0.1", User: "tunnel", Password: "canary",
		Port: uint16(p.listener.Addr().(*net.TCPAddr).Port), HostKey: hostKey,
	}
}

func TestTunnelHostKey(t *testing.T) {
	p, key := sshServer(t)
	_, other := sshServer(t)
	line := string(ssh.MarshalAuthorizedKey(key))
	for name, setting := range map[string]string{
		"none": "", "public key": line, "known_hosts": knownhosts.Line([]string{"elsewhere"}, key),
		"hashed": knownhosts.HashHostname("h") + " " + line, "fingerprint": ssh.FingerprintSHA256(key),
		"several": "# comment\n" + string(ssh.MarshalAuthorizedKey(other)) + "\n" + ssh.FingerprintSHA256(key),
	} {
		tun, err := openTunnel(t.Context(), tunnelTo(p, setting), config.Driver{ConnectTimeout: time.Minute})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tun.close()
	}
	for name, setting := range map[string]string{
		"other key": string(ssh.MarshalAuthorizedKey(other)), "other fingerprint": ssh.FingerprintSHA256(other),
		"nonsense": "canary", "authority": "@cert-authority * " + line,
	} {
		_, err := openTunnel(t.Context(), tunnelTo(p, setting), config.Driver{ConnectTimeout: time.Minute})
		t.Run(name, func(t *testing.T) { expectProblem(t, err, protocol.Config, "ssh_host_key") })
	}
}

func TestTunnelFailures(t *testing.T) {
	p, _ := sshServer(t)
	wrong := tunnelTo(p, "")
	wrong.User = "nobody"
	_, err := openTunnel(t.Context(), wrong, config.Driver{ConnectTimeout: time.Minute})
	expectProblem(t, err, protocol.Config, "refused the login", "tunnel_user")

	web := newPeer(t, func(conn net.Conn, _ int) { _, _ = io.WriteString(conn, strings.Repeat("HTTP/1.1 400\r\n", 2000)) })
	_, err = openTunnel(t.Context(), tunnelTo(web, ""), config.Driver{ConnectTimeout: time.Minute})
	expectProblem(t, err, protocol.Config, "No SSH connection")

	web.listener.Close()
	_, err = openTunnel(t.Context(), tunnelTo(web, ""), config.Driver{ConnectTimeout: time.Minute})
	expectProblem(t, err, protocol.Transient, "cannot be reached")

	silent := newPeer(t, func(conn net.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) })
	_, err = openTunnel(t.Context(), tunnelTo(silent, ""), config.Driver{ConnectTimeout: 50 * time.Millisecond})
	expectProblem(t, err, protocol.Transient, "did not answer in time")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = openTunnel(ctx, tunnelTo(p, ""), config.Driver{ConnectTimeout: time.Minute})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTunnelDatabaseFailures(t *testing.T) {
	p, _ := sshServer(t)
	c := p.config(config.Disable)
	c.Tunnel = tunnelTo(p, "")
	c.Hosts[0].Port = 1
	expectProblem(t, connectTo(t, c), protocol.Config, "AllowTcpForwarding")
	gone := newPeer(t, func(net.Conn, int) {})
	gone.listener.Close()
	c.Hosts[0].Port = gone.port()
	expectProblem(t, connectTo(t, c), protocol.Transient, "State code: 08001", "through the SSH tunnel")
}

// A connection through the tunnel obeys deadlines, can be used after one, and ends with the tunnel.
func TestTunnelConnection(t *testing.T) {
	echo := newPeer(t, func(conn net.Conn, _ int) { _, _ = io.Copy(conn, conn) })
	p, _ := sshServer(t)
	tun, err := openTunnel(t.Context(), tunnelTo(p, ""), config.Driver{ConnectTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 2 {
		conn, err := tun.dial(t.Context(), "tcp", echo.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	buf := make([]byte, 5)
	if err := conns[0].SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[0].Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	if err := conns[0].SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conns[0], "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conns[0], buf); err != nil || string(buf) != "hello" {
		t.Errorf("got %q, %v", buf, err)
	}
	conns[0].Close()
	tun.close()
	if n, err := conns[1].Read(buf); err == nil {
		t.Errorf("read %d bytes through a closed tunnel", n)
	}
	if _, err := tun.client.DialContext(t.Context(), "tcp", "127.0.0.1:9"); err == nil {
		t.Error("the tunnel is still open")
	}
}
