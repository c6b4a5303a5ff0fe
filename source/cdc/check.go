package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/protocol"
	"source-postgres/source/config"
	"source-postgres/source/postgres"
)

// Check finds everything that keeps the log from being read with these settings. conn is in a transaction; server
// makes one replication connection as a trial.
func Check(ctx context.Context, server *postgres.Server, conn *pgconn.PgConn, c *config.Config) error {
	f, err := gather(ctx, conn)
	if err != nil {
		return err
	}
	problems := append([]error{}, f.server()...)
	slot, err := LookUp(ctx, conn, c)
	problems = append(problems, err)
	if slot != nil && err == nil {
		problems = append(problems, f.slot(slot, c))
	}
	err = checkPublication(ctx, conn, c)
	problems = append(problems, err)
	if err == nil {
		problems = append(problems, warnIdentities(ctx, conn, c))
	}
	replication, err := server.Replicate(ctx)
	if err == nil {
		postgres.Close(replication)
	}
	return errors.Join(append(problems, err)...)
}

// Ready finds the slot, and what keeps the log from being read at all. conn may be in a transaction.
func Ready(ctx context.Context, conn *pgconn.PgConn, c *config.Config) (*Slot, error) {
	f, err := gather(ctx, conn)
	if err != nil {
		return nil, err
	}
	if problems := f.log(); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	slot, err := LookUp(ctx, conn, c)
	return slot, errors.Join(err, checkPublication(ctx, conn, c))
}

// facts are the server's settings that decide whether its log can be read.
type facts struct {
	standby           bool
	version           int
	level             string
	slots, maxSlots   int
	senders, maxSends int
	keep              int64  // max_slot_wal_keep_size in bytes; negative: no limit
	cloud             string // the parameter group's name for wal_level, on a managed server
}

const factsSQL = `
SELECT pg_is_in_recovery(), current_setting('server_version_num'), current_setting('wal_level'),
       (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots'),
       (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders'),
       coalesce((SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), -1),
       CASE WHEN current_setting('rds.logical_replication', true) IS NOT NULL THEN 'rds'
            WHEN current_setting('azure.extensions', true) IS NOT NULL THEN 'azure'
            WHEN current_setting('cloudsql.logical_decoding', true) IS NOT NULL THEN 'cloudsql' END`

func gather(ctx context.Context, conn *pgconn.PgConn) (*facts, error) {
	f := &facts{}
	err := postgres.Query(ctx, conn, factsSQL, nil, func(v [][]byte) error {
		number := func(i int) int { n, _ := strconv.Atoi(string(v[i])); return n } // the server's own numbers
		f.standby, f.version, f.level = v[0][0] == 't', number(1), string(v[2])
		f.slots, f.maxSlots, f.senders, f.maxSends = number(3), number(4), number(5), number(6)
		f.keep, f.cloud = int64(number(7)), string(v[8])
		if f.keep > 0 {
			f.keep <<= 20 // the setting is in megabytes
		}
		return nil
	})
	if err != nil {
		return nil, postgres.Explain(err, "read the server's settings")
	}
	return f, nil
}

// log finds why the server's log cannot be read.
func (f *facts) log() []error {
	var problems []error
	add := func(message, hint string) {
		problems = append(problems, &protocol.Error{Kind: protocol.Config, Message: message, Hint: hint})
	}
	if f.standby && f.version < 160000 {
		add("CDC must connect to the primary: this server is a standby, and only version 16 and later can read the log "+
			"there.",
			"Set the host of the primary.")
	}
	if f.level != "logical" {
		add(fmt.Sprintf("The server's wal_level is %s: its log does not have what CDC needs.", f.level), f.levelHint())
	}
	return problems
}

// server finds what is wrong with the server as a whole.
func (f *facts) server() []error {
	problems := f.log()
	if f.slots >= f.maxSlots {
		slog.Warn("all replication slots are in use: a first pass then sends more changes twice than it must; raise "+
			"max_replication_slots", "in_use", f.slots, "max_replication_slots", f.maxSlots)
	}
	if f.maxSends > 0 && f.senders >= f.maxSends || f.maxSends == 0 {
		problems = append(problems, &protocol.Error{
			Kind:    protocol.Config,
			Message: fmt.Sprintf("All %d connections that max_wal_senders allows are in use.", f.maxSends),
			Hint:    "Run: ALTER SYSTEM SET max_wal_senders = " + strconv.Itoa(f.maxSends+5) + "; and restart the server.",
		})
	}
	return problems
}

