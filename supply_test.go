package main

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// licences tells a licence by a phrase that only it has.
var licences = map[string]string{
	"MIT":          "Permission is hereby granted, free of charge",
	"BSD-3-Clause": "Neither the name of Google",
	"Apache-2.0":   "Apache License",
}

// docs/licences.md lists every module that is in the binary, with its licence: that which is in the module's own files.
func TestLicencesAreListed(t *testing.T) {
	page, err := os.ReadFile("docs/licences.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		row := "| `" + path + "` | " + licenceIn(t, dir) + " |"
		if path != "" && path != "source-postgres" && !slices.Contains(want, row) {
			want = append(want, row)
		}
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, "| the Go standard library and runtime | "+licenceIn(t, strings.TrimSpace(string(goroot)))+" |")
	var got []string
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 4 && !strings.Contains(line, "---") && cells[1] != " Module " {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) < 5 {
		t.Errorf("docs/licences.md has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// licenceIn names the licence in a directory. Distributions keep that of Go elsewhere.
func licenceIn(t *testing.T, dir string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "LICENSE*"))
	for _, file := range append(files, "/usr/share/doc/golang-go/copyright") {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for name, phrase := range licences {
			if strings.Contains(string(text), phrase) {
				return name
			}
		}
	}
	return "unknown: " + dir
}

// The same source gives the same binary, byte by byte, wherever it lies. With REPRODUCIBLE=full each build has a cache
// of its own, which is empty, so that everything is compiled twice: make reproducible.
func TestBuildIsReproducible(t *testing.T) {
	parts, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	parts = append(parts, "go.mod", "go.sum", "spec.json", "protocol", "source")
	var sums [][]byte
	for _, name := range []string{"one", "another place/with blanks"} {
		dir := filepath.Join(t.TempDir(), name)
		for _, part := range parts {
			copyTree(t, part, filepath.Join(dir, part))
		}
		binary := filepath.Join(t.TempDir(), "source-postgres")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "-ldflags",
			"-s -w -X source-postgres/protocol.Version=0.0.0", ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
		if os.Getenv("REPRODUCIBLE") == "full" {
			cmd.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		content, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(dir)) {
			t.Errorf("the binary names the directory %s", dir)
		}
		sum := sha256.Sum256(content)
		sums = append(sums, sum[:])
	}
	t.Logf("sha256 %x and %x", sums[0], sums[1])
	if !bytes.Equal(sums[0], sums[1]) {
		t.Error("the two builds differ")
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
