package state

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"source-postgres/protocol"
)

// A Ledger knows where every stream of a sync stands and makes the states that say so: one for each stream, or, where
// changes come from the log, one for all of them. It is not safe for concurrent use: it is only touched within
// Emitter.Checkpoint.
type Ledger struct {
	log     *Log // nil: STREAM states
	streams map[protocol.StreamDescriptor]Stream
	made    time.Time // the last state of all streams
}

// A state of so many streams is not made each time that one of them has come a piece further, but once in a while: the
// states of a first pass would otherwise grow with the square of the number of streams.
const (
	manyStreams = 100
	manyEvery   = time.Second
)

// NewLedger is a Ledger of the streams that an earlier sync left; log is nil for STREAM states.
func NewLedger(log *Log, streams map[protocol.StreamDescriptor]Stream) *Ledger {
	return &Ledger{log: log, streams: streams}
}

// Stream notes where stream d stands and makes the state; it gives nil where that is left for one of the next.
func (l *Ledger) Stream(d protocol.StreamDescriptor, s Stream) *protocol.State {
	if l.log == nil {
		return &protocol.State{
			Type:   protocol.TypeStream,
			Stream: &protocol.StreamState{Descriptor: d, State: marshal(d, s)},
		}
	}
	l.streams[d] = s
	if len(l.streams) >= manyStreams && time.Since(l.made) < manyEvery {
		return nil
	}
	return l.global()
}

// Log notes how far the log has been sent and makes the state.
func (l *Ledger) Log(log Log) *protocol.State {
	l.log = &log
	return l.global()
}

// shared is the shape of shared_state.
type shared struct {
	Version  int    `json:"version"`
	Type     string `json:"state_type"`
	LSN      string `json:"lsn"`
	Number   string `json:"last_ab_cdc_lsn,omitempty"` // a string: some readers of JSON keep numbers as doubles
	System   string `json:"system_identifier,omitempty"`
	Timeline int32  `json:"timeline,omitempty"`
	Ahead    int64  `json:"records_ahead,omitempty"`
	SentTo   string `json:"sent_to,omitempty"`
	SentXID  uint32 `json:"sent_xid,omitempty"`
}

func (l *Ledger) global() *protocol.State {
	l.made = time.Now()
	sh := shared{
		Version: 2, Type: typeFollow, LSN: l.log.LSN.String(), Number: decimal(l.log.Number),
		System: l.log.System, Timeline: l.log.Timeline, Ahead: l.log.Ahead,
	}
	if sent := l.log.Sent; sent.To > 0 {
		sh.SentTo, sh.SentXID = sent.To.String(), sent.XID
	}
	text, err := json.Marshal(sh)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	g := &protocol.GlobalState{Shared: text, Streams: []protocol.StreamState{}}
	for d, s := range l.streams {
		g.Streams = append(g.Streams, protocol.StreamState{Descriptor: d, State: marshal(d, s)})
	}
	slices.SortFunc(g.Streams, func(a, b protocol.StreamState) int {
		return strings.Compare(a.Descriptor.String(), b.Descriptor.String())
	})
	return &protocol.State{Type: protocol.TypeGlobal, Global: g}
}
