package flowgen

import "slices"

// Shrink looks for a smaller flow that fails still, asking fails of at most tries flows, and returns the smallest it has found:
// f itself if none is smaller.
func Shrink(f *Flow, tries int, fails func(*Flow) bool) *Flow {
	for smaller := true; smaller; {
		smaller = false
		for n := 0; tries > 0; n++ {
			c := f.clone()
			if !c.cut(n) {
				break
			}
			c.Smaller++
			c.normalize()
			if c.size() >= f.size() {
				continue
			}
			tries--
			if fails(c) {
				f, smaller = c, true
				n-- // what was in this place is gone
			}
		}
	}
	return f
}

// trim takes away what is too much, as little as it can.
func trim(f *Flow, tasks int) *Flow {
	for f.Tasks() > tasks {
		best := f
		for n := 0; ; n++ {
			c := f.clone()
			if !c.cut(n) {
				break
			}
			c.normalize()
			if c.Tasks() < f.Tasks() && (best == f || c.Tasks() > best.Tasks()) {
				best = c
			}
		}
		if best == f {
			break // two steps are the least
		}
		f = best
	}
	return f
}

// size is what Shrink makes smaller.
func (f *Flow) size() int {
	n := 4 * len(f.parameters)
	if f.kept != blank {
		n++
	}
	c := f.clone().number()
	c.visit(func(s *node) {
		n += 10
		for _, set := range []bool{s.stores != "", s.looks > 0, s.input, s.stack, s.retries >= 0, s.fails > 0, s.catch} {
			if set {
				n++
			}
		}
	})
	n += 3 * f.Tasks()
	f.body.blocks(func(b *block) {
		n += b.rounds + len(b.cases) + int(b.merge)
		if b.form == foreach && (b.items.kind != list || !b.items.blank()) {
			n++
		}
		if b.shared || b.vary {
			n++
		}
	})
	return n
}

func (s seq) blocks(do func(*block)) {
	for _, b := range s {
		do(b)
		for _, arm := range b.arms {
			arm.blocks(do)
		}
	}
}

// cut takes the nth thing away that can be: large ones first. False means that there are no n things.
func (f *Flow) cut(n int) bool {
	k := knife{left: n}
	k.seq(&f.body)
	f.body.blocks(k.block)
	if !k.done {
		k.parameters(f)
	}
	f.visit(k.node)
	return k.done
}

// knife counts down to the cut that is to be made.
type knife struct {
	left int
	done bool
}

func (k *knife) here() bool {
	if k.done {
		return false
	}
	k.done = k.left == 0
	k.left--
	return k.done
}

// seq takes out a block, or puts what is inside in its place.
func (k *knife) seq(s *seq) {
	for i, b := range *s {
		if k.here() {
			*s = slices.Delete(slices.Clone(*s), i, i+1)
			return
		}
		if b.form == split && k.here() {
			*s = slices.Replace(slices.Clone(*s), i, i+1, slices.Concat(b.arms...)...) // one after the other
			return
		}
		for a := range b.arms {
			if b.form != gang && k.here() {
				*s = slices.Replace(slices.Clone(*s), i, i+1, b.arms[a]...)
				return
			}
			if b.form != gang && !k.done {
				k.seq(&b.arms[a])
			}
		}
		if k.done {
			return
		}
	}
}

// block takes out branches, items, rounds and cases.
func (k *knife) block(b *block) {
	least := map[form]int{split: 2, choice: 2}[b.form]
	if b.rounds > 0 {
		least = 1
	}
	for i := range b.arms {
		if b.joins() && b.form != split || len(b.arms) <= least || !k.here() {
			continue
		}
		b.arms, b.shared = slices.Delete(slices.Clone(b.arms), i, i+1), false
		b.cases = slices.DeleteFunc(slices.Clone(b.cases), func(c oneCase) bool { return c.arm == i })
		for n := range b.cases {
			if b.cases[n].arm > i {
				b.cases[n].arm--
			}
		}
		return
	}
	if b.form == foreach && len(b.items.values) > 1 && k.here() {
		b.items.values = b.items.values[:len(b.items.values)-1]
	}
	if b.form == foreach && (b.items.kind != list || !b.items.blank()) && k.here() {
		b.items.kind = list
		for i := range b.items.values {
			b.items.values[i] = blank
		}
	}
	if b.rounds > 1 && k.here() {
		b.rounds--
	}
	if len(b.cases) > len(b.arms) && k.here() {
		b.cases = b.cases[:len(b.arms)]
	}
	if b.shared && k.here() {
		b.shared = false
	}
	if b.vary && k.here() {
		b.vary = false
	}
	if b.merge != takeKept && k.here() {
		b.merge = takeKept
	}
}

// parameters takes out what the flow has as a whole.
func (k *knife) parameters(f *Flow) {
	if f.kept != blank && k.here() {
		f.kept = blank
	}
	for i := range f.parameters {
		if k.here() {
			f.parameters = slices.Delete(slices.Clone(f.parameters), i, i+1)
			return
		}
	}
}

// node takes out what a step does.
func (k *knife) node(n *node) {
	switch {
	case n.catch && k.here():
		n.catch = false
	case n.fails > 0 && k.here():
		n.fails = 0
	case n.retries >= 0 && k.here():
		n.retries, n.fails = -1, 0
	case n.stores != "" && k.here():
		n.stores = ""
	case n.input && k.here():
		n.input = false
	case n.stack && k.here():
		n.stack = false
	case n.looks > 0 && k.here():
		n.looks = 0
	}
}

// clone copies the whole tree.
func (f *Flow) clone() *Flow {
	c := *f
	c.parameters = slices.Clone(f.parameters)
	c.body = f.body.clone()
	return &c
}

func (s seq) clone() seq {
	c := make(seq, len(s))
	for i, b := range s {
		n := *b
		n.items.values, n.cases = slices.Clone(b.items.values), slices.Clone(b.cases)
		n.arms = make([]seq, len(b.arms))
		for a, arm := range b.arms {
			n.arms[a] = arm.clone()
		}
		c[i] = &n
	}
	return c
}
