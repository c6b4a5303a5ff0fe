package scan

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
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
// earlier attempt has done that fulfil again. Where it stopped in the middle of a block, it has done some rows of it.
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
			if p.tuple > 0 && r.From == done.Watermark() {
				begun := again
				if again.sql != everyRow {
					begun.sql = fmt.Sprintf("(ctid > '(%d,%d)' OR %s)", r.From, p.tuple, again.sql)
				}
				add(r, begun, r)
				continue
			}
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
// an update may have moved a row there from blocks that had not been read. A first pass of Airbyte's connector whose
// changes come from the log has no snapshot, and needs none: the log has them.
func (w *worker) resumed(ctx context.Context, p *progress, from *state.Ctid, now Snapshot) (condition, error) {
	c := condition{sql: noRow}
	if then, err := ParseSnapshot(from.Snapshot); err == nil {
		c.sql = now.writtenSince(then.Xmin)
	}
	if from.Moved == nil || from.Moved.Value == nil || c.sql == everyRow {
		return c, nil
	}
	moved := *from.Moved
	if err := w.recount(ctx, p, &moved); err != nil {
		return c, err
	}
	column := postgres.Quote(p.Cursor.Name)
	c.sql = fmt.Sprintf("(%s%s OR %s IS NULL OR %s)", column, advances(&moved), column, c.sql)
	c.args, c.types = [][]byte{[]byte(*moved.Value)}, []uint32{p.Cursor.WireOID}
	slog.Warn("the first pass was begun by another connector, which keeps no snapshot: rows are found that were written "+
		"since with a greater cursor. If updates leave the cursor as it is, reset the stream", "stream", p.Descriptor,
		"cursor", p.Cursor.Name)
	return c, nil
}

// orAdded is c, or that the row lies in a part that the table has got since the attempt that began the pass.
func (p *progress) orAdded(from *state.Ctid, c condition) condition {
	added, _ := p.Table.Storage.Added(from.Filenode)
	if len(added) == 0 || c.sql == everyRow {
		return c
	}
	var oids []string
	for _, oid := range added {
		oids = append(oids, strconv.FormatUint(uint64(oid), 10))
	}
	in := "tableoid IN (" + strings.Join(oids, ", ") + ")"
	if c.sql == noRow {
		c.sql = in
		return c
	}
	c.sql = "(" + c.sql + " OR " + in + ")"
	return c
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
	sql.WriteString(p.selected())
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

// selected is the columns in SQL.
func (p *progress) selected() string {
	var names []string
	for _, c := range p.Columns {
		names = append(names, postgres.Quote(c.Name))
	}
	return strings.Join(names, ", ")
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
