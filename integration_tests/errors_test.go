package integration

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// documented are the rows of the first table under a heading of docs/troubleshooting.md, cell by cell.
func documented(t *testing.T, heading string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
	_, section, found := strings.Cut(section, "|---|---|---|---|\n")
	if !found {
		t.Fatalf("docs/troubleshooting.md has no table of four columns under %q", heading)
	}
	table, _, _ := strings.Cut(section, "\n\n")
	var rows [][]string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.NewReplacer("&lt;", "<", "&gt;", ">", "`", "").Replace(strings.TrimSpace(cell))
		}
		if len(cells) == 4 {
			rows = append(rows, cells)
		}
	}
	return rows
}

// A provocation makes a server fail with a state code, and gives what a read then says.
type provocation func(t *testing.T, db *database) *traceError

// ofClass is a code for each row that stands for a whole class.
var ofClass = map[string]string{
	"08…": "08003", "22…": "22012", "28…": "28000", "2F…": "2F005", "38…": "38001", "39…": "39001", "40…": "40P01",
	"53…": "53200", "55…": "55P04", "57…": "57P01", "58…": "58030", "54…": "54000",
	"F0…": "F0001", "HV…": "HV000", "P0…": "P0001",
	"XX…": "XX001",
}

// genuine are the codes that a server can be made to give by what they are for. The others are raised by a function of
// the database that a view calls, which takes the same way.
var genuine = map[string]provocation{
	"22012": viewOf("1 / 0"),
	"22021": viewOf(`convert_from('\xff', 'UTF8')`),
	"22P05": viewOf(`convert('日', 'UTF8', 'LATIN1')`),
	"25006": viewOf("writes()"),
	"53400": viewOf("(SELECT count(*) FROM (SELECT g FROM generate_series(1, 100000) AS g ORDER BY -g) AS s)"),
	"58P01": viewOf("pg_read_file('no such file')"),
	"55000": func(t *testing.T, db *database) *traceError {
		t.Helper()
		db.exec("CREATE MATERIALIZED VIEW unpopulated AS SELECT 1 AS id WITH NO DATA")
		return readOf(t, db, db.config(nil), "unpopulated")
	},
	"28P01": loginWith(map[string]any{"password": "wrong"}),
	"3D000": loginWith(map[string]any{"database": "none"}),
	"28000": func(t *testing.T, db *database) *traceError {
		t.Helper()
		role := db.role("closed")
		db.exec("ALTER ROLE " + quoted(role.Name) + " NOLOGIN")
		return loginAs(t, db, db.configAs(role, nil))
	},
	"53300": func(t *testing.T, db *database) *traceError {
		t.Helper()
		role := db.role("limited")
		db.exec("ALTER ROLE " + quoted(role.Name) + " CONNECTION LIMIT 0")
		return loginAs(t, db, db.configAs(role, nil))
	},
	"42501": func(t *testing.T, db *database) *traceError {
		t.Helper()
		role := db.role("poor")
		db.exec("CREATE TABLE secret (id int); CREATE VIEW open AS SELECT id FROM secret; GRANT CREATE ON SCHEMA public TO " +
			quoted(role.Name) + "; ALTER VIEW open OWNER TO " + quoted(role.Name))
		return readOf(t, db, db.config(nil), "open") // a view reads with its owner's rights
	},
	"42P01": lostDuring("DROP TABLE first_locked, then_gone"),
	"42703": lostDuring("ALTER TABLE then_gone DROP COLUMN id"),
	"55P03": func(t *testing.T, db *database) *traceError {
		t.Helper()
		db.exec("CREATE TABLE held (id int)")
		do(t, db.connect(), "BEGIN; LOCK TABLE held")
		return readOf(t, db, db.config(map[string]any{"jdbc_url_params": "options=-c%20lock_timeout=100"}), "held")
	},
	"57014": endedBy("pg_cancel_backend"),
	"57P01": endedBy("pg_terminate_backend"),
	"25P03": func(t *testing.T, db *database) *traceError {
		t.Helper()
		// More than the output takes, and less than what is on its way from the server: that is done, and waits.
		db.exec("CREATE VIEW quick AS SELECT g AS id, repeat('x', 1000) AS pad FROM generate_series(1, 400) AS g")
		config := db.config(map[string]any{
			"jdbc_url_params": "options=-c%20idle_in_transaction_session_timeout=300", "max_db_connections": 1,
		})
		catalog := discover(t, db.config(nil)).configure("full_refresh", "quick", "first_locked")
		db.expectGone() // what discover leaves
		p := start(t, "read", input{config: config, catalog: catalog, pipe: smallPipe})
		const sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'source-postgres'"
		db.await("SELECT count(*) = 1 " + sessions)
		db.await("SELECT count(*) = 0 " + sessions)
		return p.wait().traceError()
	},
	"57P03": func(t *testing.T, _ *database) *traceError {
		t.Helper()
		s := private(t)
		db := newDBOn(t, s)
		db.exec("SELECT 1") // who is connected keeps a server from ending that shuts down smartly
		if err := s.Signal("smart"); err != nil {
			t.Fatal(err)
		}
		var e *traceError
		for e == nil || strings.Contains(e.Message, "does not exist") || strings.Contains(e.Message, "no such table") {
			e = loginAs(t, db, db.config(nil)) // until the server has heard of it
		}
		if err := s.Halt(t.Context(), "fast"); err != nil {
			t.Fatal(err)
		}
		if err := s.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, _ = db.Value(t.Context(), "SELECT 1") // the old connection is broken, which only its next use shows
		return e
	},
}

