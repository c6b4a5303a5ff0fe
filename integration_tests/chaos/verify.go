package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// A mode is a way to read.
type mode struct {
	name   string
	method string // "": full refresh
	tables []*table
	log    bool // changes come from the log, under one state
}

var modes = []*mode{
	{name: "refresh", tables: byBlock},
	{name: "standard", method: "Standard", tables: byCursor},
	{name: "xmin", method: "Xmin", tables: byXmin},
	{name: "cdc", method: "CDC", tables: byLog, log: true},
}

// A set is of what is left out of a run: outages (all faults but kills), faults, ddl, harm, resets, prepared, longtx.
type set map[string]bool

// options say what is verified.
type options struct {
	mode    *mode
	binary  string
	rounds  int
	seed    uint64
	without set
	verbose bool
	hard    bool // more of what is likely to show a mistake: kills in the middle, resets, harm
	log     func(format string, args ...any)
}

// A broken is a promise that was not kept.
type broken struct{ text string }

func (b *broken) Error() string { return b.text }

func violation(format string, args ...any) error { return &broken{fmt.Sprintf(format, args...)} }

func shortened(line []byte) string {
	const limit = 600
	return string(line[:min(len(line), limit)])
}

// seen is a version of a row that came.
type seen struct {
	stream, key string
	version     int64
}

// A verifier is a workload, the connector that reads beside it, and what platform and destination have of that.
type verifier struct {
	options
	dir      string
	server   *pgtest.Server
	db       *pgtest.Database
	proxy    *proxy
	workload *workload
	slot     string
	config   map[string]any
	data     string                    // the server's data directory
	found    map[string]map[string]any // streams as they were discovered
	channels []*channel
	joined   bool // stream later has
	busy     bool // the sync is not complete yet
	syncs    int64
	began    map[string]map[string]string // by stream: what was committed when it was last gone on with
	waiting  chan bool                    // the connector waits for open transactions

	newest   map[string]int64 // the greatest version that ever came
	seen     map[seen]bool
	expected int64 // bytes that an attempt writes
	memory   int64
	records  int
	last     *run
	struck   map[string]int
	outcomes map[string]int
}

// verify makes the run. A *broken error is a promise that was not kept, any other one is about the verifier itself; the
// round is the last one that was begun.
func verify(ctx context.Context, o options) (round int, err error) {
	v := &verifier{
		options: o, waiting: make(chan bool, 1), newest: map[string]int64{}, seen: map[seen]bool{}, struck: map[string]int{},
		outcomes: map[string]int{}, began: map[string]map[string]string{}, expected: 1 << 20,
	}
	defer func() {
		if err != nil && v.verbose {
			v.log("the server's log:\n%s", v.serverLog())
		}
		err = errors.Join(err, v.close())
	}()
	if err := v.prepare(ctx); err != nil {
		return 0, err
	}
	for round = range o.rounds {
		if err := v.round(ctx, rand.New(rand.NewPCG(o.seed, uint64(round)))); err != nil {
			return round, err
		}
		if round%10 == 9 || round == o.rounds-1 {
			if err := v.quiet(ctx); err != nil {
				return round, err
			}
		}
	}
	o.log("%s: seed %d, %d rounds: %v; %d records, %d versions seen, memory %d MiB; faults %v; statements %v", o.mode.name,
		o.seed, o.rounds, v.outcomes, v.records, len(v.seen), v.memory>>20, v.struck, v.workload.did)
	return round, nil
}

