package main

import (
	"context"
	"fmt"
)

// A history is a backlog of changes to one table.
type history struct {
	title   string
	table   table
	rows    int64
	changes int64 // a row
	make    func(t *table, rows int64) []string
}

var histories = []history{
	{"A: inserts, then updates, 1,000 in a transaction, narrow", narrow, 1_000_000, 2, insertAndUpdate},
	{"B: one transaction of inserts, narrow", narrow, 1_000_000, 1, insertAtOnce},
	{"W: inserts, 1,000 in a transaction, wide", wide, 300_000, 1, insertInParts},
}

// batch is how many rows a transaction changes.
const batch = 1000

func insertInParts(t *table, rows int64) []string {
	return []string{fmt.Sprintf(`DO $$ BEGIN
		FOR low IN 1 .. %d BY %d LOOP
			%s;
			COMMIT;
		END LOOP;
	END $$`, rows, batch, t.insert("low", fmt.Sprintf("least(low + %d, %d)", batch-1, rows)))}
}

func insertAndUpdate(t *table, rows int64) []string {
	return append(insertInParts(t, rows), fmt.Sprintf(`DO $$ BEGIN
		FOR low IN 1 .. %d BY %d LOOP
			UPDATE %s SET owner = owner + 1, updated_at = updated_at + interval '1 h'
				WHERE id BETWEEN low AND low + %d;
			COMMIT;
		END LOOP;
	END $$`, rows, batch, t.name, batch-1))
}

func insertAtOnce(t *table, rows int64) []string { return []string{t.insert(1, rows)} }

// The slots: one keeps the log from before the backlog on, the other is a fresh copy of it for every run.
const (
	keptSlot = "bench_kept"
	readSlot = "bench_read"
)

const slotsSQL = "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE active AND database = current_database())"

// backlog compares how fast a backlog of changes is read from the log.
func backlog(ctx context.Context, b *bench) error {
	for _, h := range histories {
		if err := b.history(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) history(ctx context.Context, h history) error {
	l, err := b.makeLog(ctx, h)
	if err != nil {
		return err
	}
	c, err := b.logContest(l)
	if err != nil {
		return err
	}
	if err := b.race(ctx, c); err != nil {
		return err
	}
	return b.dropLog(ctx, h)
}

// A made history is there to be read, again and again.
type made struct {
	history
	rows                int64
	catalog, state, end string
}

func (b *bench) makeLog(ctx context.Context, h history) (l made, err error) {
	l = made{history: h, rows: b.scaled(h.rows)}
	if l.catalog, l.state, err = b.begin(ctx, &h.table); err != nil {
		return l, err
	}
	note("making backlog %s: %d rows", h.title, l.rows)
	if err := b.exec(ctx, append(h.make(&h.table, l.rows), "CHECKPOINT")...); err != nil {
		return l, err
	}
	l.end, err = b.db.Value(ctx, "SELECT pg_current_wal_lsn()")
	return l, err
}

// logContest compares ways to read l.
func (b *bench) logContest(l made) (c contest, err error) {
	config, err := b.logConfig("log", readSlot)
	records := l.rows * l.changes
	return contest{
		title: fmt.Sprintf("Log %s: %s changes", l.title, grouped(records)), rows: records, floors: 1, bars: true,
		variants: []variant{
			{name: "pg_recvlogical, /dev/null", prepare: b.freshSlot, command: b.program("pg_recvlogical",
				"--dbname="+b.db.Name, "--slot="+readSlot, "--start", "--no-loop", "--option=proto_version=1",
				"--option=publication_names=bench", "--endpos="+l.end, "--file=-")},
			{
				name: "connector, pipe", prepare: b.freshSlot, command: b.read(config, l.catalog, l.state), records: records,
			},
		},
	}, err
}

func (b *bench) dropLog(ctx context.Context, h history) error {
	if err := b.db.Await(ctx, slotsSQL); err != nil {
		return err
	}
	return b.exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "+
		"WHERE database = current_database()", "DROP PUBLICATION bench", "DROP TABLE "+h.table.name)
}

// begin makes an empty table and a slot, and runs a first sync: its state says that the first pass is over.
func (b *bench) begin(ctx context.Context, t *table) (catalog, state string, err error) {
	err = b.exec(ctx, t.create(), "CREATE PUBLICATION bench FOR TABLE "+t.name,
		"SELECT pg_create_logical_replication_slot('"+keptSlot+"', 'pgoutput')")
	if err != nil {
		return "", "", err
	}
	config, err := b.logConfig("log-first", keptSlot)
	if err != nil {
		return "", "", err
	}
	if catalog, err = b.catalog(ctx, config, t.name, "incremental"); err != nil {
		return "", "", err
	}
	state, err = b.sync(ctx, config, catalog, "state-log")
	return catalog, state, err
}

func (b *bench) logConfig(name, slot string) (string, error) {
	return b.config(name, map[string]any{"replication_method": map[string]any{
		"method": "CDC", "replication_slot": slot, "publication": "bench",
	}})
}

// freshSlot makes the slot to read from anew, at the position from before the backlog.
func (b *bench) freshSlot(ctx context.Context) error {
	// The server may notice a moment later that the last reader has gone.
	if err := b.db.Await(ctx, slotsSQL); err != nil {
		return err
	}
	return b.exec(ctx,
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '"+readSlot+"'",
		"SELECT pg_copy_logical_replication_slot('"+keptSlot+"', '"+readSlot+"')")
}
