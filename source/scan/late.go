package scan

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"

	"source-postgres/source/postgres"
	"source-postgres/source/state"
)

// advances compares the cursor with the last value, parameter 1, for rows that are new by their cursor.
func advances(last *state.Cursor) string {
	if last.Partial {
		return " >= $1"
	}
	return " > $1"
}

// due is the condition for the rows that are due after last. late is the one for rows written since its snapshot,
// which are due whatever their cursor, as far back as lowest goes: transactions commit in another order than that in
// which they take their values. A value like infinity, above which nothing can be, never becomes the bound; a row that
// has it is due when it has been written since, or when the last reading stopped before it came to such rows.
func (p *progress) due(last *state.Cursor, late string) condition {
	c := condition{}
	column := postgres.Quote(p.Cursor.Name)
	finite := p.finite()
	newer := column + " IS NOT NULL"
	if last.Value != nil {
		c.add(*last.Value, p.Cursor.WireOID)
		newer = column + advances(last)
	}
	switch {
	case late == noRow:
		c.sql = newer
		return c
	case finite != "" && !last.Partial:
		newer += " AND " + finite
	}
	if late == everyRow {
		late = "true"
	}
	either := "((" + newer + ") OR " + late + ")"
	lowest := p.lowest(last, &c)
	if lowest == "" {
		c.sql = column + " IS NOT NULL AND " + either
		return c
	}
	c.sql = column + " >= " + lowest + " AND " + either
	return c
}

// add gives the condition another parameter, and its name in SQL.
func (c *condition) add(value string, oid uint32) string {
	c.args, c.types = append(c.args, []byte(value)), append(c.types, oid)
	return "$" + strconv.Itoa(len(c.args))
}

// finite is the condition for cursor values above which others can be; "" where every value is one.
func (p *progress) finite() string {
	switch p.Cursor.WireOID {
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.Float4OID, pgtype.Float8OID:
		column := postgres.Quote(p.Cursor.Name)
		return fmt.Sprintf("%s < 'infinity' AND %s > '-infinity'", column, column)
	case pgtype.NumericOID:
		// 'NaN' is above 'Infinity', which only version 14 knows; no other value has an exponent beyond what text can show.
		return postgres.Quote(p.Cursor.Name) + "::text !~ '^-?[IN]'"
	}
	return ""
}

// lowest is the SQL for the value down to which late rows are looked for after last, whose Value is parameter 1 of c;
// "" where there is no end to it. It lies the lookback below that value, or below the one from which on rows of
// transactions can be that had written to the table and were open.
func (p *progress) lowest(last *state.Cursor, c *condition) string {
	rows, seconds := p.Lookback.Rows, p.Lookback.Seconds
	from, param := last.Value, "$1"
	if last.Late != nil && !p.lookbackOff() {
		if from = last.Late.From; from != nil {
			param = c.add(*from, p.Cursor.WireOID)
		}
	}
	if from == nil {
		return ""
	}
	switch p.Cursor.WireOID {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		n, err := strconv.ParseInt(*from, 10, 64)
		least := map[uint32]int64{
			pgtype.Int2OID: -1 << 15, pgtype.Int4OID: -1 << 31, pgtype.Int8OID: -1 << 63,
		}[p.Cursor.WireOID]
		if err != nil || n < least+rows {
			n = least + rows
		}
		return c.add(strconv.FormatInt(n-rows, 10), p.Cursor.WireOID)
	case pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		return fmt.Sprintf("%s - %d", param, rows)
	case pgtype.DateOID:
		return notBefore(param, "date '4714-11-24 BC'", strconv.FormatInt((seconds+86399)/86400, 10))
	case pgtype.TimestampOID:
		return notBefore(param, "timestamp '4714-11-24 BC'", fmt.Sprintf("interval '%d seconds'", seconds))
	case pgtype.TimestamptzOID:
		return notBefore(param, "timestamptz '4714-11-24 00:00Z BC'", fmt.Sprintf("interval '%d seconds'", seconds))
	}
	return param
}

// lookbackOff reports that the setting that goes for the cursor's type is 0.
func (p *progress) lookbackOff() bool {
	switch p.Cursor.WireOID {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID,
		pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		return p.Lookback.Rows == 0
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return p.Lookback.Seconds == 0
	}
	return false
}

// notBefore is the SQL for a value less distance, or for least, the type's first value, where that is out of range.
func notBefore(value, least, distance string) string {
	return fmt.Sprintf("CASE WHEN %s < %s + %s THEN %[2]s ELSE %[1]s - %[3]s END", value, least, distance)
}

// open says from where on the rows can be of transactions that have written to the table and are open in the snapshot
// of s: they took their cursors after the last sync whose snapshot shows all that had begun by then. last is where the
// stream stood, nil before the first pass, of which nobody knows how long before it such a transaction had begun.
func (p *progress) open(last *state.Cursor, s *Session) *state.Late {
	switch {
	case !p.beingWritten(s):
		return nil
	case last == nil:
		return &state.Late{}
	}
	before, err := ParseSnapshot(last.Snapshot)
	switch {
	case err != nil:
		return &state.Late{}
	case s.Snapshot.Xmin < before.Xmax && last.Late != nil:
		return last.Late
	}
	return &state.Late{From: last.Value}
}

// beingWritten reports that a transaction that has written to the table may be open. It has kept the locks that it
// took for that, before its first row, which are the table's own or its parts'. A standby does not know of its
// primary's.
func (p *progress) beingWritten(s *Session) bool {
	if !p.Paged {
		return false
	}
	writing := s.Standby && s.Open || s.Written[p.Table.OID]
	for _, part := range p.Table.Storage.Parts {
		writing = writing || s.Written[part]
	}
	return writing
}

// age works out since when the oldest transaction that may still commit late has been open, and warns when that is
// longer ago than the lookback reaches.
func (w *worker) age(ctx context.Context, p *progress, last, then *state.Cursor) {
	s := w.session
	before, err := ParseSnapshot(last.Snapshot)
	switch {
	case err != nil:
		return
	case !s.Open:
	case s.Snapshot.Xmin <= before.Xmin:
		then.OpenSince = last.OpenSince
	case s.Snapshot.Xmin < before.Xmax:
		then.OpenSince = last.Time
	}
	if open := s.Time - then.OpenSince; p.Lookback.Seconds > 0 && open > p.Lookback.Seconds {
		slog.Warn("a transaction has been open for longer than cursor_lookback_seconds: rows that it gives the time of its "+
			"beginning may be missed, and what has been written since it wrote to the table is read again; end it, or raise "+
			"the setting", append([]any{"stream", p.Descriptor, "seconds_open", open}, s.holder(ctx, w.conn)...)...)
	}
}