// prepare starts a server, and a workload on it, and makes the connector's settings.
func (v *verifier) prepare(ctx context.Context) (err error) {
	if v.dir, err = os.MkdirTemp("", "source-postgres-chaos-"); err != nil {
		return err
	}
	v.server, err = pgtest.Private(ctx, "wal_sender_timeout="+walSenderTimeout, "deadlock_timeout=100ms",
		"autovacuum_naptime=1s", "checkpoint_timeout=30s", "log_min_messages=log", "log_checkpoints=on",
		"log_replication_commands=on", "log_line_prefix='%m [%p] '")
	if err != nil {
		return err
	}
	if v.db, err = v.server.NewDatabase(ctx, "chaos"); err != nil {
		return err
	}
	if v.data, err = v.db.Value(ctx, "SHOW data_directory"); err != nil {
		return err
	}
	if v.proxy, err = newProxy(net.JoinHostPort(v.server.Host, strconv.Itoa(v.server.Port))); err != nil {
		return err
	}
	if v.workload, err = newWorkload(ctx, v.db, v.mode.tables, v.without); err != nil {
		return err
	}
	v.config = map[string]any{
		"host": "127.0.0.1", "port": v.proxy.port(), "database": v.db.Name, "username": v.server.User,
		"password": v.server.Password, "schemas": []string{"public"}, "ssl": false, "checkpoint_target_interval_seconds": 1,
	}
	switch {
	case v.mode.log:
		if err := v.publish(ctx); err != nil {
			return err
		}
		v.channels = []*channel{{}}
	default:
		if v.mode.method != "" {
			// The lookback is more than what a statement takes of a sequence before it has the number of its transaction, and
			// less than what others take while a transaction is open.
			v.config["replication_method"] = map[string]any{"method": v.mode.method, "cursor_lookback_rows": 100}
		}
		for _, t := range v.mode.tables {
			v.channels = append(v.channels, &channel{streams: []string{t.name}})
		}
	}
	v.found, err = discover(ctx, v.binary, v.dir, v.config)
	return err
}

// publish makes publication and slot.
func (v *verifier) publish(ctx context.Context) error {
	var names []string
	for _, t := range v.mode.tables {
		names = append(names, t.name)
	}
	v.slot = "chaos_slot"
	v.config["replication_method"] = map[string]any{
		"method": "CDC", "replication_slot": v.slot, "publication": "chaos",
	}
	return errors.Join(
		v.db.Exec(ctx, fmt.Sprintf("CREATE PUBLICATION chaos FOR TABLE journal, %s WITH (publish_via_partition_root = true)",
			strings.Join(names, ", "))),
		v.db.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", v.slot))
}

func (v *verifier) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if v.workload != nil {
		v.workload.close(ctx)
	}
	if v.proxy != nil {
		v.proxy.close()
	}
	var err error
	if v.server != nil {
		err = v.server.Stop()
	}
	if v.dir != "" {
		err = errors.Join(err, os.RemoveAll(v.dir))
	}
	return err
}

// serverLog is the end of what the server has logged since it was last started.
func (v *verifier) serverLog() []byte {
	text, _ := os.ReadFile(filepath.Join(filepath.Dir(v.data), "log")) // without it there is less to see
	return text[max(0, len(text)-20_000):]
}

func (v *verifier) table(name string) *table {
	for _, t := range v.mode.tables {
		if t.name == name {
			return t
		}
	}
	return nil
}

// channel is the one of a stream.
func (v *verifier) channel(stream string) *channel {
	if v.mode.log {
		return v.channels[0]
	}
	for _, c := range v.channels {
		if c.streams[0] == stream {
			return c
		}
	}
	return nil
}

// streams are the names of those that are configured by now.
func (v *verifier) streams() []string {
	var names []string
	for _, t := range v.mode.tables {
		if t.name != later || v.joined {
			names = append(names, t.name)
		}
	}
	return names
}

// catalog is the configured one. What is not to be read is not selected.
func (v *verifier) catalog() any {
	var streams []any
	for _, name := range v.streams() {
		t := v.table(name)
		stream := map[string]any{}
		for key, value := range v.found[name] {
			stream[key] = value
		}
		schema := map[string]any{"type": "object"}
		properties := map[string]any{}
		for column, property := range v.found[name]["json_schema"].(map[string]any)["properties"].(map[string]any) {
			if strings.HasPrefix(column, "_ab_cdc_") || slices.Contains(t.columns(), column) {
				properties[column] = property
			}
		}
		schema["properties"] = properties
		stream["json_schema"] = schema
		configured := map[string]any{
			"stream": stream, "sync_mode": "incremental", "destination_sync_mode": "append", "sync_id": v.syncs,
		}
		switch v.mode.method {
		case "":
			configured["sync_mode"] = "full_refresh"
		case "Standard":
			configured["cursor_field"] = []string{"at"}
		}
		streams = append(streams, configured)
	}
	return map[string]any{"streams": streams}
}

// rows are what the tables hold: by table, the value of each row by its key.
func (v *verifier) rows(ctx context.Context) (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	for _, name := range v.streams() {
		t := v.table(name)
		rows, err := v.db.Query(ctx, fmt.Sprintf("SELECT %s, %s FROM %s", t.key(), t.value(), t.name))
		if err != nil {
			return nil, err
		}
		all[name] = map[string]string{}
		for _, r := range rows {
			all[name][r[0]] = r[1]
		}
	}
	return all, nil
}
