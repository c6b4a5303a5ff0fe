// Package scan reads tables with SQL. Several connections share one snapshot and take ranges of tables from one list, so that
// all of them are busy to the end with one large table as well as with many small ones.
package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"source-postgres/protocol"
	"source-postgres/source/catalog"
	"source-postgres/source/plan"
	"source-postgres/source/postgres"
)

// rewrites is how often a stream is begun anew because its table was rewritten while it was read.
const rewrites = 5

// A Session is an open transaction on the server; all that a scan reads is seen as of its snapshot.
type Session struct {
	Server   *postgres.Server
	Conn     *pgconn.PgConn
	Snapshot Snapshot
}

// Open connects and begins the transaction. The caller closes Conn.
func Open(ctx context.Context, server *postgres.Server) (*Session, error) {
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &Session{Server: server, Conn: conn}
	if err := s.Begin(ctx); err != nil {
		postgres.Close(conn)
		return nil, err
	}
	return s, nil
}

// Begin ends the transaction, if there is one, and begins another with a new snapshot.
func (s *Session) Begin(ctx context.Context) error {
	if err := s.Server.Rollback(ctx, s.Conn); err != nil {
		return err
	}
	if err := s.Server.Begin(ctx, s.Conn, ""); err != nil {
		return err
	}
	var err error
	s.Snapshot, err = CurrentSnapshot(ctx, s.Conn)
	return err
}

// Run reads the streams with at most workers connections, Conn among them, and writes their records, states and statuses. A
// stream that cannot be read does not stop the others; the errors of all of them are joined in the order of the streams. When
// Run returns every stream has its terminal status.
func Run(ctx context.Context, s *Session, streams []*plan.Stream, workers int, w *protocol.Writer) error {
	all := make([]*progress, len(streams))
	for i, stream := range streams {
		all[i] = &progress{Stream: stream, w: w}
	}
	err := runRounds(ctx, s, all, workers, w)
	var errs []error
	for _, p := range all {
		errs = append(errs, p.end(err))
	}
	return errors.Join(errors.Join(errs...), err)
}

// runRounds reads the streams, and those again whose table was rewritten on the way: under a new snapshot, since to the old one
// a table that was truncated or given another type of column looks empty.
func runRounds(ctx context.Context, s *Session, all []*progress, workers int, w *protocol.Writer) error {
	round := all
	for range rewrites {
		if err := runRound(ctx, s, round, workers, w); err != nil {
			return err
		}
		var again []*progress
		var tables []*catalog.Table
		for _, p := range round {
			if p.rewritten.Load() {
				slog.Warn("the table was rewritten while it was read; the stream starts over", "stream", p.Descriptor)
				p.restart()
				again = append(again, p)
				tables = append(tables, p.Table)
			}
		}
		if len(again) == 0 {
			return nil
		}
		if err := s.Begin(ctx); err != nil {
			return err
		}
		if err := catalog.LoadStorage(ctx, s.Conn, tables); err != nil {
			return err
		}
		round = again
	}
	for _, p := range round {
		p.fail(&protocol.Error{Kind: protocol.Transient, Stream: &p.Descriptor,
			Message: fmt.Sprintf("Table %s was rewritten %d times while it was read.", p.Descriptor, rewrites),
			Hint:    "Keep VACUUM FULL, CLUSTER and TRUNCATE away from it while it is read for the first time."})
	}
	return nil
}

// runRound works off the tasks of the streams.
func runRound(ctx context.Context, s *Session, round []*progress, workers int, w *protocol.Writer) error {
	tasks := make(chan task, 64)
	count := 0
	for _, p := range round {
		p.plan(s.Snapshot)
		count += len(p.tasks)
	}
	workers = max(min(workers, count), 1)
	sharing := ""
	if workers > 1 {
		var err error
		if sharing, err = export(ctx, s.Conn); err != nil {
			return postgres.Explain(err, "share the snapshot between connections")
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(tasks)
		for _, p := range round {
			for _, t := range p.tasks {
				select {
				case tasks <- t:
				case <-ctx.Done():
					return nil
				}
			}
		}
		return nil
	})
	for i := range workers {
		group.Go(func() (err error) {
			defer protocol.Recover(&err)
			if i == 0 {
				return newWorker(s.Conn, w).run(ctx, tasks)
			}
			return runShared(ctx, s.Server, sharing, w, tasks)
		})
	}
	return group.Wait()
}

// runShared is a worker with a connection of its own in the shared snapshot. Without one more connection there is one worker
// less; the others do its work.
func runShared(ctx context.Context, server *postgres.Server, snapshot string, w *protocol.Writer, tasks <-chan task) error {
	conn, err := server.Connect(ctx)
	if err == nil {
		defer postgres.Close(conn)
		err = server.Begin(ctx, conn, snapshot)
	}
	if err != nil {
		if ctx.Err() == nil {
			slog.Warn("one connection less is used: it could not be opened", "error", err)
		}
		return nil
	}
	return newWorker(conn, w).run(ctx, tasks)
}

func export(ctx context.Context, conn *pgconn.PgConn) (string, error) {
	var id string
	err := postgres.Query(ctx, conn, "SELECT pg_export_snapshot()", nil, func(v [][]byte) error {
		id = string(v[0])
		return nil
	})
	return id, err
}
