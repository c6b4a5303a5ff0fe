package postgres

import (
	"bytes"
	"io"
	"testing"
)

// The end of a huge message is noticed however it is read, and only its end; what follows is read as ever.
func TestReadAheadNoticesHugeMessages(t *testing.T) {
	data := make([]byte, huge+readBuffer+5)
	data[len(data)-1] = 7
	a := &readAhead{r: &trickle{r: bytes.NewReader(data), most: huge / 3}}
	message := make([]byte, huge+1)
	for from := 0; from < len(message); {
		if a.over {
			t.Fatal("a message is over before all of it has come")
		}
		n, err := a.Read(message[from:])
		if err != nil {
			t.Fatal(err)
		}
		from += n
	}
	if !a.over {
		t.Error("the end of a huge message was not noticed")
	}
	rest, err := io.ReadAll(a)
	if err != nil || len(message)+len(rest) != len(data) || rest[len(rest)-1] != 7 || a.over {
		t.Errorf("%d bytes followed, %v, over %t", len(rest), err, a.over)
	}
}

// A trickle gives a few bytes at a time.
type trickle struct {
	r    io.Reader
	most int
}

func (t *trickle) Read(p []byte) (int, error) { return t.r.Read(p[:min(len(p), t.most)]) }
