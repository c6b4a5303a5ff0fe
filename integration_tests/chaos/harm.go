package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
)

// harm does something to the tables or to the slot after which the destination is not what they are, and no change
// says so. Then the connector has to say it, and not to go on where it cannot; and the platform resets what
// it was told to.
func (v *verifier) harm(ctx context.Context, r *rand.Rand) error {
	pick, n := r.IntN(1<<20), r.IntN(6)
	if err := v.workload.settle(ctx, "COMMIT"); err != nil {
		return err
	}
	tables := v.workload.tables
	t := tables[pick%len(tables)]
	switch {
	case v.mode.log && n == 0:
		return v.slotMadeAgain(ctx)
	case v.mode.log && n == 1:
		return v.slotMoved(ctx)
	case n < 4:
		v.struck["truncate"]++
		return v.replaced(ctx, t, "TRUNCATE "+t.name, "was truncated")
	}
	v.struck["drop and create"]++
	sql := "DROP TABLE " + t.name + " CASCADE; " + t.createSQL()
	for _, view := range v.mode.tables {
		if view.of == t.name {
			sql += view.createSQL()
		}
	}
	if v.mode.log {
		sql += "ALTER PUBLICATION chaos ADD TABLE " + t.name
	}
	return v.replaced(ctx, t, sql, "dropped and created again")
}

// replaced gives a table other rows.
func (v *verifier) replaced(ctx context.Context, t *table, sql, says string) error {
	given, err := v.goOn(ctx, rand.New(rand.NewPCG(v.seed, 0)), false)
	if err != nil {
		return err
	}
	followed := false
	for _, s := range given {
		for _, stream := range statesOf(s) {
			followed = followed || stream.Descriptor.Name == t.name && stateType(stream.State) == "cdc"
		}
	}
	rows := t.fillSQL(1, t.rows, v.workload.next())
	if v.verbose {
		v.log("%.60s", sql)
	}
	if err := v.db.Exec(ctx, sql+"; "+rows); err != nil {
		return err
	}
	if !v.mode.log {
		return nil // new rows are found as any others, and that rows are gone nobody promises to say
	}
	a, err := v.attempt(ctx, given, fault{name: "none", quiet: true})
	if err != nil {
		return err
	}
	told := strings.Join(a.warnings, "\n")
	if followed && (!strings.Contains(told, says) || !strings.Contains(told, t.name)) {
		return violation("after %q no warning says that table %s %s: %s", sql, t.name, says, told)
	}
	c := v.channels[0]
	if places := c.states(); len(places) > 0 {
		c.drop(c.events[places[len(places)-1]].state, t.name)
	}
	return nil
}

// rewrite writes a table of several ranges anew between two attempts, so that its rows move to blocks that the first
// may have read. It does no harm.
func (v *verifier) rewrite(ctx context.Context, r *rand.Rand) error {
	var ranged []*table
	for _, t := range v.mode.tables {
		if t.ballast {
			ranged = append(ranged, t)
		}
	}
	t, part := ranged[r.IntN(len(ranged))], r.IntN(3)
	v.struck["rewrite"]++
	if v.verbose {
		v.log("%s is rewritten", t.name)
	}
	return errors.Join(
		v.workload.settle(ctx, "COMMIT"),
		v.db.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE id %% 3 = %d", t.name, part)),
		v.db.Exec(ctx, "VACUUM FULL "+t.name),
		v.db.Exec(ctx, t.fillSQL(1, t.rows, v.workload.next())))
}

func statesOf(s *state) []streamState {
	if s.Global != nil {
		return s.Global.Streams
	}
	return []streamState{*s.Stream}
}

// slotMadeAgain: what came between the two slots is lost.
func (v *verifier) slotMadeAgain(ctx context.Context) error {
	v.struck["slot made again"]++
	if v.verbose {
		v.log("the slot is made again")
	}
	if err := v.left(ctx); err != nil {
		return err
	}
	if err := v.db.Exec(ctx, "SELECT pg_drop_replication_slot($1)", v.slot); err != nil {
		return err
	}
	if err := v.refused(ctx, "does not exist"); err != nil {
		return err
	}
	sql := fmt.Sprintf("UPDATE bank SET version = %d; SELECT pg_switch_wal(); UPDATE bank SET version = %d",
		v.workload.next(), v.workload.next())
	if err := v.db.Exec(ctx, sql); err != nil {
		return err
	}
	if err := v.db.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", v.slot); err != nil {
		return err
	}
	if err := v.refused(ctx, "lost to this connection"); err != nil {
		return err
	}
	v.channels[0].forget()
	return nil
}

// slotMoved: another connection used the slot.
func (v *verifier) slotMoved(ctx context.Context) error {
	v.struck["slot moved"]++
	if v.verbose {
		v.log("the slot is moved")
	}
	if err := v.left(ctx); err != nil {
		return err
	}
	sql := fmt.Sprintf("UPDATE bank SET version = %d; SELECT pg_switch_wal(); UPDATE bank SET version = %d",
		v.workload.next(), v.workload.next())
	if err := v.db.Exec(ctx, sql); err != nil {
		return err
	}
	if err := v.db.Exec(ctx, "SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())", v.slot); err != nil {
		return err
	}
	if err := v.refused(ctx, "lost to this connection"); err != nil {
		return err
	}
	v.channels[0].forget()
	return nil
}

// refused reads twice from the last state: nothing may come but a config error that says so.
func (v *verifier) refused(ctx context.Context, says string) error {
	places := v.channels[0].states()
	if len(places) == 0 {
		return nil
	}
	given := []*state{v.channels[0].events[places[len(places)-1]].state}
	for range 2 {
		a, err := v.attempt(ctx, given, fault{name: "harm"})
		if err != nil {
			return err
		}
		if a.code != 1 || !strings.HasPrefix(a.failures[0], "config_error") || !strings.Contains(a.failures[0], says) ||
			a.records > 0 {
			return violation("where the log has a gap the connector ended with %d and sent %d records: %s", a.code, a.records,
				a.failures)
		}
	}
	return nil
}
