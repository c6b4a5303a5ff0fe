package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
)

// read is the connector's read command; the names are those of files that write made, state may be empty.
func (b *bench) read(config, catalog, state string) command {
	args := []string{"read", "--config", config, "--catalog", catalog}
	if state != "" {
		args = append(args, "--state", state)
	}
	return b.run(args...)
}

// run is any command of the connector, with nothing in its environment.
func (b *bench) run(args ...string) command { return command{path: b.connector, args: args} }

// null is c with its output to /dev/null.
func (c command) null() command {
	c.sink = toNull
	return c
}

// program is one of PostgreSQL's own, connected to the section's database, its output to /dev/null.
func (b *bench) program(name string, args ...string) command {
	return command{path: filepath.Join(b.programs, name), args: args, sink: toNull, env: []string{
		"PGHOST=" + b.host, fmt.Sprintf("PGPORT=%d", b.db.Port), "PGUSER=" + b.db.User,
		"PGPASSWORD=" + b.db.Password, "PGDATABASE=" + b.db.Name,
	}}
}

// psql runs one statement; options are of the server, as in "-c jit=off".
func (b *bench) psql(sql, options string) command {
	c := b.program("psql", "-X", "-q", "-c", sql)
	c.env = append(c.env, "PGOPTIONS="+options)
	return c
}

// config writes settings for the section's database, with overrides of whole fields, and gives the file's name.
func (b *bench) config(name string, overrides map[string]any) (string, error) {
	settings := map[string]any{
		"host": b.host, "port": b.db.Port, "database": b.db.Name, "schemas": []string{"public"}, "ssl": false,
		"username": b.db.User, "password": b.db.Password,
	}
	maps.Copy(settings, overrides)
	return name + ".json", b.write(name+".json", settings)
}

// write makes a JSON file for the connector. Only this user may read it: one holds a password.
func (b *bench) write(name string, value any) error {
	text, err := json.Marshal(value)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, name), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// catalog writes a configured catalog with one table as discover describes it, or with all where table is empty, and
// gives the file's name.
func (b *bench) catalog(ctx context.Context, config, table, mode string, cursor ...string) (string, error) {
	r, err := b.observe(ctx, b.run("discover", "--config", config))
	if err != nil {
		return "", err
	}
	var streams []any
	for _, stream := range r.streams {
		var described struct{ Name string }
		if err := json.Unmarshal(stream, &described); err != nil {
			return "", fmt.Errorf("read a stream of the catalog: %w", err)
		}
		if described.Name == table || table == "" {
			streams = append(streams, map[string]any{
				"stream": stream, "sync_mode": mode, "cursor_field": cursor, "destination_sync_mode": "append",
			})
		}
	}
	if streams == nil {
		return "", fmt.Errorf("discover did not find table %s", table)
	}
	name := "catalog-" + table + "-" + config
	return name, b.write(name, map[string]any{"streams": streams})
}

// sync runs a first sync of one stream and writes its last state; it gives the file's name.
func (b *bench) sync(ctx context.Context, config, catalog, state string) (string, error) {
	r, err := b.observe(ctx, b.read(config, catalog, ""))
	if err != nil {
		return "", err
	}
	if r.state == nil {
		return "", fmt.Errorf("the first sync wrote no state")
	}
	return state + ".json", b.write(state+".json", []json.RawMessage{r.state})
}

// A reading is what a run of the connector wrote.
type reading struct {
	records int64
	size    int64             // of all lines, in bytes
	state   json.RawMessage   // the last one
	streams []json.RawMessage // of discover's catalog
}

// observe runs c and looks at every line.
func (b *bench) observe(ctx context.Context, c command) (reading, error) {
	cmd, stderr := b.process(ctx, c)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return reading{}, fmt.Errorf("run the connector: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return reading{}, fmt.Errorf("run the connector: %w", err)
	}
	r, last, err := look(out)
	if ended := cmd.Wait(); ended != nil {
		return r, fmt.Errorf("run the connector: %w: %s%s", ended, stderr, last)
	}
	return r, err
}

// look reads the lines of the connector's output, and gives the last but the records too.
func look(out io.Reader) (r reading, last string, err error) {
	const longest = 256 << 20
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 1<<20), longest)
	for lines.Scan() {
		r.size += int64(len(lines.Bytes())) + 1
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"type":"RECORD"`)) {
			r.records++
			continue
		}
		var m struct {
			Type    string
			State   json.RawMessage
			Catalog struct{ Streams []json.RawMessage }
			Trace   struct{ Error json.RawMessage }
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return r, last, fmt.Errorf("read a message of the connector: %w", err)
		}
		switch {
		case m.Type == "STATE":
			r.state = m.State
		case m.Type == "CATALOG":
			r.streams = m.Catalog.Streams
		case m.Trace.Error != nil:
			last = string(m.Trace.Error)
		}
	}
	return r, last, lines.Err()
}
