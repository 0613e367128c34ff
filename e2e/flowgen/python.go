package flowgen

import (
	"fmt"
	"slices"
	"strings"
)

// header is what every flow file begins with. A trail is a text that every step makes of the one before and of what the step
// is given: two tasks with equal trails have had equal inputs in an equal order.
const header = `"""%s"""

import hashlib

from metaflow import FlowSpec, JSONType, Parameter, catch, current, parallel, retry, step


def mix(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class %s(FlowSpec):
`

// Python returns the flow as a file for Metaflow.
func (f *Flow) Python() string {
	c := f.clone().number()
	w := &writer{flow: c}
	about := fmt.Sprintf("Made of seed %d.", f.Seed)
	if f.Smaller > 0 {
		about = fmt.Sprintf("Made of seed %d, and made smaller %d times.", f.Seed, f.Smaller)
	}
	fmt.Fprintf(&w.text, header, about, f.Name())
	for _, p := range c.parameters {
		kind := ""
		if p.name == "p_json" {
			kind = "type=JSONType, "
		}
		w.line(1, "%s = Parameter(%q, %sdefault=%s)", p.name, p.name, kind, p.initial)
	}
	w.seq(c.body, "end", nil)
	w.step(&c.end, nil, "")
	w.line(0, "\n\nif __name__ == \"__main__\":\n    %s()", f.Name())
	return w.text.String()
}

type writer struct {
	text strings.Builder
	flow *Flow
}

func (w *writer) line(indent int, format string, args ...any) {
	w.text.WriteString(strings.Repeat("    ", indent))
	fmt.Fprintf(&w.text, format, args...)
	w.text.WriteByte('\n')
}

// seq writes steps that lead to the step next. have are the artifacts that all ways to it have written; it returns those that
// all ways from it have.
func (w *writer) seq(s seq, next string, have []string) []string {
	for i, b := range s {
		to := next
		if i+1 < len(s) {
			to = s[i+1].head.name
		}
		have = w.block(b, to, have)
	}
	return have
}

func (w *writer) block(b *block, next string, have []string) []string {
	switch b.form {
	case split:
		return w.split(b, next, have)
	case foreach:
		return w.foreach(b, next, have)
	case gang:
		return w.gang(b, next, have)
	case choice:
		return w.choice(b, next, have)
	}
	return w.step(&b.head, have, fmt.Sprintf("self.next(self.%s)", next))
}

// step writes a step that is no join. goesOn are its last lines; empty for the end.
func (w *writer) step(n *node, have []string, goesOn string) []string {
	w.begin(n)
	w.line(1, "def %s(self):", n.name)
	have = w.body(n, have)
	if goesOn != "" {
		w.line(2, "%s", strings.ReplaceAll(goesOn, "\n", "\n        "))
	}
	return have
}

// begin writes the decorators of a step.
func (w *writer) begin(n *node) {
	w.line(0, "")
	if n.catch {
		w.line(1, "@catch(var=%q, print_exception=False)", n.problem())
	}
	if n.retries >= 0 {
		w.line(1, "@retry(times=%d, minutes_between_retries=0)", n.retries)
	}
	if n.kind == "work" {
		w.line(1, "@parallel")
	}
	w.line(1, "@step")
}

// body writes what a step that is no join does.
func (w *writer) body(n *node, have []string) []string {
	parts := []string{fmt.Sprintf("%q", n.name)}
	if n.name == "start" {
		for _, p := range w.flow.parameters {
			parts = append(parts, "self."+p.name)
		}
		w.line(2, "self.kept = %s", w.flow.kept)
	} else {
		parts = append(parts, "self.trail", "self.kept")
	}
	parts = append(parts, w.looks(n, have)...)
	if n.input {
		parts = append(parts, "self.index", "self.input")
	}
	if n.stack {
		parts = append(parts, "self.foreach_stack()")
	}
	if n.kind == "work" {
		parts = append(parts, "current.parallel.node_index", "current.parallel.num_nodes")
	}
	if n.kind == "loop" {
		parts = append(parts, fmt.Sprintf("getattr(self, \"round_%s\", 0)", n.name))
	}
	w.line(2, "self.trail = mix(%s)", strings.Join(parts, ", "))
	w.fails(n)
	return w.stores(n, have)
}

