package postgres

import (
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Version is the server's version as server_version_num writes it: 150018 for 15.18, 90624 for 9.6.24. It is 0 where
// the server says nothing that can be understood.
func Version(conn *pgconn.PgConn) int {
	return versionNumber(conn.ParameterStatus("server_version"))
}

// versionNumber reads server_version, which packagers extend at will: "15.18 (Debian 15.18-0+deb12u1)", "18beta1".
func versionNumber(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(text)
	}
	var parts [3]int
	for i, part := range strings.SplitN(text[:end], ".", 4) {
		if i < len(parts) {
			parts[i], _ = strconv.Atoi(part)
		}
	}
	if parts[0] >= 10 {
		return parts[0]*10000 + parts[1]
	}
	return parts[0]*10000 + parts[1]*100 + parts[2]
}

// Encoding is the encoding of the database that conn is connected to, for example UTF8 or SQL_ASCII.
func Encoding(conn *pgconn.PgConn) string {
	return conn.ParameterStatus("server_encoding")
}
