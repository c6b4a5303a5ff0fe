package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseArgs(t *testing.T) {
	for _, c := range []struct {
		line, command string
		files         map[string]string
	}{
		{"spec", "spec", nil},
		{"check --config a", "check", map[string]string{"config": "a"}},
		{"--config=a discover", "discover", map[string]string{"config": "a"}},
		{"--config=a=b check", "check", map[string]string{"config": "a=b"}},
		{"check --config --catalog", "check", map[string]string{"config": "--catalog"}},
		{"check --config read", "check", map[string]string{"config": "read"}},
		{"check --config=", "check", map[string]string{"config": ""}},
		{
			"--state s --catalog=c read --config f", "read",
			map[string]string{"config": "f", "catalog": "c", "state": "s"},
		},
	} {
		got, err := parseArgs(strings.Fields(c.line))
		if err != nil || got.command != c.command || !maps.Equal(got.files, c.files) {
			t.Errorf("%s: %+v, %v", c.line, got, err)
		}
	}
	for line, want := range map[string]string{
		"":                      "No command was given.",
		"--config a":            "No command was given.",
		"spec spec":             "Two commands were given: spec and spec.",
		"read check":            "Two commands were given: read and check.",
		"spec=1":                "Command spec takes no value.",
		"check --config":        "Option --config needs a file.",
		"check --secret=a":      `Unknown command or option "--secret".`,
		"check --":              `Unknown command or option "--".`,
		`check {"a":1}`:         "Unknown command or option.",
		"check 0123":            "Unknown command or option.",
		"check =x":              "Unknown command or option.",
		"state":                 `Unknown command or option "state".`,
		strings.Repeat("a", 31): "Unknown command or option.",
	} {
		_, err := parseArgs(strings.Fields(line))
		var e *Error
		if !errors.As(err, &e) || e.Kind != Config || e.Message != want || e.Hint == "" {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

const testSpec = `{"connectionSpecification":{"type":"object","required":["host","port"],"properties":{
	"host":{"type":"string","minLength":1,"pattern":"^[a-z.]+$"},
	"port":{"type":"integer","minimum":1,"maximum":65535},
	"names":{"type":"array","items":{"type":"string"},"uniqueItems":true},
	"tls":{"type":"object","oneOf":[
		{"required":["mode"],"properties":{"mode":{"const":"on"},"key":{"type":"string"}}},
		{"properties":{"mode":{"const":"off"},"size":{"type":"integer"}}}]},
	"method":{"type":"object","oneOf":[
		{"required":["kind"],"properties":{"kind":{"const":"a"}}},
		{"required":["kind","slot"],"properties":{"kind":{"const":"b"},"slot":{"type":"string","minLength":1},
			"inner":{"type":"object","oneOf":[{"required":["of"],"properties":{"of":{"const":1},"x":{"type":"boolean"}}},
				{"required":["of"],"properties":{"of":{"const":2}}}]},
			"how":{"type":"string","enum":["fast","slow"]}}}]}}}}`

func TestValidate(t *testing.T) {
	for settings, want := range map[string]string{
		`{"host":"h","port":1}`:                                                             "",
		`{"host":"h","port":1.0}`:                                                           "",
		`{"host":"h","port":1,"other":{"a":[null]}}`:                                        "",
		`{"host":"h","port":1,"names":null,"tls":null,"method":null}`:                       "",
		`{"host":"h","port":1,"tls":{}}`:                                                    "",
		`{"host":"h","port":1,"tls":{"mode":null,"size":3}}`:                                "",
		`{"host":"h","port":1,"tls":{"mode":"on","key":null,"size":"any"}}`:                 "",
		`{"host":"h","port":1,"method":{"kind":"b","slot":"s"}}`:                            "",
		`{"host":"h","port":1,"method":{"kind":"b","slot":"s","inner":{"of":2,"x":"any"}}}`: "",

		`{"host":null}`: `Setting "host" is missing.|Setting "port" is missing.`,
		`{"host":7,"port":"1"}`: `Setting "host" must be of type string, not integer.|` +
			`Setting "port" must be of type integer, not string.`,
		`{"host":"h","port":0}`:     `Setting "port" must be at least 1.`,
		`{"host":"h","port":70000}`: `Setting "port" must be at most 65535.`,
		`{"host":"h","port":1.5}`:   `Setting "port" must be of type integer, not number.`,
		`{"host":"H","port":1}`:     `Setting "host" does not have the form ^[a-z.]+$.`,
		`{"host":"","port":1}`: `Setting "host" does not have the form ^[a-z.]+$.|` +
			`Setting "host" must not be empty.`,
		`{"host":"h","port":1,"names":1}`: `Setting "names" must be of type array, not integer.`,
		`{"host":"h","port":1,"names":["x","x",5]}`: `Setting "names" names the same value twice.|` +
			`Setting "names.2" must be of type string, not integer.`,
		`{"host":"h","port":1,"tls":"on"}`:                      `Setting "tls" must be of type object, not string.`,
		`{"host":"h","port":1,"tls":{"mode":"x"}}`:              `Setting "tls.mode" must be one of: "on", "off".`,
		`{"host":"h","port":1,"tls":{"mode":["on"]}}`:           `Setting "tls.mode" must be one of: "on", "off".`,
		`{"host":"h","port":1,"tls":{"mode":"on","key":1}}`:     `Setting "tls.key" must be of type string, not integer.`,
		`{"host":"h","port":1,"tls":{"size":"x"}}`:              `Setting "tls.size" must be of type integer, not string.`,
		`{"host":"h","port":1,"method":{}}`:                     `Setting "method.kind" is missing.`,
		`{"host":"h","port":1,"method":{"kind":"b"}}`:           `Setting "method.slot" is missing.`,
		`{"host":"h","port":1,"method":{"kind":"b","slot":""}}`: `Setting "method.slot" must not be empty.`,
		`{"host":"h","port":1,"method":{"kind":"b","slot":"s","how":"x","inner":{"of":1,"x":2}}}`: `Setting "method.how" ` +
			`must be one of: "fast", "slow".|Setting "method.inner.x" must be of type boolean, not integer.`,
		`[]`:     "The settings must be a JSON object, not array.",
		`null`:   "The settings must be a JSON object, not null.",
		`"text"`: "The settings must be a JSON object, not string.",
	} {
		err := validate([]byte(testSpec), []byte(settings))
		var got []string
		for _, p := range Problems(err) {
			var e *Error
			if !errors.As(p, &e) || e.Kind != Config {
				t.Errorf("%s: %v is no config error", settings, p)
			}
			got = append(got, p.Error())
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s:\n got  %s\n want %s", settings, strings.Join(got, "|"), want)
		}
	}
}

func TestSummary(t *testing.T) {
	a, b := &StreamDescriptor{Name: "a", Namespace: "s"}, &StreamDescriptor{Name: "b", Namespace: "s"}
	cause := errors.New("the cause")
	for _, c := range []struct {
		what, message, cause string
		err                  error
		kind                 FailureType
		stream               *StreamDescriptor
	}{
		{"one", "Wrong. Mend it.", "", &Error{Kind: Config, Message: "Wrong.", Hint: "Mend it."}, Config, nil},
		{"with a cause", "Wrong.", "the cause", &Error{Kind: Transient, Message: "Wrong.", Err: cause}, Transient, nil},
		{"of a stream", "stream s.a: Wrong.", "", &Error{Kind: Config, Message: "Wrong.", Stream: a}, Config, a},
		{"names it", "Table s.a is wrong.", "", &Error{Kind: Config, Message: "Table s.a is wrong.", Stream: a}, Config, a},
		{"wrapped", "Wrong.", "", fmt.Errorf("read: %w", &Error{Kind: Config, Message: "Wrong."}), Config, nil},
		{"nobody's", "Unexpected error: the cause", "the cause", cause, System, nil},
		{
			"two streams", "stream s.a: Gone.\nstream s.b: Gone.", "", errors.Join(
				&Error{Kind: Config, Message: "Gone.", Stream: a}, &Error{Kind: Config, Message: "Gone.", Stream: b},
			), Config, nil,
		},
		{
			"joined twice", "One.\nTwo.\nThree.", "the cause", errors.Join(
				errors.Join(&Error{Kind: Config, Message: "One."}, nil, &Error{Kind: Transient, Message: "Two.", Err: cause}),
				&Error{Kind: System, Message: "Three."},
			), Transient, nil,
		},
		{
			"a fault and a setting", "Unexpected error: the cause\nWrong.", "the cause",
			errors.Join(cause, &Error{Kind: Config, Message: "Wrong."}), Config, nil,
		},
	} {
		got := summary(c.err)
		text := ""
		if got.Err != nil {
			text = got.Err.Error()
		}
		if got.Message != c.message || got.Kind != c.kind || got.Stream != c.stream || text != c.cause {
			t.Errorf("%s: %q, %s, %v, cause %q", c.what, got.Message, got.Kind, got.Stream, text)
		}
	}
}

// Very many problems, or a very long one, give an error that platforms take as it is.
func TestSummaryIsNotEndless(t *testing.T) {
	var many []error
	for i := range 10_000 {
		problem := fmt.Sprintf("Problem %d of some length is this.", i)
		many = append(many, &Error{Kind: Config, Message: problem, Err: os.ErrExist})
	}
	got := summary(errors.Join(many...))
	lines := strings.Split(got.Message, "\n")
	last := fmt.Sprintf("… and %d more.", len(many)-len(lines)+1)
	if len(got.Message) > longest+len(last)+1 || lines[0] != many[0].Error() || lines[len(lines)-1] != last {
		t.Errorf("%d bytes, %d lines, the last is %q, want %q", len(got.Message), len(lines), lines[len(lines)-1], last)
	}
	if n := len(got.Err.Error()); n > longest+len(last)+1 {
		t.Errorf("the causes have %d bytes", n)
	}
	long := summary(&Error{Message: strings.Repeat("ä", longest)}).Message
	if len(long) > longest+3 || !strings.HasSuffix(long, "ä…") {
		t.Errorf("%d bytes, ending %q", len(long), long[len(long)-10:])
	}
}

// A connector that answers with what a test gives it.
type answers struct {
	err     error
	catalog *Catalog
	panics  any
	read    func(catalog *ConfiguredCatalog, state []State)
}

func (a *answers) Check(context.Context, []byte) error {
	if a.panics != nil {
		panic(a.panics)
	}
	return a.err
}

func (a *answers) Discover(context.Context, []byte) (*Catalog, error) { return a.catalog, a.err }

func (a *answers) Read(_ context.Context, _ []byte, catalog *ConfiguredCatalog, state []State, _ *Writer) error {
	if a.read != nil {
		a.read(catalog, state)
	}
	return a.err
}

// runWith runs a command with files of the given contents and gives the exit code and the output's lines.
func runWith(ctx context.Context, t *testing.T, c Connector, command string, files map[string]string) (int, []string) {
	t.Helper()
	args := []string{command}
	for option, content := range files {
		path := filepath.Join(t.TempDir(), option)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--"+option, path)
	}
	var out bytes.Buffer
	code := Run(ctx, args, &out, []byte(testSpec), c)
	return code, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

const testConfig = `{"host":"h","port":1}`

func TestCheckAnswers(t *testing.T) {
	config := map[string]string{"config": testConfig}
	for what, c := range map[string]struct {
		connector *answers
		code      int
		want      []string
	}{
		"good": {&answers{}, 0, []string{`"status":"SUCCEEDED"`}},
		"config": {
			&answers{err: &Error{Kind: Config, Message: "Wrong."}}, 0, []string{`"status":"FAILED"`, `"message":"Wrong."`},
		},
		"transient": {&answers{err: &Error{Kind: Transient, Message: "Down."}}, 0, []string{`"status":"FAILED"`, "Down."}},
		"fault":     {&answers{err: errors.New("oops")}, 1, []string{`"failure_type":"system_error"`, "oops"}},
		"panic": {
			&answers{panics: "oops"}, 1,
			[]string{`"failure_type":"system_error"`, "panic: oops", `"stack_trace":`, "run_test.go"},
		},
	} {
		code, lines := runWith(t.Context(), t, c.connector, "check", config)
		if code != c.code || len(lines) != 1 {
			t.Errorf("%s: exit code %d, output %q", what, code, lines)
		}
		for _, want := range c.want {
			if !strings.Contains(lines[0], want) {
				t.Errorf("%s: the answer lacks %s: %s", what, want, lines[0])
			}
		}
	}
}

func TestReadIsGivenCatalogAndState(t *testing.T) {
	files := map[string]string{
		"config": testConfig, "catalog": `{"streams":[{"stream":{"name":"t"},"sync_mode":"incremental","sync_id":7}]}`,
		"state": `[{"type":"STREAM","stream":{"stream_descriptor":{"name":"t"},"stream_state":{"a":1}}}]`,
	}
	called := false
	code, lines := runWith(t.Context(), t, &answers{read: func(catalog *ConfiguredCatalog, state []State) {
		called = true
		s := catalog.Streams[0]
		if len(state) != 1 || string(state[0].Stream.State) != `{"a":1}` || s.Stream.Name != "t" ||
			s.SyncMode != Incremental || *s.SyncID != 7 {
			t.Errorf("catalog %+v, state %+v", catalog, state)
		}
	}}, "read", files)
	if code != 0 || !called || lines[0] != "" {
		t.Errorf("exit code %d, called %t, output %q", code, called, lines)
	}
}

// Whatever a read returns when a signal has ended it, the error is the signal's, and so is the exit code.
func TestRunAfterASignal(t *testing.T) {
	files := map[string]string{
		"config": testConfig, "catalog": `{"streams":[{"stream":{"name":"t"},"sync_mode":"full_refresh"}]}`,
	}
	for _, err := range []error{nil, context.Canceled, errors.New("cut off"), &Error{Kind: Config, Message: "Wrong."}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(&Signal{Signal: syscall.SIGINT})
		code, lines := runWith(ctx, t, &answers{err: err}, "read", files)
		if code != 130 || len(lines) != 1 || !strings.Contains(lines[0], `"failure_type":"transient_error"`) ||
			!strings.Contains(lines[0], "Stopped by signal interrupt.") {
			t.Errorf("%v: exit code %d, output %q", err, code, lines)
		}
	}
}

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestRunWithoutOutput(t *testing.T) {
	if code := Run(t.Context(), []string{"spec"}, full{}, []byte(testSpec), &answers{}); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte(testConfig))
	f.Add([]byte(`{"host":"h","port":1,"method":{"kind":"b","inner":{"of":1}},"tls":{"mode":null},"names":[1e999]}`))
	f.Fuzz(func(t *testing.T, settings []byte) {
		if !json.Valid(settings) {
			return
		}
		for _, p := range Problems(validate([]byte(testSpec), settings)) {
			var e *Error
			if !errors.As(p, &e) || e.Kind != Config {
				t.Errorf("%s: %v", settings, p)
			}
		}
	})
}
