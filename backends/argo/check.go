package argo

import (
	"encoding/json"
	"fmt"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// maxWorkflowBytes is the largest Workflow, as JSON, that Argo's controller keeps.
	maxWorkflowBytes = 1 << 20
	// warnWorkflowBytes leaves a fifth for what cannot be foreseen.
	warnWorkflowBytes = maxWorkflowBytes / 5 * 4

	// A node's status holds, besides its name in several forms, some nodeBytes; where a Workflow becomes too large, the
	// controller keeps them compressed, to one part in nodeCompression.
	nodeBytes       = 520
	nodeCompression = 7
	// runSuffix is what Argo appends to the deployed name in a run's, at the most.
	runSuffix = 12
)

// state is what Argo keeps of a run in its Workflow object, as far as the flow says how much that is.
type state struct {
	// fixed is the template's copy, in bytes: the spec, and each template once more in the status.
	fixed int
	// nodes are the status nodes, and bytes their JSON.
	nodes, bytes int
	// widest is the splitting step that adds most to them; nil where no width is known.
	widest *ir.Step
	width  int
}

func (s state) plain() int      { return s.fixed + s.bytes }
func (s state) compressed() int { return s.fixed + s.bytes/nodeCompression }

// stateOf counts with the known widths, or, where they do not count, as if each foreach had one item.
func (e *emitter) stateOf(t *wfv1.WorkflowTemplate, widths bool) (state, error) {
	var s state
	for _, part := range []any{t, t.Spec.Templates} {
		text, err := json.Marshal(part)
		if err != nil {
			return s, err
		}
		s.fixed += len(text)
	}
	add := func(n int, name string) {
		s.nodes += n
		s.bytes += n * (nodeBytes + 6*(len(e.name)+runSuffix) + 4*len(name))
	}
	most := 0
	for _, step := range e.flow.Steps {
		if e.gone(step.Name) {
			continue
		}
		times := 1
		if widths {
			times = e.containers(step.Name)
		}
		perTask := 1
		if step.Recursive() {
			perTask += 2 // the DAG of the round, and the round that does not come
		}
		if retryStrategy(step) != nil {
			perTask++
		}
		if _, done := e.finished(step.Name); done {
			perTask = 2 // a DAG, and its task that never runs
		}
		add(times*perTask, step.Name)
		if step.Next == nil || step.Next.Kind != ir.Foreach && step.Next.Kind != ir.Parallel {
			continue
		}
		add(times, step.Name) // the group
		if e.foreachDone(step.Name) {
			add(1, step.Name)
			continue
		}
		if last := e.graph.BodyLast(step.Name); len(last) != 1 || last[0] != step.Next.Targets[0].Step {
			if widths {
				times = e.containers(step.Next.Targets[0].Step)
			}
			add(times, step.Name) // the DAG of each item
		}
		if n, known := backends.Width(e.flow, step); known && e.items(step.Name) > most {
			most, s.widest, s.width = e.items(step.Name), step, n
		}
	}
	return s, nil
}

// items is how many times Argo runs the body of the step's foreach: its known width, in packs; 1 where it is unknown.
// Of a run that is resumed it is what is left.
func (e *emitter) items(split string) int {
	if left, some := e.someItems(split); some {
		return len(left)
	}
	n, known := backends.Width(e.flow, e.graph.Step(split))
	if !known {
		return 1
	}
	pack := e.packs.Splits(split)
	return max((n+pack-1)/pack, 1)
}

// containers is how many pods run the step's tasks, as far as widths are known.
func (e *emitter) containers(step string) int {
	n := 1
	for _, split := range e.graph.Foreachs(step) {
		n = min(n*e.items(split), 1<<40)
	}
	return n
}

// checkSize compares what a run comes to with what fits into a Workflow object.
func (e *emitter) checkSize(t *wfv1.WorkflowTemplate) {
	span := backends.FlowSpan(e.flow)
	least, err := e.stateOf(t, false)
	if err != nil {
		e.errorf(span, "manifest", "the manifest has no JSON form: %v", err)
		return
	}
	const wayOut = "Argo keeps the whole template inside each run's object, twice, and never compresses it. " +
		"Split the flow in two, or use a foreach where steps repeat."
	switch n := least.compressed(); {
	case n > maxWorkflowBytes:
		e.list = append(e.list, diag.Errorf(span, "manifest-too-large",
			"a run of the %d steps comes to %d bytes, but Argo takes %d", len(e.flow.Steps), n, maxWorkflowBytes).WithDetail(wayOut))
		return
	case n > warnWorkflowBytes:
		e.list = append(e.list, diag.Warningf(span, "manifest-large",
			"a run of the %d steps comes to %d bytes of the %d that Argo takes", len(e.flow.Steps), n, maxWorkflowBytes).WithDetail(wayOut))
	}
	wide, err := e.stateOf(t, true)
	if err == nil && wide.widest != nil && wide.plain() > maxWorkflowBytes {
		e.wideForeach(wide)
	}
}

// wideForeach says what a run with many tasks needs.
func (e *emitter) wideForeach(s state) {
	span := s.widest.Next.Span
	what := fmt.Sprintf("step %s starts %d tasks: Argo keeps the state of %d nodes in the run's object, about %d KiB",
		s.widest.Name, s.width, s.nodes, s.plain()>>10)
	wayOut := "Nothing in this flow can be packed: turn on the controller's offloading of node status (persistence.nodeStatusOffLoad)."
	if s.widest.Next.Kind == ir.Foreach {
		wayOut = fmt.Sprintf("--pack %s=50 runs fifty of them in each pod. Or turn on the controller's offloading of node status "+
			"(persistence.nodeStatusOffLoad), which needs a database.", s.widest.Next.Targets[0].Step)
	}
	if s.compressed() > maxWorkflowBytes {
		e.list = append(e.list, diag.Warningf(span, "foreach-too-wide", "%s, and takes %d KiB: the run would fail", what, maxWorkflowBytes>>10).
			WithDetail("Compressed, as Argo keeps it then, it is still about %d KiB. %s", s.compressed()>>10, wayOut))
		return
	}
	e.list = append(e.list, diag.Notef(span, "foreach-wide", "%s, and has to compress it", what).
		WithDetail("That fits, but makes the controller slower. %s", wayOut))
}
