package ir

import (
	"maps"
	"slices"
)

// maxStructure bounds the number of names in graph_structure: after a switch Metaflow lists each path up to the end
// of the block, which doubles with each switch in a row.
const maxStructure = 20_000

// GraphInfo returns the value of the artifact _graph_info as plain data, with the keys, their order and the nesting
// that Metaflow gives it. Where Metaflow puts absolute paths, this has the paths of the spans. The answer for a flow that
// is not sound is not, either.
//
// A flow with so many switches in a row that listing each path would take over 20,000 names has in its graph_structure,
// from the first switch that is too much on, the paths of a switch up to where they meet, and then goes on from there.
func GraphInfo(f *Flow) Ordered {
	g := NewGraph(f)
	parameters := make([]any, 0, len(f.Parameters)+len(f.Configs))
	for _, p := range f.Parameters {
		kind := "Parameter"
		if p.Type == FileType {
			kind = "IncludeFile"
		}
		parameters = append(parameters, Ordered{{"name", p.Name}, {"type", kind}})
	}
	for _, c := range f.Configs {
		parameters = append(parameters, Ordered{{"name", c.Name}, {"type", "Config"}})
	}
	constants := make([]any, 0, len(f.Constants))
	for _, c := range f.Constants {
		constants = append(constants, Ordered{{"name", c.Name}, {"type", bareType(c.Type)}})
	}
	w := structureWriter{g: g, paths: g.structureSizes(), left: 10*maxStructure + 10*len(g.steps)}
	structure := w.block(g.start, g.end)
	if g.end >= 0 {
		w.visit(g.end)
		structure = append(structure, g.End())
	}
	return Ordered{
		{"file", f.Source.File}, {"start_step", g.Start()}, {"end_step", g.End()},
		{"parameters", parameters}, {"constants", constants},
		{"steps", w.steps}, {"graph_structure", structure},
		{"doc", f.Doc}, {"decorators", decoratorInfo(f.Decorators)}, {"extensions", Ordered{}},
	}
}

// bareType turns "<class 'int'>" into "int".
func bareType(t string) string {
	const before, after = "<class '", "'>"
	if len(t) > len(before)+len(after) && t[:len(before)] == before && t[len(t)-len(after):] == after {
		t = t[len(before) : len(t)-len(after)]
	}
	for i := len(t) - 1; i >= 0; i-- {
		if t[i] == '.' {
			return t[i+1:]
		}
	}
	return t
}

func decoratorInfo(ds []Decorator) []any {
	list := make([]any, 0, len(ds))
	for _, d := range ds {
		list = append(list, Ordered{
			{"name", d.Name}, {"attributes", ordered(map[string]any(d.Attributes))},
			{"statically_defined", d.Origin == Static}, {"inserted_by", nil},
		})
	}
	return list
}

// ordered turns JSON data into plain data with maps sorted by key.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := make(Ordered, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o = append(o, KV{k, ordered(v[k])})
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = ordered(e)
		}
		return list
	default:
		return v
	}
}

// stepInfo returns the entry of a step in the dict "steps".
func (g *Graph) stepInfo(i int) Ordered {
	s := g.steps[i]
	next := []any{}
	if s.Next != nil {
		for _, t := range s.Next.Targets {
			next = append(next, t.Step)
		}
	}
	info := Ordered{
		{"name", s.Name}, {"type", g.stepType(i)}, {"line", int64(s.Span.Line)}, {"source_file", s.Span.File},
		{"doc", s.Doc}, {"decorators", decoratorInfo(s.Decorators)}, {"next", next}, {"node_info", Ordered{}},
	}
	if s.Next != nil {
		switch s.Next.Kind {
		case Foreach:
			info = append(info, KV{"foreach_artifact", s.Next.Foreach})
		case Parallel:
			var size any
			if s.Next.NumParallel > 0 {
				size = int64(s.Next.NumParallel)
			}
			info = append(info, KV{"num_parallel", size})
		case Switch:
			cases := Ordered{}
			next = next[:0]
			for _, c := range s.Next.Cases {
				key, err := DecodeValue(c.Value)
				if err != nil {
					key = string(c.Value)
				}
				cases = append(cases, KV{key, c.Step})
				next = append(next, c.Step)
			}
			info[6].Value = next
			info = append(info, KV{"condition", s.Next.Condition}, KV{"switch_cases", cases})
		}
	}
	if join := g.nesting.join[i]; join >= 0 {
		info = append(info, KV{"matching_join", g.name(join)})
	}
	return info
}

