package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// A message is what the demo looks at of a line that the connector wrote.
type message struct {
	line []byte

	Type string
	Log  struct{ Level, Message string }
	Spec struct {
		ConnectionSpecification struct {
			Required   []string
			Properties map[string]struct{ Order int }
		}
	}
	ConnectionStatus struct{ Status, Message string }
	Catalog          struct{ Streams []json.RawMessage }
	Record           struct {
		Stream string
		Data   json.RawMessage
	}
	State struct {
		Stream struct {
			Descriptor descriptor      `json:"stream_descriptor"`
			State      json.RawMessage `json:"stream_state"`
		}
		SourceStats struct{ RecordCount float64 }
	}
	Trace struct {
		Type         string
		EmittedAt    float64 `json:"emitted_at"` // milliseconds since 1970
		Error        struct{ Message string }
		StreamStatus struct {
			Stream descriptor `json:"stream_descriptor"`
			Status string
		} `json:"stream_status"`
		Estimate struct {
			Name string
			Rows int64 `json:"row_estimate"`
		}
	}
}

type descriptor struct{ Name string }

// An output is what one run of the connector gave.
type output struct {
	messages []message
	took     time.Duration // from the start of the process to its end
}

// connector runs the connector with args in the demo's directory and gives all that it wrote. An exit code other than 0
// and a line that is no message are errors.
func (d *demo) connector(ctx context.Context, args ...string) (*output, error) {
	d.command("./" + binary + " " + strings.Join(args, " "))
	cmd := d.program(ctx, filepath.Join(d.dir, binary), args...)
	cmd.Dir = d.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	failure := cmd.Run()
	o := &output{took: time.Since(begin)}
	size := stdout.Len()
	for line := range bytes.Lines(stdout.Bytes()) {
		m := message{line: bytes.TrimSuffix(line, []byte("\n"))}
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("stdout has a line that is no message: %w: %s", err, fit(string(line), d.width))
		}
		o.messages = append(o.messages, m)
		if failure != nil && m.Trace.Type == "ERROR" {
			failure = fmt.Errorf("%w: %s", failure, m.Trace.Error.Message)
		}
	}
	if failure != nil {
		return nil, fmt.Errorf("run the connector: %w\n%s", failure, stderr.Bytes())
	}
	d.note(fmt.Sprintf("exit code 0 after %s; messages: %s, bytes: %s",
		took(o.took), grouped(int64(len(o.messages))), grouped(int64(size))))
	return o, nil
}

// only is the one message of a kind that the output must have.
func (o *output) only(kind string) (*message, error) {
	var found *message
	for i := range o.messages {
		if o.messages[i].Type != kind {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("more than one %s message", kind)
		}
		found = &o.messages[i]
	}
	if found == nil {
		return nil, fmt.Errorf("no %s message", kind)
	}
	return found, nil
}

// show writes the message on one line.
func (d *demo) show(m *message) {
	switch m.Type {
	case "LOG":
		d.message("LOG", "", m.Log.Level+" "+m.Log.Message)
	case "RECORD":
		d.message("RECORD", m.Record.Stream, string(m.Record.Data))
	case "STATE":
		d.message("STATE", m.State.Stream.Descriptor.Name, fmt.Sprintf("records %.0f, state %s",
			m.State.SourceStats.RecordCount, m.State.Stream.State))
	case "TRACE":
		switch m.Trace.Type {
		case "STREAM_STATUS":
			d.message("TRACE", m.Trace.StreamStatus.Stream.Name, m.Trace.StreamStatus.Status)
		case "ESTIMATE":
			d.message("TRACE", m.Trace.Estimate.Name, fmt.Sprintf("ESTIMATE rows %d", m.Trace.Estimate.Rows))
		default:
			d.message("TRACE", "", m.content())
		}
	case "CONNECTION_STATUS":
		d.message("STATUS", "", m.ConnectionStatus.Status+" "+m.ConnectionStatus.Message)
	default:
		d.message(m.Type, "", m.content())
	}
}

// content is the message without the object around it, which only repeats the type.
func (m *message) content() string {
	_, content, _ := bytes.Cut(m.line, []byte(`":{`))
	return "{" + strings.TrimSuffix(string(content), "}")
}
