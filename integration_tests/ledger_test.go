package integration

import "bytes"

// A ledger keeps the books of one read as platform and destination do, and reports what does not add up.
type ledger struct {
	r        *result
	streams  map[streamName]*account
	order    []streamName
	kind     string // of the states: STREAM or GLOBAL
	total    int    // records since the last GLOBAL state
	previous *state // the last GLOBAL state
	failed   bool   // the TRACE ERROR was seen
	reported int
}

// report makes an error of the test. What is wrong with one record is often wrong with all, so not every error is told.
func (l *ledger) report(format string, args ...any) {
	l.r.t.Helper()
	l.reported++
	if l.reported <= maxReports {
		l.r.t.Errorf(format, args...)
	}
}

// An account is what is known of one stream.
type account struct {
	mode       string
	properties map[string]property
	key        []string // the columns by which a destination tells the rows apart; none if it does not
	status     string   // the last one
	running    bool     // RUNNING was seen
	uncovered  int      // records since the last state
	states     int
	previous   *state // the last STREAM state
}

func newLedger(r *result, config any, configured *configuredCatalog) *ledger {
	l := &ledger{r: r, streams: map[streamName]*account{}, kind: "STREAM"}
	if method(r.t, config) == "CDC" {
		l.kind = "GLOBAL"
	}
	for _, s := range configured.Streams {
		a := &account{mode: s.SyncMode, properties: properties(r.t, s.Stream.JSONSchema.Properties)}
		for _, column := range s.PrimaryKey {
			if _, selected := a.properties[column[0]]; selected && s.DestinationSyncMode == "append_dedup" {
				a.key = append(a.key, column[0])
			}
		}
		l.streams[s.Stream.name()] = a
		l.order = append(l.order, s.Stream.name())
	}
	return l
}

// account gives a stream's account; nil, and an error of the test, for a stream that was not asked for.
func (l *ledger) account(name streamName, what string) *account {
	l.r.t.Helper()
	a := l.streams[name]
	if a == nil {
		l.report("a %s of stream %s, which the catalog does not have", what, name)
	}
	return a
}

// beforeError reports what comes behind the TRACE ERROR, which is the last word of a read.
func (l *ledger) beforeError(what string) {
	l.r.t.Helper()
	if l.failed {
		l.report("a %s after the TRACE ERROR", what)
	}
}

func (a *account) ended() bool { return a.status == "COMPLETE" || a.status == "INCOMPLETE" }

func (l *ledger) record(rec *record) {
	l.r.t.Helper()
	l.beforeError("record")
	a := l.account(rec.name(), "record")
	if a == nil {
		return
	}
	if a.status != "RUNNING" {
		l.report("a record of %s while its status is %q", rec.name(), a.status)
	}
	if !l.r.during(rec.EmittedAt) {
		l.report("a record of %s was emitted at %d, outside the run", rec.name(), rec.EmittedAt)
	}
	keyed := len(a.key) == 0
	for _, column := range a.key {
		keyed = keyed || rec.Data[column] != nil && string(rec.Data[column]) != "null"
	}
	if !keyed {
		l.report("a record of %s without a value in any column of its key %q", rec.name(), a.key)
	}
	for field, value := range rec.Data {
		property, selected := a.properties[field]
		if !selected {
			l.report("a record of %s has field %q, which was not selected", rec.name(), field)
		} else if err := property.accept(value); err != nil {
			l.report("a record of %s: field %q: %v", rec.name(), field, err)
		}
	}
	for _, c := range rec.Meta.Changes {
		value, there := rec.Data[c.Field]
		if !there || c.Change == "NULLED" && string(value) != "null" && value[0] != '[' {
			l.report("a record of %s: change %+v of value %s", rec.name(), c, value)
		}
	}
	a.uncovered++
	l.total++
}

func (l *ledger) state(s *state) {
	l.r.t.Helper()
	l.beforeError("state")
	if s.Type != l.kind {
		l.report("a %s state where the method writes %s states", s.Type, l.kind)
	}
	if s.Global != nil {
		l.global(s)
		return
	}
	name := s.Stream.Descriptor
	a := l.account(name, "state")
	if a == nil {
		return
	}
	if a.status == "" || a.ended() {
		l.report("a state of %s while its status is %q", name, a.status)
	}
	if int(s.Stats.RecordCount) != a.uncovered {
		l.report("state %s counts %v records, but %d came", s.text, s.Stats.RecordCount, a.uncovered)
	}
	if a.uncovered > 0 && a.previous != nil && bytes.Equal(s.Stream.State, a.previous.Stream.State) {
		l.report("%s: the same state before and after %d records: %s", name, a.uncovered, s.text)
	}
	a.uncovered, a.previous = 0, s
	a.states++
}

