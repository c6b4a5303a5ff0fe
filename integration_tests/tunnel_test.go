package integration

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Every kind of key in every form, and passwords, open a tunnel through OpenSSH's server.
func TestTunnelLogins(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "KbdInteractiveAuthentication no")
	if b == nil {
		return
	}
	db := newDB(t)
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(modulus)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", //nolint:staticcheck // people have such keys
		x509.MarshalPKCS1PrivateKey(modulus), []byte(canary), x509.PEMCipherAES128)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ text, pass string }{
		"RSA, OpenSSH":          {b.admit(modulus, ""), ""},
		"RSA, OpenSSH, sealed":  {b.admit(modulus, canary), canary},
		"RSA, PKCS#1":           {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(modulus)), ""},
		"RSA, PKCS#8":           {block("PRIVATE KEY", pkcs8), ""},
		"RSA, encrypted PEM":    {string(pem.EncodeToMemory(legacy)), canary},
		"RSA, encrypted PKCS#8": {openssl(t, block("PRIVATE KEY", pkcs8), canary), canary},
		"ECDSA, OpenSSH":        {b.admit(curve, ""), ""},
		"ECDSA, SEC 1":          {block("EC PRIVATE KEY", sec1), ""},
		"Ed25519, OpenSSH":      {b.admit(edwards, ""), ""},
		"Ed25519, sealed":       {b.admit(edwards, canary), canary},
		`lines end with \n`:     {strings.ReplaceAll(b.admit(edwards, ""), "\n", `\n`), ""},
		"lines end with blanks": {strings.ReplaceAll(b.admit(edwards, ""), "\n", " "), ""},
		"lines end with CR LF":  {strings.ReplaceAll(b.admit(edwards, ""), "\n", "\r\n"), ""},
	} {
		config := db.config(map[string]any{"tunnel_method": b.tunnel(map[string]any{
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": c.text, "ssh_key_passphrase": c.pass,
		})})
		r := run(t, "check", input{config: config}).ok()
		if status := r.status(); status.Status != "SUCCEEDED" {
			t.Errorf("%s: %s", what, status.Message)
		}
		r.expectNoCanary(what)
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sealed := b.admit(edwards, canary)
	unknown, err := ssh.MarshalPrivateKey(stranger, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ text, pass, want string }{
		"unknown key":      {string(pem.EncodeToMemory(unknown)), "", "refused the login"},
		"no passphrase":    {sealed, "", "it is encrypted, and no password is given"},
		"wrong passphrase": {sealed, "canary", "it cannot be decrypted with the password given"},
		"public key":       {string(ssh.MarshalAuthorizedKey(b.keys[0])), "", "no private key"},
		"PuTTY's form":     {"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "", "no private key"},
	} {
		expectIn(t, what, checked(t, db.config(map[string]any{"tunnel_method": b.tunnel(map[string]any{
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": c.text, "ssh_key_passphrase": c.pass,
		})})), c.want)
	}
}

// Passwords: as such, and where the server asks for them in a dialogue.
func TestTunnelPasswords(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for what, lines := range map[string][]string{
		"password":             {"KbdInteractiveAuthentication no"},
		"keyboard-interactive": {"PasswordAuthentication no", "KbdInteractiveAuthentication yes"},
	} {
		b := newBastion(t, lines...)
		if b == nil {
			return
		}
		if b.password == "" {
			remark("NOT RUN: %s: an sshd with users of its own takes root and mount namespaces", t.Name())
			return
		}
		method := b.tunnel(map[string]any{"tunnel_method": "SSH_PASSWORD_AUTH", "tunnel_user_password": b.password})
		r := run(t, "check", input{config: db.config(map[string]any{"tunnel_method": method})}).ok()
		if status := r.status(); status.Status != "SUCCEEDED" {
			t.Errorf("%s: %s; sshd: %s", what, status.Message, b.log())
		}
		r.expectNoCanary(what)
		method["tunnel_user_password"] = canary + "?"
		r = run(t, "check", input{config: db.config(map[string]any{"tunnel_method": method})}).ok()
		expectIn(t, what, r.status().Message, "refused the login", "tunnel_user")
		r.expectNoCanary(what)
	}
}

var fingerprint = regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`)

// The server's key: any is taken, with a warning that shows its fingerprint; given as a line or fingerprint, only that
// one is, and another server gets to see no login at all.
func TestTunnelServerKey(t *testing.T) {
	t.Parallel()
	b := newBastion(t)
	if b == nil {
		return
	}
	db := newDB(t)
	method := b.byKey()
	with := func(key string) map[string]any {
		m := maps.Clone(method)
		m["ssh_host_key"] = key
		return db.config(map[string]any{"tunnel_method": m})
	}
	r := run(t, "check", input{config: db.config(map[string]any{"tunnel_method": method})}).ok()
	shown := fingerprint.FindString(strings.Join(r.logs("WARN"), "\n"))
	if r.status().Status != "SUCCEEDED" || shown == "" {
		t.Fatalf("%s %s; warnings: %q", r.status().Status, r.status().Message, r.logs("WARN"))
	}
	line := knownhosts.Line([]string{fmt.Sprintf("[127.0.0.1]:%d", b.port)}, b.keys[1])
	for what, key := range map[string]string{
		"the fingerprint shown": shown, "one key's fingerprint": ssh.FingerprintSHA256(b.keys[0]),
		"the other key's fingerprint": ssh.FingerprintSHA256(b.keys[1]),
		"a line of known_hosts":       line, "hashed": knownhosts.HashHostname("x") + line[strings.IndexByte(line, ' '):],
		"a public key": string(ssh.MarshalAuthorizedKey(b.keys[0])),
	} {
		r := run(t, "check", input{config: with(key)}).ok()
		if r.status().Status != "SUCCEEDED" || has(r.logs("WARN"), "not verified") {
			t.Errorf("%s: %s %s; warnings: %q", what, r.status().Status, r.status().Message, r.logs("WARN"))
		}
	}
	signer, err := ssh.NewSignerFromKey(mustKey(t))
	if err != nil {
		t.Fatal(err)
	}
	before := len(b.log())
	for what, key := range map[string]string{
		"line": string(ssh.MarshalAuthorizedKey(signer.PublicKey())), "print": ssh.FingerprintSHA256(signer.PublicKey()),
	} {
		message := checked(t, with(key))
		expectIn(t, what, message, "another key than the one configured", "ssh_host_key", "Nothing was sent to it")
		if fingerprint.FindString(message) == "" {
			t.Errorf("%s: the message does not show the key: %s", what, message)
		}
	}
	if log := b.log()[before:]; strings.Contains(log, "Accepted") || strings.Contains(log, "Failed") {
		t.Errorf("the server was sent a login: %s", log)
	}
}

func mustKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What an SSH server does not allow is said, with what to change there.
func TestTunnelPolicies(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for what, c := range map[string]struct{ line, want string }{
		"no forwarding":  {"AllowTcpForwarding no", "AllowTcpForwarding"},
		"another target": {"PermitOpen 127.0.0.1:1", "PermitOpen"},
		"a command":      {"ForceCommand /bin/false", ""},
		"nobody":         {"DenyUsers *", "refused the login"},
	} {
		b := newBastion(t, c.line)
		if b == nil {
			return
		}
		config := db.config(map[string]any{"tunnel_method": b.byKey()})
		status := run(t, "check", input{config: config}).ok().status()
		if c.want == "" && status.Status != "SUCCEEDED" || !strings.Contains(status.Message, c.want) {
			t.Errorf("%s: %s %s", what, status.Status, status.Message)
		}
		if what != "a command" {
			continue
		}
		config["port"] = closedPort(t)
		expectIn(t, "no database", checked(t, config), "State code: 08001; Message: the SSH server cannot connect")
		if b.password != "" {
			config["host"] = "nowhere.inside.test"
			expectIn(t, "no such name", checked(t, config), "State code: 08001; Message: the SSH server cannot connect")
		}
	}
}

// Full refresh, Standard and CDC through the tunnel to a database that can be reached and verified in no other way; the
// tunnel is lost in the middle, twice; reading goes on from the states, and the destination has what the source has.
func TestSyncThroughTunnel(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"full refresh", "Standard", "CDC"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			b := newBastion(t)
			if b == nil {
				return
			}
			db := newDBOn(t, private(t))
			settings := db.tunnelled(b)
			db.exec("CREATE TABLE t (id int PRIMARY KEY, version int, pad text); ALTER TABLE t ALTER COLUMN pad SET STORAGE " +
				"PLAIN; CREATE PUBLICATION pub FOR TABLE t; ALTER TABLE t REPLICA IDENTITY FULL")
			db.exec(fmt.Sprintf(fillSQL, "t", 1, 5000))
			in := input{config: settings}
			switch method {
			case "full refresh":
				in.catalog = discover(t, settings).configure("full_refresh")
			case "Standard":
				in.catalog = discover(t, settings).configure("incremental").cursor(t, "t", "version")
			case "CDC":
				db.exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")
				settings["replication_method"] = map[string]any{
					"method": "CDC", "replication_slot": "slot", "publication": "pub",
				}
				in.catalog = discover(t, settings).configure("incremental")
			}
			d := &destination{t: t, rows: map[string]string{}}
			in.state = d.cutOff(b, in, func(m message) bool { return m.State != nil })
			db.exec("UPDATE t SET version = 1 WHERE id % 7 = 0")
			in.state = d.take(run(t, "read", in).ok())
			d.compare(db)
			if method == "full refresh" {
				return
			}
			// The same with what has changed since.
			db.exec("UPDATE t SET version = 2 + id % 50")
			in.state = d.cutOff(b, in, func(m message) bool { return m.Record != nil })
			if method == "CDC" {
				db.exec("DELETE FROM t WHERE id % 11 = 0")
			}
			d.take(run(t, "read", in).ok())
			d.compare(db)
		})
	}
}

// tunnelled is a configuration that leads through b: with names of its own, to a host that only b knows, of which the
// certificate is verified too.
func (d *database) tunnelled(b *bastion) map[string]any {
	d.t.Helper()
	method := b.byKey()
	method["ssh_host_key"] = ssh.FingerprintSHA256(b.keys[1])
	settings := d.config(map[string]any{"remote_conn": true, "tunnel_method": method, "max_db_connections": 2})
	if b.password == "" {
		return settings
	}
	authority := issue(d.t, nil, subject{common: "authority", signs: true})
	d.present(issue(d.t, authority, subject{common: "x", names: []string{"localhost", "127.0.0.1"}}))
	d.reload("ssl = on")
	settings["host"], settings["ssl"] = insideName, true
	settings["ssl_mode"] = map[string]any{"mode": "verify-full", "ca_certificate": authority.certificatePEM()}
	expectIn(d.t, "a certificate for the machine's own name", checked(d.t, settings),
		"the certificate of the server is for another host", insideName)
	d.present(issue(d.t, authority, subject{common: "x", names: []string{insideName}}))
	d.reload()
	return settings
}

// A destination keeps the last version of each row.
type destination struct {
	t    *testing.T
	rows map[string]string
}

// take enters the records of r and gives the state to go on from.
func (d *destination) take(r *result) []json.RawMessage {
	d.t.Helper()
	for _, rec := range r.records("t") {
		id := string(rec.Data["id"])
		if gone := string(rec.Data["_ab_cdc_deleted_at"]); gone != "" && gone != "null" {
			delete(d.rows, id)
			continue
		}
		d.rows[id] = string(rec.Data["version"])
	}
	return r.lastState()
}

// cutOff reads until a message comes, cuts the tunnel, and gives the state to go on from: the one before, if there is
// no new one.
func (d *destination) cutOff(b *bastion, in input, match func(message) bool) any {
	d.t.Helper()
	p := start(d.t, "read", in)
	p.until(match)
	p.expectNoListener()
	if b.cut() == 0 {
		d.t.Error("the SSH server has no session")
	}
	r := p.wait().expectExit(1)
	expectIn(d.t, "cut off", r.failed("transient_error").Message, "State code: 08006")
	if state := d.take(r); len(state) > 0 {
		return state
	}
	return in.state
}

func (d *destination) compare(db *database) {
	d.t.Helper()
	var got []string
	for id, version := range d.rows {
		got = append(got, id+" "+version)
	}
	expectSame(d.t, "rows", sorted(got), sorted(db.column("SELECT concat_ws(' ', id, version) FROM t")))
}

// expectNoListener: the process opens no port that others on the machine could use.
func (p *process) expectNoListener() {
	p.t.Helper()
	own := map[string]bool{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		p.t.Fatalf("the process has no open files: %v", err)
	}
	for _, file := range files {
		target, _ := os.Readlink(file)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	sockets := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || !own[fields[9]] {
				continue
			}
			if sockets++; fields[3] == "0A" {
				p.t.Errorf("the process listens at %s", fields[1])
			}
		}
	}
	if sockets != 1 {
		p.t.Errorf("%d TCP sockets, want one, of the SSH connection", sockets)
	}
}
