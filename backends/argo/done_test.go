package argo_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// ranTask is a task of a run, as task writes it.
type ranTask struct {
	step      string
	path      ir.SplitPath
	iteration int
}

var taskText = regexp.MustCompile(`^(.*)\[([0-9,]*)\](-?[0-9]+)$`)

func readTask(t *testing.T, text string) ranTask {
	t.Helper()
	m := taskText.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%q is no task", text)
	}
	path, err := ir.ParseSplitPath(m[2])
	if err != nil {
		t.Fatal(err)
	}
	iteration, err := strconv.Atoi(m[3])
	if err != nil {
		t.Fatal(err)
	}
	return ranTask{m[1], path, iteration}
}

// origin is what of a run that failed is taken over: the tasks that succeeded.
func (w world) origin(t *testing.T) (succeeded map[string]bool, tasks []backends.DoneTask) {
	t.Helper()
	var ran []string
	w.walk(w.graph.Start(), nil, &ran)
	succeeded = map[string]bool{}
	for _, text := range ran {
		r := readTask(t, text)
		if w.fails(r.step, r.path, r.iteration) {
			continue
		}
		succeeded[text] = true
		s := w.graph.Step(r.step)
		done := backends.DoneTask{Step: r.step, Path: r.path, Next: s.Successors()}
		if s.Next != nil {
			switch s.Next.Kind {
			case ir.Switch:
				done.Next = []string{w.branch(r.step, r.path, r.iteration)}
			case ir.Foreach, ir.Parallel:
				done.Splits = w.splits(r.step, r.path)
			}
		}
		tasks = append(tasks, done)
	}
	return succeeded, tasks
}

// leftOut says of the tasks of a whole run for which of them nothing is to be started when those that succeeded are taken
// over: tasks outside of foreachs if their step had all its rounds, tasks inside if all of the outermost split, or of its
// pack, had succeeded, and for a gang all of the gang.
func (w world) leftOut(t *testing.T, all []string, succeeded map[string]bool, pack func(split string) int) map[string]bool {
	t.Helper()
	unit := func(text string) string {
		r := readTask(t, text)
		if len(r.path) == 0 {
			return r.step
		}
		split := w.graph.Foreachs(r.step)[0]
		if w.graph.Step(split).Next.Kind == ir.Parallel {
			return split + "[]"
		}
		return fmt.Sprintf("%s[%d]", split, r.path[0]/pack(split))
	}
	left := map[string]bool{w.graph.End(): true} // the end records how the run ended
	for _, text := range all {
		if !succeeded[text] {
			left[unit(text)] = true
		}
	}
	out := map[string]bool{}
	for _, text := range all {
		out[text] = !left[unit(text)]
	}
	return out
}

