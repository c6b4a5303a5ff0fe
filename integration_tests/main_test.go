// Package integration tests the connector from outside: a binary built from this module, run as the platform runs it,
// against real PostgreSQL servers. Every run of the binary goes through the harness, which holds each line of its
// output against the protocol (message_test.go) and the run as a whole against what a platform relies on
// (invariants_test.go).
package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"source-postgres/integration_tests/pgtest"
)

var (
	connector string         // path of the binary under test
	server    *pgtest.Server // shared by all tests; each has databases of its own

	counted sync.Map // names of the top-level tests that used the harness

	remarks struct { // for the end of the run
		sync.Mutex
		texts []string
	}
)

// remark has a line shown at the end of the run: what was found, or what this machine could not run.
func remark(format string, args ...any) {
	remarks.Lock()
	defer remarks.Unlock()
	remarks.texts = append(remarks.texts, fmt.Sprintf(format, args...))
}

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

// runTests builds the connector, starts the server, runs the tests, and says on which server they ran.
func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "source-postgres-")
	if err != nil {
		return 0, fmt.Errorf("make a directory for the connector: %w", err)
	}
	defer os.RemoveAll(dir)
	connector = filepath.Join(dir, "source-postgres")
	if err := build(connector); err != nil {
		return 0, err
	}
	server, err = pgtest.Start(context.Background())
	if err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := server.Stop(); stopErr != nil && err == nil {
			err = stopErr
		}
	}()
	code = m.Run()
	tests := 0
	counted.Range(func(any, any) bool { tests++; return true })
	slices.Sort(remarks.texts)
	for _, text := range remarks.texts {
		fmt.Println("integration:", text)
	}
	fmt.Printf("integration: %d tests ran on %s\n", tests, server)
	return code, nil
}

// raced says that the connector has the race detector, which makes it many times slower: tests whose number of rows or
// of repetitions is not what they are about make do with fewer.
var raced = os.Getenv("CONNECTOR_RACE") == "1"

// fewer is n, or a tenth of it if the connector is raced.
func fewer(n int) int {
	if raced {
		return n / 10
	}
	return n
}

// build compiles the module's program, static as make build does it. CONNECTOR_RACE=1 gives it the race detector, which
// needs C.
func build(binary string) error {
	args, cgo := []string{"build", "-o", binary}, "0"
	if raced {
		args, cgo = append(args, "-race"), "1"
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the connector: %w\n%s", err, out)
	}
	return nil
}

// fromEnvironment is a number that an environment variable may set.
func fromEnvironment(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// count notes that t's top-level test used the harness.
func count(t *testing.T) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	counted.Store(name, true)
}
