package scan

import (
	"io"
	"testing"

	"source-postgres/protocol"
)

// Rows of one value may come in another order when they are read again: none of them is skipped, and those before are.
func TestRewind(t *testing.T) {
	t.Parallel()
	e := protocol.NewWriter(io.Discard).Emitter()
	b := newBookmark(task{p: &progress{}, order: byCursor})
	for _, test := range []struct {
		place  string // "" for NULL
		before int64
	}{{"", 0}, {"", 0}, {"1", 2}, {"1", 2}, {"2", 4}, {"2", 4}, {"3", 6}} {
		var place []byte
		if test.place != "" {
			place = []byte(test.place)
		}
		if err := b.row(e, place, 1); err != nil {
			t.Fatal(err)
		}
		if b.before != test.before {
			t.Errorf("%d rows before those of %q, want %d", b.before, test.place, test.before)
		}
	}
	if n := b.rewind(); n != 6 {
		t.Errorf("%d rows are skipped, want 6", n)
	}
	for range 2 {
		if err := b.row(e, []byte("3"), 1); err != nil {
			t.Fatal(err)
		}
	}
	if b.count != 2 || b.before != 6 {
		t.Errorf("%d rows of the value and %d before, want 2 and 6", b.count, b.before)
	}
}
