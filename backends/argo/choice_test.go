package argo_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/ir"
)

// world decides what the tasks of a run do, by their names alone: how many splits, which branch, which of them fail.
type world struct {
	graph *ir.Graph
	seed  uint64
	// failing is how many of a hundred tasks fail for good.
	failing int
	// rounds bounds how often a step goes back to itself.
	rounds int
}

func (w world) number(what, step string, path ir.SplitPath, iteration int) int {
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, what, step, path.String(), iteration)
	return int(h.Sum64() >> 1 % 1_000_003)
}

func (w world) fails(step string, path ir.SplitPath, iteration int) bool {
	return w.number("fail", step, path, iteration)%100 < w.failing
}

func (w world) splits(step string, path ir.SplitPath) int {
	return w.number("splits", step, path, 0) % 4
}

func (w world) branch(step string, path ir.SplitPath, iteration int) string {
	targets := w.graph.Step(step).Successors()
	if iteration >= w.rounds {
		targets = w.graph.Successors(step)
	}
	return targets[w.number("branch", step, path, iteration)%len(targets)]
}

// walk runs a step and what follows it, up to the join that it does not belong to any more, as the flow language says.
// ran receives every task.
func (w world) walk(step string, path ir.SplitPath, ran *[]string) (join string, ok bool) {
	for {
		next, ok := w.round(step, path, ran)
		s := w.graph.Step(step)
		if !ok || s.Next == nil {
			return "", ok
		}
		failed := false
		switch s.Next.Kind {
		case ir.Linear:
			next = s.Next.Targets[0].Step
		case ir.Split:
			for _, first := range w.graph.Successors(step) {
				_, ok := w.walk(first, path, ran)
				failed = failed || !ok
			}
			next = ""
		case ir.Foreach, ir.Parallel:
			for i := range w.splits(step, path) {
				_, ok := w.walk(s.Next.Targets[0].Step, path.Child(i), ran)
				failed = failed || !ok
			}
			next = ""
		}
		switch {
		case failed:
			return "", false
		case next == "":
			step = w.graph.MatchingJoin(step)
		case w.graph.Step(next).Join:
			return next, true
		default:
			step = next
		}
	}
}

// round runs a step, again as long as it goes back to itself, and returns what a switch goes on to.
func (w world) round(step string, path ir.SplitPath, ran *[]string) (next string, ok bool) {
	s := w.graph.Step(step)
	iteration := ir.NoIteration
	if s.Recursive() {
		iteration = 0
	}
	for {
		*ran = append(*ran, task(step, path, iteration))
		if w.fails(step, path, iteration) {
			return "", false
		}
		if s.Next == nil || s.Next.Kind != ir.Switch {
			return "", true
		}
		if next = w.branch(step, path, iteration); next != step {
			return next, true
		}
		iteration++
	}
}

func task(step string, path ir.SplitPath, iteration int) string {
	return fmt.Sprintf("%s[%s]%d", step, path, iteration)
}

// pod answers for a container of the run: for all tasks and rounds that it stands for.
func (w world) pod(t *testing.T, ran *[]string) func(ir.TaskInvocation) (map[string]string, bool) {
	return func(i ir.TaskInvocation) (map[string]string, bool) {
		paths, clip, err := i.Paths()
		if err != nil {
			t.Fatal(err)
		}
		first, rounds, err := i.Rounds()
		if err != nil {
			t.Fatal(err)
		}
		pack, err := i.PackSize()
		if err != nil {
			t.Fatal(err)
		}
		outputs, ok := map[string]string{}, true
		for _, path := range paths {
			if around := w.graph.Foreachs(i.Step); clip && path[len(path)-1] >= w.splits(around[len(around)-1], path.Parent()) {
				continue
			}
			ok = w.tasks(i.Step, path, first, rounds, outputs, ran) && ok
			if next := w.graph.Step(i.Step).Next; next != nil && (next.Kind == ir.Foreach || next.Kind == ir.Parallel) {
				n := w.splits(i.Step, path)
				outputs[ir.OutputSplits] = strconv.Itoa(n)
				if pack > 0 {
					outputs[ir.OutputPacks] = strconv.Itoa((n + pack - 1) / pack)
				}
			}
		}
		return outputs, ok
	}
}

// tasks runs one task, or several rounds of it as long as it goes back to itself.
func (w world) tasks(step string, path ir.SplitPath, first, n int, outputs map[string]string, ran *[]string) bool {
	for iteration := first; iteration < first+n; iteration++ {
		*ran = append(*ran, task(step, path, iteration))
		if w.fails(step, path, iteration) {
			return false
		}
		if next := w.graph.Step(step).Next; next != nil && next.Kind == ir.Switch {
			outputs[ir.OutputBranch] = w.branch(step, path, iteration)
			if outputs[ir.OutputBranch] != step {
				break
			}
		}
	}
	return true
}

