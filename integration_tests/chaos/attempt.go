package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// memoryBound is what the connector may need for these tables, whatever happens.
const memoryBound = 128 << 20

// A run is what came of one attempt to read.
type run struct {
	v        *verifier
	struck   bool // its fault has come
	cut      bool // what it wrote behind a place was not looked at
	exact    bool // the destination is what the state says, so that it has to stay so
	begun    bool // from the beginning, of every stream
	code     int
	memory   int64
	bytes    int64
	records  int
	counts   map[string]int64 // since the last state
	statuses map[string]string
	failures []string // TRACE ERRORs: type and message
	warnings []string
	versions map[string]int64  // by stream and key, of records of the log
	numbers  map[string]uint64 // by stream: while one is read for the first time the others' log may be ahead of its
	bank     fold
	keys     map[string]int // how often a key came
}

// complete reports that the attempt read everything that was due, and that all of it arrived.
func (r *run) complete() bool { return r.code == 0 && !r.cut }

// attempt reads from the states that are given. Whatever it does by the way is held against the promises.
func (v *verifier) attempt(ctx context.Context, given []*state, f fault) (r *run, err error) {
	r = &run{
		v: v, begun: len(given) == 0, counts: map[string]int64{}, statuses: map[string]string{},
		versions: map[string]int64{}, numbers: map[string]uint64{}, keys: map[string]int{},
	}
	r.exact, r.bank = v.exactly(given)
	release, err := v.hold(ctx, f)
	if err != nil {
		return nil, err
	}
	defer release()
	watched, err := v.watch(ctx, given)
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, v.binary, v.dir, "read", map[string]any{
		"config": v.config, "catalog": v.catalog(), "state": orNil(given),
	})
	if err != nil {
		return nil, err
	}
	over, err := r.read(ctx, p, f)
	if err != nil {
		_ = p.cmd.Process.Kill()
	}
	code, memory, ended := p.end()
	if err := errors.Join(err, over(), ended, watched()); err != nil {
		return nil, err
	}
	r.code, r.memory = code, memory
	v.memory = max(v.memory, memory)
	v.records += r.records
	return r, r.judge(f, p.stderr.String())
}

// orNil is nil for no states, which is no file.
func orNil(given []*state) any {
	if len(given) == 0 {
		return nil
	}
	return given
}

// read takes the output to its end, or to where the fault ends it.
func (r *run) read(ctx context.Context, p *process, f fault) (over func() error, err error) {
	over = func() error { return nil }
	for {
		text, torn, err := p.line()
		if errors.Is(err, io.EOF) {
			if torn && !r.struck {
				return over, violation("the last line has no end: %s", shortened(text))
			}
			return over, nil
		}
		if err != nil {
			return over, err
		}
		r.bytes += int64(len(text)) + 1
		if f.name != "none" && !r.struck && r.bytes >= f.at {
			r.struck = true
			over = r.v.strike(ctx, p, f)
			if f.name == "hang up" || f.name == "kill" && f.exact {
				r.cut = true // in this line
				return over, nil
			}
		}
		if err := r.line(text); err != nil {
			return over, err
		}
	}
}

// line takes a line.
func (r *run) line(text []byte) error {
	if bytes.Contains(text, []byte(r.v.server.Password)) {
		return violation("the output shows the password: %s", shortened(text))
	}
	m, err := parseLine(text)
	if err != nil {
		return violation("line %s: %v", shortened(text), err)
	}
	switch {
	case m.Record != nil:
		return r.record(m)
	case m.State != nil:
		return r.state(m.State)
	case m.Log != nil:
		if m.Log.Level == "WARN" {
			r.warnings = append(r.warnings, m.Log.Message)
		}
		if strings.Contains(m.Log.Message, "transactions that are open now have ended") {
			select {
			case r.v.waiting <- true:
			default:
			}
		}
	case m.Trace.Error != nil:
		r.failures = append(r.failures, m.Trace.Error.FailureType+": "+m.Trace.Error.Message)
	case m.Trace.Status != nil:
		return r.status(m.Trace.Status.Stream.Name, m.Trace.Status.Status)
	}
	return nil
}

// record takes a record. Rows come in the order in which they were written.
func (r *run) record(m *message) error {
	name := m.Record.Stream
	t, c := r.v.table(name), r.v.channel(name)
	if t == nil || c == nil {
		return violation("a record of stream %q, which is not configured", name)
	}
	if s := r.statuses[name]; s == "" || s == "COMPLETE" || s == "INCOMPLETE" {
		return violation("a record of stream %s, whose status is %q", name, s)
	}
	w, err := rowOf(t, m)
	if err != nil {
		return violation("a record of stream %s: %v", name, err)
	}
	r.records++
	r.counts[name]++
	c.events = append(c.events, event{row: &w})
	key := name + " " + w.key
	r.keys[key]++
	if !w.deleted {
		r.v.seen[seen{name, w.key, w.version}] = true
	}
	if t.bank {
		r.bank.take(&w)
	}
	if r.v.mode.log {
		if !w.fromLog {
			return nil
		}
		if w.number <= r.numbers[name] {
			return violation("%s: _ab_cdc_lsn %d after %d", key, w.number, r.numbers[name])
		}
		r.numbers[name] = w.number
	}
	order := r.v.newest
	if r.v.mode.log {
		order = r.versions // an attempt that goes further back brings older ones again
	}
	if !w.deleted && w.version < order[key] {
		return violation("%s came in version %d after version %d", key, w.version, order[key])
	}
	order[key] = max(order[key], w.version)
	return nil
}

