package main

import (
	"regexp"
	"strings"
	"testing"
)

// Every test that docs/guarantees.md names is there, and every row of its tables names one.
func TestGuaranteesHaveTests(t *testing.T) {
	tests := knownTests(t)
	rows, table := 0, false
	for line := range strings.Lines(read(t, "docs/guarantees.md")) {
		if !strings.HasPrefix(line, "|") {
			table = false
			continue
		}
		if strings.HasSuffix(strings.TrimSpace(line), "| Test |") {
			table = true
			continue
		}
		if !table || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("this row names no test: %s", line)
		}
		for _, name := range named {
			if _, ok := tests[name[1]]; !ok {
				t.Errorf("there is no %s: %s", name[1], line)
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d rows were found", rows)
	}
}
