package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"source-postgres/protocol"
)

// hostKeyCheck makes the check of the SSH server's key from the setting: known_hosts lines, public keys or SHA256
// fingerprints, one a line; a key that is in any of them is accepted. The host names in known_hosts lines are not
// looked at, since the setting belongs to one server. It also gives the key algorithms to ask for: a server has keys
// of several kinds and would otherwise show another than the one that is known. A fingerprint does not say of which
// kind its key is: then there are several lists, to be tried one after the other. Without the setting any key is
// accepted and logged.
func hostKeyCheck(setting string) (ssh.HostKeyCallback, [][]string, error) {
	if setting == "" {
		return acceptAny, [][]string{nil}, nil
	}
	var keys []ssh.PublicKey
	var prints, algorithms []string
	for line := range strings.Lines(setting) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "SHA256:"):
			prints = append(prints, strings.TrimRight(line, "="))
		default:
			key, err := parseHostKey([]byte(line))
			if err != nil {
				return nil, nil, &protocol.Error{
					Kind:    protocol.Config,
					Message: `Setting "tunnel_method.ssh_host_key" cannot be read.`,
					Hint: `Give the SSH server's line from known_hosts, for example what ` +
						`"ssh-keyscan bastion.example.com" prints, or a fingerprint that begins with "SHA256:".`, Err: err,
				}
			}
			keys = append(keys, key)
			algorithms = append(algorithms, keyAlgorithms(key.Type())...)
		}
	}
	lists := [][]string{algorithms}
	if len(prints) > 0 {
		lists = kindsOfKeys
	}
	return func(host string, _ net.Addr, key ssh.PublicKey) error {
		same := func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }
		if slices.ContainsFunc(keys, same) || slices.Contains(prints, ssh.FingerprintSHA256(key)) {
			return nil
		}
		return &otherKeyError{protocol.Error{
			Kind: protocol.Config,
			Message: fmt.Sprintf("The SSH server at %s has another key than the one configured: it showed a key "+
				"of type %s with fingerprint %s.", host, key.Type(), ssh.FingerprintSHA256(key)),
			Hint: `Nothing was sent to it. If the server's key was changed on purpose, change ` +
				`"tunnel_method.ssh_host_key".`,
		}}
	}, lists, nil
}

// kindsOfKeys are the algorithms of each kind of key, all of them first: most servers show the right one at once.
var kindsOfKeys = [][]string{
	nil,
	{ssh.KeyAlgoED25519},
	{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
	keyAlgorithms(ssh.KeyAlgoRSA),
}

// An otherKeyError says that the SSH server showed another key than the one that is known.
type otherKeyError struct{ problem protocol.Error }

func (e *otherKeyError) Error() string { return e.problem.Error() }
func (e *otherKeyError) Unwrap() error { return &e.problem }

func acceptAny(host string, _ net.Addr, key ssh.PublicKey) error {
	slog.Warn("The SSH server's key was not verified. To have it verified, give this fingerprint as "+
		"tunnel_method.ssh_host_key.", "host", host, "fingerprint", ssh.FingerprintSHA256(key))
	return nil
}

// parseHostKey reads a line of known_hosts or of a public key file.
func parseHostKey(line []byte) (ssh.PublicKey, error) {
	marker, _, key, _, _, err := ssh.ParseKnownHosts(line)
	if err == nil && marker == "" {
		return key, nil
	}
	if err == nil {
		return nil, errors.New("lines with the marker @" + marker + " are not supported")
	}
	if key, _, _, _, err = ssh.ParseAuthorizedKey(line); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("no key in it")
		}
		return nil, err
	}
	return key, nil
}

// keyAlgorithms are the names under which a key of this type signs.
func keyAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return []string{keyType}
}
