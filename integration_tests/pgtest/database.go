package pgtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Database is one database of a server, made for one test. Goroutines may share it: its methods take turns on one
// connection. A test that needs sessions of its own calls Connect.
type Database struct {
	*Server
	Name string

	mu    sync.Mutex
	conn  *pgx.Conn // opened on first use, and again after it broke
	roles []string  // dropped with the database
}

// A Role is a role that can log in; it belongs to one Database and is dropped with it.
type Role struct{ Name, Password string }

// NewDatabase makes a database with a unique name that begins with name. The options are appended to CREATE DATABASE:
// "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'".
func (s *Server) NewDatabase(ctx context.Context, name string, options ...string) (*Database, error) {
	d := &Database{Server: s, Name: unique(name)}
	sql := "CREATE DATABASE " + quote(d.Name) + " " + strings.Join(options, " ")
	if err := s.admin(ctx, sql); err != nil {
		return nil, fmt.Errorf("create database %s: %w", d.Name, err)
	}
	return d, nil
}

// URL is the database's address, with the superuser's name and password.
func (d *Database) URL() string { return d.Server.URL(d.Name) }

// Connect opens another connection as superuser; the caller closes it before the database is dropped.
func (d *Database) Connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, d.URL())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", d.Name, err)
	}
	return conn, nil
}

// Exec runs sql as superuser. Without args it may hold several statements, which are one transaction unless they say
// otherwise; with args ($1, ...) it is one statement.
func (d *Database) Exec(ctx context.Context, sql string, args ...any) error {
	_, err := d.Query(ctx, sql, args...)
	return err
}

// Query runs sql as Exec does, and gives the rows of its last statement, every value as PostgreSQL's text. NULL is the
// empty string; a query that has to tell the two apart says so in SQL.
func (d *Database) Query(ctx context.Context, sql string, args ...any) ([][]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	pg := d.conn.PgConn()
	var results []*pgconn.Result
	var err error
	if len(args) == 0 {
		results, err = pg.Exec(ctx, sql).ReadAll()
	} else {
		result := pg.ExecParams(ctx, sql, texts(args), nil, nil, nil).Read()
		results, err = []*pgconn.Result{result}, result.Err
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", sql, err)
	}
	if len(results) == 0 {
		return nil, nil
	}
	var rows [][]string
	for _, values := range results[len(results)-1].Rows {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// Value runs sql as Query does and gives the first value of its first row; no row is an error.
func (d *Database) Value(ctx context.Context, sql string, args ...any) (string, error) {
	rows, err := d.Query(ctx, sql, args...)
	if err != nil {
		return "", err
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return "", fmt.Errorf("run %s: it gave no value", sql)
	}
	return rows[0][0], nil
}

// Await runs the query again and again until its first value is true. It gives up when ctx does, or after a minute.
func (d *Database) Await(ctx context.Context, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return poll(ctx, func() (bool, error) {
		value, err := d.Value(ctx, query, args...)
		return value == "t", err
	})
}

// NewRole makes a role that can log in, with a unique name that begins with name and a random password. The options are
// appended to CREATE ROLE: "REPLICATION". It may use nothing but what PUBLIC may.
func (d *Database) NewRole(ctx context.Context, name string, options ...string) (Role, error) {
	r := Role{Name: unique(name), Password: random(12)}
	err := d.Exec(ctx, "CREATE ROLE "+quote(r.Name)+" LOGIN PASSWORD '"+r.Password+"' "+strings.Join(options, " "))
	if err != nil {
		return Role{}, fmt.Errorf("create role %s: %w", r.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roles = append(d.roles, r.Name)
	return r, nil
}

// Drop removes the database with everything that would be in the way: prepared transactions, sessions, replication
// slots; then its roles.
func (d *Database) Drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	prepared, err := d.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
	if err != nil {
		return fmt.Errorf("drop database: %w", err)
	}
	for _, row := range prepared {
		if err := d.Exec(ctx, "ROLLBACK PREPARED "+literal(row[0])); err != nil {
			return fmt.Errorf("drop database: %w", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.conn.Close(ctx); err != nil {
		return fmt.Errorf("drop database: %w", err)
	}
	// A session that was told to end holds its slot and its database a moment longer.
	var last error
	err = poll(ctx, func() (bool, error) {
		last = d.drop(ctx)
		var refused *pgconn.PgError
		if errors.As(last, &refused) && refused.Code == "55006" { // object_in_use
			return false, nil
		}
		return true, last
	})
	if err != nil {
		return fmt.Errorf("drop database %s: %w", d.Name, errors.Join(err, last))
	}
	for _, role := range d.roles {
		if err := d.admin(ctx, "DROP ROLE "+quote(role)); err != nil {
			return fmt.Errorf("drop role %s: %w", role, err)
		}
	}
	return nil
}

// drop tries once.
func (d *Database) drop(ctx context.Context) error {
	return d.admin(ctx,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "+literal(d.Name),
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = "+literal(d.Name),
		"DROP DATABASE "+quote(d.Name))
}

// open makes sure that there is a connection. It is called with mu held.
func (d *Database) open(ctx context.Context) (err error) {
	if d.conn == nil || d.conn.IsClosed() {
		d.conn, err = d.Connect(ctx)
	}
	return err
}

// admin runs statements, each by itself, on a new connection to the database postgres.
func (s *Server) admin(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the server: %w", err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}

// poll calls done until it says true or fails.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// texts gives the arguments as PostgreSQL's text: nil is NULL, bytes stay as they are.
func texts(args []any) [][]byte {
	values := make([][]byte, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case nil:
		case []byte:
			values[i] = v
		default:
			values[i] = fmt.Append([]byte{}, v)
		}
	}
	return values
}

// unique is name, shortened to leave room for a random suffix: PostgreSQL's names have at most 63 bytes.
func unique(name string) string {
	const suffix = 5
	name = strings.ToValidUTF8(name[:min(len(name), 62-2*suffix)], "")
	return name + "_" + random(suffix)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes text as an SQL string (standard_conforming_strings is on).
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