func (f *facts) levelHint() string {
	switch f.cloud {
	case "rds":
		return "Set rds.logical_replication to 1 in the parameter group of the instance or cluster, and reboot it."
	case "azure":
		return "Set wal_level to LOGICAL in the server parameters (on a single server: Azure replication support), and " +
			"restart it."
	case "cloudsql":
		return "Set the flag cloudsql.logical_decoding to on; the instance restarts."
	}
	return "Run: ALTER SYSTEM SET wal_level = logical; and restart the server."
}

// slot finds what is wrong with the slot at this moment, and reports how much log it keeps.
func (f *facts) slot(s *Slot, c *config.Config) error {
	slog.Info("replication slot", "slot", c.CDC.Slot, "confirmed", s.Confirmed, "wal_retained_bytes", s.Retained)
	if f.keep > 0 && s.Retained > f.keep/10*8 || s.Status == "unreserved" {
		slog.Warn("the replication slot is about to be lost: it keeps nearly as much log as max_slot_wal_keep_size allows; "+
			"synchronise now, or raise it",
			"slot", c.CDC.Slot, "wal_retained_bytes", s.Retained, "max_slot_wal_keep_size", f.keep)
	}
	if s.Active == "" {
		return nil
	}
	return &protocol.Error{
		Kind:    protocol.Config,
		Message: fmt.Sprintf("Replication slot %s is in use by process %s.", c.CDC.Slot, s.Active),
		Hint: "Each connection needs a slot of its own; if a sync of this very connection is running, wait for its end. " +
			"Run: SELECT * " +
			"FROM pg_stat_replication WHERE pid = " + s.Active + ";",
	}
}

const publicationSQL = `SELECT pubinsert, pubupdate, pubdelete FROM pg_publication WHERE pubname = $1`

func checkPublication(ctx context.Context, conn *pgconn.PgConn, c *config.Config) error {
	name := postgres.Quote(c.CDC.Publication)
	problem := &protocol.Error{
		Kind:    protocol.Config,
		Message: fmt.Sprintf("Publication %s does not exist in database %s.", c.CDC.Publication, c.Database),
		Hint: fmt.Sprintf("Run: CREATE PUBLICATION %s FOR TABLE <the tables to be read>; and make the replication slot "+
			"after it.",
			name),
	}
	err := postgres.Query(ctx, conn, publicationSQL, [][]byte{[]byte(c.CDC.Publication)}, func(v [][]byte) error {
		var lacks []string
		for i, what := range []string{"insert", "update", "delete"} {
			if v[i][0] != 't' {
				lacks = append(lacks, what)
			}
		}
		if problem = nil; len(lacks) > 0 {
			problem = &protocol.Error{
				Kind:    protocol.Config,
				Message: fmt.Sprintf("Publication %s does not publish %s.", c.CDC.Publication, strings.Join(lacks, " and ")),
				Hint:    fmt.Sprintf("Run: ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate');", name),
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return postgres.Explain(err, "look up the publication")
	case problem != nil:
		return problem
	}
	return nil
}

const identitiesSQL = `
SELECT c.oid::regclass
  FROM pg_publication_tables pt
  JOIN pg_namespace n ON n.nspname = pt.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = pt.tablename
 WHERE pt.pubname = $1
   AND (c.relreplident = 'n'
        OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))
 ORDER BY 1`

// warnIdentities names the published tables on which the server refuses updates and deletes, for anyone, because the
// log would not say which row they are about.
func warnIdentities(ctx context.Context, conn *pgconn.PgConn, c *config.Config) error {
	var tables []string
	err := postgres.Query(ctx, conn, identitiesSQL, [][]byte{[]byte(c.CDC.Publication)}, func(v [][]byte) error {
		tables = append(tables, string(v[0]))
		return nil
	})
	if err != nil {
		return postgres.Explain(err, "look up the replica identities")
	}
	if len(tables) > 0 {
		slog.Warn("published tables without a replica identity: the server refuses every UPDATE and DELETE on them; "+
			"give them a primary "+
			"key, or run for each: ALTER TABLE … REPLICA IDENTITY FULL;", "tables", strings.Join(tables, ", "))
	}
	return nil
}
