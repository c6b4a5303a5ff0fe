package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// protocolPoints is how many points docs/conformance.md has; those of the sockets have no test as long as metadata.yaml
// does not declare them.
const (
	protocolPoints = 69
	firstOfSockets = 59
	lastOfSockets  = 64
)

var (
	pointPattern  = regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.+) \|$`)
	testPattern   = regexp.MustCompile("`([^`]+)`")
	pythonPattern = regexp.MustCompile(`(?m)^((?: {4})?)(?:def|class) (\w+)`)
	wordPattern   = regexp.MustCompile(`[a-z0-9]{4,}`)
	humpPattern   = regexp.MustCompile(`([a-z])([A-Z])`)
	// harnessPattern finds the harnesses of .ci/run.
	harnessPattern = regexp.MustCompile(`harnesses='(.+)'`)
	imagePattern   = regexp.MustCompile(`^Test(Image|Launcher)`) // as in the Makefile
	skipPattern    = regexp.MustCompile(`\.(Skip|SkipNow|Skipf)\(|\bskip(if)?\(|\bxfail\b`)
)

// Every point of the protocol has a test, which is there, which .ci/run runs, and which is about the point: they have a
// word in common.
func TestEveryPointOfTheProtocolHasATest(t *testing.T) {
	t.Parallel()
	known := knownTests(t)
	all := harnessPattern.FindStringSubmatch(read(t, ".ci/run"))
	if all == nil || !strings.Contains(read(t, ".ci/conformance"), "set -- "+all[1]+"\n") {
		t.Fatalf(".ci/run and .ci/conformance do not have the same harnesses: %q", all)
	}
	harnesses := strings.Fields(all[1])
	sockets := strings.Contains(read(t, "metadata.yaml"), "connectorIPCOptions")
	next := 1
	for _, row := range pointPattern.FindAllStringSubmatch(read(t, "docs/conformance.md"), -1) {
		number, err := strconv.Atoi(row[1])
		if err != nil || number != next {
			t.Fatalf("point %s: want %d", row[1], next)
		}
		next++
		if row[3] == "not offered" {
			if sockets || number < firstOfSockets || number > lastOfSockets {
				t.Errorf("point %d has no test", number)
			}
			continue
		}
		tests := testPattern.FindAllStringSubmatch(row[3], -1)
		if len(tests) == 0 {
			t.Errorf("point %d names no test", number)
		}
		for _, test := range tests {
			source, ok := known[test[1]]
			switch {
			case !ok:
				t.Errorf("point %d: there is no test %s", number, test[1])
			case skipPattern.MatchString(source):
				t.Errorf("point %d: %s may be skipped", number, test[1])
			case !inCommon(row[2], source):
				t.Errorf("point %d: %s says nothing of %q", number, test[1], row[2])
			}
			if harness, _, ok := strings.Cut(test[1], "/"); ok && !slices.Contains(harnesses, harness) {
				t.Errorf("point %d: .ci/run does not run %s", number, harness)
			}
		}
	}
	if next != protocolPoints+1 {
		t.Errorf("the last point is %d, want %d", next-1, protocolPoints)
	}
}

// everywhere has words that say nothing of what a test is about.
var everywhere = strings.Fields("every with what that only from they them never same while")

// inCommon says whether a point and a test share a word, as far as its first five letters go.
func inCommon(point, source string) bool {
	words := map[string]bool{}
	stem := func(word string) string { return word[:min(len(word), 5)] }
	for _, word := range wordPattern.FindAllString(strings.ToLower(humpPattern.ReplaceAllString(source, "$1 $2")), -1) {
		words[stem(word)] = true
	}
	for _, word := range wordPattern.FindAllString(strings.ToLower(point), -1) {
		if !slices.Contains(everywhere, word) && words[stem(word)] {
			return true
		}
	}
	return false
}

// knownTests has the text of every test that is run, its comment included, by its name; in Python by its file too:
// cdk/test_standard.py::TestImage. Of a file that a build constraint leaves out of make test those count that
// make image-test runs.
func knownTests(t *testing.T) map[string]string {
	t.Helper()
	known := map[string]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		base := path.Base(filepath.ToSlash(name))
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(base, ".") && name != ".":
			return filepath.SkipDir
		case strings.HasSuffix(base, "_test.go"):
			goTests(t, name, known)
		case strings.HasPrefix(base, "test_") && path.Ext(base) == ".py":
			file := path.Base(path.Dir(filepath.ToSlash(name))) + "/" + base
			pythonTests(file, read(t, name), known)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known
}

func goTests(t *testing.T, name string, known map[string]string) {
	t.Helper()
	text := read(t, name)
	image := strings.HasPrefix(text, "//go:build image\n")
	if strings.HasPrefix(text, "//go:build ") && !image {
		return
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
			continue
		}
		if image && !imagePattern.MatchString(f.Name.Name) {
			continue
		}
		begin := f.Pos()
		if f.Doc != nil {
			begin = f.Doc.Pos()
		}
		known[f.Name.Name] = text[files.Position(begin).Offset:files.Position(f.End()).Offset]
	}
}

// pythonTests finds functions and classes with all that is indented below them, and the decorators above.
func pythonTests(file, text string, known map[string]string) {
	for _, at := range pythonPattern.FindAllStringSubmatchIndex(text, -1) {
		indent, name, end := text[at[2]:at[3]], text[at[4]:at[5]], len(text)
		if next := regexp.MustCompile(`\n` + indent + `\S`).FindStringIndex(text[at[1]:]); next != nil {
			end = at[1] + next[0]
		}
		decorators := regexp.MustCompile(`(?:\n *@.*)+\n$`).FindString(text[:at[0]])
		known[file+"::"+name] = decorators + text[at[0]:end]
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
