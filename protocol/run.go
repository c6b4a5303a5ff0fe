package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// A Connector does the work of a source. config is the text of the settings, valid by the connector's spec. Errors
// that are an *Error, alone or joined with errors.Join, reach the user in its words; any other is reported as the
// connector's own fault.
type Connector interface {
	// Check finds every reason for which a sync with these settings cannot work; nil if there is none.
	Check(ctx context.Context, config []byte) error
	// Discover lists the streams, in a deterministic order.
	Discover(ctx context.Context, config []byte) (*Catalog, error)
	// Read writes records, states and statuses of the streams of catalog to w. nil means that all of them are complete.
	Read(ctx context.Context, config []byte, catalog *ConfiguredCatalog, state []State, w *Writer) error
}

// Exit codes; a signal gives 128 plus its number.
const (
	exitDone   = 0
	exitFailed = 1
)

// Run carries out the command line args (without the program's name) with c and gives the process's exit code. spec
// is the content of the SPEC message. Only messages reach stdout; text for people goes to stderr.
func Run(ctx context.Context, args []string, stdout io.Writer, spec []byte, c Connector) (code int) {
	enlarge(stdout)
	ctx = whileRead(ctx, stdout)
	w := NewWriter(stdout)
	slog.SetDefault(slog.New(w.LogHandler(ParseLevel(os.Getenv("LOG_LEVEL")))))
	err := dispatch(ctx, args, w, spec, c)
	if errors.Is(err, errHelp) {
		return exitDone
	}
	if err == nil && ctx.Err() == nil {
		return exitDone
	}
	var signal *Signal
	if errors.As(context.Cause(ctx), &signal) {
		err = &Error{
			Kind: Transient, Message: fmt.Sprintf("Stopped by signal %s.", signal.Signal),
			Hint: "What the last state covers is kept; the next sync goes on from there.", Err: errors.Join(signal, err),
		}
		code = 128 + int(signal.Signal)
	} else {
		code = exitFailed
	}
	// The error of this last write has nowhere to go: stdout is what failed.
	_ = w.fail(err)
	return code
}

// fail writes err as one TRACE ERROR.
func (w *Writer) fail(err error) error {
	sum := summary(err)
	t := &TraceError{Message: sum.Message, FailureType: sum.Kind, Stream: sum.Stream}
	if sum.Err != nil {
		t.InternalMessage = sum.Err.Error()
	}
	var p *Panic
	if errors.As(err, &p) {
		t.StackTrace = string(p.Stack)
	}
	var signal *Signal
	if errors.As(err, &signal) {
		t.StackTrace = string(signal.Stacks)
	}
	return w.trace(&Trace{Type: ErrorTrace, Error: t})
}

// A Panic is a panic that was caught: a fault of the connector.
type Panic struct {
	Value any
	Stack []byte
}

// Error says what the panic said.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Recover turns, where it is deferred, a panic of the function into *err. Every goroutine that the connector starts
// defers it: a panic that nobody catches would end the process without a word on stdout.
func Recover(err *error) {
	if v := recover(); v != nil {
		*err = &Panic{Value: v, Stack: debug.Stack()}
	}
}

var errHelp = errors.New("help was asked for")

const usage = `Usage: source-postgres COMMAND [--config FILE] [--catalog FILE] [--state FILE]

Reads a PostgreSQL database as a source of the Airbyte protocol: JSON messages, one a line, on standard output.

Commands:
  spec                                                   print the settings that the connector takes
  check    --config FILE                                 try the settings; say everything that is wrong with them
  discover --config FILE                                 print the streams: tables, their columns, keys and modes
  read     --config FILE --catalog FILE [--state FILE]   read the configured streams, from a state if one is given

Options take their value as --name VALUE or --name=VALUE, in any order. --version prints the version.
The environment variable LOG_LEVEL (FATAL, ERROR, WARN, INFO, DEBUG, TRACE) sets what is logged; it is INFO without it.
`

func dispatch(ctx context.Context, args []string, w *Writer, spec []byte, c Connector) (err error) {
	defer Recover(&err)
	line, err := parseArgs(args)
	if err != nil {
		if errors.Is(err, errHelp) {
			return err
		}
		fmt.Fprint(os.Stderr, usage)
		return err
	}
	if line.command == "spec" {
		return w.Write(&Message{Type: SpecMessage, Spec: spec})
	}
	config, err := line.file("config")
	if err != nil {
		return err
	}
	invalid := validate(spec, config)
	switch line.command {
	case "check":
		if invalid == nil {
			invalid = c.Check(ctx, config)
		}
		return w.checked(invalid)
	case "discover":
		if invalid != nil {
			return invalid
		}
		catalog, err := c.Discover(ctx, config)
		if err != nil {
			return err
		}
		return w.Write(&Message{Type: CatalogMessage, Catalog: catalog})
	}
	catalog, state, err := line.inputs()
	if err := errors.Join(invalid, err); err != nil {
		return err
	}
	return c.Read(ctx, config, catalog, state, w)
}

// checked answers check. A problem of the settings or of the server is an answer; a fault of the connector is not.
func (w *Writer) checked(err error) error {
	status := &ConnectionStatus{Status: Succeeded}
	if err != nil {
		sum := summary(err)
		if sum.Kind == System {
			return err
		}
		status = &ConnectionStatus{Status: Failed, Message: sum.Message}
	}
	return w.Write(&Message{Type: ConnectionStatusMessage, ConnectionStatus: status})
}

