package cdc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/codec"
	"source-postgres/source/config"
	"source-postgres/source/plan"
)

// metaColumns are all that the connector adds.
var metaColumns = []string{catalog.LSNColumn, catalog.UpdatedColumn, catalog.DeletedColumn}

// newStream is a stream of a table with these columns, by name and type, the first of which is its key.
func newStream(name string, columns ...any) *plan.Stream {
	d := protocol.StreamDescriptor{Name: name, Namespace: "public"}
	types := codec.NewMap(nil)
	s := &plan.Stream{
		Descriptor: d, Header: protocol.NewHeader(d, time.UnixMilli(1)), Meta: metaColumns, Method: plan.ByLog,
		Table: &catalog.Table{Schema: d.Namespace, Name: name, Kind: catalog.Ordinary, Key: []string{columns[0].(string)}},
	}
	for i := 0; i < len(columns); i += 2 {
		oid := uint32(columns[i+1].(int))
		s.Columns = append(s.Columns, catalog.Column{Name: columns[i].(string), OID: oid, Type: types.Type(oid, -1, 1)})
	}
	return s
}

// newTestReader is a Reader without a server that writes to out.
func newTestReader(out io.Writer, streams ...*plan.Stream) *Reader {
	r := &Reader{
		config: &config.Config{CheckpointInterval: time.Hour}, emitter: protocol.NewWriter(out).Emitter(),
		relations: map[uint32]*relation{}, saved: time.Now(), target: 1 << 62,
	}
	for _, s := range streams {
		r.Follow(s, 0)
	}
	return r
}

// take hands a message to the Reader as it comes from the server: 'w', its position, the server's position, the time.
// A relation's types are the built-in ones.
func (r *Reader) take(tb testing.TB, m *message, lsn uint64, data []byte) {
	tb.Helper()
	if data[0] == 'R' {
		if err := m.decode(data); err != nil {
			tb.Fatal(err)
		}
		rel := &relation{shape: m.shape}
		known := codec.NewMap(nil)
		types := make([]*codec.Type, len(m.shape.columns))
		for i, c := range m.shape.columns {
			types[i] = known.Type(c.oid, c.typmod, 1)
		}
		for _, f := range r.streams {
			if f.Table.Name != m.shape.name {
				continue
			}
			rel.targets = append(rel.targets, newTarget(f, m.shape, types))
		}
		r.relations[m.shape.oid] = rel
		return
	}
	if err := r.message(tb.Context(), m, framed(lsn, data)); err != nil {
		tb.Fatal(err)
	}
}

func framed(lsn uint64, data []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'w'}, lsn)
	return append(append(b, make([]byte, 16)...), data...)
}

