package integration

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A tlsMode is an ssl_mode, with the certificate of the own authority or, for the verify modes, the system's.
type tlsMode struct {
	mode string
	ca   bool
}

var tlsModes = []tlsMode{
	{"disable", false},
	{"allow", false},
	{"prefer", false},
	{"require", false},
	{"require", true},
	{"verify-ca", true},
	{"verify-full", true},
	{"verify-full", false},
}

func (m tlsMode) String() string {
	switch {
	case m.mode == "require" && m.ca:
		return "require+CA"
	case m.mode == "verify-full" && !m.ca:
		return "full, system"
	}
	return m.mode
}

// A tlsServer is a kind of server: what it shows, whom it lets in, and how it is reached.
type tlsServer struct {
	name   string
	shown  *identity // nil: TLS is off
	entry  string    // the type of the lines in pg_hba.conf
	option string    // and what stands at their end
	oldest bool      // nothing newer than TLS 1.1
	host   string
	hidden bool // host is a name that only the SSH server knows
	client *identity
	strip  bool   // through a proxy that says the server had no TLS
	works  string // for each of tlsModes: plain, TLS, or x
	psql   string // the same of psql, where it is too old to be the measure
}

// A tlsTable is what the test is about: what each kind of server answers to each mode.
type tlsTable struct {
	*database
	user      map[string]any // settings of the login
	authority *identity
	dir       string // with the files for psql; system.crt is what the system trusts
	psql      string
	catalog   *configuredCatalog
	bastion   int // port of an SSH server that knows every name as 127.0.0.1
	stripper  int // port of the proxy that strips TLS

	mu   sync.Mutex
	seen map[string]string // by application_name: who succeeded (ok), or not (x)
}

// Each mode connects, encrypted or not, or refuses as psql does, whatever the server is: in check, in a read and in
// their replication connections. Run with -v this prints the table.
func TestTLSModes(t *testing.T) {
	t.Parallel()
	m := newTLSTable(t)
	right := subject{common: "localhost", names: []string{"localhost"}}
	public := issue(t, nil, subject{common: "public authority", signs: true})
	m.file("system.crt", public.certificatePEM())
	middle := issue(t, m.authority, subject{common: "between", signs: true})
	chained := issue(t, middle, right)
	whole := &identity{certificate: chained.certificate, key: chained.key, between: []*identity{middle}}
	own := issue(t, m.authority, right)
	client := issue(t, m.authority, subject{common: m.user["username"].(string)})
	signed := func(common string, names ...string) *identity {
		return issue(t, m.authority, subject{common: common, names: names})
	}
	byName := ""
	if m.Version < 150000 { // psql looks for an address among the names only
		byName = "ppTTTTxx"
	}
	servers := []*tlsServer{
		{name: "no TLS", entry: "host", works: "pppxxxxx"},
		{name: "TLS optional, own CA", shown: own, entry: "host", works: "ppTTTTTx"},
		{name: "hostssl only", shown: own, entry: "hostssl", works: "xTTTTTTx"},
		{name: "hostnossl only", shown: own, entry: "hostnossl", works: "pppxxxxx"},
		{name: "self-signed", shown: issue(t, nil, right), entry: "host", works: "ppTTxxxx"},
		{name: "public CA", shown: issue(t, public, right), entry: "host", works: "ppTTxxxT"},
		{name: "other host", shown: signed("elsewhere", "elsewhere.example.com"), entry: "host", works: "ppTTTTxx"},
		{
			name: "expired", shown: issue(t, m.authority, subject{common: "localhost", names: right.names, expired: true}),
			entry: "host", works: "ppTTxxxx",
		},
		{name: "client cert, none", shown: own, entry: "hostssl", option: "clientcert=verify-full", works: "xxxxxxxx"},
		{
			name: "client cert, given", shown: own, entry: "hostssl", option: "clientcert=verify-full", client: client,
			works: "xTTTTTTx",
		},
		{name: "intermediate sent", shown: whole, entry: "host", works: "ppTTTTTx"},
		{name: "intermediate kept", shown: chained, entry: "host", works: "ppTTxxxx"},
		{name: "IP SAN", shown: signed("x", "127.0.0.1"), entry: "host", host: "127.0.0.1", works: "ppTTTTTx", psql: byName},
		{
			name: "wildcard, SSH", shown: signed("x", "*.wild.test"), entry: "host", host: "db.wild.test", hidden: true,
			works: "ppTTTTTx",
		},
		{
			name: "wildcard, two labels", shown: signed("x", "*.test"), entry: "host", host: "db.wild.test", hidden: true,
			works: "ppTTTTxx",
		},
		{name: "common name only", shown: signed("localhost"), entry: "host", works: "ppTTTTTx"},
		{name: "TLS 1.1 only", shown: own, entry: "host", oldest: true, works: "pppxxxxx"},
		{name: "TLS stripped", shown: own, entry: "host", strip: true, works: "pppxxxxx"},
	}
	if raced {
		servers = servers[:4] // what differs between the others is not what runs at the same time
	}
	rows := []string{fmt.Sprintf("%-22s", "server") + tlsHeader()}
	same := 0
	for i, s := range servers {
		if s.host == "" {
			s.host = "localhost"
		}
		m.serve(s)
		t.Run(s.name, func(t *testing.T) {
			for j, mode := range tlsModes {
				t.Run(mode.String(), func(t *testing.T) {
					t.Parallel()
					m.try(t, s, mode, fmt.Sprintf("k%dm%d", i, j), j)
				})
			}
		})
		row, right := m.row(t, i, s)
		rows = append(rows, row)
		same += right
	}
	t.Logf("each cell: expected; check, read, replication connections, psql (p plain, T TLS, x refused)\n%s",
		strings.Join(rows, "\n"))
	remark("TLS: %d modes against %d servers: %d cells as expected, and as psql", len(tlsModes), len(servers), same)
}

