package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A tally reads the output of a read of one stream that is too long for the harness to take every line apart: it
// counts, and looks at each record's field id. What it does not check of the invariants, other tests do.
type tally struct {
	p       *process
	seen    []bool // by id: in a record of this run
	saved   []bool // by id: in a record that a state covers
	records int
	states  []*state
	counted int   // records by the states' counts
	peak    int64 // largest resident memory seen, in bytes

	unsaved []int
}

// newTally starts a read of a stream whose ids are from 1 to most.
func newTally(t *testing.T, in input, most int) *tally {
	t.Helper()
	p := start(t, "read", in)
	p.disturbed = true // the harness gets no line to check
	return &tally{p: p, seen: make([]bool, most+1), saved: make([]bool, most+1)}
}

var recordPrefix, idKey = []byte(`{"type":"RECORD"`), []byte(`"id":`)

// sampled is how many records come to one that is held against the protocol.
const sampled = 20_000

// read takes lines until there are records of them, or to the end of the output.
func (c *tally) read(records int) {
	c.p.t.Helper()
	for c.records < records {
		line, err := c.p.out.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			c.p.t.Fatalf("a line of more than %d bytes", len(line))
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.p.t.Fatalf("read the connector's output: %v", err)
			}
			return
		}
		if !bytes.HasPrefix(line, recordPrefix) {
			c.message(line)
			continue
		}
		c.records++
		if c.records%sampled == 1 {
			c.message(line)
			c.peak = max(c.peak, c.p.memory())
		}
		id := idOf(line)
		if id < 1 || id >= len(c.seen) || c.seen[id] {
			c.p.t.Fatalf("record %d comes twice, or is none of the table: %s", id, line)
		}
		c.seen[id] = true
		c.unsaved = append(c.unsaved, id)
	}
}

// idOf is the integer field id of a record, -1 if there is none.
func idOf(line []byte) int {
	_, text, _ := bytes.Cut(line, idKey)
	end := bytes.IndexAny(text, ",}")
	if end < 0 {
		return -1
	}
	id, err := strconv.Atoi(string(text[:end]))
	if err != nil {
		return -1
	}
	return id
}

func (c *tally) message(line []byte) {
	c.p.t.Helper()
	m, err := parse(bytes.Clone(bytes.TrimSuffix(line, []byte{'\n'})))
	if err != nil {
		c.p.t.Errorf("%v: %s", err, shortened(line))
		return
	}
	if m.State == nil {
		return
	}
	if n := int(m.State.Stats.RecordCount); n != len(c.unsaved) {
		c.p.t.Errorf("state %s counts %d records, but %d came", m.State.text, n, len(c.unsaved))
	}
	for _, id := range c.unsaved {
		c.saved[id] = true
	}
	c.states, c.counted, c.unsaved = append(c.states, m.State), c.counted+len(c.unsaved), c.unsaved[:0]
}

// kill ends the process with SIGKILL, after what it has written by then has been read.
func (c *tally) kill() {
	c.p.t.Helper()
	c.p.signal(syscall.SIGKILL)
	c.read(len(c.seen))
	if r := c.p.wait(); r.exit != 128+int(syscall.SIGKILL) {
		c.p.t.Fatalf("exit code %d after SIGKILL", r.exit)
	}
}

// end reads to the end, which has to be a good one with every record counted.
func (c *tally) end() {
	c.p.t.Helper()
	c.read(len(c.seen) + 1)
	c.p.wait().ok()
	if c.counted != c.records {
		c.p.t.Errorf("the states count %d records, but %d came", c.counted, c.records)
	}
}

// memory is the peak of the connector's resident memory so far, in bytes; 0 once it has ended. It is not the
// one that wait4 tells, which is inherited over fork and exec and so can be that of the tests.
func (p *process) memory() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(status), "VmHWM:")
	if !ok {
		return 0
	}
	kB, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kB << 10
}
