package scan

import (
	"bytes"
	"time"
	"unicode/utf8"

	"source-postgres/protocol"
	"source-postgres/source/state"
)

// An order is what the rows of a task are known to be sorted by, so that the task can be gone on with from the middle.
type order uint8

// By nothing, by ascending cursor, or by block. The query gives the cursor's text, or the ctid, after the columns.
const (
	unordered order = iota
	byCursor
	byBlock
)

// A task in order writes a state when so many bytes have been sent since the last one, or so much time has passed.
const (
	stateBytes    = 16 << 20
	stateInterval = 10 * time.Second
)

// A bookmark follows a task in order.
type bookmark struct {
	t     task
	value []byte // the last cursor, or block, as the server's text; empty before there is one
	count int64  // rows with that value
	bytes int    // sent since the last state
	saved time.Time
	rows  int
	fresh bool // value has changed since the last state

	seen, before int64 // rows, and those before the first with that value
}

// newBookmark is nil for a task without order.
func newBookmark(t task) *bookmark {
	if t.order == unordered {
		return nil
	}
	return &bookmark{t: t, saved: time.Now()}
}

// row notes one row. place is its cursor, nil if it does not move the bound on, or its ctid.
func (b *bookmark) row(e *protocol.Emitter, place []byte, size int) error {
	b.bytes += size
	b.seen++
	if place == nil {
		return nil
	}
	if b.t.order == byBlock {
		place, _, _ = bytes.Cut(place[1:], []byte{','}) // (block,tuple)
	}
	switch {
	case b.count > 0 && bytes.Equal(b.value, place):
		b.count++
	case !utf8.Valid(place):
		return b.t.p.unspeakable(place)
	default:
		b.value, b.count, b.fresh = append(b.value[:0], place...), 1, true
		b.before = b.seen - 1
	}
	b.rows++
	if !b.fresh || b.bytes < stateBytes && (b.rows%batch != 0 || time.Since(b.saved) < stateInterval) {
		return nil
	}
	b.bytes, b.saved, b.fresh = 0, time.Now(), false
	p := b.t.p
	return e.Checkpoint(func() *protocol.State { return p.save(b.half()) })
}

// rewind goes back to before the first row with the present value, and says how many there are before it. Rows of one
// value come in any order: a second statement may have another one.
func (b *bookmark) rewind() int64 {
	b.seen, b.count = b.before, 0
	return b.before
}

// half is the state of the stream in the middle of the task. Of the rows with the present value some may be missing.
func (b *bookmark) half() state.Stream {
	p := b.t.p
	if b.t.order == byBlock {
		p.done = p.done.Add(state.Range{From: b.t.done.From, To: blockNumber(b.value)})
		return p.state(false)
	}
	half := *p.then.(*state.Cursor)
	p.reach(&half, b.value)
	half.Partial = true
	return &half
}

// blockNumber reads the server's text of one.
func blockNumber(text []byte) int64 {
	var n int64
	for _, digit := range text {
		n = 10*n + int64(digit-'0')
	}
	return n
}

// end gives the stream's last state the cursor that was reached by a task in its order.
func (b *bookmark) end() {
	then := b.t.p.then.(*state.Cursor)
	b.t.p.reach(then, b.value)
	then.Count = b.count
}
