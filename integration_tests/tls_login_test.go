package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// secure is a database on a server of its own that takes encrypted connections only, by password unless entry says
// otherwise; in the settings the mode is verify-full.
func secure(t *testing.T, entry string) (*database, *identity, map[string]any) {
	t.Helper()
	db := newDBOn(t, private(t, "password_encryption=scram-sha-256"))
	authority := issue(t, nil, subject{common: "authority", signs: true})
	db.write("root.crt", authority.certificatePEM())
	db.write("pg_hba.conf", fmt.Sprintf("host postgres all all scram-sha-256\nhostssl %s all all %s", db.Name, entry))
	db.present(issue(t, authority, subject{common: "x", names: []string{"localhost"}}))
	db.reload("ssl_ca_file = 'root.crt'", "ssl = on")
	return db, authority, db.config(map[string]any{"host": "localhost", "ssl": true, "ssl_mode": map[string]any{
		"mode": "verify-full", "ca_certificate": authority.certificatePEM(),
	}})
}

// Every connection of a sync is encrypted: those of all workers, and that to the log.
func TestEveryConnectionIsEncrypted(t *testing.T) {
	t.Parallel()
	db, _, settings := secure(t, "scram-sha-256")
	db.pages(4000)
	db.exec("CREATE TABLE u AS TABLE t; CREATE TABLE v AS TABLE t") // before version 14 a table is read by one connection
	db.exec("ALTER TABLE u ADD PRIMARY KEY (id); ALTER TABLE v ADD PRIMARY KEY (id)")
	db.exec("CREATE PUBLICATION pub FOR TABLE t, u, v")
	db.exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")
	settings["max_db_connections"] = 3
	settings["replication_method"] = map[string]any{"method": "CDC", "replication_slot": "slot", "publication": "pub"}
	in := input{config: settings, catalog: discover(t, settings).configure("incremental")}
	seen := func(what, condition string) *result {
		p := start(t, "read", in)
		p.until(func(m message) bool { return m.Record != nil })
		db.await("SELECT " + condition + " FROM pg_stat_activity WHERE application_name = 'source-postgres'")
		found := db.column("SELECT concat_ws(' ', backend_type, ssl, version >= 'TLSv1.2') FROM pg_stat_ssl " +
			"JOIN pg_stat_activity USING (pid) WHERE application_name = 'source-postgres'")
		if len(found) == 0 {
			t.Errorf("%s: no connection is left", what)
		}
		for _, connection := range found {
			if !strings.HasSuffix(connection, " t t") {
				t.Errorf("%s: %s", what, connection)
			}
		}
		return p.wait().ok()
	}
	// The one more than the workers' looks at the slot. That which made the snapshot may still be there.
	in.state = seen("first pass", "count(*) FILTER (WHERE backend_type = 'client backend') >= 4").lastState()
	db.exec("UPDATE t SET id = id")
	seen("log", "count(*) FILTER (WHERE backend_type = 'walsender') = 1")
}

// Who stands between the two with a certificate of the same authority gets nowhere: the login by SCRAM is bound to the
// server's own certificate. It is not repeated unencrypted either.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	db, authority, settings := secure(t, "scram-sha-256")
	other := issue(t, authority, subject{common: "x", names: []string{"localhost"}})
	pair := tls.Certificate{Certificate: [][]byte{other.certificate.Raw}, PrivateKey: other.key}
	var connections atomic.Int64
	relay := listen(t, func(client net.Conn) {
		connections.Add(1)
		first := make([]byte, 8)
		if !readWhole(client, first) || string(first[4:]) != "\x04\xd2\x16\x2f" {
			return // a client that gave up on TLS
		}
		server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", db.Port))
		if err != nil {
			return
		}
		defer server.Close()
		_, _ = server.Write(first)
		if answer := make([]byte, 1); readWhole(server, answer) && answer[0] == 'S' {
			_, _ = client.Write(answer)
			carry(tls.Server(client, &tls.Config{Certificates: []tls.Certificate{pair}}),
				tls.Client(server, &tls.Config{InsecureSkipVerify: true}))
		}
	})
	expectSucceeded(t, "without the relay", settings)
	settings["port"] = relay
	for _, mode := range []string{"prefer", "require", "verify-full"} {
		settings["ssl_mode"].(map[string]any)["mode"] = mode
		connections.Store(0)
		expectIn(t, mode, checked(t, settings), "State code: 28000; Message: ")
		if n := connections.Load(); n != 1 {
			t.Errorf("%s: %d connections", mode, n)
		}
	}
	psql, err := db.Program("psql")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), psql, "-Xc", "SELECT 1", fmt.Sprintf(
		"host=localhost port=%d dbname=%s user=%s password=%s sslmode=require", relay, db.Name, db.User, db.Password))
	cmd.Env = []string{"HOME=" + t.TempDir()}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "channel binding") {
		t.Errorf("psql through the relay: %v %s", err, out)
	}
}

