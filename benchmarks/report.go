package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A report is Markdown, printed as it grows.
type report struct {
	text bytes.Buffer
	plot plot
}

func (r *report) add(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	r.text.WriteString(text)
	_, err := os.Stdout.WriteString(text)
	return err
}

// machine says what everything was measured on.
func (r *report) machine(b *bench) error {
	load, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(load), " ")
	return r.add("%s: %d cores, which the server and the connector share; %s, %s; load before: %s; rounds: %d; "+
		"scale: %.3g.\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), b.server, runtime.Version(), minute,
		b.rounds, b.scale)
}

// contest adds the table of c: samples has one line for each variant, and in it one sample for each round.
func (r *report) contest(c contest, samples [][]sample) error {
	var t strings.Builder
	fmt.Fprintf(&t, "\n### %s\n\n| variant | wall s | rows/s | MB/s |", c.title)
	for _, floor := range c.variants[:c.floors] {
		fmt.Fprintf(&t, " × %s |", floor.name)
	}
	t.WriteString(" client CPU s | µs a row | server CPU s | peak RSS MB |\n|---|")
	t.WriteString(strings.Repeat("--:|", 7+c.floors) + "\n")
	for i := range c.variants {
		t.WriteString(c.line(i, samples))
	}
	r.plot.contest(c, samples)
	return r.add("%s", t.String())
}

// line is the line of variant i.
func (c *contest) line(i int, samples [][]sample) string {
	of := samples[i]
	wall := spreadOf(of, func(s sample) float64 { return s.wall.Seconds() })
	client := spreadOf(of, func(s sample) float64 { return s.client.Seconds() })
	server := spreadOf(of, func(s sample) float64 { return s.server.Seconds() })
	rss := spreadOf(of, func(s sample) float64 { return float64(s.rss) })
	rate, volume, each := "–", "–", "–"
	if c.rows > 0 {
		rate = grouped(int64(float64(c.rows) / wall.median))
		each = fmt.Sprintf("%.2f", client.median*1e6/float64(c.rows))
		if size := of[0].bytes; size > 0 {
			volume = fmt.Sprintf("%.0f", float64(size)/wall.median/1e6)
		}
	}
	var ratios strings.Builder
	for _, floor := range samples[:c.floors] {
		fmt.Fprintf(&ratios, " %s |", ratio(of, floor).text(2))
	}
	return fmt.Sprintf("| %s | %s | %s | %s |%s %.3f | %s | %.2f | %.1f |\n", c.variants[i].name, wall.text(3), rate,
		volume, ratios.String(), client.median, each, server.median, rss.most/1e6)
}

// A spread is what several rounds gave.
type spread struct{ median, least, most float64 }

// spreadOf looks at one number of each sample, in order.
func spreadOf(samples []sample, number func(sample) float64) spread {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = number(s)
	}
	slices.Sort(values)
	n := len(values)
	return spread{median: (values[(n-1)/2] + values[n/2]) / 2, least: values[0], most: values[n-1]}
}

func (s spread) text(digits int) string {
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.median, digits, s.least, digits, s.most)
}

// grouped is n as people read it: 1,234,567.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