// looks returns an artifact or a parameter that the step reads, if it does.
func (w *writer) looks(n *node, have []string) []string {
	known := slices.Clone(have)
	for _, p := range w.flow.parameters {
		known = append(known, p.name)
	}
	if n.looks == 0 || len(known) == 0 {
		return nil
	}
	return []string{"self." + known[n.looks%len(known)]}
}

// fails writes the lines that make an attempt fail. What it has stored until then must not be seen afterwards.
func (w *writer) fails(n *node) {
	switch {
	case n.catch:
		w.line(2, "raise ValueError(\"%s is asked to fail, always\")", n.name)
	case n.fails > 0:
		w.line(2, "if current.retry_count < %d:", n.fails)
		w.line(3, "self.half_%s = self.trail", n.name)
		w.line(3, "raise RuntimeError(\"attempt %%d is asked to fail\" %% current.retry_count)")
	}
	if n.retries > 0 && !n.catch {
		w.line(2, "self.tries_%s = current.retry_count", n.name)
	}
}

func (w *writer) stores(n *node, have []string) []string {
	if n.stores == "" {
		return have
	}
	w.line(2, "self.v_%s = %s", n.name, n.stores)
	return append(slices.Clone(have), "v_"+n.name)
}

func (w *writer) split(b *block, next string, have []string) []string {
	heads := make([]string, len(b.arms))
	for i, arm := range b.arms {
		heads[i] = "self." + arm[0].head.name
	}
	before := w.step(&b.head, have, fmt.Sprintf("self.next(%s)", strings.Join(heads, ", ")))
	after := before
	inputs, named := make([]string, len(b.arms)), true
	for i, arm := range b.arms {
		for _, name := range w.seq(arm, b.join.name, before) {
			if !slices.Contains(before, name) && !arm.loses() {
				after = append(slices.Clone(after), name)
			}
		}
		if ends := arm.ends(); len(ends) == 1 {
			inputs[i] = "inputs." + ends[0].name + ".trail"
		} else {
			named = false
		}
		if arm.loses() {
			after = slices.DeleteFunc(slices.Clone(after), func(name string) bool { return slices.Contains(before, name) })
		}
	}
	trails := "sorted(i.trail for i in inputs)"
	if named {
		trails = strings.Join(inputs, ", ")
	}
	return w.join(b, trails, nil, next, after)
}

func (w *writer) foreach(b *block, next string, have []string) []string {
	name := "items_" + b.head.name
	before := w.step(&b.head, have, fmt.Sprintf("self.%s = %s\nself.next(self.%s, foreach=%q)",
		name, b.items.source(), b.arms[0][0].head.name, name))
	w.seq(b.arms[0], b.join.name, append(slices.Clone(before), name))
	after := append(slices.Clone(before), name)
	if b.arms[0].loses() {
		after = nil
	}
	return w.join(b, "[i.trail for i in inputs]", b.arms[0].writes(), next, after)
}

func (w *writer) gang(b *block, next string, have []string) []string {
	work := &b.arms[0][0].head
	before := w.step(&b.head, have, fmt.Sprintf("self.next(self.%s, num_parallel=%d)", work.name, b.size))
	w.step(work, before, fmt.Sprintf("self.next(self.%s)", b.join.name))
	return w.join(b, "sorted(i.trail for i in inputs)", b.arms[0].writes(), next, before)
}

