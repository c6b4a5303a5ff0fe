package integration

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// canary is a secret that has every character that URLs, shells, SQL, JSON and key=value lists treat specially, and a
// word between any two of them: whatever is cut out of it, and however it is escaped, the word shows.
const canary = `canary p@canary:w/canary?canary#canary%41canary'canary"canary\canary $canary;canary|canary` +
	`&canary=canaryÄcanaryÖ☃canary🙂canary,canary{canary}canary`

// betrayals are what a text may show of canary, in lower case: as it is or with any escapes, in hex, and in base64,
// where the same letters look different at each of three offsets.
func betrayals() []string {
	found := []string{"canary", hex.EncodeToString([]byte("canary"))}
	for offset := range 3 {
		// Two letters more in front and behind would share their base64 characters with what surrounds the word.
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + "canary"))
		clean := encoded[[]int{0, 2, 3}[offset] : len(strings.TrimRight(encoded, "="))-1]
		found = append(found, strings.ToLower(clean))
	}
	return found
}

// expectNoCanary looks for canary in everything that the connector wrote.
func (r *result) expectNoCanary(what string) {
	r.t.Helper()
	output := strings.ToLower(r.stderr + "\n" + string(bytes.Join(r.lines, []byte("\n"))))
	for _, form := range betrayals() {
		if i := strings.Index(output, form); i >= 0 {
			r.t.Errorf("%s: the output shows a secret: …%s…", what, output[max(0, i-100):min(len(output), i+100)])
		}
	}
}

// The search above finds what it is for.
func TestBetrayals(t *testing.T) {
	t.Parallel()
	secret := []byte("xyz" + canary)
	for offset := range 3 {
		for what, text := range map[string]string{
			"plain": string(secret[offset:]), "hex": fmt.Sprintf("%X", secret[offset:]), "quoted": fmt.Sprintf("%+q", secret),
			"base64": base64.StdEncoding.EncodeToString(secret[offset:]),
			"URL":    base64.RawURLEncoding.EncodeToString(secret[offset:]),
		} {
			text = strings.ToLower(text)
			if !slices.ContainsFunc(betrayals(), func(form string) bool { return strings.Contains(text, form) }) {
				t.Errorf("%s at %d is not found: %s", what, offset, text)
			}
		}
	}
}

