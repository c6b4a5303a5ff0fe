package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// A database is one test's own, with what the connector needs to reach it.
type database struct {
	*pgtest.Database
	t *testing.T
}

// newDB makes a database on the shared server and drops it when the test ends. The options are appended to CREATE
// DATABASE.
func newDB(t *testing.T, options ...string) *database {
	t.Helper()
	return newDBOn(t, server, options...)
}

// newDBOn is newDB on a server of the test's own (pgtest.Private).
func newDBOn(t *testing.T, s *pgtest.Server, options ...string) *database {
	t.Helper()
	count(t)
	d, err := s.NewDatabase(t.Context(), strings.ToLower(t.Name()), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// t.Context() is over by now.
		if err := d.Drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &database{Database: d, t: t}
}

// exec runs SQL as superuser; an error ends the test.
func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	if err := d.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatal(err)
	}
}

// value is the first value of the first row of a query, as text; an error ends the test.
func (d *database) value(sql string, args ...any) string {
	d.t.Helper()
	v, err := d.Value(d.t.Context(), sql, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// await waits until a query's first value is true.
func (d *database) await(query string, args ...any) {
	d.t.Helper()
	if err := d.Await(d.t.Context(), query, args...); err != nil {
		d.t.Fatalf("wait until %s: %v", query, err)
	}
}

// config is a connector configuration for the database as superuser, without TLS. Overrides replace whole top-level
// fields; nil removes one.
func (d *database) config(overrides map[string]any) map[string]any {
	c := map[string]any{
		"host": d.Host, "port": d.Port, "database": d.Name, "username": d.User, "password": d.Password,
		"schemas": []string{"public"}, "ssl": false,
	}
	maps.Copy(c, overrides)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// An input is what a run of the connector gets. A config, catalog or state that is a string, []byte or json.RawMessage
// is written to its file as it stands, another value as JSON; nil means: no such option.
type input struct {
	config, catalog, state any

	wrap    []string      // a command that runs the connector, such as taskset with its arguments
	args    []string      // instead of --config FILE and so on; $config, $catalog and $state stand for the files
	env     []string      // the environment of the process, besides LOG_LEVEL=DEBUG; empty by default
	pipe    int           // bytes that fit into the pipe of the output, like smallPipe; 0: what the connector likes
	timeout time.Duration // the process is killed after it, and the test fails; 2 minutes by default
}

// run runs the connector to its end. Every expectation of the invariants has been checked when it returns.
func run(t *testing.T, command string, in input) *result {
	t.Helper()
	return start(t, command, in).wait()
}

// A process is a running connector. The test reads its output with next, until and wait, in one goroutine; while it
// does not, the connector's writes block as they do behind a slow destination.
type process struct {
	t       *testing.T
	in      input
	command string
	cmd     *exec.Cmd
	pipe    io.Closer
	out     *bufio.Reader
	cancel  context.CancelFunc
	ctx     context.Context //nolint:containedctx // it ends the process, which is what this type stands for

	stderr    bytes.Buffer
	messages  []message
	lines     [][]byte
	reported  int // lines that broke the protocol
	begun     time.Time
	ended     bool // the output has been read to its end
	disturbed bool // by a signal or a closed pipe: the test says how it has to end
}

// maxReports is how many errors of one kind a run reports.
const maxReports = 10

// start starts the connector. The test calls wait, whatever it did to the process before.
func start(t *testing.T, command string, in input) *process {
	t.Helper()
	return startAs(t, command, in, func(ctx context.Context, dir string) *exec.Cmd {
		line := append(append(slices.Clone(in.wrap), connector, command), in.arguments(t, dir)...)
		cmd := exec.CommandContext(ctx, line[0], line[1:]...)
		cmd.Env = append(environment("LOG_LEVEL=DEBUG"), in.env...)
		return cmd
	})
}

// environment is just these variables, and what the race detector has to be told: it would wait a second at the end for
// races that are still to come.
func environment(variables ...string) []string {
	if raced {
		variables = append(variables, "GORACE=atexit_sleep_ms=0")
	}
	return append([]string{}, variables...) // not nil, which would mean that of this process
}

// startAs starts what is the connector to the test, in a directory of its own.
func startAs(t *testing.T, command string, in input, program func(context.Context, string) *exec.Cmd) *process {
	t.Helper()
	count(t)
	timeout := in.timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	p := &process{t: t, in: in, command: command}
	p.ctx, p.cancel = context.WithTimeout(t.Context(), timeout)
	dir := t.TempDir()
	p.cmd = program(p.ctx, dir)
	p.cmd.Dir = dir
	p.cmd.Stderr = &p.stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.pipe, p.out = pipe, bufio.NewReaderSize(pipe, 1<<16)
	if in.pipe > 0 {
		shrink(t, pipe.(*os.File), in.pipe)
	}
	p.begun = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.cancel)
	return p
}

// arguments writes the files and gives the command line after the command.
func (in *input) arguments(t *testing.T, dir string) []string {
	t.Helper()
	var options, places []string
	for _, file := range []struct {
		name    string
		content any
	}{{"config", in.config}, {"catalog", in.catalog}, {"state", in.state}} {
		path := filepath.Join(dir, file.name+".json")
		places = append(places, "$"+file.name, path)
		if file.content == nil {
			continue
		}
		if err := os.WriteFile(path, text(t, file.content), 0o600); err != nil {
			t.Fatal(err)
		}
		options = append(options, "--"+file.name, path)
	}
	if in.args == nil {
		return options
	}
	args := make([]string, len(in.args))
	for i, arg := range in.args {
		args[i] = strings.NewReplacer(places...).Replace(arg)
	}
	return args
}

func text(t *testing.T, content any) []byte {
	t.Helper()
	switch c := content.(type) {
	case string:
		return []byte(c)
	case []byte:
		return c
	}
	b, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// next reads one message; ok is false at the end of the output. A line that breaks the protocol is reported as a
// failure of the test and passed over.
func (p *process) next() (m message, ok bool) {
	p.t.Helper()
	for !p.ended {
		line, err := p.out.ReadBytes('\n')
		if err != nil {
			p.ended = true
			torn := len(line) > 0
			if torn && !p.disturbed {
				p.t.Errorf("the last line of output has no end: %s", shortened(line))
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				p.t.Errorf("read the connector's output: %v", err)
			}
			return message{}, false
		}
		line = line[:len(line)-1]
		p.lines = append(p.lines, line)
		m, err := parse(line)
		if err != nil {
			if p.reported++; p.reported <= maxReports {
				p.t.Errorf("line %d of the output: %v: %s", len(p.lines), err, shortened(line))
			}
			continue
		}
		p.messages = append(p.messages, m)
		return m, true
	}
	return message{}, false
}

// until reads up to the first message that match accepts, and gives it; the test ends if there is none.
func (p *process) until(match func(message) bool) message {
	p.t.Helper()
	for {
		m, ok := p.next()
		if !ok {
			p.t.Fatalf("the connector's output ended before the expected message; stderr: %s", p.stderr.String())
		}
		if match(m) {
			return m
		}
	}
}

// signal sends a signal. From then on the test itself says what the exit code has to be.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	p.disturbed = true
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// hangUp closes the reading end of the connector's output, as a platform that has gone away does.
func (p *process) hangUp() {
	p.t.Helper()
	p.disturbed, p.ended = true, true
	if err := p.pipe.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// wait reads what is left of the output, waits for the process to end, and checks the invariants.
func (p *process) wait() *result {
	p.t.Helper()
	for ok := true; ok; {
		_, ok = p.next()
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("wait for the connector: %v", err)
	}
	if cause := p.ctx.Err(); cause != nil {
		p.t.Fatalf("%s did not end: %v; stderr: %s; its last messages:\n%s", p.command, cause, p.stderr.String(),
			bytes.Join(p.lines[max(0, len(p.lines)-5):], []byte("\n")))
	}
	r := &result{
		t: p.t, exit: p.cmd.ProcessState.ExitCode(), messages: p.messages, lines: p.lines, stderr: p.stderr.String(),
		begun: p.begun, ended: time.Now(),
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		r.exit = 128 + int(status.Signal())
	}
	if usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.maxRSS = usage.Maxrss << 10
	}
	r.checkInvariants(p)
	return r
}

// shortened is a line for a message of the test.
func shortened(line []byte) string {
	const limit = 1000
	if len(line) > limit {
		return string(line[:limit]) + "…"
	}
	return string(line)
}
