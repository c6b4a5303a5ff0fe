package config

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"source-postgres/protocol"
)

func parseFile(t *testing.T, name string) *Config {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with is a complete configuration with more settings at its end.
func with(more string) []byte {
	if more != "" {
		more = "," + more
	}
	return []byte(`{"host":"h","port":5432,"database":"d","username":"u"` + more + `}`)
}

func mustParse(t *testing.T, more string) *Config {
	t.Helper()
	c, err := Parse(with(more))
	if err != nil {
		t.Fatalf("parse %s: %v", more, err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := mustParse(t, "")
	want := &Config{
		Hosts: []Host{{"h", 5432}}, Database: "d", Username: "u",
		TLS: TLS{Mode: Prefer}, Tunnel: Tunnel{Method: NoTunnel}, Method: MethodStandard,
		Standard: Standard{Lookback: time.Hour, LookbackRows: 100_000},
		Driver: Driver{
			ConnectTimeout: time.Minute, Silence: time.Minute, KeepAlive: true,
			ApplicationName: "source-postgres",
		},
		CheckPrivileges: true, CheckpointInterval: 5 * time.Minute,
		MaxFieldBytes: 16_000_000, MaxRecordCharacters: 20_000_000,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSchemas(t *testing.T) {
	for text, want := range map[string][]string{
		`"schemas":null`: nil, `"schemas":[]`: nil, `"schemas":["b","A"]`: {"b", "A"},
	} {
		if got := mustParse(t, text).Schemas; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q", text, got)
		}
	}
}

func TestSamplesMean(t *testing.T) {
	c := parseFile(t, "airbyte_3_7_cdc")
	if want := (CDC{
		Slot: "airbyte_slot", Publication: "airbyte_publication", AcknowledgeReading: true,
		InitialLoadTimeout: 12 * time.Hour, ManageIdentity: true,
	}); c.Method != MethodCDC || c.CDC != want {
		t.Errorf("3.7 CDC: %v %+v", c.Method, c.CDC)
	}
	ignored := []string{
		"replication_method.initial_waiting_seconds",
		"replication_method.invalid_cdc_cursor_position_behavior", "replication_method.plugin",
		"replication_method.queue_size",
	}
	if got := slices.Sorted(slices.Values(c.Ignored)); !slices.Equal(got, ignored) {
		t.Errorf("3.7 CDC ignores %q", got)
	}
	if c.Tunnel.Method != TunnelPassword || c.Tunnel.Password != "tunnelpass" || c.TLS.Mode != VerifyCA {
		t.Errorf("3.7 CDC: %v %v", c.Tunnel.Method, c.TLS.Mode)
	}

	c = parseFile(t, "airbyte_3_4_odd")
	if c.Method != MethodCDC || c.CDC.Slot != "s" || c.TLS.Mode != Disable || len(c.Warnings) != 2 ||
		len(c.Ignored) != 3 {
		t.Errorf("3.4: %v %v, warnings %q, ignored %q", c.Method, c.TLS.Mode, c.Warnings, c.Ignored)
	}

	c = parseFile(t, "airbyte_3_8_cdc")
	if c.TLS.Mode != Allow || c.CheckPrivileges || c.CheckpointInterval != time.Minute || c.MaxConnections != 3 ||
		c.CDC.HeartbeatQuery != "SELECT 1" || c.CDC.AcknowledgeReading {
		t.Errorf("3.8 CDC: %+v", c)
	}

	c = parseFile(t, "platform_tls_tunnel")
	if !strings.Contains(c.TLS.CA, "-----BEGIN CERTIFICATE-----\nMIIBCERT\n-----END") ||
		c.TLS.KeyPassword != "keypass" {
		t.Errorf("platform TLS: CA %q", c.TLS.CA)
	}
	if c.Tunnel.Host != "bastion.example.com" || c.Tunnel.Port != 2222 || !strings.Contains(c.Tunnel.Key, "\nMIIEKEY\n") ||
		c.Tunnel.Passphrase != "phrase" || !strings.HasPrefix(c.Tunnel.HostKey, "SHA256:") {
		t.Errorf("platform tunnel: %+v", c.Tunnel)
	}
}

func TestTLSModes(t *testing.T) {
	for _, c := range []struct {
		settings string
		want     TLSMode
		warnings int
	}{
		{``, Prefer, 0},
		{`"ssl_mode":{}`, Prefer, 0},
		{`"ssl":null`, Prefer, 0},
		{`"ssl":false`, Disable, 0},
		{`"ssl":false,"ssl_mode":{"mode":"disable"}`, Disable, 0},
		{`"ssl":false,"ssl_mode":{"mode":"verify-full"}`, Disable, 1},
		{`"ssl":true,"ssl_mode":{"mode":"verify-full"}`, VerifyFull, 0},
		{`"ssl_mode":{"mode":"allow"}`, Allow, 0},
		{`"jdbc_url_params":"sslmode=verify-ca"`, VerifyCA, 0},
		{`"jdbc_url_params":"ssl=true"`, VerifyFull, 0},
		{`"jdbc_url_params":"ssl=true&sslmode=require"`, Require, 0},
		{`"jdbc_url_params":"ssl=false"`, Prefer, 0},
		{`"jdbc_url_params":"sslmode=never"`, Prefer, 1},
		{`"jdbc_url_params":"sslmode=disable","ssl_mode":{"mode":"require"}`, Require, 1},
	} {
		got := mustParse(t, c.settings)
		if got.TLS.Mode != c.want || len(got.Warnings) != c.warnings {
			t.Errorf("%s: mode %s, warnings %q", c.settings, got.TLS.Mode, got.Warnings)
		}
	}
}

func TestTunnelSwitch(t *testing.T) {
	const method = `"tunnel_method":{"tunnel_method":"SSH_PASSWORD_AUTH","tunnel_host":"b","tunnel_port":22,` +
		`"tunnel_user":"t","tunnel_user_password":"x"}`
	for settings, want := range map[string]TunnelMethod{
		``: NoTunnel, method: TunnelPassword, `"remote_conn":null,` + method: TunnelPassword,
		`"remote_conn":true,` + method: TunnelPassword, `"remote_conn":false,` + method: NoTunnel,
		`"remote_conn":false`: NoTunnel,
	} {
		c := mustParse(t, settings)
		if c.Tunnel.Method != want {
			t.Errorf("%s: %s", settings, c.Tunnel.Method)
		}
		ignored := strings.Contains(settings, "false") && strings.Contains(settings, "SSH")
		if ignored != (len(c.Warnings) > 0) {
			t.Errorf("%s: warnings %q", settings, c.Warnings)
		}
	}
}

func TestProblems(t *testing.T) {
	for settings, want := range map[string]string{
		`"ssl":true`:               "disable, allow, prefer, require, verify-ca, verify-full",
		`"ssl":true,"ssl_mode":{}`: `"ssl_mode.mode" is missing`,
		`"ssl_mode":{"mode":"require","client_key":"-----BEGIN PRIVATE KEY-----"}`: "both or neither",
		`"ssl_mode":{"mode":"verify-ca","ca_certificate":"/etc/ca.pem"}`:           "not a certificate in PEM form",
		`"remote_conn":true`: "names no tunnel",
		`"remote_conn":true,"tunnel_method":{"tunnel_method":"NO_TUNNEL"}`:   "names no tunnel",
		`"tunnel_method":{"tunnel_method":"SSH_KEY_AUTH","tunnel_user":"u"}`: `"tunnel_method.ssh_key" is missing`,
		`"tunnel_method":{"tunnel_method":"TELNET"}`:                         "must be one of NO_TUNNEL",
		`"replication_method":{"method":"CDC","replication_slot":"s"}`:       `"replication_method.publication" is missing`,
		`"replication_method":{"method":"Log"}`:                              "must be one of Standard, Xmin, CDC",
		`"replication_method":{"method":"CDC","replication_slot":7}`:         "must be a text",
		`"entra_service_principal_auth":true`:                                "not supported",
		`"schemas":[""]`:                                                     "empty name",
		`"password":"a\u0000b"`:                                              "NUL",
		`"max_db_connections":1.5`:                                           "whole number",
		`"host":"jdbc:postgresql://u:canary@h/d"`:                            "holds a URL",
		`"host":"u:canary@h"`:                                                "holds a URL",
		`"host":"h:5433"`:                                                    "holds a port",
		`"host":"h1,,h2"`:                                                    `"host" is empty`,
		`"host":"h1,h2:99999"`:                                               "names a port",
		`"host":"my host"`:                                                   "not a host name",
		`"host":" "`:                                                         `"host" is empty`,
		`"database":""`:                                                      `"database" is empty`,
		`"replication_method":{"lsn_commit_behaviour":"Never"}`:              "lsn_commit_behaviour",
	} {
		_, err := Parse(with(settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", settings, err)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows a value: %v", settings, err)
		}
		for _, p := range protocol.Problems(err) {
			var e *protocol.Error
			if !errors.As(p, &e) || e.Kind != protocol.Config {
				t.Errorf("%s: %#v", settings, p)
			}
		}
	}
	_, err := Parse([]byte(`{"port":"x","ssl":true,"remote_conn":true}`))
	if n := len(protocol.Problems(err)); n != 6 {
		t.Errorf("%d problems at once: %v", n, err)
	}
	for _, text := range []string{``, `[]`, `null`, `"x"`, `{`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestHosts(t *testing.T) {
	got := mustParse(t, `"host":"a, b:5433,[::1],[::2]:7,/run/postgresql"`).Hosts
	want := []Host{{"a", 5432}, {"b", 5433}, {"::1", 5432}, {"::2", 7}, {"/run/postgresql", 5432}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHost(t *testing.T) {
	const padded = "  db.example.com "
	for host, want := range map[string]string{
		padded: "db.example.com", "[::1]": "::1", "fe80::1%eth0": "fe80::1%eth0", "10.0.0.1": "10.0.0.1",
		"/var/run/postgresql": "/var/run/postgresql",
	} {
		if got := mustParse(t, `"host":"`+host+`"`).Hosts[0].Name; got != want {
			t.Errorf("%q: %q", host, got)
		}
	}
}

func TestIgnored(t *testing.T) {
	c := mustParse(t, `"zeta":1,"alpha":{"secret":"x"},"ssl_mode":{"mode":"require","colour":"red"},`+
		`"source_definition_id":"i"`)
	if want := []string{"ssl_mode.colour", "alpha", "zeta"}; !slices.Equal(c.Ignored, want) {
		t.Errorf("ignored %q", c.Ignored)
	}
}

func TestSecrets(t *testing.T) {
	c := parseFile(t, "platform_tls_tunnel")
	for _, want := range []string{
		c.Password, c.TLS.CA, c.TLS.Certificate, c.TLS.Key, c.TLS.KeyPassword, c.Tunnel.Key,
		c.Tunnel.Passphrase,
	} {
		if want == "" || !slices.Contains(c.Secrets(), want) {
			t.Errorf("%.20q is not among the secrets", want)
		}
	}
	c = mustParse(t, `"password":"","jdbc_url_params":"password=canary&user=x"`)
	if got := c.Secrets(); !slices.Equal(got, []string{"canary"}) {
		t.Errorf("secrets %q", got)
	}
	if c.Username != "u" || c.Password != "" {
		t.Errorf("jdbc_url_params changed the user: %q %q", c.Username, c.Password)
	}
}

func TestRepair(t *testing.T) {
	const want = "-----BEGIN PRIVATE KEY-----\nAAAA\nBBBB\n-----END PRIVATE KEY-----\n"
	for _, text := range []string{
		want, strings.TrimSpace(want), strings.ReplaceAll(want, "\n", `\n`), strings.ReplaceAll(want, "\n", "\r\n"),
		strings.ReplaceAll(want, "\n", `\r\n`), strings.ReplaceAll(want, "\n", " "), "\n\n" + want + "  ",
	} {
		if got := repair(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if got := repair(" \n"); got != "" {
		t.Errorf("blank becomes %q", got)
	}
}

func FuzzParse(f *testing.F) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file.Name(), ".json") {
			text, err := os.ReadFile("testdata/" + file.Name())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add(with(`"jdbc_url_params":"options=-c%20a%3Db%5C&&=&x&%zz=1","host":"[::1","ssh_key":"-----BEGIN -----END "`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		if c.Hosts[0].Name == "" || c.Hosts[0].Port == 0 ||
			c.Username == "" || c.Database == "" || c.CheckpointInterval <= 0 ||
			c.MaxFieldBytes <= 0 || c.TLS.Mode == "" || c.Method == "" {
			t.Errorf("incomplete: %+v", c)
		}
		if c.Method == MethodCDC && (c.CDC.Slot == "" || c.CDC.Publication == "") {
			t.Errorf("CDC without a slot or a publication: %+v", c.CDC)
		}
	})
}
