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
	// groups are the foreachs of steps in this body, by splitting step: the DAG task that runs all items.
	groups map[string]group
}

// group is a foreach: one DAG task that Argo expands to one per split.
type group struct {
	// task is the DAG task's name, template what it runs: a DAG of its own, or the only step of the body directly.
	task, template string
}

// bodies returns the flow's DAG and, after it, that of each foreach with a body of several steps.
func (e *emitter) bodies(entrypoint string) []body {
	list := []body{{name: entrypoint, groups: map[string]group{}}}
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
		next := e.graph.Step(name).Next
		if next == nil || next.Kind != ir.Foreach {
			continue
		}
		first := next.Targets[0].Step
		if last := e.graph.BodyLast(name); len(last) == 1 && last[0] == first {
			list[i].groups[name] = group{task: e.steps[first], template: e.steps[first]}
			continue
		}
		template := e.freeName(e.steps[name] + "-foreach-" + next.Foreach)
		list[i].groups[name] = group{task: template, template: template}
		at[name] = len(list)
		list = append(list, body{name: template, split: name, groups: map[string]group{}})
	}
	return list
}

// dagTemplate writes a body. A task waits for its predecessors in the same body; the join of a foreach for the foreach's
// group. "dependencies" is met by a skipped task too: that is what a foreach over nothing becomes.
func (e *emitter) dagTemplate(b *body) wfv1.Template {
	t := wfv1.Template{Name: b.name, DAG: &wfv1.DAGTemplate{}}
	if b.split != "" {
		t.Inputs.Parameters = []wfv1.Parameter{{Name: pathParameter}}
	}
	inside := map[string]bool{}
	for _, name := range b.steps {
		inside[name] = true
	}
	for _, name := range b.steps {
		task := wfv1.DAGTask{Name: e.steps[name], Template: e.steps[name]}
		for _, before := range e.graph.Predecessors(name) {
			if inside[before] {
				task.Dependencies = append(task.Dependencies, e.steps[before])
			}
		}
		if g, ok := b.groups[e.graph.JoinedSplit(name)]; ok {
			task.Dependencies = append(task.Dependencies, g.task)
		}
		if b.split != "" {
			task.Arguments = pathArgument(inputPath)
		}
		t.DAG.Tasks = append(t.DAG.Tasks, task)
		if g, ok := b.groups[name]; ok {
			t.DAG.Tasks = append(t.DAG.Tasks, e.groupTask(b, name, g))
		}
	}
	return t
}

// inputPath is the split path that a template is given.
const inputPath = "{{inputs.parameters." + pathParameter + "}}"

// groupTask runs the items of a foreach: as many as the splitting task counted, each at its own split path.
func (e *emitter) groupTask(b *body, split string, g group) wfv1.DAGTask {
	path := "{{item}}"
	if b.split != "" {
		path = inputPath + "," + path
	}
	count := intstr.FromString("{{tasks." + e.steps[split] + ".outputs.parameters." + ir.OutputSplits + "}}")
	return wfv1.DAGTask{
		Name:         g.task,
		Template:     g.template,
		Dependencies: []string{e.steps[split]},
		WithSequence: &wfv1.Sequence{Count: &count},
		Arguments:    pathArgument(path),
	}
}

func pathArgument(path string) wfv1.Arguments {
	return wfv1.Arguments{Parameters: []wfv1.Parameter{{Name: pathParameter, Value: wfv1.AnyStringPtr(path)}}}
}
