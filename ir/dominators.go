package ir

// Dominator returns the step's immediate dominator: the last step before it that every path from the start step
// passes. It is empty for the start step and for steps that the start does not reach.
func (g *Graph) Dominator(step string) string { return g.parentIn(g.dom, step) }

// PostDominator returns the step's immediate post-dominator: the first step after it that every path to the end step
// passes. It is empty for the end step and for steps that do not reach the end.
func (g *Graph) PostDominator(step string) string { return g.parentIn(g.post, step) }

// Dominates reports whether every path from the start step to b passes a. A step dominates itself.
func (g *Graph) Dominates(a, b string) bool { return g.above(g.dom, a, b) }

// PostDominates reports whether every path from b to the end step passes a. A step post-dominates itself.
func (g *Graph) PostDominates(a, b string) bool { return g.above(g.post, a, b) }

// MergePoint returns the step in which all branches of a switch have come together again: its immediate
// post-dominator. It is empty for a step that is not a switch.
func (g *Graph) MergePoint(step string) string {
	s := g.Step(step)
	if s == nil || s.Next == nil || s.Next.Kind != Switch {
		return ""
	}
	return g.PostDominator(step)
}

func (g *Graph) parentIn(t tree, step string) string {
	i, ok := g.index[step]
	if !ok || t.parent[i] == i {
		return ""
	}
	return g.name(t.parent[i])
}

func (g *Graph) above(t tree, a, b string) bool {
	i, ok := g.index[a]
	if !ok {
		return false
	}
	j, ok := g.index[b]
	if !ok || t.parent[i] < 0 || t.parent[j] < 0 {
		return false
	}
	return t.ancestor(j, t.depth[i]) == i
}

// dominators builds the dominator tree from root. The steps in order must come so that those a step is reached by,
// given by from, precede it; edges that break this are part of a cycle and are ignored. On an acyclic graph a step's
// immediate dominator is the lowest common ancestor of its predecessors, so one pass in order is enough.
func (g *Graph) dominators(root int, order []int, from [][]int) tree {
	t := newTree(len(g.steps))
	if root < 0 {
		return t
	}
	t.root(root)
	for _, v := range order {
		if v == root {
			continue
		}
		parent := -1
		for _, u := range from[v] {
			switch {
			case t.parent[u] < 0: // not reached, or on a cycle
			case parent < 0:
				parent = u
			default:
				parent = t.commonAncestor(parent, u)
			}
		}
		if parent >= 0 {
			t.add(v, parent)
		}
	}
	return t
}

// tree is a rooted tree that grows by leaves and finds ancestors in logarithmic time: besides its parent each node
// keeps one jump further up (the skew-binary scheme).
type tree struct {
	// parent is -1 for what is not in the tree, the node itself for the root.
	parent, jump, depth []int
}

func newTree(n int) tree {
	t := tree{make([]int, n), make([]int, n), make([]int, n)}
	for i := range t.parent {
		t.parent[i] = -1
	}
	return t
}

func (t tree) root(v int) { t.parent[v], t.jump[v] = v, v }

func (t tree) add(v, parent int) {
	t.parent[v], t.depth[v] = parent, t.depth[parent]+1
	far := t.jump[parent]
	if t.depth[parent]-t.depth[far] == t.depth[far]-t.depth[t.jump[far]] {
		t.jump[v] = t.jump[far]
	} else {
		t.jump[v] = parent
	}
}

// ancestor returns the ancestor of v at that depth, or v when it is not deeper.
func (t tree) ancestor(v, depth int) int {
	for t.depth[v] > depth {
		if t.depth[t.jump[v]] >= depth {
			v = t.jump[v]
		} else {
			v = t.parent[v]
		}
	}
	return v
}

func (t tree) commonAncestor(u, v int) int {
	u, v = t.ancestor(u, t.depth[v]), t.ancestor(v, t.depth[u])
	for u != v {
		if t.jump[u] != t.jump[v] {
			u, v = t.jump[u], t.jump[v]
		} else {
			u, v = t.parent[u], t.parent[v]
		}
	}
	return u
}