// A password may have any character but NUL.
func TestPasswordsWithSpecialCharacters(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	user := db.role("user")
	db.exec("GRANT SELECT ON t TO " + quoted(user.Name))
	for what, password := range map[string]string{
		"canary": canary, "blanks": "  a b\tc  ", "lines": "one\ntwo\r\nthree", "quotes": `'"''""\'\"`, "backslash": `\`,
		"percent": "%zz%00%41+%20", "URL": "postgres://u:p@h:1/d?sslmode=disable", "DSN": "a b=c host=elsewhere.invalid",
		"JSON": `{"password":"x"}`, "controls": "\x01\x1f\x7f\u0085\u2028", "digits": "٣123", "letters": "Zürich Åß日本",
		"long": strings.Repeat("0123456789", 99), "comment": "/*-- $$", "joker": "*",
	} {
		db.exec("ALTER ROLE " + quoted(user.Name) + " PASSWORD '" + strings.ReplaceAll(password, "'", "''") + "'")
		user.Password = password
		in.config = db.configAs(user, nil)
		in.env = []string{"LOG_LEVEL=TRACE"}
		for _, command := range []string{"check", "discover", "read"} {
			r := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog").wait()
			r.expectAnswer(command, what)
			r.expectNoCanary(what)
		}
	}
}

// However a command fails, and at every level of logging, no secret is in its output.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	user := db.role("user")
	db.exec("ALTER ROLE " + quoted(user.Name) + " PASSWORD '" + strings.ReplaceAll(canary, "'", "''") + "'")
	user.Password = canary
	db.exec("CREATE VIEW broken AS SELECT 1 / 0 AS id; GRANT SELECT ON broken TO PUBLIC")
	with := func(overrides map[string]any) map[string]any {
		all := map[string]any{
			"password":        canary,
			"jdbc_url_params": "password=" + canary + "&sslpassword=" + canary + "&" + canary + "&options=" + canary,
		}
		maps.Copy(all, overrides)
		return db.config(all)
	}
	tls := func(fields map[string]any) map[string]any {
		fields["mode"] = "require"
		return with(map[string]any{"ssl": nil, "ssl_mode": fields})
	}
	tunnel := func(fields map[string]any) map[string]any {
		all := map[string]any{"tunnel_host": "127.0.0.1", "tunnel_port": closedPort(t), "tunnel_user": "u"}
		maps.Copy(all, fields)
		return with(map[string]any{"tunnel_method": all})
	}
	block := func(kind, inner string) string {
		return "-----BEGIN " + kind + "-----\n" + inner + "\n-----END " + kind + "-----\n"
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	for what, config := range map[string]any{
		"wrong password":   with(nil),
		"wrong user":       with(map[string]any{"username": "nobody"}),
		"wrong host":       with(map[string]any{"host": "no-such-host.invalid"}),
		"wrong port":       with(map[string]any{"port": closedPort(t)}),
		"wrong database":   with(map[string]any{"database": "none"}),
		"no TLS":           with(map[string]any{"ssl": nil, "ssl_mode": map[string]any{"mode": "verify-full"}}),
		"URL for host":     with(map[string]any{"host": "postgres://u:" + canary + "@" + db.Host + "/d"}),
		"DSN for host":     with(map[string]any{"host": "host=h password=" + canary}),
		"user at host":     with(map[string]any{"host": canary + "@h"}),
		"missing schema":   db.configAs(user, map[string]any{"schemas": []string{"none"}}),
		"password a list":  with(map[string]any{"password": []string{canary}}),
		"password object":  with(map[string]any{"password": map[string]any{canary: canary}}),
		"port a text":      with(map[string]any{"port": canary}),
		"unknown mode":     with(map[string]any{"ssl_mode": map[string]any{"mode": canary}}),
		"unknown method":   with(map[string]any{"replication_method": map[string]any{"method": canary}}),
		"mode an object":   with(map[string]any{"ssl_mode": map[string]any{"mode": map[string]any{canary: canary}}}),
		"unknown settings": with(map[string]any{"api_key": canary, "more": map[string]any{"password": canary}}),
		"NUL in password":  with(map[string]any{"password": canary + "\x00"}),
		"client key":       tls(map[string]any{"client_certificate": block("CERTIFICATE", "MIIB"), "client_key": canary}),
		"client key in PEM": tls(map[string]any{
			"client_certificate": block("CERTIFICATE", "MIIB"), "client_key": block("PRIVATE KEY", encoded),
		}),
		"client key password": tls(map[string]any{
			"client_certificate": block("CERTIFICATE", "MIIB"), "client_key_password": canary,
			"client_key": block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n"+
				"DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"+encoded),
		}),
		"client key for certificate": tls(map[string]any{
			"client_certificate": block("PRIVATE KEY", encoded), "client_key": block("PRIVATE KEY", encoded),
		}),
		"key for authority": tls(map[string]any{"ca_certificate": block("PRIVATE KEY", encoded)}),
		"ssh password":      tunnel(map[string]any{"tunnel_method": "SSH_PASSWORD_AUTH", "tunnel_user_password": canary}),
		"ssh key":           tunnel(map[string]any{"tunnel_method": "SSH_KEY_AUTH", "ssh_key": canary}),
		"ssh key in PEM": tunnel(map[string]any{
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": block("OPENSSH PRIVATE KEY", encoded), "ssh_key_passphrase": canary,
		}),
		"ssh key cut off": tunnel(map[string]any{
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": "-----BEGIN RSA PRIVATE KEY-----\n" + encoded,
		}),
		"ssh host key": tunnel(map[string]any{
			"tunnel_method": "SSH_PASSWORD_AUTH", "tunnel_user_password": canary, "ssh_host_key": canary,
		}),
		"not JSON":     `{"host":"h","password":"` + canary + `}`,
		"text of JSON": text(t, canary),
	} {
		in.config = config
		for _, command := range []string{"check", "discover", "read"} {
			in.env = []string{"LOG_LEVEL=TRACE"}
			r := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog").wait()
			r.expectNoCanary(what + ", " + command)
			if command == "read" && r.exit != 1 {
				t.Errorf("%s, %s: exit code %d, want 1", what, command, r.exit)
			}
		}
	}
	// A read that gets further, and then fails.
	in.config = db.configAs(user, map[string]any{"jdbc_url_params": "password=" + canary})
	in.catalog = discover(t, in.config.(map[string]any)).configure("full_refresh")
	r := run(t, "read", in)
	r.failed("config_error")
	r.expectNoCanary("broken view")
}

// People paste settings where they do not belong.
func TestSecretsOnTheCommandLineAreNotShown(t *testing.T) {
	t.Parallel()
	settings := string(text(t, map[string]any{"host": "h", "password": canary}))
	for _, line := range [][]string{
		{settings},
		{"check", settings},
		{"check", "--config", settings},
		{"check", "--config=" + settings},
		{"check", "--config", "\n" + settings + "\n"},
		{"read", "--config", "$config", "--catalog", settings},
		{"read", "--config=$config", "--catalog=$config", "--state", settings},
		{"check", "--password", canary},
		{"check", "--password=" + canary},
		{"check", "-p" + canary},
		{"check", "postgres://u:" + canary + "@h/d"},
		{"PGPASSWORD=" + canary, "check"},
	} {
		r := startLine(t, "", input{config: settings}, line...).wait()
		r.failed("config_error")
		r.expectNoCanary(fmt.Sprint(line))
	}
}

// What was given as a file is not repeated either, be it a catalog or a state.
func TestSecretsInOtherFilesAreNotShown(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	for _, content := range []any{`"` + canary, text(t, canary), text(t, []string{canary}), text(t, map[string]any{
		"streams": canary, "type": 5, "password": canary,
	})} {
		for _, option := range []string{"catalog", "state"} {
			in := in
			if option == "catalog" {
				in.catalog = content
			} else {
				in.state = content
			}
			r := run(t, "read", in)
			r.failed("config_error")
			r.expectNoCanary(fmt.Sprintf("%s %s", option, content))
		}
	}
}

// An SSH server that lets nobody in, and says why.
func TestSecretsOfTheTunnelAreNotShown(t *testing.T) {
	t.Parallel()
	key := mustKey(t)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := ssh.MarshalPrivateKeyWithPassphrase(key, "comment", []byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	refuse := &ssh.ServerConfig{
		PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, io.EOF },
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, io.EOF
		},
	}
	refuse.AddHostKey(signer)
	port := listen(t, func(c net.Conn) {
		_, _, _, _ = ssh.NewServerConn(c, refuse) // it fails, which is what it is for
	})
	plain := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for what, method := range map[string]map[string]any{
		"password": {"tunnel_method": "SSH_PASSWORD_AUTH", "tunnel_user_password": canary},
		"key":      {"tunnel_method": "SSH_KEY_AUTH", "ssh_key": plain},
		"sealed key": {
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": string(pem.EncodeToMemory(sealed)), "ssh_key_passphrase": canary,
		},
		"wrong passphrase": {
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": string(pem.EncodeToMemory(sealed)), "ssh_key_passphrase": canary + "x",
		},
	} {
		maps.Copy(method, map[string]any{"tunnel_host": "127.0.0.1", "tunnel_port": port, "tunnel_user": "u"})
		r := run(t, "check", input{env: []string{"LOG_LEVEL=TRACE"}, config: map[string]any{
			"host": "h", "port": 5432, "database": "d", "username": "u", "password": canary, "tunnel_method": method,
		}}).ok()
		want := "refused the login"
		if what == "wrong passphrase" {
			want = "tunnel_method.ssh_key_passphrase"
		}
		if message := r.status().Message; r.status().Status != "FAILED" || !strings.Contains(message, want) {
			t.Errorf("%s: %s %s", what, r.status().Status, message)
		}
		r.expectNoCanary(what)
	}
}

