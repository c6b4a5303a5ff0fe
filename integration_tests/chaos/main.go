// Chaos is the verifier of the promise in docs/guarantees.md: it lets a random workload write while the connector reads
// again and again, is killed, loses its network or its server, and goes on from the states that a platform may choose;
// then it holds what a destination has against what the tables have. What a seed fixes is the workload, the faults and
// the states that are chosen; how they meet is up to the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := runMain(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func runMain() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	names := flag.String("mode", "", "refresh, standard, xmin, cdc; without it all of them, one after the other")
	rounds := flag.Int("rounds", 100, "attempts to read, for each mode")
	seed := flag.Uint64("seed", 0, "what is drawn; 0: a new one")
	without := flag.String("without", "", "what is left out, with commas: "+strings.Join(parts, ", "))
	broken := flag.Bool("mutants", false, "verify broken builds of the connector: each has to be caught")
	hard := flag.Bool("hard", false, "more of what is likely to show a mistake, as with mutants")
	verbose := flag.Bool("v", false, "say what happens in each round")
	what := flag.String("mutant", "", "only those whose name has this in it")
	flag.Parse()
	if *seed == 0 {
		*seed = 1 + rand.Uint64N(1_000_000)
	}
	dir, err := os.MkdirTemp("", "source-postgres-chaos-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *broken {
		return catchAll(ctx, dir, *what, *seed)
	}
	binary := filepath.Join(dir, "source-postgres")
	if err := build(ctx, binary); err != nil {
		return err
	}
	o := options{
		binary: binary, rounds: *rounds, seed: *seed, without: set{}, hard: *hard, verbose: *verbose, log: logLine,
	}
	for _, part := range strings.Split(*without, ",") {
		if part != "" && !slices.Contains(parts, part) {
			return fmt.Errorf("-without %s: there is no such part", part)
		}
		o.without[part] = part != ""
	}
	known := false
	for _, m := range modes {
		if *names != "" && *names != m.name {
			continue
		}
		known = true
		o.mode = m
		if err := once(ctx, o); err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("-mode %s: there is no such mode", *names)
	}
	return nil
}

func logLine(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// once verifies one mode. When a promise is broken it looks for what can be left out with the same result.
func once(ctx context.Context, o options) error {
	begun := time.Now()
	round, err := verify(ctx, o)
	if err == nil {
		o.log("%s: no violation in %.0f s", o.mode.name, time.Since(begun).Seconds())
		return nil
	}
	var b *broken
	if ctx.Err() != nil || !errors.As(err, &b) { // what breaks when it is interrupted is no promise
		return fmt.Errorf("%s, seed %d, round %d: %w", o.mode.name, o.seed, round, err)
	}
	o.log("VIOLATION in mode %s, round %d: %v", o.mode.name, round, err)
	o.rounds = round + 1
	o.log("again: %s", replay(o))
	o = shrink(ctx, o)
	return fmt.Errorf("%s: a promise was broken; again: %s", o.mode.name, replay(o))
}

// replay is the command that makes the same run.
func replay(o options) string {
	command := fmt.Sprintf("make chaos MODE=%s SEED=%d ROUNDS=%d", o.mode.name, o.seed, o.rounds)
	if left := leftOut(o.without); left != "" {
		command += " WITHOUT=" + left
	}
	if o.hard {
		command += " HARD=1"
	}
	return command
}

func leftOut(without set) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(without)) {
		if without[name] {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// parts are what can be left out of a run.
var parts = []string{"outages", "faults", "ddl", "harm", "resets", "prepared", "longtx"}

// shrink leaves out what is not needed for a violation, and ends at the round of the violation.
func shrink(ctx context.Context, o options) options {
	quiet := o
	quiet.log = func(string, ...any) {}
	for _, part := range parts {
		if o.without[part] {
			continue
		}
		quiet.without = maps.Clone(o.without)
		quiet.without[part] = true
		round, err := verify(ctx, quiet)
		var b *broken
		if !errors.As(err, &b) {
			o.log("without %s: no violation", part)
			continue
		}
		o.log("without %s: %s", part, b.text)
		quiet.rounds = round + 1
		o.without, o.rounds = quiet.without, quiet.rounds
	}
	return o
}

// build compiles the program of this module; flags go to go build.
func build(ctx context.Context, binary string, flags ...string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	args, cgo := append([]string{"build", "-o", binary}, flags...), "CGO_ENABLED=0" // as it is delivered
	if os.Getenv("CONNECTOR_RACE") == "1" {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the connector: %w\n%s", err, out)
	}
	return nil
}

// moduleRoot is the directory of the module.
func moduleRoot(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}
