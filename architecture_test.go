package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed says which packages of this module, and which modules outside, each package's own code (not its tests) may
// import. Data flows one way: from main over source and the readers down to the facts, and nothing points back. A
// package without a line here fails.
var allowed = map[string]struct{ ours, others []string }{
	".":        {ours: []string{"protocol", "source"}},
	"protocol": {others: []string{"github.com/xeipuuv/gojsonschema", "golang.org/x/sys/unix"}},
	"source/cdc": {
		ours: []string{
			"protocol", "source/catalog", "source/codec", "source/config", "source/plan", "source/postgres",
			"source/state",
		},
		others: []string{
			"github.com/jackc/pglogrepl", "github.com/jackc/pgx/v5/pgconn", "github.com/jackc/pgx/v5/pgproto3",
			"golang.org/x/sync/errgroup",
		},
	},
	"source": {
		ours: []string{
			"protocol", "source/catalog", "source/cdc", "source/config", "source/plan", "source/postgres",
			"source/scan", "source/state",
		},
		others: []string{"github.com/jackc/pglogrepl"},
	},
	"source/config": {ours: []string{"protocol"}},
	"source/codec":  {ours: []string{"protocol"}, others: []string{"github.com/jackc/pgx/v5/pgtype"}},
	"source/state":  {ours: []string{"protocol"}, others: []string{"github.com/jackc/pglogrepl"}},
	"source/postgres": {
		ours: []string{"protocol", "source/config"},
		others: []string{
			"github.com/jackc/pgx/v5/pgconn", "github.com/jackc/pgx/v5/pgproto3", "golang.org/x/crypto/ssh",
			"golang.org/x/crypto/ssh/knownhosts", "golang.org/x/sys/unix",
		},
	},
	"source/catalog": {
		ours:   []string{"protocol", "source/codec", "source/postgres"},
		others: []string{"github.com/jackc/pgx/v5/pgconn"},
	},
	"source/plan": {
		ours:   []string{"protocol", "source/catalog", "source/codec", "source/config", "source/postgres", "source/state"},
		others: []string{"github.com/jackc/pgx/v5/pgtype"},
	},
	"source/scan": {
		ours: []string{"protocol", "source/catalog", "source/codec", "source/plan", "source/postgres", "source/state"},
		others: []string{
			"github.com/jackc/pglogrepl", "github.com/jackc/pgx/v5/pgconn", "github.com/jackc/pgx/v5/pgtype",
			"golang.org/x/sync/errgroup",
		},
	},
	"benchmarks":               {ours: []string{"integration_tests/pgtest", "source/codec"}, others: []string{"*"}},
	"integration_tests":        {},
	"integration_tests/pgtest": {others: []string{"*"}},
	"integration_tests/chaos":  {ours: []string{"integration_tests/pgtest"}, others: []string{"*"}},
	"integration_tests/serve":  {ours: []string{"integration_tests/pgtest"}},
	"integration_tests/form":   {ours: []string{"integration_tests/pgtest"}},
	"integration_tests/demo":   {ours: []string{"integration_tests/pgtest"}, others: []string{"*"}},
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	const module = "source-postgres"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	packages := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages++
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if name == "" {
			name = "."
		}
		may, ok := allowed[name]
		if !ok {
			t.Errorf("package %s has no line in the table: say what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			ours, inside := strings.CutPrefix(imported, module+"/")
			switch {
			case inside && !slices.Contains(may.ours, ours):
				t.Errorf("%s imports %s, which it may not", name, ours)
			case !inside && strings.Contains(strings.Split(imported, "/")[0], ".") &&
				!slices.Contains(may.others, imported) && !slices.Contains(may.others, "*"):
				t.Errorf("%s imports %s, which it may not", name, imported)
			}
		}
	}
	if packages != len(allowed) {
		t.Errorf("go list knows %d packages, the table %d: %s", packages, len(allowed), path.Base(module))
	}
}

func TestFilesAreShort(t *testing.T) {
	const most = 400
	files := 0
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		files++
		if n := strings.Count(read(t, name), "\n"); n > most {
			t.Errorf("%s has %d lines, more than %d", name, n, most)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files were found: %v", files, err)
	}
}
