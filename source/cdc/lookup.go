package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/postgres"
)

const (
	firstBatch = 100     // records whose values are looked up together at first; later more, or fewer if they are large
	foundBytes = 8 << 20 // of values that are held at a time, and one row more
	parameters = 65535   // that a statement may have
	bpchar     = 1042    // the oid of character(n)
)

// A lookup finds the present values of rows by key: of columns that the log leaves out because a large value did not
// change, because they are generated, or because they had another name or were not there when the change was made.
// What it finds is at least as new as the change.
//
// Without a key no row can be found, but generated columns can be computed: they follow from the row, which is all key
// then.
type lookup struct {
	table    string   // as SQL
	key      []string // names of columns
	types    []uint32 // of the key's columns, as the table has them now
	away     []string // schemas of theirs that search_path does not lead to
	columns  []string // of the stream
	dropped  []bool   // of columns: the table has them no more
	computed bool     // there is no key
	warned   bool     // that something cannot be looked up
	formulas []string // of columns, as SQL, if they are computed; empty for those that are not generated
	bytes    []string // of columns, as SQL, the size of a value; empty where it is not known or may be any
	longest  []int    // and how large one may be
}

func newLookup(t *target, s shape) *lookup {
	l := &lookup{table: postgres.Quote(t.Table.Schema, t.Table.Name), dropped: make([]bool, len(t.Columns))}
	if t.Table.Kind == catalog.Ordinary {
		l.table = "ONLY " + l.table // tables that inherit from it may have the same keys
	}
	l.computed = len(t.key) == 0
	for i, c := range s.columns {
		if l.computed || slices.Contains(t.key, i) {
			l.key = append(l.key, c.name)
			l.types = append(l.types, keyType(t.Table, c))
			if now := t.Table.Column(c.name); now != nil && now.Away != "" {
				l.away = append(l.away, now.Away)
			}
		}
	}
	for i, c := range t.Columns {
		l.columns = append(l.columns, c.Name)
		longest, limited := t.object.Longest(i)
		size := ""
		if limited {
			size = codec.Size(c.WireOID, "found."+postgres.Quote(c.Name))
		}
		l.bytes, l.longest = append(l.bytes, size), append(l.longest, longest)
	}
	return l
}

// keyType is the type that a value of c is looked up as: that of the table's column, for the one that the log names may
// be gone, and a domain may refuse by now what it has taken before. Only the spaces that fill up a character(n) matter
// to no other type but itself.
func keyType(table *catalog.Table, c column) uint32 {
	if now := table.Column(c.name); now != nil && c.oid != bpchar {
		return now.WireOID
	}
	return c.oid
}

// lacks reports that column c is known to be no more: there is nothing to look up.
func (l *lookup) lacks(c int) bool { return l.dropped[c] }

// finds reports that column c is among what the lookup can find.
func (l *lookup) finds(c int) bool { return !l.computed || l.formulas != nil && l.formulas[c] != "" }

// A finding is what was found for the records of one target.
type finding struct {
	wanted []bool         // which columns were looked up
	keys   [][][]byte     // the rows that were looked for
	index  map[string]int // keyText of keys, to their index
	rows   map[int][][]byte
	until  int  // the rows from this index on were left for the next time
	spare  bool // values that cannot fit into a field are not fetched: with them a row is too large for the server to send
}

func newFinding(columns int) *finding {
	return &finding{wanted: make([]bool, columns), index: map[string]int{}, rows: map[int][][]byte{}}
}

// want adds the row of p.
func (f *finding) want(p *pending) {
	for c, missing := range p.missing {
		f.wanted[c] = f.wanted[c] || missing
	}
	text := keyText(p.key)
	if _, known := f.index[text]; known {
		return
	}
	f.index[text] = len(f.keys)
	f.keys = append(f.keys, p.key)
	f.until = len(f.keys)
}