// state takes a state. The records since the one before have to be as many as it says.
func (r *run) state(text json.RawMessage) error {
	s := &state{}
	if err := json.Unmarshal(text, s); err != nil {
		return violation("state %s: %v", text, err)
	}
	var count int64
	var c *channel
	switch {
	case s.Global != nil && r.v.mode.log:
		for _, n := range r.counts {
			count += n
		}
		clear(r.counts)
		c = r.v.channels[0]
	case s.Stream != nil && !r.v.mode.log:
		name := s.Stream.Descriptor.Name
		count, c = r.counts[name], r.v.channel(name)
		delete(r.counts, name)
	}
	if c == nil {
		return violation("a state of the wrong kind: %s", text)
	}
	said, err := strconv.ParseFloat(s.Stats.RecordCount.String(), 64)
	if err != nil || said != float64(count) {
		return violation("a state says recordCount %s, there were %d records: %s", s.Stats.RecordCount, count, text)
	}
	c.events = append(c.events, event{state: s})
	return r.balance(s)
}

// balance: once the stream is kept current by the log, what came up to any state is what one moment had: nothing of a
// transaction is missing, nor is there more of it.
func (r *run) balance(s *state) error {
	if s.Global == nil || !r.exact || s.Global.Shared.ahead {
		return nil
	}
	for _, stream := range s.Global.Streams {
		t := r.v.table(stream.Descriptor.Name)
		if t == nil || !t.bank || stateType(stream.State) != "cdc" {
			continue
		}
		sum := 0
		for _, value := range r.bank {
			var version, bal int
			if _, err := fmt.Sscan(value, &version, &bal); err != nil {
				return err
			}
			sum += bal
		}
		if sum != 0 || len(r.bank) != t.rows {
			return violation("at the state at %s the %d rows of table %s add up to %d: it cuts a transaction in two",
				s.Global.Shared.LSN, len(r.bank), t.name, sum)
		}
	}
	return nil
}

// status: STARTED, RUNNING, then COMPLETE or INCOMPLETE, once.
func (r *run) status(name, status string) error {
	before := r.statuses[name]
	r.statuses[name] = status
	after := map[string][]string{
		"STARTED": {""}, "RUNNING": {"STARTED", "RUNNING"}, "COMPLETE": {"RUNNING"}, "INCOMPLETE": {"STARTED", "RUNNING"},
	}
	if !slices.Contains(after[status], before) {
		return violation("stream %s: status %s after %q", name, status, before)
	}
	if status == "COMPLETE" && r.counts[name] > 0 && !r.v.mode.log {
		return violation("stream %s is COMPLETE with %d records after its last state", name, r.counts[name])
	}
	return nil
}

// judge holds the end of the process against the fault.
func (r *run) judge(f fault, stderr string) error {
	for _, bad := range []string{"panic:", "DATA RACE", r.v.server.Password} {
		if strings.Contains(stderr, bad) {
			return violation("stderr: %s", stderr)
		}
	}
	if r.memory > memoryBound {
		return violation("the connector needed %d MiB of memory", r.memory>>20)
	}
	if r.cut && r.code == 0 {
		return nil // it was over before it could be killed, or before it could tell that nobody reads
	}
	killed := f.name == "kill" && r.code == 128+int(syscall.SIGKILL)
	if killed || f.name == "hang up" && r.code == 1 {
		return nil
	}
	if r.code == 0 {
		for _, name := range r.v.streams() {
			if r.statuses[name] != "COMPLETE" {
				return violation("exit code 0, but stream %s has status %q", name, r.statuses[name])
			}
		}
		if len(r.failures) > 0 {
			return violation("exit code 0 with an error: %s", r.failures)
		}
		return nil
	}
	if len(r.failures) != 1 {
		return violation("exit code %d with %d errors: %s; stderr: %s", r.code, len(r.failures), r.failures, stderr)
	}
	if f.name == "harm" || f.name == "terminate" && r.code == 128+int(syscall.SIGTERM) {
		return nil
	}
	if f.quiet || !r.struck || r.code != 1 || !strings.HasPrefix(r.failures[0], "transient_error") {
		return violation("exit code %d after %q: %s", r.code, f.name, r.failures[0])
	}
	return nil
}
