package main

import (
	"fmt"
	"html"
	"io"

	"github.com/mf-run/mf/ir"
)

// The sizes of a picture, in pixels.
const (
	boxWidth, boxHeight = 150, 40
	gapX, gapY          = 40, 60
	margin              = 20
)

type point struct{ x, y int }

// drawSVG draws the graph in layers: a step stands one row below the last of its predecessors.
func drawSVG(w io.Writer, g *ir.Graph) {
	rank := map[string]int{}
	var rows [][]string
	for _, name := range g.Order() {
		for _, p := range g.Predecessors(name) {
			if p != name {
				rank[name] = max(rank[name], rank[p]+1)
			}
		}
		for len(rows) <= rank[name] {
			rows = append(rows, nil)
		}
		rows[rank[name]] = append(rows[rank[name]], name)
	}
	widest := 1
	for _, row := range rows {
		widest = max(widest, len(row))
	}
	total := widest*(boxWidth+gapX) - gapX
	at := map[string]point{}
	for y, row := range rows {
		left := margin + (total-(len(row)*(boxWidth+gapX)-gapX))/2
		for x, name := range row {
			at[name] = point{left + x*(boxWidth+gapX), margin + y*(boxHeight+gapY)}
		}
	}
	width, height := total+2*margin+gapX, len(rows)*(boxHeight+gapY)-gapY+2*margin
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n",
		width, height, width, height)
	fmt.Fprintf(w, "<title>%s</title>\n", html.EscapeString(g.Flow().Name))
	fmt.Fprint(w, "<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">"+
		"<path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>\n")
	for _, e := range edges(g) {
		drawEdge(w, e, at[e.from], at[e.to])
	}
	for _, name := range g.Order() {
		drawBox(w, g, name, at[name])
	}
	fmt.Fprintln(w, "</svg>")
}

func drawEdge(w io.Writer, e edge, from, to point) {
	x1, y1 := from.x+boxWidth/2, from.y+boxHeight
	x2, y2 := to.x+boxWidth/2, to.y
	path := fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1, y1+gapY/2, x2, y2-gapY/2, x2, y2)
	labelX, labelY := (x1+x2)/2, (y1+y2)/2
	if e.from == e.to {
		right, middle := from.x+boxWidth, from.y+boxHeight/2
		path = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", right, middle+8, right+30, middle+20, right+30, middle-20, right, middle-8)
		labelX, labelY = right+4, middle-22
	}
	fmt.Fprintf(w, "<path d=\"%s\" fill=\"none\" stroke=\"#555\" marker-end=\"url(#a)\"/>\n", path)
	if e.label != "" {
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" font-size=\"11\" fill=\"#555\" text-anchor=\"middle\">%s</text>\n", labelX, labelY,
			html.EscapeString(e.label))
	}
}

func drawBox(w io.Writer, g *ir.Graph, name string, at point) {
	fill := "#eef4fb"
	switch step := g.Step(name); {
	case step.Join:
		fill = "#f3eefb"
	case step.Next != nil && step.Next.Kind != ir.Linear:
		fill = "#fdf3e1"
	}
	fmt.Fprintf(w, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\" fill=\"%s\" stroke=\"#7a8ba0\"/>\n",
		at.x, at.y, boxWidth, boxHeight, fill)
	fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" font-size=\"13\" text-anchor=\"middle\">%s</text>\n",
		at.x+boxWidth/2, at.y+boxHeight/2+5, html.EscapeString(name))
}
