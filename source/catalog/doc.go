// Package catalog knows what the database has: tables, columns, keys, types, and where a table's rows lie on disk. It
// is read in two queries, however many tables there are.
package catalog
