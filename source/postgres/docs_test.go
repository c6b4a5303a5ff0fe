package postgres

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// docs/troubleshooting.md shows both tables of causes, row by row, as they are here.
func TestCausesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var byMessage, byCode []string
	for _, c := range conditions {
		byMessage = append(byMessage, tableRow("`"+c.what+"`", "`"+c.code+"`", kindWord(c.cause), c.hint))
	}
	for _, code := range slices.Sorted(maps.Keys(states)) {
		s := states[code]
		shown := "`" + code + "`"
		if len(code) == 2 {
			shown = "`" + code + "…`"
		}
		byCode = append(byCode, tableRow(shown, kindWord(cause{kind: s.kind}), s.means, s.hint))
	}
	for heading, want := range map[string][]string{"## Connecting": byMessage, "## By state code": byCode} {
		_, section, _ := strings.Cut(string(page), "\n"+heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if table := strings.Join(want, "\n"); !strings.Contains(section, table) {
			t.Errorf("docs/troubleshooting.md: under %q the table is not\n%s", heading, table)
		}
	}
}

func tableRow(cells ...string) string {
	for i, cell := range cells {
		if cell == "" {
			cells[i] = "–"
		}
		cells[i] = strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(cells[i])
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func kindWord(c cause) string { return strings.TrimSuffix(fmt.Sprint(c.kind), "_error") }
