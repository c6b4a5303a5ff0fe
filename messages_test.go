package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A said is a text of the code that users see: an error's message, or a warning.
type said struct{ text, place string }

var verb = regexp.MustCompile(`%(\[\d\])?[a-z]`)

// literal is the text of a string expression, or of the format that makes it, with … for what is put in; "" if the
// expression is none.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value)
			return verb.ReplaceAllString(strings.ReplaceAll(text, "%q", `"%s"`), "…")
		}
	case *ast.BinaryExpr:
		left, right := literal(e.X), literal(e.Y)
		if left == "" && right == "" {
			return ""
		}
		if left == "" {
			left = "…"
		}
		if right == "" {
			right = "…"
		}
		return left + right
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return literal(e.Args[0])
		}
	}
	return ""
}

// messages are what a file says: fields called Message of errors, assignments to such, and warnings of the log.
func messages(files *token.FileSet, file *ast.File) []said {
	var found []said
	add := func(e ast.Expr) {
		if text := literal(e); text != "" {
			found = append(found, said{text, files.Position(e.Pos()).String()})
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Message" {
				add(n.Value)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "Message" && i < len(n.Rhs) {
					add(n.Rhs[i])
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Warn" && len(n.Args) > 0 {
				add(n.Args[0])
			}
		}
		return true
	})
	return found
}

// quoted are the texts in code on a page, as the parts between their ….
func quoted(t *testing.T, page string) [][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found [][]string
	for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(text), -1) {
		parts := strings.Split(code[1], "…")
		if len(strings.Join(parts, "")) >= shortest {
			found = append(found, parts)
		}
	}
	return found
}

// shortest is how much of a message has to be on the page for it to be found there.
const shortest = 12

// quotes reports that the parts are in the text, in order.
func quotes(text string, parts []string) bool {
	for _, part := range parts {
		_, after, ok := strings.Cut(text, strings.TrimSpace(part))
		if !ok {
			return false
		}
		text = after
	}
	return true
}

// docs/troubleshooting.md has every message that a user may see, with what to do about it. Those that a table of the
// code makes have tests of their own.
func TestTroubleshootingHasEveryMessage(t *testing.T) {
	page := quoted(t, "docs/troubleshooting.md")
	seen := 0
	for _, root := range []string{"protocol", "source"} {
		err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, name, nil, 0)
			if err != nil {
				return err
			}
			for _, m := range messages(files, file) {
				seen++
				known := false
				for _, parts := range page {
					known = known || quotes(m.text, parts)
				}
				if !known {
					t.Errorf("%s: docs/troubleshooting.md does not have the message %q", m.place, m.text)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("%d messages were found in the code", seen)
	}
}
