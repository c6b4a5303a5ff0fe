package main

import (
	"fmt"
	"slices"
)

// lengths are bytes in column pad: of such rows one or many fit into a block.
var lengths = []int{20, 600, 3000, 5000, 7500}

// many are so many rows that a few updates of all of them make the connector write a state.
const many = 4000

// change is a statement that writes some rows of some table, in a transaction that stays open or not. Rows that another
// transaction has locked are passed over.
func (w *workload) change(open bool) string {
	t := w.tables[w.rand.IntN(len(w.tables))]
	for open && t.calm {
		t = w.tables[w.rand.IntN(len(w.tables))]
	}
	n := w.rand.IntN(40)
	switch {
	case t.bank:
		return w.transfer(t)
	case n < 10:
		return w.insert(t, 1+w.rand.IntN(5))
	case n < 17:
		return "DELETE FROM " + t.name + w.some(t, 1+w.rand.IntN(6))
	case n < 20:
		return fmt.Sprintf("UPDATE %s SET id = %d, %s%s", t.name, w.newID(t), w.sets(t), w.some(t, 1))
	case n < 22:
		return w.swap(t)
	case n < 27 && t.parts > 0:
		return fmt.Sprintf("UPDATE %s SET shard = (shard + 1) %% %d, %s%s", t.name, t.parts, w.sets(t), w.some(t, 2))
	case n < 28 && t.rows >= many:
		return fmt.Sprintf("UPDATE %s SET %s WHERE id IN (SELECT id FROM %[1]s FOR UPDATE SKIP LOCKED)", t.name, w.sets(t))
	case n < 28: // as much as a transaction of many rows
		return fmt.Sprintf("UPDATE %s SET %s WHERE id IN (SELECT id FROM %[1]s WHERE id %% 7 = %[3]d FOR UPDATE SKIP LOCKED)",
			t.name, w.sets(t), w.rand.IntN(7))
	case n < 29:
		return w.insert(t, t.rows/8)
	case n < 31: // what was written is undone, in a transaction of its own number
		return fmt.Sprintf("DO $$BEGIN BEGIN UPDATE %s SET %s%s; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; "+
			"END; END$$", t.name, w.sets(t), w.some(t, 3))
	case n < 32: // a subtransaction for each row
		return fmt.Sprintf("DO $$BEGIN FOR i IN 1..20 LOOP BEGIN UPDATE %s SET %s%s; EXCEPTION WHEN raise_exception "+
			"THEN NULL; END; END LOOP; END$$", t.name, w.sets(t), w.some(t, 1))
	case n < 33:
		return w.emptied(t)
	}
	return "UPDATE " + t.name + " SET " + w.sets(t) + w.some(t, 1+w.rand.IntN(12))
}

// sets are the new values of an update. A new length makes rows move.
func (w *workload) sets(t *table) string {
	version := w.next()
	sql := fmt.Sprintf("version = %d, at = %s", version, t.stamp)
	if w.rand.IntN(2) == 0 {
		sql += fmt.Sprintf(", pad = repeat('x', %d)", w.pad(t))
	}
	if t.toast && w.rand.IntN(3) == 0 {
		sql += ", big = " + t.big(version)
	}
	return sql
}

func (w *workload) pad(t *table) int {
	if !t.ballast {
		return 20
	}
	return lengths[w.rand.IntN(len(lengths))]
}

// some is the condition for n rows from some id on.
func (w *workload) some(t *table, n int) string {
	return fmt.Sprintf(" WHERE id IN (SELECT id FROM %s WHERE id >= %d ORDER BY id LIMIT %d FOR UPDATE SKIP LOCKED)",
		t.name, w.rand.IntN(t.rows+20), n)
}

// newID is an id for a row: often one that a deleted row has had.
func (w *workload) newID(t *table) int64 {
	if w.rand.IntN(2) == 0 {
		return 1 + w.rand.Int64N(int64(t.rows))
	}
	w.ids++
	return w.ids
}

func (w *workload) insert(t *table, n int) string {
	version, first := w.next(), w.newID(t)
	w.ids = max(w.ids, first+int64(n))
	shard := "0"
	if t.parts > 0 {
		shard = fmt.Sprintf("(n + %d) %% %d", w.rand.IntN(t.parts), t.parts)
	}
	sql := fmt.Sprintf("INSERT INTO %s (id, version, shard, pad, big) SELECT n, %d, %s, repeat('x', %d), %s "+
		"FROM generate_series(%d::int, %d) AS n ON CONFLICT ", t.name, version, shard, w.pad(t), t.big(version), first,
		first+int64(n)-1)
	if t.parts > 0 || t.identity == "INDEX" || w.rand.IntN(2) == 0 {
		return sql + "DO NOTHING"
	}
	return sql + fmt.Sprintf("(id) DO UPDATE SET version = excluded.version, at = %s", t.stamp)
}

