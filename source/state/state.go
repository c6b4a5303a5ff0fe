package state

import (
	"encoding/json"
	"fmt"

	"source-postgres/protocol"
)

// A Stream says where the reading of one stream stopped. It is one of *Ctid and *Whole.
type Stream interface {
	stream()
}

// A Ctid is a pass through a table by ranges of blocks.
type Ctid struct {
	Filenode uint64 // catalog.Storage.Filenode when the pass began: block numbers mean nothing in other files
	Done     Blocks // what has been read
	// Snapshot is the pg_snapshot (xmin:xmax:xip_list, 64-bit) that the first attempt read under. Rows written since may lie
	// in blocks that are done, so an attempt that goes on under another snapshot reads those again by their xmin.
	// Empty in the states of Airbyte's connector.
	Snapshot string
	Finished bool   // the pass is over; only this mark says so
	SyncID   *int64 // the sync that finished it, if the platform gives syncs a number
}

// A Whole is a relation that can only be read in one go, and has been.
type Whole struct {
	SyncID *int64
}

func (*Ctid) stream()  {}
func (*Whole) stream() {}

// shape is every key of a stream's state.
type shape struct {
	Version   int        `json:"version,omitempty"`
	Type      string     `json:"state_type,omitempty"`
	Name      string     `json:"stream_name,omitempty"`
	Namespace string     `json:"stream_namespace,omitempty"`
	Ctid      string     `json:"ctid,omitempty"`
	Filenode  *uint64    `json:"relation_filenode,omitempty"`
	Then      *struct{}  `json:"incremental_state,omitempty"`
	Ranges    [][2]int64 `json:"ranges,omitempty"` // done beyond ctid: first block, block after the last
	Snapshot  string     `json:"snapshot,omitempty"`
	Finished  bool       `json:"finished,omitempty"`
	SyncID    *int64     `json:"sync_id,omitempty"`
}

// The values of state_type.
const (
	typeCtid  = "ctid"
	typeWhole = "full_refresh"
)

// lastTuple is the greatest tuple number that a ctid can be written with: (n,65535) is after every row of block n.
const lastTuple = 65535

// Message is the STREAM state of stream d. The state names the stream a second time, inside: some platforms hand states back
// without the namespace.
func Message(d protocol.StreamDescriptor, s Stream) protocol.State {
	sh := shape{Version: 2, Name: d.Name, Namespace: d.Namespace}
	switch s := s.(type) {
	case *Ctid:
		sh.Type = typeCtid
		sh.Ctid = "(0,0)"
		beyond := s.Done
		if w := s.Done.watermark(); w > 0 {
			sh.Ctid = fmt.Sprintf("(%d,%d)", w-1, lastTuple)
			beyond = s.Done[1:]
		}
		for _, r := range beyond {
			sh.Ranges = append(sh.Ranges, [2]int64{r.From, r.To})
		}
		sh.Filenode, sh.Then = &s.Filenode, &struct{}{}
		sh.Snapshot, sh.Finished, sh.SyncID = s.Snapshot, s.Finished, s.SyncID
	case *Whole:
		sh.Type, sh.Finished, sh.SyncID = typeWhole, true, s.SyncID
	}
	text, err := json.Marshal(sh)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return protocol.State{Type: protocol.TypeStream, Stream: &protocol.StreamState{Descriptor: d, State: text}}
}
