package integration

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// A modelStream is what platform and destination have of one stream: the destination keeps of each row what came last,
// and may be set back to what it had when a state came.
type modelStream struct {
	table  *modelTable
	kept   map[int64]int64   // version by id
	marks  []modelMark       // in the order in which they came
	newest map[int64]int64   // the greatest version that ever came, by id
	seen   map[[2]int64]bool // id and version of every record
	began  map[int64]int64   // what was committed when the sync began
}

// A modelMark is a state, and the destination when it came.
type modelMark struct {
	state json.RawMessage
	kept  map[int64]int64
}

// remembered is how many states back a platform may go.
const remembered = 20

func newModelStream(m *modelTable) *modelStream {
	return &modelStream{table: m, kept: map[int64]int64{}, newest: map[int64]int64{}, seen: map[[2]int64]bool{}}
}

// record takes a record. Rows come in the order in which they were written, however often a read was begun.
func (s *modelStream) record(t *testing.T, rec *record) {
	t.Helper()
	id, version := fieldNumber(t, rec, "id"), fieldNumber(t, rec, "version")
	if version < s.newest[id] {
		t.Errorf("%s: row %d came in version %d after version %d", s.table.name, id, version, s.newest[id])
	}
	s.newest[id], s.kept[id] = version, version
	s.seen[[2]int64{id, version}] = true
}

func fieldNumber(t *testing.T, rec *record, field string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(string(rec.Data[field]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *modelStream) mark(text json.RawMessage) {
	s.marks = append(s.marks, modelMark{text, maps.Clone(s.kept)})
	if len(s.marks) > remembered {
		s.marks = slices.Clone(s.marks[len(s.marks)-remembered:])
	}
}

// resume is the state for the next attempt: mostly the last one, sometimes an older one, sometimes none. The
// destination may have lost what came after it, and has if it is not the last.
func (s *modelStream) resume(r *rand.Rand) json.RawMessage {
	n := r.IntN(40)
	if len(s.marks) == 0 || n == 0 {
		s.forget()
		return nil
	}
	last := len(s.marks) - 1
	if n < 6 {
		last = r.IntN(len(s.marks))
	}
	if n < 16 {
		s.kept = maps.Clone(s.marks[last].kept)
	}
	s.marks = s.marks[:last+1]
	return s.marks[last].state
}

// forget is a reset.
func (s *modelStream) forget() { s.kept, s.marks = map[int64]int64{}, nil }

// check compares with rows that had been committed before a sync began and were still the same when it was complete.
func (s *modelStream) check(t *testing.T) {
	t.Helper()
	var lost []int64
	for id, version := range s.began {
		if s.table.live[id] == version && s.kept[id] != version {
			lost = append(lost, id)
		}
	}
	slices.Sort(lost)
	for _, id := range lost[:min(len(lost), 5)] {
		t.Errorf("%s: row %d is there in version %d, the destination has %d (0: no such row)", s.table.name, id, s.began[id],
			s.kept[id])
	}
	if len(lost) > 0 {
		t.Fatalf("%s: %d of %d rows are lost; the state is %s", s.table.name, len(lost), len(s.began),
			s.marks[len(s.marks)-1].state)
	}
}

// checkSeen holds what came against what was committed.
func (s *modelStream) checkSeen(t *testing.T) {
	t.Helper()
	for row := range s.seen {
		if !s.table.ever[row] {
			t.Fatalf("%s: row %d came in version %d, which was never committed", s.table.name, row[0], row[1])
		}
	}
}
