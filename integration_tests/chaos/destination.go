package main

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
)

// An event is a record that a destination has stored, or a state that the platform has.
type event struct {
	row   *row
	state *state // the row is nil
}

// A channel is what one sequence of states is about: one stream, or, where the state is GLOBAL, all of them. It has
// what destination and platform have of it, in the order in which it came.
type channel struct {
	streams []string
	events  []event
	clean   bool // nothing that came after the last state that was given is there
}

// remembered is how many states back a platform may go.
const remembered = 20

// states are the places of the states that a platform may go back to: the last ones, and of CDC none before the one
// that an attempt was given, since that lets the server forget what came before.
func (c *channel) states() []int {
	var places []int
	for i, e := range c.events {
		if e.state != nil {
			places = append(places, i)
		}
	}
	return places[max(0, len(places)-remembered):]
}

// resume chooses the state for the next attempt: mostly the last one, sometimes an older one, sometimes none. The
// destination may have lost what came after it.
func (c *channel) resume(r *rand.Rand, mishaps bool) *state {
	places := c.states()
	fate, pick, keeps := r.IntN(40), r.IntN(1<<20), r.IntN(2) == 0
	if len(places) == 0 || mishaps && fate == 0 {
		c.forget()
		return nil
	}
	at := places[len(places)-1]
	if mishaps && fate < 8 {
		at = places[pick%len(places)]
	}
	given := c.events[at].state
	var kept []event
	for i, e := range c.events {
		// States before the chosen one are still there for a stream; those of CDC may be beyond what the slot has.
		if e.state != nil && i <= at && given.Global == nil || e.row != nil && (i < at || keeps) {
			kept = append(kept, e)
		}
	}
	if given.Global != nil {
		kept = append(kept, event{state: given})
	}
	c.events, c.clean = kept, !keeps || at == len(c.events)-1
	return given
}

// drop is the reset of one stream of a CDC connection: its state and its rows go.
func (c *channel) drop(given *state, stream string) *state {
	text, _ := json.Marshal(given) // it came as JSON
	reset := &state{}
	_ = json.Unmarshal(text, reset)
	reset.Global.Streams = slices.DeleteFunc(reset.Global.Streams, func(s streamState) bool {
		return s.Descriptor.Name == stream
	})
	c.events = slices.DeleteFunc(c.events, func(e event) bool {
		return e.state != nil || e.row.stream == stream
	})
	c.events = append(c.events, event{state: reset})
	return reset
}

// forget is a reset of everything.
func (c *channel) forget() { c.events, c.clean = nil, true }

// know drops the rows of streams of which the state says nothing: a stream that is read from its beginning is read
// into an empty destination.
func (c *channel) know(given *state) {
	if given == nil || given.Global == nil {
		return
	}
	known := map[string]bool{}
	for _, s := range given.Global.Streams {
		known[s.Descriptor.Name] = stateType(s.State) != ""
	}
	c.events = slices.DeleteFunc(c.events, func(e event) bool { return e.row != nil && !known[e.row.stream] })
}

func stateType(text json.RawMessage) string {
	var s struct {
		Type string `json:"state_type"`
	}
	_ = json.Unmarshal(text, &s) // no object, no type
	return s.Type
}

// compact throws away events that no fold and no platform needs any more: of each row all but the last and the
// greatest.
func (c *channel) compact() {
	places := c.states()
	if len(c.events) < 50_000 || len(places) == 0 {
		return
	}
	end := places[0]
	last, greatest := map[string]int{}, map[string]int{}
	for i, e := range c.events[:end] {
		if e.row == nil {
			continue
		}
		key := e.row.stream + " " + e.row.key
		last[key] = i
		if j, ok := greatest[key]; !ok || e.row.number >= c.events[j].row.number {
			greatest[key] = i
		}
	}
	needed := map[int]bool{}
	for key := range last {
		needed[last[key]], needed[greatest[key]] = true, true
	}
	var kept []event
	for i, e := range c.events {
		if i >= end || needed[i] {
			kept = append(kept, e)
		}
	}
	c.events = kept
}

// A fold is what a destination has of one stream: the value of each row by its key.
type fold map[string]string

// folds are the two ways to make one of the records: what came last holds, or what has the greatest number.
func (c *channel) folds(stream string) (arrival, greatest fold) {
	arrival, greatest = fold{}, fold{}
	numbers := map[string]uint64{}
	for _, e := range c.events {
		if e.row == nil || e.row.stream != stream {
			continue
		}
		arrival.take(e.row)
		if e.row.number >= numbers[e.row.key] {
			numbers[e.row.key] = e.row.number
			greatest.take(e.row)
		}
	}
	return arrival, greatest
}

func (f fold) take(r *row) {
	if r.deleted {
		delete(f, r.key)
		return
	}
	f[r.key] = r.value
}

// differ gives up to five keys in which the rows of a table and a fold differ; exact: the fold may have no other rows.
func differ(rows map[string]string, f fold, exact bool) []string {
	var keys []string
	for key, value := range rows {
		if f[key] != value {
			keys = append(keys, key)
		}
	}
	for key := range maps.Keys(f) {
		if _, there := rows[key]; exact && !there {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
