// Package codec turns values in PostgreSQL's wire formats, text and binary, into JSON.
//
// A Map knows the types of one database and says for each of them how it appears to Airbyte (Type): its schema, and
// the functions that append one value to a byte slice. An Object puts the values of a row together. Nothing on the
// way from a row to its JSON allocates or goes through a Go value: the digits that PostgreSQL prints are the digits
// of the record.
//
// Both formats of one value give the same bytes of JSON, provided that the session prints what these settings make
// it print: DateStyle ISO, IntervalStyle postgres, bytea_output hex, extra_float_digits 1, lc_monetary C,
// client_encoding UTF8. TimeZone UTC is the fast case; other zones are converted.
//
// To add a built-in type, add its row in builtin.go, cases to testdata/types.txt and a line to docs/types.md.
package codec