// query selects the position of each row among the wanted and the wanted columns, in the order of the former.
func (l *lookup) query(f *finding) (sql string, args [][]byte, types []uint32) {
	var b strings.Builder
	b.WriteString("SELECT wanted." + l.position())
	for c, wanted := range f.wanted {
		switch {
		case wanted && (l.dropped[c] || !l.finds(c)):
			b.WriteString(", NULL")
		case wanted && l.computed:
			b.WriteString(", " + l.formulas[c])
		case wanted && f.spare && l.bytes[c] != "":
			fmt.Fprintf(&b, ", CASE WHEN %s > %d THEN NULL ELSE found.%s END, %[1]s > %[2]d", l.bytes[c], l.longest[c],
				postgres.Quote(l.columns[c]))
		case wanted:
			b.WriteString(", found." + postgres.Quote(l.columns[c]))
		}
	}
	b.WriteString(" FROM (VALUES ")
	for n, key := range f.keys[:f.until] {
		if n > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "(%d", n)
		for _, value := range key {
			args = append(args, value)
			fmt.Fprintf(&b, ", $%d", len(args))
		}
		b.WriteByte(')')
		types = append(types, l.types...)
	}
	b.WriteString(") AS wanted (" + l.position())
	for i, name := range l.key {
		if l.computed {
			b.WriteString(", " + postgres.Quote(name))
		} else {
			fmt.Fprintf(&b, ", k%d", i)
		}
	}
	b.WriteByte(')')
	if !l.computed {
		fmt.Fprintf(&b, " JOIN %s AS found ON ", l.table)
		for i, name := range l.key {
			if i > 0 {
				b.WriteString(" AND ")
			}
			fmt.Fprintf(&b, "found.%s = wanted.k%d", postgres.Quote(name), i)
		}
	}
	b.WriteString(" ORDER BY wanted." + l.position())
	return b.String(), args, types
}

// position is the name of the column that numbers the rows, as SQL: none of the table's.
func (l *lookup) position() string {
	name := "position"
	for l.computed && slices.Contains(l.key, name) {
		name += "_"
	}
	return postgres.Quote(name)
}

// find fills in the rows of f, up to room bytes of them but at least one, and gives the bytes.
func (r *Reader) find(ctx context.Context, t *target, f *finding, room int) (int, error) {
	f.until = min(f.until, parameters/len(t.again.key))
	narrowed := false
	for {
		err := r.server.Begin(ctx, r.conn, "")
		if err != nil {
			return 0, err
		}
		if t.again.computed && t.again.formulas == nil {
			err = t.again.load(ctx, r.conn, t.Table.OID)
		}
		for _, schema := range t.again.away {
			if err == nil {
				err = postgres.Reach(ctx, r.conn, schema)
			}
		}
		held := 0
		if err == nil {
			held, err = r.fetch(ctx, t.again, f, room)
		}
		if back := r.server.Rollback(ctx, r.conn); err == nil {
			err = back
		}
		code := ""
		var said *pgconn.PgError
		if errors.As(err, &said) && ctx.Err() == nil && !r.conn.IsClosed() {
			code = said.Code
		}
		switch {
		case err == nil:
			return held, nil
		case code == "54000" && !f.spare && !t.again.computed:
			f.spare = true
		case code == "42703" && !narrowed: // a column has been dropped or renamed since the sync was planned
			narrowed = true
			if err := t.again.narrow(ctx, r.conn, t.Table.OID); err != nil {
				return 0, err
			}
		case ofOneRow(code) && f.until > 1: // the others are not to suffer for it
			f.until /= 2
		case ofOneRow(code), slices.Contains(otherTable, code),
			t.again.computed && slices.Contains(notComputed, code[:min(2, len(code))]):
			// The table is not what it was, or what it has is broken: its values cannot be had, which every record will say.
			if !t.again.warned {
				t.again.warned = true
				slog.Warn("values that the log does not have cannot be looked up", "stream", t.Descriptor, "error", said.Message)
			}
			clear(f.rows)
			if !ofOneRow(code) {
				f.until = len(f.keys)
			}
			return 0, nil
		default:
			return 0, postgres.Explain(err, "look up values that the log does not have")
		}
	}
}