// A commandLine is what args said.
type commandLine struct {
	command string
	files   map[string]string // option → path
}

func parseArgs(args []string) (*commandLine, error) {
	line := &commandLine{files: map[string]string{}}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		switch name {
		case "--help", "-h", "help":
			fmt.Fprint(os.Stderr, usage)
			return nil, errHelp
		case "--version", "version":
			fmt.Fprintln(os.Stderr, "source-postgres", Version)
			return nil, errHelp
		case "--config", "--catalog", "--state":
			if !given {
				i++
				if i == len(args) {
					return nil, usageError("Option %s needs a file.", name)
				}
				value = args[i]
			}
			line.files[name[2:]] = value
		case "spec", "check", "discover", "read":
			if given {
				return nil, usageError("Command %s takes no value.", name)
			}
			if line.command != "" {
				return nil, usageError("Two commands were given: %s and %s.", line.command, name)
			}
			line.command = name
		default:
			return nil, usageError("Unknown command or option%s.", shown(name))
		}
	}
	if line.command == "" {
		return nil, usageError("No command was given.")
	}
	return line, nil
}

// shown is name for an error, or nothing: what does not look like a name could be settings that were pasted.
func shown(name string) string {
	for _, r := range name {
		if r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return ""
		}
	}
	if name == "" || len(name) > 30 {
		return ""
	}
	return " " + strconv.Quote(name)
}

func usageError(format string, args ...any) error {
	return &Error{
		Kind: Config, Message: fmt.Sprintf(format, args...),
		Hint: "The commands are spec, check, discover and read; the options --config, --catalog and --state.",
	}
}

// file reads the JSON file of an option; its error names the option and the path, never the content.
func (l *commandLine) file(option string) ([]byte, error) {
	path, ok := l.files[option]
	if !ok {
		return nil, &Error{Kind: Config, Message: fmt.Sprintf("Command %s needs --%s FILE.", l.command, option)}
	}
	if strings.ContainsAny(path, "{[\n") && json.Valid([]byte(path)) {
		return nil, &Error{
			Kind: Config, Message: fmt.Sprintf("Option --%s was given JSON.", option),
			Hint: "Write it to a file, and give the file's path.",
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{Kind: Config, Message: fmt.Sprintf("The file of --%s cannot be read: %v.", option, err), Err: err}
	}
	text = []byte(strings.TrimPrefix(string(text), "\ufeff"))
	if option != "state" && !json.Valid(text) {
		return nil, &Error{Kind: Config, Message: fmt.Sprintf("The file of --%s, %s, is not valid JSON.", option, path)}
	}
	return text, nil
}

// inputs reads the catalog and, if one is given, the state; both problems are reported at once.
func (l *commandLine) inputs() (*ConfiguredCatalog, []State, error) {
	catalog, catalogErr := l.catalog()
	if _, ok := l.files["state"]; !ok {
		return catalog, nil, catalogErr
	}
	text, err := l.file("state")
	if err != nil {
		return nil, nil, errors.Join(catalogErr, err)
	}
	states, err := ParseStates(text)
	if err != nil {
		err = &Error{
			Kind: Config, Message: "The file of --state does not hold states of the Airbyte protocol.",
			Hint: "Nothing was read. Give the states of an earlier sync as they came, or reset the connection.", Err: err,
		}
	}
	return catalog, states, errors.Join(catalogErr, err)
}

func (l *commandLine) catalog() (*ConfiguredCatalog, error) {
	text, err := l.file("catalog")
	if err != nil {
		return nil, err
	}
	catalog := &ConfiguredCatalog{}
	if err := json.Unmarshal(text, catalog); err != nil {
		at := "it"
		var wrong *json.UnmarshalTypeError
		if !errors.As(err, &wrong) {
			return nil, fmt.Errorf("parse the configured catalog: %w", err) // file has made sure that it is JSON
		}
		if wrong.Field != "" {
			at = strconv.Quote(wrong.Field)
		}
		return nil, &Error{
			Kind: Config, Err: err,
			Message: fmt.Sprintf("The file of --catalog does not hold a configured catalog: %s must not be of the JSON "+
				"type %s.", at, wrong.Value),
		}
	}
	if len(catalog.Streams) == 0 {
		return nil, &Error{Kind: Config, Message: "The configured catalog has no streams.", Hint: "Select at least one " +
			"stream."}
	}
	var problems []error
	seen := map[StreamDescriptor]bool{}
	for i := range catalog.Streams {
		s := &catalog.Streams[i]
		d := s.Stream.Descriptor()
		switch {
		case d.Name == "":
			problems = append(problems, &Error{Kind: Config, Message: "A stream of the configured catalog has no name."})
		case seen[d]:
			problems = append(problems, &Error{
				Kind: Config, Stream: &d,
				Message: fmt.Sprintf("Stream %s is in the configured catalog twice.", d),
			})
		case s.SyncMode != FullRefresh && s.SyncMode != Incremental:
			problems = append(problems, &Error{
				Kind: Config, Stream: &d,
				Message: fmt.Sprintf("Stream %s has the unknown sync mode %q.", d, s.SyncMode),
				Hint:    "The sync modes are full_refresh and incremental.",
			})
		}
		seen[d] = true
	}
	return catalog, errors.Join(problems...)
}
