// Serve starts a PostgreSQL server as the tests in Go do, for tests in other languages. It prints one line of JSON that
// says where the server is, and stops it when its own standard input ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"source-postgres/integration_tests/pgtest"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func serve() (err error) {
	s, err := pgtest.Start(context.Background())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{
		"server": s.String(), "host": s.Host, "port": s.Port, "user": s.User, "password": s.Password, "inside": s.Inside,
		"url": s.URL("postgres"),
	}); err != nil {
		return fmt.Errorf("say where the server is: %w", err)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	if err != nil {
		return fmt.Errorf("wait for the end of standard input: %w", err)
	}
	return nil
}
