package plan

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/protocol"
	"source-postgres/source/codec"
	"source-postgres/source/state"
)

// resume decides where the stream starts, and says so where it is not what the state asked for.
func (p *Plan) resume(s *Stream, from state.Stream) *protocol.Error {
	mark := state.MarkOf(from)
	if mark.System != "" && s.System != "" && mark.System != s.System {
		if s.Method == Refresh { // it reads everything in any case
			p.Notes = append(p.Notes, fmt.Sprintf("Stream %s starts over: its state is of another database cluster.",
				s.Descriptor))
			return nil
		}
		return &protocol.Error{
			Message: fmt.Sprintf("The state of stream %s is of another database cluster: its system identifier is %s, this "+
				"server's is %s.", s.Descriptor, mark.System, s.System),
			Hint: "Nothing was read. Connect to the server that the state came from, or reset the connection to read " +
				"everything again.",
		}
	}
	if from != nil && mark.OID != 0 && mark.OID != s.Table.OID {
		p.Warnings = append(p.Warnings, fmt.Sprintf("Stream %s starts over: the table was dropped and created again "+
			"since the "+
			"last sync.", s.Descriptor))
		return nil
	}
	if s.Method == Refresh {
		p.resumeRefresh(s, from)
		return nil
	}
	return p.resumeIncremental(s, from)
}

func (p *Plan) resumeRefresh(s *Stream, from state.Stream) {
	switch from := from.(type) {
	case *state.Whole:
		s.Done = sameSync(s.SyncID, from.SyncID)
	case *state.Ctid:
		switch {
		case from.Finished:
			// A finished full refresh is only skipped within the sync that finished it: any other wants the table anew.
			s.Done = sameSync(s.SyncID, from.SyncID)
		case from.Then != nil || !s.Paged: // of an incremental stream: it is another mode's
		case !from.Resumable():
		case p.sameFiles(s, from):
			s.From = from
		}
	}
	if s.From != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("Stream %s goes on where an earlier attempt stopped.", s.Descriptor))
	}
}

// everySync is the number that PyAirbyte gives each of its syncs, so that it says nothing.
const everySync = 1

// sameSync reports that two numbers are surely those of one sync.
func sameSync(a, b *int64) bool { return a != nil && b != nil && *a == *b && *a != everySync }

// sameFiles reports whether the blocks that from speaks of are still those of the table, but for partitions that were
// added, and says so if they are not.
func (p *Plan) sameFiles(s *Stream, from *state.Ctid) bool {
	now := s.Table.Storage.Filenode
	if added, ok := s.Table.Storage.Added(from.Filenode); ok {
		if len(added) > 0 {
			p.Notes = append(p.Notes, fmt.Sprintf("The table of stream %s has got partitions since the state was written: they "+
				"are read whole.", s.Descriptor))
		}
		return true
	}
	p.Notes = append(p.Notes, fmt.Sprintf("Stream %s starts over: the table was rewritten or truncated since the "+
		"state was "+
		"written (relation_filenode %d, now %d).", s.Descriptor, from.Filenode, now))
	return false
}

func (p *Plan) resumeIncremental(s *Stream, from state.Stream) *protocol.Error {
	pass, unfinished := from.(*state.Ctid)
	if unfinished {
		if from = pass.Then; pass.Since != nil {
			from = pass.Since
		}
	}
	switch from := from.(type) {
	case nil, *state.Whole:
		return nil // not read yet, or as full refresh
	case *state.Cursor:
		if s.Method != ByCursor {
			return otherMethod(s, "the Standard method (a cursor)")
		}
		if from.Field != s.Cursor.Name {
			p.Notes = append(p.Notes, fmt.Sprintf("Stream %s starts over: its cursor field was %q and is now %q.",
				s.Descriptor, from.Field, s.Cursor.Name))
			return nil
		}
		first := unfinished && pass.Since == nil // its bound is fixed anew
		if !first && from.Type != 0 && !sameOrder(from.Type, s.Cursor.WireOID) {
			return retyped(s, from)
		}
	case *state.Xmin:
		if s.Method != ByXmin {
			return otherMethod(s, "the Xmin method")
		}
	case *state.Follow:
		if s.Method != ByLog {
			return otherMethod(s, "the CDC method")
		}
		if from.Missed {
			p.Warnings = append(p.Warnings, fmt.Sprintf("Stream %s is read from its beginning: for a while the log had "+
				"nothing of what was written to its table. Rows that were deleted in that time stay in the destination: reset "+
				"the stream to be rid of them.", s.Descriptor))
			return nil
		}
	}
	switch {
	case !unfinished:
		s.From = from
	case pass.Since == nil && !pass.Resumable():
		p.Notes = append(p.Notes, fmt.Sprintf("Stream %s is read from its beginning: its state does not say that its first "+
			"pass is over, nor how one could go on.", s.Descriptor))
	case s.Paged && p.sameFiles(s, pass):
		s.From = pass
		p.Notes = append(p.Notes, fmt.Sprintf("Stream %s goes on where an earlier attempt stopped.", s.Descriptor))
	case pass.Since != nil:
		s.From = pass.Since
	}
	return nil
}

// sameOrder reports that a value of type a can be compared with those of type b, and stands where it stood.
func sameOrder(a, b uint32) bool {
	for _, kin := range [][]uint32{
		{
			pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.NumericOID, pgtype.Float4OID,
			pgtype.Float8OID,
		},
		{pgtype.TextOID, pgtype.VarcharOID},
	} {
		if slices.Contains(kin, a) && slices.Contains(kin, b) {
			return true
		}
	}
	return a == b
}

func retyped(s *Stream, from *state.Cursor) *protocol.Error {
	value := "has no value yet"
	if from.Value != nil {
		value = fmt.Sprintf("has come to %q", *from.Value)
	}
	return &protocol.Error{
		Message: fmt.Sprintf("The cursor field %q of stream %s, which %s, was of type %s at the last sync and is of type %s "+
			"now: its values have another order.", from.Field, s.Descriptor, value, typeName(from.Type), s.Cursor.Type.Name),
		Hint: "Nothing was read. Reset the stream to read it again.",
	}
}

func typeName(oid uint32) string {
	if t := codec.NewMap(nil).Type(oid, -1, 0); t.Name != "" {
		return t.Name
	}
	return fmt.Sprintf("oid %d", oid)
}

func otherMethod(s *Stream, was string) *protocol.Error {
	return &protocol.Error{
		Message: fmt.Sprintf("The state of stream %s was written by %s, but another replication method is configured now.",
			s.Descriptor, was),
		Hint: "Nothing was read. Set the replication method back, or reset the stream to read it again with the new one.",
	}
}
