package config

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Target says which kind of server is wanted.
type Target string

// The kinds of server.
const (
	AnyServer     Target = ""
	Primary       Target = "primary"
	Standby       Target = "standby"
	PreferPrimary Target = "prefer primary" // of several hosts
	PreferStandby Target = "prefer standby"
)

// Driver holds what jdbc_url_params asks of connections, in our terms; without it, the defaults.
type Driver struct {
	ConnectTimeout  time.Duration // of one attempt, TLS and login included; 0: no limit
	Silence         time.Duration // how long a dead network may go unnoticed; 0: as long as the operating system allows
	KeepAlive       bool
	ApplicationName string
	Target          Target
	Settings        []Setting // server settings for each session, in order; a later one of the same name wins
	Options         string    // what options holds besides settings; sent to the server as it stands
}

// A Setting is a server setting with its value.
type Setting struct{ Name, Value string }

// defaultSilence is found by keepalive probes; a minute is far below what servers and platforms wait.
const defaultSilence = time.Minute

// urlParams is what jdbc_url_params says; sslmode is empty where it says nothing.
type urlParams struct {
	Driver
	sslmode TLSMode
}

// driver reads parameters in the form key1=value1&key2=value2, the values percent-encoded, under the names that the
// JDBC driver of PostgreSQL knows. What has no meaning here is noted by name as ignored.
func (p *parser) driver(text string) urlParams {
	d := urlParams{Driver: Driver{
		ConnectTimeout: DefaultConnectTimeout, Silence: defaultSilence, KeepAlive: true,
		ApplicationName: DefaultApplicationName,
	}}
	login := time.Duration(-1)
	connect := login
	secret := false // what follows may be the rest of a password with an & in it
	for i, pair := range strings.Split(strings.TrimPrefix(strings.TrimSpace(text), "?"), "&") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.QueryUnescape(value)
		if !ok || err != nil || name == "" || strings.ContainsRune(value, 0) {
			p.warn(`Part %d of "jdbc_url_params" is ignored: it does not have the form key=value.`, i+1)
			continue
		}
		switch strings.ToLower(name) {
		case "connecttimeout":
			connect = p.urlSeconds(name, value, connect)
		case "logintimeout":
			login = p.urlSeconds(name, value, login)
		case "sockettimeout":
			d.Silence = p.urlSeconds(name, value, d.Silence)
		case "tcpkeepalive":
			d.KeepAlive = value != "false"
		case "applicationname":
			d.ApplicationName = value
		case "targetservertype":
			d.Target = p.target(value)
		case "options":
			p.options(value, &d.Driver)
		case "currentschema":
			d.Settings = append(d.Settings, Setting{"search_path", value})
		case "sslmode", "ssl":
			d.sslmode = p.urlTLS(name, value, d.sslmode)
		case "password", "sslpassword":
			p.hide(value)
			p.ignore("jdbc_url_params." + name)
			secret = true
		default:
			if secret {
				name = ""
			}
			p.ignore("jdbc_url_params." + urlName(name))
		}
	}
	switch {
	case connect >= 0:
		d.ConnectTimeout = connect
	case login >= 0:
		d.ConnectTimeout = login
	}
	return d
}

// urlName is a parameter's name for the log: what does not look like a name could be anything, a secret too.
func urlName(name string) string {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.' {
			return "(unreadable name)"
		}
	}
	if name == "" || len(name) > 40 {
		return "(unreadable name)"
	}
	return name
}

func (p *parser) urlSeconds(name, value string, absent time.Duration) time.Duration {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		p.warn(`%s in "jdbc_url_params" is ignored: it must be a whole number of seconds.`, name)
		return absent
	}
	return time.Duration(n) * time.Second
}

// target translates targetServerType.
func (p *parser) target(value string) Target {
	switch strings.ToLower(value) {
	case "primary", "master":
		return Primary
	case "secondary", "slave":
		return Standby
	case "preferprimary":
		return PreferPrimary
	case "prefersecondary", "preferslave":
		return PreferStandby
	case "any":
		return AnyServer
	}
	p.warn(`targetServerType in "jdbc_url_params" is ignored: it must be any, primary, secondary, preferPrimary or ` +
		`preferSecondary.`)
	return AnyServer
}

// urlTLS translates sslmode, and ssl as the JDBC driver does: true is verify-full.
func (p *parser) urlTLS(name, value string, before TLSMode) TLSMode {
	mode := TLSMode(strings.ToLower(value))
	if strings.EqualFold(name, "ssl") {
		switch {
		case before != "" || mode == "false":
			return before
		case mode == "true" || mode == "":
			return VerifyFull
		}
	}
	if !known(mode) {
		p.warn(`%s in "jdbc_url_params" is ignored: it must be one of %s.`, name, modeList())
		return before
	}
	return mode
}
