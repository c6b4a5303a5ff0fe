package integration

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
)

// checked runs check and gives the message of a status that has to be FAILED, with exit code 0.
func checked(t *testing.T, config any) string {
	t.Helper()
	r := run(t, "check", input{config: config}).ok()
	status := r.status()
	if status.Status != "FAILED" || status.Message == "" {
		t.Errorf("check says %s %q, want FAILED with a message", status.Status, status.Message)
	}
	return status.Message
}

// expectSucceeded reports settings with which check does not succeed.
func expectSucceeded(t *testing.T, what string, config any) {
	t.Helper()
	if status := run(t, "check", input{config: config}).ok().status(); status.Status != "SUCCEEDED" {
		t.Errorf("%s: check says %s %s", what, status.Status, status.Message)
	}
}

// expectIn reports which of the texts a message lacks.
func expectIn(t *testing.T, what, message string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(message, text) {
			t.Errorf("%s: the message lacks %q: %s", what, text, message)
		}
	}
}

func TestCheckSucceeds(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE SCHEMA empty; CREATE TABLE t (id int)")
	for what, settings := range map[string]map[string]any{
		"one schema":               {"schemas": []string{"public"}},
		"a schema without tables":  {"schemas": []string{"empty"}},
		"both":                     {"schemas": []string{"public", "empty"}},
		"every schema":             {"schemas": []string{}},
		"no setting":               {"schemas": nil},
		"Xmin":                     {"replication_method": map[string]any{"method": "Xmin"}},
		"a cursor":                 {"replication_method": map[string]any{"method": "Standard"}},
		"a name with blanks round": {"host": "  " + db.Host + "\t"},
	} {
		r := run(t, "check", input{config: db.config(settings)}).ok()
		if status := r.status(); status.Status != "SUCCEEDED" || status.Message != "" {
			t.Errorf("%s: %s %s", what, status.Status, status.Message)
		}
	}
}

var grantSQL = regexp.MustCompile(`Run: (GRANT .*;)`)

// A role that lacks privileges is told which, and the SQL that gives them works.
func TestCheckPrivileges(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ setup, lacks string }{
		"no USAGE":          {`GRANT SELECT ON "a ""b""".t TO %[1]s`, "the USAGE privilege on schema"},
		"no SELECT":         {`GRANT USAGE ON SCHEMA "a ""b""" TO %[1]s`, "privileges to SELECT from any of the tables in"},
		"neither":           {``, "the USAGE privilege on schema"},
		"SELECT on one":     {`GRANT USAGE ON SCHEMA "a ""b""" TO %[1]s; GRANT SELECT ON "a ""b""".t TO %[1]s`, ""},
		"SELECT on columns": {`GRANT USAGE ON SCHEMA "a ""b""" TO %[1]s; GRANT SELECT (id) ON "a ""b""".t TO %[1]s`, ""},
		"by membership": {`CREATE ROLE "%[2]s" ROLE %[1]s; GRANT USAGE ON SCHEMA "a ""b""" TO "%[2]s";` +
			`GRANT SELECT ON "a ""b""".t TO "%[2]s"`, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			db.exec(`CREATE SCHEMA "a ""b"""; CREATE TABLE "a ""b""".t (id int); CREATE VIEW "a ""b""".v AS SELECT 1 AS one`)
			user := db.role(`us"er`)
			group := db.Name + "_group"
			if c.setup != "" {
				db.exec(fmt.Sprintf(c.setup, quoted(user.Name), group))
			}
			if strings.Contains(c.setup, "CREATE ROLE") {
				defer db.exec(fmt.Sprintf(`DROP OWNED BY "%[1]s"; DROP ROLE "%[1]s"`, group))
			}
			config := db.configAs(user, map[string]any{"schemas": []string{`a "b"`}})
			if c.lacks != "" {
				message := checked(t, config)
				expectIn(t, what, message, "State code: 42501; Message: ", c.lacks, `a "b"`)
				sql := grantSQL.FindStringSubmatch(message)
				if sql == nil {
					t.Fatalf("the message has no SQL to run: %s", message)
				}
				db.exec(sql[1])
			}
			expectSucceeded(t, "check", config)
		})
	}
}

// Without a list of schemas it is enough that something can be read; nothing at all is a failure.
func TestCheckWithoutAnythingToRead(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	config := db.configAs(user, map[string]any{"schemas": nil})
	expectSucceeded(t, "an empty database", config)
	db.exec("CREATE TABLE t (id int); CREATE SCHEMA other; CREATE TABLE other.t (id int)")
	expectIn(t, "nothing", checked(t, config), "State code: 42501; Message: ", db.Name, user.Name, "GRANT SELECT")
	db.exec("GRANT SELECT ON t TO " + quoted(user.Name))
	expectSucceeded(t, "one table", config)
}

