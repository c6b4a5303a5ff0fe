package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A wiretap is a proxy before a server that notes the statements which clients send to it, without TLS.
type wiretap struct {
	t      *testing.T
	port   int
	server string

	open sync.WaitGroup // its goroutines

	mu     sync.Mutex
	sent   []string
	before func(sql string) // called with a statement before the server gets it; nil at first
}

// newWiretap starts a proxy on 127.0.0.1; it ends with the test.
func newWiretap(t *testing.T, host string, port int) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{t: t, port: l.Addr().(*net.TCPAddr).Port, server: net.JoinHostPort(host, strconv.Itoa(port))}
	w.open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			w.open.Go(func() { w.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.open.Wait()
	})
	return w
}

// statements are the statements so far: the text of each simple query, and of each one that was prepared.
func (w *wiretap) statements() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.sent...)
}

func (w *wiretap) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		w.t.Errorf("reach the server: %v", err)
		return
	}
	defer server.Close()
	w.open.Go(func() {
		_, _ = io.Copy(client, server) // ends when one of them is closed
		_ = client.Close()
	})
	if err := w.listen(client, server); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		w.t.Logf("a client's connection ended: %v", err)
	}
}

// listen hands on the client's messages: the first has a length (4 bytes, itself included) and a content, the others a
// type (1 byte) before these. A query's text ends with a NUL; in Parse it comes after the statement's name, which does
// too. Source: PostgreSQL documentation, Message Formats.
func (w *wiretap) listen(client io.Reader, server io.Writer) error {
	for header := make([]byte, 4); ; header = make([]byte, 5) {
		if _, err := io.ReadFull(client, header); err != nil {
			return err
		}
		content := make([]byte, binary.BigEndian.Uint32(header[len(header)-4:])-4)
		if _, err := io.ReadFull(client, content); err != nil {
			return err
		}
		w.note(header, content)
		if _, err := server.Write(append(header, content...)); err != nil {
			return err
		}
	}
}

func (w *wiretap) note(header, content []byte) {
	if len(header) == 4 || header[0] != 'Q' && header[0] != 'P' {
		return
	}
	if header[0] == 'P' {
		_, content, _ = bytes.Cut(content, []byte{0})
	}
	sql, _, _ := bytes.Cut(content, []byte{0})
	w.mu.Lock()
	w.sent = append(w.sent, string(sql))
	before := w.before
	w.mu.Unlock()
	if before != nil {
		before(string(sql))
	}
}

// once runs do before the server gets the next statement with such a text.
func (w *wiretap) once(text string, do func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var done sync.Once
	w.before = func(sql string) {
		if strings.Contains(sql, text) {
			done.Do(func() {
				if err := do(); err != nil {
					w.t.Errorf("before %q: %v", text, err)
				}
			})
		}
	}
}