// flows are those of the corpus, the made ones and random ones.
func flows(t *testing.T) map[string]*ir.Flow {
	t.Helper()
	all := map[string]*ir.Flow{}
	for _, c := range backendtest.Cases() {
		all[c.Name] = c.Flow
	}
	paths, err := filepath.Glob("../../testdata/flows/*/ir.json")
	if err != nil || len(paths) < 50 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ir.Unmarshal(data)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(filepath.Dir(path))] = f
	}
	for seed := range uint64(25) {
		all[fmt.Sprintf("random-%d", seed)] = randomFlow(seed)
	}
	return all
}

// TestChoices runs every flow with many choices and failures, by what the manifest says and by what the flow says: the same
// tasks run, and the run ends the same way. Every second time splits and rounds are packed by two.
func TestChoices(t *testing.T) {
	ended := map[wfv1.NodePhase]int{}
	for name, f := range flows(t) {
		for seed := range uint64(6) {
			opt := backendtest.Options()
			packed := seed%4 >= 2
			if packed {
				opt.Pack, opt.PackSteps = 2, map[string]int{}
				for _, s := range f.Steps {
					if s.Recursive() {
						opt.PackSteps[s.Name] = 2
					}
				}
			}
			files, list := argo.Backend{}.Emit(f, opt)
			random := strings.HasPrefix(name, "random")
			if list.HasErrors() {
				if random {
					t.Fatalf("%s: %v", name, list)
				}
				break
			}
			if random && seed%4 == 0 {
				if err := check(files); err != nil {
					t.Fatalf("%s: %v\n%s", name, err, files[0].Data)
				}
			}
			parsed, err := parse(files[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			w := world{graph: ir.NewGraph(f), seed: seed, failing: []int{0, 6}[seed%2], rounds: 3}
			var want, ran []string
			_, ok := w.walk(w.graph.Start(), nil, &want)
			c := controller{t: t, spec: &parsed.Spec, pod: w.pod(t, &ran), wf: "run", skippedOutputs: skippedOutputs(seed % 3)}
			phase := c.run()
			ended[phase]++
			slices.Sort(want)
			slices.Sort(ran)
			if (phase == wfv1.NodeSucceeded) != ok {
				t.Errorf("%s, seed %d: %s, and succeeds is %v", name, seed, phase, ok)
			}
			// With retries the same failure comes several times, and behind a pack with a failure nothing of it runs.
			if comparable := ok || !packed && !hasRetries(f); comparable && !slices.Equal(ran, want) {
				t.Errorf("%s, seed %d: ran\n%v\nwant\n%v", name, seed, ran, want)
			}
		}
	}
	if ended[wfv1.NodeSucceeded] < 100 || ended[wfv1.NodeFailed] < 50 {
		t.Errorf("runs ended %v", ended)
	}
}

func hasRetries(f *ir.Flow) bool {
	return slices.ContainsFunc(f.Steps, func(s *ir.Step) bool {
		_, all := s.Attempts()
		return all > 1
	})
}

// TestChoiceNames chooses between steps with names that Argo's expressions could take for something else.
func TestChoiceNames(t *testing.T) {
	f := backendtest.Chain(2)
	f.Steps[0].Next = &ir.Transition{Kind: ir.Switch, Condition: "which"}
	for _, name := range oddNames {
		f.Steps[0].Next.Targets = append(f.Steps[0].Next.Targets, ir.Target{Step: name})
		f.Steps = append(f.Steps, &ir.Step{Name: name, Next: &ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: "end"}}}})
	}
	files, list := argo.Backend{}.Emit(f, backendtest.Options())
	if list.HasErrors() {
		t.Fatal(list)
	}
	if err := check(files); err != nil {
		t.Fatal(err)
	}
	parsed, err := parse(files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range oddNames {
		var ran []string
		c := controller{t: t, spec: &parsed.Spec, wf: "run", pod: func(i ir.TaskInvocation) (map[string]string, bool) {
			ran = append(ran, i.Step)
			return map[string]string{ir.OutputBranch: name}, true
		}}
		if phase := c.run(); phase != wfv1.NodeSucceeded || !slices.Equal(ran, []string{"start", name, "end"}) {
			t.Errorf("choosing %s: %s, ran %v", name, phase, ran)
		}
	}
}

// randomFlow is a valid flow of splits, foreachs, switches and loops inside each other.
func randomFlow(seed uint64) *ir.Flow {
	m := &maker{random: rand.New(rand.NewPCG(seed, 7)), flow: &ir.Flow{Name: "Random", Start: "start", End: "end",
		Source: ir.Source{Language: ir.Python, File: "flow.py", Class: "Random"}}}
	start := m.step("start")
	last := m.chain(start, 2)
	m.link(last, m.step("end").Name)
	return m.flow
}

