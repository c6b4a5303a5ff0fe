package postgres

import (
	"crypto/tls"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// readBuffer is how many bytes are asked of the operating system at a time. The driver asks for 8 KiB.
	readBuffer = 256 << 10
	// bulk is how much one answer must have brought before its bytes are left to gather. Answers of that size end
	// within a pause after their last byte; smaller ones are not kept waiting.
	bulk = 256 << 10
	// A read that brings less is little.
	little = 4 << 10
	// huge is the size of a message whose memory is given back before the next is received.
	huge = 16 << 20
	// pause is the time in which bytes gather: at 1 GB/s as many as readBuffer has room for.
	pause = 200 * time.Microsecond
)

// Of a stream of small messages, from a server that is near.
const (
	// near is the round trip below which a server is near: on the same machine, or in the same rack. Further away the
	// network gathers the bytes, and a small window would set the pace.
	near = 300 * time.Microsecond
	// window is what the operating system may hold for a stream. While it is full, what the server sends gathers on the
	// server's side, which costs it a tenth of sending it.
	window = 128 << 10
	// Up to this round trip, as in one data center, a larger window still does not set the pace.
	beside       = 1500 * time.Microsecond
	besideWindow = 256 << 10
	// The time in which the bytes of a stream gather is between these, so that what comes in it is between few and many:
	// the server should neither be seen for each message nor have to wait for this end.
	shortest, longest = time.Millisecond, 20 * time.Millisecond
	few, many         = 256 << 10, 1 << 20
)

// An inflow is a connection that is read in few large pieces while a long answer comes in. Where there is nothing to
// be had it pauses, by the clock, before it looks again: a reader that waits on the socket is woken by each piece that
// the server sends, is put on the core where the server runs, and the two take turns on that core, which costs up to
// half of the throughput. Like this it runs on a core of its own, and a wake-up brings ten times as much.
type inflow struct {
	net.Conn
	raw   syscall.RawConn
	asked atomic.Bool // there has been a request since the last read; the driver may read while it writes
	since int         // bytes that have come since the last request
	dry   bool        // the last read brought little

	stream  bool          // of messages that come by themselves, from a server that is near
	pause   time.Duration // of the stream
	most    time.Duration // that the pause may become
	trip    time.Duration // what it takes until more comes when all that is there has been read; 0: nothing
	drained int           // bytes of the stream that have come since the last pause
	silent  bool          // nobody is told of its bytes until there are many

	// Of the read that is under way.
	try func(fd uintptr) bool
	p   []byte
	n   int
	err error
}

// newInflow is conn, read in that way where the operating system can do it.
func newInflow(conn net.Conn) net.Conn {
	t, ok := conn.(*net.TCPConn)
	if !ok || !canPause {
		return conn
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return conn
	}
	f := &inflow{Conn: conn, raw: raw}
	f.try = f.take
	return f
}

// Write sends a request: what comes next is the beginning of an answer.
func (f *inflow) Write(p []byte) (int, error) {
	f.asked.Store(true)
	return f.Conn.Write(p)
}

// gather makes a stream of conn: what comes are messages that nobody has asked for, one by one. If the server is near
// they are given time to become many. A reader that takes each as it comes makes the server send each by itself and
// wake this process for it, which costs both of them several times what they do with it otherwise.
func gather(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	f, ok := conn.(*inflow)
	if !ok {
		return
	}
	_ = f.raw.Control(func(fd uintptr) {
		f.most = longest
		switch trip := roundTrip(fd); {
		case trip < near:
			f.stream = narrow(fd, window)
		case trip < beside:
			f.stream, f.trip = narrow(fd, besideWindow), trip+shortest/10
		case trip < time.Hour:
			f.stream, f.most = true, max(trip/8, shortest)
		}
	})
	f.pause = shortest
}

