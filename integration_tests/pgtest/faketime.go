package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Faketime gives the path of libfaketime's library, which gives a process that preloads it another clock: that of the
// tree that the server's programs are in, which has a C library of its own, or the system's. It is installed where it
// is missing, by root with apt-get; the error says what to do otherwise.
func Faketime(ctx context.Context) (string, error) {
	tree, _, _ := strings.Cut(os.Getenv("PGTEST_BINDIR"), "/usr/lib/postgresql/")
	find := func() string {
		for _, pattern := range []string{
			tree + "/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/*/faketime/libfaketime.so.1",
			"/usr/lib*/faketime/libfaketime.so.1",
		} {
			if found, _ := filepath.Glob(pattern); len(found) > 0 {
				return found[0]
			}
		}
		return ""
	}
	if path := find(); path != "" {
		return path, nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return "", errors.New("libfaketime is not installed (Debian: apt-get install libfaketime), and only root could do it")
	}
	cmd := exec.CommandContext(ctx, apt, "install", "-y", "-qq", "--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120", "libfaketime")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install libfaketime: %w: %s", err, tail(out))
	}
	if path := find(); path != "" {
		return path, nil
	}
	return "", errors.New("libfaketime was installed, but is not where it should be")
}
