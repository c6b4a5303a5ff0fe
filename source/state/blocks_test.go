package state

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a set of blocks as a list: the first of it one by one, the last place for all others.
type model [32]bool

func (m *model) add(r Range) {
	for i := range m {
		if from, to := int64(i), int64(i+1); from >= r.From && (to <= r.To && i < len(m)-1 || r.To == End) {
			m[i] = true
		}
	}
}

func modelOf(b Blocks) model {
	var m model
	for _, r := range b {
		m.add(r)
	}
	return m
}

// randomRange lies within the model; it may be empty, or open.
func randomRange() Range {
	r := Range{rand.Int64N(31), rand.Int64N(32)}
	if r.To == 31 {
		r.To = End
	}
	return r
}

func TestBlocksAreTheRangesThatWereAdded(t *testing.T) {
	for range 5000 {
		var blocks Blocks
		var want model
		for range rand.IntN(10) {
			r := randomRange()
			before := slices.Clone(blocks)
			larger := blocks.Add(r)
			if !slices.Equal(blocks, before) {
				t.Fatalf("Add(%v) changed %v to %v", r, before, blocks)
			}
			blocks = larger
			want.add(r)
			if got := modelOf(blocks); got != want {
				t.Fatalf("%v.Add(%v) is %v", before, r, blocks)
			}
			for i := 1; i < len(blocks); i++ {
				if blocks[i].From <= blocks[i-1].To {
					t.Fatalf("%v.Add(%v): ranges out of order, or that touch: %v", before, r, blocks)
				}
			}
		}
		checkMissing(t, blocks, want)
	}
}

// checkMissing compares what is missing of blocks, and what is said of it, with the model.
func checkMissing(t *testing.T, blocks Blocks, want model) {
	t.Helper()
	missing := blocks.Missing()
	for i, has := range modelOf(missing) {
		if has == want[i] {
			t.Fatalf("what is missing of %v: %v", blocks, missing)
		}
	}
	all := blocks
	for _, r := range missing {
		if r.From >= r.To {
			t.Fatalf("what is missing of %v has an empty range: %v", blocks, missing)
		}
		all = all.Add(r)
	}
	if !all.Complete() || blocks.Complete() != (len(missing) == 0) {
		t.Fatalf("%v: complete %t; missing %v", blocks, blocks.Complete(), missing)
	}
	watermark := int64(slices.Index(want[:], false))
	if watermark < 0 {
		watermark = End
	}
	if got := blocks.Watermark(); got != watermark {
		t.Fatalf("%v: watermark %d, want %d", blocks, got, watermark)
	}
}

func TestRangeAsPeopleWriteIt(t *testing.T) {
	for r, want := range map[Range]string{
		{0, 10}: "blocks 0 to 9", {7, 8}: "blocks 7 to 7", {5, End}: "blocks 5 to the end",
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
