package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A mutant is a connector with a mistake in it, such as others of its kind have had. A verifier that finds nothing
// wrong with one of them proves nothing about the right one.
type mutant struct {
	name string
	file string // of the module
	old  string // stands there once
	new  string
	mode string // the one in which it loses something
}

// mutants: what is wrong with each is its name.
var mutants = []mutant{
	{
		"naive hand-over: the position of the log is read after a snapshot that was taken by itself", "source/firstpass.go",
		"err = f.session.Begin(ctx, point.Snapshot)",
		"err = f.session.Begin(ctx, \"\")\n" +
			"\t\tlate, failed := cdc.LookUp(ctx, f.session.Conn, f.config)\n" +
			"\t\tif failed == nil {\n\t\t\tfollow.From, point.LSN = late.Flushed, late.Flushed\n\t\t}", "cdc",
	},
	{
		"acknowledged before the state: the server may forget what has only been read", "source/cdc/cdc.go",
		"if r.config.CDC.AcknowledgeReading {", "if true {", "cdc",
	},
	{
		"state before records", "protocol/writer.go",
		"\tif err := e.flush(); err != nil {\n\t\treturn err\n\t}\n\ts := next()\n",
		"\tfor _, r := range e.runs {\n\t\te.w.counts[r.stream] += r.count\n\t}\n\te.runs = e.runs[:0]\n" +
			"\ts := next()\n\tdefer func() { _ = e.flush() }()\n", "standard",
	},
	{
		"off by one at the end of a range of blocks", "source/scan/pass.go",
		`'(%d,0)'", r.From, r.To)`, `'(%d,0)'", r.From, r.To-1)`, "refresh",
	},
	{
		"the last range ends where the table ended when it was measured", "source/plan/ranges.go",
		"if to >= longest(s) || to > r.To {", "if to >= longest(s) {\n\t\t\t\tto = max(longest(s), from+1)\n" +
			"\t\t\t\treturn append(cut, state.Range{From: from, To: to})\n\t\t\t}\n\t\t\tif to > r.To {", "cdc",
	},
	{
		"rows that are committed late are not looked for", "source/scan/late.go",
		"\tcase late == noRow:\n", "\tcase true:\n", "standard",
	},
	{
		"ties of the last cursor are dropped", "source/scan/late.go",
		`c.sql = column + " >= " + lowest + " AND " + either`,
		`c.sql = column + " > $1 AND " + either`, "standard",
	},
	{
		"xmin goes on behind its bound instead of at it", "source/scan/open.go",
		"now.writtenSince(last.Bound)", "now.writtenSince(last.Bound + 1)", "xmin",
	},
	{
		"the bound of xmin is what comes next, not what is open", "source/scan/open.go",
		"Bound: now.Xmin}", "Bound: now.Xmax}", "xmin",
	},
	{
		"rows that moved to finished ranges between two attempts are not looked for", "source/scan/open.go",
		"again, err := w.resumed(ctx, p, from, now)",
		"again, err := w.resumed(ctx, p, from, now)\n\tagain = condition{sql: noRow}",
		"refresh",
	},
	{
		"block numbers of other files are believed", "source/plan/resume.go",
		"if added, ok := s.Table.Storage.Added(from.Filenode); ok {",
		"if added, ok := s.Table.Storage.Added(from.Filenode); ok || true {", "refresh",
	},
	{
		"each connection has a snapshot of its own", "source/scan/scan.go",
		"err = s.Server.Begin(ctx, conn, snapshot)", `err = s.Server.Begin(ctx, conn, "")`, "refresh",
	},
	{
		"a finished full refresh is never begun anew", "source/plan/resume.go",
		"return a != nil && b != nil && *a == *b", "return true", "refresh",
	},
	{
		"the old key of a row that gets another is not deleted", "source/cdc/apply.go",
		"if m.old.present() && t.moved(m) {", "if m.old.present() && t.moved(m) && false {", "cdc",
	},
	{
		"a large value that the log leaves out is null", "source/cdc/apply.go",
		"\t\treturn old.values[i], true\n\t}\n\treturn nil, false\n",
		"\t\treturn old.values[i], true\n\t}\n\treturn nil, true\n", "cdc",
	},
	{
		"a state does not wait for records whose values are being looked up", "source/cdc/cdc.go",
		"\tif err := r.settle(ctx); err != nil {\n\t\treturn err\n\t}\n\tat := r.at\n", "\tat := r.at\n", "cdc",
	},
	{
		"changes of one position have one number", "source/cdc/apply.go",
		"r.number = max(r.number, uint64(r.committing), t.above) + 1",
		"r.number = max(r.number, uint64(r.committing)+1, t.above+1)", "cdc",
	},
	{
		"a slot that has moved on is read from all the same", "source/cdc/slot.go",
		"if at >= s.Confirmed {", "if at >= s.Confirmed || true {", "cdc",
	},
	{
		"states stand in the middle of a transaction", "source/cdc/cdc.go",
		"\t\treturn r.change(ctx, m)\n\tcase 'T':\n",
		"\t\tif err := r.change(ctx, m); err != nil {\n\t\t\treturn err\n\t\t}\n" +
			"\t\tr.at.LSN = max(r.at.LSN, r.committing+1)\n\t\treturn r.checkpoint(ctx, r.sent%100 == 99)\n\tcase 'T':\n", "cdc",
	},
	{
		"a truncated table is passed over in silence", "source/cdc/cdc.go",
		"\t\tr.truncated(m.relations)\n", "", "cdc",
	},
}

