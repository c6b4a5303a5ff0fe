// Testreport reads the output of go test -json and prints what a person wants to see of it: a line for each package, the
// whole output of what failed, and at the end how many tests ran, unit and integration, and on which server. A test that
// was skipped counts as a failure: a test that does not run proves nothing. Its exit code is 1 if anything failed or
// nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
)

// An event is a line of go test -json; go doc cmd/test2json describes it. Subtests are tests of their own.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// A count is how many tests of one kind there were.
type count struct{ passed, failed, skipped int }

func (c *count) add(action string) {
	switch action {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
	case "skip":
		c.skipped++
	}
}

func (c *count) String() string {
	text := fmt.Sprintf("%d passed, %d failed", c.passed, c.failed)
	if c.skipped > 0 {
		text += fmt.Sprintf(", %d skipped (which counts as failed)", c.skipped)
	}
	return text
}

// A report gathers the events.
type report struct {
	output   map[[2]string]*strings.Builder // by package and test
	packages map[string]*count
	builds   map[string]*strings.Builder // compiler output by import path
	kinds    map[string]*count           // unit, integration
	server   string                      // where the integration tests ran
	remarks  []string                    // what they have to say beside
	broken   bool                        // a package failed
}

func main() {
	r := &report{
		output: map[[2]string]*strings.Builder{}, packages: map[string]*count{}, builds: map[string]*strings.Builder{},
		kinds: map[string]*count{"unit": {}, "integration": {}},
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			r.event(&e)
		} else if len(line) > 0 {
			os.Stdout.Write(line)
		}
		if err != nil {
			break
		}
	}
	os.Exit(r.close())
}

func (r *report) event(e *event) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.text(key).WriteString(e.Output)
		if text, found := strings.CutPrefix(e.Output, "integration: "); found && e.Test == "" {
			if _, server, found := strings.Cut(text, " tests ran on "); found {
				r.server = strings.TrimSpace(server)
			} else {
				r.remarks = append(r.remarks, strings.TrimSpace(text))
			}
		}
		if strings.HasPrefix(e.Output, "seed: ") { // of a test that draws what it does
			fmt.Print(e.Output)
		}
	case "build-output":
		if r.builds[e.ImportPath] == nil {
			r.builds[e.ImportPath] = &strings.Builder{}
		}
		r.builds[e.ImportPath].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnd(e)
			return
		}
		r.kinds[kind(e.Package)].add(e.Action)
		if r.packages[e.Package] == nil {
			r.packages[e.Package] = &count{}
		}
		r.packages[e.Package].add(e.Action)
		if e.Action != "pass" {
			fmt.Print(r.text(key).String())
		}
		delete(r.output, key)
	}
}

func (r *report) packageEnd(e *event) {
	c := r.packages[e.Package]
	switch {
	case e.Action == "fail":
		r.broken = true
		if b := r.builds[e.FailedBuild]; b != nil {
			fmt.Print(b.String())
		}
		r.printRest(e.Package)
		fmt.Printf("FAIL  %-44s %6.1fs\n", e.Package, e.Elapsed)
	case c != nil:
		fmt.Printf("ok    %-44s %6.1fs  %d tests\n", e.Package, e.Elapsed, c.passed)
	}
}

// printRest prints what a failed package wrote outside of tests, and in tests that never ended.
func (r *report) printRest(name string) {
	var tests []string
	for key := range r.output {
		if key[0] == name {
			tests = append(tests, key[1])
		}
	}
	sort.Strings(tests)
	for _, test := range tests {
		fmt.Print(r.output[[2]string{name, test}].String())
	}
}

func (r *report) text(key [2]string) *strings.Builder {
	if r.output[key] == nil {
		r.output[key] = &strings.Builder{}
	}
	return r.output[key]
}

// close prints the sums and gives the exit code.
func (r *report) close() int {
	unit, integration := r.kinds["unit"], r.kinds["integration"]
	all := count{
		unit.passed + integration.passed, unit.failed + integration.failed, unit.skipped + integration.skipped,
	}
	for _, text := range r.remarks {
		fmt.Println("integration:", text)
	}
	if unit.passed+unit.failed > 0 {
		fmt.Println("unit:", unit)
	}
	switch {
	case r.server != "":
		fmt.Printf("integration: %v, on %s\n", integration, r.server)
	case integration.passed+integration.failed > 0:
		fmt.Println("integration:", integration)
	}
	if r.broken && all.failed == 0 {
		fmt.Println("a package failed outside of its tests")
		all.failed = 1
	}
	fmt.Println(&all)
	if all.failed > 0 || all.skipped > 0 || all.passed == 0 {
		return 1
	}
	return 0
}

// kind is which sort of tests a package has. The tests of pgtest start servers too.
func kind(name string) string {
	if strings.Contains(name+"/", "/integration_tests/") {
		return "integration"
	}
	return "unit"
}
