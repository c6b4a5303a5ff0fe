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

// pipeSize is what a pipe may hold at most unless the system was told otherwise (/proc/sys/fs/pipe-max-size).
const pipeSize = 1 << 20

// enlarge makes out, if it is a pipe, hold as much as it may. A Linux pipe holds 64 KiB by
// itself; then writer and reader take turns at every piece, and connections that share the pipe wait for each other. A
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
		now, _, failed := syscall.Syscall(syscall.SYS_FCNTL, fd, getPipeSize, 0)
		for size := uintptr(pipeSize); failed == 0 && size > now; size /= 2 {
			if _, _, refused := syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, size); refused == 0 {
				return
			}
		}
	})
}
