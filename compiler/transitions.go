package compiler

import (
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// checkTransitions reports steps that do not go on, and transitions that lack what their kind needs.
func checkTransitions(u *unit) {
	for _, s := range u.flow.Steps {
		if s.Name == u.flow.End {
			continue
		}
		if s.Next == nil {
			if u.flow.End != "" {
				u.add(diag.Errorf(s.Span, "next-missing", "step %s does not say which step comes next", s.Name).
					WithDetail("%s", u.say("Add self.next(…) as the last statement of the step.", "Add next to the step.")))
			}
			continue
		}
		u.checkTransition(s)
	}
}

func (u *unit) checkTransition(s *ir.Step) {
	span := first(s.Next.Span, s.Span)
	targets := len(s.Next.Targets)
	switch s.Next.Kind {
	case ir.Linear:
		u.oneTarget(s, span)
	case ir.Split:
		if targets < 2 {
			u.add(diag.Errorf(span, "next-targets", "step %s splits into %d steps", s.Name, targets).
				WithDetail("A split has at least two branches."))
		}
	case ir.Foreach:
		u.oneTarget(s, span)
		if !identifier(s.Next.Foreach) {
			u.add(diag.Errorf(span, "foreach-artifact", "the foreach of step %s names no artifact", s.Name).
				WithDetail("%s", u.say("Name the attribute that holds the list: self.next(self.a, foreach='items').",
					"Name the artifact that holds the list: next: {foreach: items, step: a}.")))
		}
	case ir.Parallel:
		u.oneTarget(s, span)
		if s.Next.NumParallel < 0 {
			u.add(diag.Errorf(span, "parallel-size", "step %s asks for %d parallel tasks", s.Name, s.Next.NumParallel).
				WithDetail("num_parallel is 1 or more."))
		}
	case ir.Switch: // checkSwitches
		if targets == 0 {
			u.add(diag.Errorf(span, "switch-cases", "the switch of step %s has no cases", s.Name))
		}
	default:
		u.add(diag.Errorf(span, "next-kind", "step %s goes on in an unknown way, %q", s.Name, s.Next.Kind))
	}
	if s.Join && s.Next.Kind != ir.Linear {
		u.add(diag.Errorf(s.Span, "join-splits", "step %s joins and %s at once", s.Name, verbs[s.Next.Kind]).
			WithDetail("Let it go on to a new step, and do the latter there.").
			WithNote(span, "where it goes on"))
	}
}

// verbs say what a step with such a transition does.
var verbs = map[ir.TransitionKind]string{
	ir.Split: "splits", ir.Foreach: "starts a foreach", ir.Parallel: "starts parallel tasks", ir.Switch: "switches",
}

func (u *unit) oneTarget(s *ir.Step, span diag.Span) {
	if n := len(s.Next.Targets); n != 1 {
		u.add(diag.Errorf(span, "next-targets", "step %s names %d steps to go on to, but a %s transition has exactly one",
			s.Name, n, s.Next.Kind))
	}
}

// checkTargets reports transitions to steps that do not exist, and branches that are named twice.
func checkTargets(u *unit) {
	for _, s := range u.flow.Steps {
		if s.Next == nil {
			continue
		}
		seen := make(map[string]bool, len(s.Next.Targets))
		unknown := map[string]bool{}
		for _, t := range s.Next.Targets {
			if u.graph.Step(t.Step) == nil && !unknown[t.Step] {
				unknown[t.Step] = true
				u.unknownStep(s, t.Step, first(t.Span, s.Next.Span, s.Span))
			}
			if seen[t.Step] && s.Next.Kind != ir.Switch {
				u.add(diag.Errorf(first(t.Span, s.Next.Span, s.Span), "next-duplicate", "step %s goes on to step %s twice",
					s.Name, t.Step).WithDetail("The branches of a split are different steps. Use a foreach to run one step several times."))
			}
			seen[t.Step] = true
		}
		for _, c := range s.Next.Cases {
			if u.graph.Step(c.Step) == nil && !unknown[c.Step] {
				unknown[c.Step] = true
				u.unknownStep(s, c.Step, first(c.Span, s.Next.Span, s.Span))
			}
		}
	}
}

func (u *unit) unknownStep(s *ir.Step, target string, span diag.Span) {
	u.add(diag.Errorf(span, "step-unknown", "step %s goes on to %s, which is not a step", s.Name, target).
		WithDetail("%s", u.near(target, u.say("A step is a method of the flow with @step.", "There is no step of this name under steps."))))
}

// identifier reports whether the name can be an attribute of a Python object.
func identifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > 0x7f
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
