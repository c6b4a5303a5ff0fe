package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var (
	modelRounds = flag.Int("model.rounds", fromEnvironment("MODEL_ROUNDS", 200), "rounds of TestModel; also MODEL_ROUNDS")
	modelSeed   = flag.Int("model.seed", fromEnvironment("MODEL_SEED", 0), "its seed, 0: a new one; also MODEL_SEED")
)

func fromEnvironment(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestModel lets a random workload write while the connector reads again and again, is killed at random, and goes on
// from the last state, from older ones, or from none. A round is some statements beside one attempt to read. Whenever
// an attempt is complete, the destination has every row in the version that it had before the attempt began, unless
// that was changed meanwhile; nothing comes that was not committed, and no older version of a row after a newer one.
// What a seed fixes is the workload and what befalls the connector; how the two meet is up to the machine.
func TestModel(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = 1 + rand.IntN(1<<31)
	}
	for name, mode := range map[string]struct {
		share  int // of 100 rounds
		method string
		tables []*modelTable
	}{
		"Standard": {45, "Standard", []*modelTable{
			{name: "clock", kind: "timestamptz", stamp: "clock_timestamp()", index: true, rows: 800},
			{name: "began", kind: "timestamptz", stamp: "now()", rows: 800},
			{name: "counted", kind: "bigint", stamp: "nextval('counted_at')", index: true, parts: 3, rows: 800},
		}},
		"Xmin": {35, "Xmin", []*modelTable{
			{name: "single", kind: "timestamptz", stamp: "now()", rows: 1000},
			{name: "parted", kind: "timestamptz", stamp: "now()", parts: 3, rows: 1000},
		}},
		"full refresh": {20, "", []*modelTable{
			{name: "single", kind: "timestamptz", stamp: "now()", rows: 1000},
			{name: "parted", kind: "timestamptz", stamp: "now()", parts: 3, rows: 1000},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again: MODEL_SEED=%d MODEL_ROUNDS=%d go test -count=1 -run '^TestModel$/^%s$' ./integration_tests",
						seed, *modelRounds, strings.ReplaceAll(name, " ", "_"))
				}
			})
			m := newModel(t, mode.method, rand.New(rand.NewPCG(uint64(seed), uint64(len(name)))), mode.tables)
			for range max(1, *modelRounds*mode.share/100) {
				m.round()
			}
			m.close()
		})
	}
}

// A model is a workload, the connector that reads beside it, and what a destination makes of that.
type model struct {
	*workload
	t       *testing.T
	method  string // "": full refresh
	in      input
	streams []*modelStream
	busy    bool  // the sync is not complete yet
	syncs   int64 // begun

	complete, killed, records int // attempts and records
}

func newModel(t *testing.T, method string, r *rand.Rand, tables []*modelTable) *model {
	t.Helper()
	db := newDB(t)
	m := &model{workload: newWorkload(db, r, tables), t: t, method: method}
	settings, mode := map[string]any{}, "full_refresh"
	if method != "" {
		settings["replication_method"], mode = map[string]any{"method": method}, "incremental"
	}
	config := db.config(settings)
	found := discover(t, config)
	catalog := &configuredCatalog{}
	for _, table := range tables {
		one := found.configure(mode, table.name).selectColumns(t, table.name, "id", "version", "at")
		if method == "Standard" {
			one.cursor(t, table.name, "at")
		}
		catalog.Streams = append(catalog.Streams, one.Streams...)
		m.streams = append(m.streams, newModelStream(table))
	}
	m.in = input{config: config, catalog: catalog}
	return m
}

// round is an attempt to read beside some statements.
func (m *model) round() {
	m.t.Helper()
	m.prepare(false)
	steps := 5 + m.rand.IntN(40)
	ended := make(chan error, 1)
	ctx := m.t.Context()
	f := m.fate() // drawn before the workload draws from the same source
	go func() {
		var err error
		for i := 0; i < steps && err == nil; i++ {
			err = m.step(ctx)
		}
		ended <- err
	}()
	m.attempt(f)
	if err := <-ended; err != nil {
		m.t.Fatal(err)
	}
	m.check()
}

