package argo

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// sizeParameter and attemptParameter are the input parameters of a gang that is tried again as a whole.
	sizeParameter    = "size"
	attemptParameter = "attempt"
)

// gangOf returns the step that starts the gang which the step is a task of; nil for none.
func (e *emitter) gangOf(step string) *ir.Step {
	if split, ok := e.graph.FirstOfBody(step); ok {
		if s := e.graph.Step(split); s.Next.Kind == ir.Parallel {
			return s
		}
	}
	return nil
}

// retriedTogether reports whether the step's tasks are a gang of which one cannot be tried again alone: the others would
// have ended, or wait for it.
func (e *emitter) retriedTogether(step string) bool {
	return e.gangOf(step) != nil && retryStrategy(e.graph.Step(step)) != nil
}

// gangTemplate starts all tasks of a gang. The retry strategy stands here and not at the step, so that a failure of one
// starts all of them again; they are told the attempt.
func (e *emitter) gangTemplate(b *body, split string, g group) wfv1.Template {
	step := e.graph.Step(split).Next.Targets[0].Step
	t := wfv1.Template{Name: g.template, RetryStrategy: retryStrategy(e.graph.Step(step)), DAG: &wfv1.DAGTemplate{}}
	path := "{{item}}"
	if b.split != "" {
		t.Inputs.Parameters = inputs(pathParameter)
		path = inputPath + "," + path
	}
	t.Inputs.Parameters = append(t.Inputs.Parameters, inputs(sizeParameter)...)
	t.DAG.Tasks = []wfv1.DAGTask{{
		Name:         e.steps[step],
		Template:     e.steps[step],
		WithSequence: sequence("{{inputs.parameters." + sizeParameter + "}}"),
		Arguments:    arguments(pathParameter, path, attemptParameter, retryCount),
	}}
	return t
}

// address tells a task of a gang where the others reach it: what the kubelet knows once the pod has its network.
func address() corev1.EnvVar {
	return corev1.EnvVar{Name: ir.EnvAddress, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}
}

// checkGang: a gang whose tasks do not all fit waits for itself.
func (e *emitter) checkGang(s *ir.Step) {
	if s.Next == nil || s.Next.Kind != ir.Parallel || s.Next.NumParallel <= e.opt.MaxWorkers {
		return
	}
	e.list = append(e.list, diag.Errorf(s.Next.Span, "gang-too-large",
		"step %s starts a gang of %d, but at most %d tasks work at once", s.Name, s.Next.NumParallel, e.opt.MaxWorkers).
		WithDetail("The tasks of a gang wait for each other: all of them must run at once. Give --max-workers %d or more.", s.Next.NumParallel))
}
