package state

import (
	"github.com/jackc/pglogrepl"
)

// A Stream says where the reading of one stream stopped. It is one of *Ctid, *Cursor, *Xmin, *Follow and *Whole.
type Stream interface {
	stream()
}

// A Mark says of which table, in which cluster, and under which snapshot a state was written. A field that is empty
// was not known: the states of Airbyte's connector have none of them.
type Mark struct {
	System   string // pg_control_system().system_identifier
	OID      uint32 // the table's oid
	Snapshot string // txid_current_snapshot(): xmin:xmax:xip_list, 64-bit
	Timeline int32  // of the server's log
}

// A Ctid is a pass through a table by ranges of blocks. An attempt that goes on under another snapshot than the
// Mark's reads the rows of finished ranges that were written since by their xmin: an update may have moved them
// there.
type Ctid struct {
	Mark
	Filenode uint64 // catalog.Storage.Filenode when the pass began: block numbers mean nothing in other files
	Done     Blocks // what has been read
	Tuple    uint16 // and of the block behind the first of Done the rows up to this number: Airbyte's stops there
	Finished bool   // the pass of a full refresh is over; only this mark says so
	SyncID   *int64 // the sync that finished it, if the platform gives syncs a number
	Since    Stream // the pass only reads what has changed since; nil: every row
	Then     Stream // what holds when the pass is over; nil for a full refresh
	// Moved stands in for a snapshot, or stands beside that of a later attempt, where Airbyte's connector began the pass:
	// the rows of Done that were written since have a greater cursor.
	Moved *Cursor
}

// Resumable reports that the pass has come somewhere, and that what was written since into the blocks that it has read
// can be found.
func (c *Ctid) Resumable() bool {
	_, logged := c.Then.(*Follow)
	found := logged || c.Snapshot != "" || c.Moved != nil && c.Moved.Value != nil
	return found && (len(c.Done) > 0 || c.Tuple > 0)
}

// A Cursor is a stream read by a column of the user's choice: every row with a value up to Value has been read, as
// far as the snapshot of the Mark showed it.
type Cursor struct {
	Mark
	Field     string
	Type      uint32  // the oid of the column's type, of a domain that of the type it rests on; 0: not known
	Value     *string // in the form that records have; nil: no row had a value
	Count     int64   // the rows with that very value; 0: not known
	Partial   bool    // rows with that very value may be missing: the reading stopped among them
	Time      int64   // when the snapshot was taken, by the server's clock, in seconds since 1970
	OpenSince int64   // since when, at the latest, the oldest transaction of the snapshot has been open, likewise
	Late      *Late   // nil: no transaction that had written to the table was open in the snapshot
}

// A Late says that transactions which had written to the table were open, and that rows of theirs can have cursors from
// the value From on; nil: any cursor.
type Late struct {
	From *string `json:"from,omitempty"`
}

// An Xmin is a stream read by the system column xmin: every row version of a transaction below Bound has been read.
// Bound has 64 bits, the epoch included.
type Xmin struct {
	Mark
	Bound uint64
}

// A Follow is a stream whose first pass is over and which the log keeps current: only this mark says so. Changes of
// transactions that committed before From were seen by the first pass.
type Follow struct {
	Mark
	From     pglogrepl.LSN
	Filenode uint64 // when the first pass ended
	Member   uint32 // catalog.Table.Member; 0: not known
	Missed   bool   // the log lacked changes of the table for a while, so that it has to be read anew
}

// Followed is what holds of a stream that the log keeps current, or will when its first pass is over; nil of another.
func Followed(s Stream) *Follow {
	if pass, ok := s.(*Ctid); ok {
		s = pass.Then
	}
	followed, _ := s.(*Follow)
	return followed
}

// A Log is the state that all streams share where changes come from the write-ahead log.
type Log struct {
	LSN      pglogrepl.LSN // everything that committed before has been sent
	Number   uint64        // the greatest _ab_cdc_lsn that has been given out; 0: not known, as in those of Airbyte
	System   string        // the cluster's system_identifier; empty in the states of Airbyte's connector
	Timeline int32
	// Ahead is how many records have been sent of a transaction of which more is to come. Nothing goes by it: it makes
	// states differ, which a platform demands if there were records between them.
	Ahead int64
	Sent  Sent // what another connector has sent beyond LSN
}

// A Sent is the part of a transaction that has been sent: its changes up to a place in the log. Only Airbyte's
// connector stops in the middle of one. The zero Sent is none.
type Sent struct {
	To  pglogrepl.LSN
	XID uint32 // the transaction
}

// A Whole is a relation that can only be read in one go, and has been.
type Whole struct {
	SyncID *int64
}

func (*Ctid) stream()   {}
func (*Cursor) stream() {}
func (*Xmin) stream()   {}
func (*Follow) stream() {}
func (*Whole) stream()  {}

// MarkOf is the mark of s; the zero Mark if it has none.
func MarkOf(s Stream) Mark {
	switch s := s.(type) {
	case *Ctid:
		return s.Mark
	case *Cursor:
		return s.Mark
	case *Xmin:
		return s.Mark
	case *Follow:
		return s.Mark
	}
	return Mark{}
}
