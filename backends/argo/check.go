package argo

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
)

const (
	// maxWorkflowBytes is the largest Workflow, as JSON, that Argo's controller keeps; a template's copy is part of it.
	maxWorkflowBytes = 1 << 20
	// warnWorkflowBytes leaves a fifth for the state of the run's nodes.
	warnWorkflowBytes = maxWorkflowBytes / 5 * 4
	// maxTextBytes is the longest environment variable or argument that Linux passes to a process.
	maxTextBytes = 128 << 10
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

// checkText reports a text that would not reach the container as it is.
func (e *emitter) checkText(span diag.Span, what, text string) {
	switch {
	case strings.Contains(text, "{{"):
		e.list = append(e.list, diag.Errorf(span, "argo-braces", "%s holds \"{{\", which Argo would replace", what).
			WithDetail("Argo has no way to write it. Keep such a text in a file of the code package or an artifact."))
	case len(text) >= maxTextBytes:
		e.list = append(e.list, diag.Errorf(span, "text-too-long",
			"%s has %d bytes, but a process can be given %d", what, len(text), maxTextBytes-1).
			WithDetail("Keep it in a file of the code package or an artifact."))
	case !json.Valid([]byte(strconv.Quote(text))):
		e.list = append(e.list, diag.Errorf(span, "argo-control-characters",
			"%s holds control characters, which Argo cannot pass on", what))
	}
}
