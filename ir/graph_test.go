package ir_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/ir/irtest"
)

// eachRandom runs the test over many small random flows.
func eachRandom(t *testing.T, test func(t *testing.T, m irtest.Made, g *ir.Graph)) {
	t.Helper()
	for seed := range uint64(400) {
		m := irtest.Random(rand.New(rand.NewPCG(seed, 1)), 1+int(seed%40))
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { test(t, m, ir.NewGraph(m.Flow)) })
	}
}

func TestOrderRespectsEdges(t *testing.T) {
	eachRandom(t, func(t *testing.T, m irtest.Made, g *ir.Graph) {
		position := map[string]int{}
		for i, name := range g.Order() {
			position[name] = i
		}
		if len(position) != len(m.Flow.Steps) || !g.Acyclic() || g.Cycles() != nil {
			t.Fatalf("order has %d of %d steps, acyclic %v, cycles %v", len(position), len(m.Flow.Steps), g.Acyclic(), g.Cycles())
		}
		for _, s := range m.Flow.Steps {
			for _, next := range g.Successors(s.Name) {
				if position[s.Name] >= position[next] {
					t.Errorf("%s comes after its successor %s", s.Name, next)
				}
				if !slices.Contains(g.Predecessors(next), s.Name) {
					t.Errorf("%s is no predecessor of %s", s.Name, next)
				}
			}
		}
	})
}

func TestNestingIsAsMade(t *testing.T) {
	eachRandom(t, func(t *testing.T, m irtest.Made, g *ir.Graph) {
		if faults := g.Faults(); faults != nil {
			t.Fatalf("faults: %+v", faults)
		}
		for _, s := range m.Flow.Steps {
			var around []string
			pathLen := 0
			for _, f := range g.Enclosing(s.Name) {
				around = append(around, f.Split)
				if f.Kind != ir.Split {
					pathLen++
				}
			}
			if want := m.Frames[s.Name]; !slices.Equal(around, want) {
				t.Errorf("%s lies in %v, want %v", s.Name, around, want)
			}
			if g.Depth(s.Name) != len(around) || g.PathLen(s.Name) != pathLen || len(g.Foreachs(s.Name)) != pathLen {
				t.Errorf("%s: depth %d, path %d, foreachs %v for frames %v", s.Name, g.Depth(s.Name), g.PathLen(s.Name),
					g.Foreachs(s.Name), around)
			}
			if got, want := g.MatchingJoin(s.Name), m.Joins[s.Name]; got != want {
				t.Errorf("join of %s is %q, want %q", s.Name, got, want)
			}
			if join := g.MatchingJoin(s.Name); join != "" {
				checkBody(t, g, s, join)
			}
			if got, want := g.MergePoint(s.Name), m.Merges[s.Name]; got != want {
				t.Errorf("branches of %s meet in %q, want %q", s.Name, got, want)
			}
		}
	})
}

// checkBody checks what is said about the inside of one split.
func checkBody(t *testing.T, g *ir.Graph, s *ir.Step, join string) {
	t.Helper()
	if g.JoinedSplit(join) != s.Name {
		t.Errorf("%s joins %s, want %s", join, g.JoinedSplit(join), s.Name)
	}
	if !g.Dominates(s.Name, join) || !g.PostDominates(join, s.Name) {
		t.Errorf("%s and its join %s do not enclose what is between", s.Name, join)
	}
	var last []string
	for _, branch := range g.Successors(s.Name) {
		ends := g.BranchLast(s.Name, branch)
		if len(ends) == 0 {
			t.Errorf("branch %s of %s has no last step", branch, s.Name)
		}
		last = append(last, ends...)
		split, ok := g.FirstOfBody(branch)
		if foreach := s.Next.Kind != ir.Split; ok != foreach || ok && split != s.Name {
			t.Errorf("FirstOfBody(%s) = %q, %v", branch, split, ok)
		}
	}
	want := g.BodyLast(s.Name)
	slices.Sort(last)
	slices.Sort(want)
	if !slices.Equal(last, want) {
		t.Errorf("last steps of %s by branch are %v, in all %v", s.Name, last, want)
	}
}

// TestDominatorsAgainstDefinition compares with what the words mean: a dominates b when b cannot be reached without a.
func TestDominatorsAgainstDefinition(t *testing.T) {
	eachRandom(t, func(t *testing.T, m irtest.Made, g *ir.Graph) {
		forward := func(name string) []string { return g.Successors(name) }
		backward := func(name string) []string { return g.Predecessors(name) }
		for _, a := range m.Flow.Steps {
			without := reach(g.Start(), a.Name, forward)
			withoutBack := reach(g.End(), a.Name, backward)
			for _, b := range m.Flow.Steps {
				if got, want := g.Dominates(a.Name, b.Name), a == b || !without[b.Name]; got != want {
					t.Errorf("Dominates(%s, %s) = %v", a.Name, b.Name, got)
				}
				if got, want := g.PostDominates(a.Name, b.Name), a == b || !withoutBack[b.Name]; got != want {
					t.Errorf("PostDominates(%s, %s) = %v", a.Name, b.Name, got)
				}
				if a != b && g.Dominates(a.Name, b.Name) && !g.Dominates(a.Name, g.Dominator(b.Name)) {
					t.Errorf("%s dominates %s but not its immediate dominator %s", a.Name, b.Name, g.Dominator(b.Name))
				}
			}
		}
	})
}

func reach(from, without string, next func(string) []string) map[string]bool {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if name == without || seen[name] {
			return
		}
		seen[name] = true
		for _, n := range next(name) {
			visit(n)
		}
	}
	visit(from)
	return seen
}

