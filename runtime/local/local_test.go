package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/yaml"
	"github.com/mf-run/mf/datastore"
	dslocal "github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/memory"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// bed is a datastore and a database in which flows are run.
type bed struct {
	t     *testing.T
	dir   string
	store *datastore.Store
	meta  *memory.Store
}

func newBed(t *testing.T) *bed {
	t.Helper()
	dir := t.TempDir()
	backend, err := dslocal.Open(filepath.Join(dir, ".metaflow"))
	if err != nil {
		t.Fatal(err)
	}
	return &bed{t, dir, datastore.New(backend), memory.New(time.Now)}
}

func (b *bed) flow(source string) *ir.Flow {
	b.t.Helper()
	flow, list := yaml.Parse("flow.yaml", []byte(source))
	if !list.HasErrors() {
		flow, list = compiler.Check(flow, nil)
	}
	if list.HasErrors() {
		b.t.Fatal(list)
	}
	return flow
}

// result is what came of a run.
type result struct {
	local.Report
	id     string
	status metadata.Status
	err    error
}

func (b *bed) run(ctx context.Context, flow *ir.Flow, opt local.Options, env ...string) result {
	b.t.Helper()
	return b.runWith(ctx, flow, opt, func(*runtime.Run) {}, env...)
}

// runWith is run with something changed about the run.
func (b *bed) runWith(ctx context.Context, flow *ir.Flow, opt local.Options, change func(*runtime.Run), env ...string) result {
	b.t.Helper()
	r := &runtime.Run{
		Flow: flow, Graph: ir.NewGraph(flow), Store: b.store, User: "tester", TempDir: b.t.TempDir(), Dir: b.dir,
		Environ: append(os.Environ(), append(env, "DIR="+b.dir)...), Now: time.Now, Grace: 300 * time.Millisecond,
		Rows: metadata.Env{User: "tester", DsType: "local", DsRoot: b.store.Backend().Root()},
	}
	change(r)
	s := &local.Session{Run: r, Recorder: b.meta, Options: opt}
	report, err := s.Execute(ctx)
	res := result{Report: report, id: r.ID, err: err}
	if r.ID != "" {
		row, err := b.meta.Run(context.Background(), flow.Name, r.ID)
		if err != nil {
			b.t.Fatal(err)
		}
		res.status = row.Status
	}
	return res
}

// value reads an artifact of the end task.
func (b *bed) value(r result, name string) string {
	b.t.Helper()
	if r.End == nil {
		b.t.Fatalf("the run did not end: %v, %v", r.Failed, r.err)
	}
	art, ok := r.End.Artifacts[name]
	if !ok {
		b.t.Fatalf("there is no artifact %s", name)
	}
	data, err := b.store.Load(context.Background(), r.End.Ref.Flow, art.Digest)
	if err != nil {
		b.t.Fatal(err)
	}
	v, err := pickle.Unmarshal(data)
	if err != nil {
		b.t.Fatal(err)
	}
	return pickle.Repr(v)
}

const fan = `
flow: Fan
steps:
  start: {run: 'echo "[3, 1, 2]" > $MF_OUTPUTS/xs.json', outputs: [xs], next: {foreach: xs, step: work}}
  work:
    run: 'echo "$MF_STEP $MF_ITEM" >> $DIR/trace; [ "$MF_ITEM" != "$FAIL" ] && echo $((MF_ITEM * 10)) > $MF_OUTPUTS/y.json'
    outputs: [y]
    next: join
  join: {join: true, inputs: [y], run: 'cat $MF_INPUTS/*/y.json | paste -sd, | sed "s/.*/[&]/" > $MF_OUTPUTS/ys.json', outputs: [ys], next: end}
  end: {run: ":"}
`

func TestForeachKeepsItsOrder(t *testing.T) {
	b := newBed(t)
	r := b.run(t.Context(), b.flow(fan), local.Options{})
	if r.err != nil || r.status != metadata.Succeeded || r.Executed != 6 {
		t.Fatalf("%+v", r)
	}
	if got := b.value(r, "ys"); got != "[30, 10, 20]" {
		t.Errorf("ys is %s", got)
	}
}

