package scan

import (
	"fmt"
	"slices"
	"strings"

	"source-postgres/source/codec"
	"source-postgres/source/postgres"
)

// A narrowing reads a task again of which a row is too large for the server to send: a message has at most 1 GB. The
// query leaves out the values that cannot fit into a record in any case, and names them in a column of its own, before
// the others.
type narrowing struct {
	wide    []int  // the columns that can be left out
	skip    int64  // rows that were sent before, and come first in the same order again
	instead []byte // of each value that was left out: longer than any that fits
}

// narrow is how t can be read again after err, when it had brought so many rows; nil if it cannot. Of a range all of
// them are skipped, since blocks are read in their order; of a cursor those of its last value come twice.
func (t *task) narrow(err error, rows int64, marks *bookmark) *narrowing {
	p := t.p
	if !postgres.TooLarge(err) || t.order == unordered && !p.Paged {
		return nil
	}
	n := &narrowing{skip: rows}
	longest := 0
	for i, c := range p.Columns {
		if limit, limited := p.Object.Longest(i); limited && codec.Size(c.WireOID, "") != "" && !p.isCursor(c.Name) {
			n.wide, longest = append(n.wide, i), max(longest, limit)
		}
	}
	if n.wide == nil {
		return nil
	}
	n.instead = make([]byte, longest+1)
	if t.order == byCursor {
		n.skip = marks.rewind()
	}
	return n
}

func (p *progress) isCursor(column string) bool { return p.Cursor != nil && p.Cursor.Name == column }

// query is that of the task, without what is too large.
func (n *narrowing) query(t *task) string {
	var columns, marks []string
	for i, c := range t.p.Columns {
		name := postgres.Quote(c.Name)
		if !slices.Contains(n.wide, i) {
			columns = append(columns, name)
			continue
		}
		limit, _ := t.p.Object.Longest(i)
		large := fmt.Sprintf("%s > %d", codec.Size(c.WireOID, name), limit)
		columns = append(columns, fmt.Sprintf("CASE WHEN %s THEN NULL ELSE %s END", large, name))
		marks = append(marks, fmt.Sprintf("CASE WHEN %s THEN '1' ELSE '0' END", large))
	}
	return "SELECT " + strings.Join(marks, " || ") + ", " + strings.Join(columns, ", ") +
		strings.TrimPrefix(t.query, "SELECT "+t.p.selected())
}

// restore gives the values of a row without the first, which says what was left out.
func (n *narrowing) restore(row [][]byte) [][]byte {
	values := row[1:]
	for mark, i := range n.wide {
		if row[0][mark] == '1' {
			values[i] = n.instead
		}
	}
	return values
}
