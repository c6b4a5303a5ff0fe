package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// round is an attempt to read beside some statements. Everything that is drawn is drawn before the two begin to meet.
func (v *verifier) round(ctx context.Context, r *rand.Rand) error {
	v.joined = v.joined || v.outcomes["complete"] > 3
	v.workload.rand = rand.New(rand.NewPCG(r.Uint64(), 1))
	steps, f := 20+r.IntN(120), v.chooseFault(r)
	if v.without["outages"] { // the rounds are short ones, of which many fit into a test
		steps /= 4
	}
	harm := r.IntN(v.one(12, 5)) == 0 && !v.without["harm"]
	if harm {
		if err := v.harm(ctx, r); err != nil {
			return err
		}
	}
	if v.busy && r.IntN(v.one(12, 2)) == 0 && !v.without["ddl"] {
		if err := v.rewrite(ctx, r); err != nil {
			return err
		}
	}
	given, err := v.goOn(ctx, r, true)
	if err != nil {
		return err
	}
	v.config["max_db_connections"] = 1 + r.IntN(3)
	var group sync.WaitGroup
	var failed error
	ended := make(chan struct{})
	group.Go(func() { failed = v.write(ctx, steps, ended) })
	a, err := v.attempt(ctx, given, f)
	if v.verbose && a != nil {
		v.log("%s after byte %d (%t), %d statements, %d states given: exit code %d, %d records %v", f.name, f.at, a.struck,
			steps, len(given), a.code, a.records, a.failures)
	}
	close(ended)
	group.Wait()
	select {
	case <-v.waiting:
	default:
	}
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return v.after(ctx, a)
}

// handOver is how many bursts of transactions there are while a first pass fixes where the log takes over.
const handOver = 10

// write makes statements beside an attempt. Transactions stay open, unless a first pass waits for them, and with
// reason: it would miss what they commit. When they have ended, others come and go until the attempt, too, has ended.
func (v *verifier) write(ctx context.Context, steps int, ended chan struct{}) error {
	for range steps {
		if err := v.workload.step(ctx); err != nil {
			return err
		}
	}
	if !v.mode.log {
		return nil
	}
	if err := v.workload.linger(ctx); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-v.waiting:
	case <-time.After(2 * time.Second):
	}
	if err := v.workload.settle(ctx, "COMMIT"); err != nil {
		return err
	}
	first := v.workload.rand.IntN(many)
	for i := range handOver {
		select {
		case <-ended:
			return nil
		default:
		}
		if err := v.workload.commit(ctx, first+i*burst); err != nil {
			return err
		}
	}
	return nil
}

// one is one in so many.
func (v *verifier) one(usual, hard int) int {
	if v.hard {
		return hard
	}
	return usual
}

// after looks at the destination when an attempt has ended.
func (v *verifier) after(ctx context.Context, a *run) error {
	for _, c := range v.channels {
		c.compact()
	}
	if !a.complete() {
		v.outcomes["interrupted"]++
		return nil
	}
	v.outcomes["complete"]++
	v.busy, v.expected = false, max(a.bytes, 10_000)
	now, err := v.rows(ctx)
	if err != nil {
		return err
	}
	if a.begun && v.mode.method == "" && !strings.Contains(strings.Join(a.warnings, " "), "starts over") {
		for key, times := range a.keys {
			if times > 1 {
				return violation("%s came %d times in one read", key, times)
			}
		}
	}
	for stream, rows := range now {
		still := map[string]string{} // unchanged since before the sync began
		for key, value := range v.began[stream] {
			if rows[key] == value {
				still[key] = value
			}
		}
		if err := v.holds(stream, still, false); err != nil {
			return err
		}
	}
	return nil
}

// holds reports a violation unless the destination has these rows of a stream, and, if exact, no other.
func (v *verifier) holds(stream string, rows map[string]string, exact bool) error {
	arrival, greatest := v.channel(stream).folds(stream)
	ways := map[string]fold{"what came last": arrival}
	if v.mode.log {
		ways["what has the greatest _ab_cdc_lsn"] = greatest
	}
	for way, f := range ways {
		if keys := differ(rows, f, exact); len(keys) > 0 {
			return violation("%s, by %s: %d of %d rows are wrong: row %s is %q in the table and %q in the destination",
				stream, way, len(keys), len(rows), keys[0], rows[keys[0]], f[keys[0]])
		}
	}
	return nil
}