func TestReachability(t *testing.T) {
	f := flow("start>a", "a>end", "end", "lost>end", "a2>b2", "b2>a2")
	g := ir.NewGraph(f)
	if got := g.Unreachable(); !slices.Equal(got, []string{"lost", "a2", "b2"}) {
		t.Errorf("unreachable: %v", got)
	}
	if got := g.DeadEnds(); !slices.Equal(got, []string{"a2", "b2"}) {
		t.Errorf("dead ends: %v", got)
	}
	if !g.Reachable("start", "end") || g.Reachable("end", "start") || g.Reachable("x", "end") || !g.Reachable("a", "a") {
		t.Error("Reachable is wrong")
	}
	if got := g.Cycles(); !reflect.DeepEqual(got, [][]string{{"a2", "b2", "a2"}}) {
		t.Errorf("cycles: %v", got)
	}
}

func TestCyclesOfKnots(t *testing.T) {
	// Two knots, a longer way inside the first, and a step that goes on to itself.
	f := flow("start>a", "a>b,c", "b>a", "c>d", "d>a", "e>f", "f>e", "g>g", "end")
	got := ir.NewGraph(f).Cycles()
	want := [][]string{{"a", "b", "a"}, {"e", "f", "e"}, {"g", "g"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("cycles %v, want %v", got, want)
	}
}

// flow makes a flow from lines such as "a>b,c": step a goes on to b and c.
func flow(lines ...string) *ir.Flow {
	f := &ir.Flow{Version: ir.Version, Name: "F", Source: ir.Source{Language: ir.Python, File: "f.py"}}
	for _, line := range lines {
		f.Steps = append(f.Steps, parseStep(line))
	}
	return f
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  []ir.Fault
	}{
		{"join without split", []string{"start>j", "j(>end", "end"},
			[]ir.Fault{{Kind: ir.JoinWithoutSplit, Step: "j"}}},
		{"not joined", []string{"start*a", "a>end", "end"},
			[]ir.Fault{{Kind: ir.NotJoined, Step: "start", Splits: []string{"start"}}}},
		{"meet in end", []string{"start>a,b", "a>end", "b>end", "end"},
			[]ir.Fault{{Kind: ir.MeetsOutsideJoin, Step: "end", Splits: []string{"start"}, Branches: []string{"a", "b"},
				Steps: []string{"a", "b"}}}},
		{"incomplete", []string{"start>a,b,c", "a>j", "b>j", "c>d", "d>k", "j(>k", "k(>end", "end"},
			[]ir.Fault{{Kind: ir.JoinIncomplete, Step: "j", Splits: []string{"start"}, Branches: []string{"c"}}}},
		{"empty foreach", []string{"start*j", "j(>end", "end"},
			[]ir.Fault{{Kind: ir.EmptyBranch, Step: "start", Splits: []string{"start"}, Branches: []string{"j"}}}},
		{"inner split joined with outer", []string{"start>a,b", "a>c,d", "b>j", "c>j", "d>j", "j(>end", "end"},
			[]ir.Fault{{Kind: ir.JoinOfUnrelated, Step: "j", Splits: []string{"start", "a"}, Branches: []string{"b", "c", "d"},
				Steps: []string{"b", "c", "d"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ir.NewGraph(flow(c.lines...)).Faults(); !reflect.DeepEqual(got, c.want) {
				t.Errorf("faults\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}

func TestJoinedTwice(t *testing.T) {
	// Both branches of the split choose between two joins.
	f := flow("start>a,b", "a?a1,a2", "b?b1,b2", "a1>j", "b1>j", "a2>k", "b2>k", "j(>end", "k(>end", "end")
	faults := ir.NewGraph(f).Faults()
	if len(faults) != 1 || faults[0].Kind != ir.JoinedTwice || faults[0].Step != "k" || faults[0].Steps[0] != "j" {
		t.Errorf("faults %+v", faults)
	}
}

// TestDamagedFlowsAreAnswered asks everything of broken flows: no answer need be right, but there must be one.
func TestDamagedFlowsAreAnswered(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		f := irtest.Random(r, 2+r.IntN(25)).Flow
		for range 1 + r.IntN(4) {
			irtest.Damage(r, f)
		}
		g := ir.NewGraph(f)
		ir.GraphInfo(f)
		g.Cycles()
		for _, s := range f.Steps {
			g.Enclosing(s.Name)
			g.MergePoint(s.Name)
			g.BodyLast(s.Name)
			g.BranchLast(s.Name, s.Name)
			g.Foreachs(s.Name)
		}
		if len(g.Order()) != len(f.Steps) {
			t.Fatalf("seed %d: order has %d of %d steps", seed, len(g.Order()), len(f.Steps))
		}
	}
}

func TestGraphIgnoresNilStepsAndFindsMarkedEndpoints(t *testing.T) {
	f := flow("first>last", "last")
	f.Steps = append(f.Steps, nil)
	f.Steps[0].MarkedStart, f.Steps[1].MarkedEnd = true, true
	if g := ir.NewGraph(f); g.Start() != "first" || g.End() != "last" {
		t.Errorf("endpoints %q, %q", g.Start(), g.End())
	}
	f.Steps[1].MarkedStart = true
	if start, end := ir.Endpoints(f); start != "" || end != "last" {
		t.Errorf("with two marked starts: %q, %q", start, end)
	}
	only := flow("it")
	if start, end := ir.Endpoints(only); start != "it" || end != "it" {
		t.Errorf("one step: %q, %q", start, end)
	}
}

func BenchmarkNewGraph(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		f := irtest.Random(rand.New(rand.NewPCG(7, 7)), n).Flow
		b.Run(fmt.Sprint("steps=", n), func(b *testing.B) {
			for b.Loop() {
				ir.NewGraph(f)
			}
		})
	}
}
