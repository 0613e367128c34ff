package ir

import (
	"fmt"

	"github.com/mf-run/mf/diag"
)

// Unsupported returns an error for each use of something that the target cannot do, with the step, the reason and the
// way out: the compiler's target pass, and a backend's last defence. Step and flow names, sizes and cron dialects are
// the backend's to check, for it alone knows how it writes them.
func (f Features) Unsupported(g *Graph) diag.List {
	u := unsupported{features: f, flow: g.Flow()}
	for _, name := range g.Order() {
		u.step(g, g.Step(name))
	}
	for i := range u.flow.Decorators {
		u.flowDecorator(&u.flow.Decorators[i])
	}
	if f.ParameterDefaults {
		u.parameters()
	}
	return u.list
}

type unsupported struct {
	features Features
	flow     *Flow
	list     diag.List
}

// refuse reports the use of a feature, if the target misses it.
func (u *unsupported) refuse(feature Feature, span diag.Span, format string, args ...any) {
	if limit, ok := u.features.Can(feature); !ok {
		u.limit(limit, span, fmt.Sprintf(format, args...))
	}
}

func (u *unsupported) limit(limit Limit, span diag.Span, use string) {
	d := diag.Errorf(span, "target-unsupported", "%s, but %s %s", use, u.features.Target, limit.Reason)
	if limit.WayOut != "" {
		d = d.WithDetail("%s", limit.WayOut)
	}
	u.list = append(u.list, d)
}

func (u *unsupported) step(g *Graph, s *Step) {
	if s.Next != nil {
		u.transition(g, s)
	}
	for i := range s.Decorators {
		d := &s.Decorators[i]
		if limit, refused := u.features.Decorators[d.Name]; refused {
			u.limit(limit, d.Span, fmt.Sprintf("step %s has @%s", s.Name, d.Name))
		}
		u.stepDecorator(s, d)
	}
}

func (u *unsupported) transition(g *Graph, s *Step) {
	switch span := s.Next.Span; s.Next.Kind {
	case Split:
		u.refuse(FeatureSplit, span, "step %s splits into several steps", s.Name)
		if g.PathLen(s.Name) > 0 {
			u.refuse(FeatureSplitInBody, span, "step %s splits into several steps inside a foreach", s.Name)
		}
	case Foreach:
		u.refuse(FeatureForeach, span, "step %s uses a foreach", s.Name)
		if g.PathLen(s.Name) > 0 {
			u.refuse(FeatureNestedForeach, span, "step %s uses a foreach inside a foreach", s.Name)
		}
		if last := g.BodyLast(s.Name); len(last) != 1 || last[0] != s.Next.Targets[0].Step {
			u.refuse(FeatureForeachBody, span, "the foreach of step %s has a body of several steps", s.Name)
		}
	case Parallel:
		u.refuse(FeatureParallel, span, "step %s uses num_parallel", s.Name)
	case Switch:
		u.refuse(FeatureSwitch, span, "step %s uses a switch", s.Name)
		if s.Recursive() {
			u.refuse(FeatureRecursion, span, "step %s goes back to itself", s.Name)
		}
	}
}

func (u *unsupported) stepDecorator(s *Step, d *Decorator) {
	switch d.Name {
	case "retry":
		times, _ := s.Retry()
		if times == 0 {
			return
		}
		u.refuse(FeatureRetry, d.Span, "step %s has @retry", s.Name)
		if limit := u.features.MaxRetries; limit > 0 && times > limit {
			u.limit(Limit{Reason: fmt.Sprintf("retries a task at most %d times", limit)}, d.Span,
				fmt.Sprintf("step %s has @retry(times=%d)", s.Name, times))
		}
	case "catch":
		u.refuse(FeatureCatch, d.Span, "step %s has @catch", s.Name)
	case "timeout":
		seconds := int(s.Timeout().Seconds())
		if seconds == 0 {
			return
		}
		u.refuse(FeatureTimeout, d.Span, "step %s has @timeout", s.Name)
		if least := u.features.MinTimeoutSeconds; seconds < least {
			u.limit(Limit{Reason: fmt.Sprintf("has no timeout shorter than %d seconds", least)}, d.Span,
				fmt.Sprintf("step %s has a timeout of %d seconds", s.Name, seconds))
		}
	case "resources", "kubernetes", "batch":
		if d.Attributes.Float("gpu", 0) > 0 {
			u.refuse(FeatureGPU, d.Span, "step %s asks for a GPU", s.Name)
		}
	}
}

func (u *unsupported) flowDecorator(d *Decorator) {
	if limit, refused := u.features.Decorators[d.Name]; refused {
		u.limit(limit, d.Span, fmt.Sprintf("flow %s has @%s", u.flow.Name, d.Name))
	}
	switch d.Name {
	case "schedule":
		schedule, ok := u.flow.Schedule()
		if !ok {
			return
		}
		u.refuse(FeatureSchedule, d.Span, "flow %s has a schedule", u.flow.Name)
		if schedule.Timezone != "" {
			u.refuse(FeatureTimezone, d.Span, "flow %s has a schedule with a time zone", u.flow.Name)
		}
	case "trigger":
		u.refuse(FeatureTrigger, d.Span, "flow %s has @trigger", u.flow.Name)
	case "trigger_on_finish":
		u.refuse(FeatureTriggerFinish, d.Span, "flow %s has @trigger_on_finish", u.flow.Name)
	case "exit_hook":
		u.refuse(FeatureExitHook, d.Span, "flow %s has @exit_hook", u.flow.Name)
	}
}

func (u *unsupported) parameters() {
	for i := range u.flow.Parameters {
		if p := &u.flow.Parameters[i]; p.Default == nil && p.DefaultFunc == "" {
			u.limit(Limit{Reason: "needs a default for every parameter", WayOut: "Give it a default."}, p.Span,
				fmt.Sprintf("parameter %s has no default", p.Name))
		}
	}
}
