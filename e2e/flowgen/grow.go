package flowgen

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// grower makes random trees with as many tasks as are left.
type grower struct {
	opt Options
	rng *rand.Rand
	// left is the number of tasks that may still be added. A step costs as many as there are splits around it.
	left int
	// depth is the number of splits around the place that is being filled.
	depth int
	// fanned is the number of foreaches among them.
	fanned int
}

// top makes a whole flow but for its end step. One of its blocks is of a form that goes with the seed, so that every few
// seeds have them all.
func (g *grower) top(seed uint64) seq {
	forms := g.forms()
	wanted := forms[1:]
	var s seq
	for range g.rng.IntN(2) {
		s = append(s, g.plain(1))
	}
	if len(wanted) > 0 {
		if b := g.grow(wanted[seed%uint64(len(wanted))], 1); b != nil {
			s = append(s, b)
		}
	}
	for range g.rng.IntN(3) {
		if b := g.any(1); b != nil {
			s = append(s, b)
		}
	}
	return s
}

// shape is a form, a choice that goes back to itself being one of its own.
type shape struct {
	form form
	loop bool
}

// forms are those that the options allow, plain steps first.
func (g *grower) forms() []shape {
	all := []shape{{form: plain}, {form: split}, {form: foreach}}
	if !g.opt.NoSwitches {
		all = append(all, shape{form: choice})
	}
	if !g.opt.NoLoops {
		all = append(all, shape{choice, true})
	}
	if !g.opt.NoGangs {
		all = append(all, shape{form: gang})
	}
	return all
}

// any makes a block of any form, each task of it run mult times; nil where nothing more fits.
func (g *grower) any(mult int) *block {
	forms := g.forms()
	what := forms[0]
	if g.rng.IntN(3) > 0 {
		what = forms[g.rng.IntN(len(forms))]
	}
	if what.form == gang && g.rng.IntN(3) > 0 {
		what = forms[2]
	}
	if b := g.grow(what, mult); b != nil {
		return b
	}
	if g.left < mult {
		return nil
	}
	return g.plain(mult)
}

// grow makes a block of one form; nil where it does not fit.
func (g *grower) grow(what shape, mult int) *block {
	if what.form == plain {
		if g.left < mult {
			return nil
		}
		return g.plain(mult)
	}
	if g.depth >= g.opt.Depth {
		return nil
	}
	g.depth++
	defer func() { g.depth-- }()
	switch what.form {
	case split:
		return g.split(mult)
	case foreach:
		return g.foreach(mult)
	case gang:
		return g.gang(mult)
	}
	return g.choice(mult, what.loop)
}

func (g *grower) plain(mult int) *block {
	b := &block{head: g.node(mult)}
	// A caught step fails each time, so that it costs what its retries cost.
	if !g.opt.NoCatch && b.head.fails == 0 && g.rng.IntN(7) == 0 && g.left >= mult {
		b.head.catch, b.head.stores = true, ""
		if b.head.retries = -1; !g.opt.NoRetries && g.rng.IntN(2) == 0 {
			b.head.retries = 1
			g.left -= mult
		}
	}
	return b
}

func (g *grower) split(mult int) *block {
	most := min(g.opt.Width, g.left/mult-2)
	if most < 2 {
		return nil
	}
	n := 2 + g.rng.IntN(most-1)
	g.left -= mult * n
	b := &block{form: split, head: g.node(mult), merge: g.mode()}
	g.left -= mult
	for range n {
		g.left += mult
		b.arms = append(b.arms, g.arm(mult))
	}
	g.left += mult
	b.join = g.node(mult)
	return b
}

func (g *grower) foreach(mult int) *block {
	most := min(g.opt.Width, g.left/mult-2)
	if most < 1 {
		return nil
	}
	b := &block{form: foreach, items: g.items(most), merge: g.mode()}
	width := b.items.most()
	g.left -= mult * (width + 1)
	b.head = g.node(mult)
	g.left += mult * width
	g.fanned++
	b.arms = []seq{g.arm(mult * width)}
	g.fanned--
	g.left += mult
	b.join = g.node(mult)
	return b
}

func (g *grower) gang(mult int) *block {
	if g.left < 4*mult {
		return nil
	}
	b := &block{form: gang, size: 2, merge: g.mode()}
	g.left -= mult * (b.size + 1)
	b.head = g.node(mult)
	work := newPlain()
	work.head.stores = value(g.rng, 1)
	b.arms = []seq{{work}}
	g.left += mult
	b.join = g.node(mult)
	return b
}

