package protocol

import (
	"io"
	"os"
	"syscall"
)

// Commands of fcntl(2), which package syscall does not name.
const (
	setPipeSize = 1031
	getPipeSize = 1032
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
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if now, _, failed := syscall.Syscall(syscall.SYS_FCNTL, fd, getPipeSize, 0); failed != 0 || now != usual {
			return
		}
		for size := uintptr(most); size > usual; size /= 2 {
			if _, _, failed := syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, size); failed == 0 {
				return
			}
		}
	})
}
