package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/config"
	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// plugin is the output plugin that every slot must have been made with.
const plugin = "pgoutput"

// A Slot is the replication slot and what the server says of the log.
type Slot struct {
	Plugin, Database string
	Active           string // the process that is using it; empty: none
	Status           string // wal_status; lost: what it needs has been removed
	Reason           string // why it is lost, from version 17 on
	TwoPhase         bool   // it decodes prepared transactions when they are prepared
	Confirmed        pglogrepl.LSN
	Retained         int64         // bytes of log that it keeps the server from removing
	Flushed          pglogrepl.LSN // the end of the log
	Timeline         int32
	Patience         time.Duration // wal_sender_timeout
	Waits            bool          // the process that is using it has sent all there is, and waits for more
}

// slotSQL asks for positions only where the log is logical: Aurora refuses to name them elsewhere.
const slotSQL = `
SELECT s.slot_type, s.plugin, s.database, s.active_pid, to_jsonb(s)->>'wal_status', s.confirmed_flush_lsn,
       pg_wal_lsn_diff(p.lsn, s.restart_lsn)::bigint, p.lsn,
       CASE WHEN p.lsn IS NULL THEN 0
            WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
       (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'),
       to_jsonb(s)->>'invalidation_reason', to_jsonb(s)->>'two_phase',
       (SELECT lower(wait_event) = 'walsenderwaitforwal' FROM pg_stat_activity WHERE pid = s.active_pid)
  FROM (SELECT CASE WHEN current_setting('wal_level') <> 'logical' THEN NULL
                    WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                    ELSE pg_current_wal_flush_lsn() END) AS p (lsn)
  LEFT JOIN pg_replication_slots s ON s.slot_name = $1`

// LookUp finds the slot. One that is not there, or that is not fit for use at all, is a config error.
func LookUp(ctx context.Context, conn *pgconn.PgConn, c *config.Config) (*Slot, error) {
	s := &Slot{}
	var kind string
	err := postgres.Query(ctx, conn, slotSQL, [][]byte{[]byte(c.CDC.Slot)}, func(v [][]byte) error {
		kind, s.Plugin, s.Database, s.Active, s.Status = string(v[0]), string(v[1]), string(v[2]), string(v[3]), string(v[4])
		s.Confirmed, _ = pglogrepl.ParseLSN(string(v[5])) // 0 while the slot is being made
		s.Retained, _ = strconv.ParseInt(string(v[6]), 10, 64)
		timeline, _ := strconv.ParseInt(string(v[8]), 10, 32)
		patience, _ := strconv.ParseInt(string(v[9]), 10, 64)
		s.Timeline, s.Patience = int32(timeline), time.Duration(patience)*time.Millisecond
		s.Reason, s.TwoPhase, s.Waits = string(v[10]), string(v[11]) == "true", string(v[12]) == "t"
		if v[7] == nil {
			return nil
		}
		var err error
		s.Flushed, err = pglogrepl.ParseLSN(string(v[7]))
		return err
	})
	if err != nil {
		return nil, postgres.Explain(err, "look up the replication slot")
	}
	return s, s.fit(kind, c)
}

