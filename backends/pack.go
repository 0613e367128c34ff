package backends

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Packs says how many tasks of a foreach, and how many rounds of a recursive step, one container runs: what Options.Pack
// and Options.PackSteps mean for a flow.
type Packs struct {
	graph *ir.Graph
	// splits is by splitting step, rounds by recursive step; both hold sizes of 2 or more only.
	splits, rounds map[string]int
}

// Splits returns how many splits of the step's foreach one container runs; 1 where each has its own.
func (p Packs) Splits(split string) int { return max(p.splits[split], 1) }

// Rounds returns how many rounds of the recursive step one container runs; 1 where each has its own.
func (p Packs) Rounds(step string) int { return max(p.rounds[step], 1) }

// Around returns how many tasks of the step one container runs because of the foreach that it lies in.
func (p Packs) Around(step string) int {
	around := p.graph.Foreachs(step)
	if len(around) == 0 {
		return 1
	}
	return p.Splits(around[len(around)-1])
}

// PacksOf reads the options' packs for a flow. A foreach can be packed where each of its body's steps can be run for the
// whole pack before the next step is: a body with a foreach, a gang or a switch cannot. That is an error where the
// foreach was named, and a warning where the size was meant for all of them.
func PacksOf(g *ir.Graph, opt Options) (Packs, diag.List) {
	r := packReader{g: g, obstacles: unpackable(g), packs: Packs{graph: g, splits: map[string]int{}, rounds: map[string]int{}}}
	if !r.outOfRange(diag.Span{}, "the size of packs", opt.Pack) && opt.Pack > 1 {
		r.all(opt)
	}
	for _, name := range slices.Sorted(maps.Keys(opt.PackSteps)) {
		r.named(name, opt.PackSteps[name])
	}
	drop(r.packs.rounds)
	return r.packs, r.list
}

// packReader holds one reading of the options.
type packReader struct {
	g         *ir.Graph
	obstacles map[string]string
	packs     Packs
	list      diag.List
}

func (r *packReader) outOfRange(span diag.Span, what string, n int) bool {
	if n >= 0 && n <= ir.MaxPack {
		return false
	}
	r.list = append(r.list, diag.Errorf(span, "bad-option", "%s is %d; it must be from 1 to %d", what, n, ir.MaxPack))
	return true
}

// all packs the foreachs that are not named.
func (r *packReader) all(opt Options) {
	for _, name := range r.g.Order() {
		s := r.g.Step(name)
		if s.Next == nil || s.Next.Kind != ir.Foreach {
			continue
		}
		first := s.Next.Targets[0].Step
		if _, named := opt.PackSteps[first]; named {
			continue
		}
		if why := r.obstacles[name]; why != "" {
			r.list = append(r.list, diag.Warningf(s.Next.Span, "foreach-not-packed",
				"the foreach of step %s is not packed, because %s", name, why).
				WithDetail("Each of its splits has containers of its own. --pack %s=1 says that this is meant.", first))
			continue
		}
		r.packs.splits[name] = opt.Pack
	}
}

// named packs the foreach that starts with the step, or the rounds of the step.
func (r *packReader) named(name string, n int) {
	s := r.g.Step(name)
	span := FlowSpan(r.g.Flow())
	if s != nil {
		span = s.Span
	}
	refuse := func(why, wayOut string) {
		r.list = append(r.list, diag.Errorf(span, "pack-step", "%s", why).WithDetail("%s", wayOut))
	}
	split, first := r.g.FirstOfBody(name)
	switch {
	case r.outOfRange(span, "the pack of step "+name, n):
	case s == nil:
		r.list = append(r.list, unknownPackStep(r.g, span, name))
	case s.Recursive():
		r.packs.rounds[name] = n
	case !first:
		refuse("step "+name+" cannot be packed: it is neither the first step of a foreach nor one that goes back to itself", packable(r.g))
	case n < 2:
	case r.g.Step(split).Next.Kind == ir.Parallel:
		refuse("step "+name+" cannot be packed: its tasks are a gang, and each needs a container of its own",
			"Leave the step out of --pack, or use a foreach in place of num_parallel.")
	case r.obstacles[split] != "":
		refuse("the foreach that starts with step "+name+" cannot be packed, because "+r.obstacles[split],
			"Leave the step out of --pack, or pack a foreach inside it: "+packable(r.g))
	default:
		r.packs.splits[split] = n
	}
}

// drop removes sizes that are none.
func drop(sizes map[string]int) {
	maps.DeleteFunc(sizes, func(_ string, n int) bool { return n < 2 })
}

// unpackable says of each foreach that cannot be packed why, by splitting step.
func unpackable(g *ir.Graph) map[string]string {
	why := map[string]string{}
	for _, name := range g.Order() {
		around := g.Foreachs(name)
		next := g.Step(name).Next
		if len(around) == 0 || next == nil {
			continue
		}
		split := around[len(around)-1]
		if why[split] != "" {
			continue
		}
		switch next.Kind {
		case ir.Foreach:
			why[split] = fmt.Sprintf("step %s in it splits again", name)
		case ir.Parallel:
			why[split] = fmt.Sprintf("step %s in it starts a gang", name)
		case ir.Switch:
			why[split] = fmt.Sprintf("step %s in it is a switch, which each split takes its own way", name)
		}
	}
	return why
}

func unknownPackStep(g *ir.Graph, span diag.Span, name string) diag.Diagnostic {
	d := diag.Errorf(span, "pack-step", "--pack names step %s, but the flow has no such step", name)
	if near := diag.Nearest(name, g.Order()); near != "" {
		return d.WithDetail("Did you mean %s?", near)
	}
	return d.WithDetail("%s", packable(g))
}

// packable is a sentence that lists what PackSteps may name.
func packable(g *ir.Graph) string {
	obstacles := unpackable(g)
	text := ""
	for _, name := range g.Order() {
		split, first := g.FirstOfBody(name)
		if g.Step(name).Recursive() || first && g.Step(split).Next.Kind == ir.Foreach && obstacles[split] == "" {
			if text != "" {
				text += ", "
			}
			text += name
		}
	}
	if text == "" {
		return "Nothing in this flow can be packed."
	}
	return "Steps that can be packed: " + text + "."
}
