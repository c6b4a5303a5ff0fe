package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A tally is what arrived of one stream.
type tally struct {
	records, states int64
	bytes           int64    // of the records' lines
	covered         int64    // records that states say they cover
	values          []string // of the column under checksum, as JSON, NULLs left out
	status          string   // the last
	began, ended    float64  // milliseconds since 1970, by the stream's first and last status
}

// read shows one record in full, the first message of each kind and the first record of each stream, then what arrived.
func read(ctx context.Context, d *demo) error {
	out, err := d.connector(ctx, "read", "--config", "config.json", "--catalog", "catalog.json")
	if err != nil {
		return err
	}
	d.tallies = map[string]*tally{}
	shown := map[string]bool{}
	for i := range out.messages {
		m := &out.messages[i]
		kind := m.Type + m.Trace.Type + m.Record.Stream
		if m.Type == "RECORD" && !shown[m.Type] {
			shown[m.Type], shown[kind] = true, true
			d.message(m.Type, m.Record.Stream, "(in full)")
			d.block(strings.SplitAfter(string(m.Record.Data), ","))
		}
		if !shown[kind] {
			shown[kind] = true
			d.show(m)
		}
		if err := d.count(m); err != nil {
			return err
		}
	}
	return d.summary(out)
}

// count adds m to the tally of its stream.
func (d *demo) count(m *message) error {
	of := func(name string) *tally {
		if d.tallies[name] == nil {
			d.tallies[name] = &tally{}
		}
		return d.tallies[name]
	}
	switch {
	case m.Type == "RECORD":
		t := of(m.Record.Stream)
		t.records++
		t.bytes += int64(len(m.line)) + 1
		column := checksums[m.Record.Stream].column
		var data map[string]json.RawMessage
		if err := json.Unmarshal(m.Record.Data, &data); err != nil {
			return fmt.Errorf("read a record of %s: %w", m.Record.Stream, err)
		}
		if value := string(data[column]); value != "null" {
			t.values = append(t.values, value)
		}
	case m.Type == "STATE":
		t := of(m.State.Stream.Descriptor.Name)
		t.states++
		t.covered += int64(m.State.SourceStats.RecordCount)
	case m.Trace.Type == "STREAM_STATUS":
		t := of(m.Trace.StreamStatus.Stream.Name)
		t.status, t.ended = m.Trace.StreamStatus.Status, m.Trace.EmittedAt
		if t.began == 0 {
			t.began = t.ended
		}
	}
	return nil
}

// summary shows the tallies and the speed of the biggest stream.
func (d *demo) summary(out *output) error {
	if len(d.tallies) == 0 {
		return errors.New("nothing arrived")
	}
	d.note(fmt.Sprintf("%-14s %10s %8s %12s", "stream", "records", "states", "bytes"))
	var all tally
	var biggest string
	for _, name := range slices.Sorted(maps.Keys(d.tallies)) {
		t := d.tallies[name]
		d.line(fmt.Sprintf("%-14s %10s %8d %12s", name, grouped(t.records), t.states, grouped(t.bytes)))
		all.records, all.states, all.bytes = all.records+t.records, all.states+t.states, all.bytes+t.bytes
		if biggest == "" || t.records > d.tallies[biggest].records {
			biggest = name
		}
	}
	d.printf("  %s\n", d.paint(bold, fmt.Sprintf("%-14s %10s %8d %12s   in %s",
		"all", grouped(all.records), all.states, grouped(all.bytes), took(out.took))))
	t := d.tallies[biggest]
	// The statuses tell the time in milliseconds.
	ms := max(int64(t.ended-t.began), 1)
	d.line(fmt.Sprintf("%s: %s rows in %s, %s rows/s", biggest, grouped(t.records),
		took(time.Duration(ms)*time.Millisecond), grouped(t.records*1000/ms)))
	return nil
}