// viewOf reads a view with this column.
func viewOf(expression string) provocation {
	return func(t *testing.T, db *database) *traceError {
		t.Helper()
		db.exec("CREATE OR REPLACE VIEW provoking AS SELECT (" + expression + ")::text AS id")
		defer db.exec("DROP VIEW provoking")
		return readOf(t, db, db.config(nil), "provoking")
	}
}

// loginWith is a read with other settings.
func loginWith(overrides map[string]any) provocation {
	return func(t *testing.T, db *database) *traceError { t.Helper(); return loginAs(t, db, db.config(overrides)) }
}

func loginAs(t *testing.T, _ *database, config map[string]any) *traceError {
	t.Helper()
	return run(t, "read", input{config: config, catalog: oneStream}).traceError()
}

const oneStream = `{"streams": [{"stream": {"name": "t", "namespace": "public", "json_schema": {"properties": {"id":
	{"type": "string"}}}, "supported_sync_modes": ["full_refresh"]}, "sync_mode": "full_refresh",
	"destination_sync_mode": "overwrite"}]}`

func readOf(t *testing.T, db *database, config map[string]any, name string) *traceError {
	t.Helper()
	found := discover(t, db.config(nil))
	return run(t, "read", input{config: config, catalog: found.configure("full_refresh", name)}).traceError()
}

// lostDuring reads two tables with one connection, holds it up at the first, and changes the second.
func lostDuring(sql string) provocation {
	return func(t *testing.T, db *database) *traceError {
		t.Helper()
		db.exec("CREATE TABLE IF NOT EXISTS first_locked (id int); CREATE TABLE then_gone (id int)")
		defer db.exec("DROP TABLE IF EXISTS then_gone; CREATE TABLE IF NOT EXISTS first_locked (id int)")
		config := db.config(map[string]any{"max_db_connections": 1})
		in := input{config: config, catalog: discover(t, config).configure("full_refresh", "first_locked", "then_gone")}
		holder := db.connect()
		do(t, holder, "BEGIN; LOCK TABLE first_locked")
		p := start(t, "read", in)
		db.await("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND " +
			"application_name = 'source-postgres' AND wait_event_type = 'Lock'")
		do(t, holder, sql+"; COMMIT")
		return p.wait().traceError()
	}
}

// endedBy reads a view that takes its time, and has an administrator end it.
func endedBy(function string) provocation {
	return func(t *testing.T, db *database) *traceError {
		t.Helper()
		db.exec("CREATE OR REPLACE VIEW slow AS SELECT 1 AS id, pg_sleep(3600)::text AS slept")
		config := db.config(nil)
		p := start(t, "read", input{config: config, catalog: discover(t, config).configure("full_refresh", "slow")})
		db.await("SELECT count(" + function + "(pid)) > 0 FROM pg_stat_activity WHERE datname = current_database() AND " +
			"application_name = 'source-postgres' AND wait_event = 'PgSleep'")
		return p.wait().traceError()
	}
}

