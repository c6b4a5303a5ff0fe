package cdc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// A message is one message of the pgoutput plugin, protocol version 1. Its slices belong to the decoder's input and
// to the message itself, which is used again for the next one.
//
// Source: PostgreSQL documentation, Logical Replication Message Formats. All numbers are big-endian, strings end with
// NUL.
type message struct {
	kind      byte
	commit    pglogrepl.LSN // B: where the transaction's commit begins; C: where it ends
	committed time.Time     // B
	xid       uint32        // B
	relation  uint32        // I, U, D
	old       tuple         // U, D: the key or the whole row as it was; empty if the log has neither
	whole     bool          // old is the whole row
	row       tuple         // I, U
	relations []uint32      // T
	shape     shape         // R

	charset *charset // of its texts
}

// A tuple is the values of one row. kinds says of each whether it is 'n' NULL, 'u' unchanged and not in the log, or
// 't' text.
type tuple struct {
	kinds  []byte
	values [][]byte
}

func (t *tuple) present() bool { return len(t.kinds) > 0 }

// A shape is a relation as it was when the changes that follow were made.
type shape struct {
	oid          uint32
	schema, name string
	identity     byte // relreplident
	columns      []column
}

type column struct {
	key    bool // part of the replica identity
	name   string
	oid    uint32
	typmod int32
}

// epoch is PostgreSQL's zero of time, 2000-01-01, in microseconds since 1970.
const epoch = 946_684_800_000_000

var errShort = errors.New("it ends too early")

// decode reads one message into m. An unknown kind of message is an error: to pass it over could be to lose a change.
func (m *message) decode(data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("decode message: %w", errShort)
	}
	m.kind = data[0]
	r := reader{data: data[1:], charset: m.charset}
	m.old.kinds, m.old.values = m.old.kinds[:0], m.old.values[:0]
	m.row.kinds, m.row.values = m.row.kinds[:0], m.row.values[:0]
	switch m.kind {
	case 'B':
		m.commit = pglogrepl.LSN(r.uint64())
		m.committed = time.UnixMicro(epoch + int64(r.uint64()))
		m.xid = r.uint32()
	case 'C':
		r.byte()
		r.uint64() // where the commit begins
		m.commit = pglogrepl.LSN(r.uint64())
		r.uint64()
	case 'R':
		m.shape = r.shape()
	case 'I':
		m.relation = r.uint32()
		r.expect('N')
		r.tuple(&m.row)
	case 'U':
		m.relation = r.uint32()
		kind := r.byte()
		if kind == 'K' || kind == 'O' {
			m.whole = kind == 'O'
			r.tuple(&m.old)
			kind = r.byte()
		}
		r.want(kind, 'N')
		r.tuple(&m.row)
	case 'D':
		m.relation = r.uint32()
		kind := r.byte()
		if m.whole = kind == 'O'; !m.whole {
			r.want(kind, 'K')
		}
		r.tuple(&m.old)
	case 'T':
		m.truncate(&r)
	case 'Y', 'O', 'M': // a type, an origin, a message of pg_logical_emit_message: nothing to be sent
		return nil
	default:
		return fmt.Errorf("decode message: its kind %q is unknown", m.kind)
	}
	if r.err == nil && len(r.data) > 0 {
		r.err = fmt.Errorf("it has %d bytes too many", len(r.data))
	}
	if r.err != nil {
		return fmt.Errorf("decode message %q: %w", m.kind, r.err)
	}
	return nil
}

func (m *message) truncate(r *reader) {
	n := r.uint32()
	r.byte() // options
	m.relations = m.relations[:0]
	for range n {
		if r.err != nil {
			return
		}
		m.relations = append(m.relations, r.uint32())
	}
}

// A reader takes values off the front of data; after the first error it gives zeros.
type reader struct {
	data    []byte
	charset *charset // of texts, which are given as UTF-8
	err     error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.data)) {
		r.err = errShort
	}
	if r.err != nil {
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string() string {
	for i, c := range r.data {
		if c == 0 {
			s := string(r.charset.utf8(r.take(i)))
			r.take(1)
			return s
		}
	}
	r.take(len(r.data) + 1)
	return ""
}

func (r *reader) expect(kind byte) { r.want(r.byte(), kind) }

func (r *reader) want(kind, wanted byte) {
	if r.err == nil && kind != wanted {
		r.err = fmt.Errorf("it has %q where %q belongs", kind, wanted)
	}
}

// tuple: the number of columns (16 bits), then for each its kind, and for text its length (32 bits) and the text.
func (r *reader) tuple(t *tuple) {
	for range r.uint16() {
		kind := r.byte()
		var value []byte
		switch kind {
		case 'n', 'u':
		case 't':
			value = r.charset.utf8(r.take(int(int32(r.uint32()))))
		default:
			if r.err == nil {
				r.err = fmt.Errorf("the kind %q of a value is unknown", kind)
			}
		}
		if r.err != nil {
			return
		}
		t.kinds = append(t.kinds, kind)
		t.values = append(t.values, value)
	}
}

// shape: oid, schema ("" is pg_catalog), name, identity, the number of columns (16 bits), and for each its flags,
// name, type and type modifier.
func (r *reader) shape() shape {
	s := shape{oid: r.uint32(), schema: r.string(), name: r.string(), identity: r.byte()}
	for range r.uint16() {
		c := column{key: r.byte()&1 != 0, name: r.string(), oid: r.uint32(), typmod: int32(r.uint32())}
		if r.err != nil {
			break
		}
		s.columns = append(s.columns, c)
	}
	return s
}
