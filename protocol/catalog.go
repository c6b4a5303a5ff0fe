package protocol

// A SyncMode is how a stream is read.
type SyncMode string

// The two modes that a source knows.
const (
	FullRefresh SyncMode = "full_refresh"
	Incremental SyncMode = "incremental"
)

// AppendDedup is the mode of a destination that keeps one row for each value of the primary key.
const AppendDedup = "append_dedup"

// A StreamDescriptor names a stream: for PostgreSQL the table and, as namespace, its schema. It is comparable and
// written the same in every message.
type StreamDescriptor struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// String is "namespace.name", for people.
func (d StreamDescriptor) String() string {
	if d.Namespace == "" {
		return d.Name
	}
	return d.Namespace + "." + d.Name
}

// A Catalog is what discover found.
type Catalog struct {
	Streams []Stream `json:"streams"`
}

// A Stream is one table as discover offers it. SupportedSyncModes has FullRefresh first (two test harnesses take the
// first); SourceDefinedPrimaryKey has one inner list a key column, in key order, and is never null.
type Stream struct {
	Name                    string     `json:"name"`
	Namespace               string     `json:"namespace,omitempty"`
	JSONSchema              Schema     `json:"json_schema"`
	SupportedSyncModes      []SyncMode `json:"supported_sync_modes"`
	SourceDefinedCursor     bool       `json:"source_defined_cursor"`
	DefaultCursorField      []string   `json:"default_cursor_field"`
	SourceDefinedPrimaryKey [][]string `json:"source_defined_primary_key"`
	IsResumable             bool       `json:"is_resumable"`
}

// Descriptor names the stream.
func (s *Stream) Descriptor() StreamDescriptor {
	return StreamDescriptor{Name: s.Name, Namespace: s.Namespace}
}

// A Schema is the JSON schema of a stream's records: an object, every property of which may be absent or null.
type Schema struct {
	Type       string              `json:"type"`
	Properties map[string]Property `json:"properties"`
}

// A ConfiguredCatalog is what the platform asks a read for.
type ConfiguredCatalog struct {
	Streams []ConfiguredStream `json:"streams"`
}

// A ConfiguredStream is one stream to read. Stream.JSONSchema.Properties holds the selected columns, which may be
// fewer than the table has. Fields of the protocol that only a destination needs are left out.
type ConfiguredStream struct {
	Stream              Stream     `json:"stream"`
	SyncMode            SyncMode   `json:"sync_mode"`
	DestinationSyncMode string     `json:"destination_sync_mode"` // only AppendDedup matters to a source
	CursorField         []string   `json:"cursor_field"`
	PrimaryKey          [][]string `json:"primary_key"`
	SyncID              *int64     `json:"sync_id"`
	GenerationID        *int64     `json:"generation_id"`
}
