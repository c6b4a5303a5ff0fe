package cdc

import (
	"context"
	"encoding/hex"
	"slices"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"source-postgres/source/postgres"
)

// A charset turns texts of a database encoding that has one byte for a character into UTF-8. Some of these encodings
// leave bytes undefined, which databases have all the same. The server refuses to send those as UTF-8, and with them
// the log for as long as it has them; so there it is asked for texts as they are stored. A nil charset changes nothing.
type charset struct {
	name       string
	characters [128]string // of the bytes from 128 on
}

// undefined are the bytes that encodings leave undefined.
//
// Source: src/backend/utils/mb/Unicode of PostgreSQL.
var undefined = map[string]string{
	"LATIN3":     "a5aebec3d0e3f0",
	"ISO_8859_6": "a1a2a3a5a6a7a8a9aaabaeafb0b1b2b3b4b5b6b7b8b9babcbdbec0dbdcdddedff3f4f5f6f7f8f9fafbfcfdfeff",
	"ISO_8859_7": "aed2ff",
	"ISO_8859_8": "a1bfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddefbfcff",
	"WIN874":     "81828384868788898a8b8c8d8e8f9098999a9b9c9d9e9fdbdcdddefcfdfeff",
	"WIN1250":    "8183889098",
	"WIN1251":    "98",
	"WIN1252":    "818d8f909d",
	"WIN1253":    "81888a8c8d8e8f90989a9c9d9e9faad2ff",
	"WIN1254":    "818d8e8f909d9e",
	"WIN1255":    "818a8c8d8e8f909a9c9d9e9fcad9dadbdcdddedffbfcff",
	"WIN1257":    "8183888a8c90989a9c9fa1a5",
	"WIN1258":    "818a8d8e8f909a9d9e",
}

// loadCharset asks for the characters of the database's encoding; nil if it leaves none undefined.
func loadCharset(ctx context.Context, conn *pgconn.PgConn) (*charset, error) {
	c := &charset{name: postgres.Encoding(conn)}
	holes, err := hex.DecodeString(undefined[c.name])
	if err != nil || len(holes) == 0 {
		return nil, err
	}
	var defined []byte
	for b := 128; b < 256; b++ {
		c.characters[b-128] = "\xff" // no UTF-8, which the record says
		if !slices.Contains(holes, byte(b)) {
			defined = append(defined, byte(b))
		}
	}
	args := [][]byte{[]byte(hex.EncodeToString(defined)), []byte(c.name)}
	err = postgres.Query(ctx, conn, "SELECT convert_from(decode($1, 'hex'), $2)", args, func(v [][]byte) error {
		for text := v[0]; len(text) > 0 && len(defined) > 0; defined = defined[1:] {
			_, size := utf8.DecodeRune(text)
			c.characters[defined[0]-128], text = string(text[:size]), text[size:]
		}
		return nil
	})
	return c, postgres.Explain(err, "look up the characters of the database's encoding")
}

// utf8 is text in UTF-8: text itself where it is the same, else a copy.
func (c *charset) utf8(text []byte) []byte {
	if c == nil {
		return text
	}
	first := slices.IndexFunc(text, func(b byte) bool { return b >= utf8.RuneSelf })
	if first < 0 {
		return text
	}
	converted := append(make([]byte, 0, len(text)+len(text)/4+8), text[:first]...)
	for _, b := range text[first:] {
		if b < utf8.RuneSelf {
			converted = append(converted, b)
		} else {
			converted = append(converted, c.characters[b-128]...)
		}
	}
	return converted
}
