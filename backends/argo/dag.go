package argo

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mf-run/mf/ir"
)

// pathParameter is the input parameter that holds a task's split path.
const pathParameter = "path"

// body is a DAG template: the whole flow, or what one item of a foreach runs.
type body struct {
	// name is the template's.
	name string
	// split is the step whose foreach runs the body; empty for the flow.
	split string
	// steps are in topological order.
	steps []string
	// inside is the set of them.
	inside map[string]bool
	// groups are the foreachs and gangs of steps in this body, by splitting step: the DAG task that runs all items.
	groups map[string]group
	// chooses is set where a step of the body chooses between several: its tasks then say with "depends" and "when" which
	// of their predecessors they follow.
	chooses bool
}

// group is a foreach or a gang: one DAG task that Argo expands to one per split.
type group struct {
	// task is the DAG task's name, template what it runs: a DAG of its own, or the only step of the body directly.
	task, template string
	// gang is set where the template starts all tasks itself, so that they can be tried again together.
	gang bool
	// done is set where all of it has been taken over.
	done bool
}

// bodies returns the flow's DAG and, after it, that of each foreach with a body of several steps.
func (e *emitter) bodies(entrypoint string) []body {
	newBody := func(name, split string) body {
		return body{name: name, split: split, inside: map[string]bool{}, groups: map[string]group{}}
	}
	list := []body{newBody(entrypoint, "")}
	// position of the body that a foreach runs; those with one step have none.
	at := map[string]int{"": 0}
	for _, name := range e.graph.Order() {
		owner := ""
		if around := e.graph.Foreachs(name); len(around) > 0 {
			owner = around[len(around)-1]
		}
		i, ok := at[owner]
		if !ok {
			continue // the only step of a body, run by the group itself
		}
		list[i].steps = append(list[i].steps, name)
		list[i].inside[name] = true
		list[i].chooses = list[i].chooses || e.chooses(name)
		next := e.graph.Step(name).Next
		if next == nil || next.Kind != ir.Foreach && next.Kind != ir.Parallel {
			continue
		}
		first := next.Targets[0].Step
		if last := e.graph.BodyLast(name); len(last) == 1 && last[0] == first {
			g := group{task: e.steps[first], template: e.steps[first]}
			if e.foreachDone(name) {
				g.done = true
			} else if e.retriedTogether(first) {
				g.template, g.gang = e.freeName(e.steps[first]+"-gang"), true
			}
			list[i].groups[name] = g
			continue
		}
		what := next.Foreach
		if next.Kind == ir.Parallel {
			what = "gang"
		}
		template := e.freeName(e.steps[name] + "-foreach-" + what)
		list[i].groups[name] = group{task: template, template: template, done: e.foreachDone(name)}
		if list[i].groups[name].done {
			continue
		}
		at[name] = len(list)
		list = append(list, newBody(template, name))
	}
	return list
}

// dagTemplate writes a body. A task waits for its predecessors in the same body; the join of a foreach for the foreach's
// group. "dependencies" is met by a skipped task too: that is what a foreach over nothing becomes.
func (e *emitter) dagTemplate(b *body) wfv1.Template {
	t := wfv1.Template{Name: b.name, DAG: &wfv1.DAGTemplate{}}
	if b.split != "" {
		t.Inputs.Parameters = inputs(pathParameter)
	}
	for _, name := range b.steps {
		task := wfv1.DAGTask{Name: e.steps[name], Template: e.steps[name]}
		if b.split != "" {
			task.Arguments = arguments(pathParameter, inputPath)
		}
		if _, done := e.finished(name); !done && e.loops[name] != "" {
			loop := e.loops[name]
			task.Template = loop
			task.Arguments.Parameters = append(task.Arguments.Parameters, arguments(iterationParameter, "0").Parameters...)
		}
		if b.chooses {
			task.Depends, task.When = e.depends(b, name), e.when(b, name)
		} else {
			task.Dependencies = e.dependencies(b, name)
		}
		t.DAG.Tasks = append(t.DAG.Tasks, task)
		if g, ok := b.groups[name]; ok {
			t.DAG.Tasks = append(t.DAG.Tasks, e.groupTask(b, name, g))
		}
	}
	return t
}

// dependencies are what a task waits for in a body where every step runs.
func (e *emitter) dependencies(b *body, name string) []string {
	var list []string
	for _, before := range e.graph.Predecessors(name) {
		if b.inside[before] {
			list = append(list, e.steps[before])
		}
	}
	if g, ok := b.groups[e.graph.JoinedSplit(name)]; ok {
		list = append(list, g.task)
	}
	return list
}

// inputPath is the split path that a template is given.
const inputPath = "{{inputs.parameters." + pathParameter + "}}"

// groupTask runs the items of a foreach: as many as the splitting task counted, each at its own split path; or the packs
// of them, each with the last index of its path standing for the pack. Where a run is resumed, those that are left.
func (e *emitter) groupTask(b *body, split string, g group) wfv1.DAGTask {
	task := wfv1.DAGTask{Name: g.task, Template: g.template}
	output := ir.OutputSplits
	path := "{{item}}"
	if n := e.packs.Splits(split); n > 1 {
		output, path = ir.OutputPacks, ir.PackIndex(path, n)
	}
	count := "{{tasks." + e.steps[split] + ".outputs.parameters." + output + "}}"
	left, some := e.someItems(split)
	switch {
	case g.done:
	case g.gang:
		task.Arguments = arguments(sizeParameter, count)
		if b.split != "" {
			task.Arguments = arguments(pathParameter, inputPath, sizeParameter, count)
		}
	case some:
		task.WithItems, task.Arguments = items(left), arguments(pathParameter, path)
	default:
		if b.split != "" {
			path = inputPath + "," + path
		}
		task.WithSequence, task.Arguments = sequence(count), arguments(pathParameter, path)
	}
	if b.chooses {
		task.Depends = e.steps[split] + ".Succeeded"
	} else {
		task.Dependencies = []string{e.steps[split]}
	}
	return task
}

func sequence(count string) *wfv1.Sequence {
	n := intstr.FromString(count)
	return &wfv1.Sequence{Count: &n}
}

// inputs are input parameters without a default.
func inputs(names ...string) []wfv1.Parameter {
	list := make([]wfv1.Parameter, len(names))
	for i, name := range names {
		list[i].Name = name
	}
	return list
}

// arguments takes names and values in turn.
func arguments(pairs ...string) wfv1.Arguments {
	var a wfv1.Arguments
	for i := 0; i+1 < len(pairs); i += 2 {
		a.Parameters = append(a.Parameters, wfv1.Parameter{Name: pairs[i], Value: wfv1.AnyStringPtr(pairs[i+1])})
	}
	return a
}