// The password is nothing without the key: login by certificate, with keys of every kind in every form.
func TestClientKeys(t *testing.T) {
	t.Parallel()
	db, authority, settings := secure(t, "cert")
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(modulus)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	sealed, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", pkcs1, []byte(canary), //nolint:staticcheck // old
		x509.PEMCipherAES128)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		key  crypto.Signer
		text string // PKCS#8 without
		pass string
	}{
		"RSA, PKCS#8":        {key: modulus},
		"EC, PKCS#8":         {key: curve},
		"Ed25519, PKCS#8":    {key: edwards},
		"RSA, PKCS#1":        {modulus, block("RSA PRIVATE KEY", pkcs1), ""},
		"EC, SEC 1":          {curve, block("EC PRIVATE KEY", sec1), ""},
		"RSA, encrypted PEM": {modulus, string(pem.EncodeToMemory(sealed)), canary},
		"RSA, OpenSSL":       {modulus, openssl(t, block("RSA PRIVATE KEY", pkcs1), canary, "-v2", "aes-256-cbc"), canary},
		"EC, 3DES": {
			curve, openssl(t, block("EC PRIVATE KEY", sec1), canary, "-v2", "des3", "-v2prf", "hmacWithSHA1"), canary,
		},
		"one line":    {modulus, strings.ReplaceAll(block("RSA PRIVATE KEY", pkcs1), "\n", `\n`), ""},
		"with blanks": {modulus, strings.ReplaceAll(block("RSA PRIVATE KEY", pkcs1), "\n", " "), ""},
		"CR LF":       {modulus, strings.ReplaceAll(block("RSA PRIVATE KEY", pkcs1), "\n", "\r\n"), ""},
	} {
		owner := issue(t, authority, subject{common: db.User, key: c.key})
		if c.text == "" {
			c.text = owner.keyPEM(t)
		}
		mode := maps.Clone(settings["ssl_mode"].(map[string]any))
		maps.Copy(mode, map[string]any{
			"client_certificate": owner.certificatePEM(), "client_key": c.text, "client_key_password": c.pass,
		})
		with := maps.Clone(settings)
		with["ssl_mode"], with["password"] = mode, ""
		r := run(t, "check", input{config: with}).ok()
		if status := r.status(); status.Status != "SUCCEEDED" {
			t.Errorf("%s: %s", what, status.Message)
		}
		r.expectNoCanary(what)
		if c.pass == "" {
			continue
		}
		mode["client_key_password"] = "another " + canary
		r = run(t, "check", input{config: with}).ok()
		expectIn(t, what, r.status().Message, "ssl_mode.client_key_password")
		r.expectNoCanary(what)
	}
	stranger := issue(t, nil, subject{common: db.User})
	mode := settings["ssl_mode"].(map[string]any)
	mode["client_certificate"], mode["client_key"] = stranger.certificatePEM(), stranger.keyPEM(t)
	// The server says why and closes; if it had not read all by then, what it says is lost on the way.
	expectIn(t, "of another authority", checked(t, settings), "client certificate")
}

// openssl encrypts a private key as PKCS#8; the password is not on its command line.
func openssl(t *testing.T, key, password string, options ...string) string {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatalf("openssl makes encrypted keys: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"pkcs8", "-topk8", "-passout", "file:" + path},
		options...)...)
	cmd.Stdin = strings.NewReader(key)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	return string(out)
}
