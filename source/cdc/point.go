package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/postgres"
)

// A Point is a moment of the log with the snapshot that shows just what had committed then. It lasts until Close.
type Point struct {
	LSN      pglogrepl.LSN
	Snapshot string
	conn     *pgconn.PgConn
}

// ErrNoPoint says that no Point can be had at the moment, although the log can be read: every slot or connection for
// replication is taken, or a transaction that a slot would have to wait for does not end.
var ErrNoPoint = errors.New("no consistent point can be had")

// blocked is how long transactions that are open are waited for.
const blocked = 60 * time.Second

// Consistent makes a Point by way of a temporary replication slot, which vanishes with its connection. It takes until
// every transaction that has written and is open has ended. conn is for questions.
func Consistent(ctx context.Context, server *postgres.Server, conn *pgconn.PgConn) (*Point, error) {
	replication, err := server.Replicate(ctx)
	if err != nil {
		return nil, noPoint(err)
	}
	p, err := newPoint(ctx, replication, conn)
	if err != nil {
		postgres.Close(replication)
		select {
		case <-replication.CleanupDone(): // the server was asked to stop waiting, so that no slot is left
		case <-time.After(time.Second):
		}
		return nil, err
	}
	return p, nil
}

func newPoint(ctx context.Context, replication, conn *pgconn.PgConn) (*Point, error) {
	// A slot that waits is no error yet, but worth a word.
	if open, err := writers(ctx, conn); err == nil && open != "" {
		slog.Info("the first pass begins when the transactions that are open now have ended", "transactions", open)
	}
	timed, cancel := context.WithTimeout(ctx, blocked)
	defer cancel()
	name := fmt.Sprintf("source_postgres_%d_%d", os.Getpid(), time.Now().UnixNano())
	slot, err := pglogrepl.CreateReplicationSlot(timed, replication, name, plugin,
		pglogrepl.CreateReplicationSlotOptions{
			Temporary: true, SnapshotAction: "EXPORT_SNAPSHOT", Mode: pglogrepl.LogicalReplication,
		})
	switch {
	case err != nil && timed.Err() != nil && ctx.Err() == nil:
		open, _ := writers(ctx, conn) // only for the message
		return nil, fmt.Errorf("%w: these transactions have not ended in %s: %s", ErrNoPoint, blocked, open)
	case err != nil:
		return nil, noPoint(postgres.Explain(err, "make a temporary replication slot"))
	}
	lsn, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return nil, fmt.Errorf("make a temporary replication slot: %w", err)
	}
	return &Point{LSN: lsn, Snapshot: slot.SnapshotName, conn: replication}, nil
}

// noPoint makes an ErrNoPoint of an error that says that everything is taken (SQLSTATE class 53).
func noPoint(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "53") {
		return fmt.Errorf("%w: %w", ErrNoPoint, err)
	}
	return err
}

// Close gives the slot back. The snapshot lives on in the transactions that have taken it over.
func (p *Point) Close() { postgres.Close(p.conn) }

// writersSQL names the transactions that have written and are open: each holds a lock on its own number. Who may not
// see what others do may see that. Source: PostgreSQL documentation, pg_locks, pg_prepared_xacts.
const writersSQL = `
SELECT coalesce(string_agg(coalesce('process ' || l.pid, 'prepared transaction ' || quote_literal(p.gid)), ', '), '')
  FROM pg_locks l LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
 WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted`

func writers(ctx context.Context, conn *pgconn.PgConn) (open string, err error) {
	err = postgres.Query(ctx, conn, writersSQL, nil, func(v [][]byte) error {
		open = string(v[0])
		return nil
	})
	return open, err
}

// Quiet waits until every transaction that is open now has ended and a new snapshot shows it. conn is not in a
// transaction.
func Quiet(ctx context.Context, conn *pgconn.PgConn) error {
	var next string
	err := postgres.Query(ctx, conn, "SELECT txid_snapshot_xmax(txid_current_snapshot())", nil, func(v [][]byte) error {
		next = string(v[0])
		return nil
	})
	deadline := time.Now().Add(blocked)
	for over := false; err == nil && !over; {
		const sql = "SELECT txid_snapshot_xmin(txid_current_snapshot()) >= $1::bigint"
		err = postgres.Query(ctx, conn, sql, [][]byte{[]byte(next)}, func(v [][]byte) error {
			over = v[0][0] == 't'
			return nil
		})
		if over || err != nil {
			break
		}
		if time.Now().After(deadline) {
			open, _ := writers(ctx, conn) // only for the message
			return &protocol.Error{
				Kind:    protocol.Transient,
				Message: fmt.Sprintf("The first pass could not begin: transactions did not end in %s: %s.", blocked, open),
				Hint: "End them (a prepared one: ROLLBACK PREPARED or COMMIT PREPARED), or raise max_replication_slots so that " +
					"a temporary slot can be made.",
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return postgres.Explain(err, "wait for open transactions")
}
