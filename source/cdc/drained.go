package cdc

import (
	"context"
	"strconv"

	"github.com/jackc/pglogrepl"

	"source-postgres/source/postgres"
)

// drained notes whether a server that says again that it stands at position has anything more before the target. The
// target is where its log ended on disk, and that may lie within a record: a page is written when it is full, and the
// rest of a record in the next one is not before somebody commits. No position is there. But a server which waits for
// more log, with its log still ending there, has sent all that came before; so that what it says later comes behind it.
// When it said so is a time of its clock, in microseconds since 2000.
func (r *Reader) drained(ctx context.Context, position pglogrepl.LSN, said uint64) error {
	again := position == r.stands
	r.stands = position
	switch {
	case !again || r.over || r.stop != nil:
		r.dry = 0
		return nil
	case r.dry > 0:
		r.over = said > r.dry
		return nil
	}
	slot, err := LookUp(ctx, r.conn, r.config)
	if err != nil || !slot.Waits || slot.Flushed != r.target {
		return err
	}
	const now = "SELECT (extract(epoch FROM clock_timestamp() - timestamptz '2000-01-01 00:00Z') * 1000000)::int8"
	err = postgres.Query(ctx, r.conn, now, nil, func(v [][]byte) (err error) {
		r.dry, err = strconv.ParseUint(string(v[0]), 10, 64)
		return err
	})
	return postgres.Explain(err, "look at the clock of the server")
}
