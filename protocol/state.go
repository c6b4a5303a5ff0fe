package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// A StateType says what a state covers.
type StateType string

// TypeStream covers one stream, TypeGlobal all of them, TypeLegacy (input only) is the shape before both.
const (
	TypeStream StateType = "STREAM"
	TypeGlobal StateType = "GLOBAL"
	TypeLegacy StateType = "LEGACY"
)

// A State says where a read may go on. A connector fills in Type and either Stream or Global; the writer fills in the
// stats. On input every other field that a platform may have added is passed over.
type State struct {
	Type   StateType       `json:"type"`
	Stream *StreamState    `json:"stream,omitempty"`
	Global *GlobalState    `json:"global,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"` // LEGACY, input only
	Stats  *Stats          `json:"sourceStats,omitempty"`
}

// A StreamState is the state of one stream. An absent or null State means: this stream starts over.
type StreamState struct {
	Descriptor StreamDescriptor `json:"stream_descriptor"`
	State      json.RawMessage  `json:"stream_state,omitempty"`
}

// A GlobalState is a state that all streams share, with the state of each.
type GlobalState struct {
	Shared  json.RawMessage `json:"shared_state,omitempty"`
	Streams []StreamState   `json:"stream_states"`
}

// Stats go with a state that is written.
type Stats struct {
	RecordCount Count `json:"recordCount"` // records since the previous state of the same stream, or of all for GLOBAL
}

// A Count is written with a decimal point, as the protocol demands: destinations compare it as a double.
type Count int64

// MarshalJSON writes 3 as 3.0.
func (c Count) MarshalJSON() ([]byte, error) {
	return append(strconv.AppendInt(nil, int64(c), 10), '.', '0'), nil
}

// UnmarshalJSON reads any JSON number.
func (c *Count) UnmarshalJSON(text []byte) error {
	var f float64
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	*c = Count(f)
	return nil
}

// ParseStates reads the content of a --state file: an array of states, one bare legacy object, or nothing in any of the
// ways in which platforms say so (an empty file, null, [], {}).
func ParseStates(text []byte) ([]State, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	if text[0] == '{' {
		return parseLegacy(text)
	}
	var states []State
	if err := json.Unmarshal(text, &states); err != nil {
		return nil, fmt.Errorf("parse state: %w", err)
	}
	kept := states[:0]
	for _, s := range states {
		switch {
		case s.Type == TypeStream && s.Stream == nil, s.Type == TypeGlobal && s.Global == nil:
			return nil, errors.New("parse state: a " + string(s.Type) + " state has no content")
		case s.Type == "" || s.Type == TypeLegacy:
			if isEmptyObject(s.Data) {
				continue
			}
			s.Type = TypeLegacy
		case s.Type != TypeStream && s.Type != TypeGlobal:
			return nil, fmt.Errorf("parse state: unknown type %q", s.Type)
		case s.Type == TypeStream && s.Stream.Descriptor.Name == "",
			s.Type == TypeGlobal && slices.ContainsFunc(s.Global.Streams, nameless):
			return nil, errors.New("parse state: the state of a stream does not say of which one")
		}
		kept = append(kept, s)
	}
	return kept, nil
}

func nameless(s StreamState) bool { return s.Descriptor.Name == "" }

// parseLegacy reads a bare object: either one state message's state, or the data of a legacy state.
func parseLegacy(text []byte) ([]State, error) {
	if isEmptyObject(text) {
		return nil, nil
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("parse state: %w", err)
	}
	if s.Type != "" {
		return ParseStates(append(append([]byte{'['}, text...), ']'))
	}
	return []State{{Type: TypeLegacy, Data: text}}, nil
}

func isEmptyObject(text []byte) bool {
	var fields map[string]json.RawMessage
	return len(text) == 0 || json.Unmarshal(text, &fields) == nil && len(fields) == 0
}
