package postgres

import (
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), in milliseconds.
const tcpUserTimeout = 18

// setUserTimeout bounds how long sent data may stay unacknowledged. A kernel that does not take it is no reason to
// fail.
func setUserTimeout(fd uintptr, d time.Duration) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
}

// canPause says that there is a way to wait for less than a millisecond.
const canPause = true

// rest waits for d. The runtime's own timers are exact to a millisecond only when nothing else runs.
func rest(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil) // a signal may end it early
}

// readNow reads what is there; nothing is an error.
func readNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }
