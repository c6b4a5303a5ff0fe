package integration

import (
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A block is a fenced block of a page: its language, its text, and the last code in the line that leads to it.
type block struct{ language, text, file string }

var fenced = regexp.MustCompile("(?m)^```(sh|sql|json)\n((?:.*\n)*?)```$")

// blocks are the blocks of one section of a page, in order.
func blocks(t *testing.T, page, section string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var found []block
	end := 0
	for _, at := range fenced.FindAllStringSubmatchIndex(rest, -1) {
		codes := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(rest[end:at[0]], -1)
		b := block{language: rest[at[2]:at[3]], text: rest[at[4]:at[5]]}
		if len(codes) > 0 {
			b.file = codes[len(codes)-1][1]
		}
		found, end = append(found, b), at[1]
	}
	return found
}

// checkout copies what make build needs into an empty directory.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	names, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spec.json", "go.mod", "go.sum", "Makefile", "metadata.yaml", "protocol", "source"} {
		names = append(names, filepath.Join("..", name))
	}
	for _, name := range names {
		err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := filepath.Join(dir, strings.TrimPrefix(path, ".."))
			if entry.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A newcomer who does what README.md says, and nothing else, ends up with the changes of a table of his own. The server
// is one that nobody has prepared, the directory holds what a clone does, and the environment hardly anything.
func TestReadmeLeadsToChanges(t *testing.T) {
	t.Parallel()
	s := private(t, "wal_level = replica")
	// The page calls its database shop, and its table orders.
	db := newDBOn(t, s)
	do(t, db.connect(), `CREATE TABLE orders (id int PRIMARY KEY, total numeric, note text);
		INSERT INTO orders VALUES (1, 9.50), (2, 3)`)
	_, port, err := net.SplitHostPort(strings.SplitN(strings.SplitN(db.URL(), "@", 2)[1], "/", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(`"localhost"`, `"127.0.0.1"`, "5432", port, `"shop"`, `"`+db.Name+`"`)
	dir := checkout(t)
	shell := func(script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOFLAGS"} { // what has been fetched
			value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(string(value)))
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			said, _ := os.ReadFile(filepath.Join(dir, "first.jsonl"))
			t.Fatalf("%s: %v: %s%s", script, err, out, said)
		}
	}
	statements := 0
	for _, b := range blocks(t, "../README.md", "From nothing to changes") {
		switch b.language {
		case "json":
			if err := os.WriteFile(filepath.Join(dir, b.file), []byte(here.Replace(b.text)), 0o600); err != nil {
				t.Fatal(err)
			}
		case "sql":
			for statement := range strings.Lines(b.text) {
				do(t, db.connect(), statement)
				statements++
				if strings.Contains(statement, "restart the server") {
					if err := s.Restart(t.Context(), "fast"); err != nil {
						t.Fatal(err)
					}
				}
			}
		case "sh":
			if strings.Contains(b.text, "second.jsonl") {
				do(t, db.connect(), "UPDATE orders SET total = 12.25 WHERE id = 1; DELETE FROM orders WHERE id = 2")
			}
			shell(b.text)
		}
	}
	if statements != 5 {
		t.Errorf("%d statements of SQL, the page says five", statements)
	}
	for file, want := range map[string][]string{
		"first.jsonl":  {`{"id":1,"total":9.50,"deleted":false}`, `{"id":2,"total":3,"deleted":false}`},
		"second.jsonl": {`{"id":1,"total":12.25,"deleted":false}`, `{"id":2,"total":null,"deleted":true}`},
	} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		expectList(t, ordersIn(t, text), want...)
	}
}

// ordersIn are the records of a connector's output, in short.
func ordersIn(t *testing.T, output []byte) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(string(output)) {
		var m struct {
			Record *struct {
				Data struct {
					ID      int             `json:"id"`
					Total   json.RawMessage `json:"total"`
					Deleted *string         `json:"_ab_cdc_deleted_at"`
				} `json:"data"`
			} `json:"record"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if m.Record == nil {
			continue
		}
		text, err := json.Marshal(struct {
			ID      int             `json:"id"`
			Total   json.RawMessage `json:"total"`
			Deleted bool            `json:"deleted"`
		}{m.Record.Data.ID, m.Record.Data.Total, m.Record.Data.Deleted != nil})
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, string(text))
	}
	return found
}

// The examples of every mode do what they say, with the table that goes with them.
func TestExamplesRead(t *testing.T) {
	t.Parallel()
	db := newDBOn(t, private(t))
	setup, err := os.ReadFile("../examples/setup.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(regexp.MustCompile("--.*").ReplaceAllString(string(setup), ""), ";") {
		if strings.TrimSpace(statement) != "" {
			db.exec(statement)
		}
	}
	for _, mode := range []string{"full-refresh", "standard", "xmin", "cdc"} {
		var config map[string]any
		text, err := os.ReadFile("../examples/" + mode + "/config.json")
		if err == nil {
			err = json.Unmarshal(text, &config)
		}
		if err != nil {
			t.Fatal(err)
		}
		config["host"], config["port"], config["database"] = db.Host, db.Port, db.Name
		catalog, err := os.ReadFile("../examples/" + mode + "/catalog.json")
		if err != nil {
			t.Fatal(err)
		}
		expectSucceeded(t, mode, config)
		in := input{config: config, catalog: catalog}
		r := run(t, "read", in).ok()
		in.state = r.lastState()
		again := len(run(t, "read", in).ok().records("orders"))
		if n := len(r.records("orders")); n != 1000 || again != 0 && mode != "full-refresh" {
			t.Errorf("%s: %d records, and %d in the next sync", mode, n, again)
		}
	}
}
