package config

import (
	"strings"
	"time"
)

// A Method says how changes are found in the streams that are read incrementally.
type Method string

// The methods, in the spelling of the settings: by a cursor column, by xmin, from the write-ahead log.
const (
	MethodStandard Method = "Standard"
	MethodXmin     Method = "Xmin"
	MethodCDC      Method = "CDC"
)

// Standard holds the settings of reading by a cursor column. A lookback of 0 is off.
type Standard struct {
	Lookback     time.Duration // how far behind the bookmark late commits are looked for, where the cursor is a time
	LookbackRows int64         // the same where the cursor is an integer
}

// CDC holds the settings of reading from the write-ahead log.
type CDC struct {
	Slot               string
	Publication        string
	AcknowledgeReading bool          // acknowledge what this read has sent, not only what the incoming state covers
	HeartbeatQuery     string        // run on the source before the log is read; empty: none
	InitialLoadTimeout time.Duration // a first pass that takes longer is left, resumable, so that the log can be read
	ManageIdentity     bool          // set REPLICA IDENTITY on selected tables that lack one and belong to the user
}

// The two values of lsn_commit_behaviour.
const (
	acknowledgeReading = "While reading Data"
	acknowledgeLoaded  = "After loading Data in the destination"
)

// replication reads replication_method into c. CDC is also recognised, as older configurations have it, by a slot and a
// publication without a method.
func (p *parser) replication(f *form, c *Config) {
	inner := f.object("replication_method")
	c.Method = Method(inner.text("method"))
	c.Standard = Standard{
		Lookback:     inner.seconds("cursor_lookback_seconds", time.Hour, 0),
		LookbackRows: inner.number("cursor_lookback_rows", 100_000, 0, 1<<52),
	}
	cdc := CDC{
		Slot:               inner.text("replication_slot"),
		Publication:        inner.text("publication"),
		HeartbeatQuery:     strings.TrimSpace(inner.text("heartbeat_action_query")),
		InitialLoadTimeout: time.Duration(inner.number("initial_load_timeout_hours", 8, 1, 24*365)) * time.Hour,
		ManageIdentity:     inner.truth("manage_replica_identity", true),
	}
	switch behaviour := inner.text("lsn_commit_behaviour"); behaviour {
	case "", acknowledgeLoaded:
	case acknowledgeReading:
		cdc.AcknowledgeReading = true
	default:
		p.problem(`Setting "replication_method.lsn_commit_behaviour" must be %q or %q.`, acknowledgeReading,
			acknowledgeLoaded)
	}
	if _, given := inner.take("initial_waiting_seconds"); given { // the server says when a read is at its end
		p.ignore("replication_method.initial_waiting_seconds")
	}
	if plugin := inner.text("plugin"); plugin != "" {
		p.ignore("replication_method.plugin")
		if plugin != "pgoutput" {
			p.warn(`The output plugin is always pgoutput; another one in "replication_method.plugin" is ignored. ` +
				`The replication slot must have been made with pgoutput.`)
		}
	}
	inner.rest()
	if c.Method == "" {
		c.Method = MethodStandard
		if cdc.Slot != "" && cdc.Publication != "" {
			c.Method = MethodCDC
		}
	}
	switch c.Method {
	case MethodStandard, MethodXmin:
	case MethodCDC:
		c.CDC = cdc
		if cdc.Slot == "" {
			p.problem(`Setting "replication_method.replication_slot" is missing: the log cannot be read (CDC) without it.`)
		}
		if cdc.Publication == "" {
			p.problem(`Setting "replication_method.publication" is missing: the log cannot be read (CDC) without it.`)
		}
	default:
		p.problem(`Setting "replication_method.method" must be one of %s, %s, %s.`, MethodStandard, MethodXmin,
			MethodCDC)
	}
}
