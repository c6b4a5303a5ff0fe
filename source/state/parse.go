package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
)

// A Set is the states that a sync was given. The zero Set has none.
type Set struct {
	Log     *Log // of a GLOBAL state, or nil
	streams map[protocol.StreamDescriptor]Stream
}

// Find is where stream d stopped; nil says: at the beginning. A state that came without a namespace serves the stream
// of its name.
func (s *Set) Find(d protocol.StreamDescriptor) Stream {
	if found, ok := s.streams[d]; ok {
		return found
	}
	return s.streams[protocol.StreamDescriptor{Name: d.Name}]
}

// Reached is how far the log has been sent for the stream that has come the farthest.
func (s *Set) Reached() pglogrepl.LSN {
	reached := s.Log.LSN
	for _, stream := range s.streams {
		if followed := Followed(stream); followed != nil {
			reached = max(reached, followed.From)
		}
	}
	return reached
}

// Parse reads the states of a sync of a database: a GLOBAL one if global, else STREAM ones, each also in the older
// shapes of Airbyte's connector. Every state that it cannot make sense of is a problem of its own; nothing is taken for
// empty that is not.
func Parse(states []protocol.State, global bool, database string) (*Set, error) {
	set := &Set{streams: map[protocol.StreamDescriptor]Stream{}}
	var problems []error
	states, err := upToDate(states)
	problems = append(problems, err)
	seen := false
	for _, st := range states {
		switch {
		case st.Type == protocol.TypeStream && !global:
			problems = append(problems, set.add(*st.Stream, nil))
		case st.Type == protocol.TypeGlobal && global:
			if seen {
				problems = append(problems, &protocol.Error{Kind: protocol.Config, Message: "There are two GLOBAL states."})
			}
			seen = true
			problems = append(problems, set.addGlobal(st.Global, database))
		default:
			problems = append(problems, &protocol.Error{
				Kind:    protocol.Config,
				Message: fmt.Sprintf("The state is of type %s, which belongs to another replication method.", st.Type),
				Hint:    "Nothing was read. Set the replication method back, or reset the connection to read everything again.",
			})
		}
	}
	return set, errors.Join(problems...)
}

// upToDate gives legacy states as those of today. Beside states of today they say the same once more.
func upToDate(states []protocol.State) ([]protocol.State, error) {
	typed := slices.ContainsFunc(states, func(s protocol.State) bool { return s.Type != protocol.TypeLegacy })
	var kept []protocol.State
	var problems []error
	for _, s := range states {
		switch {
		case s.Type != protocol.TypeLegacy:
			kept = append(kept, s)
		case !typed:
			now, err := modern(s.Data)
			if err != nil {
				problems = append(problems, malformed("The LEGACY state", err))
			}
			kept = append(kept, now...)
		}
	}
	return kept, errors.Join(problems...)
}

// addGlobal takes a GLOBAL state.
func (s *Set) addGlobal(g *protocol.GlobalState, database string) error {
	log, from, err := parseLog(g.Shared, database)
	if err != nil {
		return malformed("The shared state", err)
	}
	s.Log = log
	var problems []error
	for _, st := range g.Streams {
		problems = append(problems, s.add(st, from))
	}
	return errors.Join(problems...)
}

func malformed(what string, err error) *protocol.Error {
	return &protocol.Error{
		Kind: protocol.Config, Err: err,
		Message: fmt.Sprintf("%s cannot be read: %v.", what, err),
		Hint:    "Nothing was read. Give the state as an earlier sync wrote it, or reset to read again.",
	}
}

// add takes the state of one stream; from is what a GLOBAL state of Airbyte's connector hands over to it.
func (s *Set) add(st protocol.StreamState, from *handover) error {
	d := st.Descriptor
	parsed, inner, err := parseStream(st.State, from)
	if err != nil {
		e := malformed("The state of stream "+d.String(), err)
		e.Stream = &d
		return e
	}
	if d.Namespace == "" {
		d.Namespace = inner
	}
	if _, twice := s.streams[d]; twice {
		return &protocol.Error{
			Kind: protocol.Config, Stream: &d,
			Message: fmt.Sprintf("There are two states for stream %s.", d), Hint: "Give one state for each stream.",
		}
	}
	if parsed != nil {
		s.streams[d] = parsed
	}
	return nil
}

// parseStream reads a stream_state and the namespace it names; one that says nothing is nil.
func parseStream(text json.RawMessage, from *handover) (Stream, string, error) {
	var sh *shape
	if !saysNothing(text) {
		if err := json.Unmarshal(text, &sh); err != nil {
			return nil, "", fmt.Errorf("parse state: %w", err)
		}
	}
	s, err := sh.stream()
	if err != nil {
		return nil, "", err
	}
	if from != nil {
		s = from.follow(s, sh)
	}
	if sh == nil {
		return s, "", nil
	}
	return s, sh.Namespace, nil
}

// saysNothing reports that a state is absent, null or {}.
func saysNothing(text json.RawMessage) bool {
	text = bytes.TrimSpace(text)
	return len(text) == 0 || string(text) == "null" || string(text) == "{}"
}

// parseLog reads a shared_state; one that says nothing is nil. If it is one of Airbyte's connector it also gives what
// the streams take from it.
func parseLog(text json.RawMessage, database string) (*Log, *handover, error) {
	nothing := &handover{nowhere: true}
	if saysNothing(text) {
		return nil, nothing, nil
	}
	var sh struct {
		sharedShape
		Offsets json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(text, &sh); err != nil {
		return nil, nil, fmt.Errorf("parse state: %w", err)
	}
	switch {
	case sh.Type == "" && sh.Offsets != nil && saysNothing(sh.Offsets):
		return nil, nothing, nil
	case sh.Type == "" && sh.Offsets != nil:
		return parseOffsets(sh.Offsets, database)
	case sh.Type != typeFollow:
		return nil, nil, fmt.Errorf("it has the unknown state_type %q", sh.Type)
	}
	log, err := sh.log()
	return log, nil, err
}

// log reads the shape of our own.
func (sh *sharedShape) log() (*Log, error) {
	lsn, err := pglogrepl.ParseLSN(sh.LSN)
	if err != nil {
		return nil, fmt.Errorf("its lsn %q is not an LSN", sh.LSN)
	}
	log := &Log{LSN: lsn, Number: uint64(lsn), System: sh.System, Timeline: sh.Timeline}
	if sh.Number != "" {
		if log.Number, err = strconv.ParseUint(sh.Number, 10, 64); err != nil {
			return nil, fmt.Errorf("its last_ab_cdc_lsn %q is not a number", sh.Number)
		}
	}
	if sh.SentTo != "" {
		if log.Sent.To, err = pglogrepl.ParseLSN(sh.SentTo); err != nil {
			return nil, fmt.Errorf("its sent_to %q is not an LSN", sh.SentTo)
		}
		log.Sent.XID = sh.SentXID
	}
	return log, nil
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
