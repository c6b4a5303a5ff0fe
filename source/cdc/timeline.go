package cdc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// SameHistory makes sure that what has been read up to the state is part of the server's history. After a failover or a
// recovery to a point in time the log goes on on another timeline, which leaves the old one somewhere: a state beyond
// that place has seen changes that this server never had, and has not seen those that it has instead.
func SameHistory(ctx context.Context, server *postgres.Server, at state.Log, now int32) error {
	if at.Timeline == 0 || at.Timeline == now {
		return nil
	}
	left, err := leftAt(ctx, server, at.Timeline, now)
	if err != nil {
		return err
	}
	if left >= at.LSN {
		return nil
	}
	e := &protocol.Error{
		Kind: protocol.Config,
		Message: fmt.Sprintf("The state is at %s of timeline %d, which is not part of this server's history: it has gone on "+
			"as timeline %d since %s, after a failover or a recovery from a backup.", at.LSN, at.Timeline, now, left),
		Hint: "Nothing was read. What the former server had after that place is in the destination and not here. Reset the " +
			"connection: every table is read again.",
	}
	if left == 0 {
		e.Message = fmt.Sprintf("The state is of timeline %d, which this server, on timeline %d, does not come from.",
			at.Timeline, now)
	}
	return e
}

// leftAt is where timeline now, or one that it comes from, left timeline old; 0 if none did.
func leftAt(ctx context.Context, server *postgres.Server, old, now int32) (pglogrepl.LSN, error) {
	if now < old {
		return 0, nil
	}
	conn, err := server.Replicate(ctx)
	if err != nil {
		return 0, err
	}
	defer postgres.Close(conn)
	history, err := pglogrepl.TimelineHistory(ctx, conn, now)
	if err != nil {
		return 0, postgres.Explain(err, "read the history of the timelines")
	}
	return parseHistory(history.Content, old)
}

// parseHistory finds old in a timeline history file: one line for each timeline that came before, with its number,
// where it was left, and why. Source: PostgreSQL documentation, Continuous Archiving, Timelines.
func parseHistory(text []byte, old int32) (pglogrepl.LSN, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if fields[0] == strconv.Itoa(int(old)) {
			lsn, err := pglogrepl.ParseLSN(fields[1])
			if err != nil {
				return 0, fmt.Errorf("parse timeline history: %w", err)
			}
			return lsn, nil
		}
	}
	return 0, nil
}
