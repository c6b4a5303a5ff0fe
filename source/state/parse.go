package state

import (
	"encoding/json"
	"errors"
	"fmt"

	"source-postgres/protocol"
)

// A Set is the states that a sync was given, by stream. The zero Set has none.
type Set struct {
	streams map[protocol.StreamDescriptor]Stream
}

// Find is where stream d stopped; nil says: at the beginning. A state that came without a namespace serves the stream of its
// name.
func (s *Set) Find(d protocol.StreamDescriptor) Stream {
	if found, ok := s.streams[d]; ok {
		return found
	}
	return s.streams[protocol.StreamDescriptor{Name: d.Name}]
}

// Parse reads the states of a sync that writes STREAM states. Every state that it cannot make sense of is a problem of its
// own; nothing is taken for empty that is not.
func Parse(states []protocol.State) (*Set, error) {
	set := &Set{streams: map[protocol.StreamDescriptor]Stream{}}
	var problems []error
	for _, st := range states {
		if st.Type != protocol.TypeStream {
			problems = append(problems, &protocol.Error{Kind: protocol.Config,
				Message: fmt.Sprintf("The state is of type %s, which belongs to another replication method.", st.Type),
				Hint:    "Set the replication method back, or reset the connection to read everything again."})
			continue
		}
		d := st.Stream.Descriptor
		s, inner, err := parseStream(st.Stream.State)
		if err != nil {
			problems = append(problems, &protocol.Error{Kind: protocol.Config, Stream: &d, Err: err,
				Message: fmt.Sprintf("The state of stream %s cannot be read: %v.", d, err),
				Hint:    "Give the state as an earlier sync wrote it, or reset the stream to read it again."})
			continue
		}
		if d.Namespace == "" {
			d.Namespace = inner
		}
		if _, twice := set.streams[d]; twice {
			problems = append(problems, &protocol.Error{Kind: protocol.Config, Stream: &d,
				Message: fmt.Sprintf("There are two states for stream %s.", d), Hint: "Give one state for each stream."})
		}
		if s != nil {
			set.streams[d] = s
		}
	}
	return set, errors.Join(problems...)
}

// parseStream reads a stream_state and the namespace it names; one that says nothing is nil.
func parseStream(text json.RawMessage) (Stream, string, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, "", nil
	}
	var sh shape
	if err := json.Unmarshal(text, &sh); err != nil {
		return nil, "", fmt.Errorf("parse state: %w", err)
	}
	s, err := sh.stream()
	return s, sh.Namespace, err
}
