package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mf-run/mf/ir"
)

// The sizes of a picture, in pixels.
const (
	boxWidth, boxHeight   = 150, 40
	gapX, gapY            = 40, 60
	margin                = 20
	nameChar, labelChar   = 8, 6 // generous widths of a character of a step's name and of a label
	loopWidth             = 34
	orderSweeps, xSweeps  = 4, 8
	labelHeight, textDrop = 11, 5
)

// node is a step's box or, with an empty name, a bend: where an arrow passes a row on its way to a lower one.
type node struct {
	name        string
	row, x      int // x is the middle
	left, right int // the room it needs on either side of x
	up, down    []int
}

func (n *node) box() int {
	return max(boxWidth, utf8.RuneCountInString(n.name)*nameChar+2*margin)
}

func (n *node) top() int { return margin + n.row*(boxHeight+gapY) }

// picture is a graph laid out in rows: a step stands below the last of its predecessors.
type picture struct {
	nodes  []*node
	rows   [][]int // nodes from left to right
	routes []route
}

// route is an arrow: the nodes it passes, the steps at its ends included.
type route struct {
	nodes []int
	label string
}

func (r route) labelWidth() int { return utf8.RuneCountInString(r.label) * labelChar }

// drawSVG draws the graph as a picture. All arithmetic is in whole numbers, so that every machine draws the same.
func drawSVG(w io.Writer, g *ir.Graph) {
	p := layOut(g)
	width, height := 2*margin, 2*margin+len(p.rows)*(boxHeight+gapY)-gapY
	for _, n := range p.nodes {
		width = max(width, n.x+n.right+margin)
	}
	for _, r := range p.routes {
		x, _ := p.labelAt(r)
		width = max(width, x+r.labelWidth()/2+margin)
	}
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n",
		width, height, width, height)
	fmt.Fprintf(w, "<title>%s</title>\n", html.EscapeString(g.Flow().Name))
	fmt.Fprint(w, "<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">"+
		"<path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>\n")
	for _, r := range p.routes {
		fmt.Fprintf(w, "<path d=\"%s\" fill=\"none\" stroke=\"#555\" marker-end=\"url(#a)\"/>\n", p.path(r))
	}
	for _, n := range p.nodes {
		if n.name != "" {
			drawBox(w, g, n)
		}
	}
	for _, r := range p.routes {
		if r.label != "" {
			x, y := p.labelAt(r)
			fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" font-size=\"%d\" fill=\"#555\" text-anchor=\"middle\" stroke=\"#fff\" stroke-width=\"4\" paint-order=\"stroke\">%s</text>\n",
				x, y, labelHeight, html.EscapeString(r.label))
		}
	}
	fmt.Fprintln(w, "</svg>")
}

func layOut(g *ir.Graph) *picture {
	p := &picture{}
	at := map[string]int{}
	for _, name := range g.Order() {
		row := 0
		for _, before := range g.Predecessors(name) {
			if i, ok := at[before]; ok && before != name {
				row = max(row, p.nodes[i].row+1)
			}
		}
		at[name] = p.add(&node{name: name, row: row})
	}
	for _, e := range merged(edges(g)) {
		p.connect(at[e.from], at[e.to], e.label)
	}
	p.order()
	p.place()
	return p
}

// merged makes one edge of all that lead from one step to another.
func merged(list []edge) []edge {
	var out []edge
	at := map[[2]string]int{}
	for _, e := range list {
		i, ok := at[[2]string{e.from, e.to}]
		if !ok {
			at[[2]string{e.from, e.to}] = len(out)
			out = append(out, e)
			continue
		}
		out[i].label = strings.Trim(out[i].label+", "+e.label, ", ")
	}
	return out
}

func (p *picture) add(n *node) int {
	half := n.box() / 2
	if n.name == "" {
		half = 0
	}
	n.left, n.right = half, half
	for len(p.rows) <= n.row {
		p.rows = append(p.rows, nil)
	}
	p.nodes = append(p.nodes, n)
	p.rows[n.row] = append(p.rows[n.row], len(p.nodes)-1)
	return len(p.nodes) - 1
}

// connect routes an arrow, with a bend in each row between its ends.
func (p *picture) connect(from, to int, label string) {
	if from == to {
		p.nodes[from].right += loopWidth + route{label: label}.labelWidth()
		p.routes = append(p.routes, route{[]int{from}, label})
		return
	}
	nodes := []int{from}
	for row := p.nodes[from].row + 1; row < p.nodes[to].row; row++ {
		nodes = append(nodes, p.add(&node{row: row}))
	}
	nodes = append(nodes, to)
	for i, n := range nodes[1:] {
		p.nodes[nodes[i]].down = append(p.nodes[nodes[i]].down, n)
		p.nodes[n].up = append(p.nodes[n].up, nodes[i])
	}
	p.routes = append(p.routes, route{nodes, label})
}

