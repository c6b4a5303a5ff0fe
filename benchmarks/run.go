package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A sink is where a process's standard output goes.
type sink int

const (
	// toPipe is a pipe into cat >/dev/null.
	toPipe sink = iota
	toNull      // /dev/null
)

// A command is a process to run. Its environment is env, and nothing else.
type command struct {
	path      string
	args, env []string
	sink      sink
}

// A sample is what one run took.
type sample struct {
	wall   time.Duration // from before the process is made to when it is gone and its output is read
	client time.Duration // the process's CPU, user and system
	server time.Duration // the CPU of all the server's processes meanwhile, in steps of 10 ms
	rss    int64         // the process's greatest resident memory, in bytes
	bytes  int64         // of JSON
}

// A variant is one way to do the work of a contest.
type variant struct {
	name    string
	command command
	prepare func(ctx context.Context) error // before every run and not measured; nil: nothing to do
	records int64                           // that an unmeasured run before the first must bring; 0: no such run
}

// A contest compares variants, which take turns.
type contest struct {
	title    string
	rows     int64 // that each variant reads; 0: it is not about rows
	rounds   int   // 0: as many as usual
	floors   int   // the first so many variants are what the others are compared with
	bars     bool  // it is in the plot
	variants []variant
}

// race measures the variants of c and reports them.
func (b *bench) race(ctx context.Context, c contest) error {
	rounds := c.rounds
	if rounds == 0 {
		rounds = b.rounds
	}
	var size int64
	for _, v := range c.variants {
		if v.records == 0 {
			continue
		}
		if err := v.ready(ctx); err != nil {
			return err
		}
		r, err := b.observe(ctx, v.command)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", c.title, v.name, err)
		}
		if r.records != v.records {
			return fmt.Errorf("%s: %s: %d records came, not %d", c.title, v.name, r.records, v.records)
		}
		size = r.size
	}
	samples := make([][]sample, len(c.variants))
	for round := range rounds {
		note("%s: round %d of %d", c.title, round+1, rounds)
		for i, v := range c.variants {
			if err := v.ready(ctx); err != nil {
				return err
			}
			s, err := b.measure(ctx, v.command)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", c.title, v.name, err)
			}
			if i >= c.floors {
				s.bytes = size // as many in every variant
			}
			samples[i] = append(samples[i], s)
		}
	}
	return b.report.contest(c, samples)
}

func (v *variant) ready(ctx context.Context) error {
	if v.prepare == nil {
		return nil
	}
	return v.prepare(ctx)
}

// process is c, ready to be started; what it writes to stderr comes into the buffer.
func (b *bench) process(ctx context.Context, c command) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Dir = b.dir
	cmd.Env = append([]string{}, c.env...) // nil would be this process's environment
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

// measure runs c once.
func (b *bench) measure(ctx context.Context, c command) (sample, error) {
	cmd, stderr := b.process(ctx, c)
	reader, err := c.sink.open(ctx, cmd)
	if err != nil {
		return sample{}, err
	}
	before, err := b.serverCPU()
	if err != nil {
		return sample{}, errors.Join(err, reader())
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, fmt.Errorf("start %s: %w", filepath.Base(c.path), errors.Join(err, reader()))
	}
	gone, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watch(cmd.Process.Pid, gone) }()
	err = errors.Join(cmd.Wait(), reader())
	s := sample{wall: time.Since(begin)}
	close(gone)
	s.rss = <-peak
	if err != nil {
		return s, fmt.Errorf("run %s: %w: %s", filepath.Base(c.path), err, stderr)
	}
	s.client = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	after, err := b.serverCPU()
	s.server = after - before
	return s, err
}

// open gives cmd its standard output. The function that comes back is called when cmd has ended, and waits for the
// reader of the pipe.
func (to sink) open(ctx context.Context, cmd *exec.Cmd) (func() error, error) {
	if to == toNull {
		return func() error { return nil }, nil // os/exec opens /dev/null where Stdout is nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	cat := exec.CommandContext(ctx, "cat")
	cat.Stdin = r
	err = cat.Start()
	r.Close()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start cat: %w", err)
	}
	cmd.Stdout = w
	return func() error {
		w.Close()
		return cat.Wait()
	}, nil
}

// watch looks at a process's greatest resident memory until it is gone: often at first, for one that is short.
// getrusage would not do, since there a process begins with the greatest memory of the one that made it.
func watch(pid int, gone <-chan struct{}) (peak int64) {
	const most = 50 * time.Millisecond
	interval := time.Millisecond / 2
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-gone:
			return peak
		case <-timer.C:
			peak = max(peak, highWater(pid))
			interval = min(interval*9/8, most)
			timer.Reset(interval)
		}
	}
}

// highWater is VmHWM of proc_pid_status(5) in bytes, or 0 for a process that has none any more.
func highWater(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	number, _, _ := strings.Cut(rest, "kB")
	kb, _ := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	return kb << 10
}

// serverCPU is what the server's processes have taken so far: the postmaster, those of its children that it has waited
// for, and those that are there. All are in proc_pid_stat(5), in ticks of 10 ms.
func (b *bench) serverCPU() (time.Duration, error) {
	const tick = 10 * time.Millisecond
	fields, err := stat(b.postmaster)
	if err != nil {
		return 0, fmt.Errorf("read the server's CPU time (this needs Linux): %w", err)
	}
	ticks := fields[utime] + fields[stime] + fields[cutime] + fields[cstime]
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if f, err := stat(pid); err == nil && f[ppid] == int64(b.postmaster) {
			ticks += f[utime] + f[stime]
		}
	}
	return time.Duration(ticks) * tick, nil
}

// Fields of /proc/PID/stat, counted from the one after the program's name: 1 is the parent, the times are 14 to 17 of
// the manual's count.
const (
	ppid   = 1
	utime  = 11
	stime  = 12
	cutime = 13
	cstime = 14
)

// stat gives the numbers after the name, which may itself hold spaces and parentheses.
func stat(pid int) ([]int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	words := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(words) <= cstime {
		return nil, io.ErrUnexpectedEOF
	}
	numbers := make([]int64, len(words))
	for i, word := range words {
		numbers[i], _ = strconv.ParseInt(word, 10, 64) // the process's state is a letter
	}
	return numbers, nil
}
