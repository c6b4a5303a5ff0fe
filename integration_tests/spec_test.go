package integration

import (
	"debug/elf"
	"encoding/json"
	"os"
	"syscall"
	"testing"
)

// spec needs nothing: no environment, no file, no network.
func TestSpec(t *testing.T) {
	t.Parallel()
	r := startLine(t, "", input{}, "spec").wait().ok()
	var schema struct {
		Type       string                     `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	for _, m := range r.messages {
		if m.Spec == nil {
			continue
		}
		if err := json.Unmarshal(m.Spec.ConnectionSpecification, &schema); err != nil {
			t.Fatal(err)
		}
	}
	for _, field := range []string{"host", "port", "database", "username", "password", "replication_method"} {
		if schema.Properties[field] == nil {
			t.Errorf("the spec has no field %s", field)
		}
	}
}

// spec takes little memory, and the program needs no library.
func TestSpecIsSmall(t *testing.T) {
	t.Parallel()
	if raced {
		run(t, "spec", input{}).ok() // the race detector needs a library, and memory
		return
	}
	binary, err := elf.Open(connector)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = binary.Close() }() // it was only read
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 || binary.Section(".interp") != nil {
		t.Errorf("the program needs the libraries %q (%v)", libraries, err)
	}
	p := start(t, "spec", input{pipe: 4096})
	if _, err := p.out.Peek(1); err != nil { // the process waits with the rest of its line
		t.Fatal(err)
	}
	peak := p.memory()
	p.wait().ok()
	t.Logf("spec takes %.1f MB", float64(peak)/1e6)
	if peak == 0 || peak > 20e6 {
		t.Errorf("spec takes %d bytes of memory, want less than 20 MB", peak)
	}
}

// The server of the tests is one that the connector can be pointed at.
func TestHarnessDatabase(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.exec("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
	if n := db.value("SELECT count(*) FROM t"); n != "2" {
		t.Errorf("count = %s, want 2", n)
	}
	if level := db.value("SHOW wal_level"); level != "logical" {
		t.Errorf("wal_level = %s, want logical", level)
	}
}

// smallPipe lets the connector wait for its reader soon: it leaves a pipe of a size that it did not expect as it is.
const smallPipe = 32 << 10

// shrink makes a pipe take no more than so many bytes, on Linux.
func shrink(t *testing.T, f *os.File, bytes int) {
	t.Helper()
	const setPipeSize = 1031 // F_SETPIPE_SZ of fcntl(2)
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, uintptr(bytes))
	})
	if err != nil || failed != 0 {
		t.Fatalf("make the pipe small: %v, %v", err, failed)
	}
}
