package argo

import (
	"strings"

	"github.com/mf-run/mf/ir"
)

// chooses reports whether the step goes on to one of several others. A switch whose only other case is itself does not:
// when it ends, the step behind it runs.
func (e *emitter) chooses(name string) bool {
	next := e.graph.Step(name).Next
	return next != nil && next.Kind == ir.Switch && len(e.graph.Successors(name)) > 1
}

// depends says after which tasks one runs in a body where a step chooses: after any of its predecessors, for but one of
// them runs, and after one of each branch where it joins a split. Argo decides once all of them have ended or turned out
// not to run. A predecessor that failed is none that succeeded, so what follows it is left out, and the DAG takes over
// its failure.
func (e *emitter) depends(b *body, name string) string {
	split := e.graph.JoinedSplit(name)
	if g, ok := b.groups[split]; ok {
		// A foreach over nothing is skipped; one that the flow does not come to is omitted, which is something else.
		return g.task + ".Succeeded || " + g.task + ".Skipped"
	}
	if split == "" {
		return e.anySucceeded(b, e.graph.Predecessors(name))
	}
	var branches []string
	for _, first := range e.graph.Successors(split) {
		branch := e.anySucceeded(b, e.graph.BranchLast(split, first))
		if strings.Contains(branch, "|") {
			branch = "(" + branch + ")"
		}
		branches = append(branches, branch)
	}
	return strings.Join(branches, " && ")
}

func (e *emitter) anySucceeded(b *body, steps []string) string {
	var list []string
	for _, step := range steps {
		if b.inside[step] {
			list = append(list, e.steps[step]+".Succeeded")
		}
	}
	return strings.Join(list, " || ")
}

// when says which of the predecessors that have succeeded go on to the step: a switch only where it chose it. What stands
// in quotes is false where Argo has no value to put there, or an output's default: a switch that did not run.
func (e *emitter) when(b *body, name string) string {
	var list []string
	chosen := false
	for _, before := range e.graph.Predecessors(name) {
		if !b.inside[before] {
			continue
		}
		task := "'{{tasks." + e.steps[before]
		if e.chooses(before) {
			chosen = true
			list = append(list, task+".outputs.parameters."+ir.OutputBranch+"}}' == '"+name+"'")
		} else {
			list = append(list, task+".status}}' == 'Succeeded'")
		}
	}
	if !chosen {
		return ""
	}
	return strings.Join(list, " || ")
}

// findConditional fills in which steps may be left out, because of a switch before them in the same body. Behind the step
// where its branches meet that is more than needed, but no harm.
func (e *emitter) findConditional() {
	e.conditional = map[string]bool{}
	for _, name := range e.graph.Order() {
		for _, before := range e.graph.Predecessors(name) {
			if e.graph.PathLen(before) == e.graph.PathLen(name) && (e.chooses(before) || e.conditional[before]) {
				e.conditional[name] = true
			}
		}
		if split := e.graph.JoinedSplit(name); split != "" && e.conditional[split] {
			e.conditional[name] = true
		}
	}
}
