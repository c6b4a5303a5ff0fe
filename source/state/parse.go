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

// parseStream reads a stream_state and the namespace it names; absent, null and {} are no state.
func parseStream(text json.RawMessage) (Stream, string, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, "", nil
	}
	var sh shape
	if err := json.Unmarshal(text, &sh); err != nil {
		return nil, "", fmt.Errorf("parse state: %w", err)
	}
	switch sh.Type {
	case "":
		return nil, sh.Namespace, nil
	case typeWhole:
		return &Whole{SyncID: sh.SyncID}, sh.Namespace, nil
	case typeCtid:
		s, err := sh.parseCtid()
		return s, sh.Namespace, err
	}
	return nil, "", fmt.Errorf("it has the unknown state_type %q", sh.Type)
}

func (sh *shape) parseCtid() (Stream, error) {
	s := &Ctid{Snapshot: sh.Snapshot, Finished: sh.Finished, SyncID: sh.SyncID}
	if sh.Filenode == nil {
		return nil, errors.New("it has no relation_filenode")
	}
	s.Filenode = *sh.Filenode
	var block int64
	var tuple int
	if _, err := fmt.Sscanf(sh.Ctid, "(%d,%d)", &block, &tuple); err != nil || block < 0 || block >= End {
		return nil, fmt.Errorf("its ctid %q is not of the form (block,tuple)", sh.Ctid)
	}
	if tuple >= lastTuple {
		block++ // the whole block has been read
	}
	s.Done = s.Done.Add(Range{0, block})
	for _, r := range sh.Ranges {
		if r[0] < 0 || r[1] < r[0] || r[1] > End {
			return nil, fmt.Errorf("its range %v is not one of blocks", r)
		}
		s.Done = s.Done.Add(Range{r[0], r[1]})
	}
	if s.Finished && !s.Done.Complete() {
		return nil, errors.New("it says that it is finished, but blocks are missing")
	}
	return s, nil
}