// stepType returns Metaflow's word for the kind of step: what it splits comes before what it is.
func (g *Graph) stepType(i int) string {
	s := g.steps[i]
	if i == g.end {
		return "end"
	}
	if s.Next != nil {
		switch s.Next.Kind {
		case Split:
			return "split-static"
		case Foreach:
			return "split-foreach"
		case Parallel:
			return "split-parallel"
		case Switch:
			return "split-switch"
		}
	}
	switch {
	case s.Join:
		return "join"
	case i == g.start:
		return "start"
	}
	return "linear"
}

// structureSizes returns for each step how many names listing all paths from it to the end takes, cut off above maxStructure.
func (g *Graph) structureSizes() []int {
	sizes := make([]int, len(g.steps))
	for i := len(g.order) - 1; i >= 0; i-- {
		u := g.order[i]
		next := g.steps[u].Next
		n := 1
		switch {
		case g.nesting.join[u] >= 0: // the branches count once, the rest once
			n += sizes[g.nesting.join[u]]
			for _, v := range g.succ[u] {
				n = min(n+max(sizes[v]-sizes[g.nesting.join[u]], 0), maxStructure+1)
			}
		case next != nil && next.Kind == Switch:
			for _, c := range next.Cases {
				if v, ok := g.index[c.Step]; ok && v != u && g.rank[v] > g.rank[u] {
					n = min(n+sizes[v], maxStructure+1)
				}
			}
		case next != nil:
			for _, v := range g.succ[u] {
				n = min(n+sizes[v], maxStructure+1)
			}
		}
		sizes[u] = n
	}
	return sizes
}

// structureWriter builds the nested lists of graph_structure and the dict of steps in the order of the visits.
type structureWriter struct {
	g     *Graph
	paths []int
	steps Ordered
	seen  map[int]bool
	// left is how many more names may be listed.
	left int
}

func (w *structureWriter) visit(i int) {
	if w.seen == nil {
		w.seen = map[int]bool{}
	}
	if !w.seen[i] {
		w.seen[i] = true
		w.steps = append(w.steps, KV{w.g.name(i), w.g.stepInfo(i)})
	}
}

// block lists what lies between two steps, the second excluded.
func (w *structureWriter) block(from, to int) []any {
	g := w.g
	list := []any{}
	// On a broken flow the walk could turn round, or list the same again and again: ranks and the limit stop it.
	for at, rank := from, -1; at >= 0 && at != to && at != g.end && g.rank[at] > rank && w.left > 0; {
		rank = g.rank[at]
		w.left--
		w.visit(at)
		list = append(list, g.name(at))
		next := g.steps[at].Next
		switch {
		case next == nil || len(g.succ[at]) == 0:
			return list
		case (next.Kind == Split || next.Kind == Foreach) && g.nesting.join[at] >= 0:
			list = append(list, w.branches(at, g.nesting.join[at]))
			at = g.nesting.join[at]
		case next.Kind == Switch:
			meet := to
			if w.paths[at] > maxStructure {
				if p := g.post.parent[at]; p >= 0 {
					meet = p
				}
			}
			list = append(list, w.branches(at, meet))
			at = meet
		default:
			at = g.succ[at][0]
		}
	}
	return list
}

// branches lists the branches of a split or switch; a switch has one for each case.
func (w *structureWriter) branches(at, to int) []any {
	list := make([]any, 0, len(w.g.succ[at]))
	next := w.g.steps[at].Next
	if next.Kind != Switch {
		for _, v := range w.g.succ[at] {
			list = append(list, w.block(v, to))
		}
		return list
	}
	for _, c := range next.Cases {
		if v, ok := w.g.index[c.Step]; ok && v != at {
			list = append(list, w.block(v, to))
		}
	}
	return list
}
