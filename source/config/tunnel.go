package config

import "strings"

// A TunnelMethod says how the SSH server that stands before the database is entered.
type TunnelMethod string

// The methods, in the spelling of the settings.
const (
	NoTunnel       TunnelMethod = "NO_TUNNEL"
	TunnelKey      TunnelMethod = "SSH_KEY_AUTH"
	TunnelPassword TunnelMethod = "SSH_PASSWORD_AUTH"
)

// A Tunnel is the SSH server through which every connection goes, unless Method is NoTunnel; then all else is empty.
type Tunnel struct {
	Method     TunnelMethod
	Host       string
	Port       uint16
	User       string
	Password   string // with TunnelPassword
	Key        string // with TunnelKey: a private key, real line ends
	Passphrase string // of the key; may be empty
	HostKey    string // known_hosts lines or SHA256 fingerprints of the SSH server; empty: any is accepted
}

// tunnel reads remote_conn and tunnel_method.
func (p *parser) tunnel(f *form) Tunnel {
	wanted, given := f.fields["remote_conn"]
	given = given && string(wanted) != "null"
	remote := f.truth("remote_conn", false)
	inner := f.object("tunnel_method")
	t := Tunnel{Method: TunnelMethod(inner.text("tunnel_method"))}
	if t.Method == "" {
		t.Method = NoTunnel
	}
	host, user := strings.TrimSpace(inner.text("tunnel_host")), strings.TrimSpace(inner.text("tunnel_user"))
	port := uint16(inner.number("tunnel_port", 22, 1, 65535))
	password := inner.secret("tunnel_user_password")
	key, passphrase := inner.pem("ssh_key"), inner.secret("ssh_key_passphrase")
	hostKey := strings.TrimSpace(strings.ReplaceAll(inner.text("ssh_host_key"), `\n`, "\n"))
	inner.rest()

	switch {
	case given && !remote && t.Method != NoTunnel:
		p.warn(`No SSH tunnel is used: "remote_conn" is false, which goes before "tunnel_method".`)
		return Tunnel{Method: NoTunnel}
	case remote && t.Method == NoTunnel:
		p.problem(`Setting "remote_conn" is on, but "tunnel_method" names no tunnel. Configure the SSH server in `+
			`"tunnel_method" (%s or %s), or turn "remote_conn" off.`, TunnelKey, TunnelPassword)
		return Tunnel{Method: NoTunnel}
	case t.Method == NoTunnel:
		return t
	}
	t.Host, t.Port, t.User, t.HostKey = host, port, user, hostKey
	need := map[string]string{"tunnel_host": host, "tunnel_user": user}
	switch t.Method {
	case TunnelKey:
		t.Key, t.Passphrase = key, passphrase
		need["ssh_key"] = key
	case TunnelPassword:
		t.Password = password
		need["tunnel_user_password"] = password
	default:
		p.problem(`Setting "tunnel_method.tunnel_method" must be one of %s, %s, %s.`, NoTunnel, TunnelKey,
			TunnelPassword)
	}
	for _, name := range []string{"tunnel_host", "tunnel_user", "ssh_key", "tunnel_user_password"} {
		if value, needed := need[name]; needed && value == "" {
			p.problem(`Setting "tunnel_method.%s" is missing: the SSH tunnel needs it.`, name)
		}
	}
	return t
}
