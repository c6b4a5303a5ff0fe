package protocol

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// usual is what a pipe holds unless somebody wants otherwise: pipe(7).
	usual = 64 << 10
	// most is what it may hold unless the system was told otherwise (/proc/sys/fs/pipe-max-size).
	most = 1 << 20
)

// enlarge makes out, if it is a pipe of the usual size, hold as much as it may: in a small one writer and reader take
// turns at every piece, and connections that share it wait for each other. A size that somebody has chosen stays, and a
// system that does not allow it is no reason to fail.
func enlarge(out io.Writer) {
	onDescriptor(out, func(fd int) {
		if now, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err != nil || now != usual {
			return
		}
		for size := most; size > usual; size /= 2 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size); err == nil {
				return
			}
		}
	})
}

// whileRead is a context that ends when the last reader of out, a pipe or a socket, has gone. Only a write would show
// it otherwise, and while a server is busy there is none for hours.
func whileRead(ctx context.Context, out io.Writer) context.Context {
	onDescriptor(out, func(fd int) {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		go func() {
			// Without events it waits for errors alone, which have no end: poll(2).
			for poll := []unix.PollFd{{Fd: int32(fd)}}; ; {
				if n, err := unix.Poll(poll, -1); n > 0 {
					cancel(unwritable(unix.EPIPE))
					return
				} else if !errors.Is(err, unix.EINTR) {
					return
				}
			}
		}()
	})
	return ctx
}

// onDescriptor calls do with the descriptor of out if it has one, which is standard output's and stays open.
func onDescriptor(out io.Writer, do func(fd int)) {
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
