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
	if names, _, err := writers(ctx, conn, nil); err == nil && names != "" {
		slog.Info("the first pass begins when the transactions that are open now have ended", "transactions", names)
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
		names, _, _ := writers(ctx, conn, nil) // only for the message
		if names == "" {
			names = "none that can be seen here; a standby waits for its primary to note them, for which run there: SELECT " +
				"pg_log_standby_snapshot();"
		}
		return nil, fmt.Errorf("%w: transactions have not ended in %s: %s", ErrNoPoint, blocked, names)
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

// openXact is the SQL condition for the locks l of transactions that have written and are open: each holds one on its
// own number until after it can be seen that it has ended. Who may not see what others do may see that. Source:
// PostgreSQL documentation, pg_locks, pg_prepared_xacts.
const openXact = "l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted"

const writersSQL = `
SELECT coalesce(string_agg(coalesce('process ' || l.pid, 'prepared transaction ' || quote_literal(p.gid)), ', '), ''),
       coalesce(string_agg(l.transactionid::text, ','), '')
  FROM pg_locks l LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
 WHERE ` + openXact + ` AND ($1::text IS NULL OR l.transactionid::text = ANY (string_to_array($1, ',')))`

// writers are the transactions that have written and are open, in words and as numbers; of those called among, if any
// are.
func writers(ctx context.Context, conn *pgconn.PgConn, among []byte) (names, numbers string, err error) {
	err = postgres.Query(ctx, conn, writersSQL, [][]byte{among}, func(v [][]byte) error {
		names, numbers = string(v[0]), string(v[1])
		return nil
	})
	return names, numbers, postgres.Explain(err, "look up the open transactions")
}

// Quiet waits until every transaction that has written and is open now has ended, so that a new snapshot shows what it
// did. conn is not in a transaction.
func Quiet(ctx context.Context, conn *pgconn.PgConn) error {
	deadline := time.Now().Add(blocked)
	names, numbers, err := writers(ctx, conn, nil)
	for err == nil && numbers != "" {
		if time.Now().After(deadline) {
			return &protocol.Error{
				Kind:    protocol.Transient,
				Message: fmt.Sprintf("The first pass could not begin: transactions did not end in %s: %s.", blocked, names),
				Hint: "End them (a prepared one: ROLLBACK PREPARED or COMMIT PREPARED), or raise max_replication_slots so that " +
					"a temporary slot can be made.",
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
			names, numbers, err = writers(ctx, conn, []byte(numbers))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}
