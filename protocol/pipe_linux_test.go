package protocol

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe holds more afterwards, unless somebody has chosen what it holds; what is no pipe stays as it is.
func TestEnlarge(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	size := func() uintptr {
		n, _, failed := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), getPipeSize, 0)
		if failed != 0 {
			t.Fatal(failed)
		}
		return n
	}
	before := size()
	enlarge(w)
	if now := size(); now <= before {
		t.Errorf("the pipe holds %d bytes, %d before", now, before)
	}
	const chosen = 32 << 10
	if _, _, failed := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), setPipeSize, chosen); failed != 0 {
		t.Fatal(failed)
	}
	enlarge(w)
	if now := size(); now != chosen {
		t.Errorf("the pipe holds %d bytes, %d were chosen", now, chosen)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	enlarge(f)
	if _, err := f.WriteString("a line\n"); err != nil {
		t.Error(err)
	}
}