func TestResumeRunsOnlyWhatIsMissing(t *testing.T) {
	b := newBed(t)
	flow := b.flow(fan)
	r := b.run(t.Context(), flow, local.Options{MaxWorkers: 1}, "FAIL=2")
	if r.status != metadata.Failed || len(r.Failed) != 1 || r.Failed[0].Task.Stack[0].Value != "2" {
		t.Fatalf("%+v", r)
	}
	origin, err := local.LoadOrigin(t.Context(), b.store, "Fan", r.id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, "trace")); err != nil {
		t.Fatal(err)
	}
	again := b.run(t.Context(), flow, local.Options{Origin: origin})
	if again.err != nil || again.Cloned != 3 || again.Executed != 3 {
		t.Fatalf("%+v", again)
	}
	trace, err := os.ReadFile(filepath.Join(b.dir, "trace"))
	if err != nil || string(trace) != "work 2\n" {
		t.Errorf("ran %q, %v", trace, err)
	}
	if got := b.value(again, "ys"); got != "[30, 10, 20]" {
		t.Errorf("ys is %s", got)
	}
	// A step that is run again takes all that follow with it, and nothing else.
	origin, err = local.LoadOrigin(t.Context(), b.store, "Fan", again.id)
	if err != nil {
		t.Fatal(err)
	}
	rerun := b.run(t.Context(), flow, local.Options{Origin: origin, RerunStep: "join"})
	if rerun.err != nil || rerun.Cloned != 4 || rerun.Executed != 2 {
		t.Errorf("%+v", rerun)
	}
}

// TestPrepare readies a run for an engine, whose tasks then find done what the origin had done.
func TestPrepare(t *testing.T) {
	b := newBed(t)
	flow := b.flow(fan)
	r := b.run(t.Context(), flow, local.Options{MaxWorkers: 1}, "FAIL=2")
	origin, err := local.LoadOrigin(t.Context(), b.store, "Fan", r.id)
	if err != nil {
		t.Fatal(err)
	}
	for id, recorder := range map[string]metadata.Recorder{"argo-fan-x7": b.meta, "argo-fan-x8": nil} {
		run := &runtime.Run{
			Flow: flow, Graph: ir.NewGraph(flow), Store: b.store, User: "tester", TempDir: b.t.TempDir(), Dir: b.dir, Now: time.Now,
			ID: id, Rows: metadata.Env{User: "tester", DsType: "local", DsRoot: b.store.Backend().Root(), OriginRun: r.id},
		}
		s := &local.Session{Run: run, Recorder: recorder, Options: local.Options{Origin: origin, NamedTasks: true}}
		report, err := s.Prepare(t.Context())
		if err != nil || report.Cloned != 3 || report.Executed != 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		var taken []string
		for _, res := range report.Taken {
			taken = append(taken, fmt.Sprintf("%s/%s[%s] %v %d", res.Ref.Run, res.Ref.Task, res.Path, res.Next.Targets, res.Next.Splits))
		}
		want := fmt.Sprintf("%[1]s/t[] [work] 3, %[1]s/t-0[0] [join] 0, %[1]s/t-1[1] [join] 0", id)
		if got := strings.Join(taken, ", "); got != want {
			t.Errorf("taken over:\n%s\nwant\n%s", got, want)
		}
		for task, status := range map[string]string{
			"start/t": "succeeded", "work/t-0": "succeeded", "work/t-1": "succeeded", "work/t-2": "unfinished", "join/t": "unfinished",
		} {
			step, name, _ := strings.Cut(task, "/")
			ref := datastore.TaskRef{Flow: "Fan", Run: id, Step: step, Task: name}
			state, err := runtime.NewLoader(b.store, "Fan").State(t.Context(), ref)
			if err != nil || state.Status != status {
				t.Errorf("%s: %+v, %v, want %s", ref, state, err, status)
			}
		}
		row, err := b.meta.Run(t.Context(), "Fan", id)
		if recorder == nil {
			if !errors.Is(err, metadata.ErrNotFound) {
				t.Errorf("%+v, %v", row, err)
			}
			continue
		}
		tasks, listErr := b.meta.Tasks(t.Context(), "Fan", id, "")
		if err != nil || listErr != nil || row.Status != metadata.Running || len(tasks) != 4 {
			t.Errorf("%+v, %v; %d tasks, %v", row, err, len(tasks), listErr)
		}
	}
}

