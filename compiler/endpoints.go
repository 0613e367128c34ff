package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// checkEndpoints finds the start and the end step, reports when there is not exactly one of each, and what such steps
// may not do. It fills in Flow.Start and Flow.End.
func checkEndpoints(u *unit) {
	if len(u.flow.Steps) == 0 {
		u.add(diag.Errorf(u.flowSpan(), "no-steps", "flow %s has no steps", u.flow.Name).
			WithDetail("%s", u.say("Mark a method with @step to make it a step.", "List at least one step under steps.")))
		return
	}
	u.flow.Start, u.flow.End = u.graph.Start(), u.graph.End()
	if u.flow.Start == "" {
		u.missingEndpoint("start", func(s *ir.Step) bool { return s.MarkedStart },
			func(s *ir.Step) bool { return len(u.graph.Predecessors(s.Name)) == 0 && s.Next != nil })
	}
	if u.flow.End == "" {
		u.missingEndpoint("end", func(s *ir.Step) bool { return s.MarkedEnd },
			func(s *ir.Step) bool { return s.Next == nil })
	}
	u.ambiguousEndpoint("start", u.flow.Start)
	u.ambiguousEndpoint("end", u.flow.End)
	if start := u.graph.Step(u.flow.Start); start != nil {
		u.checkStart(start)
	}
	if end := u.graph.Step(u.flow.End); end != nil {
		u.checkEnd(end)
	}
}

// mark is how the source marks an endpoint.
func (u *unit) mark(word string) string {
	return u.say(fmt.Sprintf("@step(%s=True)", word), word+": true")
}

// missingEndpoint reports that no step, or more than one, is the start or end.
func (u *unit) missingEndpoint(word string, marked, looksLike func(*ir.Step) bool) {
	var candidates []*ir.Step
	var likely []string
	for _, s := range u.flow.Steps {
		if marked(s) {
			candidates = append(candidates, s)
		}
		if looksLike(s) {
			likely = append(likely, s.Name)
		}
	}
	if len(candidates) > 1 {
		for _, s := range candidates[1:] {
			u.add(diag.Errorf(s.Span, word+"-ambiguous", "step %s is marked as the %s, and so is step %s", s.Name, word,
				candidates[0].Name).
				WithDetail("A flow has exactly one %s step.", word).
				WithNote(candidates[0].Span, "the first one that is marked"))
		}
		return
	}
	hint := fmt.Sprintf("Name one step %s, or mark it with %s.", word, u.mark(word))
	if len(likely) == 1 {
		hint += fmt.Sprintf(" It looks as if %s were meant.", likely[0])
	}
	u.add(diag.Errorf(u.flowSpan(), word+"-missing", "flow %s has no %s step", u.flow.Name, word).WithDetail("%s", hint))
}

// ambiguousEndpoint reports a step that is named like an endpoint while another one is marked as it.
func (u *unit) ambiguousEndpoint(word, name string) {
	named := u.graph.Step(word)
	if name == "" || name == word || named == nil {
		return
	}
	u.add(diag.Errorf(named.Span, word+"-ambiguous", "step %s is marked as the %s, but there is also a step named %s",
		name, word, word).
		WithDetail("Give this step another name, or take the mark off step %s.", name).
		WithNote(u.graph.Step(name).Span, "the step that is marked"))
}

func (u *unit) checkStart(start *ir.Step) {
	into := u.graph.Predecessors(start.Name)
	if slices.Contains(start.Successors(), start.Name) {
		into = append(into, start.Name)
	}
	if len(into) > 0 {
		u.add(diag.Errorf(start.Span, "start-entered", "the start step %s is entered from %s", start.Name, list(into)).
			WithDetail("A run begins with the start step, and no step may go on to it. Put a step before it."))
	}
	if start.Join {
		u.add(diag.Errorf(start.Span, "start-join", "the start step %s is a join", start.Name).
			WithDetail("%s", u.say("It has nothing to join: take the argument inputs away.",
				"It has nothing to join: take join away.")))
	}
}

func (u *unit) checkEnd(end *ir.Step) {
	if end.Next != nil {
		u.add(diag.Errorf(first(end.Next.Span, end.Span), "end-continues", "the end step %s goes on to another step", end.Name).
			WithDetail("%s", u.say("Remove its self.next().", "Remove its next.")))
	}
	if end.Join && end.Name != u.flow.Start {
		u.add(diag.Errorf(end.Span, "end-join", "the end step %s is a join", end.Name).
			WithDetail("%s", u.say("Join in a step before it, and take the argument inputs away here.",
				"Join in a step before it, and take join away here.")))
	}
}

// list writes names as "a", "a and b" or "a, b and c".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
