package scan

import (
	"sync"

	"source-postgres/source/state"
)

// A task is one statement's worth of a stream, or none at all: a stream of which nothing is due has one task without
// a query.
type task struct {
	p     *progress
	query string
	args  [][]byte    // its parameters, as text
	types []uint32    // and their types
	done  state.Range // what has been read when the task is
	order order       // of the rows
}

// A queue hands out the tasks of a round. Streams are opened in order, one by one, and a stream is opened only when
// no other has a task to do: so one large table keeps every worker busy, and so do many small ones.
type queue struct {
	mu      sync.Mutex
	changed sync.Cond
	waiting []*progress // to be opened
	tasks   []task
	opening int // streams that a worker is making tasks of
	stopped bool
}

func newQueue(round []*progress) *queue {
	q := &queue{waiting: round}
	q.changed.L = &q.mu
	return q
}

// next gives a task, or else a stream to open; neither when the round is over. Whoever opens a stream calls opened.
func (q *queue) next() (task, *progress) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case len(q.tasks) > 0:
			t := q.tasks[0]
			q.tasks = q.tasks[1:]
			return t, nil
		case len(q.waiting) > 0:
			p := q.waiting[0]
			q.waiting = q.waiting[1:]
			q.opening++
			return task{}, p
		case q.opening == 0 || q.stopped:
			return task{}, nil
		}
		q.changed.Wait()
	}
}

// opened adds the tasks of a stream that was opened; a stream that failed has none.
func (q *queue) opened(tasks []task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opening--
	if !q.stopped {
		q.tasks = append(q.tasks, tasks...)
	}
	q.changed.Broadcast()
}

// stopOn, deferred by each worker, ends the round if it fails: workers that wait, and those that come, get nothing
// more.
func (q *queue) stopOn(err *error) {
	if *err == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting, q.tasks, q.stopped = nil, nil, true
	q.changed.Broadcast()
}