// fit says why the slot cannot be read from.
func (s *Slot) fit(kind string, c *config.Config) error {
	name := c.CDC.Slot
	create := fmt.Sprintf("Run in database %s: SELECT pg_create_logical_replication_slot(%s, 'pgoutput');", c.Database,
		postgres.Literal(name))
	anew := "Run: SELECT pg_drop_replication_slot(" + postgres.Literal(name) + "); then SELECT " +
		"pg_create_logical_replication_slot(" +
		postgres.Literal(name) + ", 'pgoutput'); and reset the connection: every table is read again."
	e := &protocol.Error{Kind: protocol.Config}
	switch {
	case kind == "":
		e.Message, e.Hint = fmt.Sprintf("Replication slot %s does not exist.", name), create+
			" If a sync has used it before, also reset the connection: changes since then are lost to it."
	case kind != "logical":
		e.Message, e.Hint = fmt.Sprintf("Replication slot %s is a physical one.", name), "Choose another name. "+create
	case s.Plugin != plugin:
		e.Message, e.Hint = fmt.Sprintf("Replication slot %s was made with the plugin %s, not with "+
			"pgoutput.", name, s.Plugin), anew
	case s.Database != c.Database:
		e.Message, e.Hint = fmt.Sprintf("Replication slot %s belongs to database %s, not to "+
			"%s.", name, s.Database, c.Database),
			"Slot names are shared by all databases of a server; choose another name. "+create
	case s.Status == "lost":
		why := lossOf(s.Reason)
		e.Message = fmt.Sprintf("Replication slot %s is lost: %s.", name, why[0])
		e.Hint = "Changes since the last sync cannot be read any more. " + why[1] + " " + anew
	case s.TwoPhase:
		e.Message = fmt.Sprintf("Replication slot %s was made with two_phase: it sends prepared transactions before it is "+
			"known whether they commit.", name)
		e.Hint = anew
	case s.Confirmed == 0:
		e.Kind = protocol.Transient
		e.Message, e.Hint = fmt.Sprintf("Replication slot %s is still being made.", name),
			"It waits for transactions that were open when it was begun: end them, those in pg_prepared_xacts too."
	default:
		return nil
	}
	return e
}

// lossOf says of an invalidation_reason of pg_replication_slots why a slot was lost and how to keep that from happening
// again. Versions before 17 name no reason; until 15 there is only the first.
func lossOf(reason string) [2]string {
	switch reason {
	case "rows_removed":
		return [2]string{
			"this server is a standby, and its primary has removed rows of the catalog that the slot needed",
			"Set hot_standby_feedback = on on the standby, and let it follow the primary through a slot of its own.",
		}
	case "wal_level_insufficient":
		return [2]string{"the primary's wal_level was below logical", "Set wal_level to logical, and leave it there."}
	case "idle_timeout":
		return [2]string{
			"nothing read from it for longer than idle_replication_slot_timeout",
			"Raise idle_replication_slot_timeout or synchronise more often.",
		}
	}
	return [2]string{
		"the server has removed log that it needed, because it kept more than max_slot_wal_keep_size",
		"Raise max_slot_wal_keep_size or synchronise more often.",
	}
}

// reach adds to err, which says that the slot is gone or lost, how far the loss reaches for a connection whose state is
// at at.
func (s *Slot) reach(err error, at *state.Log) error {
	var e *protocol.Error
	if at == nil || s == nil || s.Status != "" && s.Status != "lost" || !errors.As(err, &e) || e.Kind != protocol.Config {
		return err
	}
	e.Message += fmt.Sprintf(" The state is at %s, and the log now ends at %s: the changes between them, %d bytes of "+
		"log, are lost to this connection.", at.LSN, s.Flushed, max(int64(s.Flushed)-int64(at.LSN), 0))
	return e
}

// Covers says whether the slot still has everything that committed from position at on; if it has not, the error is a
// config error. Only once a connection holds the slot is that certain to stay so.
func (s *Slot) Covers(at pglogrepl.LSN, c *config.Config) error {
	if at >= s.Confirmed {
		return nil
	}
	e := &protocol.Error{
		Kind: protocol.Config,
		Message: fmt.Sprintf("Replication slot %s has moved on to %s, beyond the state, which is at %s: the changes "+
			"between them are lost to this connection. Another connection uses the slot, or it was dropped and made again.",
			c.CDC.Slot, s.Confirmed, at),
		Hint: "Give each connection a slot of its own, and reset this one: every table is read again.",
	}
	if c.CDC.AcknowledgeReading {
		e.Message += ` It may also be that an attempt whose state was not kept has moved it.`
		e.Hint += ` With "lsn_commit_behaviour" set to "After loading Data in the destination" that cannot happen.`
	}
	return e
}

// busy is how long a slot that another connection is using is waited for: that of an attempt before this one may not
// have been noticed to be gone.
const busy = 60 * time.Second

