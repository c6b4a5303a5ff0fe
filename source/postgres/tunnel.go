package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

// A tunnel is one SSH connection through which every connection to the database goes. No port is opened on this
// machine.
type tunnel struct {
	client  *ssh.Client
	done    chan struct{}  // closed by close
	running sync.WaitGroup // all goroutines of the tunnel and of the connections through it
}

const (
	// tunnelTimeout bounds connecting and logging in to the SSH server.
	tunnelTimeout = 30 * time.Second
	// tunnelPulse is how often the SSH server is asked whether it lives, and how long it may take to answer, unless
	// socketTimeout is less than both together.
	tunnelPulse = 20 * time.Second
)

// openTunnel logs in to the SSH server; errors are *protocol.Error.
func openTunnel(ctx context.Context, t config.Tunnel, driver config.Driver) (*tunnel, error) {
	login, algorithms, err := sshLogin(t)
	if err != nil {
		return nil, err
	}
	timeout, pulse := driver.ConnectTimeout, tunnelPulse
	if timeout <= 0 || timeout > tunnelTimeout {
		timeout = tunnelTimeout
	}
	if driver.Silence > 0 {
		pulse = min(pulse, max(driver.Silence/2, time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var first error
	for _, login.HostKeyAlgorithms = range algorithms {
		tun, err := enterTunnel(ctx, t, *login, pulse)
		if err == nil {
			return tun, nil
		}
		if first == nil {
			first = err
		}
		if _, other := errors.AsType[*otherKeyError](first); !other {
			break // another kind of key would change nothing
		}
	}
	if other, is := errors.AsType[*otherKeyError](first); is {
		return nil, &other.problem
	}
	return nil, first
}

// enterTunnel tries once.
func enterTunnel(
	ctx context.Context, t config.Tunnel, login ssh.ClientConfig, pulse time.Duration,
) (*tunnel, error) {
	address := net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
	verified := false
	check := login.HostKeyCallback
	login.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := check(host, remote, key)
		verified = err == nil
		return err
	}
	d := net.Dialer{}
	setLiveness(&d, config.Driver{KeepAlive: true, Silence: 2 * pulse})
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, tunnelUnreachable(ctx, address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	c, channels, requests, err := ssh.NewClientConn(conn, address, &login)
	if !stop() && err == nil {
		_ = c.Close()
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, tunnelRefused(ctx, address, err, verified)
	}
	tun := &tunnel{client: ssh.NewClient(c, channels, requests), done: make(chan struct{})}
	tun.running.Go(func() { tun.watch(pulse) })
	return tun, nil
}

// watch asks the SSH server at intervals for a sign of life and closes the tunnel when none comes: a connection
// through it would otherwise wait for ever. Any answer will do, a refusal too.
func (t *tunnel) watch(pulse time.Duration) {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-tick.C:
		}
		dead := time.AfterFunc(pulse, func() { _ = t.client.Close() })
		_, _, err := t.client.SendRequest("keepalive@openssh.com", true, nil)
		dead.Stop()
		if err != nil {
			return
		}
	}
}

// close ends the tunnel and every connection through it, and waits until nothing runs for it any more. It must not be
// called together with dial.
func (t *tunnel) close() {
	close(t.done)
	_ = t.client.Close()
	t.running.Wait()
}

// dial opens a connection from the SSH server to address.
func (t *tunnel) dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := t.client.DialContext(ctx, network, address)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return t.withDeadlines(inner), nil
	case errors.As(err, &refused) || ctx.Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", errTunnelLost, err)
}

// A deadlineConn gives deadlines to a connection that has none, as those of an SSH client: without them a cancelled
// context has no effect. The user holds one end of a pipe, which knows deadlines; goroutines carry bytes between its
// other end and the connection.
type deadlineConn struct {
	net.Conn          // the user's end of the pipe
	remote   net.Addr // of the connection
	end      func()   // lets the goroutines go; may be called again
}