// While the connector runs, its secrets are not where other users of the machine or of the database look.
func TestSecretsOfARunningProcess(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE VIEW v AS SELECT 1 AS id, pg_sleep(3600)::text AS slept; GRANT SELECT ON v TO PUBLIC")
	user := db.role("user")
	db.exec("ALTER ROLE " + quoted(user.Name) + " PASSWORD '" + strings.ReplaceAll(canary, "'", "''") + "'")
	user.Password = canary
	config := db.configAs(user, nil)
	in := input{config: config, catalog: discover(t, config).configure("full_refresh"), timeout: time.Minute}
	p := start(t, "read", in)
	db.await("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
	for _, file := range []string{"cmdline", "environ", "comm"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("canary")) {
			t.Errorf("%s of the process shows a secret: %q", file, content)
		}
	}
	activity := db.column("SELECT to_json(a)::text FROM pg_stat_activity AS a WHERE application_name = 'source-postgres'")
	if has(activity, "canary") || len(activity) == 0 {
		t.Errorf("pg_stat_activity shows a secret, or nothing at all: %s", activity)
	}
	db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
		"WHERE datname = current_database() AND wait_event = 'PgSleep'")
	r := p.wait()
	r.failed("transient_error")
	r.expectNoCanary("ended")
}

// SIGQUIT, which for other Go programs means a dump on stderr and perhaps a core file, ends a read as other signals do;
// what every goroutine was at is in the stack trace, and no secret.
func TestQuitShowsStacks(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	db.exec("ALTER ROLE " + quoted(user.Name) + " PASSWORD '" + strings.ReplaceAll(canary, "'", "''") + "'")
	user.Password = canary
	in := large(db, 2)
	db.exec("GRANT SELECT ON t TO " + quoted(user.Name))
	in.config = db.configAs(user, map[string]any{"max_db_connections": 2})
	p := start(t, "read", in)
	p.until(func(m message) bool { return m.State != nil })
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	r := p.wait().expectExit(131)
	e := r.failed("transient_error")
	if !strings.Contains(e.StackTrace, "scan.(*worker).run") || r.stderr != "" {
		t.Errorf("stack trace %q, stderr %q", e.StackTrace, r.stderr)
	}
	r.expectNoCanary("SIGQUIT")
	db.expectGone()
}
