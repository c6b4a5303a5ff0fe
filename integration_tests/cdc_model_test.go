package integration

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A logEvent is a record or a state.
type logEvent struct {
	rec   *record
	state json.RawMessage // the record is nil
}

// A logModel is a workload, the connector that reads the log beside it, and what platform and destination have of that.
type logModel struct {
	*capture
	workload *logWorkload
	rand     *rand.Rand
	found    *catalog
	events   []logEvent // what the destination has kept, and the states that came, in order
	joined   bool       // stream later has
	sampler  *pgx.Conn

	complete, disturbed, resets int
}

// TestModelOfLog lets a random workload write, deletes included, while the connector reads the log again and again, is
// killed, loses its connections or the whole server, and goes on from the last state or from an older one that the slot
// still covers; streams are reset and join. What the server may forget never goes beyond the state that an attempt was
// given. In the end the destination has just the rows of the tables, whether what came last holds or what has the
// greatest number. -model.rounds and -model.seed say how long and which.
func TestModelOfLog(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = 1 + rand.IntN(1<<31)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again: MODEL_SEED=%d MODEL_ROUNDS=%d go test -count=1 -run TestModelOfLog ./integration_tests", seed,
				*modelRounds)
		}
	})
	m := newLogModel(t, rand.New(rand.NewPCG(uint64(seed), 1)))
	for i := range max(5, *modelRounds*3/10) {
		m.round()
		if i%10 == 9 {
			m.compare()
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	m.compare()
	t.Logf("%d attempts complete, %d disturbed, %d resets, %d events; %v", m.complete, m.disturbed, m.resets,
		len(m.events), m.workload.did)
}

func newLogModel(t *testing.T, r *rand.Rand) *logModel {
	t.Helper()
	c := newCaptureOn(t, private(t), "", nil)
	m := &logModel{capture: c, rand: r, workload: newLogWorkload(c.database, rand.New(rand.NewPCG(r.Uint64(), 2)))}
	c.exec("ALTER PUBLICATION pub SET (publish_via_partition_root = true)")
	m.found = discover(t, c.settings)
	return m
}

// streams are the names of the streams that are configured by now.
func (m *logModel) streams() []string {
	var names []string
	for _, table := range logTableList {
		if table.name != "later" || m.joined {
			names = append(names, table.name)
		}
	}
	return names
}

// A fault is what befalls an attempt.
type fault int

const (
	none fault = iota
	killed
	stopped
	restarted
	crashed
	senderEnded
	sessionsEnded
)

// round is an attempt to read beside some statements.
func (m *logModel) round() {
	m.t.Helper()
	m.joined = m.joined || m.complete > 3
	in := m.prepare(true)
	befalls := []fault{none, none, none, killed, killed, killed, stopped, restarted, crashed, senderEnded, sessionsEnded}
	what, line := befalls[m.rand.IntN(len(befalls))], 1+m.rand.IntN([]int{30, 300, 3000}[m.rand.IntN(3)])
	var group sync.WaitGroup
	var err error
	steps := 30 + m.rand.IntN(200)
	over := make(chan struct{})
	group.Go(func() {
		for i := 0; i < steps && err == nil; i++ {
			err = m.workload.step(m.t.Context())
		}
		select {
		case <-over: // transactions stay open until the next round
		case <-time.After(200 * time.Millisecond): // a first pass waits for them
			err = errors.Join(err, m.workload.settle(m.t.Context(), "COMMIT"))
		}
	})
	m.attempt(in, what, line)
	close(over)
	group.Wait()
	if err != nil {
		m.t.Fatal(err)
	}
}

// prepare decides where the attempt goes on and what the destination has by then.
func (m *logModel) prepare(mishaps bool) input {
	m.t.Helper()
	config := maps.Clone(m.settings)
	config["max_db_connections"] = 1 + m.rand.IntN(3)
	in := input{config: config, catalog: m.found.configure("incremental", m.streams()...).
		selectColumns(m.t, "wide", "id", "version", "_ab_cdc_lsn", "_ab_cdc_deleted_at", "_ab_cdc_updated_at")}
	var states []int
	for i, e := range m.events {
		if e.rec == nil {
			states = append(states, i)
		}
	}
	fate := m.rand.IntN(24)
	if len(states) == 0 || fate == 0 && mishaps {
		m.events = nil // a reset of everything
		m.resets++
		return in
	}
	at := states[len(states)-1]
	if mishaps && fate < 8 {
		at = states[m.rand.IntN(len(states))]
	}
	state := m.events[at].state
	if mishaps && fate%6 == 5 {
		names := m.streams()
		state = withoutStream(m.t, state, names[m.rand.IntN(len(names))])
		m.resets++
	}
	known := knownStreams(m.t, state)
	var kept []logEvent
	for i, e := range m.events {
		// The destination may have lost what came after the state, or not. What it has of a stream that the state does not
		// know is taken away, as in a reset: nobody could tell which of those rows are gone.
		if e.rec != nil && known[e.rec.Stream] && (i < at || fate%2 == 0) {
			kept = append(kept, e)
		}
	}
	kept = append(kept, logEvent{state: state})
	m.events = kept
	in.state = []json.RawMessage{state}
	return in
}

// A globalState is the part of a state that the model looks at.
type globalState struct {
	Type   string `json:"type"`
	Global struct {
		Shared  json.RawMessage  `json:"shared_state"`
		Streams []map[string]any `json:"stream_states"`
	} `json:"global"`
}

func parseGlobal(t *testing.T, state json.RawMessage) *globalState {
	t.Helper()
	s := &globalState{}
	if err := json.Unmarshal(state, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func nameOf(stream map[string]any) string {
	return stream["stream_descriptor"].(map[string]any)["name"].(string)
}

// knownStreams are the streams that a state says anything of.
func knownStreams(t *testing.T, state json.RawMessage) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, stream := range parseGlobal(t, state).Global.Streams {
		known[nameOf(stream)] = stream["stream_state"].(map[string]any)["state_type"] != nil
	}
	return known
}

// withoutStream is a state after the reset of one stream.
func withoutStream(t *testing.T, state json.RawMessage, name string) json.RawMessage {
	t.Helper()
	s := parseGlobal(t, state)
	s.Global.Streams = slices.DeleteFunc(s.Global.Streams, func(stream map[string]any) bool {
		return nameOf(stream) == name
	})
	return text(t, s)
}

// attempt reads. What is to happen happens after so many lines of output, if there are so many.
func (m *logModel) attempt(in input, what fault, line int) {
	m.t.Helper()
	limit := m.confirmed()
	if in.state != nil {
		limit = lsnOf(m.t, in.state.([]json.RawMessage))
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	watched := make(chan string, 1)
	go func() { watched <- m.watch(ctx, limit) }()
	p := start(m.t, "read", in)
	versions, again := map[string]int64{}, func() {}
	for {
		msg, ok := p.next()
		if !ok {
			break
		}
		switch {
		case msg.Record != nil:
			m.events = append(m.events, logEvent{rec: msg.Record})
			m.checkOrder(msg.Record, versions)
		case msg.State != nil:
			m.events = append(m.events, logEvent{state: msg.State.text})
		}
		if len(p.lines) == line {
			again = m.strike(p, what)
		}
	}
	r := p.wait()
	again()
	cancel()
	if beyond := <-watched; beyond != "" {
		m.t.Errorf("the slot was at %s, the attempt was given %s", beyond, limit)
	}
	switch {
	case r.exit == 0:
		m.complete++
	case p.disturbed:
		m.disturbed++
	case what == none:
		r.ok()
	default:
		m.disturbed++
		r.failed("transient_error")
	}
}

// strike does to the connector, or to the server, what is to befall it. The server takes its time to shut down: it
// waits for the connector to take what it is being sent. What is given back waits until it is there again.
func (m *logModel) strike(p *process, what fault) (again func()) {
	m.t.Helper()
	switch what {
	case killed:
		p.signal(syscall.SIGKILL)
	case stopped:
		p.signal(syscall.SIGTERM)
	case restarted, crashed:
		ended := make(chan error, 1)
		go func() {
			ended <- m.Restart(m.t.Context(), map[fault]string{restarted: "fast", crashed: "immediate"}[what])
		}()
		return func() {
			if err := <-ended; err != nil {
				m.t.Fatal(err)
			}
			_ = m.Exec(m.t.Context(), "SELECT 1") // finds that its connection is gone, so that the next call opens another
		}
	case senderEnded:
		m.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
	case sessionsEnded:
		m.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> ''")
	}
	return func() {}
}

// checkOrder: what the log says of a row comes in the order in which it happened. Rows of a first pass, which bear
// the time at which the attempt began, may be newer than what comes after them.
func (m *logModel) checkOrder(rec *record, versions map[string]int64) {
	m.t.Helper()
	var at time.Time
	if err := json.Unmarshal(rec.Data["_ab_cdc_updated_at"], &at); err != nil {
		m.t.Fatal(err)
	}
	if at.UnixMilli() == rec.EmittedAt || string(rec.Data["_ab_cdc_deleted_at"]) != "null" {
		return
	}
	version, key := fieldNumber(m.t, rec, "version"), rec.Stream+" "+joined(rec, []string{"id", "shard"})
	if version < versions[key] {
		m.t.Errorf("row %s came in version %d after version %d", key, version, versions[key])
	}
	versions[key] = version
}

// watch looks again and again where the slot is, until ctx ends; it gives a position beyond limit.
func (m *logModel) watch(ctx context.Context, limit string) (beyond string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	const sql = `SELECT coalesce(max(confirmed_flush_lsn::text) FILTER (WHERE confirmed_flush_lsn > $2), '')
		FROM pg_replication_slots WHERE slot_name = $1`
	for beyond == "" {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return beyond
		}
		if m.sampler == nil || m.sampler.IsClosed() {
			var err error
			if m.sampler, err = m.Connect(ctx); err != nil {
				m.sampler = nil // the server is being restarted
				continue
			}
		}
		_ = m.sampler.QueryRow(ctx, sql, m.slotName(), limit).Scan(&beyond) // likewise
	}
	return beyond
}

// compare ends every transaction and reads once more. Then the destination has just what the tables have.
func (m *logModel) compare() {
	m.t.Helper()
	if err := m.workload.settle(m.t.Context(), "ROLLBACK"); err != nil {
		m.t.Fatal(err)
	}
	m.attempt(m.prepare(false), none, 0)
	for _, table := range logTableList {
		if table.name == "later" && !m.joined {
			continue
		}
		copied := newCopied(table.keys, table.fields)
		for _, e := range m.events {
			if e.rec != nil && e.rec.Stream == table.name {
				copied.take(m.t, e.rec)
			}
		}
		copied.compare(m.t, m.database, table.name)
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}
