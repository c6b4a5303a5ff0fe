package scan

import (
	"slices"
	"testing"

	"source-postgres/source/catalog"
	"source-postgres/source/plan"
	"source-postgres/source/state"
)

// A pass that stopped in the middle of a block reads the rest of it, and of what it had read there what was written
// since.
func TestPassFromTheMiddleOfABlock(t *testing.T) {
	for again, want := range map[string][]string{
		noRow: {`SELECT  FROM "s"."t" WHERE ctid >= '(3,0)' AND (ctid > '(3,4)' OR false)`},
		"x > 5": {
			`SELECT  FROM "s"."t" WHERE ctid >= '(0,0)' AND ctid < '(3,0)' AND x > 5`,
			`SELECT  FROM "s"."t" WHERE ctid >= '(3,0)' AND (ctid > '(3,4)' OR x > 5)`,
		},
		everyRow: {
			`SELECT  FROM "s"."t" WHERE ctid >= '(0,0)' AND ctid < '(3,0)'`,
			`SELECT  FROM "s"."t" WHERE ctid >= '(3,0)'`,
		},
	} {
		table := &catalog.Table{Schema: "s", Name: "t", Storage: &catalog.Storage{}}
		p := &progress{Stream: &plan.Stream{Table: table}, tuple: 4}
		got := []string{}
		for _, task := range p.pass(state.Blocks{{From: 0, To: 3}}, condition{}, condition{sql: again}) {
			got = append(got, task.query)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q again: %q, want %q", again, got, want)
		}
	}
}
