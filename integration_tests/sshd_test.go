package integration

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"source-postgres/integration_tests/pgtest"
)

// A bastion is a running sshd, OpenSSH's own.
type bastion struct {
	t        *testing.T
	port     int
	user     string
	password string // empty: passwords do not work on this machine
	keys     []ssh.PublicKey
	dir      string
	cmd      *exec.Cmd
	gone     chan struct{}
}

// insideName is a host that only a bastion knows, by its own /etc/hosts: as this machine.
const insideName = "db.inside.test"

// newBastion starts an sshd on loopback with these lines in its configuration. As root it has a user, a password file
// and host names of its own, in a mount namespace: nothing on the machine changes. Otherwise it serves its own user, by
// key. Where there is none, and none can be installed, it is nil, and the end of the run says so.
func newBastion(t *testing.T, lines ...string) *bastion {
	t.Helper()
	count(t)
	sshd, err := pgtest.Tool(t.Context(), "sshd", "openssh-server")
	if err != nil {
		remark("NOT RUN: %s: %v", t.Name(), err)
		return nil
	}
	b := &bastion{t: t, gone: make(chan struct{})}
	if b.dir, err = os.MkdirTemp("/tmp", "bastion-"); err != nil { //nolint:usetesting // for another user
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(b.dir) })
	if err := os.Chmod(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	b.user, b.port = me.Username, closedPort(t)
	config := []string{
		"ListenAddress 127.0.0.1", fmt.Sprintf("Port %d", b.port), "PidFile none", "StrictModes no", "LogLevel VERBOSE",
		"AuthorizedKeysFile " + b.file("authorized_keys", ""), "MaxStartups 100:30:100", "PermitRootLogin yes",
	}
	config = append(config, b.hostKeys()...)
	run := []string{sshd, "-D", "-e", "-f", b.dir + "/config"}
	if os.Geteuid() == 0 {
		run = append([]string{"sh", "-c", `mkdir -p /run/sshd; exec "$@"`, "sh"}, run...)
		if exec.CommandContext(t.Context(), "unshare", "-m", "true").Run() == nil {
			b.user, b.password = "tunnel", canary
			b.machine()
			run = append([]string{"unshare", "-m", "sh", "-c", namespaceScript, b.dir, run[len(run)-5]}, run[len(run)-4:]...)
			config = append(config, "UsePAM yes")
		}
	}
	b.file("config", strings.Join(append(lines, config...), "\n")+"\n")
	b.serve(run)
	return b
}

// namespaceScript runs in a mount namespace of its own; $0 is the bastion's directory, the rest sshd's command.
const namespaceScript = `
for file in passwd shadow hosts; do mount --bind "$0/$file" /etc/$file || exit 1; done
mount --bind "$0/pam" /etc/pam.d/sshd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"`

// machine writes what the sshd takes for files of the machine.
func (b *bastion) machine() {
	b.t.Helper()
	hash := exec.CommandContext(b.t.Context(), "openssl", "passwd", "-6", "-stdin")
	hash.Stdin = strings.NewReader(b.password)
	sealed, err := hash.Output()
	if err != nil {
		b.t.Fatalf("openssl passwd: %v", err)
	}
	for file, line := range map[string]string{
		"passwd": "tunnel:x:65533:65534::/nonexistent:/usr/sbin/nologin",
		"shadow": "tunnel:" + strings.TrimSpace(string(sealed)) + ":19000:0:99999:7:::",
		"hosts":  "127.0.0.1 " + insideName,
	} {
		content, err := os.ReadFile("/etc/" + file)
		if err != nil {
			b.t.Fatal(err)
		}
		b.file(file, string(content)+"\n"+line+"\n")
	}
	b.file("pam", "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n")
}

// file writes a file of the bastion and gives its path.
func (b *bastion) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if name == "authorized_keys" || name == "passwd" || name == "hosts" {
		if err := os.Chmod(path, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	return path
}

// hostKeys makes a key of each of two kinds and gives the lines of the configuration.
func (b *bastion) hostKeys() []string {
	b.t.Helper()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for i, key := range []any{edwards, curve} {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			b.t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			b.t.Fatal(err)
		}
		b.keys = append(b.keys, signer.PublicKey())
		lines = append(lines, "HostKey "+b.file(fmt.Sprintf("host_key%d", i), string(pem.EncodeToMemory(block))))
	}
	return lines
}

// serve starts sshd and waits until it answers; the test's end stops it with all its sessions.
func (b *bastion) serve(command []string) {
	b.t.Helper()
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	b.cmd = exec.Command(command[0], command[1:]...)
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait() // it is told to end
		close(b.gone)
	}()
	b.t.Cleanup(func() {
		b.cut()
		_ = b.cmd.Process.Kill()
		<-b.gone
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port)); err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-b.gone:
			b.t.Fatalf("sshd ended: %s", b.log())
		case <-b.t.Context().Done():
			b.t.Fatal("sshd does not answer")
		}
	}
}

// log is what sshd has written so far.
func (b *bastion) log() string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// cut kills the processes of all sessions: what they carried is lost, as when a network fails.
func (b *bastion) cut() int {
	b.t.Helper()
	return killBelow(b.cmd.Process.Pid)
}

// killBelow kills the children of a process, and theirs, and gives their number.
func killBelow(parent int) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	killed := 0
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …; the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			continue
		}
		killed += 1 + killBelow(pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return killed
}

// tunnel is a tunnel_method to the bastion.
func (b *bastion) tunnel(fields map[string]any) map[string]any {
	method := map[string]any{"tunnel_host": "127.0.0.1", "tunnel_port": b.port, "tunnel_user": b.user}
	for name, value := range fields {
		method[name] = value
	}
	return method
}

// byKey is a tunnel_method with a key that the bastion takes.
func (b *bastion) byKey() map[string]any {
	b.t.Helper()
	return b.tunnel(map[string]any{"tunnel_method": "SSH_KEY_AUTH", "ssh_key": b.admit(mustKey(b.t), "")})
}

// admit lets a key in, besides others, and gives it as OpenSSH's text, sealed with a passphrase if there is one.
func (b *bastion) admit(key any, passphrase string) string {
	b.t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		b.t.Fatal(err)
	}
	b.allow(signer.PublicKey())
	block, err := ssh.MarshalPrivateKey(key, "comment")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "comment", []byte(passphrase))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// allow adds a line to authorized_keys.
func (b *bastion) allow(key ssh.PublicKey) {
	b.t.Helper()
	path := filepath.Join(b.dir, "authorized_keys")
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.file("authorized_keys", string(text)+string(ssh.MarshalAuthorizedKey(key)))
}
