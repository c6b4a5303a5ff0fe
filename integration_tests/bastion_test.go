package integration

import (
	"fmt"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
)

// namingBastion is an SSH server that lets everybody in and for which every name is this machine. It gives its port.
// What a real one does is in sshd_test.go.
func namingBastion(t *testing.T) int {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(mustKey(t))
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{
		PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return &ssh.Permissions{}, nil },
	}
	config.AddHostKey(signer)
	return listen(t, func(c net.Conn) {
		_, channels, requests, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for open := range channels {
			var to struct {
				Host       string
				Port       uint32
				Origin     string
				OriginPort uint32
			}
			_ = ssh.Unmarshal(open.ExtraData(), &to) // of what is none, port 0 cannot be reached
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to.Port))
			if err != nil {
				_ = open.Reject(ssh.ConnectionFailed, "nobody there")
				continue
			}
			channel, requests, err := open.Accept()
			if err != nil {
				server.Close()
				continue
			}
			go ssh.DiscardRequests(requests)
			go func() {
				defer server.Close()
				carry(channel, server)
			}()
		}
	})
}

// carry hands bytes on in both directions until one of the two ends.
func carry(one io.ReadWriteCloser, other net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(one, other)
		_ = one.Close()
	}()
	_, _ = io.Copy(other, one)
	_ = other.Close()
	<-done
}

func readWhole(r io.Reader, b []byte) bool {
	_, err := io.ReadFull(r, b)
	return err == nil
}
