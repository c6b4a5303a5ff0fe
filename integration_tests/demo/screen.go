package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A screen writes what the demo shows. Colours are used on a terminal only.
type screen struct {
	out    *os.File
	width  int // columns of a line
	colour bool
}

// Select Graphic Rendition codes (ECMA-48 8.3.117).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

const (
	defaultWidth = 100
	minWidth     = 60
)

// newScreen is a screen on out, as wide as the terminal, or as COLUMNS says where out is none.
func newScreen(ctx context.Context, out *os.File) *screen {
	s := &screen{out: out, width: defaultWidth}
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	s.colour = terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		s.width = columns
	} else if terminal {
		stty := exec.CommandContext(ctx, "stty", "size")
		stty.Stdin = out // stty asks the terminal of its standard input
		var rows int
		if size, err := stty.Output(); err == nil {
			if _, err := fmt.Sscan(string(size), &rows, &columns); err == nil && columns > 0 {
				s.width = columns
			}
		}
	}
	s.width = max(s.width, minWidth)
	return s
}

// printf writes as it is told. An error has nowhere to go: SIGPIPE ends the demo.
func (s *screen) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format, args...) // a reader that has gone is noticed by its signal
}

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// heading opens step n.
func (s *screen) heading(n int, name, about string) {
	s.printf("\n%s %s\n", s.paint(bold, fmt.Sprintf("%d %s", n, name)), s.paint(faint, "- "+about))
}

// command shows a command line before it is run.
func (s *screen) command(line string) {
	s.printf("  %s\n", s.paint(cyan, fit("$ "+line, s.width-2)))
}

// line shows text, shortened to one line.
func (s *screen) line(text string) {
	s.printf("  %s\n", fit(strings.TrimRight(text, " "), s.width-2))
}

// note shows text of less importance.
func (s *screen) note(text string) {
	s.printf("  %s\n", s.paint(faint, fit(text, s.width-2)))
}

// block shows pieces of a text, one after the other, on as many lines as they need.
func (s *screen) block(pieces []string) {
	line, used := "", 0
	for _, piece := range pieces {
		if used > 0 && used+textColumns(piece) > s.width-2 {
			s.line(line)
			line, used = "", 0
		}
		line += piece
		used += textColumns(piece)
	}
	s.line(line)
}

// message shows one message of the connector: its kind, its stream or none, and its text.
func (s *screen) message(kind, stream, text string) {
	head := fmt.Sprintf("%-7s ", kind)
	if stream != "" {
		head += fmt.Sprintf("%-14s ", stream)
	}
	s.printf("  %s%s\n", s.paint(green, head), fit(strings.TrimRight(text, " "), s.width-2-len(head)))
}

// fit shortens text to width columns of a terminal and replaces what would move the cursor.
func fit(text string, width int) string {
	const mark = "..."
	used, cut := 0, 0 // cut: where the text ends if the mark has to follow it
	var b strings.Builder
	for _, r := range text {
		if unicode.IsControl(r) {
			r = ' '
		}
		if used+columns(r) > width {
			return b.String()[:cut] + mark
		}
		b.WriteRune(r)
		if used += columns(r); used <= width-len(mark) {
			cut = b.Len()
		}
	}
	return b.String()
}

// columns is how wide terminals show r: East Asian characters and emoji take two columns.
func columns(r rune) int {
	if r >= 0x2E80 {
		return 2
	}
	return 1
}

func textColumns(text string) (n int) {
	for _, r := range text {
		n += columns(r)
	}
	return n
}

// grouped writes n with separators: 20,000.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// took writes a duration for people: 36 ms, 1.25 s.
func took(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}
