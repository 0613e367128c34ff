package compiler

import (
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// unit is what a pass works on.
type unit struct {
	flow   *ir.Flow
	graph  *ir.Graph
	target *ir.Features
	found  diag.List
}

func (u *unit) add(d diag.Diagnostic) { u.found = append(u.found, d) }

// pass is one check. It reports all its findings, and may complete the flow.
type pass struct {
	name string
	// sound passes are left out when an earlier one found the graph broken: their findings would be consequences.
	sound bool
	run   func(*unit)
}

// passes are run in this order.
var passes = [...]pass{}

// Check runs the passes over the flow and returns it completed: Start and End filled in. With a target it also checks
// that the target can do what the flow uses. The findings are sorted. The flow given is not changed. Any flow at all
// may be given, a broken one included.
func Check(f *ir.Flow, target *ir.Features) (*ir.Flow, diag.List) {
	flow := *f
	u := &unit{flow: &flow, target: target}
	u.graph = ir.NewGraph(u.flow)
	for _, p := range passes {
		if p.sound && u.found.HasErrors() {
			continue
		}
		p.run(u)
	}
	u.found.Sort()
	return u.flow, u.found
}
