package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// startLine starts the connector with a whole command line, in which $config, $catalog and $state stand for the files
// of in. Its working directory is dir; "" is the one with these files.
func startLine(t *testing.T, dir string, in input, line ...string) *process {
	t.Helper()
	count(t)
	p := &process{t: t, in: in}
	for _, word := range line {
		if slices.Contains([]string{"spec", "check", "discover", "read"}, word) {
			p.command = word
		}
	}
	p.ctx, p.cancel = context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(p.cancel)
	files := t.TempDir()
	in.args = line
	p.cmd = exec.CommandContext(p.ctx, connector, in.arguments(t, files)...)
	if p.cmd.Dir = dir; dir == "" {
		p.cmd.Dir = files
	}
	p.cmd.Env = environment(in.env...)
	p.cmd.Stderr = &p.stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.pipe, p.out, p.begun = pipe, bufio.NewReader(pipe), time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// twoRows makes a table t of two rows and gives what a read of it needs.
func twoRows(db *database) input {
	db.t.Helper()
	db.exec("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
	config := db.config(nil)
	return input{config: config, catalog: discover(db.t, config).configure("full_refresh"), state: "[]"}
}

// expectAnswer holds the run against what its command answers with; a read has to give the rows of twoRows.
func (r *result) expectAnswer(command, what string) {
	r.t.Helper()
	r.ok()
	switch command {
	case "check":
		if status := r.status(); status.Status != "SUCCEEDED" || status.Message != "" {
			r.t.Errorf("%s: %s %s", what, status.Status, status.Message)
		}
	case "discover":
		r.catalog().find(r.t, "public.t")
	case "read":
		if ids := r.values("t", "id"); !slices.Equal(ids, []string{"1", "2"}) {
			r.t.Errorf("%s: ids %v", what, ids)
		}
	}
}

func TestCommandLineSpellings(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	for _, line := range []string{
		"spec",
		"spec --config $config",
		"check --config $config",
		"check --config=$config",
		"--config $config check",
		"--config=$config check --catalog $catalog",
		"discover --config $config",
		"--config=$config discover",
		"read --config $config --catalog $catalog",
		"read --config $config --catalog $catalog --state $state",
		"read --state=$state --catalog=$catalog --config=$config",
		"--catalog $catalog read --state=$state --config $config",
		"--state $state --config=$config --catalog $catalog read",
		"read --config config.json --catalog=./catalog.json --state ././state.json",
	} {
		p := startLine(t, "", in, strings.Fields(line)...)
		p.wait().expectAnswer(p.command, line)
	}
}

// Text for people goes to stderr; stdout is for messages.
func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--help": "Usage: ", "-h": "Usage: ", "help": "Usage: ", "check --help": "Usage: ", "--help read": "Usage: ",
		"read --config missing.json --help": "Usage: ",
		"--version":                         "source-postgres ", "version": "source-postgres ",
	} {
		p := startLine(t, "", input{}, strings.Fields(line)...)
		p.command = "" // no answer is due
		r := p.wait().ok()
		if len(r.lines) > 0 || !strings.HasPrefix(r.stderr, want) {
			t.Errorf("%s: stdout %q, stderr %q", line, r.lines, r.stderr)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	in := input{config: map[string]any{}, catalog: map[string]any{}, state: "[]"}
	for line, want := range map[string]string{
		"":                                          "No command was given.",
		"--config $config":                          "No command was given.",
		"sync --config $config":                     `Unknown command or option "sync".`,
		"write --config $config":                    `Unknown command or option "write".`,
		"Check --config $config":                    `Unknown command or option "Check".`,
		"check --conf $config":                      `Unknown command or option "--conf".`,
		"check -config $config":                     `Unknown command or option "-config".`,
		"check --verbose=1 --config=$config":        `Unknown command or option "--verbose".`,
		"check $config":                             "Unknown command or option.",
		"check=$config":                             "Command check takes no value.",
		"check discover --config $config":           "Two commands were given: check and discover.",
		"read read --config $config":                "Two commands were given: read and read.",
		"check":                                     "Command check needs --config FILE.",
		"check --catalog $catalog":                  "Command check needs --config FILE.",
		"discover":                                  "Command discover needs --config FILE.",
		"read --catalog $catalog":                   "Command read needs --config FILE.",
		"read --config $config":                     "Command read needs --catalog FILE.",
		"check --config":                            "Option --config needs a file.",
		"read --config $config --catalog":           "Option --catalog needs a file.",
		"read --config $config --catalog=c --state": "Option --state needs a file.",
		"check --config=":                           "The file of --config cannot be read",
	} {
		r := startLine(t, "", in, strings.Fields(line)...).wait()
		e := r.failed("config_error")
		if !strings.Contains(e.Message, want) || r.exit != 1 || len(r.messages) != 1 {
			t.Errorf("%s: exit code %d, %d messages, %s", line, r.exit, len(r.messages), e.Message)
		}
	}
}

// A file that cannot be used is an error that names its option, whatever else is right.
func TestUnusableFiles(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	outside := t.TempDir()
	dangling := filepath.Join(outside, "link.json")
	if err := os.Symlink(filepath.Join(outside, "nothing"), dangling); err != nil {
		t.Fatal(err)
	}
	good := func(option string) string { return "--" + option + "=$" + option }
	for _, option := range []string{"config", "catalog", "state"} {
		others := []string{"read"}
		for _, other := range []string{"config", "catalog", "state"} {
			if other != option {
				others = append(others, good(other))
			}
		}
		for what, path := range map[string]string{
			"missing": filepath.Join(outside, "missing.json"), "a directory": outside, "a dangling link": dangling,
			"below a file": "$" + option + "/config.json", "without a name": "",
		} {
			e := startLine(t, "", in, append(others, "--"+option, path)...).wait().failed("config_error")
			if !strings.Contains(e.Message, "The file of --"+option+" cannot be read") {
				t.Errorf("%s, %s: %s", option, what, e.Message)
			}
		}
		for what, content := range map[string]string{
			"empty": "", "blank": " \n", "cut off": `{"streams":[{"str`, "with more behind": `{} {}`,
			"no JSON": "host: localhost", "single quotes": `{'host': 'h'}`, "binary": "\x00\x01\xff\xfe",
			"UTF-16": "\xff\xfe{\x00}\x00", "with a comment": "{} // settings", "two marks": "\ufeff\ufeff{}",
		} {
			if option == "state" && strings.TrimSpace(content) == "" {
				continue // no state
			}
			in := in
			switch option {
			case "config":
				in.config = content
			case "catalog":
				in.catalog = content
			default:
				in.state = content
			}
			r := startLine(t, "", in, append(others, good(option))...).wait()
			if e := r.failed("config_error"); !strings.Contains(e.Message, "he file of --"+option) || len(r.messages) != 1 {
				t.Errorf("%s, %s: %s", option, what, e.Message)
			}
		}
	}
}

// What keeps a read from starting is told at once, so that a person mends it in one go.
func TestSeveralUnusableFiles(t *testing.T) {
	t.Parallel()
	in := input{config: map[string]any{"host": "h"}, catalog: "none", state: "none"}
	e := run(t, "read", in).failed("config_error")
	for _, want := range []string{`"database" is missing`, `"username" is missing`, "--catalog", "--state"} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("the message lacks %s: %s", want, e.Message)
		}
	}
}

