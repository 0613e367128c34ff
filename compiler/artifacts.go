package compiler

import (
	"slices"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// checkArtifacts warns of artifacts that are read where no path has written them, that a join has dropped, and of
// writes that hide a parameter or a step. It goes through the steps in order and keeps, for each, the set of names that
// some path to it has written.
func checkArtifacts(u *unit) {
	a := newArtifacts(u)
	for _, name := range u.graph.Order() {
		a.step(u.graph.Step(name))
	}
}

type artifacts struct {
	*unit
	// number gives each name that some step writes its bit.
	number map[string]int
	// fixed are parameters, configs and constants: there from the start, and read-only.
	fixed map[string]string
	// after is what is known when a step has ended; waiting counts the successors that still need it.
	after   map[string]*knowledge
	waiting map[string]int
}

// knowledge is what can be said about artifacts at one place of the flow.
type knowledge struct {
	// written are the names that some path has written, lost those that a join dropped.
	written, lost bits
	// anything is set when some step on the way may have written artifacts that were not seen.
	anything bool
	// join is the last join that dropped something.
	join string
}

func newArtifacts(u *unit) *artifacts {
	a := &artifacts{unit: u, number: map[string]int{}, fixed: map[string]string{}, after: map[string]*knowledge{},
		waiting: map[string]int{}}
	for i := range u.flow.Parameters {
		a.fixed[u.flow.Parameters[i].Name] = "parameter"
	}
	for i := range u.flow.Configs {
		a.fixed[u.flow.Configs[i].Name] = "config"
	}
	for i := range u.flow.Constants {
		a.fixed[u.flow.Constants[i].Name] = "constant"
	}
	for _, s := range u.flow.Steps {
		for _, use := range written(s) {
			if _, known := a.number[use.Name]; !known {
				a.number[use.Name] = len(a.number)
			}
		}
		a.waiting[s.Name] = len(u.graph.Successors(s.Name))
	}
	return a
}

// written returns what a step is seen to write.
func written(s *ir.Step) []ir.Use {
	uses := append(append([]ir.Use{}, s.Writes...), s.Outputs...)
	if name, _, ok := s.Catch(); ok && name != "" {
		uses = append(uses, ir.Use{Name: name})
	}
	return uses
}

// step checks one step and records what is known after it.
func (a *artifacts) step(s *ir.Step) {
	k := a.before(s)
	inputs := *k // a join's inputs hold what the join itself drops
	unseen := s.WritesUnknown || slices.ContainsFunc(s.Decorators, usersOwn)
	if s.Join {
		k.lost, k.written, k.join = inputs.lost.union(inputs.written), nil, s.Name
		k.anything = unseen
		if unseen {
			k.written = inputs.written
		}
	}
	k.anything = k.anything || unseen
	for _, use := range append(append([]ir.Use{}, s.Writes...), s.Outputs...) {
		a.writes(s, use)
	}
	if uses := written(s); len(uses) > 0 {
		k.written = k.written.clone(len(a.number))
		for _, use := range uses {
			k.written.set(a.number[use.Name])
		}
	}
	for _, use := range s.Reads {
		a.reads(s, use, k)
	}
	for _, use := range s.Inputs {
		a.reads(s, use, &inputs)
	}
	if s.Next != nil {
		span := first(s.Next.Span, s.Span)
		switch s.Next.Kind {
		case ir.Foreach:
			a.reads(s, ir.Use{Name: s.Next.Foreach, Span: span}, k)
		case ir.Switch:
			a.reads(s, ir.Use{Name: s.Next.Condition, Span: span}, k)
		}
	}
	if a.waiting[s.Name] > 0 {
		a.after[s.Name] = k
	}
}

// usersOwn reports whether a decorator is the user's own code, which may write artifacts: such a name is "module.name".
func usersOwn(d ir.Decorator) bool { return strings.Contains(d.Name, ".") }

// before brings together what is known after each predecessor.
func (a *artifacts) before(s *ir.Step) *knowledge {
	k := &knowledge{}
	for _, name := range a.graph.Predecessors(s.Name) {
		p := a.after[name]
		if p == nil {
			continue
		}
		if a.waiting[name]--; a.waiting[name] == 0 {
			delete(a.after, name)
		}
		k.written, k.lost = k.written.union(p.written), k.lost.union(p.lost)
		k.anything = k.anything || p.anything
		if p.join != "" {
			k.join = p.join
		}
	}
	return k
}

// writes warns of a write that cannot work.
func (a *artifacts) writes(s *ir.Step, use ir.Use) {
	span := first(use.Span, s.Span)
	if what := a.fixed[use.Name]; what != "" {
		a.add(diag.Warningf(span, "artifact-read-only", "step %s writes %s, which is a %s", s.Name, use.Name, what).
			WithDetail("A %s cannot be changed while the flow runs. Use another name.", what))
	} else if hidden := a.graph.Step(use.Name); hidden != nil {
		a.add(diag.Warningf(span, "artifact-hides-step", "step %s writes an artifact that has the name of step %s", s.Name, use.Name).
			WithDetail("%s", a.say("self."+use.Name+" is no longer the step then, so that self.next() cannot go on to it. Use another name.",
				"Use another name, so that the two are not mixed up.")).
			WithNote(hidden.Span, "the step"))
	}
}

// reads warns when a read finds nothing on any path.
func (a *artifacts) reads(s *ir.Step, use ir.Use, k *knowledge) {
	if k.anything || use.Name == "" || strings.HasPrefix(use.Name, "_") || a.fixed[use.Name] != "" ||
		reservedArtifacts[use.Name] || a.graph.Step(use.Name) != nil {
		return
	}
	bit, known := a.number[use.Name]
	if known && k.written.has(bit) {
		return
	}
	span := first(use.Span, s.Span)
	if known && k.lost.has(bit) {
		join := a.graph.Step(k.join)
		d := diag.Warningf(span, "artifact-lost", "step %s reads %s, which was written before the join %s and is not there after it",
			s.Name, use.Name, k.join)
		if s == join {
			d.Summary = "step " + s.Name + " joins, so that " + use.Name + " is not there by itself: its inputs hold it"
		}
		d = d.WithDetail("%s", a.say("Take it over in the join: self."+use.Name+" = inputs[0]."+use.Name+", or self.merge_artifacts(inputs).",
			"Let the join write it anew: list it under its outputs."))
		if s != join {
			d = d.WithNote(join.Span, "the join")
		}
		a.add(d)
		return
	}
	a.add(diag.Warningf(span, "artifact-unwritten", "step %s reads %s, which no step before it writes", s.Name, use.Name).
		WithDetail("%s", didYouMean(use.Name, a.candidates(k), "")))
}

// candidates are the names that can be read where k is known.
func (a *artifacts) candidates(k *knowledge) []string {
	var names []string
	for name := range a.fixed {
		names = append(names, name)
	}
	for name, bit := range a.number {
		if k.written.has(bit) {
			names = append(names, name)
		}
	}
	// Nearest takes the first of equals.
	slices.Sort(names)
	return names
}

// bits is a set of small numbers. A nil one is empty.
type bits []uint64

func (b bits) has(i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }

func (b bits) set(i int) { b[i/64] |= 1 << (i % 64) }

// clone returns a copy that has room for n numbers.
func (b bits) clone(n int) bits {
	fresh := make(bits, (n+63)/64)
	copy(fresh, b)
	return fresh
}

// union returns the numbers of both sets; it may be one of the two.
func (b bits) union(o bits) bits {
	switch {
	case len(o) == 0:
		return b
	case len(b) == 0:
		return o
	}
	all := make(bits, max(len(b), len(o)))
	copy(all, b)
	for i, w := range o {
		all[i] |= w
	}
	return all
}
