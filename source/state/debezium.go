package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"
)

// An offset is what Debezium, on which Airbyte's connector rests, remembers of the log. lsn is where the last change
// lies that was sent, lsn_commit the end of the last transaction that was sent whole; testdata has real ones.
type offset struct {
	LSN      *pglogrepl.LSN  `json:"lsn"`
	Commit   *pglogrepl.LSN  `json:"lsn_commit"`
	XID      uint64          `json:"txId"`
	Message  string          `json:"messageType"`
	Snapshot json.RawMessage `json:"snapshot"` // true, or a word
	Last     *bool           `json:"last_snapshot_record"`
}

// log is the position in our terms: the end of the last whole transaction, and what has been sent of the next. While
// there has been no whole one, it lies within the first.
func (o *offset) log() (*Log, error) {
	switch {
	case o.Last != nil && !*o.Last && len(o.Snapshot) > 0 && string(o.Snapshot) != "false":
		return nil, errors.New("its offset is from the middle of a snapshot by Debezium, which cannot be gone on with")
	case o.LSN == nil && o.Commit == nil:
		return nil, errors.New("its offset has no lsn")
	}
	log := &Log{}
	if o.Commit != nil {
		log.LSN = *o.Commit
	} else {
		log.LSN = *o.LSN
	}
	switch o.Message {
	case "INSERT", "UPDATE", "DELETE":
		// If that transaction was the last whole one, there is no other of its number. The log has no epoch.
		if xid := uint32(o.XID); xid > 0 && o.LSN != nil && *o.LSN >= log.LSN {
			log.Sent = Sent{To: *o.LSN, XID: xid}
		}
	}
	return log, nil
}

// still reports that the log has not been read since the first pass began.
func (o *offset) still() bool { return o.Message == "" }

// parseOffsets reads the offset out of the state of Airbyte's connector: an object with one key, which names the
// database, and has been spelt in several ways.
func parseOffsets(text json.RawMessage, database string) (*Log, *handover, error) {
	var offsets map[string]json.RawMessage
	if err := json.Unmarshal(text, &offsets); err != nil {
		return nil, nil, fmt.Errorf("parse offset: %w", err)
	}
	var found json.RawMessage
	best, several, others := 0, false, []string{}
	for _, key := range slices.Sorted(maps.Keys(offsets)) {
		name, rank := offsetKey(key)
		switch {
		case rank == 0:
			return nil, nil, fmt.Errorf(`the key %q of its offset is not of the form ["name",{"server":"name"}]`, key)
		case name != topic(database):
			others = append(others, name)
		case rank > best:
			best, several, found = rank, false, offsets[key]
		case rank == best:
			several = true
		}
	}
	switch {
	case several:
		return nil, nil, errors.New("it has several offsets of one database")
	case best == 0:
		return nil, nil, fmt.Errorf("it is of database %s, and %s is configured", strings.Join(others, ", "), database)
	}
	var inner string
	if json.Unmarshal(found, &inner) == nil && inner != "" {
		found = json.RawMessage(inner)
	}
	var o *offset
	if err := json.Unmarshal(found, &o); err != nil {
		return nil, nil, fmt.Errorf("parse offset: %w", err)
	}
	if o == nil {
		return nil, nil, errors.New("its offset is empty")
	}
	log, err := o.log()
	if err != nil {
		return nil, nil, err
	}
	return log, &handover{at: log.LSN, still: o.still()}, nil
}

// offsetKey is the server that an offset's key names, and how new its spelling is; 0: it is none.
func offsetKey(key string) (server string, rank int) {
	var wrapped struct {
		Payload json.RawMessage `json:"payload"`
	}
	inner, rank := []byte(key), 3
	if json.Unmarshal(inner, &wrapped) == nil && wrapped.Payload != nil {
		inner, rank = wrapped.Payload, 2
	} else if cut, ok := strings.CutSuffix(strings.TrimSpace(key), "]}"); ok {
		inner, rank = []byte(cut+"]"), 1
	}
	var parts []json.RawMessage
	var partition struct {
		Server string `json:"server"`
	}
	if json.Unmarshal(inner, &parts) != nil || len(parts) != 2 || json.Unmarshal(parts[1], &partition) != nil ||
		partition.Server == "" {
		return "", 0
	}
	return topic(partition.Server), rank
}

// notInTopic is what Debezium replaces in the name that it calls a database by.
var notInTopic = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

func topic(database string) string { return notInTopic.ReplaceAllString(database, "_") }
