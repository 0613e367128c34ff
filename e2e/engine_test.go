package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// engine does with a flow what an orchestrator would: it walks the graph and starts mf-task for each task, with nothing
// but the small outputs to go by.
type engine struct {
	place
	flow  *ir.Flow
	graph *ir.Graph
	root  string
	// exec runs one task and leaves its small outputs in the folder out.
	exec func(out string, inv ir.TaskInvocation) (output string, err error)
}

// TestTaskContract runs flows task by task through mf-task and compares every artifact with mf's own run.
func TestTaskContract(t *testing.T) {
	for _, name := range contractFlows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := repo(t, "testdata", "flows", name)
			file := "flow.py"
			if _, err := os.Stat(filepath.Join(source, file)); err != nil {
				file = "flow.yaml"
			}
			p := newPlace(t, source)
			run := p.mf("run", file)
			e := newEngine(t, newPlace(t, source), file)
			e.walk(e.graph.Start(), nil, "")
			want := digests(t, filepath.Join(p.dir, ".metaflow"), e.flow.Name, run)
			got := digests(t, e.root, e.flow.Name, "prod-1")
			for key, w := range want {
				if got[key] != w {
					t.Errorf("%s is %s, want %s", key, got[key], w)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d artifacts, want %d", len(got), len(want))
			}
		})
	}
}

