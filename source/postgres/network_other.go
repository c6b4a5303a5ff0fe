//go:build !linux

package postgres

import "time"

// setUserTimeout does nothing where the operating system has no such setting; probes are left to notice a dead peer.
func setUserTimeout(uintptr, time.Duration) {}

// canPause says that there is no way to wait for less than a millisecond, so that rest is not called.
const canPause = false

func rest(time.Duration) {}

func readNow(uintptr, []byte) (int, error) { return 0, nil }

func roundTrip(uintptr) time.Duration { return time.Hour }

func narrow(uintptr, int) bool { return false }

func tellFrom(uintptr, int) {}