// order sorts each row by where the neighbours above and below stand, a few times over, so that few arrows cross.
func (p *picture) order() {
	at := make([]int, len(p.nodes))
	for _, row := range p.rows {
		for i, n := range row {
			at[n] = i * len(p.nodes)
		}
	}
	p.sweep(orderSweeps, func(row []int, neighbours func(*node) []int) {
		wanted := map[int]int{}
		for _, n := range row {
			wanted[n] = mean(neighbours(p.nodes[n]), func(i int) int { return at[i] }, at[n])
		}
		slices.SortStableFunc(row, func(a, b int) int { return cmp.Compare(wanted[a], wanted[b]) })
		for i, n := range row {
			at[n] = i * len(p.nodes)
		}
	})
}

// place gives each node its x: as near to the middle of its neighbours as the row has room.
func (p *picture) place() {
	p.sweep(xSweeps, func(row []int, neighbours func(*node) []int) {
		wanted := make([]int, len(row))
		for i, n := range row {
			wanted[i] = mean(neighbours(p.nodes[n]), func(j int) int { return p.nodes[j].x }, p.nodes[n].x)
		}
		apart := func(i int) int { return p.nodes[row[i-1]].right + gapX + p.nodes[row[i]].left }
		fromLeft, fromRight := slices.Clone(wanted), slices.Clone(wanted)
		for i := 1; i < len(row); i++ {
			fromLeft[i] = max(wanted[i], fromLeft[i-1]+apart(i))
		}
		for i := len(row) - 2; i >= 0; i-- {
			fromRight[i] = min(wanted[i], fromRight[i+1]-apart(i+1))
		}
		for i, n := range row {
			p.nodes[n].x = (fromLeft[i] + fromRight[i]) / 2
		}
	})
	leftmost := p.nodes[0].x - p.nodes[0].left
	for _, n := range p.nodes {
		leftmost = min(leftmost, n.x-n.left)
	}
	for _, n := range p.nodes {
		n.x += margin - leftmost
	}
}

// sweep goes down the rows looking at what is above, and up again looking at what is below. It ends on the way down.
func (p *picture) sweep(times int, visit func(row []int, neighbours func(*node) []int)) {
	for range times {
		for i := range p.rows {
			visit(p.rows[len(p.rows)-1-i], func(n *node) []int { return n.down })
		}
		for _, row := range p.rows {
			visit(row, func(n *node) []int { return n.up })
		}
	}
}

// mean is the middle of the neighbours' values; otherwise, where there are none.
func mean(neighbours []int, value func(int) int, otherwise int) int {
	if len(neighbours) == 0 {
		return otherwise
	}
	sum := 0
	for _, n := range neighbours {
		sum += value(n)
	}
	return sum / len(neighbours)
}

// path is the line of an arrow: curves between the rows, straight past the rows between.
func (p *picture) path(r route) string {
	n := p.nodes[r.nodes[0]]
	if len(r.nodes) == 1 {
		x, y := n.x+n.box()/2, n.top()+boxHeight/2
		return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x, y+8, x+loopWidth-4, y+20, x+loopWidth-4, y-20, x, y-8)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "M%d %d", n.x, n.top()+boxHeight)
	for i, to := range r.nodes[1:] {
		from, to := p.nodes[r.nodes[i]], p.nodes[to]
		y1, y2 := from.top()+boxHeight, to.top()
		fmt.Fprintf(&b, "C%d %d %d %d %d %d", from.x, y1+gapY/2, to.x, y2-gapY/2, to.x, y2)
		if to.name == "" {
			fmt.Fprintf(&b, "V%d", y2+boxHeight)
		}
	}
	return b.String()
}

// labelAt is the middle of the foot of an arrow's label: on its first curve, nearer to where it leads.
func (p *picture) labelAt(r route) (x, y int) {
	from := p.nodes[r.nodes[0]]
	if len(r.nodes) == 1 {
		return from.x + from.box()/2 + loopWidth + r.labelWidth()/2 - 4, from.top() + boxHeight/2 + labelHeight/2 - 2
	}
	to := p.nodes[r.nodes[1]]
	return (from.x + 3*to.x) / 4, from.top() + boxHeight + gapY*2/3 + labelHeight/2
}

func drawBox(w io.Writer, g *ir.Graph, n *node) {
	fill := "#eef4fb"
	switch step := g.Step(n.name); {
	case step.Join:
		fill = "#f3eefb"
	case step.Next != nil && step.Next.Kind != ir.Linear:
		fill = "#fdf3e1"
	}
	fmt.Fprintf(w, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\" fill=\"%s\" stroke=\"#7a8ba0\"/>\n",
		n.x-n.box()/2, n.top(), n.box(), boxHeight, fill)
	fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" font-size=\"13\" text-anchor=\"middle\">%s</text>\n",
		n.x, n.top()+boxHeight/2+textDrop, html.EscapeString(n.name))
}
