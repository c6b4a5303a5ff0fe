//go:build image

package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run the image that IMAGE_UNDER_TEST names, as the platform's launcher does: sh -c with a script of the
// platform's, as 1000:1000 without capabilities, from the platform's working directories, with named pipes for output.

const maxImageSize = 40_000_000

// launchRead is what the launcher runs for a read: the connector's output goes to two named pipes, its exit code to a
// file that appears under its name only when it is complete.
const launchRead = `if [ -z "$AIRBYTE_ENTRYPOINT" ]; then echo "AIRBYTE_ENTRYPOINT is not set"; exit 127; fi
(eval "$AIRBYTE_ENTRYPOINT read --config /source/connectorConfig.json --catalog /source/catalog.json" \
	2> /source/stderr > /source/stdout) &
child=$!
(while [ ! -f /source/TERMINATED ]; do sleep 10; done; kill $child) > /dev/null 2>&1 &
watcher=$!
wait $child
echo $? > /source/TEMP_EXIT_CODE.txt
mv /source/TEMP_EXIT_CODE.txt /source/exitCode.txt
kill $watcher`

// launch is what it runs for the other commands: the output goes to a file.
const launch = `eval "$AIRBYTE_ENTRYPOINT $1 --config /config/connectionConfiguration.json" > /config/jobOutput.json
echo $? > /config/exitCode.txt`

// restricted are the options of docker run that stand for the platform's pod.
var restricted = []string{"--user=1000:1000", "--cap-drop=ALL", "--security-opt=no-new-privileges"}

func imageUnderTest(t *testing.T) string {
	t.Helper()
	name := os.Getenv("IMAGE_UNDER_TEST")
	if name == "" {
		t.Fatal("IMAGE_UNDER_TEST is not set; make image-test sets it")
	}
	count(t)
	return name
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// inContainer runs a shell script in the image, on the host's network, with the options of docker run, and gives its
// output.
func inContainer(t *testing.T, options []string, script ...string) string {
	t.Helper()
	args := append([]string{"run", "--rm", "--network=host"}, options...)
	return docker(t, append(append(args, "--entrypoint=sh", imageUnderTest(t), "-c"), script...)...)
}

// volume is a directory that the container can mount and everybody may use, with the given files in it.
func volume(t *testing.T, files map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text(t, content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestImageDescription(t *testing.T) {
	t.Parallel()
	var images []struct {
		Size   int64
		Config struct {
			User       string
			Env        []string
			Entrypoint []string
			Labels     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", imageUnderTest(t))), &images); err != nil {
		t.Fatal(err)
	}
	image := images[0]
	if image.Size > maxImageSize {
		t.Errorf("the image has %d bytes; want at most %d", image.Size, maxImageSize)
	}
	for label, field := range map[string]string{
		"io.airbyte.name": "dockerRepository", "io.airbyte.version": "dockerImageTag",
	} {
		if got, want := image.Config.Labels[label], metadata(t, field); got != want {
			t.Errorf("label %s is %q; metadata.yaml says %s: %q", label, got, field, want)
		}
	}
	if image.Config.User != "airbyte" {
		t.Errorf("the image's user is %q; want airbyte", image.Config.User)
	}
	entrypoint := strings.Join(image.Config.Entrypoint, " ")
	if !strings.HasPrefix(entrypoint, "/") {
		t.Errorf("the entrypoint %q is not absolute", entrypoint)
	}
	found := false
	for _, variable := range image.Config.Env {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case "AIRBYTE_ENTRYPOINT":
			found = true
			if value != entrypoint {
				t.Errorf("AIRBYTE_ENTRYPOINT is %q, the entrypoint %q; want the same", value, entrypoint)
			}
		case "TZ":
			t.Errorf("TZ is set: %q", value)
		}
	}
	if !found {
		t.Error("AIRBYTE_ENTRYPOINT is not set")
	}
}

// What the launcher's scripts and the connector use is there, for the platform's user.
func TestImageContents(t *testing.T) {
	t.Parallel()
	out := inContainer(t, restricted, `set -e
for tool in sh sleep mv kill echo wait; do command -v $tool > /dev/null; done
sleep 0
echo x > /airbyte/written; mv /airbyte/written /airbyte/moved
grep -q 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt
id -un; id -u; id -g`)
	if out != "airbyte\n1000\n1000\n" {
		t.Errorf("the user is %q; want airbyte, 1000, 1000", out)
	}
}

// The connector's own entrypoint, as older platforms and docker run use it: as the image's user, as the platform's, as
// root.
func TestImageSpec(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"image's user": nil, "restricted": restricted, "root": {"--user=0:0"}, "read-only": {"--read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(append([]string{"run", "--rm", "--network=none"}, options...), imageUnderTest(t), "spec")
			out := docker(t, args...)
			m, err := parse([]byte(strings.TrimSuffix(out, "\n")))
			if err != nil || m.Spec == nil {
				t.Errorf("%v in %s", err, out)
			}
		})
	}
}

func TestImageCheckAndDiscover(t *testing.T) {
	t.Parallel()
	db := imageDatabase(t)
	for name, options := range map[string][]string{"restricted": restricted, "root": {"--user=0:0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, command := range []string{"check", "discover"} {
				in := input{config: db.config(nil)}
				dir := volume(t, map[string]any{"connectionConfiguration.json": in.config})
				r := &result{t: t, begun: time.Now()}
				inContainer(t, append(options, "--volume="+dir+":/config", "--workdir=/config"), launch, "launch", command)
				r.take(contents(t, dir, "jobOutput.json"), nil, contents(t, dir, "exitCode.txt"))
				r.checkInvariants(&process{t: t, in: in, command: command})
				if r.ok(); command == "check" && r.status().Status != "SUCCEEDED" {
					t.Errorf("check: %+v", r.status())
				}
			}
		})
	}
}

