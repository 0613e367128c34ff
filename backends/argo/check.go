package argo

import (
	"encoding/json"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
)

const (
	// maxWorkflowBytes is the largest Workflow, as JSON, that Argo's controller keeps; a template's copy is part of it.
	maxWorkflowBytes = 1 << 20
	// warnWorkflowBytes leaves a fifth for the state of the run's nodes.
	warnWorkflowBytes = maxWorkflowBytes / 5 * 4
)

// checkSize compares the manifest with what fits into a Workflow object.
func (e *emitter) checkSize(manifest any) {
	text, err := json.Marshal(manifest)
	if err != nil {
		e.errorf(backends.FlowSpan(e.flow), "manifest", "the manifest has no JSON form: %v", err)
		return
	}
	const wayOut = "Argo keeps the whole template inside each run's object, and never compresses it. " +
		"Split the flow in two, or use a foreach where steps repeat."
	switch span, n := backends.FlowSpan(e.flow), len(text); {
	case n > maxWorkflowBytes:
		e.list = append(e.list, diag.Errorf(span, "manifest-too-large",
			"the workflow of %d steps has %d bytes, but Argo takes %d", len(e.flow.Steps), n, maxWorkflowBytes).WithDetail(wayOut))
	case n > warnWorkflowBytes:
		e.list = append(e.list, diag.Warningf(span, "manifest-large",
			"the workflow of %d steps has %d bytes of the %d that Argo takes", len(e.flow.Steps), n, maxWorkflowBytes).WithDetail(wayOut))
	}
}
