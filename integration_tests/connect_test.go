package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// An identity is a certificate with its key.
type identity struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes a certificate for names, signed by authority; without one it signs itself and may sign others.
func issue(t *testing.T, authority *identity, expires time.Time, commonName string, names ...string) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: expires, DNSNames: names,
	}
	if authority == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else if len(names) > 0 {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	signer := &identity{template, key}
	if authority != nil {
		signer = authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{certificate, key}
}

func (i *identity) certificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.certificate.Raw}))
}

func (i *identity) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// write makes the server write lines into a file of its data directory that nobody else can read.
func (d *database) write(file, content string) {
	d.t.Helper()
	d.exec(fmt.Sprintf("COPY (SELECT unnest(string_to_array($pem$%s$pem$, E'\\n'))) TO PROGRAM 'umask 077; cat > %s'",
		strings.TrimSpace(content), file))
}

// present makes the server show this certificate to all connections that come after the call.
func (d *database) present(i *identity) {
	d.t.Helper()
	d.write("server.crt", i.certificatePEM())
	d.write("server.key", i.keyPEM(d.t))
	before := d.value("SELECT pg_conf_load_time()::text")
	d.exec("ALTER SYSTEM SET ssl = on")
	d.exec("SELECT pg_reload_conf()")
	// The server's main process reloads everything before it tells its children and before it takes the next
	// connection.
	d.await("SELECT pg_conf_load_time() > $1::timestamptz", before)
}

// A tlsCase is an ssl_mode, with a CA certificate or without.
type tlsCase struct {
	mode string
	ca   bool
}

var tlsCases = []tlsCase{
	{"disable", false},
	{"allow", false},
	{"prefer", false},
	{"require", false},
	{"require", true},
	{"verify-ca", true},
	{"verify-full", true},
	{"verify-full", false},
}

