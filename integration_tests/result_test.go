package integration

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// A result is a run of the connector that has ended.
type result struct {
	t        *testing.T
	exit     int // 128 + n when signal n ended the process
	messages []message
	lines    [][]byte // the output, line by line, without line ends
	stderr   string
	maxRSS   int64 // bytes

	begun, ended time.Time
}

// ok ends the test unless the connector exited with 0; otherwise it gives the result back.
func (r *result) ok() *result {
	r.t.Helper()
	if r.exit != 0 {
		r.t.Fatalf("exit code %d; %s; stderr: %s", r.exit, r.traceText(), r.stderr)
	}
	return r
}

// failed ends the test unless the connector failed with one error of the given failure type; it gives the error.
func (r *result) failed(failureType string) *traceError {
	r.t.Helper()
	e := r.traceError()
	if r.exit == 0 || e == nil || e.FailureType != failureType {
		r.t.Fatalf("exit code %d; %s; want a %s", r.exit, r.traceText(), failureType)
	}
	return e
}

// failedIn is failed, and reports an error that is not about the stream, or whose message lacks one of the texts.
func (r *result) failedIn(failureType, stream string, texts ...string) *traceError {
	r.t.Helper()
	e := r.failed(failureType)
	if e.Stream == nil || !e.Stream.is(stream) {
		r.t.Errorf("the TRACE ERROR is about %v, want %s: %s", e.Stream, stream, e.Message)
	}
	expectIn(r.t, stream, e.Message, texts...)
	return e
}

// expectOneBroken reports a read of tables in which another stream than this one fails, or any other than the good ones
// is not read whole.
func (r *result) expectOneBroken(db *database, failureType, broken, statuses string, good ...string) {
	r.t.Helper()
	r.failedIn(failureType, "public."+broken, "public."+broken)
	expectStatuses(r.t, r, broken, statuses)
	for _, stream := range good {
		expectStatuses(r.t, r, stream, "STARTED RUNNING COMPLETE")
		r.expectRows(stream, db.rows(stream))
	}
}

// records are the records of a stream ("table" or "schema.table"), in order.
func (r *result) records(stream string) []*record {
	var found []*record
	for _, m := range r.messages {
		if m.Record != nil && m.Record.name().is(stream) {
			found = append(found, m.Record)
		}
	}
	return found
}

// values are a field's values in the records of a stream, as they were written; "" where a record lacks the field.
func (r *result) values(stream, field string) []string {
	var found []string
	for _, rec := range r.records(stream) {
		found = append(found, string(rec.Data[field]))
	}
	return found
}

// states are all states, in order.
func (r *result) states() []*state {
	var found []*state
	for _, m := range r.messages {
		if m.State != nil {
			found = append(found, m.State)
		}
	}
	return found
}

// lastState is what a platform hands to the next read: the last GLOBAL state, or the last STREAM state of each stream.
// It is nil if there was no state.
func (r *result) lastState() []json.RawMessage { return platformState(r.states()) }

// platformState is what a platform hands to a read after it has seen these states.
func platformState(states []*state) []json.RawMessage {
	var kept []*state
	for _, s := range states {
		kept = slices.DeleteFunc(kept, func(old *state) bool {
			return s.Global != nil || old.Stream.Descriptor == s.Stream.Descriptor
		})
		kept = append(kept, s)
	}
	var texts []json.RawMessage
	for _, s := range kept {
		texts = append(texts, s.text)
	}
	return texts
}

// status is the answer of check.
func (r *result) status() *connectionStatus {
	for _, m := range r.messages {
		if m.ConnectionStatus != nil {
			return m.ConnectionStatus
		}
	}
	r.t.Helper()
	r.t.Fatalf("no CONNECTION_STATUS; exit code %d; %s; stderr: %s", r.exit, r.traceText(), r.stderr)
	return nil
}

// catalog is the answer of discover.
func (r *result) catalog() *catalog {
	for _, m := range r.messages {
		if m.Catalog != nil {
			return m.Catalog
		}
	}
	r.t.Helper()
	r.t.Fatalf("no CATALOG; exit code %d; %s; stderr: %s", r.exit, r.traceText(), r.stderr)
	return nil
}

// traceError is the first TRACE ERROR, or nil.
func (r *result) traceError() *traceError {
	for _, m := range r.messages {
		if m.Trace != nil && m.Trace.Error != nil {
			return m.Trace.Error
		}
	}
	return nil
}

func (r *result) traceText() string {
	e := r.traceError()
	if e == nil {
		return "no TRACE ERROR"
	}
	return "TRACE ERROR " + e.FailureType + ": " + e.Message + " (" + e.InternalMessage + ")"
}

// logs are the texts of the LOG messages of a level.
func (r *result) logs(level string) []string {
	var found []string
	for _, m := range r.messages {
		if m.Log != nil && m.Log.Level == level {
			found = append(found, m.Log.Message)
		}
	}
	return found
}

// statuses are a stream's statuses, in order.
func (r *result) statuses(stream string) []string {
	var found []string
	for _, m := range r.messages {
		if m.Trace != nil && m.Trace.Status != nil && m.Trace.Status.Stream.is(stream) {
			found = append(found, m.Trace.Status.Status)
		}
	}
	return found
}