// goOn decides where the next attempt goes on.
func (v *verifier) goOn(ctx context.Context, r *rand.Rand, mishaps bool) (given []*state, err error) {
	mishaps = mishaps && !v.without["resets"]
	anew := v.mode.method == "" && !v.busy // a full refresh that was complete is begun anew, into an empty destination
	now, err := v.rows(ctx)
	if err != nil {
		return nil, err
	}
	if !v.busy {
		v.syncs++
	}
	for _, c := range v.channels {
		s := c.resume(r, mishaps && !anew) // the state of a sync that was complete is the last one
		c.know(s)
		if anew {
			c.forget()
		}
		for _, name := range v.streams() {
			// What this sync has finished in an earlier attempt is not looked at again.
			if v.channel(name) == c && (s == nil || anew || v.mode.log || !s.finished()) {
				v.began[name] = now[name]
			}
		}
		if s == nil {
			continue
		}
		if names := v.streams(); v.mode.log && mishaps && r.IntN(v.one(15, 2)) == 0 {
			for range v.one(1, 3) {
				s = c.drop(s, names[r.IntN(len(names))])
			}
		}
		given = append(given, s)
	}
	v.busy = true
	return given, nil
}

// exactly reports whether the destination has just what came up to the state that is given, and gives what it has of
// the bank.
func (v *verifier) exactly(given []*state) (bool, fold) {
	bank := fold{}
	c := v.channels[0]
	for _, e := range c.events {
		if e.row != nil && e.row.stream == "bank" {
			bank.take(e.row)
		}
	}
	return v.mode.log && (len(given) == 0 || c.clean && !given[0].Global.Shared.ahead), bank
}

// quiet ends every transaction and reads once more. Then the destination has just what the tables have; of rows that
// were deleted only the log tells, and a full refresh from the beginning.
func (v *verifier) quiet(ctx context.Context) error {
	if err := v.workload.settle(ctx, "ROLLBACK"); err != nil {
		return err
	}
	reads := 1
	if v.mode.method == "" {
		reads = 2 // the sync that is on, and one from its beginning
	}
	for range reads {
		given, err := v.goOn(ctx, rand.New(rand.NewPCG(v.seed, 0)), false)
		if err != nil {
			return err
		}
		a, err := v.attempt(ctx, given, fault{name: "none", quiet: true})
		if v.verbose && a != nil {
			v.log("quiet: %d states given, sync %d: exit code %d, %d records", len(given), v.syncs, a.code, a.records)
		}
		if v.last = a; err == nil {
			err = v.after(ctx, a)
		}
		if err != nil {
			return err
		}
	}
	rows, err := v.rows(ctx)
	if err != nil {
		return err
	}
	for stream, held := range rows {
		if err := v.holds(stream, held, v.mode.log || v.mode.method == ""); err != nil {
			return errors.Join(err, v.still(ctx, stream, held))
		}
	}
	return errors.Join(v.invented(ctx), v.left(ctx))
}

// still says what the server has by now, if that is not what it had: then somebody still writes.
func (v *verifier) still(ctx context.Context, stream string, held map[string]string) error {
	rows, err := v.rows(ctx)
	if err != nil {
		return err
	}
	if keys := differ(held, rows[stream], true); len(keys) > 0 {
		return fmt.Errorf("the table has changed meanwhile: row %s was %q and is %q", keys[0], held[keys[0]],
			rows[stream][keys[0]])
	}
	arrival, _ := v.channel(stream).folds(stream)
	for _, key := range differ(held, arrival, true) {
		v.log("row %s came %d times in the last attempt", key, v.last.keys[stream+" "+key])
	}
	prepared, err := v.db.Query(ctx, "SELECT gid FROM pg_prepared_xacts")
	return errors.Join(err, fmt.Errorf("the table is as it was; prepared transactions %v, known %v; the last attempt had "+
		"%d records and the warnings %v", prepared, v.workload.prepared, v.last.records, v.last.warnings))
}

