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
	"source-postgres/source/state"
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
		f.report(slot, c)
		problems = append(problems, slot.free(c))
	}
	err = checkPublication(ctx, conn, c)
	problems = append(problems, err)
	if err == nil {
		problems = append(problems, warnTables(ctx, conn, c))
	}
	replication, err := server.Replicate(ctx)
	if err == nil {
		postgres.Close(replication)
	}
	return errors.Join(append(problems, err)...)
}

// Ready finds the slot, and what keeps the log from being read on from a state, which may be nil. conn may be in a
// transaction.
func Ready(ctx context.Context, conn *pgconn.PgConn, c *config.Config, from *state.Log) (*Slot, error) {
	f, err := gather(ctx, conn)
	if err != nil {
		return nil, err
	}
	if problems := f.log(); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	slot, err := LookUp(ctx, conn, c)
	if err == nil {
		f.report(slot, c)
	}
	return slot, errors.Join(slot.reach(err, from), checkPublication(ctx, conn, c))
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
	if fixed := fixedIn(f.version); f.version < fixed {
		slog.Warn("this version of PostgreSQL can leave changes out of the log of a table that is being added to a "+
			"publication, without a word: update the server; until then add tables while nobody writes to them",
			"version", fmt.Sprintf("%d.%d", f.version/10000, f.version%10000),
			"fixed_in", fmt.Sprintf("%d.%d", fixed/10000, fixed%10000))
	}
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

// fixedIn is the release of a major version from which on a transaction that was open during ALTER PUBLICATION … ADD
// TABLE is in the log. Source: PostgreSQL release notes of May 2025. Version 12 and earlier were not mended.
func fixedIn(version int) int {
	minor, mended := map[int]int{13: 21, 14: 18, 15: 13, 16: 9, 17: 5}[version/10000]
	switch {
	case mended:
		return version/10000*10000 + minor
	case version < 130000:
		return 130021
	}
	return 0
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

// report says how much log the slot keeps, and warns if that is nearly too much.
func (f *facts) report(s *Slot, c *config.Config) {
	slog.Info("replication slot", "slot", c.CDC.Slot, "confirmed", s.Confirmed, "wal_retained_bytes", s.Retained)
	if f.keep > 0 && s.Retained > f.keep/10*8 || s.Status == "unreserved" {
		slog.Warn("the replication slot is about to be lost: it keeps nearly as much log as max_slot_wal_keep_size allows; "+
			"synchronise now, or raise it",
			"slot", c.CDC.Slot, "wal_retained_bytes", s.Retained, "max_slot_wal_keep_size", f.keep)
	}
}

// free says that nobody is using the slot at this moment.
func (s *Slot) free(c *config.Config) error {
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

// The server goes by each partition, also where the changes are published as those of the root. From version 18 on the
// old row that FULL puts into the log must not lack generated columns. The row of the view is taken for JSON because
// attnames came with version 15.
const publishedSQL = `
WITH RECURSIVE published (oid, attnames, listed) AS (
  SELECT c.oid, to_jsonb(pt)->'attnames', true
    FROM pg_publication_tables pt
    JOIN pg_namespace n ON n.nspname = pt.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = pt.tablename
   WHERE pt.pubname = $1
  UNION
  SELECT i.inhrelid, pt.attnames, false
    FROM published pt
    JOIN pg_inherits i ON i.inhparent = pt.oid
    JOIN pg_class root ON root.oid = pt.oid AND root.relkind = 'p'
)
SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text) FILTER (WHERE c.relreplident = 'n'
         OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                   AND i.indimmediate)),
       string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text)
         FILTER (WHERE current_setting('server_version_num')::int >= 180000 AND c.relreplident = 'f' AND EXISTS (
           SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> ''
              AND NOT pt.attnames ? a.attname::text)),
       string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text)
         FILTER (WHERE pt.listed AND c.relrowsecurity AND row_security_active(c.oid))
  FROM published pt JOIN pg_class c ON c.oid = pt.oid`

// warnTables names the published tables on which the server refuses updates and deletes, for anyone, because the log
// would not say which row they are about, and those that cannot be streams because the log knows of no policies.
func warnTables(ctx context.Context, conn *pgconn.PgConn, c *config.Config) error {
	var unidentified, generated, filtered string
	err := postgres.Query(ctx, conn, publishedSQL, [][]byte{[]byte(c.CDC.Publication)}, func(v [][]byte) error {
		unidentified, generated, filtered = string(v[0]), string(v[1]), string(v[2])
		return nil
	})
	if err != nil {
		return postgres.Explain(err, "look up the published tables")
	}
	if unidentified != "" {
		slog.Warn("published tables without a replica identity: the server refuses every UPDATE and DELETE on them; "+
			"give them a primary key, or run for each: ALTER TABLE … REPLICA IDENTITY FULL;", "tables", unidentified)
	}
	if generated != "" {
		slog.Warn("published tables with REPLICA IDENTITY FULL and generated columns that are not published: the server "+
			"refuses every UPDATE and DELETE on them; run: ALTER PUBLICATION "+postgres.Quote(c.CDC.Publication)+
			" SET (publish_generated_columns = stored); or, where they are virtual, give the tables a primary key",
			"tables", generated)
	}
	if filtered != "" {
		slog.Warn("row-level security hides rows of published tables from the user, but not in the log: they cannot be read "+
			"incrementally; run: ALTER ROLE "+postgres.Quote(c.Username)+" BYPASSRLS;", "tables", filtered)
	}
	return nil
}
