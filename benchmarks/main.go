// Benchmarks measures whole runs of the connector beside what PostgreSQL's own programs need for the same work, on a
// server that it starts for itself, and prints Markdown tables. README.md says what is measured and how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// A section measures one side of the connector, in a database of its own.
type section struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

var sections = []section{
	{"snapshot", snapshot},
	{"log", backlog},
	{"many", many},
	{"start", start},
	{"memory", memory},
	{"delay", delay},
	{"growth", growth},
	{"incremental", incremental},
	{"formats", formats},
}

// A bench is what the sections share.
type bench struct {
	rounds int
	scale  float64 // of the numbers of rows and tables
	report *report
	inside bool // in a network namespace of its own

	dir        string // of the connector and of the files that it is given
	connector  string // the binary
	programs   string // the directory of psql and pg_recvlogical
	server     *pgtest.Server
	postmaster int              // its process
	db         *pgtest.Database // of the section that is running
	host       string           // where the programs find it
}

// serverLines are for a server that has its memory to itself and is not disturbed by itself. The biggest table fits
// into shared_buffers.
var serverLines = []string{
	"shared_buffers=1GB",
	"autovacuum=off",
	"jit=off",
	"max_wal_size=16GB",
	"checkpoint_timeout=1d",
	"maintenance_work_mem=256MB",
}

// In a quick run there are fewer rounds and sections, and a fifth of the rows.
const (
	fullRounds    = 5
	quickRounds   = 3
	quickScale    = 0.2
	quickSections = "snapshot,log,many,start"
)

func main() {
	// A reader of stdout that has gone must not end the process before it has cleaned up.
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted") // whatever the programs said of it
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	quick := flag.Bool("quick", false,
		fmt.Sprintf("%d rounds, a fifth of the rows, and only %s", quickRounds, quickSections))
	only := flag.String("only", "", "sections, separated by commas (default: all)")
	rounds := flag.Int("rounds", 0, fmt.Sprintf("rounds of each table (default %d)", fullRounds))
	scale := flag.Float64("scale", 1, "multiplies the numbers of rows and tables: to try the program itself")
	markdown := flag.String("markdown", "", "also write the tables to this file")
	svg := flag.String("plot", "", "write a plot of the ratios to this file")
	connector := flag.String("connector", "", "the connector's program (default: it is built)")
	inside := flag.Bool("inside", false, "the process has a network namespace of its own")
	flag.Parse()
	if *quick && *only == "" {
		*only = quickSections
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	b := &bench{rounds: fullRounds, scale: *scale, report: &report{}, inside: *inside, connector: *connector}
	if *quick {
		b.rounds, b.scale = quickRounds, *scale*quickScale
	}
	if *rounds > 0 {
		b.rounds = *rounds
	}
	defer func() { err = errors.Join(err, b.clean()) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, s := range chosen {
		if err := b.section(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return errors.Join(keep(*markdown, b.report.text.Bytes()), keep(*svg, b.report.plot.svg()))
}

// keep writes a file, if it has a name.
func keep(name string, text []byte) error {
	if name == "" {
		return nil
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	var chosen []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(sections, func(s section) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no section %q", name)
		}
		chosen = append(chosen, sections[i])
	}
	return chosen, nil
}

// prepare builds the connector and starts the server.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "source-postgres-bench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if b.inside {
		if err := raise(ctx); err != nil {
			return err
		}
	}
	if b.connector == "" {
		if err := b.build(ctx); err != nil {
			return err
		}
	}
	note("starting PostgreSQL")
	if b.server, err = pgtest.Private(ctx, serverLines...); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	root, _ := strings.CutPrefix(b.server.Via, "local ")
	b.programs = filepath.Join(root, "bin")
	if err := b.findPostmaster(ctx); err != nil || b.inside {
		return err
	}
	return b.report.machine(b)
}

// build makes the connector as the image has it.
func (b *bench) build(ctx context.Context) error {
	b.connector = filepath.Join(b.dir, "source-postgres")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-o", b.connector, "source-postgres")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	note("building the connector")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the connector: %w\n%s", err, out)
	}
	return nil
}

// findPostmaster finds the parent of all the server's processes.
func (b *bench) findPostmaster(ctx context.Context) error {
	db := &pgtest.Database{Server: b.server, Name: "postgres"}
	file, err := db.Value(ctx, "SELECT pg_read_file('postmaster.pid')")
	if err != nil {
		return err
	}
	pid, _, _ := strings.Cut(file, "\n")
	if b.postmaster, err = strconv.Atoi(pid); err != nil {
		return fmt.Errorf("find the server's process: %w", err)
	}
	return nil
}

// section runs s in a new database.
func (b *bench) section(ctx context.Context, s section) (err error) {
	note("section %s", s.name)
	if b.db, err = b.server.NewDatabase(ctx, s.name); err != nil {
		return err
	}
	b.host = b.db.Host
	if err := s.run(ctx, b); err != nil {
		return err // the database goes with the server
	}
	return b.db.Drop(ctx)
}

func (b *bench) clean() error {
	var errs []error
	if b.server != nil {
		errs = append(errs, b.server.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// scaled is n, or less of it for a smaller run.
func (b *bench) scaled(n int64) int64 { return max(int64(float64(n)*b.scale), 1) }

// exec runs statements, each in a transaction of its own.
func (b *bench) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if err := b.db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// note tells whoever waits what is going on.
func note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
