package ir

// FaultKind says how splits and joins of a flow fail to fit together.
type FaultKind string

// The kinds of fault.
const (
	// JoinWithoutSplit: a join that lies in no split.
	JoinWithoutSplit FaultKind = "join-without-split"
	// JoinOfUnrelated: a join of steps that lie in different splits.
	JoinOfUnrelated FaultKind = "join-of-unrelated"
	// JoinIncomplete: a join that does not get every branch of its split; Branches are the missing ones.
	JoinIncomplete FaultKind = "join-incomplete"
	// JoinedTwice: a split of which two steps are the join.
	JoinedTwice FaultKind = "joined-twice"
	// MeetsOutsideJoin: branches that run at once meet in a step that is not a join.
	MeetsOutsideJoin FaultKind = "meets-outside-join"
	// NotJoined: a split that nothing joins.
	NotJoined FaultKind = "not-joined"
	// EmptyBranch: a split goes straight to a join.
	EmptyBranch FaultKind = "empty-branch"
)

// Fault is a place where splits and joins do not fit together.
type Fault struct {
	Kind FaultKind
	// Step is the step at which it shows: the join or meeting step; for NotJoined and EmptyBranch the splitting step.
	Step string
	// Splits are the splitting steps concerned: one, or several for JoinOfUnrelated and MeetsOutsideJoin. An empty
	// name stands for a way that lies in no split.
	Splits []string
	// Branches are the first steps of the branches concerned (JoinIncomplete: the missing ones).
	Branches []string
	// Steps are further steps: the predecessors concerned; the other join for JoinedTwice.
	Steps []string
}

// Faults returns what is wrong with the nesting of splits and joins, in topological order. Where there are faults, or
// the graph has cycles, answers about nesting and joins are best guesses. Steps that the start does not reach are not looked at.
func (g *Graph) Faults() []Fault { return g.nesting.faults }

// nest fills nesting: one walk in topological order, in which each step gets its frame from its predecessors.
func (g *Graph) nest() {
	n := len(g.steps)
	g.nesting = nesting{frame: make([]*frame, n), join: make([]int, n), split: make([]int, n)}
	for i := range n {
		g.nesting.join[i], g.nesting.split[i] = -1, -1
	}
	if g.start < 0 {
		return
	}
	reached := g.closure(g.start, g.succ)
	blamed := make([]bool, n)
	for _, v := range g.order {
		if !reached[v] || v == g.start {
			continue
		}
		ways := g.waysInto(v, reached)
		if len(ways) == 0 { // on a cycle
			continue
		}
		if g.steps[v].Join {
			g.nestJoin(v, ways, blamed)
		} else {
			g.nesting.frame[v] = g.meet(v, ways, blamed)
		}
	}
	for _, u := range g.order {
		if reached[u] && g.splits(u) && len(g.succ[u]) > 0 && g.nesting.join[u] < 0 && !blamed[u] {
			g.fault(Fault{Kind: NotJoined, Step: g.name(u), Splits: []string{g.name(u)}})
		}
	}
}

func (g *Graph) fault(f Fault) { g.nesting.faults = append(g.nesting.faults, f) }

// way is one edge into a step with the frame that it carries.
type way struct {
	from  int
	frame *frame
	// direct is set when the edge leaves a split.
	direct bool
}

func (g *Graph) waysInto(v int, reached []bool) []way {
	var ways []way
	for _, u := range g.pred[v] {
		if !reached[u] || g.rank[u] >= g.rank[v] {
			continue
		}
		w := way{from: u, frame: g.nesting.frame[u]}
		if g.splits(u) {
			w.direct = true
			w.frame = g.enter(u, v)
		}
		ways = append(ways, w)
	}
	return ways
}

// enter returns the frame of branch v of split u.
func (g *Graph) enter(u, v int) *frame {
	f := &frame{split: u, branch: v, outer: g.nesting.frame[u], depth: 1}
	if f.outer != nil {
		f.depth += f.outer.depth
		f.foreachs = f.outer.foreachs
	}
	if g.foreach(u) {
		f.foreachs++
	}
	return f
}

