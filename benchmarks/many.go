package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	smallTables = 2_000
	smallRows   = 100
)

// many compares reading many small tables with one psql that copies them one after the other.
func many(ctx context.Context, b *bench) error {
	tables := b.scaled(smallTables)
	note("making %d small tables", tables)
	err := b.exec(ctx, fmt.Sprintf(`DO $$ BEGIN
		FOR i IN 1 .. %d LOOP
			EXECUTE format('CREATE TABLE small_%%s (id int8 PRIMARY KEY, owner int4, updated_at timestamptz, note text)', i);
			EXECUTE format('INSERT INTO small_%%s SELECT g, g, ''2024-02-29'', md5(g::text)
				FROM generate_series(1, %d) AS g', i);
		END LOOP;
	END $$`, tables, smallRows), "VACUUM (FREEZE, ANALYZE)", "CHECKPOINT")
	if err != nil {
		return err
	}
	var script strings.Builder
	for i := range tables {
		fmt.Fprintf(&script, "COPY (SELECT * FROM small_%d) TO STDOUT;\n", i+1)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "small.sql"), []byte(script.String()), 0o600); err != nil {
		return fmt.Errorf("write a script: %w", err)
	}
	rows := tables * smallRows
	c := contest{
		title: fmt.Sprintf("Many: %s tables of %d rows", grouped(tables), smallRows), rows: rows, floors: 1, bars: true,
		variants: []variant{
			{name: "psql COPY, one after the other", command: b.program("psql", "-X", "-q", "-f", "small.sql")},
		},
	}
	return b.raceConnections(ctx, c, "many", "")
}

// raceConnections runs a contest in which a full refresh of a stream, or of all of them, takes part with one connection
// and with two.
func (b *bench) raceConnections(ctx context.Context, c contest, name, stream string) error {
	for n := 1; n <= 2; n++ {
		config, err := b.config(fmt.Sprintf("%s-%d", name, n), map[string]any{"max_db_connections": n})
		if err != nil {
			return err
		}
		catalog, err := b.catalog(ctx, config, stream, "full_refresh")
		if err != nil {
			return err
		}
		c.variants = append(c.variants, variant{
			name: plural(n, "connection") + ", pipe", command: b.read(config, catalog, ""), records: c.rows,
		})
	}
	return b.race(ctx, c)
}

// growths are the sizes of one table as it grows.
var growths = []int64{1_000_000, 2_000_000, 5_000_000, 10_000_000}

// growth shows that time grows with the rows and memory does not, with one connection, two and four.
func growth(ctx context.Context, b *bench) error {
	have := int64(0)
	for _, size := range growths {
		rows := b.scaled(size)
		note("growth: %d rows", rows)
		if have == 0 {
			if err := b.exec(ctx, narrow.create()); err != nil {
				return err
			}
		}
		err := b.exec(ctx, narrow.insert(have+1, rows), "VACUUM (FREEZE, ANALYZE) narrow", "CHECKPOINT")
		if err != nil {
			return err
		}
		have = rows
		c := contest{
			title: fmt.Sprintf("Growth: narrow, %s rows", grouped(rows)), rows: rows, floors: 1, rounds: min(b.rounds, 3),
			variants: []variant{
				{name: "psql COPY, /dev/null", command: b.psql("COPY (SELECT * FROM narrow) TO STDOUT", "")},
			},
		}
		for _, n := range []int{1, 2, 4} {
			config, err := b.config(fmt.Sprintf("growth-%d", n), map[string]any{"max_db_connections": n})
			if err != nil {
				return err
			}
			catalog, err := b.catalog(ctx, config, "narrow", "full_refresh")
			if err != nil {
				return err
			}
			c.variants = append(c.variants, variant{
				name: plural(n, "connection") + ", pipe", command: b.read(config, catalog, ""),
			})
		}
		if err := b.race(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// hugeField is the size of a field far above what a record may have.
const hugeField = 100 << 20

// memory shows what a field costs that is too large to be sent.
func memory(ctx context.Context, b *bench) error {
	const rows = 3
	err := b.exec(ctx,
		"CREATE TABLE huge (id int PRIMARY KEY, body text)",
		"ALTER TABLE huge ALTER body SET STORAGE EXTERNAL",
		fmt.Sprintf("INSERT INTO huge SELECT g, repeat('x', %d) FROM generate_series(1, %d) AS g", hugeField, rows))
	if err != nil {
		return err
	}
	config, err := b.config("memory", map[string]any{"max_db_connections": 1})
	if err != nil {
		return err
	}
	catalog, err := b.catalog(ctx, config, "huge", "full_refresh")
	if err != nil {
		return err
	}
	return b.race(ctx, contest{
		title: fmt.Sprintf("Memory: %d rows with a field of %d MiB, above the limit of a field", rows, hugeField>>20),
		rows:  rows, floors: 1, rounds: min(b.rounds, 3),
		variants: []variant{
			{name: "psql COPY, /dev/null", command: b.psql("COPY (SELECT * FROM huge) TO STDOUT", "")},
			{name: "1 connection, pipe", command: b.read(config, catalog, ""), records: rows},
		},
	})
}
