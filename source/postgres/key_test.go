package postgres

import (
	"encoding/pem"
	"errors"
	"os"
	"testing"

	"golang.org/x/crypto/ssh"

	"source-postgres/protocol"
	"source-postgres/source/config"
)

func readKey(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".key")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The files in testdata were written by OpenSSL and hold one and the same key; the password is keypass.
func TestDecryptKey(t *testing.T) {
	plain, err := ssh.ParsePrivateKey(readKey(t, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := ssh.FingerprintSHA256(plain.PublicKey())
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"plain", "", nil},
		{"plain", "unneeded", nil},
		{"parameters", "", nil},
		{"pbes2-aes256-sha256", "keypass", nil},
		{"pbes2-aes128-sha512", "keypass", nil},
		{"pbes2-des3-sha1", "keypass", nil},
		{"legacy-aes256", "keypass", nil},
		{"pbes2-aes256-sha256", "wrong", errBadPassword},
		{"legacy-aes256", "wrong", errBadPassword},
		{"pbes2-aes256-sha256", "", errNoPassword},
		{"legacy-aes256", "", errNoPassword},
		{"scrypt", "keypass", errCipher},
		{"pbes1", "keypass", errCipher},
	} {
		key, err := decryptKey(readKey(t, c.name), []byte(c.password))
		if !errors.Is(err, c.want) {
			t.Errorf("%s with %q: %v", c.name, c.password, err)
		}
		if err != nil {
			continue
		}
		if got, err := ssh.ParsePrivateKey(key); err != nil || ssh.FingerprintSHA256(got.PublicKey()) != fingerprint {
			t.Errorf("%s: another key, %v", c.name, err)
		}
		if _, err := sshKey(readKey(t, c.name), []byte(c.password)); err != nil {
			t.Errorf("%s for SSH: %v", c.name, err)
		}
	}
	for _, text := range []string{"", "canary", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := decryptKey([]byte(text), nil); !errors.Is(err, errNoPEM) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestKeyErrorsAreForUsers(t *testing.T) {
	_, err := tlsConfig(config.TLS{
		Mode: config.Require, Certificate: "canary", Key: string(readKey(t, "scrypt")),
		KeyPassword: "canary",
	}, "h")
	expectProblem(t, err, protocol.Config, "ssl_mode.client_key", "openssl pkcs8")
	_, err = tlsConfig(config.TLS{Mode: config.Require, Certificate: "canary", Key: string(readKey(t, "plain"))}, "h")
	expectProblem(t, err, protocol.Config, "cannot be used together")
	_, err = tlsConfig(config.TLS{Mode: config.VerifyCA, CA: "canary"}, "h")
	expectProblem(t, err, protocol.Config, "ssl_mode.ca_certificate")
	_, _, err = sshLogin(config.Tunnel{Method: config.TunnelKey, Key: string(readKey(t, "legacy-aes256"))})
	expectProblem(t, err, protocol.Config, "tunnel_method.ssh_key", "ssh_key_passphrase")
}

func FuzzDecryptPKCS8(f *testing.F) {
	for _, name := range []string{"pbes2-aes256-sha256", "pbes2-des3-sha1", "scrypt", "pbes1"} {
		text, err := os.ReadFile("testdata/" + name + ".key")
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(text)
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if key, err := decryptPKCS8(der, []byte("x")); err == nil && len(key) == 0 {
			t.Error("an empty key without an error")
		}
	})
}
