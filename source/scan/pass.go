package scan

import (
	"fmt"
	"log/slog"
	"strings"

	"source-postgres/source/catalog"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// A condition is a part of a WHERE clause with its parameters; everyRow and noRow as SQL mean just that.
type condition struct {
	sql   string
	args  [][]byte
	types []uint32
}

// pass makes the tasks of a pass by ranges: the rows of what is missing that fulfil fresh, and those of what an
// earlier attempt has done that fulfil again.
func (p *progress) pass(done state.Blocks, fresh, again condition) []task {
	var tasks []task
	add := func(r state.Range, c condition, does state.Range) {
		t := task{p: p, args: c.args, types: c.types, done: does}
		place := ""
		if does != (state.Range{}) && p.inOneScan() {
			t.order, place = byBlock, ", ctid"
		}
		t.query = p.query(place, inBlocks(r), c.sql)
		tasks = append(tasks, t)
	}
	if again.sql != noRow {
		for _, r := range p.ranges(done) {
			add(r, again, state.Range{})
		}
	}
	if fresh.sql != noRow {
		for _, r := range p.ranges(done.Missing()) {
			add(r, fresh, r)
		}
	}
	if len(tasks) == 0 {
		tasks = []task{{p: p}} // nothing is due but the state that says so
	}
	return tasks
}

// ranges cuts blocks into what one statement each reads. A server before version 14 has no way to read blocks by
// number: it would scan the whole table for every range, so that there it is read in one piece.
func (p *progress) ranges(blocks state.Blocks) []state.Range {
	if p.noTIDRange {
		return blocks
	}
	return plan.Ranges(p.Table.Storage, blocks)
}

// inOneScan reports that the rows of one statement come in the order of their blocks, and that the table is not cut
// into ranges: a sequential scan of one file that begins at its first block.
func (p *progress) inOneScan() bool { return p.noTIDRange && len(p.Table.Storage.Parts) == 1 }

// resumed is the condition for rows that lie in blocks which an earlier attempt has done and that were written since:
// an update may have moved a row there from blocks that had not been read.
func (p *progress) resumed(from *state.Ctid, now Snapshot) condition {
	if then, err := ParseSnapshot(from.Snapshot); err == nil {
		return condition{sql: now.writtenSince(then.Xmin)}
	}
	// A state of Airbyte's connector: what it was going to do next also finds rows that were moved.
	switch then := from.Then.(type) {
	case *state.Xmin:
		return condition{sql: now.writtenSince(then.Bound)}
	case *state.Cursor:
		if then.Value != nil && p.Cursor != nil {
			return condition{
				sql: postgres.Quote(p.Cursor.Name) + " >= $1", args: [][]byte{[]byte(*then.Value)},
				types: []uint32{p.Cursor.WireOID},
			}
		}
	}
	slog.Warn("the state does not say under which snapshot it was written: rows that were updated between the two "+
		"attempts may "+
		"be missing until the stream is read whole again", "stream", p.Descriptor)
	return condition{sql: noRow}
}

// inBlocks is the SQL condition for the rows in r. From version 14 on the server reads just these blocks for it.
func inBlocks(r state.Range) string {
	switch {
	case r.From == 0 && r.To >= state.End:
		return everyRow
	case r.To >= state.End:
		return fmt.Sprintf("ctid >= '(%d,0)'", r.From)
	}
	return fmt.Sprintf("ctid >= '(%d,0)' AND ctid < '(%d,0)'", r.From, r.To)
}

// query selects the columns, and extra after them, of the rows that fulfil every condition. The parts of a table are
// read through the table itself: who may read a partitioned table need not be allowed to read its partitions.
func (p *progress) query(extra string, conditions ...string) string {
	var sql strings.Builder
	sql.WriteString("SELECT ")
	for i, c := range p.Columns {
		if i > 0 {
			sql.WriteString(", ")
		}
		sql.WriteString(postgres.Quote(c.Name))
	}
	sql.WriteString(extra)
	sql.WriteString(" FROM ")
	sql.WriteString(p.relation())
	and := " WHERE "
	if p.Method == plan.ByLog && p.Table.RowFilter != "" {
		conditions = append(conditions, "("+p.Table.RowFilter+")")
	}
	for _, c := range conditions {
		if c != everyRow {
			sql.WriteString(and)
			sql.WriteString(c)
			and = " AND "
		}
	}
	return sql.String()
}

// relation is the table in SQL. A table's own changes are in the log under its name, those of tables that inherit
// from it under theirs, so that its first pass must not have them either.
func (p *progress) relation() string {
	name := postgres.Quote(p.Table.Schema, p.Table.Name)
	if p.Method == plan.ByLog && p.Table.Kind == catalog.Ordinary {
		return "ONLY " + name
	}
	return name
}
