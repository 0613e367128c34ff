package flowgen

import (
	"fmt"
	"slices"
)

// seq is steps that come one after the other.
type seq []*block

// form is what a block of a flow is.
type form int

const (
	// plain is one step.
	plain form = iota
	// split is a step, branches, and a join.
	split
	// foreach is a step, a body, and a join.
	foreach
	// choice is a step that switches, and branches that may be empty. With rounds, the step also goes back to itself.
	choice
	// gang is a step, a step of several tasks that know each other, and a join.
	gang
)

// block is a part of a flow that is entered at one step.
type block struct {
	form form
	// head is where it is entered; join, of a split, foreach or gang, is where it ends.
	head, join node
	// arms are the branches of a split or choice; the only one of a foreach is its body, of a gang its step.
	arms []seq
	// cases are those of a choice: key, and which arm it leads to.
	cases []oneCase
	// shared: the first arm of a choice goes on with the second.
	shared bool
	// rounds is how often a step that goes back to itself runs at most; 0 for one that does not. vary: the number
	// depends on what came before.
	rounds int
	vary   bool
	// items is what a foreach goes over.
	items items
	// size is that of a gang.
	size int
	// merge is how the join takes over what came before.
	merge mergeMode
}

type oneCase struct {
	// key is a Python literal.
	key string
	arm int
}

type mergeMode int

const (
	takeKept     mergeMode = iota // an assignment
	mergeAll                      // merge_artifacts, but for what differs
	mergeInclude                  // merge_artifacts of one name
	mergeModes
)

// node is one step.
type node struct {
	// name is given when the flow is written.
	name string
	kind string
	// stores is a Python literal that the step stores; empty for none.
	stores string
	// looks picks an artifact of an earlier step to read, where there is one; 0 for none.
	looks int
	// input and stack: in a foreach, the step reads its item and what surrounds it.
	input, stack bool
	// retries is @retry's times, -1 for no @retry; fails is the number of attempts that fail.
	retries, fails int
	// catch: @catch, and the step fails for good.
	catch bool
}

func (n *node) tasks() int {
	if n.catch {
		return max(n.retries, 0) + 1
	}
	return 1 + n.fails
}

// problem is the name of the artifact that holds a caught error.
func (n *node) problem() string {
	if n.catch {
		return "problem_" + n.name
	}
	return ""
}

// order is the name of the artifact that holds the order of a join's inputs.
func (n *node) order() string {
	if n.kind == "join" || n.kind == "gang_join" {
		return "order_" + n.name
	}
	return ""
}

func (s seq) tasks() (n int) {
	for _, b := range s {
		n += b.tasks()
	}
	return n
}

func (b *block) tasks() int {
	n := b.head.tasks()
	switch b.form {
	case split:
		n += b.join.tasks()
		for _, arm := range b.arms {
			n += arm.tasks()
		}
	case foreach:
		n += b.join.tasks() + b.items.most()*b.arms[0].tasks()
	case gang:
		n += b.join.tasks() + b.size*b.arms[0].tasks()
	case choice:
		n *= max(b.rounds, 1)
		most, before := 0, 0
		for i, arm := range b.arms {
			m := arm.tasks()
			if b.shared && i == 1 {
				m += before
			}
			most, before = max(most, m), m
		}
		n += most
	}
	return n
}

func (s seq) uses(u *Uses, depth int) {
	for _, b := range s {
		u.Depth = max(u.Depth, depth)
		for _, n := range []node{b.head, b.join} {
			if n.retries >= 0 && n.fails > 0 {
				u.Retries++
			}
			if n.catch {
				u.Catches++
			}
		}
		inner := depth
		switch b.form {
		case split:
			u.Splits++
		case foreach:
			u.Foreaches++
			inner++
		case gang:
			u.Gangs++
		case choice:
			if b.rounds > 0 {
				u.Loops++
			}
			if len(b.arms) > 1 {
				u.Switches++
			}
		}
		if b.joins() && b.merge != takeKept {
			u.Merges++
		}
		for _, arm := range b.arms {
			arm.uses(u, inner)
		}
	}
}

