package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// A checksum is computed on both sides: by the server over a column, and here over the JSON of the column's values.
type checksum struct {
	column string
	kind   string
	sql    string // a format that takes the column
	here   func(values []string) (string, error)
}

// columnSum has four decimal places, as many as any column of schema.sql.
func columnSum(column string) checksum {
	return checksum{column, "sum", "round(sum(%s), 4)", sum}
}

func columnDigest(column string) checksum {
	return checksum{column, "md5", `md5(string_agg(%[1]s, '|' ORDER BY %[1]s COLLATE "C"))`, digest}
}

// checksums has one for every stream.
var checksums = map[string]checksum{
	"customers":     columnDigest("name"),
	"invoices":      columnSum("total"),
	"open_invoices": columnDigest("customer"),
	"plans":         columnSum("monthly"),
	"subscriptions": columnSum("seats"),
	"usage_events":  columnSum("amount"),
}

// compare looks at every table and view that the server has, not only at those that the connector found.
func compare(ctx context.Context, d *demo) error {
	relations, err := d.db.Query(ctx, `SELECT relname FROM pg_class
		WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'v') ORDER BY relname`, billing)
	if err != nil {
		return err
	}
	d.note(fmt.Sprintf("%-14s %10s %10s   %s", "stream", "records", "count(*)", "checksum of the column"))
	var wrong []error
	for _, row := range relations {
		problems, err := d.compareStream(ctx, row[0])
		if err != nil {
			return err
		}
		wrong = append(wrong, problems...)
	}
	return errors.Join(wrong...)
}

// compareStream shows one stream's comparison and gives what is wrong with it.
func (d *demo) compareStream(ctx context.Context, name string) (wrong []error, err error) {
	t, c := d.tallies[name], checksums[name]
	if t == nil {
		t = &tally{}
	}
	there, err := d.db.Query(ctx, fmt.Sprintf("SELECT count(*), "+c.sql+" FROM %[2]s.%[3]s", c.column, billing, name))
	if err != nil {
		return nil, err
	}
	count, want := there[0][0], there[0][1]
	got, err := c.here(t.values)
	if err != nil {
		return nil, fmt.Errorf("%s of %s.%s: %w", c.kind, name, c.column, err)
	}
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf(name+": "+format, args...))
	}
	rows, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", name, err)
	}
	if t.records != rows {
		complain("the table has %d rows, %d records arrived", rows, t.records)
	}
	if got != want {
		complain("%s(%s) is %s in the table, %s in the records", c.kind, c.column, want, got)
	}
	if t.covered != t.records {
		complain("%d records arrived, the states count %d", t.records, t.covered)
	}
	if t.status != "COMPLETE" {
		complain("its last status is %q, not COMPLETE", t.status)
	}
	verdict := d.paint(green, "equal")
	if len(wrong) > 0 {
		verdict = d.paint(red, "WRONG")
	}
	d.printf("  %-14s %10s %10s   %-40s %s\n",
		name, grouped(t.records), grouped(rows), fmt.Sprintf("%s(%s) = %.20s", c.kind, c.column, got), verdict)
	return wrong, nil
}

// sum adds JSON numbers, exactly.
func sum(values []string) (string, error) {
	total := new(big.Rat)
	for _, value := range values {
		n, ok := new(big.Rat).SetString(value)
		if !ok {
			return "", fmt.Errorf("%s is not a number", value)
		}
		total.Add(total, n)
	}
	return total.FloatString(4), nil
}

// digest is the MD5 of the texts of JSON strings, in the order of their bytes, joined as columnDigest's SQL joins them.
func digest(values []string) (string, error) {
	texts := make([]string, len(values))
	for i, value := range values {
		if err := json.Unmarshal([]byte(value), &texts[i]); err != nil {
			return "", fmt.Errorf("%s is not a string: %w", value, err)
		}
	}
	slices.Sort(texts)
	hash := md5.Sum([]byte(strings.Join(texts, "|")))
	return hex.EncodeToString(hash[:]), nil
}