// Every row of the table of state codes is provoked on a server: the code, its kind, and what to do.
func TestEveryStateCode(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec(`CREATE TABLE first_locked (id int);
		CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO first_locked VALUES (1) RETURNING id';
		CREATE FUNCTION fails(code text) RETURNS int LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'provoked' USING ERRCODE = code, DETAIL = 'canary'; END $$;
		ALTER DATABASE ` + quoted(db.Name) + ` SET temp_file_limit = 0; ALTER DATABASE ` + quoted(db.Name) +
		` SET work_mem = '1MB'`)
	rows := documented(t, "By state code")
	if len(rows) < 30 {
		t.Fatalf("%d rows in the table", len(rows))
	}
	used, raised := map[string]bool{}, 0
	for _, row := range rows {
		code := row[0]
		if one, is := ofClass[code]; is {
			code = one
		}
		provoke := genuine[code]
		if used[code] = provoke != nil; provoke == nil {
			provoke = viewOf("fails('" + code + "')")
			raised++
		}
		e := provoke(t, db)
		if e == nil || e.FailureType != row[1]+"_error" || !strings.Contains(e.Message, "State code: "+code+"; Message: ") ||
			row[3] != "–" && !strings.Contains(e.Message, row[3]) {
			t.Errorf("%s (%s): %+v, want a %s_error that says %q", row[0], code, e, row[1], row[3])
		}
		if e != nil && strings.Contains(e.Message+e.InternalMessage, "canary") {
			t.Errorf("%s: the error shows details: %+v", row[0], e)
		}
	}
	for code := range genuine {
		if !used[code] {
			t.Errorf("%s is provoked, but has no row", code)
		}
	}
	remark("errors: %d state codes provoked, %d of them by RAISE in a view", len(rows), raised)
}

// elsewhere are the conditions that take more than a server to provoke, with the tests that have them.
var elsewhere = map[string]string{
	notAnyMore: "TestHalfOpenNetwork",
	"an error that the connector does not know": "source/postgres", // none is known
}

const notAnyMore = "the server did not answer in time any more"

