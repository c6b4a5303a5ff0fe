package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xeipuuv/gojsonschema"
)

// A message is one line of the connector's output; the field that its type names is set.
type message struct {
	Type             string            `json:"type"`
	Record           *record           `json:"record"`
	State            *state            `json:"state"`
	Log              *logLine          `json:"log"`
	Spec             *spec             `json:"spec"`
	ConnectionStatus *connectionStatus `json:"connectionStatus"`
	Catalog          *catalog          `json:"catalog"`
	Trace            *trace            `json:"trace"`

	raw map[string]json.RawMessage // the line's fields as they were written
}

// A streamName names a stream; it can be compared.
type streamName struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

func (n streamName) String() string { return n.Namespace + "." + n.Name }

// is reports whether name means the stream: "table" or "schema.table".
func (n streamName) is(name string) bool { return n.Name == name || n.String() == name }

type record struct {
	Stream    string                     `json:"stream"`
	Namespace string                     `json:"namespace"`
	Data      map[string]json.RawMessage `json:"data"` // values as they were written: 1.10 stays 1.10
	EmittedAt int64                      `json:"emitted_at"`
	Meta      struct {
		Changes []change `json:"changes"`
	} `json:"meta"`
}

func (r *record) name() streamName { return streamName{r.Stream, r.Namespace} }

type change struct {
	Field  string `json:"field"`
	Change string `json:"change"`
	Reason string `json:"reason"`
}

type state struct {
	Type   string       `json:"type"`
	Stream *streamState `json:"stream"`
	Global *struct {
		Shared  json.RawMessage `json:"shared_state"`
		Streams []streamState   `json:"stream_states"`
	} `json:"global"`
	Stats struct {
		RecordCount float64 `json:"recordCount"`
	} `json:"sourceStats"`

	text json.RawMessage // what a platform keeps and hands back
}

type streamState struct {
	Descriptor streamName      `json:"stream_descriptor"`
	State      json.RawMessage `json:"stream_state"`
}

type logLine struct {
	Level   string `json:"level"`
	Message string `json:"message"`
}

type spec struct {
	ConnectionSpecification json.RawMessage `json:"connectionSpecification"`
}

type connectionStatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type trace struct {
	Type      string      `json:"type"`
	EmittedAt float64     `json:"emitted_at"`
	Error     *traceError `json:"error"`
	Status    *struct {
		Stream streamName `json:"stream_descriptor"`
		Status string     `json:"status"`
	} `json:"stream_status"`
	Estimate *struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Type      string `json:"type"`
		Rows      int64  `json:"row_estimate"`
		Bytes     int64  `json:"byte_estimate"`
	} `json:"estimate"`
}

type traceError struct {
	Message         string      `json:"message"`
	InternalMessage string      `json:"internal_message"`
	StackTrace      string      `json:"stack_trace"`
	FailureType     string      `json:"failure_type"`
	Stream          *streamName `json:"stream_descriptor"`
}

// protocolSchema is the JSON schema of a line.
var protocolSchema = sync.OnceValues(func() (*gojsonschema.Schema, error) {
	text, err := os.ReadFile("../protocol/testdata/protocol.schema.json")
	if err != nil {
		return nil, err
	}
	return gojsonschema.NewSchema(gojsonschema.NewBytesLoader(text))
})

// parse holds a line against everything that the readers of connectors ask for, and takes it apart.
func parse(line []byte) (message, error) {
	value, err := strictJSON(line)
	if err != nil {
		return message{}, err
	}
	if err := validate(value); err != nil {
		return message{}, err
	}
	var m message
	if err := errors.Join(json.Unmarshal(line, &m), json.Unmarshal(line, &m.raw)); err != nil {
		return message{}, err
	}
	if m.State != nil {
		m.State.text = m.raw["state"]
	}
	if m.Catalog != nil {
		for _, s := range m.Catalog.Streams {
			for field, schema := range s.JSONSchema.Properties {
				if err := plain(schema); err != nil {
					return message{}, fmt.Errorf("the schema of field %q of %s, %s: %w", field, s.name(), schema, err)
				}
			}
		}
	}
	if m.Record != nil && len(line) >= longest && len(utf16.Encode([]rune(string(line)))) >= longest {
		return message{}, fmt.Errorf("a record of %d characters or more", longest)
	}
	return m, nil
}

// longest is the length of a line, in the characters of Java and JavaScript, from which on platforms take a record for
// too large.
const longest = 20_000_000

// strictJSON reads a line that has to be one JSON document in valid UTF-8, without a key that comes twice in an object,
// without control characters, and without what Python's str.splitlines (by which two of the protocol's harnesses cut
// the output) takes for a line's end. Numbers stay json.Number, so as they were written.
func strictJSON(line []byte) (any, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("invalid UTF-8")
	}
	raw := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	if i := bytes.IndexFunc(line, raw); i >= 0 {
		return nil, fmt.Errorf("a raw %+q", line[i:min(i+3, len(line))])
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	value, err := strictValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON document")
	}
	return value, nil
}

// strictValue reads one value token by token.
func strictValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder accepts nothing else as a key
			if _, twice := object[name]; twice {
				return nil, fmt.Errorf("key %q comes twice", name)
			}
			if object[name], err = strictValue(dec); err != nil {
				return nil, err
			}
		}
		_, err = dec.Token()
		return object, err
	case json.Delim('['):
		array := []any{}
		for dec.More() {
			element, err := strictValue(dec)
			if err != nil {
				return nil, err
			}
			array = append(array, element)
		}
		_, err = dec.Token()
		return array, err
	}
	return token, nil
}

// validate holds a line against the schema. What a JSON schema cannot say is the decimal point of a state's record
// count, without which some destinations read no number.
func validate(value any) error {
	schema, err := protocolSchema()
	if err != nil {
		return fmt.Errorf("protocol schema: %w", err)
	}
	shape, plain := shapeOf(value)
	if _, valid := validShapes.Load(shape); plain && valid {
		return nil
	}
	outcome, err := schema.Validate(gojsonschema.NewRawLoader(value))
	if err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	if !outcome.Valid() {
		var problems []string
		for _, e := range outcome.Errors() {
			problems = append(problems, e.String())
		}
		return fmt.Errorf("not by the protocol: %s", strings.Join(problems, "; "))
	}
	if count, ok := at(value, "state", "sourceStats", "recordCount").(json.Number); ok &&
		!strings.Contains(count.String(), ".") {
		return fmt.Errorf("recordCount %s has no decimal point", count)
	}
	if plain {
		validShapes.Store(shape, true)
	}
	return nil
}

// validShapes holds the shapes of records that are valid by the schema, which is slow to ask.
var validShapes sync.Map

// shapeOf gives everything of a record that the schema says something about; plain is false for other messages, and for
// records with more to say.
func shapeOf(value any) (shape string, plain bool) {
	rec, ok := at(value, "record").(map[string]any)
	line, _ := value.(map[string]any)
	data, isObject := rec["data"].(map[string]any)
	if !ok || !isObject || len(line) != 2 || rec["meta"] != nil {
		return "", false
	}
	var keys []string
	for key, v := range rec {
		switch v := v.(type) {
		case string:
			key += fmt.Sprintf(" text %t", v == "")
		case json.Number:
			key += fmt.Sprintf(" number %t", integer.MatchString(v.String()) && v.String()[0] != '-')
		case map[string]any:
			key += " object"
		default:
			return "", false
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return fmt.Sprint(line["type"], len(data) == 0, keys), true
}

// at is the value at a path of keys, or nil.
func at(value any, path ...string) any {
	for _, key := range path {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	return value
}