// TestResumedRuns takes up runs of every flow that failed somewhere: what is left runs, as if nothing had been left out, and
// no pod is started for what is finished. Every second time splits and rounds are packed by two.
func TestResumedRuns(t *testing.T) {
	leftOut, partly := 0, 0
	for name, f := range flows(t) {
		for seed := range uint64(8) {
			opt := backendtest.Options()
			opt.Instance = "r12345"
			if seed%4 >= 2 {
				opt.Pack, opt.PackSteps = 2, map[string]int{}
				for _, s := range f.Steps {
					if s.Recursive() {
						opt.PackSteps[s.Name] = 2
					}
				}
			}
			w := world{graph: ir.NewGraph(f), seed: seed, failing: []int{4, 12}[seed%2], rounds: 3}
			packs, _ := backends.PacksOf(w.graph, opt)
			succeeded, tasks := w.origin(t)
			opt.Done = backends.DoneOf(w.graph, tasks)
			files, list := argo.Backend{}.Emit(f, opt)
			if list.HasErrors() {
				break
			}
			if seed%4 == 1 {
				if err := check(files); err != nil {
					t.Fatalf("%s: %v\n%s", name, err, files[0].Data)
				}
			}
			parsed, err := parse(files[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			w.failing = 0
			var all, want, ran []string
			w.walk(w.graph.Start(), nil, &all)
			out := w.leftOut(t, all, succeeded, packs.Splits)
			for _, text := range all {
				if !out[text] {
					want = append(want, text)
				}
			}
			c := controller{t: t, spec: &parsed.Spec, pod: w.pod(t, &ran), wf: "run", skippedOutputs: skippedOutputs(seed % 3)}
			phase := c.run()
			slices.Sort(want)
			slices.Sort(ran)
			if phase != wfv1.NodeSucceeded || !slices.Equal(ran, want) {
				t.Errorf("%s, seed %d: %s, ran\n%v\nwant\n%v", name, seed, phase, ran, want)
			}
			counted(t, fmt.Sprintf("%s, seed %d", name, seed), parsed, all, out)
			leftOut += len(all) - len(want)
			if strings.Contains(string(files[0].Data), "withItems") {
				partly++
			}
		}
	}
	if leftOut < 1000 || partly < 30 {
		t.Errorf("%d tasks were left out, %d runs had a part of a foreach left", leftOut, partly)
	}
}

// counted: the run says of each step how many tasks were taken over that no pod stands for.
func counted(t *testing.T, name string, parsed *wfv1.WorkflowTemplate, all []string, out map[string]bool) {
	t.Helper()
	var said []struct {
		Step  string
		Tasks int
	}
	if text, ok := parsed.Spec.WorkflowMetadata.Annotations["mf.run/taken-over"]; ok {
		if err := json.Unmarshal([]byte(text), &said); err != nil || len(said) == 0 {
			t.Fatalf("%s: %q, %v", name, text, err)
		}
	}
	got, want := map[string]int{}, map[string]int{}
	for _, s := range said {
		got[s.Step] = s.Tasks
	}
	for _, text := range all {
		if out[text] {
			want[readTask(t, text).step]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: says that it took over %v, want %v", name, got, want)
	}
}

// succeededSplits are the tasks of made-foreach that have succeeded: the start, and the splits but those given.
func succeededSplits(n int, but ...int) []backends.DoneTask {
	tasks := []backends.DoneTask{{Step: "start", Next: []string{"score"}, Splits: n}}
	for i := range n {
		if !slices.Contains(but, i) {
			tasks = append(tasks, backends.DoneTask{Step: "score", Path: ir.SplitPath{i}, Next: []string{"collect"}})
		}
	}
	return tasks
}

// TestWhatIsLeft has the manifests of resumed runs: where few splits are left they are named, where all are finished the
// body is gone, and where many are left it is as it was.
func TestWhatIsLeft(t *testing.T) {
	first := make([]int, 250)
	for i := range first {
		first[i] = i
	}
	for _, c := range []struct {
		name  string
		pack  int
		tasks []backends.DoneTask
		items []string
	}{
		{"nothing", 1, nil, nil},
		{"no split", 1, succeededSplits(2, 0, 1), nil},
		{"two", 1, succeededSplits(5000, 17, 4999), []string{"17", "4999"}},
		{"two, packed", 50, succeededSplits(5000, 17, 18, 4999), []string{"0", "99"}},
		{"many", 1, succeededSplits(5000, first...), nil},
		{"many, packed", 50, succeededSplits(5000, first...), []string{"0", "1", "2", "3", "4"}},
	} {
		parsed := template(t, "made-foreach", func(f *ir.Flow, o *backends.Options) {
			o.Pack, o.Done = c.pack, backends.DoneOf(ir.NewGraph(f), c.tasks)
		})
		task := dagContext{parsed.Spec.Templates[0].DAG}.GetTask("score")
		var items []string
		for _, item := range task.WithItems {
			items = append(items, fmt.Sprint(item))
		}
		if !slices.Equal(items, c.items) || (task.WithSequence == nil) != (len(c.items) > 0) {
			t.Errorf("%s: %v, %v", c.name, items, task.WithSequence)
		}
	}
	for file, c := range map[string]struct {
		flow  string
		tasks []backends.DoneTask
	}{
		"testdata/resumed-part.yaml": {"made-foreach", succeededSplits(6, 3)},
		"testdata/resumed-join.yaml": {"made-foreach", succeededSplits(6)},
		"testdata/resumed-switch.yaml": {"made-switch", []backends.DoneTask{
			{Step: "start", Next: []string{"short"}}, {Step: "short", Next: []string{"end"}}, {Step: "end"}}},
	} {
		files, list := emitted(t, c.flow, func(f *ir.Flow, o *backends.Options) {
			o.Instance, o.Origin, o.Done = "r12345", "argo-made-1", backends.DoneOf(ir.NewGraph(f), c.tasks)
		})
		if err := check(files); err != nil {
			t.Fatal(err, list)
		}
		golden.Check(t, file, files[0].Data)
	}
}

// TestParametersOfResumedRuns: nobody gives a resumed run the values that it has.
func TestParametersOfResumedRuns(t *testing.T) {
	for _, origin := range []string{"", "argo-made-1"} {
		parsed := template(t, "made-parameters", func(f *ir.Flow, o *backends.Options) {
			f.Parameters = []ir.Parameter{{Name: "x", Option: "x", Type: ir.IntType, Required: true}}
			o.Origin = origin
		})
		if p := parsed.Spec.Arguments.Parameters[0]; p.Value == nil != (origin == "") {
			t.Errorf("origin %q: %+v", origin, p)
		}
	}
}

// TestSizeOfWhatIsLeft: a run that was too large is foretold to fit once all but a few of its tasks are finished.
func TestSizeOfWhatIsLeft(t *testing.T) {
	for _, done := range []bool{false, true} {
		_, list := emitted(t, "made-foreach", func(f *ir.Flow, o *backends.Options) {
			wide(f, 15_000)
			if done {
				o.Done = backends.DoneOf(ir.NewGraph(f), succeededSplits(15_000, 7))
			}
		})
		if len(list) == 0 != done {
			t.Errorf("taken over: %v; findings: %v", done, list)
		}
	}
}
