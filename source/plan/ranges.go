package plan

import (
	"sort"

	"source-postgres/source/catalog"
	"source-postgres/source/state"
)

// rangeBytes is how much of a table on disk, TOAST included, one range should have. A range is what is read again
// after an interruption and what several connections share out among themselves, so a table has many; but each costs
// a few round trips.
func rangeBytes(s *catalog.Storage) int64 {
	return min(max(s.Bytes/32, 8<<20), 128<<20)
}

// Ranges cuts blocks into ranges of about equal size on disk. The range that reaches the table's end stays open, for
// rows may be added behind the last known block.
func Ranges(s *catalog.Storage, blocks state.Blocks) []state.Range {
	var total int64
	for _, n := range s.Blocks {
		total += n
	}
	var cut []state.Range
	for _, r := range blocks {
		for from := r.From; from < r.To; {
			to := from + span(s, from, total)
			if to >= longest(s) || to > r.To {
				to = r.To
			}
			cut = append(cut, state.Range{From: from, To: to})
			from = to
		}
	}
	return cut
}

// span is how many blocks from block from on make up one range: each number stands for one block in every part that
// is so long.
func span(s *catalog.Storage, from, total int64) int64 {
	if total == 0 || s.Bytes == 0 {
		return state.End
	}
	perBlock := max(s.Bytes/total, 1)
	parts := int64(len(s.Blocks) - sort.Search(len(s.Blocks), func(i int) bool { return s.Blocks[i] > from }))
	return max(rangeBytes(s)/(perBlock*max(parts, 1)), 1)
}

// longest is the number of blocks of the longest part.
func longest(s *catalog.Storage) int64 {
	if len(s.Blocks) == 0 {
		return 0
	}
	return s.Blocks[len(s.Blocks)-1]
}
