package integration

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"source-postgres/integration_tests/pgtest"
)

// refresh discovers and reads streams ("table" or "schema.table"; without names all) by full refresh.
func refresh(t *testing.T, config map[string]any, names ...string) *result {
	t.Helper()
	return run(t, "read", input{config: config, catalog: discover(t, config).configure("full_refresh", names...)})
}

// role makes a role that can log in.
func (d *database) role(name string) pgtest.Role {
	d.t.Helper()
	role, err := d.NewRole(d.t.Context(), name)
	if err != nil {
		d.t.Fatal(err)
	}
	return role
}

// configAs is a configuration for a role, with further overrides.
func (d *database) configAs(role pgtest.Role, overrides map[string]any) map[string]any {
	c := d.config(overrides)
	maps.Copy(c, map[string]any{"username": role.Name, "password": role.Password})
	return c
}

// connect opens a session of its own, which is closed when the test ends.
func (d *database) connect() *pgx.Conn {
	d.t.Helper()
	conn, err := d.Connect(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close(d.t.Context()) }) // the database's end closes it as well
	return conn
}

// do runs SQL in a session of its own; an error ends the test.
func do(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("run %s: %v", sql, err)
	}
}

// column is the first column of a query.
func (d *database) column(sql string, args ...any) []string {
	d.t.Helper()
	rows, err := d.Query(d.t.Context(), sql, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	values := []string{}
	for _, row := range rows {
		values = append(values, row[0])
	}
	return values
}

// rows are a relation's rows as JSON objects by the server's own to_json, in order; the condition is SQL that follows
// FROM. It suits types that to_json and Airbyte write alike: integers, texts, booleans.
func (d *database) rows(from string) []string {
	d.t.Helper()
	texts := d.column("SELECT to_json(its_row) FROM " + from + " AS its_row")
	for i, text := range texts {
		texts[i] = canonical(d.t, []byte(text))
	}
	slices.Sort(texts)
	return texts
}

// rows are the records of a stream as JSON objects, in order; a row that comes twice is there twice.
func (r *result) rows(stream string) []string {
	r.t.Helper()
	texts := []string{}
	for _, rec := range r.records(stream) {
		text, err := json.Marshal(rec.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		texts = append(texts, canonical(r.t, text))
	}
	slices.Sort(texts)
	return texts
}

// canonical is a JSON document with sorted keys, one way of writing strings, and numbers as they were.
func canonical(t *testing.T, text []byte) string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	same, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(same)
}

// expectRows compares the records of a stream with rows of the database.
func (r *result) expectRows(stream string, want []string) {
	r.t.Helper()
	expectSame(r.t, stream, r.rows(stream), want)
}

// expectSame compares two sorted lists and shows how they differ.
func expectSame(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	missing, extra := difference(want, got), difference(got, want)
	const shown = 5
	t.Errorf("%s: %d, want %d; %d missing: %q; %d too many: %q", what, len(got), len(want),
		len(missing), missing[:min(shown, len(missing))], len(extra), extra[:min(shown, len(extra))])
}

// difference is what a has more than b, each as often as it has it more often.
func difference(a, b []string) []string {
	count := map[string]int{}
	for _, s := range b {
		count[s]++
	}
	var more []string
	for _, s := range a {
		if count[s]--; count[s] < 0 {
			more = append(more, s)
		}
	}
	return more
}

// names are the catalog's streams as "schema.table", in the catalog's order.
func (c *catalog) names() []string {
	names := []string{}
	for i := range c.Streams {
		names = append(names, c.Streams[i].name().String())
	}
	return names
}

// selectColumns leaves only the given columns of a stream selected, and gives the catalog back.
func (c *configuredCatalog) selectColumns(t *testing.T, name string, columns ...string) *configuredCatalog {
	t.Helper()
	s := c.find(t, name)
	s.Stream.JSONSchema.Properties = maps.Clone(s.Stream.JSONSchema.Properties)
	maps.DeleteFunc(s.Stream.JSONSchema.Properties, func(column string, _ json.RawMessage) bool {
		return !slices.Contains(columns, column)
	})
	return c
}

// quoted writes a name as SQL.
func quoted(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// has reports whether one of the texts contains all the parts.
func has(texts []string, parts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		for _, part := range parts {
			if !strings.Contains(text, part) {
				return false
			}
		}
		return true
	})
}

// extension makes an extension in the database, if the server has it.
func (d *database) extension(name string) bool {
	d.t.Helper()
	if d.value("SELECT count(*) FROM pg_available_extensions WHERE name = $1", name) == "0" {
		return false
	}
	d.exec("CREATE EXTENSION IF NOT EXISTS " + quoted(name))
	return true
}

// loopback makes server "self" of postgres_fdw, by which the database reaches its own tables, if the server has it.
func (d *database) loopback() bool {
	d.t.Helper()
	if !d.extension("postgres_fdw") {
		return false
	}
	host, port := d.value("SELECT host(inet_server_addr())"), d.value("SELECT inet_server_port()")
	d.exec("CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '" + host + "', port '" + port +
		"', dbname '" + d.Name + "');" +
		"CREATE USER MAPPING FOR CURRENT_USER SERVER self OPTIONS (user '" + d.User + "', password '" + d.Password + "')")
	return true
}
