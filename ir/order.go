package ir

import "container/heap"

// Order returns the names of all steps so that each comes after its predecessors; among steps that are free to come
// next, the one that is first in the source does. Steps on or behind a cycle, which only broken flows have, come last
// in source order.
func (g *Graph) Order() []string { return g.names(g.order) }

// Acyclic reports whether the flow is free of cycles (a recursion is none).
func (g *Graph) Acyclic() bool { return g.acyclic }

// sort fills order, rank and acyclic: Kahn's algorithm with a heap of the free steps.
func (g *Graph) sort() {
	n := len(g.steps)
	g.order, g.rank = make([]int, 0, n), make([]int, n)
	waiting := make([]int, n)
	free := &intHeap{}
	for v := range n {
		waiting[v] = len(g.pred[v])
		if waiting[v] == 0 {
			heap.Push(free, v)
		}
	}
	g.acyclic = true
	for free.Len() > 0 {
		u := heap.Pop(free).(int)
		g.order = append(g.order, u)
		if g.selfLoop[u] {
			g.acyclic = false
		}
		for _, v := range g.succ[u] {
			if waiting[v]--; waiting[v] == 0 {
				heap.Push(free, v)
			}
		}
	}
	if len(g.order) < n {
		g.acyclic = false
		for v := range n {
			if waiting[v] > 0 {
				g.order = append(g.order, v)
			}
		}
	}
	for i, v := range g.order {
		g.rank[v] = i
	}
}

// intHeap is a heap of step positions, smallest first.
type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