// Everything that is wrong with the schemas is told at once, with the schemas that there are.
func TestCheckNamesEverySchema(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	user := db.role("user")
	db.exec("CREATE SCHEMA sales; CREATE SCHEMA closed; CREATE TABLE closed.t (id int); CREATE TABLE t (id int)")
	config := db.configAs(user, map[string]any{"schemas": []string{"Sales", "nope", "closed", "public"}})
	message := checked(t, config)
	expectIn(t, "schemas", message, "State code: 3F000; Message: ", `"Sales" does not exist`, `"nope" does not exist`,
		"the schemas here are: closed, public, sales.", "State code: 42501; Message: ", "USAGE privilege on schema closed",
		"SELECT from any of the tables in schema public")
	if n := strings.Count(message, "\n") + 1; n != 4 {
		t.Errorf("%d lines, want one for each of 4 problems: %s", n, message)
	}
}

// What the server itself has against a login is told with its code and with what to do.
func TestCheckRefusedLogins(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ sql, want string }{
		"no CONNECT":     {"REVOKE CONNECT ON DATABASE DB FROM PUBLIC", "State code: 42501; Message: "},
		"no LOGIN":       {"ALTER ROLE USER NOLOGIN", "State code: 28000; Message: "},
		"expired":        {"ALTER ROLE USER VALID UNTIL '2001-01-01'", "State code: 28P01; Message: "},
		"no password":    {"ALTER ROLE USER PASSWORD NULL", "State code: 28P01; Message: "},
		"no connections": {"ALTER ROLE USER CONNECTION LIMIT 0", "State code: 53300; Message: "},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			user := db.role("user")
			db.exec(strings.NewReplacer("USER", quoted(user.Name), "DB", quoted(db.Name)).Replace(c.sql))
			expectIn(t, what, checked(t, db.configAs(user, nil)), c.want)
		})
	}
}

