package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// The two ends of a cable are addresses of one machine: who connects to far reaches what listens on near.
const (
	near = "10.9.0.1"
	far  = "10.9.0.2"
)

// A cable is a network that is as long as one wants: a TUN device whose packets come back with source and destination
// exchanged, half a round trip later. So TCP on it is the kernel's own, with windows and acknowledgements that take
// their time. It does what tc's netem does, which not every kernel has, and takes about 4 µs of CPU for a packet.
type cable struct {
	fd   int
	trip atomic.Int64
}

// A packet is under way until it is due.
type packet struct {
	due  time.Time
	data []byte
}

// lay makes the device and brings the packets on their way until the process ends.
func lay(ctx context.Context) (*cable, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	// struct ifreq of netdevice(7): the name, then the flags IFF_TUN and IFF_NO_PI.
	request := [40]byte{'c', 'a', 'b', 'l', 'e', 16: 0x01, 17: 0x10}
	const setInterface = 0x400454ca // TUNSETIFF
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), setInterface, uintptr(unsafe.Pointer(&request)))
	if failed != 0 {
		return nil, fmt.Errorf("make a TUN device: %w", failed)
	}
	for _, args := range [][]string{
		{"addr", "add", near + "/24", "dev", "cable"},
		{"link", "set", "cable", "mtu", "65000", "txqueuelen", "100000", "up"},
	} {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("set up a TUN device (this needs ip of iproute2): %w: %s", err, out)
		}
	}
	c := &cable{fd: fd}
	way := make(chan packet, 1<<17)
	go c.take(way)
	go c.give(way)
	return c, nil
}

func (c *cable) take(way chan<- packet) {
	buf := make([]byte, 1<<16)
	for {
		n, err := syscall.Read(c.fd, buf)
		if err != nil {
			note("cable: %v", err)
			return
		}
		const source, destination, end = 12, 16, 20 // of the IPv4 header; its checksum, and TCP's, stay right
		if n < end || buf[0]>>4 != 4 {
			continue
		}
		p := packet{time.Now().Add(time.Duration(c.trip.Load() / 2)), append([]byte(nil), buf[:n]...)}
		copy(p.data[source:], buf[destination:end])
		copy(p.data[destination:], buf[source:destination])
		way <- p
	}
}

func (c *cable) give(way <-chan packet) {
	for p := range way {
		if left := time.Until(p.due); left > 0 {
			t := syscall.NsecToTimespec(int64(left))
			_ = syscall.Nanosleep(&t, nil) // a signal may end it early
		}
		if _, err := syscall.Write(c.fd, p.data); err != nil {
			note("cable: %v", err)
		}
	}
}

// raise makes the loopback of a new namespace work.
func raise(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("raise the loopback (this needs ip of iproute2): %w: %s", err, out)
	}
	return nil
}
