package scan

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"source-postgres/protocol"
	"source-postgres/source/plan"
)

func stream(name string) *progress {
	return &progress{Stream: &plan.Stream{Descriptor: protocol.StreamDescriptor{Name: name}}}
}

// tasksOf are n tasks of p, told apart by their queries.
func tasksOf(p *progress, n int) []task {
	var tasks []task
	for i := range n {
		tasks = append(tasks, task{p: p, query: p.Descriptor.Name + string(rune('0'+i))})
	}
	return tasks
}

// A stream is opened when no other has a task left, in the order of the streams.
func TestTasksGoBeforeStreams(t *testing.T) {
	a, b := stream("a"), stream("b")
	q := newQueue([]*progress{a, b})
	if _, p := q.next(); p != a {
		t.Fatal("the first stream is not opened first")
	}
	q.opened(tasksOf(a, 2))
	for _, want := range []string{"a0", "a1"} {
		if got, p := q.next(); p != nil || got.query != want {
			t.Fatalf("task %q, stream %v; want task %s", got.query, p, want)
		}
	}
	if _, p := q.next(); p != b {
		t.Fatal("the second stream is not opened")
	}
	q.opened(nil) // it failed
	if got, p := q.next(); got.p != nil || p != nil {
		t.Errorf("the queue is empty, but gives %q, %v", got.query, p)
	}
}

// While a stream is being opened other workers open the next, and wait when there is none.
func TestWorkersWaitForTasks(t *testing.T) {
	a, b := stream("a"), stream("b")
	q := newQueue([]*progress{a, b})
	q.next()
	q.next()
	got := make(chan task)
	for range 3 {
		go func() {
			next, _ := q.next()
			got <- next
		}()
	}
	q.opened(tasksOf(b, 1))
	if first := <-got; first.p != b {
		t.Errorf("task %q, want one of the stream that was opened", first.query)
	}
	q.opened(tasksOf(a, 1))
	rest := []*progress{(<-got).p, (<-got).p}
	if !slices.Contains(rest, a) || !slices.Contains(rest, nil) {
		t.Error("the two other workers do not get the one task and the end")
	}
}

// A worker that fails ends the round for those that wait and those that come; tasks of streams that were being opened
// are dropped.
func TestFailureEndsTheRound(t *testing.T) {
	a, b, c := stream("a"), stream("b"), stream("c")
	q := newQueue([]*progress{a, b, c})
	q.next()
	q.next()
	q.opened(tasksOf(a, 3))
	q.next()
	var none error
	q.stopOn(&none)
	if next, _ := q.next(); next.query != "a1" {
		t.Fatalf("no worker failed, but the queue gives %q", next.query)
	}
	err := errors.New("connection lost")
	q.stopOn(&err)
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if next, p := q.next(); next.p != nil || p != nil {
				t.Errorf("the round is over, but the queue gives %q, %v", next.query, p)
			}
		})
	}
	q.opened(tasksOf(b, 1))
	waiting.Wait()
	if next, p := q.next(); next.p != nil || p != nil {
		t.Errorf("the round is over, but the queue gives %q, %v", next.query, p)
	}
}

// Whatever number of workers and tasks, each task is done once.
func TestEveryTaskIsGivenOnce(t *testing.T) {
	var round []*progress
	for i := range 50 {
		round = append(round, stream(string(rune('A'+i))))
	}
	q := newQueue(round)
	var mu sync.Mutex
	done := map[string]int{}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for {
				next, p := q.next()
				switch {
				case p != nil:
					q.opened(tasksOf(p, int(p.Descriptor.Name[0])%7))
				case next.p == nil:
					return
				default:
					mu.Lock()
					done[next.query]++
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	want := 0
	for _, p := range round {
		want += int(p.Descriptor.Name[0]) % 7
	}
	if len(done) != want {
		t.Errorf("%d tasks were given, want %d", len(done), want)
	}
	for query, times := range done {
		if times != 1 {
			t.Errorf("task %s was given %d times", query, times)
		}
	}
}
