package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
)

// shape is every key of a stream's state: those of Airbyte's version 2 first, then our own.
type shape struct {
	Version     int      `json:"version,omitempty"`
	Type        string   `json:"state_type,omitempty"`
	Name        string   `json:"stream_name,omitempty"` // a second time: some platforms lose the descriptor's namespace
	Namespace   string   `json:"stream_namespace,omitempty"`
	CursorField []string `json:"cursor_field,omitempty"`
	Cursor      *string  `json:"cursor,omitempty"`
	Count       int64    `json:"cursor_record_count,omitempty"`
	Ctid        string   `json:"ctid,omitempty"`
	Filenode    *uint64  `json:"relation_filenode,omitempty"`
	Then        *shape   `json:"incremental_state,omitempty"`
	Wraparounds *uint64  `json:"num_wraparound,omitempty"` // the upper 32 bits of xmin_raw_value
	XminValue   *uint64  `json:"xmin_xid_value,omitempty"` // the lower ones
	XminRaw     *uint64  `json:"xmin_raw_value,omitempty"`

	// Of version 3 only.
	Cursors map[string]json.RawMessage `json:"cursors,omitempty"`
	Xmin    *uint64                    `json:"xmin,omitempty"`

	Ranges    [][2]int64 `json:"ranges,omitempty"` // done beyond ctid: first block, block after the last
	Moved     *shape     `json:"moved_since,omitempty"`
	Since     *shape     `json:"since,omitempty"`
	Finished  bool       `json:"finished,omitempty"`
	SyncID    *int64     `json:"sync_id,omitempty"`
	Partial   bool       `json:"partial,omitempty"`
	System    string     `json:"system_identifier,omitempty"`
	OID       uint32     `json:"relation_oid,omitempty"`
	Snapshot  string     `json:"snapshot,omitempty"`
	Time      int64      `json:"snapshot_time,omitempty"`
	OpenSince int64      `json:"open_since,omitempty"`
	FieldType uint32     `json:"cursor_type,omitempty"`
	Late      *Late      `json:"late,omitempty"`
	From      string     `json:"from,omitempty"`
	Member    uint32     `json:"publication_member,omitempty"`
	Missed    bool       `json:"missed,omitempty"`
	Timeline  int32      `json:"timeline,omitempty"`
}

// The values of state_type.
const (
	typeCtid   = "ctid"
	typeCursor = "cursor_based"
	typeXmin   = "xmin"
	typeFollow = "cdc"
	typeWhole  = "full_refresh"
)

// lastTuple is the greatest tuple number that a ctid can be written with: (n,65535) is after every row of block n.
const lastTuple = 65535

func marshal(d protocol.StreamDescriptor, s Stream) json.RawMessage {
	text, err := json.Marshal(shapeOf(d, s))
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return text
}

func shapeOf(d protocol.StreamDescriptor, s Stream) *shape {
	m := MarkOf(s)
	sh := &shape{Version: 2, Name: d.Name, Namespace: d.Namespace, System: m.System, OID: m.OID}
	sh.Snapshot, sh.Timeline = m.Snapshot, m.Timeline
	switch s := s.(type) {
	case *Ctid:
		sh.ctid(d, s)
	case *Cursor:
		sh.Type, sh.CursorField, sh.Cursor, sh.Count, sh.Partial = typeCursor, []string{s.Field}, s.Value, s.Count, s.Partial
		sh.Time, sh.OpenSince, sh.Late, sh.FieldType = s.Time, s.OpenSince, s.Late, s.Type
	case *Xmin:
		upper, lower := s.Bound>>32, s.Bound&(1<<32-1)
		sh.Type, sh.Wraparounds, sh.XminValue, sh.XminRaw = typeXmin, &upper, &lower, &s.Bound
	case *Follow:
		sh.Type, sh.Finished, sh.From, sh.Filenode = typeFollow, !s.Missed, s.From.String(), &s.Filenode
		sh.Member, sh.Missed = s.Member, s.Missed
	case *Whole:
		sh.Type, sh.Finished, sh.SyncID = typeWhole, true, s.SyncID
	}
	return sh
}

func (sh *shape) ctid(d protocol.StreamDescriptor, s *Ctid) {
	sh.Type, sh.Ctid = typeCtid, "(0,0)"
	beyond := s.Done
	w := s.Done.Watermark()
	if w > 0 {
		sh.Ctid = fmt.Sprintf("(%d,%d)", w-1, lastTuple)
		beyond = s.Done[1:]
	}
	if s.Tuple > 0 {
		sh.Ctid = fmt.Sprintf("(%d,%d)", w, s.Tuple)
	}
	for _, r := range beyond {
		sh.Ranges = append(sh.Ranges, [2]int64{r.From, r.To})
	}
	sh.Filenode, sh.Finished, sh.SyncID, sh.Then = &s.Filenode, s.Finished, s.SyncID, &shape{}
	if s.Then != nil {
		sh.Then = shapeOf(d, s.Then)
	}
	if s.Since != nil {
		sh.Since = shapeOf(d, s.Since)
	}
	if s.Moved != nil {
		sh.Moved = shapeOf(d, s.Moved)
	}
}

// snapshotForm is the text of a txid_snapshot.
var snapshotForm = regexp.MustCompile(`^\d{1,19}:\d{1,19}:(\d{1,19}(,\d{1,19})*)?$`)

// stream reads the shape; nil stands for one that says nothing: absent, null, {} or just the stream's name.
func (sh *shape) stream() (Stream, error) {
	if sh == nil {
		return nil, nil
	}
	if sh.Snapshot != "" && !snapshotForm.MatchString(sh.Snapshot) {
		return nil, fmt.Errorf("its snapshot %q is not of the form xmin:xmax:xip_list", sh.Snapshot)
	}
	mark := Mark{System: sh.System, OID: sh.OID, Snapshot: sh.Snapshot, Timeline: sh.Timeline}
	switch {
	case sh.Version > 3:
		return nil, fmt.Errorf("it is of version %d, which is not known", sh.Version)
	case sh.Version == 3:
		return sh.version3()
	case sh.Type == typeCtid:
		return sh.parseCtid(mark)
	case sh.Type == typeCursor, sh.Type == "" && sh.Cursor != nil:
		if len(sh.CursorField) != 1 {
			return nil, errors.New("it names no cursor_field, or several")
		}
		if sh.Count < 0 {
			return nil, errors.New("its cursor_record_count is negative")
		}
		return &Cursor{
			Mark: mark, Field: sh.CursorField[0], Value: sh.Cursor, Count: sh.Count, Partial: sh.Partial,
			Time: sh.Time, OpenSince: sh.OpenSince, Late: sh.Late, Type: sh.FieldType,
		}, nil
	case sh.Type == typeXmin:
		return sh.parseXmin(mark)
	case sh.Type == typeFollow:
		return sh.parseFollow(mark)
	case sh.Type == typeWhole:
		return &Whole{SyncID: sh.SyncID}, nil
	case sh.Type == "":
		return nil, nil
	}
	return nil, fmt.Errorf("it has the unknown state_type %q", sh.Type)
}

func (sh *shape) parseFollow(mark Mark) (Stream, error) {
	from, err := pglogrepl.ParseLSN(sh.From)
	if err != nil {
		return nil, fmt.Errorf("its from %q is not an LSN", sh.From)
	}
	s := &Follow{Mark: mark, From: from, Member: sh.Member, Missed: sh.Missed}
	if sh.Filenode != nil {
		s.Filenode = *sh.Filenode
	}
	return s, nil
}
