// Package flowgen makes random flows that are valid, whose every artifact is determined by the flow alone, and in which a
// task that is given a wrong input, or its inputs in a wrong order, ends with another artifact. Two engines that run such a
// flow must leave equal artifacts.
//
// What comes in is a seed and the bounds of a flow; what comes out is a flow file. The same seed and options give the same
// bytes. A flow that shows a difference is made smaller by Shrink.
package flowgen

import (
	"fmt"
	"math/rand/v2"
)

// Options bound a flow. The zero value means the defaults, with everything that the language has.
type Options struct {
	// Tasks is the most tasks that a run may have, failed attempts counted; 0 means 12.
	Tasks int
	// Width is the most items of a foreach and the most branches of a split, at least 2; 0 means 4.
	Width int
	// Depth is the most splits within each other; 0 means 3.
	Depth int
	// These leave parts of the language out.
	NoSwitches, NoLoops, NoGangs, NoRetries, NoCatch, NoParameters bool
}

func (o Options) withDefaults() Options {
	if o.Tasks == 0 {
		o.Tasks = 12
	}
	if o.Width == 0 {
		o.Width = 4
	}
	if o.Depth == 0 {
		o.Depth = 3
	}
	return o
}

// Flow is a generated flow.
type Flow struct {
	// Seed is what the flow was made of.
	Seed uint64
	// Smaller counts what Shrink took away; a flow with more than none cannot be made of its seed alone.
	Smaller int

	parameters []parameter
	// kept is a value that the start step stores and every join hands on, as Python source.
	kept string
	body seq
	end  node
}

// Name is the flow's name: that of its class.
func (f *Flow) Name() string {
	if f.Smaller > 0 {
		return fmt.Sprintf("Gen%dLess%d", f.Seed, f.Smaller)
	}
	return fmt.Sprintf("Gen%d", f.Seed)
}

// Given returns the values of the parameters that a run is to be given, as texts by name; the others keep their defaults.
func (f *Flow) Given() map[string]string {
	given := map[string]string{}
	for _, p := range f.parameters {
		if p.given != "" {
			given[p.name] = p.given
		}
	}
	return given
}

// Tasks returns the most tasks that a run may have, failed attempts counted.
func (f *Flow) Tasks() int { return f.body.tasks() + f.end.tasks() }

// Uses reports which parts of the language the flow has, for those that choose flows by them.
func (f *Flow) Uses() (u Uses) {
	f.body.uses(&u, 0)
	return u
}

// Uses says which parts of the language a flow has.
type Uses struct {
	Splits, Foreaches, Switches, Loops, Gangs, Retries, Catches, Merges int
	// Depth is the number of foreaches within each other.
	Depth int
}

// Varying returns the names of the artifacts that another engine than the one that ran the flow may fill differently: errors
// that were caught, for their tracebacks hold paths.
func (f *Flow) Varying() []string { return f.names(func(n *node) string { return n.problem() }) }

// Unordered returns the names of the artifacts that hold the order in which a join was handed the branches of a split.
// Metaflow hands them over in no fixed order; mf does so in the order of the split.
func (f *Flow) Unordered() []string { return f.names(func(n *node) string { return n.order() }) }

// Loops returns the names of the steps that go back to themselves.
func (f *Flow) Loops() []string {
	return f.names(func(n *node) string {
		if n.kind == "loop" {
			return n.name
		}
		return ""
	})
}

func (f *Flow) names(of func(*node) string) (names []string) {
	f.clone().number().visit(func(n *node) {
		if name := of(n); name != "" {
			names = append(names, name)
		}
	})
	return names
}

// New makes the flow of a seed.
func New(seed uint64, opt Options) *Flow {
	opt = opt.withDefaults()
	rng := rand.New(rand.NewPCG(seed, 0x6d66)) // nothing here is secret
	g := &grower{opt: opt, rng: rng, left: opt.Tasks - 1}
	f := &Flow{Seed: seed, kept: value(rng, 2)}
	if !opt.NoParameters {
		f.parameters = parameters(rng)
	}
	f.body = g.top(seed)
	f.end = node{retries: -1, stores: value(rng, 1), looks: g.look()}
	f.normalize()
	return trim(f, opt.Tasks)
}