func (g *grower) choice(mult int, loop bool) *block {
	b := &block{form: choice}
	if loop {
		most := min(5, g.left/mult-1)
		if most < 1 {
			return nil
		}
		b.rounds, b.vary = 1+g.rng.IntN(most), g.rng.IntN(2) == 0
		b.head = node{retries: -1, looks: g.look(), input: g.inside(2), stores: value(g.rng, 1)}
		g.left -= mult * b.rounds
	} else {
		if g.left < 2*mult {
			return nil
		}
		b.head = g.node(mult)
	}
	arms := 2 + g.rng.IntN(2)
	if loop && g.rng.IntN(3) > 0 {
		arms = 1
	}
	start, least := g.left, g.left
	empty := g.rng.IntN(2 * arms) // at most one branch goes straight on
	if arms == 1 {
		empty = 0
	}
	for i := range arms {
		g.left = start
		var arm seq
		if i != empty && g.left >= mult {
			arm = g.arm(mult)
		}
		b.arms = append(b.arms, arm)
		least = min(least, g.left)
	}
	g.left = least
	b.cases = g.cases(arms)
	if arms > 1 && empty > 1 && g.rng.IntN(4) == 0 {
		first := start - g.left
		if b.shared = g.left >= first; b.shared {
			g.left -= first
		}
	}
	return b
}

// cases gives each arm a case, and some of them two.
func (g *grower) cases(arms int) []oneCase {
	keys := []string{`"a"`, `"b"`, `"c"`, `"d"`}
	switch g.rng.IntN(3) {
	case 0:
		keys = []string{"1", "2", "3", "40"}
	case 1:
		keys = []string{`"north"`, `"süd"`, `"east side"`, `"w-e/s.t"`}
	}
	var all []oneCase
	for i := range arms {
		all = append(all, oneCase{keys[i], i})
	}
	if g.rng.IntN(3) == 0 {
		all = append(all, oneCase{keys[arms], g.rng.IntN(arms)})
	}
	return all
}

// arm makes a branch or body of at least one step.
func (g *grower) arm(mult int) seq {
	s := seq{g.any(mult)}
	if s[0] == nil {
		s[0] = g.plain(mult)
	}
	for range g.rng.IntN(3) {
		if b := g.any(mult); b != nil {
			s = append(s, b)
		}
	}
	return s
}

// node makes a step, and takes what it costs.
func (g *grower) node(mult int) node {
	g.left -= mult
	n := node{retries: -1, looks: g.look(), input: g.inside(2), stack: g.inside(4)}
	if g.rng.IntN(2) == 0 {
		n.stores = value(g.rng, 2)
	}
	if !g.opt.NoRetries && g.rng.IntN(6) == 0 {
		n.retries = 1 + g.rng.IntN(3)
		n.fails = min(g.rng.IntN(min(n.retries, 2)+1), max(g.left, 0)/mult)
		g.left -= mult * n.fails
	}
	return n
}

func (g *grower) look() int {
	if g.rng.IntN(2) == 0 {
		return 0
	}
	return 1 + g.rng.IntN(1000)
}

func (g *grower) inside(oneIn int) bool { return g.fanned > 0 && g.rng.IntN(oneIn) == 0 }

func (g *grower) mode() mergeMode { return mergeMode(g.rng.IntN(int(mergeModes))) }

// items makes what a foreach goes over, up to most of them.
func (g *grower) items(most int) items {
	n := 1 + g.rng.IntN(most)
	it := items{kind: itemKind(g.rng.IntN(int(itemKinds)))}
	if it.kind == byIndex && g.fanned == 0 {
		it.kind = list
	}
	for range n {
		text := value(g.rng, 1)
		if it.kind == text_ {
			text = string(letters[g.rng.IntN(len(letters))])
		}
		it.values = append(it.values, text)
	}
	return it
}

// parameters makes some parameters, about half of which a run is given.
func parameters(rng *rand.Rand) []parameter {
	all := []parameter{
		{"p_int", strconv.Itoa(rng.IntN(2000) - 1000), strconv.Itoa(rng.IntN(1 << 40))},
		{"p_float", float(rng), strconv.FormatFloat(rng.NormFloat64(), 'g', 6, 64)},
		{"p_text", strconv.Quote(words(rng)), words(rng) + ` "q" 'r'`},
		{"p_flag", "False", "true"},
		{"p_json", fmt.Sprintf(`{"k": [1, None, %s]}`, strconv.Quote(words(rng))), fmt.Sprintf(`{"k": [true, null, %d], "é": {}}`, rng.IntN(9))},
	}
	var some []parameter
	for _, p := range all {
		if rng.IntN(3) == 0 {
			continue
		}
		if rng.IntN(2) == 0 {
			p.given = ""
		}
		some = append(some, p)
	}
	return some
}
