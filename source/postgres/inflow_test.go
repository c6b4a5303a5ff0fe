package postgres

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// dialed gives the two ends of a TCP connection, the first as an inflow under a readAhead.
func dialed(t *testing.T) (*readAhead, net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	in := newInflow(client)
	return &readAhead{r: in}, in, server
}

// Whatever the pieces are that it is sent and read in, an inflow gives the bytes as they are, and then the end.
func TestInflowGivesEveryByte(t *testing.T) {
	in, _, server := dialed(t)
	random := rand.New(rand.NewPCG(1, 2))
	sent := make([]byte, 8*bulk)
	for i := range sent {
		sent[i] = byte(random.Uint32())
	}
	go func() {
		defer server.Close()
		for rest := sent; len(rest) > 0; {
			n := min(1+random.IntN(100), len(rest))
			if len(rest)%3 == 0 {
				n = min(1+random.IntN(2*readBuffer), len(rest))
			}
			if _, err := server.Write(rest[:n]); err != nil {
				return // the other end says what is missing
			}
			rest = rest[n:]
		}
	}()
	var got bytes.Buffer
	for size := 1; ; size = size*3%(2*readBuffer) + 1 {
		if _, err := io.CopyN(&got, in, int64(size)); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("%d bytes came, or others than the %d that were sent", got.Len(), len(sent))
	}
}

// A deadline ends a read also after a long answer, when the inflow reads in its own way; what comes after a request
// is read at once again.
func TestInflowKeepsDeadlines(t *testing.T) {
	in, conn, server := dialed(t)
	go func() {
		if _, err := server.Write(make([]byte, 2*bulk)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := io.CopyN(io.Discard, in, 2*bulk); err != nil {
		t.Fatal(err)
	}
	for _, deadline := range []time.Time{time.Unix(1, 0), time.Now().Add(time.Millisecond)} {
		if err := conn.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		if n, err := in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("deadline %s: %d bytes, %v", deadline, n, err)
		}
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if !conn.(*inflow).asked.Load() {
		t.Error("a request does not begin a new answer")
	}
}

// Reading allocates nothing.
func TestInflowAllocations(t *testing.T) {
	in, _, server := dialed(t)
	go func() {
		piece := make([]byte, readBuffer)
		for {
			if _, err := server.Write(piece); err != nil {
				return // the test is over
			}
		}
	}()
	if _, err := io.CopyN(io.Discard, in, 2*bulk); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8<<10)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := io.ReadFull(in, buf); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%.1f allocations a read", n)
	}
}
