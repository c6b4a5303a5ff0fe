package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Settings in the spellings that forms, scripts and earlier connectors have left behind.
func TestConfigsThatAreAccepted(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	nulls := map[string]any{}
	for _, field := range []string{
		"schemas", "ssl", "ssl_mode", "tunnel_method", "replication_method", "jdbc_url_params", "remote_conn",
		"source_definition_id", "check_privileges", "checkpoint_target_interval_seconds", "max_db_connections",
		"max_field_bytes", "max_record_characters", "unknown",
	} {
		nulls[field] = nil
	}
	asJSON := func(overrides map[string]any) json.RawMessage {
		c := db.config(nil)
		maps.Copy(c, overrides)
		return text(t, c)
	}
	again := strings.Replace(string(asJSON(nil)), "{", `{"password":"first","port":1,`, 1)
	for what, config := range map[string]json.RawMessage{
		"every optional setting null": asJSON(nulls),
		"null inside": asJSON(map[string]any{
			"ssl":                nil,
			"ssl_mode":           map[string]any{"mode": "prefer", "ca_certificate": nil, "client_key": nil},
			"tunnel_method":      map[string]any{"tunnel_method": "NO_TUNNEL", "ssh_key": nil, "tunnel_port": nil},
			"replication_method": map[string]any{"method": nil, "cursor_lookback_rows": nil},
		}),
		"empty objects": asJSON(map[string]any{
			"ssl_mode": map[string]any{}, "tunnel_method": map[string]any{}, "replication_method": map[string]any{},
		}),
		"no schemas":          asJSON(map[string]any{"schemas": []string{}}),
		"port with a point":   asJSON(map[string]any{"port": json.RawMessage(fmt.Sprintf("%d.0", db.Port))}),
		"port with exponent":  asJSON(map[string]any{"port": json.RawMessage(fmt.Sprintf("%de0", db.Port))}),
		"a setting twice":     json.RawMessage(again),
		"blanks round host":   asJSON(map[string]any{"host": "\t" + db.Host + " \n"}),
		"of the platform":     asJSON(map[string]any{"__injected": map[string]any{"a": 1}, "source_definition_id": "x"}),
		"no tunnel after all": asJSON(map[string]any{"remote_conn": false, "tunnel_method": badTunnel}),
	} {
		in.config = config
		for _, command := range []string{"check", "discover", "read"} {
			p := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog")
			p.wait().expectAnswer(command, what)
		}
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for what, c := range map[string]struct {
		config any
		want   string
	}{
		"a list":           {"[]", "must be a JSON object, not array"},
		"null":             {"null", "must be a JSON object, not null"},
		"a text":           {`"settings"`, "must be a JSON object, not string"},
		"a number":         {"5432", "must be a JSON object, not"},
		"nothing":          {"{}", `"host" is missing`},
		"port a text":      {db.config(map[string]any{"port": "5432"}), `"port" must be of type integer, not string`},
		"port 0":           {db.config(map[string]any{"port": 0}), `"port" must be at least 1`},
		"port below 0":     {db.config(map[string]any{"port": -1}), `"port" must be at least 1`},
		"port too large":   {db.config(map[string]any{"port": 65536}), `"port" must be at most 65535`},
		"half a port":      {db.config(map[string]any{"port": 5432.5}), `"port" must be of type integer`},
		"port true":        {db.config(map[string]any{"port": true}), `"port" must be of type integer, not boolean`},
		"no port":          {db.config(map[string]any{"port": nil}), `"port" is missing`},
		"host empty":       {db.config(map[string]any{"host": ""}), `"host"`},
		"host blank":       {db.config(map[string]any{"host": " \t"}), `"host" is empty`},
		"host a URL":       {db.config(map[string]any{"host": "postgres://u:canary@h/d"}), `"host" holds a URL`},
		"host for JDBC":    {db.config(map[string]any{"host": "jdbc:postgresql://h/d"}), `"host" holds a URL`},
		"host with port":   {db.config(map[string]any{"host": "localhost:5432"}), `"host" holds a port`},
		"host with path":   {db.config(map[string]any{"host": "localhost/db"}), `"host" is not a host name`},
		"a host missing":   {db.config(map[string]any{"host": "a,,b"}), `"host" is empty`},
		"a port in a list": {db.config(map[string]any{"host": "a:0,b"}), `"host" names a port that is not`},
		"host in two":      {db.config(map[string]any{"host": "local host"}), `"host" is not a host name`},
		"database empty":   {db.config(map[string]any{"database": ""}), `"database"`},
		"username empty":   {db.config(map[string]any{"username": ""}), `"username"`},
		"password a list":  {db.config(map[string]any{"password": []string{"canary"}}), `"password" must be of type string`},
		"NUL in password":  {db.config(map[string]any{"password": "canary\x00"}), `"password" holds a NUL character`},
		"schemas a text":   {db.config(map[string]any{"schemas": "public"}), `"schemas" must be of type array, not string`},
		"a schema twice":   {db.config(map[string]any{"schemas": []string{"a", "a"}}), `"schemas" names the same`},
		"no schema's name": {db.config(map[string]any{"schemas": []string{""}}), `"schemas" holds an empty name`},
		"null for schema":  {db.config(map[string]any{"schemas": []any{nil}}), `"schemas.0" must be of type string`},
		"wildcard":         {db.config(map[string]any{"schemas": []string{"*"}}), `schema "*" does not exist`},
		"SQL for schema": {
			db.config(map[string]any{"schemas": []string{`public"; DROP SCHEMA public; --`}}), "does not exist in database",
		},
		"SSL without mode": {db.config(map[string]any{"ssl": true}), "disable, allow, prefer, require, verify-ca"},
		"unknown TLS mode": {db.config(map[string]any{"ssl_mode": map[string]any{"mode": "full"}}), `"verify-full"`},
		"TLS mode alone":   {db.config(map[string]any{"ssl_mode": "require"}), `"ssl_mode" must be of type object`},
		"unknown method":   {db.config(map[string]any{"replication_method": map[string]any{"method": "Log"}}), `"Standard"`},
		"CDC without slot": {
			db.config(map[string]any{"replication_method": map[string]any{"method": "CDC", "publication": "p"}}),
			`"replication_method.replication_slot" is missing`,
		},
		"remote without it": {db.config(map[string]any{"remote_conn": true}), "tunnel_method"},
		"tunnel without host": {
			db.config(map[string]any{"tunnel_method": map[string]any{"tunnel_method": "SSH_KEY_AUTH"}}),
			`"tunnel_method.tunnel_host" is missing`,
		},
		"no connections": {db.config(map[string]any{"max_db_connections": 0}), `"max_db_connections" must be at least 1`},
	} {
		message := checked(t, c.config)
		expectIn(t, what, message, c.want)
		if strings.Contains(message, "canary") {
			t.Errorf("%s: the message shows a value: %s", what, message)
		}
	}
	if db.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'") != "1" {
		t.Error("schema public is gone")
	}
}

