package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A release is made of a tag that is the version of metadata.yaml, and of a section of CHANGELOG.md with that version
// and a date, which the connector's page has too; the section is what the release says of itself.
func TestReleaseIsOfTheVersion(t *testing.T) {
	t.Parallel()
	const section = "## 1.2.3 – 2020-02-29\n\n* [Examples](docs/a.md#b) and [others](https://example.org/c.md).\n\n"
	for name, c := range map[string]struct{ tag, changelog, want string }{
		"right":             {"v1.2.3", section, ""},
		"another tag":       {"v1.2.4", section, "the tag is v1.2.4"},
		"without v":         {"1.2.3", section, "the tag is 1.2.3"},
		"no section":        {"v1.2.3", "## 1.2.30 – 2020-02-29\n\n* Words.\n", "CHANGELOG.md has no line"},
		"not yet released":  {"v1.2.3", "## 1.2.3 – not yet released\n\n* Words.\n", "CHANGELOG.md has no line"},
		"empty section":     {"v1.2.3", "## 1.2.3 – 2020-02-29\n\n## 1.2.2 – 2020-02-28\n", "says nothing of 1.2.3"},
		"a point is itself": {"v1.2.3", "## 1a2a3 – 2020-02-29\n\n* Words.\n", "CHANGELOG.md has no line"},
		"another date":      {"v1.2.3", "## 1.2.3 – 2020-03-01\n\n* Words.\n", "has no line '| 1.2.3 | 2020-03-01 | …'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			copyTree(t, ".ci/release", filepath.Join(dir, ".ci/release"))
			for file, text := range map[string]string{
				"metadata.yaml": "data:\n  dockerImageTag: 1.2.3\n",
				"CHANGELOG.md":  "# Changelog\n\n" + c.changelog + "## 1.2.2 – 2020-02-28\n\n* Older.\n",

				"docs/integrations/sources/postgres.md": "| 1.2.3 | 2020-02-29 | Words |\n",
			} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			release := func(args ...string) (string, error) {
				out, err := exec.Command("bash", append([]string{filepath.Join(dir, ".ci/release")}, args...)...).CombinedOutput()
				return string(out), err
			}
			out, err := release("check", c.tag)
			if (err == nil) != (c.want == "") || !strings.Contains(out, c.want) {
				t.Errorf("release check %s: %v, %q; want %q", c.tag, err, out, c.want)
			}
			if c.want != "" {
				return
			}
			want := "\n* [Examples](https://host/tree/docs/a.md#b) and [others](https://example.org/c.md).\n\n"
			if out, err = release("notes", "https://host/tree"); err != nil || out != want {
				t.Errorf("release notes: %v, %q; want %q", err, out, want)
			}
		})
	}
}

// CHANGELOG.md has a section of the version of metadata.yaml, from the day on which that version is written there.
func TestChangelogHasTheVersion(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("bash", ".ci/release", "notes", "").Output()
	if err != nil || !strings.Contains(string(out), "\n* ") {
		t.Errorf("release notes: %v, %q", err, out)
	}
}

// The image of another architecture than the machine's is made without running any of its programs: nothing runs in its
// stages, and the stage that compiles is of the machine's own.
func TestImageIsMadeWithoutEmulation(t *testing.T) {
	t.Parallel()
	own, ran := false, 0
	for line := range strings.Lines(read(t, "Dockerfile")) {
		switch {
		case strings.HasPrefix(line, "FROM "):
			own = strings.HasPrefix(line, "FROM --platform=${BUILDPLATFORM:-linux} ")
		case strings.HasPrefix(line, "RUN "):
			if ran++; !own {
				t.Errorf("this is run by the image's architecture: %s", line)
			}
		}
	}
	if ran == 0 {
		t.Error("nothing is run at all")
	}
}

// What a workflow takes from elsewhere is a commit, with its version beside it, and the same in all workflows.
func TestActionsArePinned(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	uses := regexp.MustCompile(`\buses: *(.+)`)
	pinned := regexp.MustCompile(`^([\w./-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	known := map[string]string{}
	for _, file := range files {
		for _, use := range uses.FindAllStringSubmatch(read(t, file), -1) {
			action := pinned.FindStringSubmatch(use[1])
			if action == nil {
				t.Errorf("%s: not pinned: %s", file, use[1])
				continue
			}
			if before := known[action[1]]; before != "" && before != use[1] {
				t.Errorf("%s: %s, and elsewhere %s", file, use[1], before)
			}
			known[action[1]] = use[1]
		}
	}
	if len(known) == 0 {
		t.Error("no action was found")
	}
}
