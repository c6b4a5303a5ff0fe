package scan

import (
	"fmt"
	"strconv"
	"strings"
)

// A Snapshot is what a transaction can see, in the terms of txid_current_snapshot: 64-bit transaction numbers, the
// epoch included. Everything below Xmin had ended when it was taken, nothing from Xmax on had. Numbers from Xmax on may
// have been given out, so that one transaction that is open can have that of Xmin and Xmax both.
type Snapshot struct {
	Xmin, Xmax uint64
	Text       string // xmin:xmax:xip_list
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

// noRow is the SQL condition that no row fulfils; everyRow (no condition at all) the one that every row does.
const (
	noRow    = "false"
	everyRow = ""
)

// writtenSince is the SQL condition for rows whose version was written by a transaction with the number since or a
// later one, as far as s can see them.
//
// A row shows the lower 32 bits of its transaction's number, and age(xmin) how far those lie back, modulo 2^32.
// Within one turn of that counter the distance is exact; a row frozen in an earlier turn may be taken for a newer
// one, never the other way about: rows may come twice, none is missed. What was in progress does not matter: rows of
// subtransactions carry numbers of their own, which no snapshot lists. Source: PostgreSQL documentation, Transaction
// IDs and Snapshots.
func (s Snapshot) writtenSince(since uint64) string {
	const turn = uint64(1) << 32
	if since%turn < 3 && since >= turn {
		since -= since%turn + 1 // 0 to 2 are no transactions, and age makes an exception of them
	}
	switch {
	case s.Xmax <= since:
		return noRow
	case s.Xmax-since < turn/4: // age is signed, and counts from a moment that may be later than s
		return fmt.Sprintf("age(xmin) BETWEEN 0 AND (SELECT age('%d'::xid))", since%turn)
	case s.Xmax-since < turn:
		return fmt.Sprintf("((xmin::text::bigint - %d) & %d) < %d", since%turn, turn-1, s.Xmax-since)
	}
	return everyRow
}
