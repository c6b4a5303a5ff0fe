package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// protocolPoints is how many points docs/conformance.md has; those of the sockets have no test as long as metadata.yaml
// does not declare them.
const (
	protocolPoints = 68
	firstOfSockets = 59
	lastOfSockets  = 64
)

var (
	pointPattern = regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.+) \|$`)
	testPattern  = regexp.MustCompile("`([^`]+)`")
	goTest       = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	pythonTest   = regexp.MustCompile(`(?m)^(?:    )?(?:def|class) (\w+)`)
)

// Every point of the protocol has a test, which is there and which .ci/run runs.
func TestEveryPointOfTheProtocolHasATest(t *testing.T) {
	t.Parallel()
	known := knownTests(t)
	harnesses := read(t, ".ci/run")
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
			if !known[test[1]] {
				t.Errorf("point %d: there is no test %s", number, test[1])
			}
			if harness, _, ok := strings.Cut(test[1], "/"); ok && !strings.Contains(harnesses, harness) {
				t.Errorf("point %d: .ci/run does not run %s", number, harness)
			}
		}
	}
	if next != protocolPoints+1 {
		t.Errorf("the last point is %d, want %d", next-1, protocolPoints)
	}
}

// knownTests has the names of the tests in Go, and those in Python with their files: cdk/test_standard.py::TestImage.
func knownTests(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		base := path.Base(filepath.ToSlash(name))
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(base, ".") && name != ".":
			return filepath.SkipDir
		case strings.HasSuffix(base, "_test.go"):
			for _, match := range goTest.FindAllStringSubmatch(read(t, name), -1) {
				known[match[1]] = true
			}
		case strings.HasPrefix(base, "test_") && path.Ext(base) == ".py":
			file := path.Base(path.Dir(filepath.ToSlash(name))) + "/" + base
			for _, match := range pythonTest.FindAllStringSubmatch(read(t, name), -1) {
				known[file+"::"+match[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
