package postgres

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"testing"
)

// The rules by which libpq compares names; the cases with a server are in the integration tests.
func TestNamesOfCertificates(t *testing.T) {
	for _, c := range []struct {
		common string
		names  []string
		ips    []string
		host   string
		same   bool
	}{
		{"", []string{"db.example.com"}, nil, "db.example.com", true},
		{"", []string{"db.example.com"}, nil, "DB.Example.COM.", true},
		{"", []string{"other", "db.example.com"}, nil, "db.example.com", true},
		{"", []string{"*.example.com"}, nil, "db.example.com", true},
		{"", []string{"*.example.com"}, nil, "a.db.example.com", false},
		{"", []string{"*.example.com"}, nil, "example.com", false},
		{"", []string{"*.example.com"}, nil, ".example.com.evil", false},
		{"", []string{"*"}, nil, "example", false},
		{"", []string{"*."}, nil, "db.", false},
		{"", []string{"d*.example.com"}, nil, "db.example.com", false},
		{"", []string{"*.0.0.1"}, nil, "127.0.0.1", false},
		{"db.example.com", nil, nil, "db.example.com", true},
		{"*.example.com", nil, nil, "db.example.com", true},
		{"db.example.com", []string{"other"}, nil, "db.example.com", false},
		{"db.example.com", nil, []string{"10.0.0.1"}, "db.example.com", true},
		{"", nil, []string{"10.0.0.1"}, "10.0.0.1", true},
		{"", nil, []string{"::1"}, "0:0::1", true},
		{"", nil, []string{"10.0.0.1"}, "10.0.0.2", false},
		{"10.0.0.1", []string{"other"}, nil, "10.0.0.1", true},
		{"10.0.0.1", nil, []string{"10.0.0.2"}, "10.0.0.1", false},
		{"", []string{"10.0.0.1"}, nil, "10.0.0.1", true},
		{"", nil, nil, "db", false},
		{"", []string{""}, nil, "", false},
	} {
		certificate := &x509.Certificate{Subject: pkix.Name{CommonName: c.common}, DNSNames: c.names}
		for _, ip := range c.ips {
			certificate.IPAddresses = append(certificate.IPAddresses, net.ParseIP(ip))
		}
		err := verifyName(certificate, c.host)
		var wrong x509.HostnameError
		if (err == nil) != c.same || err != nil && !errors.As(err, &wrong) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