// Every violation of the spec is told at once, by field and without a value.
func TestCheckNamesEveryViolation(t *testing.T) {
	t.Parallel()
	message := checked(t, map[string]any{
		"host": 7, "port": "canary-5432", "database": "d", "password": map[string]any{"canary": 1},
		"schemas": []any{"canary", "canary", 8}, "ssl": "canary", "ssl_mode": map[string]any{"mode": "canary"},
		"tunnel_method": map[string]any{
			"tunnel_method": "SSH_KEY_AUTH", "ssh_key": 5, "tunnel_port": 70000, "tunnel_user": "u",
		},
		"replication_method":                 map[string]any{"method": "CDC", "replication_slot": "", "canary": 1},
		"checkpoint_target_interval_seconds": -1,
	})
	want := []string{
		`Setting "checkpoint_target_interval_seconds" must be at least 1.`,
		`Setting "host" must be of type string, not integer.`,
		`Setting "password" must be of type string, not object.`,
		`Setting "port" must be of type integer, not string.`,
		`Setting "replication_method.publication" is missing.`,
		`Setting "replication_method.replication_slot" must not be empty.`,
		`Setting "schemas" names the same value twice.`,
		`Setting "schemas.2" must be of type string, not integer.`,
		`Setting "ssl" must be of type boolean, not string.`,
		`Setting "ssl_mode.mode" must be one of: `,
		`Setting "tunnel_method.ssh_key" must be of type string, not integer.`,
		`Setting "tunnel_method.tunnel_host" is missing.`,
		`Setting "tunnel_method.tunnel_port" must be at most 65535.`,
		`Setting "username" is missing.`,
	}
	lines := strings.Split(message, "\n")
	for i, line := range lines {
		if i < len(want) && !strings.HasPrefix(line, want[i]) {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
	if len(lines) != len(want) || strings.Contains(message, "canary") {
		t.Errorf("%d lines, want %d, and no value: %s", len(lines), len(want), message)
	}
}

// The same wrong settings: an answer to check, one error to discover and read, which then say nothing else.
func TestWrongSettingsForEveryCommand(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	nobody := db.role("nobody")
	db.exec("REVOKE CONNECT ON DATABASE " + quoted(db.Name) + " FROM PUBLIC")
	for what, c := range map[string]struct {
		config   map[string]any
		kind     string
		contains string
	}{
		"host":      {db.config(map[string]any{"host": "no-such-host.invalid"}), "config_error", "State code: 08001; "},
		"port":      {db.config(map[string]any{"port": closedPort(t)}), "transient_error", "State code: 08001; "},
		"database":  {db.config(map[string]any{"database": "none"}), "config_error", "State code: 3D000; "},
		"user":      {db.config(map[string]any{"username": "none"}), "config_error", "State code: 28"},
		"password":  {db.config(map[string]any{"password": "not the right one"}), "config_error", "State code: 28P01; "},
		"no rights": {db.configAs(nobody, nil), "config_error", "State code: 42501; "},
		"TLS": {
			db.config(map[string]any{"ssl": true, "ssl_mode": map[string]any{"mode": "require"}}), "config_error",
			"State code: 08004; ",
		},
		"type":        {db.config(map[string]any{"port": "5432"}), "config_error", `Setting "port" must be of type integer`},
		"contents":    {db.config(map[string]any{"host": "http://" + db.Host}), "config_error", `"host" holds a URL`},
		"client key":  {db.config(map[string]any{"ssl": nil, "ssl_mode": badKey}), "config_error", "client_key"},
		"ssh key":     {db.config(map[string]any{"tunnel_method": badTunnel}), "config_error", "ssh_key"},
		"ssh refused": {db.config(map[string]any{"tunnel_method": tunnelTo(closedPort(t))}), "transient_error", "SSH server"},
	} {
		expectIn(t, what, checked(t, c.config), c.contains)
		for _, command := range []string{"discover", "read"} {
			p := startLine(t, "", input{config: c.config, catalog: in.catalog}, command, "--config=$config",
				"--catalog=$catalog")
			r := p.wait()
			e := r.failed(c.kind)
			expectIn(t, what+", "+command, e.Message, c.contains)
			for _, m := range r.messages {
				if m.Log == nil && (m.Trace == nil || m.Trace.Error == nil) || r.exit != 1 {
					t.Errorf("%s, %s: exit code %d, a %s message", what, command, r.exit, m.Type)
				}
			}
		}
	}
}

var (
	badKey = map[string]any{
		"mode": "require", "client_certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
		"client_key": "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
	}
	badTunnel = map[string]any{
		"tunnel_method": "SSH_KEY_AUTH", "tunnel_host": "127.0.0.1", "tunnel_port": 22, "tunnel_user": "u",
		"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nMIIB\n-----END OPENSSH PRIVATE KEY-----",
	}
)

// tunnelTo is a tunnel_method with a password and an SSH server on this machine.
func tunnelTo(port int) map[string]any {
	return map[string]any{
		"tunnel_method": "SSH_PASSWORD_AUTH", "tunnel_host": "127.0.0.1", "tunnel_port": port, "tunnel_user": "u",
		"tunnel_user_password": "password of the tunnel",
	}
}

// closedPort is a port of 127.0.0.1 on which nothing listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// listen starts a server of one's own on 127.0.0.1, which ends with the test, and gives its port.
func listen(t *testing.T, serve func(net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// silent takes a connection and says nothing on it.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// Whatever it is that listens on the port, check comes back with an answer.
func TestCheckOtherServers(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		serve func(net.Conn)
		want  string
	}{
		"silent": {silent, "State code: 08001; Message: the server did not answer in time."},
		"closes": {func(net.Conn) {}, "State code: 08006; Message: the server closed the connection"},
		"HTTP": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		}, "State code: 08"},
		"SSH": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n"); silent(c) }, "State code: 08"},
		"huge message": {func(c net.Conn) {
			_, _ = c.Write([]byte{'E', 0x7f, 0xff, 0xff, 0xff})
			silent(c)
		}, "State code: 08"},
		"negative length": {func(c net.Conn) {
			_, _ = c.Write([]byte{'R', 0xff, 0xff, 0xff, 0xff})
			silent(c)
		}, "State code: 08"},
		"unknown login": {func(c net.Conn) {
			_, _ = c.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 99})
			silent(c)
		}, "State code: 08"},
		"too many clients": {func(c net.Conn) {
			_, _ = io.WriteString(c, "E\x00\x00\x00\x2cSFATAL\x00C53300\x00Msorry, too many clients\x00\x00")
		}, "State code: 53300; Message: sorry, too many clients."},
		"starting": {func(c net.Conn) {
			_, _ = io.WriteString(c, "E\x00\x00\x00\x2eSFATAL\x00C57P03\x00Mthe system is starting up\x00\x00")
		}, "State code: 57P03; Message: the system is starting up."},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			port := listen(t, c.serve)
			for _, mode := range []string{"disable", "require"} {
				message := checked(t, map[string]any{
					"host": "127.0.0.1", "port": port, "database": "d", "username": "u", "password": "password of the user",
					"ssl_mode": map[string]any{"mode": mode}, "jdbc_url_params": "connectTimeout=1",
				})
				if mode == "disable" {
					expectIn(t, what, message, c.want)
				}
				expectIn(t, what+" "+mode, message, "State code: ", fmt.Sprint(port))
			}
		})
	}
}

// A server that stops is one that may be there again: check still answers.
func TestCheckAStoppedServer(t *testing.T) {
	t.Parallel()
	s := private(t)
	db := newDBOn(t, s)
	config := db.config(nil)
	in := twoRows(db)
	if err := s.Halt(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	expectIn(t, "stopped", checked(t, config), "State code: 08001; Message: the connection was refused")
	run(t, "read", in).failed("transient_error")
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, "read", in).expectAnswer("read", "resumed")
	_, _ = db.Value(t.Context(), "SELECT 1") // the old connection is broken, which only its next use shows
}