// Every row of the table of conditions: what the connector itself finds wrong with a connection.
func TestEveryCondition(t *testing.T) {
	t.Parallel()
	db, authority, settings := secure(t, "scram-sha-256")
	plain := newDB(t)
	settings["jdbc_url_params"] = "connectTimeout=2"
	with := func(overrides map[string]any) map[string]any {
		all := maps.Clone(settings)
		maps.Copy(all, overrides)
		return all
	}
	tell := func(config map[string]any) func() *traceError {
		return func() *traceError { t.Helper(); return loginAs(t, db, config) }
	}
	shown := func(i *identity) func() *traceError {
		return func() *traceError {
			db.present(i)
			db.reload()
			return loginAs(t, db, settings)
		}
	}
	names := []string{"localhost"}
	strange := subject{common: "x", names: names, extra: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}},
	}}
	answer := func(text string, mode string) func() *traceError {
		port := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, text); silent(c) })
		return tell(with(map[string]any{"host": "127.0.0.1", "port": port, "ssl_mode": map[string]any{"mode": mode}}))
	}
	closes := listen(t, func(net.Conn) {})
	stranger := issue(t, nil, subject{common: db.User})
	mode := maps.Clone(settings["ssl_mode"].(map[string]any))
	mode["client_certificate"], mode["client_key"] = stranger.certificatePEM(), stranger.keyPEM(t)
	b, closed := newBastion(t), newBastion(t, "AllowTcpForwarding no")
	if b == nil || closed == nil {
		return
	}
	provoked := map[string]func() *traceError{
		"The server does not support SSL": tell(plain.config(map[string]any{
			"ssl": true, "ssl_mode": map[string]any{"mode": "require"},
		})),
		"the certificate of the server is not signed by an authority that is trusted": shown(
			issue(t, nil, subject{common: "x", names: names})),
		"the certificate of the server is for another host": shown(issue(t, authority, subject{common: "x"})),
		"the certificate of the server is not valid": shown(
			issue(t, authority, subject{common: "x", names: names, expired: true})),
		"the certificate of the server cannot be verified": shown(issue(t, authority, strange)),
		"the server ended the encrypted connection": func() *traceError {
			db.present(issue(t, authority, subject{common: "x", names: names}))
			db.reload()
			// What the server says of the certificate is lost where its goodbye comes before it is read.
			var e *traceError
			for range 20 {
				e = loginAs(t, db, with(map[string]any{"ssl_mode": mode}))
				if e == nil || !strings.Contains(e.Message, "closed the connection before the login was done") {
					break
				}
			}
			return e
		},
		"no encrypted connection could be made":           answer("HTTP/1.1 400 Bad Request\r\n\r\n", "require"),
		"the host name is not known":                      tell(with(map[string]any{"host": "no-such-host.invalid"})),
		"the host name could not be looked up":            alone(t, with(map[string]any{"host": "db.example.com"})),
		"the SSH server does not let connections through": tell(with(map[string]any{"tunnel_method": closed.byKey()})),
		"the SSH server cannot connect to the database": tell(with(map[string]any{
			"port": closedPort(t), "tunnel_method": b.byKey(),
		})),
		"the SSH connection was lost": func() *traceError {
			// The tunnel ends while the first host is tried; the second cannot be reached without it.
			host := fmt.Sprintf("127.0.0.1:%d", listen(t, func(net.Conn) { b.cut() }))
			return loginAs(t, db, with(map[string]any{"host": host + "," + host, "tunnel_method": b.byKey()}))
		},
		"the connection was refused: nothing listens on that port": tell(with(map[string]any{"port": closedPort(t)})),
		"there is no route to the host":                            alone(t, with(map[string]any{"host": "192.0.2.1"})),
		"there is no such socket, or it may not be opened":         tell(with(map[string]any{"host": "/nonexistent"})),
		"the server is not of the kind that is asked for": tell(with(map[string]any{
			"jdbc_url_params": "targetServerType=secondary",
		})),
		"the server did not answer in time":                          answer("", "disable"),
		"the server closed the connection before the login was done": tell(with(map[string]any{"port": closes})),
		"the connection to the server was lost": func() *traceError {
			s := private(t)
			db := newDBOn(t, s)
			p := start(t, "read", large(db, 1))
			p.until(func(m message) bool { return m.State != nil })
			// A backend that is killed says nothing any more; the others are told to leave.
			pid, err := strconv.Atoi(db.value("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND " +
				"application_name = 'source-postgres' AND query LIKE '%FROM%t%' ORDER BY backend_start LIMIT 1"))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := s.Crash(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, _ = db.Value(t.Context(), "SELECT 1") // the old connection is broken, which only its next use shows
			return p.wait().traceError()
		},
		"the server and the connector do not come to terms": answer("R\x00\x00\x00\x08\x00\x00\x00\x63", "disable"),
	}
	rows := documented(t, "Connecting")
	for _, row := range rows {
		provoke := provoked[row[0]]
		if provoke == nil && elsewhere[row[0]] == "" {
			t.Errorf("nothing provokes %q", row[0])
		}
		if provoke == nil {
			continue
		}
		e := provoke()
		if e == nil || e.FailureType != row[2]+"_error" || !strings.Contains(e.Message, row[0]) ||
			!strings.Contains(e.Message, "State code: "+row[1]+"; ") || row[3] != "–" && !strings.Contains(e.Message, row[3]) {
			t.Errorf("%s: %+v, want %q", row[0], e, row)
		}
	}
	remark("errors: %d conditions of connections provoked, of %d", len(provoked), len(rows))
}

// alone reads on a machine without any network but loopback, which takes a network namespace. Elsewhere it is as the
// table has it.
func alone(t *testing.T, config map[string]any) func() *traceError {
	t.Helper()
	return func() *traceError {
		if err := exec.CommandContext(t.Context(), "unshare", "-n", "true").Run(); err != nil {
			t.Fatalf("a network namespace: %v", err)
		}
		in := input{config: config, catalog: oneStream, wrap: []string{"unshare", "-n"}}
		return run(t, "read", in).traceError()
	}
}
