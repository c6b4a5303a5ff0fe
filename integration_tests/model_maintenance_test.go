package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// maintain does what administrators do, if it gets the lock that it needs.
func (w *workload) maintain(ctx context.Context) error {
	m := w.tables[w.rand.IntN(len(w.tables))]
	one := m.name // a partition cannot be clustered by its parent's index
	if m.parts > 0 {
		one = fmt.Sprintf("%s_%d", m.name, w.shard(m))
	}
	n := w.rand.IntN(14)
	if n > 9 && w.rand.IntN(3) == 0 { // for what follows nobody else may use the table
		if err := w.settle(ctx); err != nil {
			return err
		}
	}
	switch {
	case n < 3:
		return w.finish(ctx, w.writers[w.rand.IntN(len(w.writers))])
	case n < 7: // cutting off empty blocks would wait for a lock
		return w.keep(ctx, m, "VACUUM (TRUNCATE false) "+m.name)
	case n < 9:
		return w.keep(ctx, m, "VACUUM (FREEZE, TRUNCATE false) "+m.name)
	case n < 10:
		return w.keep(ctx, m, "ANALYZE "+m.name)
	case n < 12:
		return w.keep(ctx, m, "VACUUM FULL "+one)
	case n < 13 && m.parts == 0:
		return w.keep(ctx, m, fmt.Sprintf("CLUSTER %s USING %[1]s_id", m.name))
	case m.parts == 0:
		return w.refill(ctx, m)
	}
	return nil
}

func (w *workload) keep(ctx context.Context, m *modelTable, sql string) error {
	_, err := w.keeper.PgConn().Exec(ctx, sql).ReadAll()
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "55P03": // lock_not_available
		return nil
	case err != nil:
		return fmt.Errorf("run %s: %w", sql, err)
	}
	kind, _, _ := strings.Cut(sql, " "+m.name)
	m.did[kind]++
	return nil
}

// refill truncates a table and fills it again, in one transaction.
func (w *workload) refill(ctx context.Context, m *modelTable) error {
	before := m.did["TRUNCATE"]
	s := &writer{conn: w.keeper}
	if err := s.run(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := w.keep(ctx, m, "TRUNCATE "+m.name); err != nil {
		return err
	}
	if m.did["TRUNCATE"] == before {
		return s.run(ctx, "ROLLBACK")
	}
	if err := w.load(ctx, s, m); err != nil {
		return err
	}
	if err := s.run(ctx, "COMMIT"); err != nil {
		return err
	}
	clear(m.live)
	commit(s.take())
	return nil
}
