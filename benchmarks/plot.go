package main

import (
	"bytes"
	"fmt"
	"strings"
)

// A plot has one group of bars for each contest, and a bar for each variant that is not the floor: how many times as
// fast as the floor it is.
type plot struct{ groups []group }

type group struct {
	title string
	bars  []bar
}

type bar struct {
	name  string
	ratio spread
}

func (p *plot) contest(c contest, samples [][]sample) {
	if !c.bars {
		return
	}
	g := group{title: c.title}
	for i := c.floors; i < len(c.variants); i++ {
		if c.variants[i].command.sink == toPipe {
			g.bars = append(g.bars, bar{c.variants[i].name, ratio(samples[i], samples[0])})
		}
	}
	p.groups = append(p.groups, g)
}

// svg draws the plot: longer is faster, 1 is the floor, and the thin line goes from the slowest round to the fastest.
func (p *plot) svg() []byte {
	const width, left, unit, line, foot = 760, 250, 180, 18, 30
	height := 24
	for _, g := range p.groups {
		height += line*(len(g.bars)+1) + 8
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+
		"\n", width, height+foot)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height+foot)
	fmt.Fprint(&b, `<text x="8" y="16" font-weight="bold">How many times as fast as PostgreSQL's own programs</text>`+"\n")
	y := 28
	for _, g := range p.groups {
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="bold" fill="#333">%s</text>`+"\n", y+12, escaped(g.title))
		y += line
		for _, bar := range g.bars {
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#333">%s</text>`, left-8, y+12, escaped(bar.name))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.0f" height="12" fill="#4a7fb5"/>`, left, y+2, bar.ratio.median*unit)
			fmt.Fprintf(&b, `<path d="M%.0f %dH%.0f" stroke="#1d3d5c"/>`, left+bar.ratio.least*unit, y+8,
				left+bar.ratio.most*unit)
			fmt.Fprintf(&b, `<text x="%.0f" y="%d" fill="#333">%.2f</text>`+"\n", left+bar.ratio.most*unit+6, y+12,
				bar.ratio.median)
			y += line
		}
		y += 8
	}
	for i := range 3 {
		x := left + i*unit
		fmt.Fprintf(&b, `<path d="M%d 26V%d" stroke="#999" stroke-dasharray="2 3"/><text x="%d" y="%d" text-anchor="middle" `+
			`fill="#666">%d</text>`+"\n", x, height+4, x, height+18, i)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func escaped(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", `\*`, "*").Replace(text)
}

// ratio is how many times as fast as floor the samples of one variant are, round by round.
func ratio(of, floor []sample) spread {
	round := -1
	return spreadOf(of, func(s sample) float64 {
		round++
		return floor[round].wall.Seconds() / s.wall.Seconds()
	})
}
