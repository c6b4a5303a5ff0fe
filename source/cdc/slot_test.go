package cdc

import (
	"errors"
	"strings"
	"testing"

	"source-postgres/protocol"
	"source-postgres/source/config"
	"source-postgres/source/state"
)

// A slot that cannot be read from says what happened, how far the loss reaches, and what to run.
func TestLostSlots(t *testing.T) {
	c := &config.Config{Database: "shop", CDC: config.CDC{Slot: "s'1"}}
	for name, test := range map[string]struct {
		kind  string
		slot  Slot
		parts []string
	}{
		"gone":           {"", Slot{Flushed: 48}, []string{"does not exist", "at 0/10", "ends at 0/30", "32 bytes of log"}},
		"kept too much":  {"logical", Slot{Status: "lost"}, []string{"more than max_slot_wal_keep_size"}},
		"standby":        {"logical", Slot{Status: "lost", Reason: "rows_removed"}, []string{"hot_standby_feedback = on"}},
		"level":          {"logical", Slot{Status: "lost", Reason: "wal_level_insufficient"}, []string{"wal_level was"}},
		"idle":           {"logical", Slot{Status: "lost", Reason: "idle_timeout"}, []string{"idle_replication_slot"}},
		"two phases":     {"logical", Slot{Status: "reserved", TwoPhase: true}, []string{"two_phase", "slot('s''1')"}},
		"other database": {"logical", Slot{Status: "reserved", Database: "x"}, []string{"belongs to database x"}},
	} {
		test.slot.Plugin = plugin
		if test.slot.Database == "" {
			test.slot.Database = c.Database
		}
		err := test.slot.reach(test.slot.fit(test.kind, c), &state.Log{LSN: 16})
		var e *protocol.Error
		if !errors.As(err, &e) || e.Kind != protocol.Config {
			t.Errorf("%s: %v is no config error", name, err)
			continue
		}
		for _, part := range test.parts {
			if !strings.Contains(e.Message+" "+e.Hint, part) {
				t.Errorf("%s: the message lacks %q: %s %s", name, part, e.Message, e.Hint)
			}
		}
		if lost := strings.Contains(e.Message, "are lost to this connection"); lost != (test.slot.Status != "reserved") {
			t.Errorf("%s: a loss: %t: %s", name, lost, e.Message)
		}
	}
}

func TestFixedIn(t *testing.T) {
	for version, mended := range map[int]bool{
		120022: false, 130020: false, 130021: true, 150012: false, 150013: true, 160009: true, 170004: false, 170005: true,
		180000: true,
	} {
		if got := version >= fixedIn(version); got != mended {
			t.Errorf("%d is mended: %t, want %t", version, got, mended)
		}
	}
}
