package scan

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// idleConflicts is how often in a row a scan of a standby begins anew without having got any further.
const idleConflicts = 3

// runAttempts reads the streams. On a standby the server ends queries, or sessions, that stand in the way of replay,
// and their snapshot with them: then the streams that are not complete go on from their last states under a new
// snapshot, as a new sync would.
func runAttempts(ctx context.Context, s *Session, all []*progress, workers int, w *protocol.Writer) error {
	idle := 0
	for {
		before := written(all)
		err := runRounds(ctx, s, all, workers, w)
		if !s.Standby || ctx.Err() != nil || w.Err() != nil {
			return err
		}
		conflict := conflictOf(err)
		var again []*progress
		var tables []*catalog.Table
		for _, p := range all {
			failure := p.failure.Load()
			if failure != nil && conflictOf(failure) != nil {
				conflict = failure
			}
			if p.complete.Load() || failure != nil && conflictOf(failure) == nil {
				continue
			}
			if !p.resumable() {
				return err
			}
			again = append(again, p)
			tables = append(tables, p.Table)
		}
		if conflict == nil || len(again) == 0 {
			return err
		}
		if idle++; written(all) > before {
			idle = 0
		}
		if idle == idleConflicts {
			return err
		}
		slog.Warn("the standby ended the reading, which stood in the way of replay; it goes on under a new snapshot. Set "+
			"hot_standby_feedback = on there, or raise max_standby_streaming_delay", "error", conflict)
		for _, p := range again {
			p.resume()
		}
		err = s.renew(ctx, tables)
		for ; conflictOf(err) != nil && idle < idleConflicts; idle++ {
			err = s.renew(ctx, tables)
		}
		if err != nil {
			return err
		}
		for _, p := range again {
			p.sameFiles()
		}
		all = again
	}
}

// renew begins anew, and looks where the tables are by now.
func (s *Session) renew(ctx context.Context, tables []*catalog.Table) error {
	if err := s.reopen(ctx); err != nil {
		return err
	}
	return catalog.LoadStorage(ctx, s.Conn, tables)
}

// conflictOf is err if it is what is seen of a standby that ends a query or a session for the sake of replay. To a
// client that takes no data at the moment it cannot even say so.
func conflictOf(err error) error {
	said, is := errors.AsType[*pgconn.PgError](err)
	if is && (said.Code == "40001" || said.Code == "40P01") || !is && err != nil && postgres.Lost(err) {
		return err
	}
	return nil
}

// written is how many states the streams have written.
func written(all []*progress) int {
	n := 0
	for _, p := range all {
		n += p.states
	}
	return n
}

// resumable says whether the stream can go on in this sync without sending rows again that no state covers: one whose
// changes come from the log cannot change its snapshot, and one without ranges would begin anew.
func (p *progress) resumable() bool {
	return p.Method != plan.ByLog && (p.Paged || p.rows.Load() == 0 || p.written != nil)
}

// resume makes the stream go on from its last state.
func (p *progress) resume() {
	p.failure.Store(nil)
	p.rewritten.Store(false)
	if p.written != nil {
		p.from = p.written
	}
}

// sameFiles makes the stream start over if its table was rewritten since its last state.
func (p *progress) sameFiles() {
	pass, ok := p.from.(*state.Ctid)
	if !ok {
		return
	}
	if _, same := p.Table.Storage.Added(pass.Filenode); !same {
		slog.Warn("the table was rewritten while it was read; the stream starts over", "stream", p.Descriptor)
		p.from = pass.Since
	}
}
