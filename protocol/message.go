package protocol

import "encoding/json"

// A Message is one line of stdout: Type names the field that is set. Records are not made with it: Emitter writes their
// lines directly.
type Message struct {
	Type             MessageType       `json:"type"`
	Log              *Log              `json:"log,omitempty"`
	Spec             json.RawMessage   `json:"spec,omitempty"`
	ConnectionStatus *ConnectionStatus `json:"connectionStatus,omitempty"`
	Catalog          *Catalog          `json:"catalog,omitempty"`
	State            *State            `json:"state,omitempty"`
	Trace            *Trace            `json:"trace,omitempty"`
	Control          *Control          `json:"control,omitempty"`
}

// A MessageType names the kind of a message.
type MessageType string

// The messages that a source sends.
const (
	RecordMessage           MessageType = "RECORD"
	StateMessage            MessageType = "STATE"
	LogMessage              MessageType = "LOG"
	SpecMessage             MessageType = "SPEC"
	ConnectionStatusMessage MessageType = "CONNECTION_STATUS"
	CatalogMessage          MessageType = "CATALOG"
	TraceMessage            MessageType = "TRACE"
	ControlMessage          MessageType = "CONTROL"
)

// A Log is a line of log.
type Log struct {
	Level   string `json:"level"` // FATAL, ERROR, WARN, INFO, DEBUG or TRACE
	Message string `json:"message"`
}

// A ConnectionStatus answers check.
type ConnectionStatus struct {
	Status  CheckStatus `json:"status"`
	Message string      `json:"message,omitempty"`
}

// A CheckStatus is the outcome of check.
type CheckStatus string

// The two outcomes.
const (
	Succeeded CheckStatus = "SUCCEEDED"
	Failed    CheckStatus = "FAILED"
)

// A Trace carries what is neither data nor log; Type names the field that is set.
type Trace struct {
	Type         TraceType     `json:"type"`
	EmittedAt    int64         `json:"emitted_at"` // milliseconds since 1970
	Error        *TraceError   `json:"error,omitempty"`
	Estimate     *Estimate     `json:"estimate,omitempty"`
	StreamStatus *StreamStatus `json:"stream_status,omitempty"`
	Analytics    *Analytics    `json:"analytics,omitempty"`
}

// A TraceType names the kind of a trace.
type TraceType string

// The kinds of trace.
const (
	ErrorTrace        TraceType = "ERROR"
	EstimateTrace     TraceType = "ESTIMATE"
	StreamStatusTrace TraceType = "STREAM_STATUS"
	AnalyticsTrace    TraceType = "ANALYTICS"
)

// A TraceError is what the platform shows of a failure.
type TraceError struct {
	Message         string            `json:"message"`
	InternalMessage string            `json:"internal_message,omitempty"`
	StackTrace      string            `json:"stack_trace,omitempty"`
	FailureType     FailureType       `json:"failure_type"`
	Stream          *StreamDescriptor `json:"stream_descriptor,omitempty"`
}

// An Estimate says how much a stream will send, by the server's statistics. Only STREAM estimates are sent: the
// protocol forbids a mixture with SYNC ones.
type Estimate struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Type      string `json:"type"` // STREAM
	Rows      int64  `json:"row_estimate"`
	Bytes     int64  `json:"byte_estimate"`
}

// A StreamStatus says where a stream stands.
type StreamStatus struct {
	Stream StreamDescriptor `json:"stream_descriptor"`
	Status Status           `json:"status"`
}

// A Status is the state of a stream within one read.
type Status string

// A stream goes from Started to Running (with its first record, or before its end) to Complete or Incomplete, once.
const (
	Started    Status = "STARTED"
	Running    Status = "RUNNING"
	Complete   Status = "COMPLETE"
	Incomplete Status = "INCOMPLETE"
)

// Analytics counts an event for the platform's statistics.
type Analytics struct {
	Type  string `json:"type"`
	Value string `json:"value,omitempty"`
}

// Control asks the platform to keep changed settings.
type Control struct {
	Type            string           `json:"type"` // CONNECTOR_CONFIG
	EmittedAt       int64            `json:"emitted_at"`
	ConnectorConfig *ConnectorConfig `json:"connectorConfig,omitempty"`
}

// A ConnectorConfig holds the settings that a Control message asks to keep.
type ConnectorConfig struct {
	Config json.RawMessage `json:"config"`
}
