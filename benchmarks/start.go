package main

import (
	"context"
	"fmt"
	"os"
)

// manyTables is how many tables discover has to describe.
const manyTables = 10_000

// quickly is how many times the usual number of rounds something that takes milliseconds is run.
const quickly = 4

// start measures what a run costs that reads no row.
func start(ctx context.Context, b *bench) error {
	info, err := os.Stat(b.connector)
	if err != nil {
		return fmt.Errorf("look at the binary: %w", err)
	}
	config, err := b.config("start", nil)
	if err != nil {
		return err
	}
	catalog, state, err := b.begin(ctx, &narrow)
	if err != nil {
		return err
	}
	idle, err := b.logConfig("idle", keptSlot)
	if err != nil {
		return err
	}
	unused := func(ctx context.Context) error { return b.db.Await(ctx, slotsSQL) }
	err = b.race(ctx, contest{
		title:  fmt.Sprintf("Start: binary of %.1f MB, stripped", float64(info.Size())/1e6),
		rounds: b.rounds * quickly,
		variants: []variant{
			{name: "spec", command: b.run("spec")},
			{name: "check", command: b.run("check", "--config", config)},
			{name: "check, CDC", prepare: unused, command: b.run("check", "--config", idle)},
			{name: "sync with nothing to read, CDC", prepare: unused, command: b.read(idle, catalog, state)},
		},
	})
	if err != nil {
		return err
	}
	tables := b.scaled(manyTables)
	note("making %d tables", tables)
	err = b.exec(ctx, fmt.Sprintf(`DO $$ BEGIN
		FOR i IN 1 .. %d LOOP
			EXECUTE format('CREATE TABLE many_%%s (id int8 PRIMARY KEY, owner int4, amount numeric(12,2), '
				'updated_at timestamptz, day date, note text, extra jsonb, tags text[])', i);
		END LOOP;
	END $$`, tables))
	if err != nil {
		return err
	}
	for _, name := range []string{
		"pg_attribute", "pg_class", "pg_constraint", "pg_depend", "pg_index", "pg_namespace", "pg_type",
	} {
		if err := b.exec(ctx, "VACUUM (ANALYZE) pg_catalog."+name); err != nil {
			return err
		}
	}
	return b.race(ctx, contest{
		title:    fmt.Sprintf("Discover: %s tables × 8 columns", grouped(tables)),
		variants: []variant{{name: "discover", command: b.run("discover", "--config", config)}},
	})
}
