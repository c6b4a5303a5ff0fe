package integration

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A grant is one of those that docs/setup.md lists: how to give it, to take it, and what is said when it is missing.
type grant struct {
	give, take string
	message    string // of check, or of read if check cannot know
	only       string // the method that needs it; empty: all
}

var grants = []grant{
	{"GRANT CONNECT ON DATABASE DB TO USER", "REVOKE CONNECT ON DATABASE DB FROM USER", "GRANT CONNECT ON DATABASE", ""},
	{"GRANT USAGE ON SCHEMA s TO USER", "REVOKE USAGE ON SCHEMA s FROM USER", "USAGE privilege on schema s", ""},
	{"GRANT SELECT ON ALL TABLES IN SCHEMA s TO USER", "REVOKE SELECT ON ALL TABLES IN SCHEMA s FROM USER", "SELECT", ""},
	{"ALTER ROLE USER REPLICATION", "ALTER ROLE USER NOREPLICATION", "ALTER ROLE", "CDC"},
}

// Each mode works with just what docs/setup.md lists; without any one of it the failure names what is missing. Nothing
// is written but what the documentation says.
func TestLeastPrivileges(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/setup.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"GRANT CONNECT ON DATABASE", "GRANT USAGE ON SCHEMA", "GRANT SELECT ON ALL TABLES IN SCHEMA", "REPLICATION",
	} {
		if !strings.Contains(string(page), text) {
			t.Errorf("docs/setup.md does not list %s", text)
		}
	}
	for _, method := range []string{"full refresh", "Standard", "Xmin", "CDC"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			role := db.role("least")
			sql := strings.NewReplacer("USER", quoted(role.Name), "DB", quoted(db.Name))
			db.exec(sql.Replace("REVOKE ALL ON DATABASE DB FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE " +
				"SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, v int); INSERT INTO s.t VALUES (1, 1), (2, 2); " +
				"CREATE PUBLICATION pub FOR TABLE s.t"))
			settings := db.configAs(role, map[string]any{"schemas": []string{"s"}})
			mode := "incremental"
			switch method {
			case "full refresh":
				mode = "full_refresh"
			case "CDC":
				settings["replication_method"] = map[string]any{
					"method": "CDC", "replication_slot": (&capture{database: db}).slot(), "publication": "pub",
				}
			default:
				settings["replication_method"] = map[string]any{"method": method}
			}
			for _, g := range grants {
				if g.only == "" || g.only == method {
					db.exec(sql.Replace(g.give))
				}
			}
			expectSucceeded(t, "check", settings)
			in := input{config: settings, catalog: discover(t, settings).configure(mode, "t")}
			if method == "Standard" {
				in.catalog = in.catalog.(*configuredCatalog).cursor(t, "t", "id")
			}
			r := run(t, "read", in).ok()
			if n := len(r.records("s.t")); n != 2 {
				t.Errorf("%d records", n)
			}
			if mode == "incremental" {
				db.exec("INSERT INTO s.t VALUES (3, 3)")
				in.state = r.lastState()
				if got := run(t, "read", in).ok().values("s.t", "id"); !slices.Contains(got, "3") {
					t.Errorf("the row inserted since did not come: %v", got)
				}
			}
			for _, g := range grants {
				if g.only != "" && g.only != method {
					continue
				}
				db.exec(sql.Replace(g.take))
				expectIn(t, g.take, checked(t, settings), g.message, "State code: ")
				in.state = nil
				e := run(t, "read", in).failed("config_error")
				if !strings.Contains(e.Message, "GRANT") && !strings.Contains(e.Message, "ALTER ROLE") &&
					!strings.Contains(e.Message, "privilege") && !strings.Contains(e.Message, "permission denied") {
					t.Errorf("%s: the message does not name it: %s", g.take, e.Message)
				}
				db.exec(sql.Replace(g.give))
			}
		})
	}
}

// What the connector may send, by the statement's first words. Everything else is a write, or could be one.
var harmless = regexp.MustCompile(`(?i)^\s*(BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY|SET TRANSACTION SNAPSHOT|` +
	`SELECT|WITH|EXPLAIN SELECT|SAVEPOINT task|ROLLBACK|COMMIT|SHOW|IDENTIFY_SYSTEM|START_REPLICATION|TIMELINE_HISTORY|` +
	`SET LOCAL enable_|CREATE_REPLICATION_SLOT "?\w+"? TEMPORARY LOGICAL|DROP_REPLICATION_SLOT|BEGIN READ ONLY|BEGIN)`)