// check looks at the destination, if the sync is complete.
func (m *model) check() {
	m.t.Helper()
	for _, s := range m.streams {
		if !m.busy {
			s.check(m.t)
		}
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}

// prepare decides where the attempt goes on. A full refresh that was complete is begun anew, into an empty destination.
func (m *model) prepare(anew bool) {
	m.t.Helper()
	var states []json.RawMessage
	refresh := m.method == "" && !m.busy || anew
	if refresh {
		m.syncs++
	}
	for i, s := range m.streams {
		m.in.catalog.(*configuredCatalog).Streams[i].SyncID = m.syncs
		if !m.busy || m.method != "" {
			s.began = maps.Clone(s.table.live)
		}
		switch {
		case refresh && len(s.marks) > 0 && !anew:
			states = append(states, s.marks[len(s.marks)-1].state)
			s.forget()
		case refresh:
			s.forget()
		default:
			if state := s.resume(m.rand); state != nil {
				states = append(states, state)
			}
		}
	}
	m.busy, m.in.state = true, nil
	if len(states) > 0 {
		m.in.state = states
	}
	config := maps.Clone(m.in.config.(map[string]any))
	config["max_db_connections"] = 1 + m.rand.IntN(3)
	m.in.config = config
}

// A fate is when an attempt is killed, and how.
type fate struct {
	lines, states int // of output; 0: not by this
	signal        syscall.Signal
}

// fate is that of the next attempt; many are left alone.
func (m *model) fate() fate {
	rows := 0
	for _, table := range m.tables {
		rows += table.rows
	}
	f := fate{signal: syscall.SIGKILL}
	if m.rand.IntN(3) == 0 {
		f.signal = syscall.SIGTERM
	}
	switch m.rand.IntN(5) {
	case 0, 1:
		f.states = 1 + m.rand.IntN(1+m.rand.IntN(8))
	case 2:
		f.lines = 1 + m.rand.IntN([]int{20, rows / 8, rows / 2, rows * 5 / 4}[m.rand.IntN(4)])
	}
	return f
}

// attempt reads; the connector is killed when its fate has come.
func (m *model) attempt(f fate) {
	m.t.Helper()
	p := start(m.t, "read", m.in)
	for states := 0; ; {
		msg, ok := p.next()
		if !ok {
			break
		}
		m.take(msg)
		if msg.State != nil {
			states++
		}
		if len(p.lines) == f.lines || msg.State != nil && states == f.states {
			p.signal(f.signal)
		}
	}
	r := p.wait()
	switch {
	case r.exit == 0:
		m.busy = false
		m.complete++
	case p.disturbed && r.exit == 128+int(f.signal):
		m.killed++
	default:
		r.ok()
	}
}

func (m *model) take(msg message) {
	m.t.Helper()
	switch {
	case msg.Record != nil:
		m.records++
		m.stream(msg.Record.name()).record(m.t, msg.Record)
	case msg.State != nil:
		m.stream(msg.State.Stream.Descriptor).mark(msg.State.text)
	}
}

func (m *model) stream(name streamName) *modelStream {
	m.t.Helper()
	for _, s := range m.streams {
		if name.is(s.table.name) {
			return s
		}
	}
	m.t.Fatalf("there is no stream %s", name)
	return nil
}

// close ends every transaction. After another sync the destination is the table, but for deleted rows, which only a
// full refresh from the beginning leaves out.
func (m *model) close() {
	m.t.Helper()
	if err := m.settle(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.prepare(false)
	m.attempt(fate{})
	m.check()
	if m.method == "" {
		m.prepare(true)
		m.attempt(fate{})
		m.check()
	}
	for _, s := range m.streams {
		m.compare(s)
		s.checkSeen(m.t)
	}
	m.t.Logf("%d attempts complete, %d killed; %d records", m.complete, m.killed, m.records)
}

// compare holds the destination, and the journal, against the table.
func (m *model) compare(s *modelStream) {
	m.t.Helper()
	rows, err := m.db.Query(m.t.Context(), "SELECT id, version FROM "+s.table.name)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(rows) != len(s.table.live) || m.method == "" && len(rows) != len(s.kept) {
		m.t.Errorf("%s: %d rows, %d in the journal, %d in the destination", s.table.name, len(rows), len(s.table.live),
			len(s.kept))
	}
	for _, row := range rows {
		var id, version int64
		if _, err := fmt.Sscan(row[0]+" "+row[1], &id, &version); err != nil {
			m.t.Fatal(err)
		}
		if s.table.live[id] != version {
			m.t.Fatalf("%s: row %d has version %d, the journal says %d", s.table.name, id, version, s.table.live[id])
		}
		if s.kept[id] != version {
			m.t.Fatalf("%s: row %d has version %d, the destination's is %d", s.table.name, id, version, s.kept[id])
		}
	}
	m.t.Logf("%s: %v", s.table.name, s.table.did)
}
