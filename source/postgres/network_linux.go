package postgres

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// roundTrip is the least that has been seen on the connection; an hour if that is not known.
func roundTrip(fd uintptr) time.Duration {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.Min_rtt == 0 {
		return time.Hour
	}
	return time.Duration(info.Min_rtt) * time.Microsecond
}

// narrow bounds what the operating system holds for the connection (SO_RCVBUF of socket(7)), and reports that it does.
func narrow(fd uintptr, size int) bool {
	return syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, size) == nil
}

// tellFrom lets whoever waits for the connection be woken only when so many bytes are there (SO_RCVLOWAT of socket(7)).
func tellFrom(fd uintptr, size int) {
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, size)
}
