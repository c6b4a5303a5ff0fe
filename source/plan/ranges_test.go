package plan

import (
	"math/rand/v2"
	"slices"
	"testing"

	"source-postgres/source/catalog"
	"source-postgres/source/state"
)

// randomStorage is a table of some parts, with pages of 8 kB and perhaps more beside them.
func randomStorage() *catalog.Storage {
	s := &catalog.Storage{}
	for range rand.IntN(5) {
		n := rand.Int64N(1 << rand.IntN(24))
		s.Blocks = append(s.Blocks, n)
		s.Bytes += n * 8192 * (1 + rand.Int64N(3))
	}
	slices.Sort(s.Blocks)
	return s
}

// bytesOf is how much of the table lies in the range, by the average block.
func bytesOf(s *catalog.Storage, r state.Range) int64 {
	var total, within int64
	for _, n := range s.Blocks {
		total += n
		within += max(min(n, r.To)-r.From, 0)
	}
	return within * (s.Bytes / max(total, 1))
}

// Whatever is missing of whatever table, the ranges are exactly that, none is much larger than the others, and what
// lies behind the last known block is part of the last one.
func TestRangesCoverWhatIsMissing(t *testing.T) {
	for range 2000 {
		s := randomStorage()
		end := longest(s)
		var done state.Blocks
		for range rand.IntN(4) {
			from := rand.Int64N(end + 2)
			done = done.Add(state.Range{From: from, To: from + rand.Int64N(end+2)})
		}
		missing := done.Missing()
		ranges := Ranges(s, missing)
		var covered state.Blocks
		for i, r := range ranges {
			if r.From >= r.To || i > 0 && r.From < ranges[i-1].To {
				t.Fatalf("%+v, %v: ranges %v", s, missing, ranges)
			}
			covered = covered.Add(r)
			if size := bytesOf(s, r); size > rangeBytes(s)+rangeBytes(s)/4 {
				t.Errorf("%+v: range %v has %d bytes, want about %d", s, r, size, rangeBytes(s))
			}
			ends := func(m state.Range) bool { return m.To == r.To }
			if r.To > end && !slices.ContainsFunc(missing, ends) {
				t.Errorf("%+v: range %v ends behind the table and is not open", s, r)
			}
		}
		if !slices.Equal(covered, missing) {
			t.Fatalf("%+v: ranges %v cover %v, want %v", s, ranges, covered, missing)
		}
		if len(ranges) > 40+4*len(missing)+int(s.Bytes/(100<<20)) {
			t.Errorf("%+v: %d ranges", s, len(ranges))
		}
	}
}

func TestRangesOfSmallAndLargeTables(t *testing.T) {
	all := state.Blocks(nil).Missing()
	for _, test := range []struct {
		blocks []int64
		want   int
	}{
		{nil, 1},
		{[]int64{0}, 1},
		{[]int64{1}, 1},
		{[]int64{1024}, 1},
		{[]int64{2048}, 2},
		{[]int64{1024, 1024}, 2},
		{[]int64{32 * 1024}, 32},
	} {
		s := &catalog.Storage{Blocks: test.blocks}
		for _, n := range test.blocks {
			s.Bytes += n * 8192
		}
		if got := Ranges(s, all); len(got) != test.want || got[0].From != 0 || got[len(got)-1].To != state.End {
			t.Errorf("blocks %d: ranges %v, want %d", test.blocks, got, test.want)
		}
	}
}
