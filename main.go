// Source-postgres is a PostgreSQL source connector that speaks the Airbyte protocol.
package main

import (
	"context"
	_ "embed"
	"os"

	"source-postgres/protocol"
	"source-postgres/source"
)

//go:embed spec.json
var spec []byte

func main() {
	limitMemory("/")
	stop := protocol.Profile()
	code := protocol.Run(protocol.WithSignals(context.Background()), os.Args[1:], os.Stdout, spec, source.Source{})
	stop()
	os.Exit(code)
}
