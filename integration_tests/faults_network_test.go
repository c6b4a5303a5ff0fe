package integration

import (
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// An island is a network namespace, with one line to the outside that can be cut without a word to either end.
type island struct {
	t    *testing.T
	name string
	line string // the outer end
	host string // its address
}

// newIsland needs root.
func newIsland(t *testing.T, number int) *island {
	t.Helper()
	i := &island{
		t: t, name: "pgtest-" + strconv.Itoa(number), line: "pgtest" + strconv.Itoa(number),
		host: "10.213." + strconv.Itoa(number) + ".1",
	}
	inner := strings.TrimSuffix(i.host, "1") + "2/24"
	_ = exec.CommandContext(t.Context(), "ip", "netns", "del", i.name).Run() // of a run that was killed
	i.ip("netns", "add", i.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", i.name).Run() }) // with it the line goes
	i.ip("link", "add", i.line, "type", "veth", "peer", "name", "inner", "netns", i.name)
	i.ip("addr", "add", i.host+"/24", "dev", i.line)
	i.ip("link", "set", i.line, "up")
	i.ip("-n", i.name, "addr", "add", inner, "dev", "inner")
	i.ip("-n", i.name, "link", "set", "inner", "up")
	return i
}

func (i *island) ip(args ...string) {
	i.t.Helper()
	if out, err := exec.CommandContext(i.t.Context(), "ip", args...).CombinedOutput(); err != nil {
		i.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// relay passes on what comes to the outer end, to address, and gives its port.
func (i *island) relay(address string) int {
	i.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(i.host, "0"))
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // how it ends is seen by the two ends
				to.Close()
				from.Close()
			}
			go pass(client, server)
			go pass(server, client)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// A network that takes what is sent and gives nothing back is noticed, in a table as in the log, with TLS and through a
// tunnel, whatever the platform does meanwhile; the next attempt brings the rest.
func TestHalfOpenNetwork(t *testing.T) {
	t.Parallel()
	if !asRoot(t) {
		return
	}
	for number, name := range []string{"table", "log", "log with TLS", "table through SSH", "log through SSH"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaptureOn(t, private(t), "CREATE TABLE t (id int PRIMARY KEY, pad text)", nil)
			i := newIsland(t, 200+number)
			if !c.beyond(i, name) {
				return
			}
			c.settings["jdbc_url_params"] = "socketTimeout=4"
			c.first()
			c.exec("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 40000) AS g")
			in := input{
				config: c.settings, catalog: c.catalog, state: c.state, wrap: []string{"ip", "netns", "exec", i.name},
			}
			log := strings.HasPrefix(name, "log")
			if !log {
				delete(c.settings, "replication_method")
				in.catalog, in.state = discover(t, c.settings).configure("full_refresh", "t"), nil
			}
			p := start(t, "read", in)
			p.until(func(m message) bool { return m.Record != nil })
			i.ip("link", "set", i.line, "down")
			r := p.wait()
			e := r.failed("transient_error")
			if name == "table" && !strings.Contains(e.Message, "State code: 08006; Message: "+notAnyMore) {
				t.Errorf("error %s", e.Message)
			}
			i.ip("link", "set", i.line, "up")
			in.state = orNone(r.lastState())
			if in.state == nil && log {
				in.state = c.state
			}
			ids := append(r.values("t", "id"), run(t, "read", in).ok().values("t", "id")...)
			if missing := difference(c.column("SELECT id FROM t"), ids); len(missing) > 0 {
				t.Errorf("%d rows are missing after the second attempt", len(missing))
			}
		})
	}
}

// beyond makes the settings lead over the line of i: to the server, or to a bastion before it, where there is one.
func (c *capture) beyond(i *island, name string) bool {
	c.t.Helper()
	server := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	switch {
	case strings.HasSuffix(name, "SSH"):
		b := newBastion(c.t)
		if b == nil {
			return false
		}
		tunnel := b.byKey()
		tunnel["tunnel_host"], tunnel["tunnel_port"] = i.host, i.relay(net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)))
		c.settings["tunnel_method"] = tunnel
		return true
	case strings.HasSuffix(name, "TLS"):
		c.present(issue(c.t, nil, subject{common: "x"}))
		c.reload("ssl = on")
		c.settings["ssl"], c.settings["ssl_mode"] = true, map[string]any{"mode": "require"}
	}
	c.settings["host"], c.settings["port"] = i.host, i.relay(server)
	return true
}
