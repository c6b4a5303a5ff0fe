package main

import (
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// A page is one Markdown file of the repository.
type page struct {
	links   []string        // as written
	anchors map[string]bool // of its headings
}

var (
	// A link is [text](target), perhaps with a title behind the target.
	linkPattern = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	// Code in a line has no links, but its text belongs to a heading.
	codePattern    = regexp.MustCompile("`[^`]*`")
	headingPattern = regexp.MustCompile(`^#{1,6}\s+(.+?)\s*#*$`)
	fencePattern   = regexp.MustCompile("^\\s*(```|~~~)")
)

// pages reads every Markdown file, by its path with slashes. Directories whose names begin with a point, other than
// .github, hold no documentation.
func pages(t *testing.T) map[string]*page {
	t.Helper()
	found := map[string]*page{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && name != "." && entry.Name() != ".github"
		switch {
		case err != nil:
			return err
		case entry.IsDir() && hidden:
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		found[filepath.ToSlash(name)] = parsePage(string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func parsePage(text string) *page {
	p := &page{anchors: map[string]bool{}}
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if fencePattern.MatchString(line) {
			fenced = !fenced
			continue
		}
		if fenced {
			continue
		}
		if heading := headingPattern.FindStringSubmatch(line); heading != nil {
			p.addAnchor(heading[1])
		}
		for _, link := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(line, "code"), -1) {
			p.links = append(p.links, link[1])
		}
	}
	return p
}

// addAnchor makes the anchor of a heading as GitHub does: in lower case, letters, digits, - and _ are kept, spaces
// become -, the rest goes; a second heading of the same text has -1 at its end.
func (p *page) addAnchor(heading string) {
	var slug strings.Builder
	for _, r := range strings.ToLower(linkPattern.ReplaceAllString(heading, "]")) {
		switch {
		case r == ' ':
			slug.WriteByte('-')
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			slug.WriteRune(r)
		}
	}
	anchor := slug.String()
	for n := '1'; p.anchors[anchor]; n++ {
		anchor = slug.String() + "-" + string(n)
	}
	p.anchors[anchor] = true
}

func TestLinksResolve(t *testing.T) {
	all := pages(t)
	checked := 0
	for name, p := range all {
		for _, link := range p.links {
			u, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s: link %s: %v", name, link, err)
				continue
			}
			if u.Scheme != "" {
				continue // not of this repository
			}
			checked++
			target := name
			if u.Path != "" {
				target = path.Join(path.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: link %s: there is no %s", name, link, target)
				continue
			}
			if u.Fragment == "" {
				continue
			}
			if to := all[target]; to == nil || !to.anchors[u.Fragment] {
				t.Errorf("%s: link %s: %s has no heading for #%s", name, link, target, u.Fragment)
			}
		}
	}
	if checked == 0 {
		t.Error("no relative link was found")
	}
}

// README.md is where people begin: every page of docs/ is one link away. The pages of docs/decisions are in the list of
// docs/architecture.md.
func TestEveryPageIsLinked(t *testing.T) {
	all := pages(t)
	for dir, index := range map[string]string{"docs": "README.md", "docs/decisions": "docs/architecture.md"} {
		if all[index] == nil {
			t.Fatalf("there is no %s", index)
		}
		linked := map[string]bool{}
		for _, link := range all[index].links {
			target, _, _ := strings.Cut(link, "#")
			linked[path.Join(path.Dir(index), target)] = true
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		listed := 0
		for _, entry := range entries {
			name := path.Join(dir, entry.Name())
			if path.Ext(name) != ".md" {
				continue
			}
			if listed++; !linked[name] {
				t.Errorf("%s has no link to %s", index, name)
			}
		}
		if listed == 0 {
			t.Errorf("%s has no pages", dir)
		}
	}
}