// Editors of one big vendor begin UTF-8 files with a mark.
func TestFilesWithByteOrderMark(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	marked := func(content any) string { return "\ufeff" + string(text(t, content)) }
	with := input{config: marked(in.config), catalog: marked(in.catalog), state: marked(in.state)}
	for _, command := range []string{"check", "discover", "read"} {
		p := startLine(t, "", with, command, "--config", "$config", "--catalog", "$catalog", "--state", "$state")
		p.in = in // the checks of the harness read it
		p.wait().expectAnswer(command, command)
	}
}

// Platforms mount files read-only and through links, start the process in any directory, and set what they like in the
// environment.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	files, empty := t.TempDir(), t.TempDir()
	line := []string{}
	for name, content := range map[string]any{"config": in.config, "catalog": in.catalog, "state": in.state} {
		path, link := filepath.Join(files, name+" of ünits.json"), filepath.Join(files, name)
		if err := os.WriteFile(path, text(t, content), 0o444); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		line = append(line, "--"+name, link)
	}
	if err := os.Chmod(empty, 0o555); err != nil {
		t.Fatal(err)
	}
	in.env = []string{
		"HOME=/nonexistent", "TZ=Nowhere/Nothing", "LANG=xx_YY.ISO-8859-1", "LC_ALL=tr_TR", "PATH=", "TMPDIR=/nonexistent",
		"DEPLOYMENT_MODE=CLOUD", "WORKER_ENVIRONMENT=kubernetes", "GODEBUG=", "=odd", "no equals sign",
		"DATA_CHANNEL_MEDIUM=SOCKET", "DATA_CHANNEL_FORMAT=PROTOBUF", "DATA_CHANNEL_SOCKET_PATHS=/nonexistent/1.sock",
	}
	for _, dir := range []string{"/", empty, "/proc"} {
		for _, command := range []string{"spec", "check", "discover", "read"} {
			startLine(t, dir, in, append([]string{command}, line...)...).wait().expectAnswer(command, command+" in "+dir)
		}
	}
	left, err := os.ReadDir(empty)
	if err != nil || len(left) > 0 {
		t.Errorf("the working directory has %v, %v", left, err)
	}
}

// The answer to spec does not depend on anything, and it is the file of the repository.
func TestSpecIsTheFile(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../spec.json")
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, "spec", input{}).ok()
	if len(r.messages) != 1 {
		t.Fatalf("%d messages, want 1", len(r.messages))
	}
	var line struct{ Spec json.RawMessage }
	if err := json.Unmarshal(r.lines[0], &line); err != nil {
		t.Fatal(err)
	}
	if canonical(t, line.Spec) != canonical(t, file) {
		t.Errorf("spec answers %s", line.Spec)
	}
}
