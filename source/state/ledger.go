package state

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"source-postgres/protocol"
)

// A Ledger knows where every stream of a sync stands and makes the states that say so: one for each stream, or, where
// changes come from the log, one for all of them. It is not safe for concurrent use: it is only touched within
// Emitter.Checkpoint.
type Ledger struct {
	log     *Log // nil: STREAM states
	streams map[protocol.StreamDescriptor]Stream
	made    time.Time // the last state of all streams
	behind  *Log      // from where on the log is needed for streams of left; nil: nothing was left behind
	left    map[protocol.StreamDescriptor]bool
	last    *protocol.GlobalState // the last state of all streams that said something new
	same    int64                 // how many have said the same since
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

// Keep takes up the state of a stream that is not read in this sync.
func (l *Ledger) Keep(d protocol.StreamDescriptor, s Stream) { l.streams[d] = s }

// LeaveBehind keeps the states of streams that need the log from at on and cannot follow it now. From then on the
// shared position stays there, and of each other stream the state says itself how far it has come.
func (l *Ledger) LeaveBehind(at Log, streams map[protocol.StreamDescriptor]Stream) {
	l.behind, l.left = &at, map[protocol.StreamDescriptor]bool{}
	for d, s := range streams {
		l.streams[d], l.left[d] = s, true
	}
}

// Needed is the position from which on the log is still needed, where it has been sent up to at.
func (l *Ledger) Needed(at pglogrepl.LSN) pglogrepl.LSN {
	if l.behind != nil {
		return min(at, l.behind.LSN)
	}
	return at
}

// shared is the state that all streams share: that of the log, or of those that were left behind.
func (l *Ledger) shared() Log {
	log := *l.log
	if needed := l.Needed(log.LSN); needed < log.LSN {
		log.LSN, log.Sent = needed, l.behind.Sent
	}
	return log
}

// own is the state of a stream. If others were left behind it says what the shared position does not: that everything
// that committed before the log's position has been sent.
func (l *Ledger) own(d protocol.StreamDescriptor) Stream {
	s := l.streams[d]
	if l.behind == nil || l.left[d] {
		return s
	}
	switch s := s.(type) {
	case *Follow:
		return s.ahead(l.log.LSN)
	case *Ctid:
		if then, ok := s.Then.(*Follow); ok {
			now := *s
			now.Then = then.ahead(l.log.LSN)
			return &now
		}
	}
	return s
}

func (s *Follow) ahead(lsn pglogrepl.LSN) *Follow {
	now := *s
	now.From = max(now.From, lsn)
	return &now
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

// sharedShape is the shape of shared_state.
type sharedShape struct {
	Version  int    `json:"version"`
	Type     string `json:"state_type"`
	LSN      string `json:"lsn"`
	Number   string `json:"last_ab_cdc_lsn,omitempty"` // a string: some readers of JSON keep numbers as doubles
	System   string `json:"system_identifier,omitempty"`
	Timeline int32  `json:"timeline,omitempty"`
	Ahead    int64  `json:"records_ahead,omitempty"`
	SentTo   string `json:"sent_to,omitempty"`
	SentXID  uint32 `json:"sent_xid,omitempty"`
	Same     int64  `json:"unchanged,omitempty"`
}

// global makes the state of all streams. While there is nothing new to say, states number themselves: no two in a row
// are the same.
func (l *Ledger) global() *protocol.State {
	l.made = time.Now()
	log := l.shared()
	sh := sharedShape{
		Version: 2, Type: typeFollow, LSN: log.LSN.String(), Number: decimal(log.Number),
		System: log.System, Timeline: log.Timeline, Ahead: log.Ahead,
	}
	if sent := log.Sent; sent.To > 0 {
		sh.SentTo, sh.SentXID = sent.To.String(), sent.XID
	}
	g := &protocol.GlobalState{Shared: sh.text(), Streams: []protocol.StreamState{}}
	for d := range l.streams {
		g.Streams = append(g.Streams, protocol.StreamState{Descriptor: d, State: marshal(d, l.own(d))})
	}
	slices.SortFunc(g.Streams, func(a, b protocol.StreamState) int {
		return strings.Compare(a.Descriptor.String(), b.Descriptor.String())
	})
	if l.last != nil && bytes.Equal(g.Shared, l.last.Shared) && slices.EqualFunc(g.Streams, l.last.Streams, equal) {
		l.same++
		sh.Same = l.same
		return &protocol.State{
			Type: protocol.TypeGlobal, Global: &protocol.GlobalState{Shared: sh.text(), Streams: g.Streams},
		}
	}
	l.last, l.same = g, 0
	return &protocol.State{Type: protocol.TypeGlobal, Global: g}
}

func equal(a, b protocol.StreamState) bool {
	return a.Descriptor == b.Descriptor && bytes.Equal(a.State, b.State)
}

func (sh *sharedShape) text() json.RawMessage {
	text, err := json.Marshal(sh)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return text
}
