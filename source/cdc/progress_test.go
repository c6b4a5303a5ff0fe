package cdc

import (
	"fmt"
	"testing"
	"time"

	"source-postgres/source/state"
)

func TestDistance(t *testing.T) {
	r := &Reader{
		at: state.Log{LSN: 0x1000}, target: 0x5000, from: 0x1000, streams: []*follower{{rows: 30}, {rows: 50}}, had: 20,
	}
	for _, test := range []struct {
		begins uint64 // of the present change, in a transaction that began at 0x1000
		want   string
	}{
		{0, "[at 0/1000 to 0/5000 bytes_left 16384 records 60]"},
		{0x2000, "[at 0/2000 to 0/5000 bytes_left 12288 records 60 records_per_second 6 seconds_left 30]"},
		{0x9000, "[at 0/5000 to 0/5000 bytes_left 0 records 60 records_per_second 6 seconds_left 0]"},
	} {
		r.begins = test.begins
		if got := fmt.Sprint(r.distance(10 * time.Second)); got != test.want {
			t.Errorf("at %x: %s, want %s", test.begins, got, test.want)
		}
	}
}
