package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler/yaml"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// graphFlow has every kind of edge.
const graphFlow = `
flow: Shapes
description: Every shape an edge has.
steps:
  start: {run: 'true', next: [load, each]}
  load: {run: 'true', retry: {times: 2}, outputs: [mode], next: {switch: mode, cases: {short: brief, "long": full, again: load}}}
  brief: {run: 'true', next: together}
  full: {run: 'true', next: together}
  each: {run: 'true', outputs: [items], next: {foreach: items, step: body}}
  body: {run: 'true', timeout: 60, next: collect}
  collect: {join: true, run: 'true', next: together}
  together: {join: true, run: 'true', next: end}
  end: {run: 'true'}
`

func TestGraphPictures(t *testing.T) {
	flow, list := yaml.Parse("flow.yaml", []byte(graphFlow))
	if list.HasErrors() {
		t.Fatal(list)
	}
	g := ir.NewGraph(flow)
	for name, draw := range map[string]func(io.Writer, *ir.Graph){
		"text.txt": drawText, "dot.dot": drawDot, "mermaid.mmd": drawMermaid, "svg.svg": drawSVG,
	} {
		var once, again bytes.Buffer
		draw(&once, g)
		draw(&again, g)
		if !bytes.Equal(once.Bytes(), again.Bytes()) {
			t.Errorf("%s is not the same twice", name)
		}
		golden.Check(t, filepath.Join("testdata", "graph", name), once.Bytes())
	}
	golden.Unclaimed(t, filepath.Join("testdata", "graph"))
}

// An SVG is well-formed XML in which each step stands once, inside the picture.
func TestSVGIsWellFormed(t *testing.T) {
	flow, list := yaml.Parse("flow.yaml", []byte(strings.ReplaceAll(graphFlow, "short", `"<&>"`)))
	if list.HasErrors() {
		t.Fatal(list)
	}
	var b bytes.Buffer
	drawSVG(&b, ir.NewGraph(flow))
	boxes := 0
	dec := xml.NewDecoder(&b)
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			boxes++
		}
	}
	if boxes != len(flow.Steps) {
		t.Errorf("%d boxes for %d steps", boxes, len(flow.Steps))
	}
}

// No arrow runs through a box: between its ends it keeps clear of the steps of each row it passes.
func TestSVGArrowsKeepClearOfBoxes(t *testing.T) {
	flow, list := yaml.Parse("flow.yaml", []byte(graphFlow))
	if list.HasErrors() {
		t.Fatal(list)
	}
	p := layOut(ir.NewGraph(flow))
	bends := 0
	for _, r := range p.routes {
		for _, i := range r.nodes[1:max(1, len(r.nodes)-1)] {
			bend := p.nodes[i]
			bends++
			for _, j := range p.rows[bend.row] {
				if n := p.nodes[j]; n.name != "" && bend.x > n.x-n.box()/2-gapX/2 && bend.x < n.x+n.box()/2+gapX/2 {
					t.Errorf("an arrow passes row %d at %d, where %s stands at %d", bend.row, bend.x, n.name, n.x)
				}
			}
		}
	}
	if bends == 0 {
		t.Error("the flow has no arrow that passes a row")
	}
}
