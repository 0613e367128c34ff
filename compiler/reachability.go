package compiler

import (
	"slices"
	"strings"

	"github.com/mf-run/mf/diag"
)

// checkReachability reports cycles, steps that no run can get to, and steps from which no run gets to the end. The
// latter two are left out where an earlier error (an unknown target, say) is likely to be their cause.
func checkReachability(u *unit) {
	explained := u.structureErrors()
	cycles := u.graph.Cycles()
	for _, cycle := range cycles {
		// That the start is entered or the end goes on has been said.
		if !slices.Contains(cycle, u.flow.Start) && !slices.Contains(cycle, u.flow.End) {
			u.cycle(cycle)
		}
	}
	if explained {
		return
	}
	unreachable := u.graph.Unreachable()
	cut := make(map[string]bool, len(unreachable))
	for _, name := range unreachable {
		cut[name] = true
	}
	for _, name := range u.heads(unreachable, cut) {
		s := u.graph.Step(name)
		if name == u.flow.End && len(cycles) > 0 {
			continue // all ways to it end in a circle
		}
		u.add(diag.Errorf(s.Span, "step-unreachable", "no path leads from the start step %s to step %s", u.flow.Start, name).
			WithDetail("%s", u.say("Name it in the self.next() of another step, or remove it.",
				"Name it in the next of another step, or remove it.")))
	}
	if len(cycles) > 0 {
		return // a step that only leads into a cycle does not reach the end either
	}
	for _, name := range u.graph.DeadEnds() {
		if s := u.graph.Step(name); !cut[name] && s.Recursive() {
			u.add(diag.Errorf(first(s.Next.Span, s.Span), "recursion-endless", "step %s only goes back to itself", name).
				WithDetail("One case of its switch must go on to another step."))
		}
	}
}

// structureErrors reports whether one of the findings so far explains why steps are cut off.
func (u *unit) structureErrors() bool {
	for _, d := range u.found {
		switch d.Code {
		case "step-unknown", "next-missing", "start-missing", "end-missing", "start-ambiguous", "end-ambiguous",
			"duplicate-step", "no-steps", "next-targets", "end-continues":
			return true
		}
	}
	return false
}

// heads returns those of the unreachable steps that no other of them leads to, or where there are none, the first.
func (u *unit) heads(unreachable []string, cut map[string]bool) []string {
	var heads []string
	for _, name := range unreachable {
		entered := false
		for _, p := range u.graph.Predecessors(name) {
			entered = entered || cut[p]
		}
		if !entered {
			heads = append(heads, name)
		}
	}
	if heads == nil && len(unreachable) > 0 {
		heads = unreachable[:1]
	}
	return heads
}

// cycle reports one cycle; a long one is shown by its ends.
func (u *unit) cycle(path []string) {
	const most = 12
	shown := path
	if len(shown) > most {
		shown = append(append(append([]string{}, path[:most/2]...), "…"), path[len(path)-most/2:]...)
	}
	s := u.graph.Step(path[len(path)-2])
	span := s.Span
	if s.Next != nil {
		span = first(s.Next.Span, s.Span)
		for _, t := range s.Next.Targets {
			if t.Step == path[0] {
				span = first(t.Span, span)
			}
		}
	}
	u.add(diag.Errorf(span, "cycle", "the steps lead in a circle: %s", strings.Join(shown, " → ")).
		WithDetail("Only a switch may go back, and only to its own step."))
}
