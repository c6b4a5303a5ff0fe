package config

import (
	"slices"
	"strings"
)

// A TLSMode is one of libpq's six; each means what PostgreSQL's documentation of sslmode says.
type TLSMode string

// The modes, from none to full protection.
const (
	Disable    TLSMode = "disable"
	Allow      TLSMode = "allow"
	Prefer     TLSMode = "prefer"
	Require    TLSMode = "require"
	VerifyCA   TLSMode = "verify-ca"
	VerifyFull TLSMode = "verify-full"
)

var tlsModes = []TLSMode{Disable, Allow, Prefer, Require, VerifyCA, VerifyFull}

// TLS says how connections to the database are encrypted. The PEM texts have real line ends.
type TLS struct {
	Mode        TLSMode
	CA          string // PEM, one or more certificates; empty: the system's trust store for the verify modes
	Certificate string // PEM of the client; empty exactly when Key is
	Key         string // PEM, perhaps encrypted
	KeyPassword string
}

// tls reads ssl and ssl_mode; urlMode is what jdbc_url_params says, which counts only where neither is given.
func (p *parser) tls(f *form, urlMode TLSMode) TLS {
	ssl, given := f.take("ssl")
	on := given && string(ssl) == "true"
	if given && !on && string(ssl) != "false" {
		p.problem(`Setting "ssl" must be true or false.`)
	}
	inner := f.object("ssl_mode")
	t := TLS{
		Mode:        TLSMode(inner.text("mode")),
		CA:          inner.pem("ca_certificate"),
		Certificate: inner.pem("client_certificate"),
		Key:         inner.pem("client_key"),
		KeyPassword: inner.secret("client_key_password"),
	}
	inner.rest()
	if given && !on {
		if t.Mode != "" && t.Mode != Disable {
			p.warn(`Connections are not encrypted: "ssl" is false, which goes before "ssl_mode".`)
		}
		return TLS{Mode: Disable}
	}
	if urlMode != "" && t.Mode != "" && urlMode != t.Mode {
		p.warn(`The sslmode in "jdbc_url_params" is ignored: "ssl_mode" says %s.`, t.Mode)
	}
	switch {
	case t.Mode == "" && on:
		p.problem(`Setting "ssl" is on, but "ssl_mode.mode" is missing. Choose one of %s.`, modeList())
	case t.Mode == "" && urlMode != "":
		t.Mode = urlMode
	case t.Mode == "":
		t.Mode = Prefer
	case !known(t.Mode):
		p.problem(`Setting "ssl_mode.mode" must be one of %s.`, modeList())
	}
	p.tlsKeys(&t)
	return t
}

// tlsKeys checks the certificates against each other and against the mode.
func (p *parser) tlsKeys(t *TLS) {
	if (t.Certificate == "") != (t.Key == "") {
		p.problem(`Settings "ssl_mode.client_certificate" and "ssl_mode.client_key" belong together: ` +
			`give both or neither.`)
	}
	p.certificate("ca_certificate", t.CA)
	p.certificate("client_certificate", t.Certificate)
	if t.Key != "" && !strings.Contains(t.Key, "PRIVATE KEY-----") {
		p.problem(`Setting "ssl_mode.client_key" is not a private key in PEM form: it must begin with a line like ` +
			`"-----BEGIN PRIVATE KEY-----".`)
	}
	switch t.Mode {
	case Allow, Prefer:
		if t.CA != "" {
			p.warn(`The certificate of the server is not verified in mode %s: "ssl_mode.ca_certificate" is ignored. `+
				`Choose verify-ca or verify-full to have it verified.`, t.Mode)
			t.CA = ""
		}
	case Disable:
		*t = TLS{Mode: Disable}
	}
}

func (p *parser) certificate(name, pem string) {
	if pem != "" && !strings.Contains(pem, "-----BEGIN CERTIFICATE-----") {
		p.problem(`Setting "ssl_mode.%s" is not a certificate in PEM form: it must begin with `+
			`"-----BEGIN CERTIFICATE-----".`, name)
	}
}

// pem is a secret PEM text, repaired.
func (f *form) pem(name string) string {
	s := repair(f.secret(name))
	f.hide(s)
	return s
}

func known(m TLSMode) bool { return slices.Contains(tlsModes, m) }

func modeList() string {
	names := make([]string, len(tlsModes))
	for i, m := range tlsModes {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}
