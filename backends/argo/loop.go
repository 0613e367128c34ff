package argo

import (
	"fmt"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// iterationParameter is the input parameter that holds a loop's round; of a packed loop, the pack of rounds.
	iterationParameter = "iteration"
	inputIteration     = "{{inputs.parameters." + iterationParameter + "}}"

	// roundTask and nextTask are the two tasks of a loop's template: one round, and the loop again.
	roundTask = "round"
	nextTask  = "next"

	// maxDepth is how many templates may be called inside each other, the entrypoint included: the controller's
	// maxStackDepth counts up to 100 and fails there.
	maxDepth = 99
)

// nameLoops gives every recursive step the name of the template that repeats it.
func (e *emitter) nameLoops() {
	e.loops = map[string]string{}
	for _, s := range e.flow.Steps {
		if s.Recursive() {
			e.loops[s.Name] = e.freeName(e.steps[s.Name] + "-loop")
		}
	}
}

// loopTemplate runs one round of a recursive step, and calls itself for the next where the step chose itself. Its own
// choice is that of the last round. The expression reads the output of the task that ran only, for the other has none.
func (e *emitter) loopTemplate(s *ir.Step) wfv1.Template {
	again := "'{{tasks." + roundTask + ".outputs.parameters." + ir.OutputBranch + "}}' == '" + s.Name + "'"
	round := wfv1.DAGTask{Name: roundTask, Template: e.steps[s.Name], Arguments: arguments(iterationParameter, inputIteration)}
	next := wfv1.DAGTask{
		Name: nextTask, Template: e.loops[s.Name], Depends: roundTask + ".Succeeded", When: again,
		Arguments: arguments(iterationParameter, "{{=asInt(inputs.parameters."+iterationParameter+") + 1}}"),
	}
	t := wfv1.Template{Name: e.loops[s.Name], DAG: &wfv1.DAGTemplate{}}
	if e.graph.PathLen(s.Name) > 0 {
		t.Inputs.Parameters = inputs(pathParameter)
		round.Arguments.Parameters = append(arguments(pathParameter, inputPath).Parameters, round.Arguments.Parameters...)
		next.Arguments.Parameters = append(arguments(pathParameter, inputPath).Parameters, next.Arguments.Parameters...)
	}
	t.Inputs.Parameters = append(t.Inputs.Parameters, inputs(iterationParameter)...)
	t.DAG.Tasks = []wfv1.DAGTask{round, next}
	if e.chooses(s.Name) {
		branch := func(task string) string { return "tasks." + task + ".outputs.parameters." + ir.OutputBranch }
		output := wfv1.Parameter{Name: ir.OutputBranch, ValueFrom: &wfv1.ValueFrom{
			Expression: branch(roundTask) + " == '" + s.Name + "' ? " + branch(nextTask) + " : " + branch(roundTask)}}
		if e.conditional[s.Name] {
			output.ValueFrom.Default = wfv1.AnyStringPtr("")
		}
		t.Outputs.Parameters = []wfv1.Parameter{output}
	}
	return t
}

// maxRounds is how many rounds of the step Argo runs: each is called by the one before, below the entrypoint, the bodies of
// the foreachs around the step and the loop itself.
func (e *emitter) maxRounds(step string) int {
	return (maxDepth - 2 - e.graph.PathLen(step)) * e.packs.Rounds(step)
}

// noteLoop says how long a loop may be, which is known nowhere else before a run fails by it.
func (e *emitter) noteLoop(s *ir.Step) {
	n := e.packs.Rounds(s.Name)
	wayOut := fmt.Sprintf("--pack %s=%d runs %d rounds in each pod, and ten times as many in all.", s.Name, 10*n, 10*n)
	if 10*n > ir.MaxPack {
		wayOut = "Put the loop inside the step where it needs more."
	}
	e.list = append(e.list, diag.Notef(s.Next.Span, "loop-limit",
		"step %s goes back to itself for %d rounds at the most: Argo calls no more templates inside each other", s.Name, e.maxRounds(s.Name)).
		WithDetail("A longer loop fails the run. %s", wayOut))
}
