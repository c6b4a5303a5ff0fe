package postgres

import "strings"

// Quote writes a name of one or more parts as SQL: Quote("a", `b"c`) is "a"."b""c". Whatever stands in the parts, the
// result is that name and nothing else; NUL, which no name can hold, is left out.
func Quote(parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(withoutNUL(part), `"`, `""`))
		b.WriteByte('"')
	}
	return b.String()
}

// Literal writes s as an SQL string constant that means s whether standard_conforming_strings is on or off. NUL,
// which no text can hold, is left out. Replication commands have a grammar of their own: see ReplicationLiteral.
func Literal(s string) string {
	if strings.ContainsRune(s, '\\') {
		return "E" + ReplicationLiteral(strings.ReplaceAll(s, `\`, `\\`))
	}
	return ReplicationLiteral(s)
}

// ReplicationLiteral writes s as a string in a replication command (START_REPLICATION and the like), where a
// backslash is always itself and E” does not exist. NUL is left out.
func ReplicationLiteral(s string) string {
	return "'" + strings.ReplaceAll(withoutNUL(s), "'", "''") + "'"
}

func withoutNUL(s string) string { return strings.ReplaceAll(s, "\x00", "") }
