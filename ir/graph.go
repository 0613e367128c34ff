package ir

// Graph indexes a flow for lookups and graph questions. It is computed once, in near-linear time, from the flow as it
// is at that moment, and is read-only afterwards: safe for concurrent use as long as nobody changes the flow.
//
// It accepts any flow, broken ones included (unknown targets, cycles, several steps of one name, no endpoints). Edges
// to unknown steps are left out, and so are the edges of a recursive step to itself, so that every valid flow is
// acyclic here. Where several steps share a name, the name means the first. What Faults and Cycles report says
// whether the other answers can be trusted.
type Graph struct {
	flow  *Flow
	steps []*Step
	index map[string]int
	// start and end are positions in steps, -1 when unknown.
	start, end int
	// succ and pred hold distinct positions; succ in the order of the transition, pred in the order of the steps.
	succ, pred [][]int
	// selfLoop is set for steps with an edge to themselves that is not a recursion.
	selfLoop []bool
	order    []int
	rank     []int
	acyclic  bool
	dom      tree
	post     tree
	nesting  nesting
}

// NewGraph indexes f. Endpoints that f does not name are found as Endpoints does.
func NewGraph(f *Flow) *Graph {
	g := &Graph{flow: f, index: make(map[string]int, len(f.Steps)), start: -1, end: -1}
	for _, s := range f.Steps {
		if s == nil {
			continue
		}
		if _, taken := g.index[s.Name]; !taken {
			g.index[s.Name] = len(g.steps)
		}
		g.steps = append(g.steps, s)
	}
	start, end := f.Start, f.End
	if start == "" || end == "" {
		foundStart, foundEnd := Endpoints(f)
		if start == "" {
			start = foundStart
		}
		if end == "" {
			end = foundEnd
		}
	}
	if i, ok := g.index[start]; ok {
		g.start = i
	}
	if i, ok := g.index[end]; ok {
		g.end = i
	}
	g.connect()
	g.sort()
	g.dom = g.dominators(g.start, g.order, g.pred)
	backwards := make([]int, len(g.order))
	for i, v := range g.order {
		backwards[len(backwards)-1-i] = v
	}
	g.post = g.dominators(g.end, backwards, g.succ)
	g.nest()
	return g
}

// connect fills succ, pred and selfLoop.
func (g *Graph) connect() {
	n := len(g.steps)
	g.succ, g.pred, g.selfLoop = make([][]int, n), make([][]int, n), make([]bool, n)
	// seen[v] == u+1 says that the edge u→v was taken already.
	seen := make([]int, n)
	for u, s := range g.steps {
		if s.Next == nil {
			continue
		}
		for _, t := range s.Next.Targets {
			v, ok := g.index[t.Step]
			if !ok || seen[v] == u+1 {
				continue
			}
			seen[v] = u + 1
			if v == u {
				g.selfLoop[u] = s.Next.Kind != Switch
				continue
			}
			g.succ[u] = append(g.succ[u], v)
			g.pred[v] = append(g.pred[v], u)
		}
	}
}

// Endpoints finds the start and the end step as Metaflow does: the one step that is marked, else the step named
// "start" or "end"; the only step of a one-step flow is both. A name is empty where there is no such step or
// several are marked.
func Endpoints(f *Flow) (start, end string) {
	var only *Step
	count := 0
	for _, s := range f.Steps {
		if s != nil {
			only = s
			count++
		}
	}
	if count == 1 {
		return only.Name, only.Name
	}
	return endpoint(f, "start", func(s *Step) bool { return s.MarkedStart }),
		endpoint(f, "end", func(s *Step) bool { return s.MarkedEnd })
}

func endpoint(f *Flow, fallback string, marked func(*Step) bool) string {
	found, named := "", ""
	count := 0
	for _, s := range f.Steps {
		if s == nil {
			continue
		}
		if marked(s) {
			found = s.Name
			count++
		}
		if s.Name == fallback {
			named = fallback
		}
	}
	switch count {
	case 0:
		return named
	case 1:
		return found
	}
	return ""
}

// Flow returns the flow that was indexed.
func (g *Graph) Flow() *Flow { return g.flow }

// Step returns the step of that name, or nil. It takes constant time.
func (g *Graph) Step(name string) *Step {
	if i, ok := g.index[name]; ok {
		return g.steps[i]
	}
	return nil
}

// Start returns the start step's name, empty when there is none.
func (g *Graph) Start() string { return g.name(g.start) }

// End returns the end step's name, empty when there is none.
func (g *Graph) End() string { return g.name(g.end) }

// Successors returns the known steps that the step goes on to, each once, in the order of its transition. A
// recursive step is not among its own successors.
func (g *Graph) Successors(step string) []string {
	if i, ok := g.index[step]; ok {
		return g.names(g.succ[i])
	}
	return nil
}

// Predecessors returns the steps that go on to the step, each once, in the order of the source. A recursive step is
// not among its own predecessors.
func (g *Graph) Predecessors(step string) []string {
	if i, ok := g.index[step]; ok {
		return g.names(g.pred[i])
	}
	return nil
}

// name returns the name of the step at position i, empty for -1.
func (g *Graph) name(i int) string {
	if i < 0 {
		return ""
	}
	return g.steps[i].Name
}

func (g *Graph) names(positions []int) []string {
	if len(positions) == 0 {
		return nil
	}
	names := make([]string, len(positions))
	for i, p := range positions {
		names[i] = g.steps[p].Name
	}
	return names
}
