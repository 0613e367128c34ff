package compiler

import (
	"fmt"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// checkSplits reports where splits and joins do not fit together: each split has exactly one join, which all of its
// branches reach, and branches meet nowhere else.
func checkSplits(u *unit) {
	for _, f := range u.graph.Faults() {
		u.fault(f)
	}
}

func (u *unit) fault(f ir.Fault) {
	s := u.graph.Step(f.Step)
	switch f.Kind {
	case ir.JoinWithoutSplit:
		u.add(diag.Errorf(s.Span, "join-without-split", "step %s is a join, but there is no split before it to join", f.Step).
			WithDetail("%s", u.say("Take the argument inputs away, or split before it with self.next(self.a, self.b) or foreach.",
				"Take join away, or split before it.")))
	case ir.JoinOfUnrelated:
		d := diag.Errorf(s.Span, "join-of-unrelated", "step %s joins branches of different splits: %s", f.Step, u.ways(f)).
			WithDetail("Join the inner split first: each join brings together all branches of one split.")
		u.add(u.noteSplits(d, f.Splits))
	case ir.JoinIncomplete:
		d := diag.Errorf(s.Span, "join-incomplete", "step %s joins the split of step %s without the branch of step %s",
			f.Step, f.Splits[0], list(f.Branches)).
			WithDetail("All branches of a split end in the same join. Let the missing one lead to %s.", f.Step)
		u.add(u.noteSplits(d, f.Splits))
	case ir.JoinedTwice:
		d := diag.Errorf(s.Span, "joined-twice", "step %s joins the split of step %s, which step %s joins already",
			f.Step, f.Splits[0], f.Steps[0]).
			WithDetail("All branches of a split end in the same join.").
			WithNote(u.graph.Step(f.Steps[0]).Span, "the other join")
		u.add(u.noteSplits(d, f.Splits))
	case ir.MeetsOutsideJoin:
		u.meeting(s, f)
	case ir.NotJoined:
		u.notJoined(s)
	case ir.EmptyBranch:
		u.add(diag.Errorf(first(s.Next.Span, s.Span), "branch-empty", "the %s of step %s goes straight to the join %s",
			kindName(s.Next.Kind), f.Step, f.Branches[0]).
			WithDetail("Put at least one step between the two.").
			WithNote(u.graph.Step(f.Branches[0]).Span, "the join"))
	}
}

// kindName is the word for a kind of split.
func kindName(k ir.TransitionKind) string {
	if k == ir.Parallel {
		return "parallel split"
	}
	return string(k)
}

// ways says of each step before a fault in which split it lies.
func (u *unit) ways(f ir.Fault) string {
	var parts []string
	for _, name := range f.Steps {
		frames := u.graph.Enclosing(name)
		if s := u.graph.Step(name); s.Next != nil && (s.Next.Kind != ir.Linear && s.Next.Kind != ir.Switch) {
			parts = append(parts, name+" splits")
		} else if len(frames) == 0 {
			parts = append(parts, name+" lies in no split")
		} else {
			parts = append(parts, fmt.Sprintf("%s lies in that of %s", name, frames[len(frames)-1].Split))
		}
	}
	return list(parts)
}

func (u *unit) noteSplits(d diag.Diagnostic, splits []string) diag.Diagnostic {
	for _, name := range splits {
		if s := u.graph.Step(name); s != nil && s.Next != nil {
			d = d.WithNote(first(s.Next.Span, s.Span), "step %s splits here", name)
		}
	}
	return d
}

// meeting reports branches that come together in a step that is not a join.
func (u *unit) meeting(s *ir.Step, f ir.Fault) {
	asJoin := u.say(fmt.Sprintf("Make it a join, def %s(self, inputs), or let the branches stay apart.", s.Name),
		"Make it a join with join: true, or let the branches stay apart.")
	if s.Name == u.flow.End {
		asJoin = fmt.Sprintf("Add a join step before %s.", s.Name)
	}
	var d diag.Diagnostic
	if len(f.Splits) == 1 && len(f.Branches) > 1 {
		d = diag.Errorf(s.Span, "split-not-joined", "branches %s of the split of step %s come together in step %s, which is not a join",
			list(f.Branches), f.Splits[0], s.Name).WithDetail("%s", asJoin)
	} else {
		d = diag.Errorf(s.Span, "branches-cross", "step %s is reached from inside and outside of a split: %s", s.Name, u.ways(f)).
			WithDetail("The branches of a split lead to its join and nowhere else.")
	}
	u.add(u.noteSplits(d, f.Splits))
}

func (u *unit) notJoined(s *ir.Step) {
	what := "split"
	if s.Next.Kind != ir.Split {
		what = kindName(s.Next.Kind)
	}
	u.add(diag.Errorf(first(s.Next.Span, s.Span), "split-not-joined", "the %s of step %s is not joined before the end step %s",
		what, s.Name, u.flow.End).
		WithDetail("%s", u.say("Add a join step, a method with the arguments self and inputs, before the end.",
			"Add a step with join: true before the end.")))
}

// checkParallel reports gangs whose step lacks @parallel, @parallel on a step that is not a gang, and gangs that are not
// joined at once.
func checkParallel(u *unit) {
	for _, s := range u.flow.Steps {
		gang := s.Decorator("parallel")
		if gang == nil {
			gang = s.Decorator("pytorch_parallel")
		}
		called, asGang := false, false
		for _, name := range u.graph.Predecessors(s.Name) {
			p := u.graph.Step(name)
			parallel := p.Next.Kind == ir.Parallel
			called, asGang = true, asGang || parallel
			switch {
			case parallel && gang == nil:
				u.add(diag.Errorf(s.Span, "parallel-missing", "step %s is run as a gang by step %s, but has no %s", s.Name, name, u.at("parallel")).
					WithDetail("Add %s to it.", u.at("parallel")).
					WithNote(first(p.Next.Span, p.Span), "num_parallel is here"))
			case !parallel && gang != nil:
				u.add(diag.Errorf(first(gang.Span, s.Span), "parallel-unused", "step %s has %s, but step %s goes on to it without num_parallel",
					s.Name, u.at(gang.Name), name).
					WithDetail("Go on with num_parallel there, or take %s away.", u.at(gang.Name)).
					WithNote(first(p.Next.Span, p.Span), "where it goes on"))
			}
		}
		if gang == nil {
			continue
		}
		if !called {
			u.add(diag.Errorf(first(gang.Span, s.Span), "parallel-unused", "step %s has %s, but no step runs it with num_parallel",
				s.Name, u.at(gang.Name)).
				WithDetail("Take %s away, or put a step before it that goes on with num_parallel.", u.at(gang.Name)))
		}
		for _, next := range u.graph.Successors(s.Name) {
			if t := u.graph.Step(next); asGang && !t.Join {
				u.add(diag.Errorf(t.Span, "parallel-not-joined", "step %s follows the gang of step %s, but is not a join", next, s.Name).
					WithDetail("%s", u.say(fmt.Sprintf("Make it one: def %s(self, inputs).", next), "Make it one with join: true.")))
			}
		}
	}
}