func (f *inflow) Read(p []byte) (int, error) {
	if f.asked.Load() && f.asked.Swap(false) {
		f.since = 0
	}
	if f.since >= bulk {
		f.p = p
		if err := f.raw.Read(f.try); err != nil { // a deadline
			return 0, err
		}
		f.p = nil // it is the caller's
		f.dry = f.n < min(len(p), little)
		if f.err == nil && f.n > 0 {
			return f.n, nil
		}
	}
	if f.silent {
		f.silent = false
		_ = f.raw.Control(func(fd uintptr) { tellFrom(fd, 1) })
	}
	// The end of the stream and errors come here once more.
	n, err := f.Conn.Read(p)
	f.since += n
	return n, err
}

// take reads without waiting, after a pause if there is or was little. It never asks to be called again.
func (f *inflow) take(fd uintptr) bool {
	if f.stream {
		return f.drain(fd)
	}
	if f.dry {
		rest(pause)
	}
	f.n, f.err = readNow(fd, f.p)
	if f.err != nil && !f.dry {
		rest(pause)
		f.n, f.err = readNow(fd, f.p)
	}
	return true
}

// drain is take for a stream: it reads what is there; once that is all, it pauses, as long as the last pause has shown
// to be right. The bytes that come meanwhile wake nobody.
func (f *inflow) drain(fd uintptr) bool {
	if !f.silent {
		f.silent = true
		tellFrom(fd, bulk)
	}
	f.n, f.err = readNow(fd, f.p)
	if f.err != nil && f.trip > 0 && f.drained > 0 { // what was held up behind the window is on its way
		rest(f.trip)
		f.n, f.err = readNow(fd, f.p)
	}
	if f.err != nil {
		switch {
		case f.drained > many:
			f.pause = max(f.pause/2, shortest)
		case f.drained < few:
			f.pause = min(f.pause*2, f.most)
		}
		f.drained = 0
		rest(f.pause)
		f.n, f.err = readNow(fd, f.p)
	}
	f.drained += max(f.n, 0)
	return true
}

// A readAhead reads from r in pieces of readBuffer. The memory is taken with the first read.
//
// The driver takes as much memory as a message is long, and leaves it to the garbage collector after that. The next
// message of that size would come before the collector does, and the two would be in memory together: so what was huge
// is collected as soon as the driver has let go of it, which is before it reads on.
type readAhead struct {
	r        io.Reader
	buf      []byte
	from, to int // what is there
	missing  int // of a huge message that is being read
	over     bool
}

func (a *readAhead) Read(p []byte) (int, error) {
	if a.over {
		a.over = false
		debug.FreeOSMemory()
	}
	if a.missing == 0 && len(p) >= huge {
		a.missing = len(p) // the driver has memory for the rest of one message, and no more
	}
	n, err := a.read(p)
	if a.missing > 0 {
		a.missing -= min(n, a.missing)
		a.over = a.missing == 0
	}
	return n, err
}

func (a *readAhead) read(p []byte) (int, error) {
	if a.from == a.to {
		if len(p) >= readBuffer {
			return a.r.Read(p)
		}
		if a.buf == nil {
			a.buf = make([]byte, readBuffer)
		}
		n, err := a.r.Read(a.buf)
		a.from, a.to = 0, n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, a.buf[a.from:a.to])
	a.from += n
	return n, nil
}

// Buffered is how many bytes of conn have come and can be received without waiting.
func Buffered(conn *pgconn.PgConn) int {
	n := conn.Frontend().ReadBufferLen()
	if a, ok := conn.CustomData()[aheadKey].(*readAhead); ok {
		n += a.to - a.from
	}
	return n
}

// Held points to whether conn holds a huge message, all of which has been received: then whoever is done with its
// values should let go of them, so that the memory can be had for the next.
func Held(conn *pgconn.PgConn) *bool {
	if a, ok := conn.CustomData()[aheadKey].(*readAhead); ok {
		return &a.over
	}
	return new(bool)
}

// aheadKey is where a connection keeps its readAhead.
const aheadKey = "readAhead"