func TestResumeOfChangedGraph(t *testing.T) {
	b := newBed(t)
	r := b.run(t.Context(), b.flow(fan), local.Options{})
	origin, err := local.LoadOrigin(t.Context(), b.store, "Fan", r.id)
	if err != nil {
		t.Fatal(err)
	}
	// start goes on differently now: it and what depends on it run anew.
	changed := strings.Replace(fan, "foreach: xs, step: work", "foreach: zs, step: work", 1)
	changed = strings.Replace(changed, "> $MF_OUTPUTS/xs.json', outputs: [xs]", "> $MF_OUTPUTS/zs.json', outputs: [zs]", 1)
	again := b.run(t.Context(), b.flow(changed), local.Options{Origin: origin})
	if again.err != nil || again.Cloned != 0 || again.Executed != 6 {
		t.Errorf("%+v", again)
	}
}

func TestOriginThatIsNotThere(t *testing.T) {
	b := newBed(t)
	if _, err := local.LoadOrigin(t.Context(), b.store, "Fan", "12"); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestRetryAndCatch(t *testing.T) {
	b := newBed(t)
	r := b.run(t.Context(), b.flow(`
flow: Retry
steps:
  start: {run: 'echo x >> $DIR/tries; [ $(wc -l < $DIR/tries) = 3 ]', retry: {times: 3, minutes_between: 0}, next: crash}
  crash: {run: 'echo x >> $DIR/crashes; kill -9 $$', retry: {times: 1, minutes_between: 0}, catch: {var: problem}, next: fail}
  fail: {run: exit 7, catch: {var: trouble}, next: end}
  end: {run: ":"}
`), local.Options{})
	if r.err != nil || r.status != metadata.Succeeded {
		t.Fatalf("%+v", r)
	}
	for name, want := range map[string]int{"tries": 3, "crashes": 2} {
		data, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil || strings.Count(string(data), "x") != want {
			t.Errorf("%s: %q, %v; want %d", name, data, err, want)
		}
	}
	if got := b.value(r, "trouble"); !strings.Contains(got, "exited with code 7") {
		t.Errorf("trouble is %s", got)
	}
	if got := b.value(r, "problem"); !strings.Contains(got, "crashed on each of its 2 attempts") {
		t.Errorf("problem is %s", got)
	}
}

// watcher counts how many tasks run at a time.
type watcher struct {
	mu   sync.Mutex
	most int
}

func (*watcher) TaskStarted(*runtime.Task)                                              {}
func (*watcher) TaskCloned(datastore.TaskRef, datastore.TaskRef)                        {}
func (*watcher) TaskEnded(*runtime.Task, runtime.Outcome, time.Duration, time.Duration) {}
func (w *watcher) Progress(p local.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most = max(w.most, p.Running)
}

func TestWorkersAreBounded(t *testing.T) {
	b := newBed(t)
	w := &watcher{}
	r := b.run(t.Context(), b.flow(strings.Replace(fan, "[3, 1, 2]", "[1, 2, 3, 4, 5, 6, 7, 8]", 1)), local.Options{MaxWorkers: 3, Observer: w})
	if r.err != nil || w.most != 3 {
		t.Errorf("at most %d at a time, want 3; %v", w.most, r.err)
	}
}

func TestSplitsAreBounded(t *testing.T) {
	b := newBed(t)
	r := b.run(t.Context(), b.flow(fan), local.Options{MaxSplits: 2})
	var fault *local.RunError
	if !errors.As(r.err, &fault) || !strings.Contains(fault.Message, "--max-splits 3") || r.status != metadata.Failed {
		t.Errorf("%+v", r)
	}
}

func TestStopLeavesAResumableRun(t *testing.T) {
	b := newBed(t)
	flow := b.flow(`
flow: Slow
steps:
  start: {run: ":", next: wait}
  wait: {run: 'echo started > $DIR/started; [ -n "$QUICK" ] || sleep 60', next: end}
  end: {run: ":"}
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(b.dir, "started")); err == nil {
				cancel()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	began := time.Now()
	r := b.run(ctx, flow, local.Options{})
	if !r.Stopped || r.status != metadata.Interrupted || r.End != nil {
		t.Fatalf("%+v", r)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("stopping took %s", took)
	}
	origin, err := local.LoadOrigin(t.Context(), b.store, "Slow", r.id)
	if err != nil {
		t.Fatal(err)
	}
	again := b.run(t.Context(), flow, local.Options{Origin: origin}, "QUICK=1")
	if again.err != nil || again.Cloned != 1 || again.status != metadata.Succeeded {
		t.Errorf("%+v", again)
	}
}

func TestTimeout(t *testing.T) {
	b := newBed(t)
	r := b.run(t.Context(), b.flow(`
flow: Late
steps:
  start: {run: sleep 60, timeout: 1s, next: end}
  end: {run: ":"}
`), local.Options{})
	if r.status != metadata.Failed || len(r.Failed) != 1 || !r.Failed[0].Failure.Timeout {
		t.Errorf("%+v", r)
	}
}

// TestTimeoutTakenWell has commands end well, or with a code of their own, when they are told that their time is up.
func TestTimeoutTakenWell(t *testing.T) {
	for _, code := range []string{"0", "3"} {
		b := newBed(t)
		r := b.run(t.Context(), b.flow(`
flow: Late
steps:
  start:
    run: |
      trap 'echo 2 > $MF_OUTPUTS/n.json; exit `+code+`' TERM
      echo 1 > $MF_OUTPUTS/n.json
      for i in $(seq 600); do sleep 0.1; done
    timeout: 1s
    outputs: [n]
    next: end
  end: {run: ":"}
`), local.Options{})
		if r.status != metadata.Failed || len(r.Failed) != 1 || !r.Failed[0].Failure.Timeout {
			t.Fatalf("exit code %s: %+v", code, r)
		}
		if got := r.Failed[0].Failure.Summary(); got != "the command ran longer than its timeout of 1s" {
			t.Errorf("exit code %s: it says %q", code, got)
		}
	}
}

// TestKilledWhileItWrites: what a command leaves half written does not hide why it failed, nor what it had finished.
func TestKilledWhileItWrites(t *testing.T) {
	b := newBed(t)
	r := b.run(t.Context(), b.flow(`
flow: Part
steps:
  start:
    run: |
      printf '{"rows": [1, 2' > $MF_OUTPUTS/cut.json
      mkdir $MF_OUTPUTS/folder
      echo 7 > $MF_OUTPUTS/whole.json
      kill -9 $$
    next: end
  end: {run: ":"}
`), local.Options{})
	if r.status != metadata.Failed || len(r.Failed) != 1 {
		t.Fatalf("%+v", r)
	}
	if f := r.Failed[0].Failure; !f.Crashed || f.Signal != 9 || f.Summary() != "the command was killed by signal 9 (SIGKILL)" {
		t.Errorf("the failure is %+v", f)
	}
	ref := r.Failed[0].Task.Ref
	record, _, err := b.store.Latest(t.Context(), ref)
	if err != nil || record.Artifacts["whole"].Digest == "" || record.Artifacts["cut"].Digest != "" {
		t.Errorf("it has stored %v, %v", record.Artifacts, err)
	}
	var log strings.Builder
	for l, err := range b.store.ReadLog(t.Context(), ref, 0) {
		if err != nil {
			t.Fatal(err)
		}
		log.WriteString(l.Text + "\n")
	}
	for _, want := range []string{"killed by signal 9", "cut.json is not valid JSON", `"folder" is not a regular file`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q: %s", want, &log)
		}
	}
}

func TestTwoRunsAtOnce(t *testing.T) {
	b := newBed(t)
	flow := b.flow(fan)
	var wg sync.WaitGroup
	results := make([]result, 4)
	for i := range results {
		wg.Go(func() { results[i] = b.run(t.Context(), flow, local.Options{MaxWorkers: 2}) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, r := range results {
		if r.err != nil || r.status != metadata.Succeeded || seen[r.id] {
			t.Errorf("%+v", r)
			continue
		}
		seen[r.id] = true
		if got := b.value(r, "ys"); got != "[30, 10, 20]" {
			t.Errorf("ys is %s", got)
		}
	}
}

func TestWrongParameterLeavesNothing(t *testing.T) {
	b := newBed(t)
	flow := b.flow("flow: P\nparameters: {n: {type: int, required: true}}\nsteps: {start: {run: ':', next: end}, end: {run: ':'}}\n")
	for _, given := range []map[string]string{nil, {"n": "many"}} {
		r := &runtime.Run{Flow: flow, Graph: ir.NewGraph(flow), Store: b.store, TempDir: t.TempDir(), Now: time.Now}
		_, err := (&local.Session{Run: r, Recorder: b.meta, Given: given}).Execute(t.Context())
		var bad *runtime.ParameterError
		if !errors.As(err, &bad) || bad.Parameter == nil || bad.Parameter.Name != "n" {
			t.Errorf("%v: error %v", given, err)
		}
	}
	if runs, err := b.meta.Runs(t.Context(), metadata.RunQuery{}); err != nil || len(runs) != 0 {
		t.Errorf("runs %v, %v", runs, err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, ".metaflow")); err == nil {
		t.Error("the datastore was made")
	}
}