func newEngine(t *testing.T, p place, file string) *engine {
	t.Helper()
	env := p.env("MF_PYTHON=" + metaflowPython(t))
	data := p.must(env, mfBinary(t), "compile", file, "--target", "ir", "-o", "-")
	flow, err := ir.Unmarshal([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(p.dir, ".mf_meta")
	if err := os.Mkdir(meta, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(meta, "ir.json"), []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	e := &engine{place: p, flow: flow, graph: ir.NewGraph(flow), root: filepath.Join(p.dir, "store", ".metaflow")}
	e.exec = func(out string, inv ir.TaskInvocation) (string, error) {
		env := e.env(ir.EnvDatastore+"=file://"+e.root, ir.EnvOutputs+"="+out, "MF_CODE="+e.dir, "MF_PYTHON="+metaflowPython(e.t))
		_, stderr, err := e.output(env, repo(e.t, "bin", "mf-task"), inv.Args()...)
		return stderr, err
	}
	return e
}

// walk runs steps from step on until the join of the caller.
func (e *engine) walk(step string, path ir.SplitPath, until string) {
	e.t.Helper()
	round := 0
	for step != until && !e.t.Failed() {
		s := e.graph.Step(step)
		out := e.task(s, path, round)
		if s.Next == nil {
			return
		}
		switch s.Next.Kind {
		case ir.Foreach:
			n, err := strconv.Atoi(e.read(filepath.Join(out, ir.OutputSplits)))
			if err != nil {
				e.t.Fatal(err)
			}
			join := e.graph.MatchingJoin(step)
			for i := range n {
				e.walk(s.Next.Targets[0].Step, path.Child(i), join)
			}
			step = join
		case ir.Parallel:
			n, err := strconv.Atoi(e.read(filepath.Join(out, ir.OutputSplits)))
			if err != nil {
				e.t.Fatal(err)
			}
			// Its tasks wait for each other: they run at once.
			member := e.graph.Step(s.Next.Targets[0].Step)
			e.gang(member, fmt.Sprintf("0..%d", n-1))
			step = e.graph.MatchingJoin(step)
		case ir.Split:
			join := e.graph.MatchingJoin(step)
			for _, target := range s.Next.Targets {
				e.walk(target.Step, path, join)
			}
			step = join
		case ir.Switch:
			branch := e.read(filepath.Join(out, ir.OutputBranch))
			if branch == step {
				round++
				continue
			}
			step = branch
		default:
			step = s.Next.Targets[0].Step
		}
		round = 0
	}
}

// gang runs the tasks of a gang, which lies in no foreach.
func (e *engine) gang(s *ir.Step, path string) {
	e.t.Helper()
	inv := ir.TaskInvocation{Flow: e.flow.Name, Run: "prod-1", Step: s.Name, Path: path, Attempt: "0"}
	if output, err := e.exec(e.t.TempDir(), inv); err != nil {
		e.t.Fatalf("%s at path %q: %v\n%s", s.Name, path, err, tail(output))
	}
}

// task runs one task, again after a failure as often as the flow allows, and returns the folder of its small outputs.
func (e *engine) task(s *ir.Step, path ir.SplitPath, round int) string {
	e.t.Helper()
	out := e.t.TempDir()
	inv := ir.TaskInvocation{Flow: e.flow.Name, Run: "prod-1", Step: s.Name, Path: path.String()}
	if s.Recursive() {
		inv.Iteration = strconv.Itoa(round)
	}
	_, attempts := s.Attempts()
	for attempt := range attempts {
		inv.Attempt = strconv.Itoa(attempt)
		output, err := e.exec(out, inv)
		if err == nil {
			return out
		}
		if attempt == attempts-1 {
			e.t.Fatalf("%s at path %q: %v\n%s", s.Name, path, err, tail(output))
		}
	}
	return out
}

// digests are the digests of a run's public artifacts, by step, place and name.
func digests(t *testing.T, root, flow, run string) map[string]string {
	t.Helper()
	backend, err := local.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	store := datastore.New(backend)
	refs, err := runtime.Tasks(context.Background(), store, flow, run, "")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	loader := runtime.NewLoader(store, flow)
	for _, ref := range refs {
		res, err := loader.Load(context.Background(), ref)
		if err != nil || res == nil {
			t.Fatalf("%s: %v, %v", ref, res, err)
		}
		for name, art := range res.Artifacts {
			if !strings.HasPrefix(name, "_") {
				all[fmt.Sprintf("%s[%s].%d %s", ref.Step, res.Path, res.Iteration, name)] = art.Digest
			}
		}
	}
	return all
}

// TestTaskContractRepeats runs tasks twice and packed: what has succeeded is not run again, and a range of splits is one
// invocation.
func TestTaskContractRepeats(t *testing.T) {
	p := newPlace(t, "testdata/resumable.py")
	e := newEngine(t, p, "resumable.py")
	trace := filepath.Join(p.dir, "trace")
	out := t.TempDir()
	do := func(step, path string, more ...string) error {
		inv := ir.TaskInvocation{Flow: e.flow.Name, Run: "prod-1", Step: step, Path: path, Attempt: "0"}
		env := p.env(append(more, ir.EnvDatastore+"=file://"+e.root, ir.EnvOutputs+"="+out, "MF_CODE="+p.dir, "TRACE="+trace,
			"MF_PARAM_size=6", "MF_SPLIT_LIST=mf.splits/x.json", "MF_PYTHON="+metaflowPython(t))...)
		_, stderr, err := p.output(env, repo(t, "bin", "mf-task"), inv.Args()...)
		if err != nil {
			t.Logf("%s %s: %s", step, path, tail(stderr))
		}
		return err
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(do("start", ""))
	check(os.RemoveAll(filepath.Join(out, ir.OutputSplits)))
	check(do("start", ""))
	if got := p.read(filepath.Join(out, ir.OutputSplits)); got != "6" {
		t.Errorf("splits %q, want 6", got)
	}
	if got := p.read(filepath.Join(e.root, "mf.splits", "x.json")); got != "[0,1,2,3,4,5]" {
		t.Errorf("list of splits %q", got)
	}
	if err := do("work", "0..5", "FAIL=1"); err == nil {
		t.Error("split 2 did not fail")
	}
	if err := do("join", ""); err == nil {
		t.Error("the join ran without split 2")
	}
	check(os.Truncate(trace, 0))
	check(do("work", "0..5"))
	if got := p.read(trace); got != "work 2" {
		t.Errorf("run again: %q, want split 2 alone", got)
	}
	check(do("join", ""))
	check(do("end", ""))
	v := digests(t, e.root, e.flow.Name, "prod-1")
	if v["end[].-1 results"] == "" || v["end[].-1 results"] != v["join[].-1 results"] {
		t.Errorf("results of join and end: %v", v)
	}
	state, err := runtime.NewLoader(openStore(t, e.root), e.flow.Name).State(context.Background(),
		datastore.TaskRef{Flow: e.flow.Name, Run: "prod-1", Step: "work", Task: "t-2"})
	if err != nil || state.Attempt != 1 || state.Status != "succeeded" {
		t.Errorf("split 2 stands at %+v, %v; want its second attempt", state, err)
	}
}

func openStore(t *testing.T, root string) *datastore.Store {
	t.Helper()
	backend, err := local.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return datastore.New(backend)
}

// contractFlows are flows of the corpus that have every form of graph.
var contractFlows = []string{
	"linear", "split", "split-nested", "split-in-foreach", "foreach", "foreach-nested", "foreach-body", "foreach-in-split",
	"merge-artifacts", "retry", "switch", "switch-nested", "switch-in-foreach", "switch-sequence", "recursion",
	"recursion-in-foreach", "gang", "parameters", "one-step-any-name", "custom-endpoints",
	"yaml-three-languages", "yaml-foreach-nested", "yaml-switch", "yaml-recursion", "yaml-split-in-foreach", "yaml-gang",
}