// swap gives two rows each other's key.
func (w *workload) swap(t *table) string {
	a, b, version := 1+w.rand.IntN(t.rows), 1+w.rand.IntN(t.rows), w.next()
	if a == b || t.parts > 0 {
		return "SELECT 1"
	}
	w.ids++
	return fmt.Sprintf("UPDATE %[1]s SET id = %[4]d, version = %[5]d, at = %[6]s WHERE id = %[2]d; "+
		"UPDATE %[1]s SET id = %[2]d, version = %[5]d, at = %[6]s WHERE id = %[3]d; "+
		"UPDATE %[1]s SET id = %[3]d, version = %[5]d, at = %[6]s WHERE id = %[4]d",
		t.name, a, b, w.ids, version, t.stamp)
}

// transfer moves something from one row to another: what all of them have stays the same.
func (w *workload) transfer(t *table) string {
	a, b := 1+w.rand.IntN(t.rows), 1+w.rand.IntN(t.rows)
	if a == b {
		return "SELECT 1"
	}
	return fmt.Sprintf("UPDATE %s SET version = %d, at = %s, bal = bal + CASE id WHEN %d THEN %d ELSE -%[5]d END "+
		"WHERE id IN (%[4]d, %[6]d)", t.name, w.next(), t.stamp, a, 1+w.rand.IntN(9), b)
}

// emptied deletes rows from the end of the table, whose blocks a VACUUM may then cut off.
func (w *workload) emptied(t *table) string {
	return fmt.Sprintf("DELETE FROM %s WHERE id IN (SELECT id FROM %[1]s WHERE id > %d ORDER BY id DESC LIMIT 50 "+
		"FOR UPDATE SKIP LOCKED)", t.name, t.rows)
}

// alter changes a table in a way that does not matter to those who read it, and some rows in the same transaction,
// which ends at once: nobody else can use the table meanwhile.
func (w *workload) alter(t *table) string {
	statements := []string{
		"ALTER TABLE %s ADD COLUMN extra int DEFAULT 7", "ALTER TABLE %s DROP COLUMN extra",
		"ALTER TABLE %s RENAME COLUMN extra TO other", "ALTER TABLE %s DROP COLUMN IF EXISTS other",
		"ALTER TABLE %s ALTER at SET STATISTICS 50", "CREATE INDEX %[1]s_extra ON %[1]s (version)",
		"DROP INDEX IF EXISTS %s_extra", "ALTER TABLE %s ALTER version SET DEFAULT 0",
	}
	if t.toast && t.identity == "" {
		statements = append(statements, "ALTER TABLE %s REPLICA IDENTITY FULL", "ALTER TABLE %s REPLICA IDENTITY DEFAULT")
	}
	how := []string{"COMMIT", "COMMIT", "ROLLBACK"}[w.rand.IntN(3)]
	what := fmt.Sprintf(statements[w.rand.IntN(len(statements))], t.name)
	return fmt.Sprintf("BEGIN; %s; %s; %s", what, w.change(false), how)
}

// maintenance is what administrators do, if it gets the lock that it needs; "" is the end of a prepared transaction.
func (w *workload) maintenance() string {
	t := w.tables[w.rand.IntN(len(w.tables))]
	if parted := slices.IndexFunc(w.tables, func(t *table) bool { return t.parts > 0 }); parted >= 0 &&
		w.rand.IntN(6) == 0 && !w.without["ddl"] {
		return w.passing(w.tables[parted])
	}
	part, index := t.name, t.name+"_pkey"
	if t.parts > 0 {
		part = fmt.Sprintf("%s_%d", t.name, w.rand.IntN(t.parts))
		index = part + "_pkey"
	}
	if t.identity == "INDEX" {
		index = t.name + "_id_key"
	}
	statements := []string{
		"", "", "VACUUM " + t.name, "ANALYZE " + t.name, "VACUUM (FREEZE) " + t.name, "CHECKPOINT",
		"SELECT pg_switch_wal()", "SELECT pg_logical_emit_message(true, 'chaos', 'm')",
	}
	if !w.without["ddl"] {
		statements = append(statements, "VACUUM FULL "+part, "VACUUM FULL "+part, "CLUSTER "+part+" USING "+index,
			"REINDEX TABLE "+part, w.alter(t), w.alter(t))
	}
	return statements[w.rand.IntN(len(statements))]
}

// passing attaches a partition and lets rows move to it, or detaches it when its rows are gone; in one transaction.
func (w *workload) passing(t *table) string {
	return fmt.Sprintf(`DO $$BEGIN
		IF to_regclass('%[1]s_passing') IS NULL THEN
			CREATE TABLE %[1]s_passing (LIKE %[1]s INCLUDING ALL);
			ALTER TABLE %[1]s ATTACH PARTITION %[1]s_passing FOR VALUES IN (%[2]d);
			UPDATE %[1]s SET shard = %[2]d, %[3]s%[4]s;
		ELSE
			DELETE FROM %[1]s WHERE shard = %[2]d;
			ALTER TABLE %[1]s DETACH PARTITION %[1]s_passing;
			DROP TABLE %[1]s_passing;
		END IF;
	END$$`, t.name, t.parts, w.sets(t), w.some(t, 20))
}