// withDeadlines takes inner over. An end in either direction ends both: PostgreSQL has no use for half a connection.
func (t *tunnel) withDeadlines(inner net.Conn) net.Conn {
	near, far := net.Pipe()
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	carry := func(to io.Writer, from io.Reader) {
		defer end()
		_, _ = io.Copy(to, from) // its error is the end of the connection, which the user sees as such
	}
	t.running.Go(func() { carry(far, inner) })
	t.running.Go(func() { carry(inner, far) })
	t.running.Go(func() {
		select {
		case <-ended:
		case <-t.done:
		}
		far.Close()
		inner.Close()
	})
	return &deadlineConn{Conn: near, remote: inner.RemoteAddr(), end: end}
}

// Close closes both. It does not wait for the SSH server, which may have died.
func (c *deadlineConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// RemoteAddr is the database's address as the SSH server sees it.
func (c *deadlineConn) RemoteAddr() net.Addr { return c.remote }

// sshLogin is how to log in to the SSH server of t, and lists of the algorithms of its key, to be tried in order.
func sshLogin(t config.Tunnel) (*ssh.ClientConfig, [][]string, error) {
	check, algorithms, err := hostKeyCheck(t.HostKey)
	if err != nil {
		return nil, nil, err
	}
	login := &ssh.ClientConfig{User: t.User, HostKeyCallback: check}
	if t.Method == config.TunnelPassword {
		login.Auth = []ssh.AuthMethod{ssh.Password(t.Password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, _ []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = t.Password
				}
				return answers, nil
			})}
		return login, algorithms, nil
	}
	signer, err := sshKey([]byte(t.Key), []byte(t.Passphrase))
	if err != nil {
		return nil, nil, keyError("tunnel_method.ssh_key", "tunnel_method.ssh_key_passphrase", err)
	}
	login.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	return login, algorithms, nil
}

func sshKey(text, passphrase []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(text)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if len(passphrase) == 0 {
			return nil, errNoPassword
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(text, passphrase); err != nil {
			return nil, errBadPassword
		}
		return signer, nil
	}
	if err == nil {
		return signer, nil
	}
	plain, err := decryptKey(text, passphrase) // encrypted PKCS#8, which x/crypto does not read
	if err != nil {
		return nil, err
	}
	if signer, err = ssh.ParsePrivateKey(plain); err != nil {
		return nil, errNoPEM
	}
	return signer, nil
}

// errTunnelLost says that the tunnel itself is no more.
var errTunnelLost = errors.New("the SSH connection was lost")

const tunnelHint = `Check "tunnel_method.tunnel_host" and "tunnel_method.tunnel_port", and that the SSH server ` +
	`accepts connections from this connector's address.`

// tunnelUnreachable words why there is no connection to the SSH server.
func tunnelUnreachable(ctx context.Context, address string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	c := conditionOf(err)
	return &protocol.Error{
		Kind: c.kind, Hint: tunnelHint, Err: err,
		Message: "The SSH server at " + address + " cannot be reached: " + c.what + ".",
	}
}

// tunnelRefused words why the SSH server let nobody in; verified says whether it had shown the right key before,
// which comes before the login.
func tunnelRefused(ctx context.Context, address string, err error, verified bool) error {
	switch other, is := errors.AsType[*otherKeyError](err); {
	case is:
		return other
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &protocol.Error{
			Kind: protocol.Transient, Hint: tunnelHint, Err: err,
			Message: "The SSH server at " + address + " did not answer in time.",
		}
	case isNetwork(err):
		return &protocol.Error{
			Kind: protocol.Transient, Err: err, Hint: tunnelHint,
			Message: "The SSH server at " + address + " closed the connection before the login was done.",
		}
	case verified:
		return &protocol.Error{
			Kind: protocol.Config, Err: err,
			Message: "The SSH server at " + address + " refused the login.",
			Hint: `Check "tunnel_method.tunnel_user" and the key or password; the public key must be in the user's ` +
				`authorized_keys file on that server.`,
		}
	}
	return &protocol.Error{
		Kind: protocol.Config, Hint: tunnelHint, Err: err,
		Message: "No SSH connection to " + address + " could be made: " + err.Error() + ".",
	}
}