// ofOneRow reports that a row is to blame: it has something that is no value of the column's type any more or that a
// formula does not like, or the server finds it damaged.
func ofOneRow(code string) bool {
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23") || code == "XX001"
}

// otherTable holds the SQLSTATEs of a lookup in a table that has changed: no such table, schema, column, or operator
// for the key's type.
var otherTable = []string{"42P01", "3F000", "42703", "42883", "42804"}

// notComputed holds the classes of SQLSTATEs that say that a formula does not fit the table, or that the user may not
// run what is in it.
var notComputed = []string{"0A", "42", "P0", "XX"}

// fetch runs the query of f.
func (r *Reader) fetch(ctx context.Context, l *lookup, f *finding, room int) (int, error) {
	sql, args, types := l.query(f)
	rows := r.conn.ExecParams(ctx, sql, args, types, nil, nil)
	held := 0
	for rows.NextRow() {
		v := rows.Values()
		position, err := strconv.Atoi(string(v[0]))
		if err != nil || held > 0 && held >= room {
			f.until = min(f.until, position) // the rest of the answer is passed over
			continue
		}
		values, next := make([][]byte, len(f.wanted)), 1
		for c, wanted := range f.wanted {
			if wanted {
				values[c] = copyOf(v[next])
				held += len(v[next])
				next++
				if f.spare && l.bytes[c] != "" && !l.dropped[c] {
					if string(v[next]) == "t" {
						values[c] = make([]byte, l.longest[c]+1)
						held += len(values[c])
					}
					next++
				}
			}
		}
		held++ // a row of nothing but NULLs counts as well
		f.rows[position] = values
	}
	_, err := rows.Close()
	return held, err
}

const columnsSQL = `SELECT attname FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped`

// narrow finds out which columns the table has lost.
func (l *lookup) narrow(ctx context.Context, conn *pgconn.PgConn, oid uint32) error {
	var there []string
	args := [][]byte{strconv.AppendUint(nil, uint64(oid), 10)}
	err := postgres.Query(ctx, conn, columnsSQL, args, func(v [][]byte) error {
		there = append(there, string(v[0]))
		return nil
	})
	if err != nil {
		return postgres.Explain(err, "list the columns")
	}
	for c, name := range l.columns {
		l.dropped[c] = !slices.Contains(there, name)
	}
	return nil
}

// A stored value was converted to the column's type, which the formula does not show.
const formulasSQL = `
SELECT a.attname, '((' || pg_get_expr(d.adbin, d.adrelid) || ')::' || format_type(a.atttypid, a.atttypmod) || ')'
  FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::oid AND a.attgenerated <> ''`

// load finds out how the generated columns are computed.
func (l *lookup) load(ctx context.Context, conn *pgconn.PgConn, oid uint32) error {
	l.formulas = make([]string, len(l.columns))
	args := [][]byte{strconv.AppendUint(nil, uint64(oid), 10)}
	return postgres.Query(ctx, conn, formulasSQL, args, func(v [][]byte) error {
		if c := slices.Index(l.columns, string(v[0])); c >= 0 {
			l.formulas[c] = string(v[1])
		}
		return nil
	})
}

// keyText makes one string of a key; no two keys have the same.
func keyText(key [][]byte) string {
	var b []byte
	for _, value := range key {
		b = strconv.AppendInt(b, int64(len(value)), 10)
		b = append(append(b, ':'), value...)
	}
	return string(b)
}

// copyOf keeps nil, which is NULL.
func copyOf(value []byte) []byte {
	if value == nil {
		return nil
	}
	return append(make([]byte, 0, len(value)), value...)
}
