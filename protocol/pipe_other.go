//go:build !linux

package protocol

import "io"

// enlarge does nothing: only Linux lets a pipe be made to hold more.
func enlarge(io.Writer) {}