// What has no effect is said once, by name.
func TestIgnoredSettingsAreLogged(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	in.config = db.config(map[string]any{
		"__injected": "canary", "is_test": true, "queue_size": 10000,
		"replication_method": map[string]any{
			"method": "Standard", "plugin": "pgoutput", "invalid_cdc_cursor_position_behavior": "Fail sync",
			"debezium_shutdown_timeout_seconds": 60,
		},
		"tunnel_method":   map[string]any{"tunnel_method": "NO_TUNNEL", "tunnel_hots": "canary"},
		"jdbc_url_params": "prepareThreshold=0&defaultRowFetchSize=7",
	})
	want := map[string]int{
		"__injected": 1, "is_test": 1, "queue_size": 1, "replication_method.plugin": 1,
		"replication_method.invalid_cdc_cursor_position_behavior": 1,
		"replication_method.debezium_shutdown_timeout_seconds":    1, "tunnel_method.tunnel_hots": 1,
		"jdbc_url_params.prepareThreshold": 1, "jdbc_url_params.defaultRowFetchSize": 1,
	}
	for _, command := range []string{"check", "discover", "read"} {
		r := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog").wait()
		r.expectAnswer(command, command)
		got := map[string]int{}
		for _, line := range r.logs("INFO") {
			if name, ok := strings.CutPrefix(line, "setting is not used setting="); ok {
				got[name]++
			}
			if strings.Contains(line, "canary") {
				t.Errorf("%s: the log shows a value: %s", command, line)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: ignored settings %v, want %v", command, got, want)
		}
	}
}

// What earlier connectors of Airbyte saved is taken as it is.
func TestConfigsOfEarlierConnectors(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	samples, err := filepath.Glob("../source/config/testdata/*.json")
	if err != nil || len(samples) == 0 {
		t.Fatalf("no sample configurations: %v", err)
	}
	tried := 0
	for _, sample := range samples {
		content, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := json.Unmarshal(content, &config); err != nil {
			t.Fatal(err)
		}
		if method, _ := config["replication_method"].(map[string]any); method["publication"] != nil {
			continue // CDC needs a slot
		}
		maps.Copy(config, db.config(nil)) // the sample's address is nobody's
		config["tunnel_method"] = map[string]any{"tunnel_method": "NO_TUNNEL"}
		delete(config, "remote_conn")
		in.config = config
		for _, command := range []string{"check", "discover", "read"} {
			p := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog")
			p.wait().expectAnswer(command, filepath.Base(sample))
		}
		tried++
	}
	if tried < 4 {
		t.Errorf("%d samples were tried, of %d", tried, len(samples))
	}
}

// Neither the environment nor the home directory decide how to connect: a password that is not in the settings is not
// found elsewhere, and nonsense there does no harm.
func TestHomeAndEnvironmentAreIgnored(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := twoRows(db)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".postgresql"), 0o700); err != nil {
		t.Fatal(err)
	}
	service := fmt.Sprintf("[canary]\nhost=elsewhere.invalid\npassword=%s\n", db.Password)
	for name, content := range map[string]string{
		".pgpass":          "*:*:*:*:" + db.Password + "\n",
		".pg_service.conf": service, "pg_service.conf": service,
		".postgresql/postgresql.crt": "no certificate", ".postgresql/postgresql.key": "no key",
		".postgresql/root.crt": "no certificate", ".postgresql/root.crl": "no list",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	right := []string{"HOME=" + home, "PGPASSWORD=" + db.Password, "PGPASSFILE=" + filepath.Join(home, ".pgpass")}
	wrong := []string{
		"HOME=" + home, "PGHOST=elsewhere.invalid", "PGHOSTADDR=192.0.2.1", "PGPORT=1", "PGDATABASE=none", "PGUSER=none",
		"PGPASSWORD=none", "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + filepath.Join(home, ".postgresql/root.crt"),
		"PGSERVICE=canary", "PGSERVICEFILE=" + filepath.Join(home, "pg_service.conf"),
		"PGOPTIONS=-c default_transaction_isolation=serializable -c search_path=nowhere", "PGTZ=Asia/Tokyo",
		"PGCLIENTENCODING=LATIN1", "PGDATESTYLE=German", "PGAPPNAME=other", "PGTARGETSESSIONATTRS=standby",
		"PGCONNECT_TIMEOUT=x", "PGREQUIREAUTH=none", "SSL_CERT_FILE=/nonexistent", "HTTP_PROXY=http://192.0.2.1",
	}
	in.env = wrong
	for _, command := range []string{"check", "discover", "read"} {
		p := startLine(t, "", in, command, "--config=$config", "--catalog=$catalog")
		p.wait().expectAnswer(command, "nonsense in the environment")
	}
	for what, password := range map[string]any{"empty": "", "absent": nil} {
		r := run(t, "check", input{config: db.config(map[string]any{"password": password}), env: right}).ok()
		if status := r.status(); status.Status != "FAILED" {
			t.Errorf("with the password %s in the settings, check found it elsewhere", what)
		}
	}
}
