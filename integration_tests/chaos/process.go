package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process is a running connector.
type process struct {
	cmd    *exec.Cmd
	stdout *os.File // the reading end
	lines  *bufio.Reader
	stderr bytes.Buffer
	hung   *time.Timer
	over   chan struct{} // closed when the process is
	peak   chan int64    // its peak of memory in bytes, as far as it was seen
}

// endsWithin is how long an attempt may take. None needs nearly as long: it is there to tell a hang.
const endsWithin = 2 * time.Minute

// start starts the connector with these files.
func start(ctx context.Context, binary, dir, command string, files map[string]any) (*process, error) {
	args := []string{command}
	for _, name := range []string{"config", "catalog", "state"} {
		if files[name] == nil {
			continue
		}
		text, err := json.Marshal(files[name])
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, name+".json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--"+name, path)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, binary, args...), stdout: r, lines: bufio.NewReaderSize(r, 1<<16)}
	p.cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.stderr
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	p.over, p.peak = make(chan struct{}), make(chan int64, 1)
	go p.weigh()
	p.hung = time.AfterFunc(endsWithin, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) }) // it shows its stacks
	return p, nil
}

// weigh looks at the process's peak of memory until it is over. What the system says at its end has that of this
// process in it, from which it was forked.
func (p *process) weigh() {
	var peak int64
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)) // it may be over
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			var kB int64
			if _, err := fmt.Sscan(rest, &kB); err == nil {
				peak = max(peak, kB<<10)
			}
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-p.over:
			p.peak <- peak
			return
		}
	}
}

// line gives the next line without its end; torn: the output ended in the middle of one. err is io.EOF at the end, also
// at that of output that nobody reads any more.
func (p *process) line() (text []byte, torn bool, err error) {
	text, err = p.lines.ReadBytes('\n')
	switch {
	case err == nil:
		return text[:len(text)-1], false, nil
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
		return text, len(text) > 0, io.EOF
	}
	return nil, false, err
}

// end waits for the process and gives its exit code, 128 and the number for a signal, and its peak of memory in bytes.
func (p *process) end() (code int, memory int64, err error) {
	err = p.cmd.Wait()
	p.stdout.Close()
	close(p.over)
	memory = <-p.peak
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, 0, err
	}
	if !p.hung.Stop() {
		return 0, 0, fmt.Errorf("the connector hung: %s", p.stderr.String())
	}
	code = p.cmd.ProcessState.ExitCode()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return code, memory, nil
}

// discover gives the streams of the database, by name.
func discover(ctx context.Context, binary, dir string, config map[string]any) (map[string]map[string]any, error) {
	p, err := start(ctx, binary, dir, "discover", map[string]any{"config": config})
	if err != nil {
		return nil, err
	}
	found, last := map[string]map[string]any{}, ""
	for {
		text, _, err := p.line()
		if err != nil {
			break
		}
		last = string(text)
		if !strings.Contains(last, `"CATALOG"`) {
			continue
		}
		var m struct {
			Catalog struct{ Streams []map[string]any }
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, err
		}
		for _, s := range m.Catalog.Streams {
			found[s["name"].(string)] = s
		}
	}
	code, _, err := p.end()
	if err == nil && code != 0 {
		err = fmt.Errorf("discover ended with %d: %s", code, last)
	}
	return found, err
}
