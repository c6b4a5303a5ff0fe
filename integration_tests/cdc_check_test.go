package integration

import (
	"strings"
	"testing"
)

// Everything that keeps the log from being read is told at once, each with what to do.
func TestCheckOfLog(t *testing.T) {
	t.Parallel()
	c := &capture{database: newDBOn(t, private(t, "wal_level=replica", "max_wal_senders=1"))}
	c.exec(`CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION "p ""q""" FOR ALL TABLES WITH (publish = 'insert')`)
	role := c.role("reader")
	config := func(slot, publication string) map[string]any {
		return c.configAs(role, map[string]any{"schemas": []string{"public", "none"}, "replication_method": map[string]any{
			"method": "CDC", "replication_slot": slot, "publication": publication,
		}})
	}
	message := checked(t, config("none", `p "q"`))
	expectIn(t, "check", message, `"none" does not exist`, "GRANT SELECT ON ALL TABLES", "wal_level is replica",
		"ALTER SYSTEM SET wal_level = logical", "slot none does not exist",
		"pg_create_logical_replication_slot('none', 'pgoutput')", "does not publish update and delete",
		`ALTER PUBLICATION "p ""q""" SET (publish = 'insert, update, delete, truncate')`, "REPLICATION")
	if n := strings.Count(message, "\n") + 1; n != 6 {
		t.Errorf("%d lines, want one for each of 6 problems: %s", n, message)
	}
	expectIn(t, "check", checked(t, config("none", "other")), "Publication other does not exist", "CREATE PUBLICATION")
	// The services have their own ways to wal_level. Each is known by a setting that only it has.
	for setting, hint := range map[string]string{
		"rds.logical_replication": "rds.logical_replication to 1", "azure.extensions": "LOGICAL in the server parameters",
		"cloudsql.logical_decoding": "flag cloudsql.logical_decoding to on",
	} {
		c.exec("ALTER ROLE " + quoted(role.Name) + " SET " + setting + " = 'off'")
		expectIn(t, setting, checked(t, config("none", `p "q"`)), "wal_level is replica", hint)
		c.exec("ALTER ROLE " + quoted(role.Name) + " RESET " + setting)
	}
}

// check of what can be read says what to keep an eye on.
func TestCheckOfLogWarns(t *testing.T) {
	t.Parallel()
	s := private(t, "max_slot_wal_keep_size=32MB", "max_replication_slots=2", "checkpoint_timeout=1h")
	c := newCaptureOn(t, s, `
CREATE TABLE computed (id int, n int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE computed REPLICA IDENTITY FULL;
CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE "no key" (id int); CREATE TABLE hidden (id int PRIMARY KEY);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY`, nil)
	role := c.role("reader")
	c.exec("ALTER ROLE " + quoted(role.Name) + " REPLICATION")
	c.exec("GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + quoted(role.Name))
	config := c.configAs(role, map[string]any{"replication_method": c.settings["replication_method"]})
	check := func() *result {
		t.Helper()
		r := run(t, "check", input{config: config}).ok()
		if status := r.status(); status.Status != "SUCCEEDED" {
			t.Errorf("check says %s %s", status.Status, status.Message)
		}
		return r
	}
	r := check()
	if !has(r.logs("INFO"), "replication slot", "wal_retained_bytes") {
		t.Errorf("no word of the log that is kept: %q", r.logs("INFO"))
	}
	warnings := r.logs("WARN")
	if !has(warnings, "without a replica identity", `"no key"`, "deferred", "REPLICA IDENTITY FULL") ||
		!has(warnings, "row-level security", "hidden", "BYPASSRLS") || has(warnings, "good") {
		t.Errorf("warnings %q", warnings)
	}
	if has(warnings, "computed", "publish_generated_columns = stored") != (c.Version >= 180000) {
		t.Errorf("warnings %q", warnings)
	}
	if has(warnings, "about to be lost") || has(warnings, "all replication slots") {
		t.Errorf("warned of nothing: %q", warnings)
	}
	c.exec("SELECT pg_create_logical_replication_slot('last', 'pgoutput')")
	for range 3 {
		c.exec("SELECT pg_switch_wal()")
		c.exec("INSERT INTO good SELECT coalesce(max(id), 0) + 1 FROM good")
	}
	warnings = check().logs("WARN")
	if !has(warnings, "about to be lost", "max_slot_wal_keep_size") || !has(warnings, "all replication slots are in use") {
		t.Errorf("warnings %q", warnings)
	}
	_, release := c.holdSlot()
	c.await("SELECT EXISTS (SELECT FROM pg_stat_replication)")
	expectIn(t, "slot in use", checked(t, config), "is in use by process")
	release()
	// With row-level security the first pass and the log would disagree.
	c.await("SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1", c.slotName())
	r = run(t, "read", input{config: config, catalog: discover(t, config).configure("incremental", "good", "hidden")})
	expectIn(t, "read", r.failed("config_error").Message, "public.hidden", "BYPASSRLS")
	expectList(t, r.statuses("good"), "STARTED", "RUNNING", "COMPLETE")
	c.exec("ALTER ROLE " + quoted(role.Name) + " BYPASSRLS")
	run(t, "read", input{config: config, catalog: discover(t, config).configure("incremental", "good", "hidden")}).ok()
}