// Each mode connects or refuses as libpq does, whatever the server shows. The databases' names say how they may be
// entered, so a success also says whether the connection was encrypted.
func TestTLSModes(t *testing.T) {
	t.Parallel()
	s, err := pgtest.Private(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	tls, plain := newDBOn(t, s), newDBOn(t, s)
	year := time.Now().Add(365 * 24 * time.Hour)
	authority := issue(t, nil, year, "authority")
	right := issue(t, authority, year, "localhost", "localhost")
	client := issue(t, authority, year, tls.User)
	tls.write("root.crt", authority.certificatePEM())
	tls.exec("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
	hba := func(option string) string {
		return fmt.Sprintf("hostnossl %s all all scram-sha-256\nhost postgres all all scram-sha-256\n"+
			"hostssl %s all all scram-sha-256 %s", plain.Name, tls.Name, option)
	}
	tls.write("pg_hba.conf", hba("")) // the test's own connections exist already and stay

	for _, server := range []struct {
		name  string
		shown *identity
		works string // one letter for each of tlsCases
	}{
		{"signed", right, "-++++++-"},
		{"self-signed", issue(t, nil, year, "localhost", "localhost"), "-+++----"},
		{"other name", issue(t, authority, year, "elsewhere", "elsewhere.example.com"), "-+++++--"},
		{"expired", issue(t, authority, time.Now().Add(-time.Hour), "localhost", "localhost"), "-+++----"},
		{"common name only", issue(t, authority, year, "localhost"), "-+++++--"},
	} {
		tls.present(server.shown)
		for i, c := range tlsCases {
			tls.tryTLS(server.name, c, authority, nil, server.works[i] == '+')
		}
	}
	tls.present(right)
	for i, c := range tlsCases {
		plain.tryTLS("unencrypted only", c, authority, nil, "+++-----"[i] == '+')
	}

	tls.write("pg_hba.conf", hba("clientcert=verify-full"))
	tls.present(right)
	for _, c := range tlsCases[1:7] {
		tls.tryTLS("client certificate asked for", c, authority, nil, false)
		tls.tryTLS("client certificate given", c, authority, client, true)
	}
}

// tryTLS runs check and expects it to succeed or to fail.
func (d *database) tryTLS(server string, c tlsCase, authority, client *identity, works bool) {
	d.t.Helper()
	mode := map[string]any{"mode": c.mode}
	if c.ca {
		mode["ca_certificate"] = authority.certificatePEM()
	}
	if client != nil {
		mode["client_certificate"], mode["client_key"] = client.certificatePEM(), client.keyPEM(d.t)
	}
	r := run(d.t, "check", input{config: d.config(map[string]any{"host": "localhost", "ssl": nil, "ssl_mode": mode})})
	status := r.ok().status()
	switch {
	case works && status.Status != "SUCCEEDED":
		d.t.Errorf("%s, %s: %s", server, c.mode, status.Message)
	case !works && (status.Status != "FAILED" || !strings.Contains(status.Message, "State code: ")):
		d.t.Errorf("%s, %s: %s %s", server, c.mode, status.Status, status.Message)
	}
}

// A server without TLS is refused where encryption is demanded, and the message says what is the matter.
func TestServerWithoutTLS(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	if db.value("SHOW ssl") == "on" {
		t.Fatal("the server of the tests has TLS")
	}
	for mode, want := range map[string]string{
		"disable": "", "allow": "", "prefer": "",
		"require":     "State code: 08004; Message: The server does not support SSL.",
		"verify-full": "State code: 08004; Message: The server does not support SSL.",
	} {
		c := db.config(map[string]any{"ssl": nil, "ssl_mode": map[string]any{"mode": mode}})
		status := run(t, "check", input{config: c}).ok().status()
		if want == "" && status.Status != "SUCCEEDED" || !strings.Contains(status.Message, want) {
			t.Errorf("%s: %s %s", mode, status.Status, status.Message)
		}
	}
}

// What is wrong with an address or a login is said with the code that people look up.
func TestWrongConnectionSettings(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		settings map[string]any
		want     string
	}{
		{map[string]any{"password": "wrong-canary"}, "State code: 28P01; Message: "},
		{map[string]any{"username": "nobody_of_that_name"}, "State code: 28"},
		{map[string]any{"database": "no_such_database"}, "State code: 3D000; Message: "},
		{map[string]any{"host": "no-such-host.invalid"}, "State code: 08001; Message: the host name is not known."},
		{map[string]any{"port": closed.Addr().(*net.TCPAddr).Port}, "State code: 08001; Message: the connection was refused"},
		{map[string]any{"jdbc_url_params": "options=-c%20no_such_setting=1"}, "no_such_setting"},
		{map[string]any{"jdbc_url_params": "targetServerType=secondary"}, "targetServerType"},
		{map[string]any{"ssl": true}, "disable, allow, prefer, require, verify-ca, verify-full"},
		{map[string]any{"remote_conn": true}, "tunnel_method"},
	} {
		status := run(t, "check", input{config: db.config(c.settings)}).ok().status()
		if status.Status != "FAILED" || !strings.Contains(status.Message, c.want) ||
			strings.Contains(status.Message, "canary") {
			t.Errorf("%v: %s %s", c.settings, status.Status, status.Message)
		}
	}
}

// The environment has no say in how the connector connects.
func TestEnvironmentIsIgnored(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	var env []string
	for _, name := range []string{
		"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME",
		"PGCONNECT_TIMEOUT", "PGSSLMODE", "PGSSLKEY", "PGSSLCERT", "PGSSLCERTMODE", "PGSSLROOTCERT", "PGSSLNEGOTIATION",
		"PGTARGETSESSIONATTRS", "PGSERVICE", "PGSERVICEFILE", "PGTZ", "PGOPTIONS", "PGMINPROTOCOLVERSION",
		"PGMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGREQUIREAUTH",
	} {
		env = append(env, name+"=nonsense")
	}
	status := run(t, "check", input{config: db.config(nil), env: env}).ok().status()
	if status.Status != "SUCCEEDED" {
		t.Errorf("%s %s", status.Status, status.Message)
	}
}
