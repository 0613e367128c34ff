package ir

import "slices"

// Cycles returns one shortest cycle through the first step of each knot of steps that lead back to each other, in
// source order of those first steps. A cycle is a list of step names whose first and last are the same. The edge of a
// recursive switch to itself is not a cycle; any other edge of a step to itself is.
func (g *Graph) Cycles() [][]string {
	if g.acyclic {
		return nil
	}
	component := g.components()
	size := map[int]int{}
	for _, c := range component {
		size[c]++
	}
	var cycles [][]string
	done := map[int]bool{}
	for v := range g.steps {
		switch c := component[v]; {
		case g.selfLoop[v]:
			cycles = append(cycles, []string{g.name(v), g.name(v)})
		case size[c] > 1 && !done[c]:
			done[c] = true
			cycles = append(cycles, g.names(g.shortestCycle(v, component)))
		}
	}
	return cycles
}

// shortestCycle finds a shortest way from v back to v inside v's strongly connected component.
func (g *Graph) shortestCycle(v int, component []int) []int {
	from := map[int]int{}
	queue := []int{v}
	for len(queue) > 0 {
		u := queue[0]
		queue = queue[1:]
		for _, w := range g.succ[u] {
			if component[w] != component[v] {
				continue
			}
			if w == v {
				path := []int{v, u}
				for u != v {
					u = from[u]
					path = append(path, u)
				}
				slices.Reverse(path)
				return path
			}
			if _, seen := from[w]; !seen {
				from[w] = u
				queue = append(queue, w)
			}
		}
	}
	return []int{v, v}
}

// components numbers the strongly connected component of each step: Tarjan's algorithm, without recursion so that a
// flow of any length fits the stack.
func (g *Graph) components() []int {
	n := len(g.steps)
	number, low, component := make([]int, n), make([]int, n), make([]int, n)
	edge := make([]int, n)
	onStack := make([]bool, n)
	var stack, calls []int
	next, components := 1, 0
	for root := range n {
		if number[root] != 0 {
			continue
		}
		calls = append(calls, root)
		for len(calls) > 0 {
			v := calls[len(calls)-1]
			if number[v] == 0 {
				number[v], low[v] = next, next
				next++
				stack = append(stack, v)
				onStack[v] = true
			}
			if edge[v] < len(g.succ[v]) {
				w := g.succ[v][edge[v]]
				edge[v]++
				if number[w] == 0 {
					calls = append(calls, w)
				} else if onStack[w] {
					low[v] = min(low[v], number[w])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				caller := calls[len(calls)-1]
				low[caller] = min(low[caller], low[v])
			}
			if low[v] == number[v] {
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					onStack[w] = false
					component[w] = components
					if w == v {
						break
					}
				}
				components++
			}
		}
	}
	return component
}
