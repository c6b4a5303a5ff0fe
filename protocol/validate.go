package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/xeipuuv/gojsonschema"
)

// validate holds config against the connectionSpecification in spec and reports every violation at once, by field, in
// words for the person who filled in the form and without any value of a field: it could be a secret. A setting that is
// null counts as not given.
func validate(spec, config []byte) error {
	var s struct {
		Schema map[string]any `json:"connectionSpecification"`
	}
	if err := decode(spec, &s); err != nil {
		return fmt.Errorf("parse spec: %w", err)
	}
	var settings any
	// The first of the two refuses numbers that no double holds, which gojsonschema panics at.
	if err := errors.Join(json.Unmarshal(config, &settings), decode(config, &settings)); err != nil {
		return &Error{
			Kind: Config, Message: "The settings are not a JSON document, or a number in them is out of range.", Err: err,
		}
	}
	narrow(s.Schema, settings)
	schema, err := gojsonschema.NewSchema(gojsonschema.NewRawLoader(s.Schema))
	if err != nil {
		return fmt.Errorf("parse spec: %w", err)
	}
	result, err := schema.Validate(gojsonschema.NewRawLoader(settings))
	if err != nil {
		return fmt.Errorf("validate settings: %w", err)
	}
	var problems []string
	seen := map[string]bool{}
	for _, e := range result.Errors() {
		if text := violation(e); !seen[text] {
			seen[text] = true
			problems = append(problems, text)
		}
	}
	sort.Strings(problems)
	var errs []error
	for _, text := range problems {
		errs = append(errs, &Error{Kind: Config, Message: text})
	}
	return errors.Join(errs...)
}

// decode is json.Unmarshal, but numbers stay as they were written, which is what gojsonschema takes.
func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}

// narrow takes the nulls out of settings, and replaces each oneOf of schema, at every depth, by the one option that the
// settings choose: what is then reported as wrong is wrong with that option, and not with another one.
func narrow(schema map[string]any, settings any) {
	object, ok := settings.(map[string]any)
	if !ok {
		delete(schema, "oneOf") // the type is wrong already
		return
	}
	maps.DeleteFunc(object, func(_ string, v any) bool { return v == nil })
	if options, ok := schema["oneOf"].([]any); ok {
		delete(schema, "oneOf")
		maps.Copy(schema, choose(options, object))
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, inner := range properties {
		if inner, ok := inner.(map[string]any); ok && object[name] != nil {
			narrow(inner, object[name])
		}
	}
}

// choose gives the option whose const the settings have; without that setting, the option that does not ask for it;
// else a schema of what the setting may be. That the options differ in the const of one property is a rule of
// Airbyte's specs.
func choose(options []any, settings map[string]any) map[string]any {
	var allowed []any
	var name string
	for _, option := range options {
		option, _ := option.(map[string]any)
		properties, _ := option["properties"].(map[string]any)
		for key, property := range properties {
			property, _ := property.(map[string]any)
			value, ok := property["const"]
			if !ok {
				continue
			}
			required, _ := option["required"].([]any)
			given, isGiven := settings[key]
			if isGiven && given == value || !isGiven && !slices.Contains(required, any(key)) {
				return option
			}
			name, allowed = key, append(allowed, value)
		}
	}
	return map[string]any{
		"required": []any{name}, "properties": map[string]any{name: map[string]any{"enum": allowed}},
	}
}

func violation(e gojsonschema.ResultError) string {
	field := e.Field()
	if field == "(root)" {
		field = ""
	}
	details := e.Details()
	switch e.Type() {
	case "required":
		if p, ok := details["property"].(string); ok {
			return fmt.Sprintf("Setting %q is missing.", join(field, p))
		}
	case "invalid_type":
		if field == "" {
			return fmt.Sprintf("The settings must be a JSON object, not %s.", details["given"])
		}
		return fmt.Sprintf("Setting %q must be of type %s, not %s.", field, details["expected"], details["given"])
	case "number_gte", "number_gt":
		return fmt.Sprintf("Setting %q must be at least %v.", field, number(details["min"]))
	case "number_lte", "number_lt":
		return fmt.Sprintf("Setting %q must be at most %v.", field, number(details["max"]))
	case "string_gte":
		return fmt.Sprintf("Setting %q must not be empty.", field)
	case "enum", "const":
		return fmt.Sprintf("Setting %q must be one of: %v.", field, details["allowed"])
	case "unique":
		return fmt.Sprintf("Setting %q names the same value twice.", field)
	case "pattern":
		return fmt.Sprintf("Setting %q does not have the form %v.", field, details["pattern"])
	}
	return fmt.Sprintf("Setting %q is not valid (%s).", field, e.Type())
}

func number(v any) string {
	if r, ok := v.(interface{ RatString() string }); ok {
		return r.RatString()
	}
	return fmt.Sprint(v)
}

func join(path, name string) string {
	return strings.TrimPrefix(path+"."+name, ".")
}
