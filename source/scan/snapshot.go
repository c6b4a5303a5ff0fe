package scan

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/source/postgres"
)

// A Snapshot is what a transaction can see, in the terms of txid_current_snapshot: 64-bit transaction numbers, the epoch
// included. Everything below Xmin had ended when it was taken, nothing from Xmax on had begun.
type Snapshot struct {
	Xmin, Xmax uint64
	Text       string // xmin:xmax:xip_list
}

// CurrentSnapshot is the snapshot of conn's transaction. It works on a standby too, and does not use up a transaction number.
func CurrentSnapshot(ctx context.Context, conn *pgconn.PgConn) (Snapshot, error) {
	var s Snapshot
	err := postgres.Query(ctx, conn, "SELECT txid_current_snapshot()", nil, func(v [][]byte) (err error) {
		s, err = ParseSnapshot(string(v[0]))
		return err
	})
	if err != nil {
		return s, postgres.Explain(err, "read the snapshot")
	}
	return s, nil
}

// ParseSnapshot reads the text of a snapshot.
func ParseSnapshot(text string) (Snapshot, error) {
	fields := strings.SplitN(text, ":", 3)
	if len(fields) != 3 {
		return Snapshot{}, fmt.Errorf("parse snapshot %q: it has no three parts", text)
	}
	xmin, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return Snapshot{}, fmt.Errorf("parse snapshot: %w", err)
	}
	xmax, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return Snapshot{}, fmt.Errorf("parse snapshot: %w", err)
	}
	return Snapshot{Xmin: xmin, Xmax: xmax, Text: text}, nil
}

// writtenSince is the SQL condition for rows whose version was written by a transaction from number since on, as far as s can
// see them; "" stands for all rows, and none reports that there can be no such row.
//
// A row shows the lower 32 bits of its transaction's number. Within one turn of that counter the distance from since, modulo
// 2^32, is exact; a row frozen in an earlier turn may be taken for a newer one, never the other way about: rows may come twice,
// none is missed. The end is Xmax, not what was in progress: rows of subtransactions carry numbers of their own.
func (s Snapshot) writtenSince(since uint64) (condition string, none bool) {
	if s.Xmax <= since {
		return "", true
	}
	turn := uint64(1) << 32
	if s.Xmax-since >= turn {
		return "", false
	}
	return fmt.Sprintf("((xmin::text::bigint - %d) & %d) < %d", since%turn, turn-1, s.Xmax-since), false
}
