package state

import (
	"encoding/json"
	"errors"
	"fmt"
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

// Parse reads the states of a sync: a GLOBAL one if global, else STREAM ones. Every state that it cannot make sense
// of is a problem of its own; nothing is taken for empty that is not.
func Parse(states []protocol.State, global bool) (*Set, error) {
	set := &Set{streams: map[protocol.StreamDescriptor]Stream{}}
	var problems []error
	for _, st := range states {
		switch {
		case st.Type == protocol.TypeStream && !global:
			problems = append(problems, set.add(*st.Stream))
		case st.Type == protocol.TypeGlobal && global:
			log, err := parseLog(st.Global.Shared)
			if err != nil {
				problems = append(problems, malformed("The shared state", err))
			}
			if set.Log != nil {
				problems = append(problems, &protocol.Error{Kind: protocol.Config, Message: "There are two GLOBAL states."})
			}
			set.Log = log
			for _, s := range st.Global.Streams {
				problems = append(problems, set.add(s))
			}
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

func malformed(what string, err error) *protocol.Error {
	return &protocol.Error{
		Kind: protocol.Config, Err: err,
		Message: fmt.Sprintf("%s cannot be read: %v.", what, err),
		Hint:    "Nothing was read. Give the state as an earlier sync wrote it, or reset to read again.",
	}
}

// add takes the state of one stream.
func (s *Set) add(st protocol.StreamState) error {
	d := st.Descriptor
	parsed, inner, err := parseStream(st.State)
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

// parseLog reads a shared_state; one that says nothing is nil.
func parseLog(text json.RawMessage) (*Log, error) {
	if len(text) == 0 || string(text) == "null" || string(text) == "{}" {
		return nil, nil
	}
	var sh shared
	if err := json.Unmarshal(text, &sh); err != nil {
		return nil, fmt.Errorf("parse state: %w", err)
	}
	if sh.Type != typeFollow {
		return nil, fmt.Errorf("it has the unknown state_type %q", sh.Type)
	}
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
	return log, nil
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
