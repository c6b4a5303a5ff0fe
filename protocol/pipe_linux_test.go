package protocol

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	size := func() int {
		n, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := size()
	enlarge(w)
	if now := size(); now <= before {
		t.Errorf("the pipe holds %d bytes, %d before", now, before)
	}
	const chosen = 32 << 10
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, chosen); err != nil {
		t.Fatal(err)
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

// What waits ends with the last reader of a pipe, not with a full one; a file has no readers that could go.
func TestWhileRead(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx := whileRead(t.Context(), w)
	if _, err := w.Write(make([]byte, usual)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file := whileRead(t.Context(), f)
	if ctx.Err() != nil {
		t.Errorf("it ended while the pipe had a reader: %v", context.Cause(ctx))
	}
	r.Close()
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("it did not end")
	}
	var e *Error
	if cause := context.Cause(ctx); !errors.Is(cause, unix.EPIPE) || !errors.As(cause, &e) || e.Kind != System {
		t.Errorf("the cause is %v", cause)
	}
	if file.Err() != nil {
		t.Errorf("it ended for a file: %v", context.Cause(file))
	}
}