// join writes a join. differs are the names of artifacts that its inputs may have different values of, and after those that
// they all have.
func (w *writer) join(b *block, trails string, differs []string, next string, after []string) []string {
	n := &b.join
	w.begin(n)
	w.line(1, "def %s(self, inputs):", n.name)
	w.line(2, "self.trail = mix(%q, %s)", n.name, trails)
	if n.kind != "gather" {
		w.line(2, "self.%s = [i.trail for i in inputs]", n.order())
	}
	w.fails(n)
	have := w.stores(n, nil)
	switch b.merge {
	case mergeAll:
		exclude := ""
		if len(differs) > 0 {
			exclude = fmt.Sprintf(", exclude=[%s]", quoted(differs))
		}
		w.line(2, "self.merge_artifacts(inputs%s)", exclude)
		for _, name := range after {
			if !slices.Contains(differs, name) && !slices.Contains(have, name) {
				have = append(have, name)
			}
		}
	case mergeInclude:
		w.line(2, "self.merge_artifacts(inputs, include=[\"kept\"])")
	default:
		w.line(2, "self.kept = [i.kept for i in inputs][0]")
	}
	w.line(2, "self.next(self.%s)", next)
	return have
}

func (w *writer) choice(b *block, next string, have []string) []string {
	target := func(i int) string {
		if i < len(b.arms) && len(b.arms[i]) > 0 {
			return b.arms[i][0].head.name
		}
		return next
	}
	name := b.head.name
	var pairs, keys []string
	for _, c := range b.cases {
		pairs = append(pairs, fmt.Sprintf("%s: self.%s", c.key, target(c.arm)))
		keys = append(keys, c.key)
	}
	choose := fmt.Sprintf("[%s][int(self.trail, 16) %% %d]", strings.Join(keys, ", "), len(keys))
	lines := ""
	if b.rounds > 0 {
		again := `"again"`
		if b.cases[0].key[0] != '"' {
			again = "7"
		}
		pairs = append([]string{again + ": self." + name}, pairs...)
		rounds := fmt.Sprint(b.rounds)
		if b.vary {
			rounds = fmt.Sprintf("1 + int(self.trail, 16) %% %d", b.rounds)
		}
		lines = fmt.Sprintf("if not hasattr(self, \"rounds_%[1]s\"):\n    self.rounds_%[1]s = %[2]s\n"+
			"self.round_%[1]s = getattr(self, \"round_%[1]s\", 0) + 1\n", name, rounds)
		choose = fmt.Sprintf("%s if self.round_%[2]s < self.rounds_%[2]s else %[3]s", again, name, choose)
	}
	lines += fmt.Sprintf("self.way_%[1]s = %[2]s\nself.next({%[3]s}, condition=\"way_%[1]s\")", name, choose, strings.Join(pairs, ", "))
	before := w.step(&b.head, have, lines)
	var after []string
	for i, arm := range b.arms {
		to, known := next, before
		switch {
		case b.shared && i == 0:
			to = target(1)
		case b.shared && i == 1 && b.arms[0].loses():
			known = nil
		}
		got := w.seq(arm, to, known)
		if b.shared && i == 0 {
			continue // the second arm's first step has other ways to it
		}
		if after == nil {
			after = got
		}
		after = slices.DeleteFunc(slices.Clone(after), func(name string) bool { return !slices.Contains(got, name) })
	}
	return after
}

// loses reports whether a join on the way leaves out artifacts of before.
func (s seq) loses() bool {
	for _, b := range s {
		if b.joins() && b.merge != mergeAll || slices.ContainsFunc(b.arms, seq.loses) {
			return true
		}
	}
	return false
}

// writes are the names of the artifacts that the steps write, in order, without the trail.
func (s seq) writes() (names []string) {
	for _, b := range s {
		for _, n := range []*node{&b.head, &b.join} {
			if n.stores != "" {
				names = append(names, "v_"+n.name)
			}
			if n.retries > 0 && !n.catch {
				names = append(names, "tries_"+n.name)
			}
			if n.catch {
				names = append(names, n.problem())
			}
		}
		name := b.head.name
		switch b.form {
		case foreach:
			names = append(names, "items_"+name)
		case choice:
			names = append(names, "way_"+name)
			if b.rounds > 0 {
				names = append(names, "round_"+name, "rounds_"+name)
			}
		}
		if b.form == split || b.form == gang {
			names = append(names, b.join.order())
		}
		for _, arm := range b.arms {
			names = append(names, arm.writes()...)
		}
	}
	return names
}

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(all, ", ")
}
