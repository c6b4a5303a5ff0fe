package integration

import (
	"net"
	"strings"
	"testing"
)

// What is wrong with an address or a login is said with the code that people look up.
func TestWrongConnectionSettings(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		settings map[string]any
		want     string
	}{
		{map[string]any{"password": "wrong-canary"}, "State code: 28P01; Message: "},
		{map[string]any{"username": "nobody_of_that_name"}, "State code: 28"},
		{map[string]any{"database": "no_such_database"}, "State code: 3D000; Message: "},
		{map[string]any{"host": "no-such-host.invalid"}, "State code: 08001; Message: the host name is not known."},
		{map[string]any{"port": closed.Addr().(*net.TCPAddr).Port}, "State code: 08001; Message: the connection was refused"},
		{map[string]any{"jdbc_url_params": "options=-c%20no_such_setting=1"}, "no_such_setting"},
		{map[string]any{"jdbc_url_params": "targetServerType=secondary"}, "targetServerType"},
		{map[string]any{"ssl": true}, "disable, allow, prefer, require, verify-ca, verify-full"},
		{map[string]any{"remote_conn": true}, "tunnel_method"},
	} {
		status := run(t, "check", input{config: db.config(c.settings)}).ok().status()
		if status.Status != "FAILED" || !strings.Contains(status.Message, c.want) ||
			strings.Contains(status.Message, "canary") {
			t.Errorf("%v: %s %s", c.settings, status.Status, status.Message)
		}
	}
}

// The environment has no say in how the connector connects.
func TestEnvironmentIsIgnored(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	var env []string
	for _, name := range []string{
		"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGAPPNAME",
		"PGCONNECT_TIMEOUT", "PGSSLMODE", "PGSSLKEY", "PGSSLCERT", "PGSSLCERTMODE", "PGSSLROOTCERT", "PGSSLNEGOTIATION",
		"PGTARGETSESSIONATTRS", "PGSERVICE", "PGSERVICEFILE", "PGTZ", "PGOPTIONS", "PGMINPROTOCOLVERSION",
		"PGMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGREQUIREAUTH",
	} {
		env = append(env, name+"=nonsense")
	}
	status := run(t, "check", input{config: db.config(nil), env: env}).ok().status()
	if status.Status != "SUCCEEDED" {
		t.Errorf("%s %s", status.Status, status.Message)
	}
}
