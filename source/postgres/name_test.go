package postgres

import (
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for want, parts := range map[string][]string{
		`"a"`:          {"a"},
		`"a"."B c"`:    {"a", "B c"},
		`"x""; DROP "`: {`x"; DROP `},
		`"a\b"."'é"`:   {`a\b`, `'é`},
		`"ab"`:         {"a\x00b"},
		`""`:           {""},
	} {
		if got := Quote(parts...); got != want {
			t.Errorf("%q: %s", parts, got)
		}
	}
}

func TestLiteral(t *testing.T) {
	for s, want := range map[string]string{
		``: `''`, `a`: `'a'`, `it's`: `'it''s'`, `a\b`: `E'a\\b'`, `\'; DROP`: `E'\\''; DROP'`, "a\x00b": `'ab'`,
	} {
		if got := Literal(s); got != want {
			t.Errorf("%q: %s", s, got)
		}
	}
	if got := ReplicationLiteral(`p\'x`); got != `'p\''x'` {
		t.Error(got)
	}
}

// FuzzQuoting reads what was written by the rules of PostgreSQL's scanner and expects the same text.
func FuzzQuoting(f *testing.F) {
	for _, s := range []string{"", "a", `"`, `'`, `\`, `\'`, `""'\\`, "\x00", "é\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := strings.ReplaceAll(s, "\x00", "")
		if got, ok := scan(Quote(s), '"', false); !ok || got != want {
			t.Errorf("%q is written %s and read %q", s, Quote(s), got)
		}
		text := Literal(s)
		for _, escapes := range []bool{false, true} { // standard_conforming_strings on and off
			body, marked := strings.CutPrefix(text, "E")
			if got, ok := scan(body, '\'', marked || escapes); !ok || got != want {
				t.Errorf("%q is written %s and read %q", s, text, got)
			}
		}
		if got, ok := scan(ReplicationLiteral(s), '\'', false); !ok || got != want {
			t.Errorf("%q is read %q in a replication command", s, got)
		}
	})
}

// scan reads one quoted token that must be all of s.
func scan(s string, quote byte, escapes bool) (string, bool) {
	if len(s) < 2 || s[0] != quote {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote && i == len(s)-1:
			return b.String(), true
		case s[i] == quote && s[i+1] != quote:
			return "", false
		case s[i] == quote, escapes && s[i] == '\\':
			i++
			if i == len(s) {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}
