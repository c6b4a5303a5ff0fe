package codec

import (
	"math"
	"unicode/utf8"

	"source-postgres/protocol"
)

// A Column is one column of an Object.
type Column struct {
	Name string
	Type *Type
	Key  bool // part of the key: never null for its size
}

// Limits say how large a record may be; 0 is no limit.
type Limits struct {
	Field  int // bytes of JSON of one field
	Record int // characters (UTF-16 units) of the whole line
}

// A Wire says in which formats the values of a row come.
type Wire uint8

// Logical replication sends all values as text; a SELECT is asked for binary where the Type has it.
const (
	TextWire Wire = iota
	MixedWire
)

// An Object appends rows of one shape as JSON objects. It is immutable, and goroutines may share it.
type Object struct {
	fields  []field
	formats []int16
	record  int
}

type field struct {
	prefix []byte // the object's start or a comma, the name, a colon
	name   []byte // as JSON
	append Append
	key    bool
	limit  int // bytes of JSON
	source int // bytes of a value that cannot fit
}

// envelope is what a line has around its object, about: the stream's name, its namespace, the time.
const envelope = 300

// NewObject is the Object of rows with these columns, in this order.
func NewObject(columns []Column, wire Wire, limits Limits) *Object {
	o := &Object{formats: make([]int16, len(columns)), record: limits.Record}
	for i, c := range columns {
		f := field{append: c.Type.Text, key: c.Key, limit: math.MaxInt, source: math.MaxInt}
		f.name, _ = protocol.AppendString(nil, []byte(c.Name))
		start := byte(',')
		if i == 0 {
			start = '{'
		}
		f.prefix = append(append(append(f.prefix, start), f.name...), ':')
		if limits.Field > 0 && !c.Key {
			// JSON may be shorter than the value, by no more than this: money loses its commas, an int8 in a binary
			// array takes 12 bytes and needs 2, and that array's head takes up to 60.
			shrink := 2
			if c.Type.array && wire == MixedWire {
				shrink = 6
			}
			f.limit, f.source = limits.Field, shrink*limits.Field+60
		}
		if wire == MixedWire && c.Type.Binary != nil {
			f.append = c.Type.Binary
			o.formats[i] = 1
		}
		o.fields = append(o.fields, f)
	}
	return o
}

// Formats are the format codes in which the values must come, one a column, as the extended protocol's Bind message
// takes them: 0 is text, 1 binary. They must not be changed.
func (o *Object) Formats() []int16 { return o.formats }

// Longest is how many bytes a value of column i may have to be encoded at all: a longer one cannot fit into the field.
// limited is false where any may.
func (o *Object) Longest(i int) (bytes int, limited bool) {
	return o.fields[i].source, o.fields[i].source < math.MaxInt
}

// Append appends one row to dst as a JSON object, which has every column. values has one value for each column in
// the format of Formats, nil for SQL NULL; they are not kept. If a value could not be carried exactly, an array
// with an entry for each such field is appended to changes, in the form of a record's meta.changes; else changes
// comes back as it was.
func (o *Object) Append(dst, changes []byte, values [][]byte) (object, lost []byte) {
	start, first := len(dst), len(changes)
	dst, changes = o.appendFields(dst, changes, values, nil)
	size := len(dst) - start + len(changes) - first + envelope
	if o.record > 0 && size > o.record && units(dst[start:])+units(changes[first:])+envelope > o.record {
		drop := o.largest(dst[start:start], values)
		dst, changes = o.appendFields(dst[:start], changes[:first], values, drop)
	}
	return dst, changes
}

// appendFields appends the object; drop, if not nil, says of each field whether it must be null for the record's size.
func (o *Object) appendFields(dst, changes []byte, values [][]byte, drop []bool) (object, lost []byte) {
	first := len(changes)
	if len(o.fields) == 0 {
		return append(dst, "{}"...), changes
	}
	for i := range o.fields {
		f := &o.fields[i]
		dst = append(dst, f.prefix...)
		value := values[i]
		if value == nil {
			dst = append(dst, "null"...)
			continue
		}
		var change Change
		if drop != nil && drop[i] {
			dst, change = append(dst, "null"...), RecordTooLarge
		} else {
			dst, change = f.appendValue(dst, value)
		}
		if change != Exact {
			changes = appendChange(changes, first, f.name, change)
		}
	}
	if len(changes) > first {
		changes = append(changes, ']')
	}
	return append(dst, '}'), changes
}

func (f *field) appendValue(dst, value []byte) ([]byte, Change) {
	start := len(dst)
	if len(value) <= f.source {
		var change Change
		if dst, change = f.append(dst, value); len(dst)-start <= f.limit {
			return dst, change
		}
	}
	return append(dst[:start], "null"...), FieldTooLarge
}

// largest chooses the fields that have to be null for the record to fit: the largest first, never a key. It is only
// called for records above the limit, so it takes the time to encode the row again, field by field behind buf.
func (o *Object) largest(buf []byte, values [][]byte) (drop []bool) {
	drop = make([]bool, len(o.fields))
	sizes := make([]int, len(o.fields))
	total := envelope + 1
	for i := range o.fields {
		f := &o.fields[i]
		total += units(f.prefix)
		if values[i] == nil {
			total += len("null")
			continue
		}
		value, change := f.appendValue(buf, values[i])
		sizes[i] = units(value[len(buf):])
		total += sizes[i]
		if change != Exact {
			total += len(`[{"field":`) + units(f.name) + len(detail[change])
		}
	}
	for total > o.record {
		largest := -1
		for i := range o.fields {
			// Nothing is won by a null whose entry among the changes is longer than the value.
			if !o.fields[i].key && !drop[i] && sizes[i] > o.dropped(i) && (largest < 0 || sizes[i] > sizes[largest]) {
				largest = i
			}
		}
		if largest < 0 {
			break
		}
		drop[largest] = true
		total += o.dropped(largest) - sizes[largest]
	}
	return drop
}

// dropped is how much the line has for a field that is null for the record's size, the prefix apart.
func (o *Object) dropped(i int) int {
	return len(`null[{"field":`) + units(o.fields[i].name) + len(detail[RecordTooLarge])
}

// units counts the characters of text in UTF-16: two for what takes four bytes in UTF-8.
func units(text []byte) int {
	n := 0
	for _, c := range text {
		if utf8.RuneStart(c) {
			n++
		}
		if c >= 0xF0 {
			n++
		}
	}
	return n
}
