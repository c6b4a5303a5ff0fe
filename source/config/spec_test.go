package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xeipuuv/gojsonschema"
)

const (
	specFile = "../../spec.json"
	docsFile = "../../docs/configuration.md"
)

type node = map[string]any

func readSpec(t *testing.T) (spec, connection node) {
	t.Helper()
	text, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	return spec, spec["connectionSpecification"].(node)
}

func schema(t *testing.T) *gojsonschema.Schema {
	t.Helper()
	_, connection := readSpec(t)
	loader := gojsonschema.NewSchemaLoader()
	loader.Validate = true
	s, err := loader.Compile(gojsonschema.NewGoLoader(connection))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *gojsonschema.Schema, text []byte) bool {
	t.Helper()
	result, err := s.Validate(gojsonschema.NewBytesLoader(text))
	if err != nil {
		t.Fatal(err)
	}
	return result.Valid()
}

func TestSamplesFitSpecAndParse(t *testing.T) {
	s := schema(t)
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 8 {
		t.Fatalf("samples: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !valid(t, s, text) {
			t.Errorf("%s does not fit the spec", file)
		}
		if _, err := Parse(text); err != nil {
			t.Errorf("parse %s: %v", file, err)
		}
	}
}

func TestSpecRejects(t *testing.T) {
	s := schema(t)
	const head = `"host":"h","database":"d","username":"u","port":5432`
	for _, text := range []string{
		`[]`,
		`{}`,
		`{"database":"d","username":"u","port":5432}`,
		`{"host":"h","database":"d","username":"u"}`,
		`{"host":"h","database":"d","username":"u","port":"5432"}`,
		`{"host":"h","database":"d","username":"u","port":0}`,
		`{"host":"h","database":"d","username":"u","port":65536}`,
		`{"host":"h","database":"d","username":"u","port":5432.5}`,
		`{` + head + `,"password":7}`,
		`{` + head + `,"schemas":"public"}`,
		`{` + head + `,"schemas":["a","a"]}`,
		`{` + head + `,"ssl":"true"}`,
		`{` + head + `,"ssl_mode":{"mode":"verify"}}`,
		`{` + head + `,"ssl_mode":"require"}`,
		`{` + head + `,"tunnel_method":{"tunnel_method":"SSH_KEY_AUTH","tunnel_host":"h","tunnel_port":22,` +
			`"tunnel_user":"u"}}`,
		`{` + head + `,"replication_method":{"method":"CDC","publication":"p"}}`,
		`{` + head + `,"replication_method":{"method":"CDC","publication":"p","replication_slot":""}}`,
		`{` + head + `,"replication_method":{"method":"Trigger"}}`,
		`{` + head + `,"checkpoint_target_interval_seconds":0}`,
		`{` + head + `,"max_db_connections":0}`,
	} {
		if valid(t, s, []byte(text)) {
			t.Errorf("the spec accepts %s", text)
		}
	}
	if !valid(t, s, []byte(`{`+head+`,"ssl_mode":{},"replication_method":{},"tunnel_method":{},"new":{"x":1}}`)) {
		t.Error("the spec rejects empty choices and unknown settings")
	}
}

// keywords are those that the platform's form builder and the acceptance tests for connectors understand.
var keywords = []string{
	"$schema", "type", "title", "description", "order", "group", "groups", "properties", "required",
	"additionalProperties", "oneOf", "const", "default", "enum", "examples", "items", "minItems", "uniqueItems", "minimum",
	"maximum", "minLength", "airbyte_secret", "airbyte_hidden", "always_show", "multiline", "display_type",
	"pattern_descriptor",
}

// Plain keywords only; secrets are marked, orders are unique, and every variant has its const.
func TestSpecUsesWhatPlatformsUnderstand(t *testing.T) {
	spec, connection := readSpec(t)
	if len(spec) != 3 || spec["documentationUrl"] == nil || spec["supported_destination_sync_modes"] == nil {
		t.Errorf("top level of the spec: %v", spec)
	}
	checkNode(t, "", connection, 0)
}

