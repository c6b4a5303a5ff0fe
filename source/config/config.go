// Package config holds the settings of spec.json as Go values.
//
// One settings object serves the platform's own forms and what Airbyte's connector (3.4 and later) saved: names that
// only one of them knows are accepted from all.
package config

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// A Config is what the user asked for: valid, complete, defaults filled in. It is not changed after Parse; goroutines
// may share it.
type Config struct {
	Hosts    []Host // at least one; the first that serves is the one
	Database string
	Username string
	Password string   // may be empty
	Schemas  []string // exactly as the server spells them; nil: every schema that the user can read
	TLS      TLS
	Tunnel   Tunnel
	Method   Method
	Standard Standard // cursor settings; defaults unless Method is MethodStandard
	CDC      CDC      // zero but for defaults unless Method is MethodCDC
	Driver   Driver

	CheckPrivileges     bool          // discover leaves out what the user may not SELECT
	CheckpointInterval  time.Duration // at least a second
	MaxConnections      int           // most connections at a time; 0: the connector chooses
	MaxFieldBytes       int           // a field of more bytes of JSON becomes null
	MaxRecordCharacters int           // a record of more characters loses its largest fields

	// Ignored names the settings that were given and have no effect, by dotted path, in order; never a value.
	Ignored []string
	// Warnings are sentences for the log: what was understood otherwise than it was written. They hold no secret.
	Warnings []string

	secrets []string
}

// A Host is where a database server may be.
type Host struct {
	Name string // a name, an IP address without brackets, or the absolute path of a directory with a Unix socket
	Port uint16
}

// Defaults of the settings that have one; spec.json shows the same.
const (
	DefaultPort                = 5432
	DefaultConnectTimeout      = 60 * time.Second
	DefaultApplicationName     = "source-postgres"
	DefaultCheckpointInterval  = 300 * time.Second
	DefaultMaxFieldBytes       = 16_000_000
	DefaultMaxRecordCharacters = 20_000_000
)

// Parse reads the settings, which must have passed the JSON schema in spec.json; it checks what a schema cannot. The
// error is made with errors.Join of one *protocol.Error of kind Config for each problem; no value of a setting is in
// it.
func Parse(text []byte) (*Config, error) {
	p := &parser{}
	f := p.root(text)
	c := &Config{
		Hosts:               p.hosts(f.text("host"), uint16(f.number("port", DefaultPort, 1, 65535))),
		Database:            f.text("database"),
		Username:            f.text("username"),
		Password:            f.secret("password"),
		Schemas:             f.texts("schemas"),
		CheckPrivileges:     f.truth("check_privileges", true),
		CheckpointInterval:  f.seconds("checkpoint_target_interval_seconds", DefaultCheckpointInterval, 1),
		MaxConnections:      int(f.number("max_db_connections", 0, 1, 1000)),
		MaxFieldBytes:       int(f.number("max_field_bytes", DefaultMaxFieldBytes, 1, 1<<30)),
		MaxRecordCharacters: int(f.number("max_record_characters", DefaultMaxRecordCharacters, 1, 1<<30)),
	}
	if c.Database == "" {
		p.problem(`Setting "database" is empty.`)
	}
	if c.Username == "" {
		p.problem(`Setting "username" is empty.`)
	}
	f.take("source_definition_id") // the platform's own; nothing depends on it
	if f.truth("entra_service_principal_auth", false) {
		p.problem(`Setting "entra_service_principal_auth" is on, but logging in through Microsoft Entra is not ` +
			`supported. Turn it off and give a user name and a password of the database.`)
	}
	driver := p.driver(f.text("jdbc_url_params"))
	c.Driver = driver.Driver
	c.TLS = p.tls(f, driver.sslmode)
	c.Tunnel = p.tunnel(f)
	p.replication(f, c)
	f.rest()
	c.Ignored, c.Warnings, c.secrets = p.ignored, p.warnings, p.secrets
	return c, p.err()
}

// Secrets lists every secret value in the settings, as it was written and as it is used, without duplicates and without
// empty ones: what must never reach an output.
func (c *Config) Secrets() []string {
	return append([]string(nil), c.secrets...)
}

// hosts reads a host, or several with commas between them, each of which may have a port of its own.
func (p *parser) hosts(s string, port uint16) []Host {
	if !strings.Contains(s, ",") || strings.Contains(s, "://") || strings.Contains(s, "@") {
		return []Host{{Name: p.host(s), Port: port}}
	}
	var hosts []Host
	for name := range strings.SplitSeq(s, ",") {
		own := port
		if host, number, err := net.SplitHostPort(strings.TrimSpace(name)); err == nil {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil || n == 0 {
				p.problem(`Setting "host" names a port that is not from 1 to 65535.`)
			}
			name, own = host, uint16(n)
		}
		hosts = append(hosts, Host{Name: p.host(name), Port: own})
	}
	return hosts
}

// host makes sure that s is one host. What is refused is not repeated: people paste whole URLs here, password included.
func (p *parser) host(s string) string {
	s = strings.TrimSpace(s)
	if bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"); net.ParseIP(bare) != nil {
		return bare
	}
	const form = `Give the name or the IP address alone, for example "db.example.com".`
	switch {
	case s == "":
		p.problem(`Setting "host" is empty. ` + form)
	case strings.HasPrefix(s, "/"): // a Unix socket
	case strings.Contains(s, "://") || strings.Contains(s, "@"):
		p.problem(`Setting "host" holds a URL. ` + form)
	case strings.Contains(s, ":") && !strings.Contains(s, "%"): // an IPv6 address may have a zone
		p.problem(`Setting "host" holds a port. ` + form + ` The port has a setting of its own, "port".`)
	case strings.ContainsAny(s, "/?# \t\r\n"):
		p.problem(`Setting "host" is not a host name. ` + form)
	}
	return s
}
