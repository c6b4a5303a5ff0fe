package main

import (
	"context"
	"fmt"
)

// snapshot compares full refreshes with what psql needs to copy the table out.
func snapshot(ctx context.Context, b *bench) error {
	var configs [2]string // with one connection and with two
	for i := range configs {
		var err error
		configs[i], err = b.config(fmt.Sprintf("connections-%d", i+1), map[string]any{"max_db_connections": i + 1})
		if err != nil {
			return err
		}
	}
	for _, t := range []*table{&narrow, &wide, &lineitem, &documents, &lists, &texts} {
		rows := b.scaled(t.rows)
		if err := b.load(ctx, t, rows); err != nil {
			return err
		}
		catalog, err := b.catalog(ctx, configs[0], t.name, "full_refresh")
		if err != nil {
			return err
		}
		one, two := b.read(configs[0], catalog, ""), b.read(configs[1], catalog, "")
		err = b.race(ctx, contest{
			title: fmt.Sprintf("Snapshot: %s, %s rows × %d", t.name, grouped(rows), len(t.columns)),
			rows:  rows, floors: 1, bars: true,
			variants: []variant{
				{name: "psql COPY, /dev/null", command: b.psql("COPY (SELECT * FROM "+t.name+") TO STDOUT", "")},
				{name: "1 connection, pipe", command: one, records: rows},
				{name: "2 connections, pipe", command: two, records: rows},
				{name: "1 connection, /dev/null", command: one.null()},
				{name: "2 connections, /dev/null", command: two.null()},
			},
		})
		if err != nil {
			return err
		}
		if err := b.exec(ctx, "DROP TABLE "+t.name); err != nil {
			return err
		}
	}
	return nil
}
