package cdc

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pglogrepl"
)

// progressInterval is the time between two logs of how far the log has been read.
const progressInterval = 30 * time.Second

// progress logs, now and then, how far there is to go and how much log the slot makes the server keep.
func (r *Reader) progress(ctx context.Context) {
	if time.Since(r.logged) < progressInterval {
		return
	}
	r.logged = time.Now()
	args := r.distance(time.Since(r.began))
	if slot, err := LookUp(ctx, r.conn, r.config); err == nil {
		args = append(args, "wal_retained_bytes", slot.Retained)
	}
	slog.Info("log goes on", args...)
}

// distance is where the reading is, after so much time, and how far from its end. Within a transaction that is where
// the present change lies: what has been read for good is only known at its end.
func (r *Reader) distance(after time.Duration) []any {
	at := max(r.at.LSN, min(pglogrepl.LSN(r.begins), r.target))
	left, done := uint64(max(r.target, at)-at), uint64(at-min(r.from, at))
	records := r.records()
	if r.stop != nil { // beside a first pass there is no end yet
		return []any{"at", at, "records", records - r.had}
	}
	args := []any{"at", at, "to", r.target, "bytes_left", left, "records", records - r.had}
	if seconds := after.Seconds(); seconds > 0 && done > 0 {
		args = append(args, "records_per_second", int64(float64(records-r.had)/seconds),
			"seconds_left", int64(float64(left)/(float64(done)/seconds)))
	}
	return args
}

// records is how many records there have been from the log.
func (r *Reader) records() int64 {
	total := int64(0)
	for _, f := range r.streams {
		total += f.rows
	}
	return total
}

// finished logs how many records each stream has had from the log, if it had any.
func (r *Reader) finished() {
	for _, f := range r.streams {
		if f.rows > 0 {
			slog.Info("changes read", "stream", f.Descriptor, "records", f.rows)
		}
	}
}
