package ir

// Frame is one split that a step lies in.
type Frame struct {
	// Split is the step that splits, Kind its transition: Split, Foreach or Parallel.
	Split string
	Kind  TransitionKind
	// Branch is the first step of the branch (of the body, for Foreach and Parallel).
	Branch string
}

// nesting says in which splits each step lies. The frames of a step form a linked list that steps share, so that
// deep nesting costs nothing.
type nesting struct {
	// frame is the innermost frame of each step; nil outside any split, and where a fault makes it unknown.
	frame []*frame
	// join is the step that joins each split and split the reverse; -1 where there is none.
	join, split []int
	faults      []Fault
}

// frame is an occupied place: two frames are the same when split and branch are.
type frame struct {
	split, branch int
	outer         *frame
	depth         int
	foreachs      int
}

func (f *frame) same(o *frame) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.split == o.split && f.branch == o.branch
}

// Enclosing returns the splits that the step lies in, outermost first. A splitting step lies outside its own split,
// and so does the join of it; the steps in between lie inside.
func (g *Graph) Enclosing(step string) []Frame {
	i, ok := g.index[step]
	if !ok {
		return nil
	}
	f := g.nesting.frame[i]
	if f == nil {
		return nil
	}
	frames := make([]Frame, f.depth)
	for ; f != nil; f = f.outer {
		frames[f.depth-1] = Frame{g.name(f.split), g.steps[f.split].Next.Kind, g.name(f.branch)}
	}
	return frames
}

// Depth returns in how many splits the step lies.
func (g *Graph) Depth(step string) int {
	if i, ok := g.index[step]; ok && g.nesting.frame[i] != nil {
		return g.nesting.frame[i].depth
	}
	return 0
}

// PathLen returns the length of the split path of the step's tasks: in how many foreach or parallel splits it lies.
func (g *Graph) PathLen(step string) int {
	if i, ok := g.index[step]; ok && g.nesting.frame[i] != nil {
		return g.nesting.frame[i].foreachs
	}
	return 0
}

// Foreachs returns the names of the steps whose foreach or parallel split the step lies in, outermost first: one for
// each index of the split path of the step's tasks.
func (g *Graph) Foreachs(step string) []string {
	n := g.PathLen(step)
	if n == 0 {
		return nil
	}
	names := make([]string, n)
	for f := g.nesting.frame[g.index[step]]; f != nil; f = f.outer {
		if g.foreach(f.split) {
			n--
			names[n] = g.name(f.split)
		}
	}
	return names
}

// MatchingJoin returns the step that joins the split; empty when the step does not split or nothing joins it.
func (g *Graph) MatchingJoin(split string) string {
	if i, ok := g.index[split]; ok {
		return g.name(g.nesting.join[i])
	}
	return ""
}

// JoinedSplit returns the step whose split the join joins; empty when the step joins none.
func (g *Graph) JoinedSplit(join string) string {
	if i, ok := g.index[join]; ok {
		return g.name(g.nesting.split[i])
	}
	return ""
}

// BodyLast returns the last steps of the split's branches: the predecessors of its join, in source order. A branch that
// ends in a switch has several, one of which runs.
func (g *Graph) BodyLast(split string) []string {
	if join := g.MatchingJoin(split); join != "" {
		return g.Predecessors(join)
	}
	return nil
}

// BranchLast returns the last steps of the branch of the split that starts with the given step, in source order:
// more than one when the branch ends in a switch, one of which runs.
func (g *Graph) BranchLast(split, branch string) []string {
	i, ok := g.index[split]
	if !ok || g.nesting.join[i] < 0 {
		return nil
	}
	b, ok := g.index[branch]
	if !ok {
		return nil
	}
	var names []string
	for _, p := range g.pred[g.nesting.join[i]] {
		if f := g.nesting.frame[p]; f != nil && f.split == i && f.branch == b {
			names = append(names, g.name(p))
		}
	}
	return names
}

// FirstOfBody reports whether the step is the first of a foreach or parallel body, and names the splitting step.
func (g *Graph) FirstOfBody(step string) (split string, ok bool) {
	i, known := g.index[step]
	if !known {
		return "", false
	}
	f := g.nesting.frame[i]
	if f == nil || f.branch != i || !g.foreach(f.split) {
		return "", false
	}
	return g.name(f.split), true
}

func (g *Graph) foreach(i int) bool {
	next := g.steps[i].Next
	return next != nil && (next.Kind == Foreach || next.Kind == Parallel)
}

// splits reports whether the step starts several tasks at once.
func (g *Graph) splits(i int) bool {
	next := g.steps[i].Next
	return next != nil && (next.Kind == Split || next.Kind == Foreach || next.Kind == Parallel)
}