func TestImageReadThroughNamedPipes(t *testing.T) {
	t.Parallel()
	db := imageDatabase(t)
	config := db.config(nil)
	in := input{config: config, catalog: discover(t, config).configure("full_refresh")}
	dir := volume(t, map[string]any{"connectorConfig.json": config, "catalog.json": in.catalog})
	r := &result{t: t, begun: time.Now()}
	stdout, stderr := namedPipe(t, dir, "stdout"), namedPipe(t, dir, "stderr")
	inContainer(t, append(restricted, "--volume="+dir+":/source", "--workdir=/source"), launchRead)
	r.take(stdout(), stderr(), contents(t, dir, "exitCode.txt"))
	r.checkInvariants(&process{t: t, in: in, command: "read"})
	if n := len(r.ok().records("numbers")); n != imageRows {
		t.Errorf("%d records, want %d", n, imageRows)
	}
}

// imageRows is more than what fits in a pipe.
const imageRows = 20_000

func imageDatabase(t *testing.T) *database {
	t.Helper()
	db := newDB(t)
	db.exec("CREATE TABLE numbers (id int PRIMARY KEY, name text)")
	db.exec("INSERT INTO numbers SELECT i, 'name of ' || i FROM generate_series(1, $1) i", imageRows)
	return db
}

// namedPipe makes a pipe and reads it; what it gives waits for the pipe's end and returns what came.
func namedPipe(t *testing.T, dir, name string) func() []byte {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var content []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		content, err = os.ReadFile(path) // opening waits for the writer
	}()
	// Once the container has ended, this lets the reader end too, also where nobody ever wrote.
	release := func() {
		if w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = w.Close()
		}
		<-done
	}
	t.Cleanup(release)
	return func() []byte {
		t.Helper()
		release()
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
}

func contents(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// take fills the result with what a container wrote.
func (r *result) take(stdout, stderr, exit []byte) {
	r.t.Helper()
	r.ended, r.stderr = time.Now(), string(stderr)
	if err := json.Unmarshal(exit, &r.exit); err != nil {
		r.t.Fatal(err)
	}
	for line := range bytes.Lines(stdout) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		m, err := parse(line)
		if err != nil {
			r.t.Errorf("%v: %s", err, shortened(line))
			continue
		}
		r.lines, r.messages = append(r.lines, line), append(r.messages, m)
	}
}