// With log_statement = all, as an auditor would: in every mode nothing is sent but reads, in read-only transactions.
func TestOnlyReads(t *testing.T) {
	t.Parallel()
	db := newDBOn(t, private(t, "log_statement=all", "log_min_messages=log", "log_replication_commands=on",
		"log_line_prefix='%m|%a|%p|%x|'"))
	db.exec("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); CREATE PUBLICATION pub FOR TABLE t")
	db.exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")
	db.exec("CREATE VIEW v AS SELECT 1 AS id, current_setting('transaction_read_only') AS read_only")
	for _, method := range []map[string]any{
		{"method": "Standard"}, {"method": "Xmin"}, {"method": "CDC", "replication_slot": "slot", "publication": "pub"},
	} {
		settings := db.config(map[string]any{"replication_method": method, "jdbc_url_params": "ApplicationName=audited"})
		run(t, "check", input{config: settings}).ok()
		found := discover(t, settings)
		in := input{config: settings, catalog: found.configure("incremental", "t")}
		if method["method"] == "Standard" {
			in.catalog = found.configure("incremental", "t").cursor(t, "t", "id")
		}
		in.state = run(t, "read", in).ok().lastState()
		db.exec("UPDATE t SET v = v + 1, id = id + 1")
		run(t, "read", in).ok()
		r := run(t, "read", input{config: settings, catalog: found.configure("full_refresh", "v")}).ok()
		if got := r.values("v", "read_only"); !slices.Equal(got, []string{`"on"`}) {
			t.Errorf("%v: transaction_read_only is %v", method, got)
		}
	}
	log, err := os.ReadFile(filepath.Join(filepath.Dir(db.value("SHOW data_directory")), "log"))
	if err != nil {
		t.Fatal(err)
	}
	statement := regexp.MustCompile(`(?s)^[^|]*\|audited\|\d+\|(\d*)\|LOG:  ` +
		`(?:statement|execute [^:]*|received replication command): (.*)`)
	seen := 0
	for entry := range strings.SplitSeq(strings.ReplaceAll(string(log), "\n\t", " "), "\n") { // a tab begins what goes on
		m := statement.FindStringSubmatch(entry)
		if m == nil {
			continue
		}
		seen++
		if m[1] != "0" && m[1] != "" {
			t.Errorf("a statement in a transaction that has written (%s): %s", m[1], m[2])
		}
		parts := []string{m[2]}
		for _, several := range []string{"BEGIN", "SET LOCAL", "SELECT pg_catalog.set_config"} {
			if strings.HasPrefix(m[2], several) {
				parts = strings.Split(m[2], "; ")
			}
		}
		for _, part := range parts {
			if !harmless.MatchString(part) {
				t.Errorf("a statement that is no read: %s", part)
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d statements were logged", seen)
	}
	remark("privileges: %d statements of an audited server, all of them reads", seen)
}

// hostile are texts that would drop the table if they ever became SQL.
var hostile = []string{
	`x'; DROP TABLE victim; --`, `x"; DROP TABLE victim; --`, `x\'); DROP TABLE victim; --`, "$$; DROP TABLE victim; $$",
	"(0,1)'::tid\n; DROP TABLE victim; --",
}

// No setting, catalog or state can bring SQL of its own to the server: whatever the command makes of it, the table is
// still there, as it was.
func TestInjection(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE victim (id int PRIMARY KEY, v text); INSERT INTO victim VALUES (1, 'one'); " +
		"CREATE PUBLICATION pub FOR TABLE victim")
	slot := (&capture{database: db}).slot()
	before := db.value(untouched)
	cdc := map[string]any{"method": "CDC", "replication_slot": slot, "publication": "pub"}
	base := db.config(nil)
	cursor := text(t, discover(t, base).configure("incremental", "victim").cursor(t, "victim", "id"))
	state := run(t, "read", input{config: base, catalog: cursor}).ok().lastState()
	logged := db.config(map[string]any{"replication_method": cdc})
	tried := 0
	for _, bad := range hostile {
		escaped := strings.Trim(string(text(t, bad)), `"`)
		in := []input{}
		for _, field := range []string{"database", "username", "password", "jdbc_url_params", "schemas", "host"} {
			value := any(bad)
			switch field {
			case "schemas":
				value = []string{bad}
			case "jdbc_url_params":
				value = "ApplicationName=" + bad + "&currentSchema=" + bad + "&options=-c%20search_path=" + bad + "%20-c%20" +
					bad + "=1"
			}
			in = append(in, input{config: db.config(map[string]any{field: value}), catalog: cursor})
		}
		for _, field := range []string{"replication_slot", "publication"} {
			method := maps.Clone(cdc)
			method[field] = bad
			in = append(in, input{config: db.config(map[string]any{"replication_method": method}), catalog: cursor})
		}
		// Every text of the catalog and of the state in turn.
		for _, config := range []map[string]any{base, logged} {
			for _, changed := range eachText(string(cursor), escaped) {
				in = append(in, input{config: config, catalog: changed})
			}
		}
		for _, changed := range eachText(string(text(t, state)), escaped) {
			in = append(in, input{config: base, catalog: cursor, state: changed})
		}
		for _, one := range in {
			if json.Valid(text(t, one.catalog)) {
				run(t, "read", one)
				tried++
			}
		}
	}
	if after := db.value(untouched); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
	remark("injection: %d reads with SQL in a setting, the catalog or the state", tried)
}

// untouched is the table, and how many relations there are.
const untouched = "SELECT string_agg(victim::text, ',') || (SELECT count(*) FROM pg_class) FROM victim"

// eachText gives document with each of its texts in turn, values only, replaced.
func eachText(document, by string) []string {
	var changed []string
	for _, place := range regexp.MustCompile(`[:\[,]("(?:[^"\\]|\\.)*")[,}\]]`).FindAllStringSubmatchIndex(document, -1) {
		if slices.Contains([]string{`"integer"`, `"number"`, `"string"`, `"null"`}, document[place[2]:place[3]]) {
			continue // the harness itself goes by the schema's types
		}
		changed = append(changed, document[:place[2]]+`"`+by+`"`+document[place[3]:])
	}
	return changed
}
