package scan

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"source-postgres/protocol"
	"source-postgres/source/plan"
	"source-postgres/source/state"
)

// A task is one statement's worth of a stream.
type task struct {
	p     *progress
	where string      // SQL condition; empty: every row
	done  state.Range // what has been read when the task is; empty for rows read once more
}

// A progress is how far a stream has come in this sync. Workers share it: done and left are guarded by the Writer's lock,
// under which Checkpoint calls take.
type progress struct {
	*plan.Stream
	w *protocol.Writer

	tasks    []task
	filenode uint64
	snapshot string // of the first attempt
	done     state.Blocks
	left     int

	start     sync.Once
	began     time.Time
	started   atomic.Bool
	complete  atomic.Bool
	rewritten atomic.Bool
	rows      atomic.Int64
	logged    atomic.Int64 // when the last progress log was, in unix seconds
	failure   atomic.Pointer[protocol.Error]
}

// plan makes the tasks: the ranges not read yet, and, where an earlier attempt read others under an older snapshot, the rows
// of those that were written since. now is this sync's snapshot.
func (p *progress) plan(now Snapshot) {
	p.tasks, p.snapshot, p.done = nil, now.Text, nil
	if !p.Paged || p.Done || len(p.Columns) == 0 {
		p.tasks = []task{{p: p, done: state.Range{From: 0, To: state.End}}}
		p.left = 1
		return
	}
	storage := p.Table.Storage
	p.filenode = storage.Filenode
	if p.From != nil {
		p.done = p.From.Done
		p.planAgain(now)
	}
	for _, r := range plan.Ranges(storage, p.done.Missing()) {
		p.tasks = append(p.tasks, task{p: p, where: inBlocks(r), done: r})
	}
	p.left = len(p.tasks)
}

// planAgain adds the tasks for rows in finished ranges that were written since the attempt that finished them: an update may
// have moved a row there from a range that is still to be read.
func (p *progress) planAgain(now Snapshot) {
	then, err := ParseSnapshot(p.From.Snapshot)
	if err != nil {
		slog.Warn("the state does not say under which snapshot it was written: rows that were updated between the two "+
			"attempts may be missing until the next full refresh", "stream", p.Descriptor)
		return
	}
	p.snapshot = then.Text
	condition, none := now.writtenSince(then.Xmin)
	if none {
		return
	}
	for _, r := range plan.Ranges(p.Table.Storage, p.done) {
		where := inBlocks(r)
		if condition != "" && where != "" {
			where += " AND "
		}
		p.tasks = append(p.tasks, task{p: p, where: where + condition})
	}
}

// inBlocks is the SQL condition for the rows in r. From version 14 on the server reads just these blocks for it.
func inBlocks(r state.Range) string {
	switch {
	case r.From == 0 && r.To >= state.End:
		return ""
	case r.To >= state.End:
		return fmt.Sprintf("ctid >= '(%d,0)'", r.From)
	}
	return fmt.Sprintf("ctid >= '(%d,0)' AND ctid < '(%d,0)'", r.From, r.To)
}

// begin reports, once, that the stream is being read.
func (p *progress) begin() (err error) {
	p.start.Do(func() {
		p.began = time.Now()
		p.logged.Store(p.began.Unix())
		p.started.Store(true)
		var rows, bytes int64
		if s := p.Table.Storage; s != nil {
			rows, bytes = s.Rows, s.Bytes
		}
		slog.Info("stream begins", "stream", p.Descriptor, "rows_estimated", rows, "ranges", len(p.tasks))
		if err = p.w.Status(p.Descriptor, protocol.Started); err == nil && rows > 0 {
			err = p.w.Estimate(p.Descriptor, rows, bytes)
		}
		if err == nil {
			err = p.w.Status(p.Descriptor, protocol.Running)
		}
	})
	return err
}

// read notes rows that have been read, and logs how the stream comes on, every progressInterval.
func (p *progress) read(rows int64) {
	total := p.rows.Add(rows)
	last, now := p.logged.Load(), time.Now()
	if now.Unix()-last < progressInterval || !p.logged.CompareAndSwap(last, now.Unix()) {
		return
	}
	args := []any{"stream", p.Descriptor, "rows", total, "rows_per_second", int64(float64(total) / now.Sub(p.began).Seconds())}
	if s := p.Table.Storage; s != nil && s.Rows > 0 {
		args = append(args, "percent_estimated", min(100*total/s.Rows, 100))
	}
	slog.Info("stream goes on", args...)
}

// progressInterval is the time between two progress logs of a stream, in seconds.
const progressInterval = 30

// finish notes that t has been read and writes the state that says so, after t's records. The last task completes the stream.
func (p *progress) finish(e *protocol.Emitter, t task) error {
	last := false
	err := e.Checkpoint(func() protocol.State {
		p.done = p.done.Add(t.done)
		p.left--
		last = p.left == 0
		return state.Message(p.Descriptor, p.state(last))
	})
	if err != nil || !last {
		return err
	}
	p.complete.Store(true)
	slog.Info("stream complete", "stream", p.Descriptor, "rows", p.rows.Load(),
		"seconds", fmt.Sprintf("%.1f", time.Since(p.began).Seconds()))
	return p.w.Status(p.Descriptor, protocol.Complete)
}

func (p *progress) state(finished bool) state.Stream {
	if !p.Paged {
		return &state.Whole{SyncID: p.SyncID}
	}
	s := &state.Ctid{Filenode: p.filenode, Done: p.done, Snapshot: p.snapshot, Finished: finished}
	if finished {
		s.SyncID = p.SyncID
	}
	return s
}

// restart forgets what has been read: the blocks are others now.
func (p *progress) restart() {
	p.rewritten.Store(false)
	p.From = nil
}

// fail notes why the stream cannot be read; the first reason stays.
func (p *progress) fail(err *protocol.Error) {
	p.failure.CompareAndSwap(nil, err)
}

// end gives the stream its terminal status, if it has none yet, and returns why it failed. err is what stopped the whole scan.
func (p *progress) end(err error) error {
	if p.complete.Load() {
		return nil
	}
	if p.started.Load() {
		// If stdout is what failed, there is nobody to tell.
		_ = p.w.Status(p.Descriptor, protocol.Incomplete)
	}
	if failure := p.failure.Load(); failure != nil {
		return failure
	}
	if err != nil {
		return nil
	}
	return &protocol.Error{Kind: protocol.System, Stream: &p.Descriptor,
		Message: fmt.Sprintf("Stream %s was not read to its end.", p.Descriptor)}
}
