package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"source-postgres/integration_tests/pgtest"
)

//go:embed schema.sql
var schema string

const (
	billing = "billing" // the schema that schema.sql makes
	binary  = "source-postgres"
	module  = "source-postgres"
)

func startServer(ctx context.Context, d *demo) (err error) {
	begin := time.Now()
	d.printf("  starting (PostgreSQL is installed first where there is none) ... ")
	if d.server, err = pgtest.Start(ctx); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	d.printf("%s\n", took(time.Since(begin)))
	d.line(d.server.String())
	return nil
}

// load fills a database and writes the settings with which the connector reads it: as a role that may only SELECT.
func load(ctx context.Context, d *demo) (err error) {
	begin := time.Now()
	if d.db, err = d.server.NewDatabase(ctx, "demo"); err != nil {
		return err
	}
	if err := d.db.Exec(ctx, schema); err != nil {
		return fmt.Errorf("load schema.sql: %w", err)
	}
	reader, err := d.db.NewRole(ctx, "demo_reader")
	if err != nil {
		return err
	}
	const grant = "GRANT USAGE ON SCHEMA %[1]s TO %[2]s; GRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO %[2]s"
	err = d.db.Exec(ctx, fmt.Sprintf(grant, billing, reader.Name))
	if err != nil {
		return fmt.Errorf("let the connector's role read: %w", err)
	}
	found, err := d.db.Query(ctx, `SELECT count(*) FILTER (WHERE relkind = 'r'), count(*) FILTER (WHERE relkind = 'v'),
		to_char(sum(reltuples) FILTER (WHERE relkind = 'r'), 'FM999,999')
		FROM pg_class WHERE relnamespace = $1::regnamespace`, billing)
	if err != nil {
		return err
	}
	d.line(fmt.Sprintf("schema.sql: %s tables, %s view, %s rows in the tables (%s)",
		found[0][0], found[0][1], found[0][2], took(time.Since(begin))))
	settings := map[string]any{
		"host": d.db.Host, "port": d.db.Port, "database": d.db.Name, "schemas": []string{billing},
		"username": reader.Name, "password": reader.Password,
	}
	if d.server.Via != "url" {
		settings["ssl"] = false // a server that was started for the demo has no certificate
	}
	d.reader, d.settings = reader.Name, settings
	return d.write("config.json", settings)
}

func build(ctx context.Context, d *demo) error {
	begin := time.Now()
	d.command("CGO_ENABLED=0 go build -o " + binary + " " + module)
	cmd := d.program(ctx, "go", "build", "-o", filepath.Join(d.dir, binary), module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	info, err := os.Stat(filepath.Join(d.dir, binary))
	if err != nil {
		return fmt.Errorf("look at the binary: %w", err)
	}
	d.line(fmt.Sprintf("%.1f MB (%s)", float64(info.Size())/1e6, took(time.Since(begin))))
	return nil
}

// program is a command that is interrupted when ctx ends, so that it can remove its own files.
func (d *demo) program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// write makes a JSON file for the connector. Only this user may read it: one holds a password.
func (d *demo) write(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, name), text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
