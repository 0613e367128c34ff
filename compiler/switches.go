package compiler

import (
	"encoding/json"
	"fmt"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// checkSwitches reports switches without a condition or with too few, odd or equal cases, and branches that lead straight
// into a join.
func checkSwitches(u *unit) {
	for _, s := range u.flow.Steps {
		if s.Next == nil || s.Next.Kind != ir.Switch {
			continue
		}
		span := first(s.Next.Span, s.Span)
		if !identifier(s.Next.Condition) {
			u.add(diag.Errorf(span, "switch-condition", "the switch of step %s names no artifact to decide by", s.Name).
				WithDetail("%s", u.say("Name it as condition='attribute'.", "Name it as next: {switch: artifact, cases: …}.")))
		}
		if len(s.Next.Cases) < 2 {
			u.add(diag.Errorf(span, "switch-cases", "the switch of step %s has %d case, but needs at least two", s.Name, len(s.Next.Cases)).
				WithDetail("A step that always goes on the same way needs no switch."))
		}
		u.cases(s)
		for _, next := range u.graph.Successors(s.Name) {
			if t := u.graph.Step(next); t.Join {
				u.add(diag.Errorf(caseSpan(s, next), "switch-into-join", "a branch of the switch of step %s leads straight into the join %s",
					s.Name, next).
					WithDetail("Put a step in between: a join reads the last step of each branch, and a switch is not one.").
					WithNote(t.Span, "the join"))
			}
		}
	}
}

// caseSpan is the place where the switch of s names the step.
func caseSpan(s *ir.Step, step string) diag.Span {
	for _, c := range s.Next.Cases {
		if c.Step == step && !c.Span.IsZero() {
			return c.Span
		}
	}
	return first(s.Next.Span, s.Span)
}

// cases checks the keys of a switch.
func (u *unit) cases(s *ir.Step) {
	targets := make(map[string]bool, len(s.Next.Targets))
	for _, t := range s.Next.Targets {
		targets[t.Step] = true
	}
	seen := make(map[string]ir.Case, len(s.Next.Cases))
	for _, c := range s.Next.Cases {
		span := first(c.Span, s.Next.Span, s.Span)
		if !targets[c.Step] {
			u.add(diag.Errorf(span, "switch-cases", "a case of the switch of step %s leads to %s, which is not among its targets", s.Name, c.Step))
		}
		key, ok := caseKey(c.Value)
		if !ok {
			u.add(diag.Errorf(span, "switch-key", "the switch of step %s has the case %s, which is not a text, number or truth value",
				s.Name, c.Value))
			continue
		}
		if earlier, taken := seen[key]; taken {
			u.add(diag.Errorf(span, "switch-case-duplicate", "the switch of step %s has the case %s twice", s.Name, c.Value).
				WithNote(first(earlier.Span, s.Next.Span, s.Span), "the first one is here"))
			continue
		}
		seen[key] = c
	}
}

// caseKey returns a text that is equal for keys that are equal in Python, where 1, 1.0 and True are.
func caseKey(raw json.RawMessage) (string, bool) {
	v, err := ir.DecodeValue(raw)
	if err != nil {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return "s" + v, true
	case bool:
		if v {
			return "n1", true
		}
		return "n0", true
	case int64:
		return fmt.Sprintf("n%d", v), true
	case float64:
		if v == float64(int64(v)) {
			return fmt.Sprintf("n%d", int64(v)), true
		}
		return fmt.Sprintf("n%v", v), true
	}
	return "", false
}
