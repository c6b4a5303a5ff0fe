//go:build image

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// These tests are about the image that IMAGE_UNDER_TEST names: what it says of itself and has in it, and how it runs
// with docker alone. launcher_test.go runs it as the platform does.

const maxImageSize = 40_000_000

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

func TestImageDescription(t *testing.T) {
	t.Parallel()
	var images []struct {
		Size         int64
		OS           string `json:"Os"`
		Architecture string
		Config       struct {
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
	if image.OS != "linux" || image.Architecture != runtime.GOARCH {
		t.Errorf("the image is for %s on %s; want that of the machine, %s", image.OS, image.Architecture, runtime.GOARCH)
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

// dockerRun starts a command of the image by its own entrypoint, with these options of docker run.
func dockerRun(t *testing.T, command string, in input, options ...string) *process {
	t.Helper()
	image := imageUnderTest(t)
	return startAs(t, command, in, func(ctx context.Context, dir string) *exec.Cmd {
		args := in.arguments(t, dir)
		for _, file := range []string{"config", "catalog"} {
			if err := os.Chmod(filepath.Join(dir, file+".json"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		line := append([]string{"run", "--rm", "--network=host", "--volume=" + dir + ":" + dir + ":ro"}, options...)
		return exec.CommandContext(ctx, "docker", append(append(line, image, command), args...)...)
	})
}

// Every command does its work as root and as the platform's user, in any working directory.
func TestImageAnywhere(t *testing.T) {
	t.Parallel()
	in := twoRows(newDB(t))
	in.state = nil
	for name, options := range map[string][]string{
		"root": {"--user=0:0", "--workdir=/"}, "restricted": append([]string{"--workdir=/proc"}, restricted...),
	} {
		for _, command := range []string{"check", "discover", "read"} {
			dockerRun(t, command, in, options...).wait().expectAnswer(command, name)
		}
	}
}

// Docker itself runs the image's own entrypoint, with the connector as the container's first process: it heeds the
// signal of docker stop, and says so with its exit code.
func TestImageStop(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	in := large(db, 1)
	name := "source-postgres-" + db.Name
	p := dockerRun(t, "read", in, "--name="+name)
	p.until(func(m message) bool { return m.State != nil })
	p.disturbed = true
	docker(t, "kill", "--signal=TERM", name) // which, other than docker stop, does not wait for the output to be read
	r := p.wait().expectExit(143)
	db.expectGone()
	db.expectWhole(in, r)
}