// What the recording becomes is in testdata/records.jsonl.
func TestRecordsOfRecording(t *testing.T) {
	var out bytes.Buffer
	r := newTestReader(&out,
		newStream("keyed", "id", pgtype.Int4OID, "v", pgtype.TextOID, "n", pgtype.NumericOID, "at", pgtype.TimestamptzOID,
			"a", pgtype.Int4ArrayOID),
		newStream("whole", "id", pgtype.Int4OID, "v", pgtype.TextOID, "big", pgtype.TextOID))
	var m message
	for _, recorded := range recording(t) {
		r.take(t, &m, uint64(recorded.lsn), recorded.data)
	}
	if len(r.waiting) > 0 {
		t.Errorf("%d records wait for values", len(r.waiting))
	}
	if err := r.emitter.Flush(); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/records.jsonl", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(out.String(), "\n"), strings.Split(string(text), "\n")
	if len(got) != len(want) || len(got) < 15 {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("record %d:\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
}

// A change on its way from the log to a record takes no memory, whatever it is and whatever the log has of the old row.
func TestChangesDoNotAllocate(t *testing.T) {
	r := newTestReader(io.Discard,
		newStream("keyed", "id", pgtype.Int4OID, "v", pgtype.TextOID, "n", pgtype.NumericOID, "at", pgtype.TimestamptzOID,
			"a", pgtype.Int4ArrayOID),
		newStream("whole", "id", pgtype.Int4OID, "v", pgtype.TextOID, "big", pgtype.TextOID))
	var m message
	seen := map[string]bool{}
	for _, recorded := range recording(t) {
		switch recorded.data[0] {
		case 'B', 'R':
			r.take(t, &m, uint64(recorded.lsn), recorded.data)
		case 'I', 'U', 'D':
			data := framed(uint64(recorded.lsn), recorded.data)
			before := r.sent
			change := func() {
				if err := r.message(t.Context(), &m, data); err != nil {
					t.Fatal(err)
				}
			}
			for range 5000 { // the buffers grow to their sizes
				change()
			}
			if n := testing.AllocsPerRun(1000, change); n != 0 {
				t.Errorf("%v allocations for %c %x", n, m.kind, recorded.data)
			}
			if r.sent > before {
				seen[fmt.Sprintf("%c of a whole row: %t", m.kind, m.whole && m.kind != 'I')] = true
			}
		}
	}
	for _, kind := range []string{
		"I of a whole row: false", "U of a whole row: false", "U of a whole row: true", "D of a whole row: false",
		"D of a whole row: true",
	} {
		if !seen[kind] {
			t.Errorf("the recording has no %s", kind)
		}
	}
}

// Numbers rise with every record, and follow the positions at which transactions commit where they can.
func TestNumbers(t *testing.T) {
	r := newTestReader(io.Discard, newStream("keyed", "id", pgtype.Int4OID))
	r.Skip(100)
	var m message
	insert := []byte{'I', 0, 0, 0, 9, 'N', 0, 1, 't', 0, 0, 0, 1, '7'}
	r.relations[9] = &relation{shape: shape{columns: []column{{true, "id", pgtype.Int4OID, -1}}}}
	r.relations[9].targets = []*target{newTarget(r.streams[0], r.relations[9].shape,
		[]*codec.Type{codec.NewMap(nil).Type(pgtype.Int4OID, -1, 0)})}
	for _, test := range []struct{ commit, want uint64 }{
		{50, 101}, {50, 102}, {300, 301}, {300, 302}, {300, 303}, {301, 304}, {304, 305}, {1 << 40, 1<<40 + 1},
	} {
		r.committing = pglogrepl.LSN(test.commit)
		r.take(t, &m, 40, insert)
		if r.number != test.want {
			t.Errorf("a change that commits at %d has the number %d, want %d", test.commit, r.number, test.want)
		}
	}
}

// A keepalive in the middle of a transaction may stand beyond the end of it, which is still to come: the state does not
// move.
func TestKeepaliveInTransaction(t *testing.T) {
	r := newTestReader(io.Discard, newStream("keyed", "id", pgtype.Int4OID))
	keepalive := append(binary.BigEndian.AppendUint64([]byte{'k'}, 5000), make([]byte, 9)...)
	var m message
	take := func(data []byte, want pglogrepl.LSN) {
		t.Helper()
		if err := r.message(t.Context(), &m, data); err != nil {
			t.Fatal(err)
		}
		if r.at.LSN != want {
			t.Errorf("after %q the state is at %d, want %d", data[0], r.at.LSN, want)
		}
	}
	begin := append(binary.BigEndian.AppendUint64([]byte{'B'}, 900), make([]byte, 12)...)
	commit := binary.BigEndian.AppendUint64(append([]byte{'C', 0}, make([]byte, 8)...), 1000)
	take(framed(100, begin), 0)
	take(keepalive, 0)
	take(framed(900, append(commit, make([]byte, 8)...)), 1000)
	take(keepalive, 5000)
}

// A change that does not fit its relation is an error, not a row of other columns.
func TestChangesThatDoNotFit(t *testing.T) {
	r := newTestReader(io.Discard, newStream("keyed", "id", pgtype.Int4OID))
	rel := &relation{shape: shape{columns: []column{{true, "id", pgtype.Int4OID, -1}}}}
	types := []*codec.Type{codec.NewMap(nil).Type(pgtype.Int4OID, -1, 0)}
	rel.targets = []*target{newTarget(r.streams[0], rel.shape, types)}
	r.relations[9] = rel
	null := []byte{0, 1, 'n'}
	for name, data := range map[string][]byte{
		"unknown relation":   append([]byte{'I', 0, 0, 0, 8, 'N'}, null...),
		"too few values":     {'I', 0, 0, 0, 9, 'N', 0, 0},
		"too many values":    {'I', 0, 0, 0, 9, 'N', 0, 2, 'n', 'n'},
		"delete of nothing":  {'D', 0, 0, 0, 9, 'K', 0, 0},
		"key of two columns": append([]byte{'U', 0, 0, 0, 9, 'K', 0, 2, 'n', 'n', 'N'}, null...),
		"streamed":           {'S', 0, 0, 0, 1, 1},
	} {
		var m message
		if err := r.message(t.Context(), &m, framed(1, data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if r.sent != 0 {
		t.Errorf("%d records", r.sent)
	}
}
