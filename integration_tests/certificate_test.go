package integration

import (
	"crypto"
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
)

// An identity is a certificate with its key, and the certificates between it and its authority.
type identity struct {
	certificate *x509.Certificate
	key         crypto.Signer
	between     []*identity
}

// A subject is what a certificate is made for; names that are IP addresses go among those.
type subject struct {
	common  string
	names   []string
	expired bool
	signs   bool // may sign others
	extra   []pkix.Extension
	key     crypto.Signer
}

// issue makes a certificate, signed by authority; without one it signs itself.
func issue(t *testing.T, authority *identity, s subject) *identity {
	t.Helper()
	var err error
	if s.key == nil {
		if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: s.common},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		ExtraExtensions: s.extra,
	}
	if s.expired {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	if s.signs {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	for _, name := range s.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	made := &identity{certificate: template, key: s.key}
	signer := made
	if authority != nil {
		signer = authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, s.key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	if made.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return made
}

// certificatePEM is the certificate and those between it and its authority.
func (i *identity) certificatePEM() string {
	var text strings.Builder
	for _, c := range append([]*identity{i}, i.between...) {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate.Raw}))
	}
	return text.String()
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

// reload makes the server take over its files and settings: all connections that come after the call see them.
func (d *database) reload(settings ...string) {
	d.t.Helper()
	for _, setting := range settings {
		d.exec("ALTER SYSTEM SET " + setting)
	}
	before := d.value("SELECT pg_conf_load_time()::text")
	d.exec("SELECT pg_reload_conf()")
	// The server's main process reloads everything before it tells its children and before it takes the next
	// connection.
	d.await("SELECT pg_conf_load_time() > $1::timestamptz", before)
}

// present writes the certificate that the server shows after the next reload.
func (d *database) present(i *identity) {
	d.t.Helper()
	d.write("server.crt", i.certificatePEM())
	d.write("server.key", i.keyPEM(d.t))
}