func (l *ledger) global(s *state) {
	l.r.t.Helper()
	if int(s.Stats.RecordCount) != l.total {
		l.report("state %s counts %v records, but %d came", s.text, s.Stats.RecordCount, l.total)
	}
	if l.previous != nil && sameContent(s, l.previous) {
		l.report("the same state twice, with %d records between: %s", l.total, s.text)
	}
	l.total, l.previous = 0, s
	listed := map[streamName]bool{}
	for _, inner := range s.Global.Streams {
		if l.account(inner.Descriptor, "state"); listed[inner.Descriptor] {
			l.report("state %s lists %s twice", s.text, inner.Descriptor)
		}
		listed[inner.Descriptor] = true
	}
	for name, a := range l.streams {
		a.uncovered = 0
		a.states++
		if a.mode == "incremental" && !listed[name] {
			l.report("state %s lacks %s", s.text, name)
		}
		if a.mode == "incremental" && a.status == "COMPLETE" {
			l.report("a GLOBAL state after %s was COMPLETE", name)
		}
	}
}

func sameContent(a, b *state) bool {
	if !bytes.Equal(a.Global.Shared, b.Global.Shared) || len(a.Global.Streams) != len(b.Global.Streams) {
		return false
	}
	for i := range a.Global.Streams {
		if !bytes.Equal(a.Global.Streams[i].State, b.Global.Streams[i].State) {
			return false
		}
	}
	return true
}

// trace takes in everything of TRACE messages but where they stand among the others.
func (l *ledger) trace(t *trace) {
	l.r.t.Helper()
	switch {
	case t.Status != nil:
		l.status(t.Status.Stream, t.Status.Status)
	case t.Estimate != nil:
		name := streamName{t.Estimate.Name, t.Estimate.Namespace}
		if l.account(name, "estimate"); t.Estimate.Type != "STREAM" {
			l.report("an estimate of %s is of type %s", name, t.Estimate.Type)
		}
	case t.Error != nil:
		l.failed = true
		if t.Error.Stream == nil {
			return
		}
		if a := l.streams[*t.Error.Stream]; a != nil && a.status != "" && a.status != "INCOMPLETE" {
			l.report("the TRACE ERROR is about %s, whose status is %s", t.Error.Stream, a.status)
		}
	}
}

func (l *ledger) status(name streamName, status string) {
	l.r.t.Helper()
	l.beforeError("status")
	a := l.account(name, "status")
	if a == nil {
		return
	}
	allowed := false
	switch status {
	case "STARTED":
		allowed = a.status == ""
	case "RUNNING":
		allowed = a.status == "STARTED" || a.status == "RUNNING"
		a.running = true
	case "COMPLETE":
		allowed = a.status == "RUNNING"
		if a.uncovered > 0 {
			l.report("%s is COMPLETE with %d records that no state covers", name, a.uncovered)
		}
	case "INCOMPLETE":
		allowed = a.status != "" && !a.ended()
	}
	if !allowed {
		l.report("%s: status %s after %q", name, status, a.status)
	}
	a.status = status
}

// close checks what has to be so at the end of a run that nobody disturbed.
func (l *ledger) close() {
	l.r.t.Helper()
	whole := 0
	for _, name := range l.order {
		a := l.streams[name]
		if a.status == "COMPLETE" {
			whole++
		}
		switch {
		case a.status != "" && !a.ended():
			l.report("%s ended with status %s", name, a.status)
		case l.r.exit == 0 && a.status != "COMPLETE":
			l.report("exit code 0, but %s ended with status %q", name, a.status)
		}
		if l.r.exit != 0 {
			continue
		}
		if a.states == 0 {
			l.report("exit code 0, but %s never had a state", name)
		}
		if l.previous != nil && a.mode == "incremental" && !l.inLastState(name) {
			l.report("exit code 0, but the last GLOBAL state lacks %s", name)
		}
	}
	if l.r.exit != 0 && whole > 0 && whole == len(l.order) {
		l.report("exit code %d, but every stream is COMPLETE", l.r.exit)
	}
}

func (l *ledger) inLastState(name streamName) bool {
	for _, s := range l.previous.Global.Streams {
		if s.Descriptor == name && len(s.State) > 0 {
			return true
		}
	}
	return false
}
