//go:build !linux

package postgres

import "time"

// setUserTimeout does nothing where the operating system has no such setting; probes are left to notice a dead peer.
func setUserTimeout(uintptr, time.Duration) {}