func (b *block) joins() bool { return b.form == split || b.form == foreach || b.form == gang }

// endsInSwitch reports whether a switch is the last step on some way through: it may not lead into a join.
func (s seq) endsInSwitch() bool {
	if len(s) == 0 {
		return true
	}
	last := s[len(s)-1]
	if last.form != choice {
		return false
	}
	for i, arm := range last.arms {
		goesOn := last.shared && i == 0
		if !goesOn && arm.endsInSwitch() {
			return true
		}
	}
	return false
}

// ends returns the last steps on all ways through.
func (s seq) ends() []*node {
	if len(s) == 0 {
		return nil
	}
	b := s[len(s)-1]
	switch {
	case b.form == plain:
		return []*node{&b.head}
	case b.joins():
		return []*node{&b.join}
	}
	var all []*node
	for i, arm := range b.arms {
		if !b.shared || i != 0 {
			all = append(all, arm.ends()...)
		}
	}
	return all
}

func newPlain() *block { return &block{head: node{retries: -1}} }

// normalize makes a tree a valid flow, by as few steps as it takes: the language has rules for what may come first, last
// and next to each other.
func (f *Flow) normalize() {
	if len(f.body) == 0 || f.body[0].rounds > 0 {
		f.body = slices.Insert(f.body, 0, newPlain()) // the start step cannot be entered again
	}
	f.end.input, f.end.stack = false, false
	f.body.normalize(false)
}

// normalize does so for a sequence; fanned says whether it lies in a foreach.
func (s seq) normalize(fanned bool) {
	for _, b := range s {
		if !fanned {
			b.head.input, b.head.stack = false, false
			if b.items.kind == byIndex {
				b.items.kind = numbers
			}
		}
		b.join.input, b.join.stack = false, false
		if b.form == choice {
			b.normalizeChoice()
		}
		for i := range b.arms {
			b.arms[i].normalize(fanned || b.form == foreach)
			if b.joins() && b.arms[i].endsInSwitch() {
				b.arms[i] = append(b.arms[i], newPlain())
			}
		}
	}
}

// normalizeChoice sees to it that a choice has two ways on, and a case for each.
func (b *block) normalizeChoice() {
	empty := false
	for i := range b.arms {
		// Two branches with no step are one and the same.
		if len(b.arms[i]) == 0 && empty {
			b.arms[i] = seq{newPlain()}
		}
		empty = empty || len(b.arms[i]) == 0
	}
	if len(b.arms) < 2 || len(b.arms[0]) == 0 || len(b.arms[1]) == 0 {
		b.shared = false
	}
}

// number gives all steps their names.
func (f *Flow) number() *Flow {
	n := 0
	f.body.number(&n)
	f.body[0].head.name = "start"
	f.end.name, f.end.kind = "end", "end"
	return f
}

func (s seq) number(n *int) {
	for _, b := range s {
		b.head.kind = [...]string{plain: "step", split: "fork", foreach: "fan", choice: "pick", gang: "call"}[b.form]
		if b.rounds > 0 {
			b.head.kind = "loop"
		}
		b.head.rename(n)
		for _, arm := range b.arms {
			arm.number(n)
		}
		if b.form == gang {
			work := &b.arms[0][0].head
			work.kind, work.name = "work", "work"+work.name[len("step"):]
		}
		if b.joins() {
			b.join.kind = map[form]string{split: "join", foreach: "gather", gang: "gang_join"}[b.form]
			b.join.rename(n)
		}
	}
}

func (n *node) rename(count *int) {
	*count++
	n.name = fmt.Sprintf("%s_%d", n.kind, *count)
}

// visit calls do with every step, in the order in which they are written.
func (f *Flow) visit(do func(*node)) {
	f.body.visit(do)
	do(&f.end)
}

func (s seq) visit(do func(*node)) {
	for _, b := range s {
		do(&b.head)
		for _, arm := range b.arms {
			arm.visit(do)
		}
		if b.joins() {
			do(&b.join)
		}
	}
}
