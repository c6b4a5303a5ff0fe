package postgres

import (
	"slices"
	"strings"
	"testing"

	"source-postgres/source/config"
)

func TestBeginSQL(t *testing.T) {
	sql := beginSQL("", nil, 150000, "UTF8")
	if !strings.HasPrefix(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_catalog.set_config(") {
		t.Error(sql)
	}
	for _, want := range []string{
		"('client_encoding', 'UTF8')", "('extra_float_digits', '1')", "s.value, true)",
		"('statement_timeout', '0')", "('DateStyle', 'ISO, MDY')",
	} {
		if !strings.Contains(sql, want) {
			t.Errorf("no %s in %s", want, sql)
		}
	}
	user := []config.Setting{{Name: "Statement_Timeout", Value: "5s"}, {Name: "app.x", Value: `it's\`}}
	sql = beginSQL("0001-'2", user, 110000, "SQL_ASCII")
	const head = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '0001-''2'; " +
		`SELECT pg_catalog.set_config('Statement_Timeout', '5s', true); ` +
		`SELECT pg_catalog.set_config('app.x', E'it''s\\', true); SELECT `
	if !strings.HasPrefix(sql, head) {
		t.Error(sql)
	}
	if strings.Contains(sql, "('statement_timeout'") || !strings.Contains(sql, "('lock_timeout'") ||
		!strings.Contains(sql, "('client_encoding', 'SQL_ASCII')") || !strings.Contains(sql, "('extra_float_digits', '3')") {
		t.Error(sql)
	}
}

func TestPinnedLeavesShapeAlone(t *testing.T) {
	before := slices.Clone(shape)
	pinned(100000, "SQL_ASCII")
	if !slices.Equal(before, shape) {
		t.Error("pinned changed the settings of every other session")
	}
}

func TestIsShape(t *testing.T) {
	if !isShape("timezone") || !isShape("BYTEA_OUTPUT") || isShape("statement_timeout") {
		t.Error("isShape")
	}
}
