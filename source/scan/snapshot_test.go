package scan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestSnapshotsAreReadAsTheServerWritesThem(t *testing.T) {
	for text, want := range map[string]Snapshot{
		"750:750:":                      {Xmin: 750, Xmax: 750},
		"10:20:10,14,15":                {Xmin: 10, Xmax: 20},
		"4294967299:8589934592:":        {Xmin: 4294967299, Xmax: 8589934592},
		"3:18446744073709551615:3,4,50": {Xmin: 3, Xmax: math.MaxUint64},
	} {
		want.Text = text
		if got, err := ParseSnapshot(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "5", "5:6", ":6:", "5::", "a:6:", "5:-1:", "5:6.0:", "5:18446744073709551616:", " 5:6:",
	} {
		if got, err := ParseSnapshot(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

const turn = uint64(1) << 32

// age is the server's function of that name: how far back the transaction with these 32 bits lies, seen from the one
// that is the next to begin. It makes an exception of 0 to 2, which are no transactions.
func age(next uint64, xid uint32) int64 {
	if xid < 3 {
		return math.MaxInt32
	}
	return int64(int32(uint32(next) - xid))
}

// fulfils evaluates the condition for a row that shows these 32 bits, as the server does when next is the next
// transaction.
func fulfils(t *testing.T, condition string, next uint64, xid uint32) bool {
	t.Helper()
	var since, mask, window uint64
	if _, err := fmt.Sscanf(condition, "age(xmin) BETWEEN 0 AND (SELECT age('%d'::xid))", &since); err == nil {
		a := age(next, xid)
		return a >= 0 && a <= age(next, uint32(since))
	}
	if _, err := fmt.Sscanf(condition, "((xmin::text::bigint - %d) & %d) < %d", &since, &mask, &window); err == nil {
		return (uint64(xid)-since)&mask < window
	}
	switch condition {
	case everyRow:
		return true
	case noRow:
		return false
	}
	t.Fatalf("the condition has another form: %s", condition)
	return false
}

// randomNumber is a transaction's number, often near one where something turns over.
func randomNumber() uint64 {
	at := []uint64{0, turn / 4, turn / 2, turn, 2 * turn, 5 * turn, 1 << 40}[rand.IntN(7)]
	spread := []uint64{10, 1000, turn / 2}[rand.IntN(3)]
	n := at + rand.Uint64N(spread)
	if back := rand.Uint64N(spread); back < n {
		n -= back
	}
	return max(n, 3)
}

// Every row that a transaction from since on has written fulfils the condition, and within a quarter of a turn no other
// one does that is not more than half a turn older.
func TestWrittenSince(t *testing.T) {
	forms := map[string]int{}
	for range 20_000 {
		since := randomNumber()
		s := Snapshot{Xmax: max(since+rand.Uint64N(1+[]uint64{3, 1000, turn / 3, turn, 3 * turn}[rand.IntN(5)]), 4)}
		if rand.IntN(10) == 0 {
			s.Xmax = since - min(since-3, rand.Uint64N(100))
		}
		condition := s.writtenSince(since)
		forms[condition[:min(4, len(condition))]]++
		next := s.Xmax + rand.Uint64N(1_000_000) // others have begun since the snapshot was taken
		if s.Xmax > since {
			if xid := since + rand.Uint64N(s.Xmax-since); xid%turn >= 3 && !fulfils(t, condition, next, uint32(xid)) {
				t.Fatalf("since %d, up to %d, the next being %d: %q misses %d", since, s.Xmax, next, condition, xid)
			}
		}
		// 0 to 2 are nobody's numbers, so that the window may begin a little earlier.
		before := since - min(since, 4+rand.Uint64N(turn/2-1_000_000-turn/4))
		if before%turn >= 3 && s.Xmax < since+turn/4 && fulfils(t, condition, next, uint32(before)) && since >= 3 {
			t.Fatalf("since %d, up to %d, the next being %d: %q brings %d", since, s.Xmax, next, condition, before)
		}
	}
	if len(forms) != 4 {
		t.Errorf("not every form of the condition has come up: %v", forms)
	}
}

func TestWrittenSinceAtTheEdges(t *testing.T) {
	for _, test := range []struct {
		since, xmax uint64
		want        string
	}{
		{750, 750, noRow},
		{751, 750, noRow},
		{750, 751, "age(xmin) BETWEEN 0 AND (SELECT age('750'::xid))"},
		{turn + 750, turn + 800, "age(xmin) BETWEEN 0 AND (SELECT age('750'::xid))"},
		{turn - 1, turn + 10, "age(xmin) BETWEEN 0 AND (SELECT age('4294967295'::xid))"},
		{2*turn + 2, 2*turn + 10, "age(xmin) BETWEEN 0 AND (SELECT age('4294967295'::xid))"},
		{10, 10 + turn/4 - 1, "age(xmin) BETWEEN 0 AND (SELECT age('10'::xid))"},
		{10, 10 + turn/4, "((xmin::text::bigint - 10) & 4294967295) < 1073741824"},
		{turn + 10, 2*turn + 9, "((xmin::text::bigint - 10) & 4294967295) < 4294967295"},
		{turn + 10, 2*turn + 10, everyRow},
		{3, 9 * turn, everyRow},
	} {
		if got := (Snapshot{Xmax: test.xmax}).writtenSince(test.since); got != test.want {
			t.Errorf("since %d, up to %d: %q, want %q", test.since, test.xmax, got, test.want)
		}
	}
}