// replacement is the file with the mistake in it.
func (m mutant) replacement(root string) (path string, text []byte, err error) {
	path = filepath.Join(root, filepath.FromSlash(m.file))
	right, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	if n := strings.Count(string(right), m.old); n != 1 {
		return "", nil, fmt.Errorf("mutant %q: what it changes is in %s %d times, not once: %s", m.name, m.file, n, m.old)
	}
	return path, []byte(strings.Replace(string(right), m.old, m.new, 1)), nil
}

// build makes the mutant in dir, without touching the module.
func (m mutant) build(ctx context.Context, dir string) (binary string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	path, text, err := m.replacement(root)
	if err != nil {
		return "", err
	}
	wrong, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(wrong, text, 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{path: wrong}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "source-postgres")
	if err := build(ctx, binary, "-overlay", overlay); err != nil {
		return "", fmt.Errorf("mutant %q: %w", m.name, err)
	}
	return binary, nil
}

// Attempts that a mutant has to be caught in, from each of some seeds. The one that is hardest to catch takes about 50
// of them, so that 200 were not enough once.
const mutantRounds, mutantSeeds = 40, 10

// catchAll verifies every mutant whose name has what. Each has to be caught.
func catchAll(ctx context.Context, dir, what string, seed uint64) error {
	var mu sync.Mutex
	var escaped []error
	tickets := make(chan bool, 2)
	var group sync.WaitGroup
	chosen := 0
	for i, m := range mutants {
		if !strings.Contains(m.name, what) {
			continue
		}
		chosen++
		tickets <- true
		group.Go(func() {
			defer func() { <-tickets }()
			begun := time.Now()
			own := filepath.Join(dir, fmt.Sprint(i))
			err := os.Mkdir(own, 0o700)
			caught := ""
			if err == nil {
				caught, err = m.catch(ctx, own, seed)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				escaped = append(escaped, err)
			case caught == "":
				escaped = append(escaped, fmt.Errorf("mutant %q was not caught in mode %s", m.name, m.mode))
				logLine("NOT CAUGHT  %s", m.name)
			default:
				logLine("caught in %2.0f s  %s\n                %s", time.Since(begun).Seconds(), m.name, caught)
			}
		})
	}
	group.Wait()
	logLine("%d mutants, %d caught", chosen, chosen-len(escaped))
	return errors.Join(escaped...)
}

// catch gives the violation.
func (m mutant) catch(ctx context.Context, dir string, seed uint64) (caught string, err error) {
	binary, err := m.build(ctx, dir)
	if err != nil {
		return "", err
	}
	o := options{binary: binary, rounds: mutantRounds, without: set{}, hard: true, log: func(string, ...any) {}}
	for _, one := range modes {
		if one.name == m.mode {
			o.mode = one
		}
	}
	for o.seed = seed; o.seed < seed+mutantSeeds; o.seed++ {
		round, err := verify(ctx, o)
		var b *broken
		switch {
		case ctx.Err() != nil: // whatever broke then proves nothing
			return "", ctx.Err()
		case errors.As(err, &b):
			return fmt.Sprintf("seed %d, round %d: %.200s", o.seed, round, b.text), nil
		case err != nil:
			return "", fmt.Errorf("mutant %q: %w", m.name, err)
		}
	}
	return "", nil
}
