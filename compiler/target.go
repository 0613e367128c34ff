package compiler

import (
	"github.com/mf-run/mf/diag"
)

// checkTarget reports what the target cannot do: features it lacks, and limits that are known when compiling.
func checkTarget(u *unit) {
	t := u.target
	if t == nil {
		return
	}
	u.found = append(u.found, t.Unsupported(u.graph)...)
	if t.MaxFlowName > 0 && len(u.flow.Name) > t.MaxFlowName {
		u.add(diag.Errorf(u.flowSpan(), "target-limit", "the name of flow %s is %d characters long, but %s allows %d",
			u.flow.Name, len(u.flow.Name), t.Target, t.MaxFlowName).
			WithDetail("Deploy it under a shorter name with --name."))
	}
	bytes := 0
	for i := range u.flow.Parameters {
		p := &u.flow.Parameters[i]
		bytes += len(p.Option) + len(p.Default)
	}
	if t.MaxParameterBytes > 0 && bytes > t.MaxParameterBytes {
		u.add(diag.Errorf(u.flowSpan(), "target-limit", "the parameters of flow %s take %d bytes with their defaults, but %s allows %d",
			u.flow.Name, bytes, t.Target, t.MaxParameterBytes).
			WithDetail("Move large defaults into a file, with IncludeFile or a file parameter."))
	}
	for _, s := range u.flow.Steps {
		if t.MaxStepName > 0 && len(s.Name) > t.MaxStepName {
			u.add(diag.Errorf(s.Span, "target-limit", "the name of step %s is %d characters long, but %s allows %d",
				s.Name, len(s.Name), t.Target, t.MaxStepName).
				WithDetail("Give the step a shorter name."))
		}
		if t.MaxSplits > 0 && s.Next != nil && s.Next.NumParallel > t.MaxSplits {
			u.add(diag.Errorf(first(s.Next.Span, s.Span), "target-limit", "step %s starts %d parallel tasks, but %s allows %d",
				s.Name, s.Next.NumParallel, t.Target, t.MaxSplits).
				WithDetail("Start fewer tasks, and let each do more."))
		}
	}
}
