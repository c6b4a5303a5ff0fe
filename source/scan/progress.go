package scan

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"source-postgres/protocol"
	"source-postgres/source/plan"
	"source-postgres/source/state"
)

// A progress is how far a stream has come in this sync. The first group of fields is set by open and fixed while the
// stream is read; the second is guarded by the Writer's lock, under which Checkpoint calls take; the third is for all
// workers.
type progress struct {
	*plan.Stream
	w        *protocol.Writer
	interval time.Duration
	ledger   *state.Ledger
	follow   Follow
	meta     [][]byte     // the values of the columns Meta
	from     state.Stream // where this attempt goes on
	mark     state.Mark   // of this attempt
	first    state.Mark   // of the attempt that began the pass
	filenode uint64       // of this attempt
	files    uint64       // of the attempt that began the pass
	since    state.Stream // the pass is over what has changed since; nil: over everything
	then     state.Stream // what holds when the stream has been read; nil for a full refresh
	began    time.Time
	promoted bool // the server, since the state: transaction numbers in it mean nothing
	// noTIDRange says that the server, before version 14, cannot read blocks by number.
	noTIDRange bool

	done    state.Blocks
	tuple   uint16        // as in state.Ctid, as is
	moved   *state.Cursor // this
	left    int           // tasks
	unsaved int64         // rows since the last state
	saved   time.Time
	written state.Stream // the last state of this sync; nil before there is one
	states  int          // that have been written

	started   atomic.Bool
	complete  atomic.Bool
	rewritten atomic.Bool
	rows      atomic.Int64
	logged    atomic.Int64 // when the last progress log was, in unix seconds
	failure   atomic.Pointer[protocol.Error]
}

// missing is what is left to be read of the table.
func (p *progress) missing() state.Blocks {
	if pass, ok := p.from.(*state.Ctid); ok {
		return pass.Done.Missing()
	}
	return state.Blocks(nil).Missing()
}

// begin reports that the stream is being read; of a stream that starts over it has been reported before.
func (p *progress) begin() error {
	if p.started.Swap(true) {
		return nil
	}
	p.began = time.Now()
	var rows, bytes int64
	if s := p.Table.Storage; s != nil {
		rows, bytes = s.Rows, s.Bytes
	}
	slog.Info("stream begins", "stream", p.Descriptor, "rows_in_table", rows, "bytes_in_table", bytes)
	if err := p.w.Status(p.Descriptor, protocol.Started); err != nil {
		return err
	}
	// How much a stream will send is only known where it sends everything.
	if rows > 0 && p.from == nil && !p.Done {
		if err := p.w.Estimate(p.Descriptor, rows, bytes); err != nil {
			return err
		}
	}
	return p.w.Status(p.Descriptor, protocol.Running)
}

// read notes rows that have been read, and logs how the stream comes on, every progressInterval.
func (p *progress) read(rows int64) {
	total := p.rows.Add(rows)
	last, now := p.logged.Load(), time.Now()
	if now.Unix()-last < progressInterval || !p.logged.CompareAndSwap(last, now.Unix()) {
		return
	}
	whole := int64(0)
	if s := p.Table.Storage; s != nil && p.from == nil {
		whole = s.Rows
	}
	slog.Info("stream goes on", append([]any{"stream", p.Descriptor}, pace(total, whole, now.Sub(p.began))...)...)
}

// pace is how a reading comes on that has brought so many rows in that time, of whole by estimate (0: nobody knows).
func pace(rows, whole int64, after time.Duration) []any {
	each := float64(rows) / after.Seconds()
	args := []any{"rows", rows, "rows_per_second", int64(each)}
	if whole <= 0 {
		return args
	}
	args = append(args, "percent_estimated", min(100*rows/whole, 100))
	if rows > 0 && rows < whole {
		args = append(args, "seconds_left_estimated", int64(float64(whole-rows)/each))
	}
	return args
}

// progressInterval is the time between two progress logs of a stream, in seconds.
const progressInterval = 30

// finish notes that t and its rows have been read and writes the state that says so, after its records. The last task
// completes the stream. A search for changes that finds none says so only now and then.
func (p *progress) finish(e *protocol.Emitter, t task, rows int64) error {
	last := false
	err := e.Checkpoint(func() *protocol.State {
		p.done = p.done.Add(t.done)
		p.unsaved += rows
		p.left--
		last = p.left == 0
		// Rows read once more change nothing about where the stream stands, and the same state must not be written twice.
		again := t.done == state.Range{}
		if !last && (again || p.since != nil && p.unsaved == 0 && time.Since(p.saved) < p.interval) {
			return nil
		}
		p.unsaved, p.saved = 0, time.Now()
		return p.save(p.state(last))
	})
	if err != nil || !last {
		return err
	}
	p.complete.Store(true)
	if p.Method == plan.ByLog {
		slog.Info("first pass complete", "stream", p.Descriptor, "rows", p.rows.Load())
		return nil // the log's part follows
	}
	slog.Info("stream complete", "stream", p.Descriptor, "rows", p.rows.Load(),
		"seconds", fmt.Sprintf("%.1f", time.Since(p.began).Seconds()))
	return p.w.Status(p.Descriptor, protocol.Complete)
}

// state is where the stream stands; last says that it has been read.
func (p *progress) state(last bool) state.Stream {
	switch {
	case last && p.then != nil:
		return p.then
	case !p.Paged || len(p.Columns) == 0:
		return &state.Whole{SyncID: p.SyncID}
	}
	s := &state.Ctid{
		Mark: p.first, Filenode: p.files, Done: p.done, Since: p.since, Then: p.then, Moved: p.moved,
	}
	if from, ok := p.from.(*state.Ctid); ok && from.Done.Watermark() == p.done.Watermark() {
		s.Tuple = p.tuple
	}
	if last {
		s.Done, s.Tuple, s.Finished, s.SyncID = state.Blocks{{From: 0, To: state.End}}, 0, true, p.SyncID
	}
	return s
}

// save makes the message of a state, and notes it.
func (p *progress) save(s state.Stream) *protocol.State {
	p.written = s
	p.states++
	return p.ledger.Stream(p.Descriptor, s)
}

// restart forgets what has been read in this sync: the blocks are others now.
func (p *progress) restart() {
	p.rewritten.Store(false)
	p.from = p.since
}

// fail notes why the stream cannot be read; the first reason stays.
func (p *progress) fail(err *protocol.Error) {
	p.failure.CompareAndSwap(nil, err)
}

// end gives the stream its terminal status, if it has none yet and the log's part does not follow, and returns why it
// failed. err is what stopped the whole scan.
func (p *progress) end(err error) error {
	if p.complete.Load() {
		return nil
	}
	if p.started.Load() && p.Method != plan.ByLog {
		// If stdout is what failed, there is nobody to tell.
		_ = p.w.Status(p.Descriptor, protocol.Incomplete)
	}
	failure := p.failure.Load()
	switch {
	case failure != nil:
		return failure
	case err != nil:
		return nil //nolint:nilerr // Run returns err itself, once for all streams
	}
	return &protocol.Error{
		Kind: protocol.System, Stream: &p.Descriptor,
		Message: fmt.Sprintf("Stream %s was not read to its end.", p.Descriptor),
	}
}
