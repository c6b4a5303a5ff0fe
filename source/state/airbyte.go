package state

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
)

// The values of state_type in version 3 of Airbyte's connector.
const (
	type3Ctid   = "ctid_based"
	type3Cursor = "cursor_based"
	type3Xmin   = "xmin_based"
)

// version3 reads a state of version 3. A pass that is under way has a ctid, whatever the type says; one that is over
// has none, and what comes after it has cursors or an xmin.
func (sh *shape) version3() (Stream, error) {
	switch sh.Type {
	case type3Ctid, type3Cursor, type3Xmin:
	default:
		return nil, fmt.Errorf("it has the unknown state_type %q of version 3", sh.Type)
	}
	var then Stream
	switch {
	case len(sh.Cursors) > 1:
		return nil, errors.New("it has several cursors")
	case len(sh.Cursors) == 1:
		for field, value := range sh.Cursors {
			text, err := cursorText(value)
			if err != nil {
				return nil, err
			}
			then = &Cursor{Field: field, Value: text}
		}
	case sh.Xmin != nil:
		inner := shape{XminValue: sh.Xmin}
		bound, err := inner.parseXmin(Mark{})
		if err != nil {
			return nil, err
		}
		then = bound
	}
	switch {
	case sh.Ctid != "":
		s := &Ctid{Then: then}
		if err := sh.parsePlace(s); err != nil {
			return nil, err
		}
		s.findMoved()
		return s, nil
	case then != nil:
		return then, nil
	case sh.Type == type3Ctid:
		return &Whole{}, nil
	}
	return nil, errors.New("it has neither a ctid nor cursors nor an xmin")
}

// cursorText is the text of a cursor's value: a string, a number or null.
func cursorText(value json.RawMessage) (*string, error) {
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		return nil, fmt.Errorf("parse cursor: %w", err)
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return &v, nil
	case float64:
		text := string(value) // with all its digits
		return &text, nil
	}
	return nil, fmt.Errorf("its cursor %s is neither a text nor a number", value)
}

// A handover is what the streams of a GLOBAL state of Airbyte's connector take from the shared part of it.
type handover struct {
	nowhere bool          // it says nothing
	at      pglogrepl.LSN // everything that committed before has been sent
	still   bool          // the log has not been read yet: the position is the one at which the first pass began
}

// follow makes of a stream's state in Airbyte's terms one in ours. Its pass is over if a positive mark says so: the
// name with a cursor_field but without a cursor, or in version 3 a pass without a ctid. Of all other streams the
// changes since the position are sent, and then the pass goes on: the log has the rows that have moved, and the deletes
// of those that are gone. The pass begins again where nothing says how far it had come; and where version 3 has read
// the log meanwhile, of which it is not known whether it sends changes of streams that it has not finished.
func (h *handover) follow(s Stream, sh *shape) Stream {
	since := &Follow{From: h.at}
	switch s := s.(type) {
	case nil:
		if sh != nil && sh.Type == "" && sh.Name != "" && sh.CursorField != nil {
			return since
		}
		if h.nowhere {
			return nil
		}
		return &Ctid{Then: since}
	case *Whole:
		return since
	case *Ctid:
		if s.Snapshot != "" || s.Then != nil {
			return s
		}
		if s.Then = since; sh.Version == 3 && !h.still {
			s.Done, s.Tuple = nil, 0
		}
	}
	return s
}

// legacy is the shape of a state before there were STREAM and GLOBAL ones.
type legacy struct {
	CDC     *bool             `json:"cdc"`
	Shared  json.RawMessage   `json:"cdc_state"`
	Streams []json.RawMessage `json:"streams"`
}

// modern gives a legacy state as states of today.
func modern(data json.RawMessage) ([]protocol.State, error) {
	var l legacy
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("parse state: %w", err)
	}
	if l.CDC == nil && l.Shared == nil && l.Streams == nil {
		return nil, errors.New("it has neither streams nor cdc_state")
	}
	streams := []protocol.StreamState{}
	for _, text := range l.Streams {
		var sh shape
		if err := json.Unmarshal(text, &sh); err != nil {
			return nil, fmt.Errorf("parse state: %w", err)
		}
		if sh.Name == "" {
			return nil, errors.New("one of its streams has no stream_name")
		}
		d := protocol.StreamDescriptor{Name: sh.Name, Namespace: sh.Namespace}
		streams = append(streams, protocol.StreamState{Descriptor: d, State: text})
	}
	if !saysNothing(l.Shared) || l.CDC != nil && *l.CDC {
		return []protocol.State{{
			Type: protocol.TypeGlobal, Global: &protocol.GlobalState{Shared: l.Shared, Streams: streams},
		}}, nil
	}
	var states []protocol.State
	for i := range streams {
		states = append(states, protocol.State{Type: protocol.TypeStream, Stream: &streams[i]})
	}
	return states, nil
}
