package airflow

import "github.com/mf-run/mf/ir"

// group is a mapped task group: steps with the same innermost foreach, run once for each split path. A body is one group,
// or several in a row where a foreach inside it interrupts it: Airflow cannot map a task inside a mapped group, so the
// inner foreach stands between the groups, over a list of its own.
type group struct {
	// split is the splitting step.
	split string
	// steps are in topological order.
	steps []string
	// id is the group's; function and variable are its Python names.
	id, function, variable string
}

// plan says where each step stands.
type plan struct {
	// groups are in the order in which they are written: each after the step that splits.
	groups []*group
	// of is each step's group; nil for steps outside any foreach.
	of map[string]*group
}

// makePlan cuts the bodies of foreachs into groups. The stage of a step counts the inner foreachs that were joined before
// it on any way through the body; the steps of one stage form a group. Edges never lead to an earlier stage, so no way
// leaves a group and comes back.
func makePlan(g *ir.Graph) plan {
	p := plan{of: map[string]*group{}}
	type key struct {
		split string
		stage int
	}
	stages := map[string]int{}
	groups := map[key]*group{}
	for _, step := range g.Order() {
		split := innermost(g, step)
		if split == "" {
			continue
		}
		stage := 0
		for _, before := range g.Predecessors(step) {
			if innermost(g, before) == split {
				stage = max(stage, stages[before])
			}
		}
		if joined := g.JoinedSplit(step); joined != "" && g.Step(joined).Next.Kind == ir.Foreach {
			stage = max(stage, stages[joined]+1)
		}
		stages[step] = stage
		k := key{split, stage}
		if groups[k] == nil {
			groups[k] = &group{split: split}
			p.groups = append(p.groups, groups[k])
		}
		groups[k].steps = append(groups[k].steps, step)
		p.of[step] = groups[k]
	}
	return p
}

// innermost returns the step whose foreach a step lies in, the innermost of them; empty outside any.
func innermost(g *ir.Graph, step string) string {
	splits := g.Foreachs(step)
	if len(splits) == 0 {
		return ""
	}
	return splits[len(splits)-1]
}
