package main

import (
	"context"
	"fmt"
)

// changes is how many rows of a table change between two syncs.
const changes = 1000

// sizes are the numbers of rows of the tables that are read by a cursor; the biggest is read by xmin too.
var sizes = []int64{100_000, 1_000_000, 3_000_000}

// A changed table is narrow with an index on its cursor column.
type changed struct {
	table
	rows    int64
	changed int64
	catalog string
	state   string // of a sync by cursor before the change
}

// incremental compares syncs that find a thousand changed rows: by cursor in tables of growing size, by xmin with what
// psql needs to scan the table once.
func incremental(ctx context.Context, b *bench) error {
	standard, err := b.config("standard", nil)
	if err != nil {
		return err
	}
	var tables []changed
	for i, size := range sizes {
		t := changed{table: narrow, rows: max(b.scaled(size), changes)}
		t.name = fmt.Sprintf("changed_%d", i+1)
		if err := b.load(ctx, &t.table, t.rows); err != nil {
			return err
		}
		if err := b.exec(ctx, fmt.Sprintf("CREATE INDEX ON %s (updated_at)", t.name)); err != nil {
			return err
		}
		if t.catalog, err = b.catalog(ctx, standard, t.name, "incremental", "updated_at"); err != nil {
			return err
		}
		if t.state, err = b.sync(ctx, standard, t.catalog, "state-"+t.name); err != nil {
			return err
		}
		tables = append(tables, t)
	}
	biggest := &tables[len(tables)-1]
	x, err := b.beginXmin(ctx, biggest.name)
	if err != nil {
		return err
	}
	for i := range tables {
		t := &tables[i]
		step := t.rows / changes
		t.changed = t.rows / step
		err := b.exec(ctx, fmt.Sprintf("UPDATE %s SET updated_at = timestamptz '2025-01-01 00:00:00Z' "+
			"+ id * interval '1 ms' WHERE id %% %d = 0", t.name, step))
		if err != nil {
			return err
		}
	}
	if err := b.raceCursor(ctx, standard, tables); err != nil {
		return err
	}
	return b.raceXmin(ctx, x, biggest)
}

// raceCursor compares the tables with the smallest of them.
func (b *bench) raceCursor(ctx context.Context, config string, tables []changed) error {
	c := contest{
		title: fmt.Sprintf("By cursor: %d changed rows, index on the cursor, as the table grows", changes),
		rows:  changes, floors: 1, rounds: min(b.rounds, 3),
	}
	for _, t := range tables {
		c.variants = append(c.variants, variant{
			name: grouped(t.rows) + " rows", command: b.read(config, t.catalog, t.state), records: t.changed,
		})
	}
	return b.race(ctx, c)
}

// An xminSync is what a sync by xmin needs to go on from before the change.
type xminSync struct {
	configs        [2]string // with one connection and with two
	catalog, state string
}

func (b *bench) beginXmin(ctx context.Context, name string) (x xminSync, err error) {
	for i := range x.configs {
		x.configs[i], err = b.config(fmt.Sprintf("xmin-%d", i+1), map[string]any{
			"replication_method": map[string]any{"method": "Xmin"}, "max_db_connections": i + 1,
		})
		if err != nil {
			return x, err
		}
	}
	if x.catalog, err = b.catalog(ctx, x.configs[0], name, "incremental"); err != nil {
		return x, err
	}
	x.state, err = b.sync(ctx, x.configs[0], x.catalog, "state-xmin")
	return x, err
}

func (b *bench) raceXmin(ctx context.Context, x xminSync, t *changed) error {
	// A count by the index would be no scan of the table.
	const scan = "-c enable_indexonlyscan=off -c enable_indexscan=off -c enable_bitmapscan=off"
	count := "SELECT count(*) FROM " + t.name
	variants := []variant{
		{name: "psql count(\\*), one process", command: b.psql(count, scan+" -c max_parallel_workers_per_gather=0")},
		{name: "psql count(\\*), parallel as by default", command: b.psql(count, scan)},
	}
	for i, name := range []string{"1 connection, pipe", "2 connections, pipe"} {
		variants = append(variants, variant{
			name: name, command: b.read(x.configs[i], x.catalog, x.state), records: t.changed,
		})
	}
	return b.race(ctx, contest{
		title: fmt.Sprintf("By xmin: %d changed of %s rows", t.changed, grouped(t.rows)),
		rows:  t.rows, floors: 2, variants: variants, rounds: min(b.rounds, 3),
	})
}
