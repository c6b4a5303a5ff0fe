package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"testing"
)

// A property is the part of a field's schema that says how its values look.
type property struct {
	Type    any       `json:"type"` // a name, or a list of names
	Format  string    `json:"format"`
	Airbyte string    `json:"airbyte_type"`
	Items   *property `json:"items"`
}

// plain checks that a field's schema has keywords and types that every platform and destination understands, and no
// others.
func plain(schema json.RawMessage) error {
	var p property
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return err
	}
	for inner := &p; inner != nil; inner = inner.Items {
		array := inner.Type == "array"
		if !array && inner.Type != "string" && inner.Type != "number" && inner.Type != "boolean" {
			return fmt.Errorf("type %v", inner.Type)
		}
		if array != (inner.Items != nil) {
			return errors.New("an array without items, or items of what is none")
		}
	}
	return nil
}

// shapes are the texts of the types with a format, by Airbyte's table of types: six digits of a second, " BC" at the
// end.
var shapes = map[string]*regexp.Regexp{
	"date":                       regexp.MustCompile(`^\d{4,}-\d\d-\d\d( BC)?$`),
	"time_without_timezone":      regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{6}$`),
	"time_with_timezone":         regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d(:\d\d)?)$`),
	"timestamp_without_timezone": regexp.MustCompile(`^\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}( BC)?$`),
	"timestamp_with_timezone":    regexp.MustCompile(`^\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z( BC)?$`),
}

var integer = regexp.MustCompile(`^-?\d+$`)

// properties reads the schemas of a stream's fields.
func properties(t *testing.T, schemas map[string]json.RawMessage) map[string]property {
	t.Helper()
	parsed := map[string]property{}
	for field, schema := range schemas {
		var p property
		if err := json.Unmarshal(schema, &p); err != nil {
			t.Errorf("the schema of field %q, %s: %v", field, schema, err)
		}
		parsed[field] = p
	}
	return parsed
}

// accept checks a value against its field's schema. Every value may be null.
func (p property) accept(value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	names, several := p.Type.([]any)
	if !several {
		return p.acceptOne(value)
	}
	for _, name := range names {
		one := p
		one.Type = name
		if one.acceptOne(value) == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is none of %v", shortened(value), names)
}

func (p property) acceptOne(value json.RawMessage) error {
	kind := map[byte]string{'"': "string", '{': "object", '[': "array", 't': "boolean", 'f': "boolean"}[value[0]]
	if kind == "" {
		kind = "number"
	}
	whole := p.Type == "integer" || p.Airbyte == "integer"
	switch {
	case kind == "number" && whole:
		if !integer.Match(value) {
			return fmt.Errorf("%s is not an integer", value)
		}
		return nil
	case p.Type != kind:
		return fmt.Errorf("%s is not of type %v", shortened(value), p.Type)
	case kind == "array" && p.Items != nil:
		var elements []json.RawMessage
		if err := json.Unmarshal(value, &elements); err != nil {
			return err
		}
		for _, element := range elements {
			if err := p.Items.accept(element); err != nil {
				return err
			}
		}
	case kind == "string":
		return p.acceptText(value)
	}
	return nil
}

func (p property) acceptText(value json.RawMessage) error {
	shape := shapes[p.Airbyte]
	if p.Format == "date" {
		shape = shapes["date"]
	}
	if shape == nil {
		return nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	if !shape.MatchString(s) {
		return fmt.Errorf("%s is not of format %s %s", value, p.Format, p.Airbyte)
	}
	return nil
}
