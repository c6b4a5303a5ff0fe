package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"source-postgres/protocol"
	"source-postgres/source/cdc"
	"source-postgres/source/config"
	"source-postgres/source/postgres"
	"source-postgres/source/scan"
)

// Check finds everything that keeps a sync with these settings from working.
func (Source) Check(ctx context.Context, text []byte) error {
	c, session, done, err := open(ctx, text)
	if err != nil {
		return err
	}
	defer done()
	problems := checkSchemas(ctx, session, c)
	if c.Method == config.MethodCDC {
		// A sync looks values up with a second connection beside that to the log.
		second, err := session.Server.Connect(ctx)
		if err == nil {
			postgres.Close(second)
		}
		problems = errors.Join(problems, err, cdc.Check(ctx, session.Server, session.Conn, c))
	}
	return problems
}

// schemasSQL says of each schema in $1 (a JSON array; NULL: every one but the system's) whether it is there, whether
// the user may use it, how many tables it has and how many of them the user may read; and which schemas there are at
// all.
const schemasSQL = `
WITH present AS (
  SELECT oid, nspname::text AS name FROM pg_namespace
   WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'catalog_history')
), wanted AS (
  SELECT json_array_elements_text($1::json) AS name
   UNION
  SELECT name FROM present WHERE $1 IS NULL
)
SELECT w.name, n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
       count(c.oid),
       count(c.oid) FILTER (WHERE has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')),
       (SELECT string_agg(name, ', ' ORDER BY name) FROM present)
  FROM wanted w
  LEFT JOIN pg_namespace n ON n.nspname = w.name
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 GROUP BY w.name, n.oid
 ORDER BY w.name`

// checkSchemas finds schemas that are not there, and those of which the user may read nothing although there are
// tables.
func checkSchemas(ctx context.Context, session *scan.Session, c *config.Config) error {
	var wanted []byte
	if len(c.Schemas) > 0 {
		wanted, _ = json.Marshal(c.Schemas) // strings cannot fail to marshal
	}
	var problems []error
	var tables, readable int
	err := postgres.Query(ctx, session.Conn, schemasSQL, [][]byte{wanted}, func(v [][]byte) error {
		name := string(v[0])
		usable := v[2][0] == 't'
		has, may := string(v[3]) != "0", string(v[4]) != "0"
		if has {
			tables++
		}
		if usable && may {
			readable++
		}
		if len(c.Schemas) == 0 || usable && (may || !has) {
			return nil
		}
		if v[1][0] != 't' {
			problems = append(problems, &protocol.Error{
				Kind: protocol.Config,
				Message: fmt.Sprintf("Cannot read schema %q. State code: 3F000; Message: schema %q does not exist in "+
					"database %q.", name, name, c.Database),
				Hint: fmt.Sprintf("Names are case-sensitive; the schemas here are: %s.", v[5]),
			})
			return nil
		}
		problems = append(problems, denied(c, name, usable))
		return nil
	})
	if err != nil {
		return postgres.Explain(err, "look up the schemas")
	}
	if len(c.Schemas) == 0 && tables > 0 && readable == 0 {
		problems = append(problems, &protocol.Error{
			Kind: protocol.Config,
			Message: fmt.Sprintf("Cannot read database %q. State code: 42501; Message: user %s lacks privileges to SELECT "+
				"from any table of it.", c.Database, c.Username),
			Hint: "For each schema to be read run: " + grants(c, "<schema>", false),
		})
	}
	return errors.Join(problems...)
}

// denied says that a schema cannot be read, and how to change that.
func denied(c *config.Config, schema string, usable bool) error {
	what := "privileges to SELECT from any of the tables in"
	if !usable {
		what = "the USAGE privilege on"
	}
	return &protocol.Error{
		Kind: protocol.Config,
		Message: fmt.Sprintf("Cannot read schema %q. State code: 42501; Message: user %s lacks %s schema %s.",
			schema, c.Username, what, schema),
		Hint: "Run: " + grants(c, postgres.Quote(schema), usable),
	}
}

// grants is the SQL that lets the user read a schema.
func grants(c *config.Config, schema string, usable bool) string {
	user := postgres.Quote(c.Username)
	var sql strings.Builder
	if !usable {
		fmt.Fprintf(&sql, "GRANT USAGE ON SCHEMA %s TO %s; ", schema, user)
	}
	fmt.Fprintf(&sql, "GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;", schema, user)
	return sql.String()
}
