package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	customers = StreamDescriptor{Name: "customers", Namespace: "public"}
	invoices  = StreamDescriptor{Name: "invoices", Namespace: "public"}
)

func streamState(d StreamDescriptor) func() *State {
	return func() *State {
		return &State{Type: TypeStream, Stream: &StreamState{Descriptor: d, State: json.RawMessage(`{"n":1}`)}}
	}
}

func TestRecordIsOneLineWithTheEnvelopeOfItsStream(t *testing.T) {
	var out bytes.Buffer
	e := NewWriter(&out).Emitter()
	h := NewHeader(StreamDescriptor{Name: "a\"b\u2028", Namespace: "s"}, time.UnixMilli(1700000000123))
	if err := record(e, h, []byte(`{"id":1}`), nil); err != nil {
		t.Fatal(err)
	}
	if err := record(e, h, []byte(`{"id":null}`), []byte(`[{"field":"id"}]`)); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("records were written one by one: %s", out.Bytes())
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `{"type":"RECORD","record":{"stream":"a\"b\u2028","namespace":"s","emitted_at":1700000000123,` +
		`"data":{"id":1}}}` + "\n" +
		`{"type":"RECORD","record":{"stream":"a\"b\u2028","namespace":"s","emitted_at":1700000000123,"data":{"id":null},` +
		`"meta":{"changes":[{"field":"id"}]}}}` + "\n"
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}

func TestCheckpointCountsTheRecordsOfItsStreamSinceTheLastState(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	a, b := w.Emitter(), w.Emitter()
	hc, hi := NewHeader(customers, time.Now()), NewHeader(invoices, time.Now())
	record := func(e *Emitter, h *Header) {
		t.Helper()
		if err := record(e, h, []byte(`{"x":1}`), nil); err != nil {
			t.Fatal(err)
		}
	}
	record(a, hc)
	record(a, hi)
	record(a, hc)
	record(b, hc) // stays in b's buffer until b writes
	check := func(e *Emitter, d StreamDescriptor, want string) {
		t.Helper()
		out.Reset()
		if err := e.Checkpoint(streamState(d)); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, `"sourceStats":{"recordCount":`+want+`}`) {
			t.Errorf("state is %s, want a count of %s", last, want)
		}
	}
	check(a, customers, "2.0")
	check(a, customers, "0.0")
	check(b, customers, "1.0")
	check(b, invoices, "1.0")
	record(a, hc)
	record(b, hi)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := a.Checkpoint(func() *State { return &State{Type: TypeGlobal, Global: &GlobalState{}} }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"recordCount":2.0`) {
		t.Errorf("a global state counts all streams: %s", out.String())
	}
}

// Lines of parallel goroutines are never mixed, and every state covers only records that stand before it, with the
// exact count.
func TestManyEmittersNeverTearALineAndCountExactly(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	var wg sync.WaitGroup
	done := 0
	for i := range 8 {
		wg.Go(func() {
			e := w.Emitter()
			h := NewHeader(customers, time.Now())
			for j := range 500 {
				object := fmt.Appendf(nil, `{"worker":%d,"text":"%s"}`, i, strings.Repeat("x", j))
				if err := record(e, h, object, nil); err != nil {
					t.Error(err)
				}
				if j%100 == 99 {
					err := e.Checkpoint(func() *State {
						done += 100
						return &State{Type: TypeStream, Stream: &StreamState{
							Descriptor: customers,
							State:      json.RawMessage(fmt.Sprintf(`{"done":%d}`, done)),
						}}
					})
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	records, since, covered := 0, 0, 0
	for _, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
		var m struct {
			Type  string
			State *struct {
				Stream struct {
					StreamState struct{ Done int } `json:"stream_state"`
				}
				SourceStats struct{ RecordCount float64 }
			}
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("torn line %.80s: %v", line, err)
		}
		if m.Type == "RECORD" {
			records++
			since++
			continue
		}
		if int(m.State.SourceStats.RecordCount) != since {
			t.Errorf("state counts %v records, %d stand before it", m.State.SourceStats.RecordCount, since)
		}
		since = 0
		if covered = m.State.Stream.StreamState.Done; covered > records {
			t.Errorf("state covers %d records, %d were written", covered, records)
		}
	}
	if records != 4000 || covered != 4000 {
		t.Errorf("%d records and %d covered, want 4000", records, covered)
	}
}

type brokenPipe struct{ after int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

func TestAfterAFailedWriteNothingIsWritten(t *testing.T) {
	w := NewWriter(&brokenPipe{after: 1})
	if err := w.Status(customers, Started); err != nil {
		t.Fatal(err)
	}
	first := w.Status(customers, Running)
	if first == nil || w.Err() == nil {
		t.Fatal("a failed write went unnoticed")
	}
	if err := w.Emitter().Checkpoint(streamState(customers)); !errors.Is(err, first) {
		t.Errorf("then %v, want the first error again", err)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	w := NewWriter(&bytes.Buffer{})
	w.out = discard{}
	e := w.Emitter()
	h := NewHeader(customers, time.Now())
	object := []byte(`{"id":1,"name":"x"}`)
	allocs := testing.AllocsPerRun(10000, func() {
		if err := record(e, h, object, nil); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a record", allocs)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestLogsAreMessagesAtTheirLevel(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	log := slog.New(w.LogHandler(ParseLevel("warn"))).With("stream", "public.t")
	log.Info("not wanted")
	log.WithGroup("a").Warn("two\nlines\u0085\x7f\u009fü", "key", 1)
	want := `{"type":"LOG","log":{"level":"WARN","message":"two\nlines\u0085\u007f\u009fü stream=public.t ` +
		`a.key=1"}}` + "\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	for name, level := range map[string]slog.Level{
		"": 0, "x": 0, "TRACE": -8, "debug": -4, "Info": 0, "ERROR": 8, "FATAL": 12,
	} {
		if got := ParseLevel(name); got != level {
			t.Errorf("level %q is %v, want %v", name, got, level)
		}
		if name != "" && name != "x" && levelName(level) != strings.ToUpper(name) {
			t.Errorf("level %v is called %s", level, levelName(level))
		}
	}
}

func record(e *Emitter, h *Header, object, changes []byte) error {
	return e.End(h, append(e.Begin(h), object...), changes)
}
