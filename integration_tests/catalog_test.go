package integration

import (
	"encoding/json"
	"slices"
	"testing"
)

// A catalog is what discover finds. Its fields are the protocol's.
type catalog struct {
	Streams []stream `json:"streams"`
}

type stream struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
	JSONSchema struct {
		Type       string                     `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
	} `json:"json_schema"`
	SyncModes     []string   `json:"supported_sync_modes"`
	OwnCursor     bool       `json:"source_defined_cursor"`
	DefaultCursor []string   `json:"default_cursor_field"`
	PrimaryKey    [][]string `json:"source_defined_primary_key"`
	Resumable     bool       `json:"is_resumable"`
}

func (s *stream) name() streamName { return streamName{s.Name, s.Namespace} }

// A configuredCatalog is what a read is asked for.
type configuredCatalog struct {
	Streams []configuredStream `json:"streams"`
}

type configuredStream struct {
	Stream              stream     `json:"stream"`
	SyncMode            string     `json:"sync_mode"`
	DestinationSyncMode string     `json:"destination_sync_mode"`
	CursorField         []string   `json:"cursor_field"`
	PrimaryKey          [][]string `json:"primary_key"`
	GenerationID        int64      `json:"generation_id"`
	MinimumGenerationID int64      `json:"minimum_generation_id"`
	SyncID              int64      `json:"sync_id"`
}

// discover runs discover and gives its catalog.
func discover(t *testing.T, config map[string]any) *catalog {
	t.Helper()
	return run(t, "discover", input{config: config}).ok().catalog()
}

// find gives the stream ("table" or "schema.table"); the test ends if there is none.
func (c *catalog) find(t *testing.T, name string) *stream {
	t.Helper()
	for i := range c.Streams {
		if c.Streams[i].name().is(name) {
			return &c.Streams[i]
		}
	}
	t.Fatalf("the catalog has no stream %s", name)
	return nil
}

// configure selects streams ("table" or "schema.table"; without names all) as the platform's form does: the primary key
// is the source's, and an incremental stream that has one is deduplicated.
func (c *catalog) configure(mode string, names ...string) *configuredCatalog {
	configured := &configuredCatalog{Streams: []configuredStream{}}
	for _, s := range c.Streams {
		if len(names) > 0 && !slices.ContainsFunc(names, s.name().is) {
			continue
		}
		destination := "append"
		switch {
		case mode == "full_refresh":
			destination = "overwrite"
		case len(s.PrimaryKey) > 0:
			destination = "append_dedup"
		}
		configured.Streams = append(configured.Streams, configuredStream{
			Stream: s, SyncMode: mode, DestinationSyncMode: destination, PrimaryKey: s.PrimaryKey,
			GenerationID: 1, SyncID: 101,
		})
	}
	return configured
}

// find gives the configured stream, for changes; the test ends if there is none.
func (c *configuredCatalog) find(t *testing.T, name string) *configuredStream {
	t.Helper()
	for i := range c.Streams {
		if c.Streams[i].Stream.name().is(name) {
			return &c.Streams[i]
		}
	}
	t.Fatalf("the configured catalog has no stream %s", name)
	return nil
}

// cursor sets the cursor field of a stream, and gives the catalog back.
func (c *configuredCatalog) cursor(t *testing.T, name, field string) *configuredCatalog {
	t.Helper()
	c.find(t, name).CursorField = []string{field}
	return c
}