type maker struct {
	random *rand.Rand
	flow   *ir.Flow
}

func (m *maker) step(name string) *ir.Step {
	if name == "" {
		name = fmt.Sprintf("s_%d", len(m.flow.Steps))
	}
	s := &ir.Step{Name: name}
	m.flow.Steps = append(m.flow.Steps, s)
	return s
}

// link goes on from steps that have no transition yet, or are switches that take one more case.
func (m *maker) link(from []*ir.Step, to string) {
	for _, s := range from {
		if s.Next == nil {
			s.Next = &ir.Transition{Kind: ir.Linear}
		}
		if !slices.Contains(s.Successors(), to) {
			s.Next.Targets = append(s.Next.Targets, ir.Target{Step: to})
		}
	}
}

// chain adds a few things behind a step without a transition, and returns the steps that go on from there.
func (m *maker) chain(first *ir.Step, depth int) []*ir.Step {
	last := []*ir.Step{first}
	for range 1 + m.random.IntN(3) {
		s := m.step("")
		m.link(last, s.Name)
		last = []*ir.Step{s}
		if depth == 0 {
			continue
		}
		switch m.random.IntN(5) {
		case 0:
			last = m.fan(s, ir.Split, 2+m.random.IntN(2), depth)
		case 1:
			last = m.fan(s, ir.Foreach, 1, depth)
		case 2:
			last = m.choice(s, depth)
		case 3:
			s.Next = &ir.Transition{Kind: ir.Switch, Condition: "more", Targets: []ir.Target{{Step: s.Name}}}
			last = m.choice(s, depth)
		}
	}
	return last
}

// fan starts branches and joins them. A branch may end in a switch whose cases all lead to the join, but not by itself.
func (m *maker) fan(s *ir.Step, kind ir.TransitionKind, branches, depth int) []*ir.Step {
	s.Next = &ir.Transition{Kind: kind}
	if kind == ir.Foreach {
		s.Next.Foreach = "xs"
	}
	var ends []*ir.Step
	for range branches {
		first := m.step("")
		s.Next.Targets = append(s.Next.Targets, ir.Target{Step: first.Name})
		for _, end := range m.chain(first, depth-1) {
			if end.Next != nil { // a switch must not lead to a join
				further := m.step("")
				m.link([]*ir.Step{end}, further.Name)
				end = further
			}
			ends = append(ends, end)
		}
	}
	join := m.step("")
	join.Join = true
	m.link(ends, join.Name)
	return []*ir.Step{join}
}

// choice is a switch: its cases are chains, a way straight on, or a case that ends in another's step.
func (m *maker) choice(s *ir.Step, depth int) []*ir.Step {
	if s.Next == nil {
		s.Next = &ir.Transition{Kind: ir.Switch, Condition: "mode"}
	}
	var ends []*ir.Step
	for range 2 + m.random.IntN(2) {
		first := m.step("")
		m.link([]*ir.Step{s}, first.Name)
		ends = append(ends, m.chain(first, depth-1)...)
	}
	if m.random.IntN(3) == 0 {
		ends = append(ends, s) // one case goes straight on
	}
	if m.random.IntN(3) == 0 && len(ends) > 1 { // two cases meet before the others do
		meet := m.step("")
		m.link(ends[:2], meet.Name)
		ends = append(ends[2:], meet)
	}
	return ends
}

// TestLoopDepth: a loop that goes on for as many rounds as Argo's nested calls allow ends well, and one round more fails
// the run.
func TestLoopDepth(t *testing.T) {
	for _, c := range []struct {
		rounds, pack int
		want         wfv1.NodePhase
	}{{97, 1, wfv1.NodeSucceeded}, {98, 1, wfv1.NodeError}, {970, 10, wfv1.NodeSucceeded}, {971, 10, wfv1.NodeError}} {
		parsed := template(t, "made-recursion", func(_ *ir.Flow, o *backends.Options) { o.PackSteps = map[string]int{"again": c.pack} })
		done := 0
		run := controller{t: t, spec: &parsed.Spec, wf: "run", pod: func(i ir.TaskInvocation) (map[string]string, bool) {
			first, n, err := i.Rounds()
			if err != nil || i.Step == "again" && (first != done || n != c.pack) {
				t.Errorf("%+v after %d rounds: %v", i, done, err)
			}
			if i.Step != "again" {
				return nil, true
			}
			branch := "again"
			if done += n; done >= c.rounds {
				branch = "end"
			}
			return map[string]string{ir.OutputBranch: branch}, true
		}}
		if got := run.run(); got != c.want {
			t.Errorf("%d rounds, %d in a pod: %s, want %s", c.rounds, c.pack, got, c.want)
		}
	}
}
