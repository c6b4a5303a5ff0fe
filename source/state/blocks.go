package state

import (
	"fmt"
	"slices"
)

// End is one more than the largest block number of PostgreSQL, which has 32 bits: a range that ends here is open, and
// takes in blocks that are added while it is read.
const End int64 = 1 << 32

// A Range is the blocks from From up to, not including, To.
type Range struct{ From, To int64 }

// String is the range as people write it.
func (r Range) String() string {
	if r.To >= End {
		return fmt.Sprintf("blocks %d to the end", r.From)
	}
	return fmt.Sprintf("blocks %d to %d", r.From, r.To-1)
}

// Blocks is a set of blocks: ranges in order, none of which touch.
type Blocks []Range

// Add is the set with r in it. b itself is not changed.
func (b Blocks) Add(r Range) Blocks {
	if r.From >= r.To {
		return b
	}
	merged := make(Blocks, 0, len(b)+1)
	for _, other := range b {
		if other.To < r.From || other.From > r.To {
			merged = append(merged, other)
			continue
		}
		r.From, r.To = min(r.From, other.From), max(r.To, other.To)
	}
	merged = append(merged, r)
	slices.SortFunc(merged, func(x, y Range) int { return int(min(max(x.From-y.From, -1), 1)) })
	return merged
}

// Missing is every block that is not in the set, as ranges.
func (b Blocks) Missing() Blocks {
	var missing Blocks
	from := int64(0)
	for _, r := range b {
		if r.From > from {
			missing = append(missing, Range{from, r.From})
		}
		from = r.To
	}
	if from < End {
		missing = append(missing, Range{from, End})
	}
	return missing
}

// Complete reports whether the set has every block.
func (b Blocks) Complete() bool { return len(b) == 1 && b[0].From == 0 && b[0].To >= End }

// Watermark is the block before which all are in the set.
func (b Blocks) Watermark() int64 {
	if len(b) == 0 || b[0].From > 0 {
		return 0
	}
	return b[0].To
}
