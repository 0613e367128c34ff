package ir

// Unreachable returns the steps that no path from the start step leads to, in source order; nil when the start step is
// unknown.
func (g *Graph) Unreachable() []string { return g.outside(g.start, g.succ) }

// DeadEnds returns the steps from which no path leads to the end step, in source order; nil when the end step is
// unknown.
func (g *Graph) DeadEnds() []string { return g.outside(g.end, g.pred) }

// Reachable reports whether a path leads from one step to the other; a step reaches itself. It takes time linear in
// the size of the graph.
func (g *Graph) Reachable(from, to string) bool {
	u, ok := g.index[from]
	if !ok {
		return false
	}
	v, ok := g.index[to]
	return ok && g.closure(u, g.succ)[v]
}

// outside returns the steps that root does not reach along edges.
func (g *Graph) outside(root int, edges [][]int) []string {
	if root < 0 {
		return nil
	}
	var names []string
	for v, inside := range g.closure(root, edges) {
		if !inside {
			names = append(names, g.name(v))
		}
	}
	return names
}

func (g *Graph) closure(root int, edges [][]int) []bool {
	seen := make([]bool, len(g.steps))
	seen[root] = true
	todo := []int{root}
	for len(todo) > 0 {
		u := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, v := range edges[u] {
			if !seen[v] {
				seen[v] = true
				todo = append(todo, v)
			}
		}
	}
	return seen
}