// invented reports a version that came and was never committed.
func (v *verifier) invented(ctx context.Context) error {
	committed := map[seen]bool{}
	for _, t := range v.mode.tables {
		rows, err := v.db.Query(ctx, fmt.Sprintf("SELECT DISTINCT %s, version FROM journal WHERE stream = '%s'", t.key(),
			t.source()))
		if err != nil {
			return err
		}
		for _, r := range rows {
			var version int64
			if _, err := fmt.Sscan(r[1], &version); err != nil {
				return err
			}
			committed[seen{t.name, r[0], version}] = true
		}
	}
	for s := range v.seen {
		if !committed[s] {
			return violation("%s: row %s came in version %d, which was never committed", s.stream, s.key, s.version)
		}
	}
	return nil
}

// left reports what attempts left on the server: sessions, temporary slots.
func (v *verifier) left(ctx context.Context) error {
	const sql = `SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'source-postgres') +
		(SELECT count(*) FROM pg_replication_slots WHERE temporary OR active) = 0`
	if err := v.db.Await(ctx, sql); err != nil {
		return violation("a session or a slot is left on the server: %v", err)
	}
	return nil
}

// watch looks again and again where the slot is, until the function that it gives is called; that reports a position
// beyond the state that the attempt was given: the server may forget nothing that came after that.
func (v *verifier) watch(ctx context.Context, given []*state) (func() error, error) {
	if !v.mode.log {
		return func() error { return nil }, nil
	}
	limit := "0/0"
	if len(given) > 0 {
		limit = given[0].Global.Shared.LSN
	}
	// Where the slot is already is nobody's fault now.
	limit, err := v.db.Value(ctx, "SELECT greatest(confirmed_flush_lsn, $2::text::pg_lsn) FROM pg_replication_slots "+
		"WHERE slot_name = $1", v.slot, limit)
	if isNone(err) { // there is no slot, which the connector is to say
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	beyond := make(chan string, 1)
	go func() { beyond <- v.sample(ctx, limit) }()
	return func() error {
		cancel()
		if at := <-beyond; at != "" {
			return violation("the slot was at %s while the attempt was given the state at %s", at, limit)
		}
		return nil
	}, nil
}

func (v *verifier) sample(ctx context.Context, limit string) string {
	last := false
	for {
		var at string
		conn, err := v.db.Connect(context.WithoutCancel(ctx))
		for err == nil {
			const sql = `SELECT coalesce(max(confirmed_flush_lsn::text), '') FROM pg_replication_slots
				WHERE slot_name = $1 AND confirmed_flush_lsn > $2::text::pg_lsn`
			err = conn.QueryRow(context.WithoutCancel(ctx), sql, v.slot, limit).Scan(&at)
			if at != "" || last {
				break
			}
			wait(ctx, 15*time.Millisecond)
			last = ctx.Err() != nil
		}
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
		if at != "" || ctx.Err() != nil {
			return at
		}
		wait(ctx, 15*time.Millisecond) // the server is being restarted
	}
}

// hold takes the slot for a while, as an attempt whose end the server has not noticed does.
func (v *verifier) hold(ctx context.Context, f fault) (release func(), err error) {
	if f.name != "slot in use" {
		return func() {}, nil
	}
	conn, err := pgconn.Connect(ctx, v.db.URL()+"?replication=database")
	if err == nil {
		err = pglogrepl.StartReplication(ctx, conn, v.slot, 0, pglogrepl.StartReplicationOptions{
			PluginArgs: []string{"proto_version '1'", "publication_names 'chaos'"},
		})
	}
	if isCode(err, "55006") { // the last attempt's end has not been noticed yet
		conn.Conn().Close()
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	v.struck[f.name]++
	timer := time.AfterFunc(patience/2, func() { conn.Conn().Close() })
	return func() {
		timer.Stop()
		conn.Conn().Close()
	}, nil
}

// isNone reports that a query gave no row.
func isNone(err error) bool { return err != nil && strings.Contains(err.Error(), "gave no value") }
