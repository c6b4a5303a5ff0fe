package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A message is what the verifier looks at of a line.
type message struct {
	Type   string
	Record *struct {
		Stream    string
		Data      map[string]json.RawMessage
		EmittedAt int64 `json:"emitted_at"`
	}
	State json.RawMessage
	Trace *struct {
		Type  string
		Error *struct {
			Message     string
			FailureType string `json:"failure_type"`
		}
		Status *struct {
			Stream descriptor `json:"stream_descriptor"`
			Status string
		} `json:"stream_status"`
	}
	Log *struct{ Level, Message string }
}

type descriptor struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// A state is one that a platform keeps.
type state struct {
	Type   string       `json:"type"`
	Stream *streamState `json:"stream,omitempty"`
	Global *struct {
		Shared  shared        `json:"shared_state"`
		Streams []streamState `json:"stream_states"`
	} `json:"global,omitempty"`
	Stats struct {
		RecordCount json.Number `json:"recordCount"`
	} `json:"sourceStats"`
}

// finished reports that a full refresh has been.
func (s *state) finished() bool {
	var inner struct{ Finished bool }
	return s.Stream != nil && json.Unmarshal(s.Stream.State, &inner) == nil && inner.Finished
}

type streamState struct {
	Descriptor descriptor      `json:"stream_descriptor"`
	State      json.RawMessage `json:"stream_state"`
}

// shared is kept as it was written, but for the position.
type shared struct {
	text  json.RawMessage
	LSN   string
	ahead bool // a part of a transaction has been sent that is not over
}

// MarshalJSON gives what was read.
func (s shared) MarshalJSON() ([]byte, error) { return s.text, nil }

// UnmarshalJSON reads the position.
func (s *shared) UnmarshalJSON(text []byte) error {
	s.text = append(s.text[:0], text...)
	var position struct {
		LSN    string
		Ahead  int64  `json:"records_ahead"`
		SentTo string `json:"sent_to"`
	}
	err := json.Unmarshal(text, &position)
	s.LSN, s.ahead = position.LSN, position.Ahead > 0 || position.SentTo != ""
	return err
}

// parseLine reads a line of output.
func parseLine(line []byte) (*message, error) {
	m := &message{}
	if !utf8.Valid(line) {
		return nil, errors.New("invalid UTF-8")
	}
	if err := json.Unmarshal(line, m); err != nil {
		return nil, err
	}
	there := map[string]bool{
		"RECORD": m.Record != nil, "STATE": m.State != nil, "TRACE": m.Trace != nil, "LOG": m.Log != nil,
	}
	if !there[m.Type] {
		return nil, fmt.Errorf("type %q without what it names", m.Type)
	}
	return m, nil
}

// A row is a record as a destination takes it.
type row struct {
	stream, key, value string
	version            int64
	number             uint64 // _ab_cdc_lsn
	deleted            bool
	fromLog            bool // not of a first pass
}

// rowOf takes a record of t apart.
func rowOf(t *table, m *message) (row, error) {
	data := m.Record.Data
	r := row{stream: t.name, key: string(data["id"])}
	if t.parts > 0 {
		r.key += "/" + string(data["shard"])
	}
	if number := data["_ab_cdc_lsn"]; number != nil {
		var err error
		if r.number, err = strconv.ParseUint(string(number), 10, 64); err != nil {
			return r, fmt.Errorf("_ab_cdc_lsn: %w", err)
		}
		r.deleted = string(data["_ab_cdc_deleted_at"]) != "null"
		// Rows of a first pass bear the time at which the attempt began.
		var at time.Time
		if err := json.Unmarshal(data["_ab_cdc_updated_at"], &at); err != nil {
			return r, fmt.Errorf("_ab_cdc_updated_at: %w", err)
		}
		r.fromLog = at.UnixMilli() != m.Record.EmittedAt
	}
	if r.deleted {
		return r, nil
	}
	r.value = string(data["version"])
	if t.toast {
		var big string
		if err := json.Unmarshal(data["big"], &big); err != nil {
			return r, fmt.Errorf("big: %w", err)
		}
		first, _, _ := strings.Cut(big, " ")
		r.value += " " + first
	}
	if t.bank {
		r.value += " " + string(data["bal"])
	}
	var err error
	r.version, err = strconv.ParseInt(string(data["version"]), 10, 64)
	return r, err
}