// checkNode checks one schema object and, by checkObject and checkChoice, all below it.
func checkNode(t *testing.T, path string, n node, depth int) {
	t.Helper()
	for key := range n {
		if !slices.Contains(keywords, key) {
			t.Errorf("%s: keyword %s", path, key)
		}
	}
	if v, ok := n["additionalProperties"]; ok && v != true {
		t.Errorf("%s: additionalProperties is %v", path, v)
	}
	kind, _ := n["type"].(string)
	if kind == "" {
		t.Errorf("%s: type is %v", path, n["type"])
	}
	if _, ok := n["group"]; ok != (depth == 1) {
		t.Errorf("%s: group at depth %d", path, depth)
	}
	if _, ok := n["display_type"]; ok && n["oneOf"] == nil {
		t.Errorf("%s: display_type without oneOf", path)
	}
	if kind == "object" && n["properties"] == nil && n["oneOf"] == nil {
		t.Errorf("%s: object without properties", path)
	}
	if depth > 0 && n["oneOf"] == nil && n["const"] == nil && path != "" && n["properties"] == nil {
		if n["examples"] == nil || n["title"] == nil || len(fmt.Sprint(n["description"])) < 20 {
			t.Errorf("%s: title, description or examples missing", path)
		}
	}
	checkObject(t, path, n, depth)
	checkChoice(t, path, n, depth)
}

func checkObject(t *testing.T, path string, n node, depth int) {
	t.Helper()
	properties, _ := n["properties"].(node)
	if properties == nil {
		return
	}
	if n["additionalProperties"] != true {
		t.Errorf("%s: additionalProperties missing", path)
	}
	orders := map[any]string{}
	for name, v := range properties {
		p := v.(node)
		if other, ok := orders[p["order"]]; ok || p["order"] == nil {
			t.Errorf("%s: %s and %s share the order %v", path, name, other, p["order"])
		}
		orders[p["order"]] = name
		if isSecretName(name) != (p["airbyte_secret"] == true) {
			t.Errorf("%s.%s: airbyte_secret is %v", path, name, p["airbyte_secret"])
		}
		pem := strings.HasSuffix(name, "_certificate") || name == "client_key" || name == "ssh_key"
		if pem != (p["multiline"] == true) {
			t.Errorf("%s.%s: multiline is %v", path, name, p["multiline"])
		}
		checkNode(t, path+"."+name, p, depth+1)
	}
}

func isSecretName(name string) bool {
	return slices.Contains([]string{
		"password", "ca_certificate", "client_certificate", "client_key",
		"client_key_password", "ssh_key", "ssh_key_passphrase", "tunnel_user_password",
	}, name)
}

// checkChoice: the options of a oneOf share exactly one property with a const, whose default is the same.
func checkChoice(t *testing.T, path string, n node, depth int) {
	t.Helper()
	options, _ := n["oneOf"].([]any)
	shared := map[string]int{}
	values := map[any]bool{}
	for i, v := range options {
		o := v.(node)
		for name, p := range o["properties"].(node) {
			if c, ok := p.(node)["const"]; ok {
				shared[name]++
				values[c] = true
				if p.(node)["default"] != c {
					t.Errorf("%s: default of %s is not its const", path, name)
				}
			}
		}
		checkNode(t, fmt.Sprintf("%s[%d]", path, i), o, depth+1)
	}
	if len(options) > 0 && (len(shared) != 1 || len(values) != len(options)) {
		t.Errorf("%s: constants %v with %d values in %d options", path, shared, len(values), len(options))
	}
}

func propertyNames(n node, into map[string]bool) {
	if properties, ok := n["properties"].(node); ok {
		for name, p := range properties {
			into[name] = true
			propertyNames(p.(node), into)
		}
	}
	options, _ := n["oneOf"].([]any)
	for _, o := range options {
		propertyNames(o.(node), into)
	}
}

func TestDocsNameEverySetting(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	_, connection := readSpec(t)
	names := map[string]bool{}
	propertyNames(connection, names)
	if len(names) < 30 {
		t.Fatalf("only %d settings found", len(names))
	}
	for name := range names {
		if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "."+name+"`") {
			t.Errorf("%s does not mention %s", docsFile, name)
		}
	}
}
