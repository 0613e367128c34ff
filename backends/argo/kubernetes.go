package argo

import (
	"github.com/mf-run/mf/backends/pod"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// podOf reads what a step asks of its pod.
func (e *emitter) podOf(s *ir.Step) pod.Pod {
	p, list := e.pods.Step(s)
	e.list = append(e.list, list...)
	if d := s.Decorator("kubernetes"); d != nil {
		e.agreeOnNamespace(s, d)
	}
	e.pullSecrets = pod.Unique(append(e.pullSecrets, p.PullSecrets...))
	return p
}

// agreeOnNamespace: all pods of a workflow run in the workflow's namespace.
func (e *emitter) agreeOnNamespace(s *ir.Step, d *ir.Decorator) {
	namespace := d.Attributes.String("namespace", "")
	switch {
	case namespace == "" || namespace == e.namespace:
	case e.namespace == "":
		e.namespace = namespace
	default:
		e.list = append(e.list, diag.Errorf(d.Span, "namespaces-differ",
			"step %s runs in namespace %s, but others run in %s", s.Name, namespace, e.namespace).
			WithDetail("Argo runs all pods of a workflow in one namespace. Leave it out here, or set %s.", setNamespace))
	}
}
