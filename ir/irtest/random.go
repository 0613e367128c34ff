// Package irtest makes flows for tests: random ones that are valid by construction, together with what is known about
// them because of how they were made, and damaged ones.
package irtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/mf-run/mf/ir"
)

// Made is a random flow and what its making tells about it.
type Made struct {
	Flow *ir.Flow
	// Joins maps each splitting step to the join of its split.
	Joins map[string]string
	// Frames holds the names of the splitting steps around each step, outermost first.
	Frames map[string][]string
	// Merges maps each switch to the step in which its branches have come together.
	Merges map[string]string
}

// Random makes a valid flow of about the given number of steps (at least 1): linear steps, static splits, foreaches,
// gangs, switches and recursions, nested in each other, steps in random source order. The same source of
// randomness gives the same flow.
func Random(r *rand.Rand, steps int) Made {
	m := &maker{r: r, budget: steps, made: Made{
		Flow: &ir.Flow{Version: ir.Version, Name: "RandomFlow", Source: ir.Source{Language: ir.Python, File: "flow.py",
			Class: "RandomFlow"}},
		Joins: map[string]string{}, Frames: map[string][]string{}, Merges: map[string]string{},
	}}
	f := m.made.Flow
	end := m.step("end")
	if steps <= 1 {
		f.Start, f.End = end.Name, end.Name
		return m.made
	}
	f.End = end.Name
	first := m.sequence(end, true)
	if m.startable(first) {
		first.MarkedStart = true
		f.Start = first.Name
	} else {
		start := m.step("start")
		m.linear(start, first)
		f.Start = start.Name
	}
	r.Shuffle(len(f.Steps), func(i, j int) { f.Steps[i], f.Steps[j] = f.Steps[j], f.Steps[i] })
	return m.made
}

// maker builds a flow backwards: each part is told which step follows it, and returns its first step.
type maker struct {
	r      *rand.Rand
	budget int
	count  int
	frames []string
	made   Made
}

func (m *maker) step(name string) *ir.Step {
	if name == "" {
		m.count++
		name = fmt.Sprintf("s%d", m.count)
	}
	m.budget--
	s := &ir.Step{Name: name}
	m.made.Flow.Steps = append(m.made.Flow.Steps, s)
	m.made.Frames[name] = append([]string(nil), m.frames...)
	return s
}

func (m *maker) startable(s *ir.Step) bool {
	return !s.Join && !s.Recursive() && s.Decorator("parallel") == nil
}

func (m *maker) linear(s, next *ir.Step) {
	s.Next = &ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: next.Name}}}
}

// sequence makes one or more parts; the whole rest of the budget with all set.
func (m *maker) sequence(next *ir.Step, all bool) *ir.Step {
	next = m.part(next)
	for m.budget > 0 && (all || m.r.IntN(3) > 0) {
		next = m.part(next)
	}
	return next
}

// part makes one step, or a split with its join and all in between.
func (m *maker) part(next *ir.Step) *ir.Step {
	kind := m.r.IntN(9)
	switch {
	case m.budget < 6 || kind < 3:
		s := m.step("")
		m.linear(s, next)
		return s
	case kind == 3:
		return m.static(next)
	case kind == 4 || kind == 5:
		return m.foreach(next)
	case kind == 6:
		return m.parallel(next)
	case kind == 7 && !next.Join:
		return m.recursion(next)
	default:
		return m.choice(next)
	}
}

// around makes a split and its join; body makes what lies in between.
func (m *maker) around(next *ir.Step, body func(s, join *ir.Step)) *ir.Step {
	join := m.step("")
	join.Join = true
	m.linear(join, next)
	s := m.step("")
	m.made.Joins[s.Name] = join.Name
	m.frames = append(m.frames, s.Name)
	body(s, join)
	m.frames = m.frames[:len(m.frames)-1]
	return s
}

func (m *maker) static(next *ir.Step) *ir.Step {
	return m.around(next, func(s, join *ir.Step) {
		s.Next = &ir.Transition{Kind: ir.Split}
		for range 2 + m.r.IntN(3) {
			s.Next.Targets = append(s.Next.Targets, ir.Target{Step: m.sequence(join, false).Name})
		}
	})
}

func (m *maker) foreach(next *ir.Step) *ir.Step {
	return m.around(next, func(s, join *ir.Step) {
		s.Writes = []ir.Use{{Name: "items"}}
		body := m.sequence(join, false)
		if body.Decorator("parallel") != nil {
			gang := body
			body = m.step("")
			m.linear(body, gang)
		}
		s.Next = &ir.Transition{Kind: ir.Foreach, Foreach: "items", Targets: []ir.Target{{Step: body.Name}}}
	})
}

func (m *maker) parallel(next *ir.Step) *ir.Step {
	return m.around(next, func(s, join *ir.Step) {
		gang := m.step("")
		gang.Decorators = []ir.Decorator{{Name: "parallel"}}
		m.linear(gang, join)
		s.Next = &ir.Transition{Kind: ir.Parallel, NumParallel: 1 + m.r.IntN(4), Targets: []ir.Target{{Step: gang.Name}}}
	})
}

func (m *maker) recursion(next *ir.Step) *ir.Step {
	s := m.step("")
	m.decide(s, s, next)
	m.made.Merges[s.Name] = next.Name
	return s
}

func (m *maker) choice(next *ir.Step) *ir.Step {
	s := m.step("")
	var branches []*ir.Step
	for range 2 + m.r.IntN(2) {
		branches = append(branches, m.sequence(next, false))
	}
	if !next.Join && m.r.IntN(3) == 0 {
		branches = append(branches, next)
	}
	m.decide(s, branches...)
	m.made.Merges[s.Name] = next.Name
	return s
}

func (m *maker) decide(s *ir.Step, branches ...*ir.Step) {
	s.Writes = []ir.Use{{Name: "choice"}}
	s.Next = &ir.Transition{Kind: ir.Switch, Condition: "choice"}
	for i, b := range branches {
		s.Next.Targets = append(s.Next.Targets, ir.Target{Step: b.Name})
		value, err := json.Marshal(fmt.Sprintf("case%d", i))
		if err != nil {
			panic(err) // a text is always JSON
		}
		s.Next.Cases = append(s.Next.Cases, ir.Case{Value: value, Step: b.Name})
	}
}
