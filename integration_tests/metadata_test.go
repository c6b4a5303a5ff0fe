package integration

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// metadata is the value of a field of metadata.yaml.
func metadata(t *testing.T, field string) string {
	t.Helper()
	found := submatches(t, "../metadata.yaml", `(?m)^ *`+field+`: *(\S+)$`)
	if len(found) != 1 {
		t.Fatalf("metadata.yaml has %d fields %s, want 1", len(found), field)
	}
	return found[0]
}

// submatches are the texts of the pattern's first group in a file.
func submatches(t *testing.T, path, pattern string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllSubmatch(content, -1) {
		found = append(found, string(match[1]))
	}
	return found
}

// A plain docker build, without make, gives the image the name and version of metadata.yaml too.
func TestDockerfileHasNameAndVersionOfMetadata(t *testing.T) {
	t.Parallel()
	version := metadata(t, "dockerImageTag")
	got := submatches(t, "../Dockerfile", `(?m)^ARG VERSION=(.+)$`)
	if want := []string{version, version}; !slices.Equal(got, want) {
		t.Errorf("ARG VERSION in the Dockerfile: %q, want %q", got, want)
	}
	got = submatches(t, "../Dockerfile", `io\.airbyte\.name="(.+?)"`)
	if want := []string{metadata(t, "dockerRepository")}; !slices.Equal(got, want) {
		t.Errorf("label io.airbyte.name in the Dockerfile: %q, want %q", got, want)
	}
}
