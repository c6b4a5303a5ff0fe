package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/xeipuuv/gojsonschema"
)

// validate holds config against the connectionSpecification in spec and reports every violation at once, by field, in
// words for the person who filled in the form and without any value of a field: it could be a secret.
func validate(spec, config []byte) error {
	var s struct {
		Schema json.RawMessage `json:"connectionSpecification"`
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return fmt.Errorf("parse spec: %w", err)
	}
	schema, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(s.Schema))
	if err != nil {
		return fmt.Errorf("parse spec: %w", err)
	}
	result, err := schema.Validate(gojsonschema.NewBytesLoader(config))
	if err != nil {
		return &Error{Kind: Config, Message: "The settings are not a JSON document.", Err: err}
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
	case "number_one_of", "number_any_of":
		return fmt.Sprintf("Setting %q fits none of its options: see which one is chosen and what that option needs.", field)
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