// start opens the replication connection and starts the stream.
func (r *Reader) start(ctx context.Context) (*pgconn.PgConn, error) {
	deadline, told := time.Now().Add(busy), false
	for {
		conn, err := r.server.Replicate(ctx)
		if err != nil {
			return nil, err
		}
		if r.charset != nil {
			stored := "SET client_encoding = " + postgres.ReplicationLiteral(r.charset.name)
			if err := postgres.Exec(ctx, conn, stored); err != nil {
				postgres.Close(conn)
				return nil, explain(err, r.config)
			}
		}
		err = pglogrepl.StartReplication(ctx, conn, r.config.CDC.Slot, r.at.LSN, pglogrepl.StartReplicationOptions{
			Mode: pglogrepl.LogicalReplication,
			PluginArgs: []string{
				"proto_version '1'",
				"publication_names " + postgres.ReplicationLiteral(postgres.Quote(r.config.CDC.Publication)),
			},
		})
		if err == nil {
			return conn, nil
		}
		postgres.Close(conn)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "55006" {
			return nil, explain(err, r.config)
		}
		if !told {
			slog.Warn("the replication slot is in use by another connection; waiting for its end", "slot", r.config.CDC.Slot)
			told = true
		}
		if time.Now().After(deadline) {
			return nil, &protocol.Error{
				Kind: protocol.Transient, Err: err,
				Message: fmt.Sprintf("Replication slot %s is in use by another connection.", r.config.CDC.Slot),
				Hint:    "Only one connection can read from a slot: give each one its own. See pg_replication_slots.active_pid.",
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := r.checkpoint(ctx, false); err != nil {
			return nil, err
		}
	}
}

const ancestorsSQL = `
SELECT a.oid::oid::bigint FROM pg_partition_ancestors($1::oid::regclass) AS a (oid) WHERE a.oid <> $1::oid`

// ancestors are the partitioned tables that a relation is a partition of.
func (r *Reader) ancestors(ctx context.Context, oid uint32) ([]uint32, error) {
	var above []uint32
	args := [][]byte{strconv.AppendUint(nil, uint64(oid), 10)}
	err := postgres.Query(ctx, r.conn, ancestorsSQL, args, func(v [][]byte) error {
		n, err := strconv.ParseUint(string(v[0]), 10, 32)
		above = append(above, uint32(n))
		return err
	})
	if err != nil {
		return nil, postgres.Explain(err, "look up the partitions")
	}
	return above, nil
}

// explain puts an error of the replication connection into words.
func explain(err error, c *config.Config) error {
	var pg *pgconn.PgError
	missing := errors.As(err, &pg) && strings.Contains(pg.Message, "publication") && pg.Code == "42704"
	if missing || errors.Is(err, errSkipped) {
		return &protocol.Error{
			Kind: protocol.Config, Err: err,
			Message: fmt.Sprintf("Publication %s did not exist when the changes in the log were made, or has been dropped.",
				c.CDC.Publication),
			Hint: "The slot must be made after the publication. Make the publication, drop the slot and make it again, and " +
				"reset the connection.",
		}
	}
	if pg != nil && (pg.Code == "22P05" || pg.Code == "22021") {
		return &protocol.Error{
			Kind: protocol.Config, Err: err,
			Message: fmt.Sprintf("The log has a text that cannot be sent as UTF-8. State code: %s; Message: %s.", pg.Code,
				pg.Message),
			Hint: "To mend the row is not enough, for the log keeps what it has: then drop the slot and make it again, and " +
				"reset the connection.",
		}
	}
	return postgres.Explain(err, "read the log")
}

// blame gives the reason for err where the slot was lost while it was read from: the server then just ends the
// connection, as it would for a restart, and a moment later gives up the slot.
func (r *Reader) blame(ctx context.Context, err error) error {
	var e *protocol.Error
	if err == nil || ctx.Err() != nil || !errors.As(err, &e) || e.Kind != protocol.Transient {
		return err
	}
	r.watch(ctx, func(slot *Slot, why error) bool {
		if slot != nil && slot.Status == "lost" {
			err = slot.reach(why, &r.at)
			return true
		}
		return slot == nil || slot.Active == "" && slot.Status != "unreserved"
	})
	return err
}

// watch looks at the slot again and again, until it is as it should be, and no longer than the server may take to
// notice that a connection has ended. The slot is nil where it cannot be seen.
func (r *Reader) watch(ctx context.Context, enough func(slot *Slot, err error) bool) {
	ctx, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	ticker := time.NewTicker(releaseEvery)
	defer ticker.Stop()
	for !enough(LookUp(ctx, r.conn, r.config)) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
