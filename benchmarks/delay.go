package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"source-postgres/integration_tests/pgtest"
)

// roundTrips are those of the networks between the connector and the server.
var roundTrips = []time.Duration{0, time.Millisecond, 20 * time.Millisecond}

const (
	delayedRows  = 2_000_000 // of the snapshot
	delayedScale = 0.5       // of the backlogs
	delayedTurns = 3         // rounds at the most
)

// apart runs the sections named only in a process of its own in a network namespace of its own, whose loopback can be
// slowed down without anybody else noticing. That needs root.
func (b *bench) apart(ctx context.Context, only string) error {
	if os.Geteuid() != 0 {
		return b.report.add("\n### Delay\n\nNot measured: a network namespace needs root.\n")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-only="+only, "-inside", "-connector="+b.connector,
		"-rounds="+strconv.Itoa(b.rounds), "-scale="+strconv.FormatFloat(b.scale, 'g', -1, 64))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Stdout, cmd.Stderr = io.Writer(&out), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run in a namespace: %w", err)
	}
	return b.report.add("%s", out.String())
}

// delay compares snapshots and backlogs as the network grows longer.
func delay(ctx context.Context, b *bench) error {
	if !b.inside {
		return b.apart(ctx, "delay")
	}
	c, err := lay(ctx)
	if err != nil {
		return err
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.load(ctx, &narrow, b.scaled(delayedRows)); err != nil {
		return err
	}
	for _, trip := range roundTrips {
		b.over(c, trip)
		if err := b.delayedSnapshot(ctx, trip); err != nil {
			return err
		}
	}
	b.over(c, 0)
	if err := b.exec(ctx, "DROP TABLE narrow"); err != nil {
		return err
	}
	whole := b.scale
	defer func() { b.scale = whole }()
	b.scale *= delayedScale
	for _, h := range []history{histories[0], histories[2]} {
		if err := b.delayedLog(ctx, c, h); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) delayedSnapshot(ctx context.Context, trip time.Duration) error {
	rows := b.scaled(delayedRows)
	c := contest{
		title: fmt.Sprintf("Snapshot: narrow, %s rows, round trip of %s", grouped(rows), trip),
		rows:  rows, floors: 1, rounds: min(b.rounds, delayedTurns),
		variants: []variant{
			{name: "psql COPY, /dev/null", command: b.psql("COPY (SELECT * FROM narrow) TO STDOUT", "")},
		},
	}
	return b.raceConnections(ctx, c, "delay", "narrow")
}

// delayedLog reads one backlog over each of the networks.
func (b *bench) delayedLog(ctx context.Context, c *cable, h history) error {
	l, err := b.makeLog(ctx, h)
	if err != nil {
		return err
	}
	for _, trip := range roundTrips {
		b.over(c, trip)
		far, err := b.logContest(l)
		if err != nil {
			return err
		}
		far.title += fmt.Sprintf(", round trip of %s", trip)
		far.bars, far.rounds = false, min(b.rounds, delayedTurns)
		if err := b.race(ctx, far); err != nil {
			return err
		}
	}
	b.over(c, 0)
	return b.dropLog(ctx, h)
}

// open lets connections come in by the cable, which the server listens to only after it was started anew.
func (b *bench) open(ctx context.Context) error {
	db := &pgtest.Database{Server: b.server, Name: "postgres"} // its connection is lost with the server
	if err := db.Exec(ctx, "ALTER SYSTEM SET listen_addresses = '*'"); err != nil {
		return err
	}
	err := db.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN EXECUTE format(
		'COPY (SELECT %%L) TO PROGRAM %%L', 'host all,replication all %s/24 scram-sha-256',
		'cat >> ' || current_setting('hba_file')); END $$`, near))
	if err != nil {
		return err
	}
	if err := b.server.Restart(ctx, "fast"); err != nil {
		return fmt.Errorf("start the server anew: %w", err)
	}
	return b.findPostmaster(ctx)
}

// over makes the programs connect by the cable, with a round trip of that length, or directly where it is 0.
func (b *bench) over(c *cable, trip time.Duration) {
	c.trip.Store(int64(trip))
	b.host = far
	if trip == 0 {
		b.host = b.db.Host
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
