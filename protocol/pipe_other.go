//go:build !linux

package protocol

import (
	"context"
	"io"
)

// enlarge does nothing: only Linux lets a pipe be made to hold more.
func enlarge(io.Writer) {}

// whileRead is ctx: that the reader has gone shows at the next write.
func whileRead(ctx context.Context, _ io.Writer) context.Context { return ctx }