func newTLSTable(t *testing.T) *tlsTable {
	t.Helper()
	s := private(t, "log_connections=on", "log_min_messages=log")
	m := &tlsTable{database: newDBOn(t, s), dir: t.TempDir(), seen: map[string]string{}}
	m.authority = issue(t, nil, subject{common: "authority", signs: true})
	m.file("own.crt", m.authority.certificatePEM())
	role := m.role("tls")
	m.exec("ALTER ROLE " + quoted(role.Name) + " REPLICATION")
	m.user = map[string]any{"username": role.Name, "password": role.Password}
	m.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE PUBLICATION pub FOR TABLE t; " +
		"GRANT SELECT ON t TO " + quoted(role.Name))
	for i := range tlsModes {
		m.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", fmt.Sprintf("slot%d", i))
	}
	m.catalog = discover(t, m.config(map[string]any{"replication_method": map[string]any{
		"method": "CDC", "replication_slot": "slot0", "publication": "pub",
	}})).configure("incremental")
	m.write("root.crt", m.authority.certificatePEM())
	var err error
	if m.psql, err = s.Program("psql"); err != nil {
		t.Fatal(err)
	}
	m.bastion = namingBastion(t)
	m.stripper = stripper(t, s.Port)
	return m
}

func (m *tlsTable) file(name, content string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if content != "" {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	return path
}

// serve makes the server one of this kind. The test's own connections exist already and stay.
func (m *tlsTable) serve(s *tlsServer) {
	m.t.Helper()
	m.write("pg_hba.conf", fmt.Sprintf("host postgres all all scram-sha-256\n%s %s all all scram-sha-256 %s", s.entry,
		m.Name, s.option))
	settings := []string{"ssl = off"}
	if s.shown != nil {
		m.present(s.shown)
		settings = []string{"ssl_ca_file = 'root.crt'", "ssl = on"}
	}
	least, most := "TLSv1.2", ""
	if s.oldest {
		least, most = "TLSv1", "TLSv1.1"
	}
	m.reload(append(settings, "ssl_min_protocol_version = '"+least+"'", "ssl_max_protocol_version = '"+most+"'")...)
}

// try connects in each way, and notes what came of it; name is for the server's log.
func (m *tlsTable) try(t *testing.T, s *tlsServer, mode tlsMode, name string, slot int) {
	t.Helper()
	port := m.Port
	if s.strip {
		port = m.stripper
	}
	ssl := map[string]any{"mode": mode.mode}
	if mode.ca {
		ssl["ca_certificate"] = m.authority.certificatePEM()
	}
	if s.client != nil {
		ssl["client_certificate"], ssl["client_key"] = s.client.certificatePEM(), s.client.keyPEM(t)
	}
	settings := m.config(m.user)
	maps.Copy(settings, map[string]any{
		"host": s.host, "port": port, "ssl_mode": ssl, "replication_method": map[string]any{
			"method": "CDC", "replication_slot": fmt.Sprintf("slot%d", slot), "publication": "pub",
		},
	})
	delete(settings, "ssl")
	if s.hidden {
		settings["tunnel_method"] = tunnelTo(m.bastion)
	}
	for _, command := range []string{"check", "read"} {
		settings["jdbc_url_params"] = "ApplicationName=" + name + command
		in := input{config: settings, env: []string{
			"SSL_CERT_FILE=" + m.file("system.crt", ""), "SSL_CERT_DIR=/nonexistent",
		}}
		if command == "read" {
			in.catalog = m.catalog
		}
		r := run(t, command, in)
		good := r.exit == 0
		if command == "check" {
			good = r.ok().status().Status == "SUCCEEDED"
			if !good {
				expectIn(t, s.name+" "+mode.String(), r.status().Message, "State code: ")
			}
		} else if !good {
			r.failed("config_error")
		}
		if warned := has(r.logs("WARN"), "not encrypted"); good && warned != (mode.mode == "prefer" && s.works[2] == 'p') {
			t.Errorf("%s, %s: a warning of plain connections: %t", s.name, mode, warned)
		}
		m.note(name+command, good)
	}
	m.note(name+"psql", m.runPSQL(t, s, mode, name+"psql", port))
}

func (m *tlsTable) note(name string, good bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[name] = map[bool]string{true: "ok", false: "x"}[good]
}

// runPSQL connects with PostgreSQL's own client, which takes the mode's meaning from libpq.
func (m *tlsTable) runPSQL(t *testing.T, s *tlsServer, mode tlsMode, name string, port int) bool {
	t.Helper()
	env := map[string]string{
		"HOME": m.dir, "PGHOST": s.host, "PGPORT": fmt.Sprint(port), "PGDATABASE": m.Name,
		"PGUSER": m.user["username"].(string), "PGPASSWORD": m.user["password"].(string), "PGSSLMODE": mode.mode,
		"PGAPPNAME": name, "PGCONNECT_TIMEOUT": "60", "PATH": os.Getenv("PATH"),
	}
	if s.hidden {
		env["PGHOSTADDR"] = "127.0.0.1"
	}
	switch {
	case mode.ca:
		env["PGSSLROOTCERT"] = m.file("own.crt", "")
	case strings.HasPrefix(mode.mode, "verify"):
		env["PGSSLROOTCERT"] = m.file("system.crt", "") // libpq before 16 does not know the system's authorities
	}
	if s.client != nil {
		env["PGSSLCERT"] = m.file(name+".crt", s.client.certificatePEM())
		env["PGSSLKEY"] = m.file(name+".key", s.client.keyPEM(t))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	psql := exec.CommandContext(ctx, m.psql, "-XAtc", "SELECT 1")
	for key, value := range env {
		psql.Env = append(psql.Env, key+"="+value)
	}
	out, err := psql.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("psql: %v", ctx.Err())
	}
	return err == nil && string(out) == "1\n"
}

// A line of the server's log says of each connection whether it is encrypted.
var authorized = regexp.MustCompile(
	`(?m)(replication )?connection authorized: user=.* application_name=(\w+)( SSL enabled \(protocol=TLSv1\.[23],)?`)

// row compares what the server has seen with what was expected, and gives the row of the table and how many cells are
// right.
func (m *tlsTable) row(t *testing.T, number int, s *tlsServer) (string, int) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(filepath.Dir(m.value("SHOW data_directory")), "log"))
	if err != nil {
		t.Fatal(err)
	}
	logged := map[string]string{}
	for _, line := range authorized.FindAllStringSubmatch(string(log), -1) {
		way := "p"
		if line[3] != "" {
			way = "T"
		}
		for _, who := range []string{line[2], line[2] + line[1]} {
			if !strings.Contains(logged[who], way) {
				logged[who] += way
			}
		}
	}
	row, right := fmt.Sprintf("%-22s", s.name), 0
	for j, mode := range tlsModes {
		name := fmt.Sprintf("k%dm%d", number, j)
		got := ""
		for _, who := range []string{"check", "read", "psql"} {
			got += way(m.seen[name+who], logged[name+who])
		}
		replication := way(m.seen[name+"check"], logged[name+"checkreplication "]) +
			way(m.seen[name+"read"], logged[name+"readreplication "])
		want, psql := string(s.works[j]), string(s.works[j])
		if s.psql != "" {
			psql = string(s.psql[j])
		}
		if got != want+want+psql || replication != strings.Repeat(want, 2) {
			t.Errorf("%s, %s: check, read and psql got %s, the replication connections of the first two %s, want %s",
				s.name, mode, got, replication, want)
		} else {
			right++
		}
		row += fmt.Sprintf("  %-12s", want+": "+strings.Join([]string{got[:1], got[1:2], replication, got[2:]}, " "))
	}
	return row, right
}

// way is how somebody got in; all of it has to fit together.
func way(outcome, logged string) string {
	switch {
	case outcome == "x" && logged == "":
		return "x"
	case outcome == "ok" && len(logged) == 1:
		return logged
	}
	return "?"
}

func tlsHeader() string {
	header := ""
	for _, mode := range tlsModes {
		header += fmt.Sprintf("  %-12s", mode)
	}
	return header
}

// stripper is a proxy on the way to a server that says it had no TLS.
func stripper(t *testing.T, port int) int {
	t.Helper()
	return listen(t, func(client net.Conn) {
		server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return
		}
		defer server.Close()
		first := make([]byte, 8)
		if !readWhole(client, first) {
			return
		}
		if string(first[4:]) == "\x04\xd2\x16\x2f" { // the request for TLS
			_, _ = client.Write([]byte{'N'})
		} else {
			_, _ = server.Write(first)
		}
		carry(client, server)
	})
}
