package cdc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"source-postgres/integration_tests/pgtest"
)

var (
	update   = flag.Bool("update", false, "record testdata/changes.log anew, on a server of pgtest")
	recorder sync.Once
)

// A recorded message is one of testdata/changes.log, which has a message of pgoutput on each line: its position and its
// bytes in hexadecimal.
type recorded struct {
	lsn  pglogrepl.LSN
	data []byte
}

// recording reads testdata/changes.log.
func recording(tb testing.TB) []recorded {
	tb.Helper()
	if *update {
		recorder.Do(func() { record(tb) })
	}
	text, err := os.ReadFile("testdata/changes.log")
	if err != nil {
		tb.Fatal(err)
	}
	var all []recorded
	for line := range strings.Lines(string(text)) {
		var m recorded
		position, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if m.lsn, err = pglogrepl.ParseLSN(position); err != nil {
			tb.Fatal(err)
		}
		if m.data, err = hex.DecodeString(digits); err != nil {
			tb.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// record runs testdata/changes.sql and writes what the log has of it.
func record(tb testing.TB) {
	tb.Helper()
	server, err := pgtest.Start(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			tb.Error(err)
		}
	}()
	db, err := server.NewDatabase(tb.Context(), "recorded")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := db.Drop(tb.Context()); err != nil {
			tb.Error(err)
		}
	}()
	sql, err := os.ReadFile("testdata/changes.sql")
	if err != nil {
		tb.Fatal(err)
	}
	for n, paragraph := range strings.Split(string(sql), "\n\n") {
		if err := db.Exec(tb.Context(), paragraph); err != nil {
			tb.Fatal(err)
		}
		if n == 1 {
			err = db.Exec(tb.Context(), "SELECT pg_create_logical_replication_slot(current_database(), 'pgoutput')")
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	rows, err := db.Query(tb.Context(), `SELECT lsn, encode(data, 'hex')
		FROM pg_logical_slot_peek_binary_changes(current_database(), NULL, NULL, 'proto_version', '1',
			'publication_names', 'pub', 'messages', 'true')`)
	if err != nil {
		tb.Fatal(err)
	}
	var log strings.Builder
	for _, row := range rows {
		fmt.Fprintln(&log, row[0], row[1])
	}
	if err := os.WriteFile("testdata/changes.log", []byte(log.String()), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := db.Exec(tb.Context(), "SELECT pg_replication_origin_drop('elsewhere')"); err != nil {
		tb.Fatal(err)
	}
}

// Every recorded message is what pglogrepl makes of it, and all kinds of them are there.
func TestDecodeRecording(t *testing.T) {
	kinds := map[string]bool{}
	for _, recorded := range recording(t) {
		compareDecoders(t, recorded.data)
		var m message
		if err := m.decode(recorded.data); err != nil {
			t.Fatal(err)
		}
		kinds[string(m.kind)] = true
		for _, kind := range append(bytes.Clone(m.old.kinds), m.row.kinds...) {
			kinds[string(kind)] = true
		}
		if m.kind == 'U' || m.kind == 'D' {
			kinds[fmt.Sprintf("%c whole %t", m.kind, m.whole)] = true
		}
	}
	for _, kind := range []string{
		"B", "C", "R", "I", "U", "D", "T", "Y", "O", "M", "n", "t", "u",
		"U whole true", "U whole false", "D whole true", "D whole false",
	} {
		if !kinds[kind] {
			t.Errorf("the recording has no %s", kind)
		}
	}
}

// A message that is cut short is an error, wherever it is cut, and so is one with something behind it.
func TestDecodeTorn(t *testing.T) {
	var m message
	for _, recorded := range recording(t) {
		if strings.IndexByte("YOM", recorded.data[0]) >= 0 {
			continue // not looked into
		}
		for n := range recorded.data {
			if err := m.decode(recorded.data[:n:n]); err == nil {
				t.Fatalf("%d of %d bytes of %x are a message", n, len(recorded.data), recorded.data)
			}
		}
		if err := m.decode(append(bytes.Clone(recorded.data), 0)); err == nil {
			t.Fatalf("%x with a byte behind it is a message", recorded.data)
		}
	}
	for kind := range 256 {
		if err := m.decode([]byte{byte(kind)}); err == nil && strings.IndexByte("YOM", byte(kind)) < 0 {
			t.Errorf("%q alone is a message", rune(kind))
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, recorded := range recording(f) {
		f.Add(recorded.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { compareDecoders(t, data) })
}

// compareDecoders holds the decoder against pglogrepl's. That one panics at a message that is cut short, refuses some
// that are very short, and takes messages that no server writes, which do not come out the same when written again.
func compareDecoders(t *testing.T, data []byte) {
	t.Helper()
	var m message
	err := m.decode(data)
	if len(data) == 0 {
		if err == nil {
			t.Fatal("nothing is a message")
		}
		return
	}
	if err != nil && claimsTooMuch(data) {
		return // pglogrepl would take the memory
	}
	want, wantErr := parse(data)
	switch {
	case strings.IndexByte("YOM", data[0]) >= 0: // not looked into
	case err != nil && wantErr == nil && bytes.Equal(written(want), data):
		t.Fatalf("%x: %v, but it is %s", data, err, described(want))
	case err == nil && wantErr != nil:
		if short := data[0] == 'I' && len(data) == 8 || data[0] == 'T' && len(data) == 6; !short {
			t.Fatalf("%x is %s, but pglogrepl says %v", data, m.described(), wantErr)
		}
	case err == nil && m.described() != described(want):
		t.Fatalf("%x is\n%s, want\n%s", data, m.described(), described(want))
	}
}

// claimsTooMuch reports that somewhere in data there may be a length or number beyond its end.
func claimsTooMuch(data []byte) bool {
	for i := 1; i+4 <= len(data); i++ {
		if binary.BigEndian.Uint32(data[i:]) > uint32(len(data)) && (data[i-1] == 't' || data[i-1] == 'b' || data[0] == 'T') {
			return true
		}
	}
	return false
}

// parse is pglogrepl.Parse with an error in the place of a panic.
func parse(data []byte) (m pglogrepl.Message, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("panic: %v", problem)
		}
	}()
	return pglogrepl.Parse(data)
}

func (m *message) described() string {
	switch m.kind {
	case 'B':
		return fmt.Sprint("B ", m.commit, instant(m.committed))
	case 'C':
		return fmt.Sprint("C ", m.commit)
	case 'R':
		text := fmt.Sprintf("R %d %q %q %c", m.shape.oid, m.shape.schema, m.shape.name, m.shape.identity)
		for _, c := range m.shape.columns {
			text += fmt.Sprintf(" %t %q %d %d", c.key, c.name, c.oid, c.typmod)
		}
		return text
	case 'T':
		return fmt.Sprint("T ", m.relations)
	}
	text := fmt.Sprintf("%c %d", m.kind, m.relation)
	for _, row := range []tuple{m.old, m.row} {
		text += " ("
		for i, kind := range row.kinds {
			text += fmt.Sprintf(" %c %q", kind, row.values[i])
		}
		text += ")"
	}
	if m.kind != 'I' && m.old.present() {
		text += fmt.Sprintf(" whole %t", m.whole)
	}
	return text
}

// instant is a time as a number that overflows for both decoders alike: pglogrepl counts nanoseconds.
func instant(at time.Time) string { return fmt.Sprintf(" %d", at.UnixNano()) }

// described is what message.described says of the same message.
func described(parsed pglogrepl.Message) string {
	m := message{}
	fill := func(to *tuple, from *pglogrepl.TupleData) {
		if from == nil {
			return
		}
		for _, c := range from.Columns {
			to.kinds, to.values = append(to.kinds, c.DataType), append(to.values, c.Data)
		}
	}
	switch p := parsed.(type) {
	case *pglogrepl.BeginMessage:
		m.kind, m.commit, m.committed = 'B', p.FinalLSN, p.CommitTime
	case *pglogrepl.CommitMessage:
		m.kind, m.commit = 'C', p.TransactionEndLSN
	case *pglogrepl.RelationMessage:
		m.kind = 'R'
		m.shape = shape{oid: p.RelationID, schema: p.Namespace, name: p.RelationName, identity: p.ReplicaIdentity}
		for _, c := range p.Columns {
			m.shape.columns = append(m.shape.columns, column{c.Flags&1 != 0, c.Name, c.DataType, c.TypeModifier})
		}
	case *pglogrepl.InsertMessage:
		m.kind, m.relation = 'I', p.RelationID
		fill(&m.row, p.Tuple)
	case *pglogrepl.UpdateMessage:
		m.kind, m.relation, m.whole = 'U', p.RelationID, p.OldTupleType == 'O'
		fill(&m.old, p.OldTuple)
		fill(&m.row, p.NewTuple)
	case *pglogrepl.DeleteMessage:
		m.kind, m.relation, m.whole = 'D', p.RelationID, p.OldTupleType == 'O'
		fill(&m.old, p.OldTuple)
	case *pglogrepl.TruncateMessage:
		m.kind, m.relations = 'T', p.RelationIDs
	}
	return m.described()
}

// written is a message as a server writes it; nil if it has values of a kind that protocol version 1 does not have.
func written(parsed pglogrepl.Message) []byte {
	foreign := false
	rows := func(b []byte, row *pglogrepl.TupleData) []byte {
		b = binary.BigEndian.AppendUint16(b, uint16(len(row.Columns)))
		for _, c := range row.Columns {
			b = append(b, c.DataType)
			foreign = foreign || strings.IndexByte("nut", c.DataType) < 0
			if c.DataType == 't' {
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(c.Data))), c.Data...)
			}
		}
		return b
	}
	b := []byte{byte(parsed.Type())}
	switch p := parsed.(type) {
	case *pglogrepl.RelationMessage:
		b = binary.BigEndian.AppendUint32(b, p.RelationID)
		b = append(b, p.Namespace+"\x00"+p.RelationName+"\x00"...)
		b = binary.BigEndian.AppendUint16(append(b, p.ReplicaIdentity), uint16(len(p.Columns)))
		for _, c := range p.Columns {
			b = append(append(b, c.Flags), c.Name+"\x00"...)
			b = binary.BigEndian.AppendUint32(b, c.DataType)
			b = binary.BigEndian.AppendUint32(b, uint32(c.TypeModifier))
		}
	case *pglogrepl.InsertMessage:
		b = rows(append(binary.BigEndian.AppendUint32(b, p.RelationID), 'N'), p.Tuple)
	case *pglogrepl.UpdateMessage:
		b = binary.BigEndian.AppendUint32(b, p.RelationID)
		if p.OldTuple != nil {
			b = rows(append(b, p.OldTupleType), p.OldTuple)
		}
		b = rows(append(b, 'N'), p.NewTuple)
	case *pglogrepl.DeleteMessage:
		b = rows(append(binary.BigEndian.AppendUint32(b, p.RelationID), p.OldTupleType), p.OldTuple)
	case *pglogrepl.TruncateMessage:
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p.RelationIDs))), p.Option)
		for _, oid := range p.RelationIDs {
			b = binary.BigEndian.AppendUint32(b, oid)
		}
	case *pglogrepl.BeginMessage, *pglogrepl.CommitMessage: // of one length, so that whole is all they can be
		b = append(b, make([]byte, map[pglogrepl.MessageType]int{'B': 20, 'C': 25}[p.Type()])...)
	}
	if foreign {
		return nil
	}
	return b
}
