package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestPromise is a short run in each mode, with a new seed every time. `make chaos` makes long ones.
func TestPromise(t *testing.T) { testPromise(t, modes, 8, set{}) }

// TestManyRounds is 200 rounds, a hundred in each of the modes that find what is new with SQL, in which nothing befalls
// the connector but that it is killed.
func TestManyRounds(t *testing.T) {
	rounds := 100
	if os.Getenv("CONNECTOR_RACE") == "1" { // many times slower, and a race would show in few of them
		rounds = 25
	}
	testPromise(t, modes[1:3], rounds, set{"outages": true, "harm": true})
}

func testPromise(t *testing.T, modes []*mode, rounds int, without set) {
	t.Helper()
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "source-postgres")
	if err := build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	seed := 1 + rand.Uint64N(1_000_000)
	fmt.Printf("seed: %s: SEED=%d ROUNDS=%d\n", t.Name(), seed, rounds)
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			o := options{mode: m, binary: binary, rounds: rounds, seed: seed, without: without, log: t.Logf}
			round, err := verify(t.Context(), o)
			var b *broken
			switch {
			case errors.As(err, &b):
				o.rounds = round + 1
				t.Fatalf("round %d: %s\nagain: %s", round, b.text, replay(o))
			case err != nil:
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
		})
	}
}

// Every mutant still has the place that it changes, and is a program. `make chaos-mutants` builds and catches them.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		path, text, err := m.replacement(root)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution); err != nil {
			t.Errorf("mutant %q: %v", m.name, err)
		}
	}
}