// meet returns the one frame that all ways into a step that is no join carry, and reports when they differ.
func (g *Graph) meet(v int, ways []way, blamed []bool) *frame {
	shallow := ways[0].frame
	same := true
	for _, w := range ways[1:] {
		same = same && w.frame.same(ways[0].frame)
		if w.frame == nil || shallow != nil && w.frame.depth < shallow.depth {
			shallow = w.frame
		}
	}
	if same {
		return ways[0].frame
	}
	g.concern(Fault{Kind: MeetsOutsideJoin, Step: g.name(v)}, ways, blamed)
	return shallow
}

// concern reports a fault with the splits, branches and steps of the ways. It marks the splits as blamed: what a fault has been
// reported for is the likely cause of others behind it, which are left out.
func (g *Graph) concern(f Fault, ways []way, blamed []bool) {
	splits, branches := map[int]bool{}, map[*frame]bool{}
	for _, w := range ways {
		if w.frame != nil && blamed[w.frame.split] {
			return
		}
	}
	for _, w := range ways {
		f.Steps = append(f.Steps, g.name(w.from))
		split := -1
		if w.frame != nil {
			split = w.frame.split
			if !branches[w.frame] {
				branches[w.frame] = true
				f.Branches = append(f.Branches, g.name(w.frame.branch))
			}
		}
		if !splits[split] {
			splits[split] = true
			f.Splits = append(f.Splits, g.name(split))
		}
		for outer := w.frame; outer != nil && !blamed[outer.split]; outer = outer.outer {
			blamed[outer.split] = true
		}
	}
	g.fault(f)
}

// nestJoin finds the split that v joins, records the pair and gives v the frame around it.
func (g *Graph) nestJoin(v int, ways []way, blamed []bool) {
	innermost := ways[0].frame
	unrelated := false
	for _, w := range ways {
		if (w.frame == nil) != (ways[0].frame == nil) || w.frame != nil && w.frame.split != ways[0].frame.split {
			unrelated = true
		}
		if w.frame != nil && (innermost == nil || w.frame.depth > innermost.depth) {
			innermost = w.frame
		}
	}
	if unrelated {
		g.concern(Fault{Kind: JoinOfUnrelated, Step: g.name(v)}, ways, blamed)
		g.nesting.frame[v] = innermost.outer
		return
	}
	if innermost == nil {
		g.fault(Fault{Kind: JoinWithoutSplit, Step: g.name(v)})
		return
	}
	split := innermost.split
	g.nesting.frame[v] = innermost.outer
	g.checkBranches(v, split, ways, blamed)
	if other := g.nesting.join[split]; other >= 0 {
		blamed[split] = true
		g.fault(Fault{Kind: JoinedTwice, Step: g.name(v), Splits: []string{g.name(split)},
			Steps: []string{g.name(other)}})
		return
	}
	g.nesting.join[split], g.nesting.split[v] = v, split
}

// checkBranches reports branches of the split that never reach join v, and ways that skip the body altogether.
func (g *Graph) checkBranches(v, split int, ways []way, blamed []bool) {
	arrived := make(map[int]bool, len(ways))
	for _, w := range ways {
		arrived[w.frame.branch] = true
		if w.direct {
			g.fault(Fault{Kind: EmptyBranch, Step: g.name(split), Splits: []string{g.name(split)},
				Branches: []string{g.name(v)}})
		}
	}
	var missing []string
	for _, b := range g.succ[split] {
		if !arrived[b] {
			missing = append(missing, g.name(b))
		}
	}
	if missing != nil && g.nesting.join[split] < 0 {
		blamed[split] = true
		g.fault(Fault{Kind: JoinIncomplete, Step: g.name(v), Splits: []string{g.name(split)}, Branches: missing})
	}
}
