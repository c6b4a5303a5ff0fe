package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// A Writer writes messages to stdout, one JSON document a line. Goroutines may share it: a line is never torn. After
// the first failed write every further call fails with the same error.
type Writer struct {
	mu  sync.Mutex
	out io.Writer
	err error
	// counts holds the records written since the last state of their stream.
	counts map[StreamDescriptor]int64
}

// NewWriter is a Writer on out.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, counts: make(map[StreamDescriptor]int64)}
}

// Write writes m as one line. States go through Emitter.Checkpoint, records through Emitter.Record.
func (w *Writer) Write(m *Message) error {
	line, err := render(m)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(line)
}

// Err is the error of the first write that failed; nil while stdout works.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Status reports where stream d stands.
func (w *Writer) Status(d StreamDescriptor, s Status) error {
	return w.trace(&Trace{Type: StreamStatusTrace, StreamStatus: &StreamStatus{Stream: d, Status: s}})
}

// Estimate reports how many rows and bytes stream d is expected to send.
func (w *Writer) Estimate(d StreamDescriptor, rows, bytes int64) error {
	return w.trace(&Trace{Type: EstimateTrace, Estimate: &Estimate{
		Name: d.Name, Namespace: d.Namespace, Type: "STREAM", Rows: rows, Bytes: bytes,
	}})
}

func (w *Writer) trace(t *Trace) error {
	t.EmittedAt = time.Now().UnixMilli()
	return w.Write(&Message{Type: TraceMessage, Trace: t})
}

// write is called with mu held.
func (w *Writer) write(lines []byte) error {
	if w.err != nil || len(lines) == 0 {
		return w.err
	}
	if _, err := w.out.Write(lines); err != nil {
		w.err = unwritable(err)
	}
	return w.err
}

func unwritable(err error) error {
	return &Error{
		Kind: System, Message: "Standard output cannot be written to any more: " + err.Error() + ".",
		Hint: "The reader of the connector's output has gone.", Err: err,
	}
}

// render makes the line of m. Everything outside ASCII that a line splitter could trip over is escaped.
func render(m *Message) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("render %s message: %w", m.Type, err)
	}
	return escapeControls(buf.Bytes()), nil
}

// escapeControls escapes the control characters that encoding/json leaves as they are, U+007F to U+009F: U+0085 ends a
// line for some readers.
func escapeControls(line []byte) []byte {
	isControl := func(r rune) bool { return r >= 0x7F && r <= 0x9F }
	if !bytes.ContainsFunc(line, isControl) {
		return line
	}
	var escaped bytes.Buffer
	for _, r := range string(line) {
		if isControl(r) {
			fmt.Fprintf(&escaped, `\u%04x`, r)
		} else {
			escaped.WriteRune(r)
		}
	}
	return escaped.Bytes()
}

// A Header is the part of a record's line that is the same for every record of a stream. It is immutable; goroutines
// may share it.
type Header struct {
	stream StreamDescriptor
	prefix []byte
}

// NewHeader is the header of stream's records; emitted is what they carry as emitted_at.
func NewHeader(stream StreamDescriptor, emitted time.Time) *Header {
	p := []byte(`{"type":"RECORD","record":{"stream":`)
	p, _ = AppendString(p, []byte(stream.Name))
	if stream.Namespace != "" {
		p = append(p, `,"namespace":`...)
		p, _ = AppendString(p, []byte(stream.Namespace))
	}
	p = append(p, `,"emitted_at":`...)
	p = strconv.AppendInt(p, emitted.UnixMilli(), 10)
	return &Header{stream: stream, prefix: append(p, `,"data":`...)}
}

// bufferSize is how many bytes of records an Emitter gathers before it writes them: enough that the cost of a write
// call does not show, nor that of waiting for another goroutine's, and a part of what a pipe holds (see enlarge).
const bufferSize = 256 << 10

// An Emitter gathers the records of one goroutine and writes them in large pieces. It is not safe for concurrent use.
type Emitter struct {
	w   *Writer
	buf []byte
	// runs counts the records in buf by stream; one goroutine mostly has one stream at a time.
	runs []streak
}

type streak struct {
	stream StreamDescriptor
	header *Header
	count  int64
}

// Emitter is a new Emitter on w.
func (w *Writer) Emitter() *Emitter {
	return &Emitter{w: w, buf: make([]byte, 0, bufferSize+bufferSize/4)}
}

// Begin begins a record: the caller appends its data, a JSON object, to what Begin gives, and hands that to End before
// any other call.
func (e *Emitter) Begin(h *Header) []byte { return append(e.buf, h.prefix...) }

// End ends a record. line is what Begin gave, with the object behind it; changes is a JSON array of what was lost on
// the way, or empty, and is copied. The record reaches stdout with a later call, at the latest with Checkpoint or
// Flush.
func (e *Emitter) End(h *Header, line, changes []byte) error {
	e.buf = line
	if len(changes) > 0 {
		e.buf = append(e.buf, `,"meta":{"changes":`...)
		e.buf = append(e.buf, changes...)
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, "}}\n"...)
	if n := len(e.runs); n > 0 && e.runs[n-1].header == h {
		e.runs[n-1].count++
	} else {
		e.runs = append(e.runs, streak{stream: h.stream, header: h, count: 1})
	}
	if len(e.buf) >= bufferSize {
		return e.Flush()
	}
	return nil
}

// Flush writes the records gathered so far.
func (e *Emitter) Flush() error {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	return e.flush()
}

// flush is called with the writer's mu held.
func (e *Emitter) flush() error {
	err := e.w.write(e.buf)
	if err == nil {
		for _, r := range e.runs {
			e.w.counts[r.stream] += r.count
		}
	}
	e.runs = e.runs[:0]
	e.buf = e.buf[:0]
	if cap(e.buf) > 8*bufferSize { // one huge record must not be paid for until the end
		e.buf = make([]byte, 0, bufferSize+bufferSize/4)
	}
	return err
}

// Checkpoint writes the records gathered so far, then the state that next gives, with the exact count of records
// since the previous state: of that stream, or of all streams for a GLOBAL state. Nothing of any other goroutine
// comes between; next is called after the records are out, under the writer's lock, so that what it notes as done and
// the state it gives are in the same order for all goroutines. It may give nil, for no state; it must not call the
// Writer.
func (e *Emitter) Checkpoint(next func() *State) error {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if err := e.flush(); err != nil {
		return err
	}
	s := next()
	if s == nil {
		return nil
	}
	var count int64
	if s.Type == TypeStream {
		count = e.w.counts[s.Stream.Descriptor]
	} else {
		for _, n := range e.w.counts {
			count += n
		}
	}
	s.Stats = &Stats{RecordCount: Count(count)}
	line, err := render(&Message{Type: StateMessage, State: s})
	if err != nil {
		return err
	}
	if err := e.w.write(line); err != nil {
		return err
	}
	if s.Type == TypeStream {
		delete(e.w.counts, s.Stream.Descriptor)
	} else {
		clear(e.w.counts)
	}
	return nil
}
