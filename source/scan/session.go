package scan

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/source/postgres"
)

// A Session is an open transaction on the server; all that a scan reads is seen as of its snapshot.
type Session struct {
	Server   *postgres.Server
	Conn     *pgconn.PgConn
	Snapshot Snapshot
	Time     int64  // when the transaction began, by the server's clock, in seconds since 1970
	System   string // the cluster's system_identifier
	Timeline int32  // of the server's log, as of its last checkpoint
	Standby  bool   // the server follows another one
	Open     bool   // transactions with numbers from Snapshot.Xmin on have begun
	// Written has the oids of the tables that transactions had written to which were open just before the snapshot.
	Written map[uint32]bool
}

// Open connects and begins the transaction. The caller closes Conn.
func Open(ctx context.Context, server *postgres.Server) (*Session, error) {
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &Session{Server: server, Conn: conn}
	if err := s.Begin(ctx, ""); err != nil {
		postgres.Close(conn)
		return nil, err
	}
	return s, nil
}

// writtenSQL lists the tables that open transactions have written to, prepared ones too: until they end they hold the
// locks that they took for it. Source: PostgreSQL documentation, pg_locks, Table-Level Lock Modes.
const writtenSQL = `
SELECT DISTINCT relation FROM pg_locks
 WHERE locktype = 'relation' AND granted AND mode = 'RowExclusiveLock'
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// factsSQL works on a standby too, and uses up no transaction number.
const factsSQL = `
SELECT txid_current_snapshot(), extract(epoch FROM now())::bigint, (SELECT system_identifier FROM pg_control_system()),
       pg_is_in_recovery(), age((txid_snapshot_xmin(txid_current_snapshot()) % 4294967296)::text::xid) > 0,
       (SELECT timeline_id FROM pg_control_checkpoint())`

// Begin ends the transaction, if there is one, and begins another, with the snapshot that another transaction
// exported or, if it is "", a new one.
func (s *Session) Begin(ctx context.Context, snapshot string) error {
	if err := s.Server.Rollback(ctx, s.Conn); err != nil {
		return err
	}
	s.Written = map[uint32]bool{}
	err := postgres.Query(ctx, s.Conn, writtenSQL, nil, func(v [][]byte) error {
		oid, err := strconv.ParseUint(string(v[0]), 10, 32)
		s.Written[uint32(oid)] = true
		return err
	})
	if err != nil {
		return postgres.Explain(err, "look up which tables are being written")
	}
	if err := s.Server.Begin(ctx, s.Conn, snapshot); err != nil {
		return err
	}
	err = postgres.Query(ctx, s.Conn, factsSQL, nil, func(v [][]byte) (err error) {
		if s.Snapshot, err = ParseSnapshot(string(v[0])); err != nil {
			return err
		}
		if s.Time, err = strconv.ParseInt(string(v[1]), 10, 64); err != nil {
			return err
		}
		timeline, err := strconv.ParseInt(string(v[5]), 10, 32)
		s.Timeline = int32(timeline)
		s.System, s.Standby, s.Open = string(v[2]), v[3][0] == 't', v[4][0] == 't'
		return err
	})
	if err != nil {
		return postgres.Explain(err, "read the snapshot")
	}
	return nil
}

// reopen begins a transaction with a new snapshot, on a new connection: the server may have ended the old one, which
// only its next use would show.
func (s *Session) reopen(ctx context.Context) error {
	postgres.Close(s.Conn)
	conn, err := s.Server.Connect(ctx)
	if err != nil {
		return err
	}
	s.Conn = conn
	return s.Begin(ctx, "")
}

// holderSQL names who has the transaction of number $1, the lower 32 bits, open, and since when. Every user may see the
// locks, of which each transaction has one on its own number. Source: PostgreSQL documentation, pg_locks.
const holderSQL = `
SELECT coalesce('pid ' || l.pid, 'prepared transaction ' || quote_literal(p.gid), 'nobody that can be seen'),
       coalesce(a.xact_start, p.prepared)::text
  FROM pg_locks l
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  LEFT JOIN pg_prepared_xacts p ON p.transaction::text = $1
 WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.transactionid::text = $1`

// holder says, for a log, who has the oldest transaction of the snapshot open. conn is a worker's.
func (s *Session) holder(ctx context.Context, conn *pgconn.PgConn) []any {
	said := []any{"transaction", s.Snapshot.Xmin}
	number := strconv.AppendUint(nil, s.Snapshot.Xmin&(1<<32-1), 10)
	err := postgres.Query(ctx, conn, holderSQL, [][]byte{number}, func(v [][]byte) error {
		said = append(said, "held_by", string(v[0]))
		if v[1] != nil {
			said = append(said, "since", string(v[1]))
		}
		return nil
	})
	if err != nil { // it was worth a try
		_ = postgres.Exec(ctx, conn, rollback)
	}
	return said
}

// export lends the snapshot to other connections for as long as the transaction is open.
func (s *Session) export(ctx context.Context) (string, error) {
	var id string
	err := postgres.Query(ctx, s.Conn, "SELECT pg_export_snapshot()", nil, func(v [][]byte) error {
		id = string(v[0])
		return nil
	})
	if err != nil {
		return "", postgres.Explain(err, "share the snapshot between connections")
	}
	return id, nil
}
