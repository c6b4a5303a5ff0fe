package catalog

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/source/postgres"
)

// A Storage says where the rows of a table lie: in the files of the table itself, of its partitions, and of the
// tables that inherit from it. A range of block numbers means those blocks of every part.
type Storage struct {
	Parts    []uint32 // the oids of the parts
	Filenode uint64   // identity of the files: changes when one of them is rewritten, truncated, added or taken away
	Blocks   []int64  // the number of blocks of each part, in ascending order
	Bytes    int64    // size on disk, TOAST included
	Rows     int64    // the planner's estimate

	filenodes []uint64 // of each part
}

// Loaded reports whether blocks of the table can be read by number: all parts are heaps that are there.
func (s *Storage) Loaded() bool { return s != nil && len(s.Parts) > 0 }

// storageSQL lists the parts with storage of the relations in $1. The first column is the relation that was asked
// for. Source: PostgreSQL documentation: pg_inherits (partitions and inheritance children alike), Database Object
// Size Functions; oid 2 is the heap access method.
//
// The size functions lock the table, if only for a moment: one that another session has locked, or waits to lock,
// would keep all streams waiting. The planner's number of pages does for such a table: it decides only into how many
// ranges the table is cut.
const storageSQL = `
WITH RECURSIVE part (root, oid) AS (
  SELECT r, r FROM unnest($1::oid[]) AS r
  UNION
  SELECT part.root, i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
), locked AS (
  SELECT DISTINCT l.relation
    FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
   WHERE l.mode = 'AccessExclusiveLock'
), size AS (
  SELECT part.root, c.oid, c.relkind, c.relam, c.reltuples,
         CASE WHEN c.oid IN (SELECT relation FROM locked) THEN c.relpages * current_setting('block_size')::bigint
              ELSE pg_relation_size(c.oid) END AS main,
         CASE WHEN c.oid NOT IN (SELECT relation FROM locked) THEN pg_table_size(c.oid) END AS whole
    FROM part JOIN pg_class c ON c.oid = part.oid
   WHERE c.relkind <> 'p'
)
SELECT root, oid, relkind IN ('r', 'm') AND relam = 2, coalesce(pg_relation_filenode(oid), 0),
       coalesce(main / current_setting('block_size')::bigint, 0), coalesce(whole, main, 0), reltuples::bigint
  FROM size
 ORDER BY root, oid`

// LoadStorage sets the Storage of tables. A table one of whose parts is no heap (a foreign partition, say) gets one
// without parts: it can only be read as a whole.
func LoadStorage(ctx context.Context, conn *pgconn.PgConn, tables []*Table) error {
	byOID := make(map[uint32]*Table, len(tables))
	var oids []uint32
	for _, t := range tables {
		if t.Kind == View || t.Kind == Foreign {
			continue
		}
		byOID[t.OID] = t
		oids = append(oids, t.OID)
		t.Storage = &Storage{}
	}
	whole := map[uint32]bool{}
	err := postgres.Query(ctx, conn, storageSQL, [][]byte{oidArray(oids)}, func(v [][]byte) error {
		root := oid(v[0])
		s := byOID[root].Storage
		whole[root] = whole[root] || !isTrue(v[2])
		s.Parts = append(s.Parts, oid(v[1]))
		s.Blocks = append(s.Blocks, integer(v[4]))
		s.Bytes += integer(v[5])
		s.Rows += max(integer(v[6]), 0)
		s.filenodes = append(s.filenodes, uint64(oid(v[3])))
		return nil
	})
	if err != nil {
		return postgres.Explain(err, "look up where the tables are stored")
	}
	for root, t := range byOID {
		s := t.Storage
		slices.Sort(s.Blocks)
		s.Filenode = identity(s.Parts, s.filenodes)
		if whole[root] {
			s.Parts, s.filenodes = nil, nil
		}
	}
	return nil
}

// CurrentFilenode is what s.Filenode would be now. Asked after a statement that read the table, in the same
// transaction, it tells whether that statement read the files that s describes: its lock keeps them in place until
// the transaction ends, or until then, a statement that is run in the same round trip. A partition that has been
// dropped changes nothing about the others.
func (s *Storage) CurrentFilenode(ctx context.Context, conn *pgconn.PgConn, then string) (uint64, error) {
	now := slices.Clone(s.filenodes)
	i := 0
	sql := "SELECT pg_relation_filenode(p) FROM unnest('" + string(oidArray(s.Parts)) + "'::oid[]) " +
		"WITH ORDINALITY AS u (p, i) ORDER BY i; " + then
	err := postgres.Run(ctx, conn, sql, func(v [][]byte) {
		if v[0] != nil {
			now[i] = uint64(oid(v[0]))
		}
		i++
	})
	return identity(s.Parts, now), err
}

// Added are the parts that the table has got since its Filenode was that given; ok is false if the others are not
// just those that it had then. New tables have greater oids, unless they are attached long after they were made.
func (s *Storage) Added(filenode uint64) (parts []uint32, ok bool) {
	for n := len(s.filenodes); n > 0; n-- {
		if identity(s.Parts[:n], s.filenodes[:n]) == filenode {
			return s.Parts[n:], true
		}
	}
	return nil, filenode == s.Filenode
}

// identity is the filenode of a table that is one file, and for one of several parts a number made from all of
// theirs, small enough to survive a reader of JSON that keeps numbers as doubles.
func identity(parts []uint32, filenodes []uint64) uint64 {
	if len(filenodes) == 1 {
		return filenodes[0]
	}
	h := fnv.New64a()
	for i, f := range filenodes {
		h.Write(strconv.AppendUint(nil, uint64(parts[i]), 10))
		h.Write([]byte{':'})
		h.Write(strconv.AppendUint(nil, f, 10))
		h.Write([]byte{','})
	}
	return h.Sum64() >> 12
}
