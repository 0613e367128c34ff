package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	dslocal "github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// machine is another machine: it runs what it is asked for as mf-task does, with a connection of its own to the datastore,
// and knows nothing else of the run. It takes the steps with @kubernetes.
type machine struct {
	t    *testing.T
	bed  *bed
	flow *ir.Flow
	env  []string
	// before and after may spoil an attempt: an Ending that is not nil stands in for it, or for what it said.
	before, after func(v ir.TaskInvocation) *local.Ending

	mu  sync.Mutex
	ran []string
}

type noRows struct{}

func (noRows) Add(metadata.Batch) error { return nil }

func (*machine) Takes(s *ir.Step) bool { return s.Decorator("kubernetes") != nil }

func (m *machine) Run(ctx context.Context, task *runtime.Task) (local.Ending, error) {
	// Over the command line, as to a container.
	v, err := ir.ParseTaskInvocation(task.Invocation().Args())
	if err != nil {
		return local.Ending{}, err
	}
	m.mu.Lock()
	m.ran = append(m.ran, v.Step+v.Path+":"+v.Attempt)
	m.mu.Unlock()
	if m.before != nil {
		if ending := m.before(v); ending != nil {
			return *ending, nil
		}
	}
	backend, err := dslocal.Open(filepath.Join(m.bed.dir, ".metaflow"))
	if err != nil {
		return local.Ending{}, err
	}
	run := &runtime.Run{
		Flow: m.flow, Graph: ir.NewGraph(m.flow), ID: v.Run, Store: datastore.New(backend), Sink: noRows{}, User: "tester",
		TempDir: m.t.TempDir(), Dir: m.bed.dir, Contained: true, Now: time.Now, Grace: 300 * time.Millisecond,
		Environ: append(os.Environ(), append(m.env, "DIR="+m.bed.dir)...),
	}
	paths, _, err := v.Paths()
	if err != nil {
		return local.Ending{}, err
	}
	round, _, err := v.Rounds()
	if err != nil {
		return local.Ending{}, err
	}
	attempt, err := strconv.Atoi(v.Attempt)
	if err != nil {
		return local.Ending{}, err
	}
	ending := local.Ending{}
	out, err := (&runtime.Invocation{Run: run}).Execute(ctx, v.Step, paths[0], round, attempt)
	if err != nil || out.Result == nil {
		m.t.Logf("%s: %v, %+v", strings.Join(v.Args(), " "), err, out.Failure)
		ending.Exit = 1
	}
	if m.after != nil {
		if other := m.after(v); other != nil {
			return *other, nil
		}
	}
	return ending, nil
}

// runMixed runs a flow some of whose steps run on the machine.
func (b *bed) runMixed(ctx context.Context, flow *ir.Flow, m *machine, opt local.Options, env ...string) result {
	b.t.Helper()
	m.t, m.bed, m.flow, m.env = b.t, b, flow, env
	opt.Elsewhere, opt.RecordElsewhere = m, true
	return b.run(ctx, flow, opt, env...)
}

// away is a flow like that with the same steps marked to run elsewhere.
func (b *bed) away(source string, steps ...string) *ir.Flow {
	flow := b.flow(source)
	for _, s := range flow.Steps {
		if len(steps) == 0 || slices.Contains(steps, s.Name) {
			s.Decorators = append(s.Decorators, ir.Decorator{Name: "kubernetes"})
		}
	}
	return flow
}

const loops = `
flow: Loops
steps:
  start: {run: 'echo "[0, 1]" > $MF_OUTPUTS/xs.json; echo 0 > $MF_OUTPUTS/n.json', outputs: [xs, n], next: {foreach: xs, step: count}}
  count:
    run: 'n=$(($(cat $MF_INPUTS/n.json) + 1)); echo $n > $MF_OUTPUTS/n.json; [ $n -lt 3 ] && echo \"more\" > $MF_OUTPUTS/go.json || echo \"done\" > $MF_OUTPUTS/go.json'
    inputs: [n]
    outputs: [n, go]
    next: {switch: go, cases: {more: count, done: last}}
  last: {run: ":", next: join}
  join: {join: true, inputs: [n], run: 'cat $MF_INPUTS/*/n.json | paste -sd, | sed "s/.*/[&]/" > $MF_OUTPUTS/ys.json', outputs: [ys], next: mid}
  mid: {run: ":", next: [left, right]}
  left: {run: ":", next: meet}
  right: {run: ":", next: meet}
  meet: {join: true, inputs: [ys], run: 'cat $MF_INPUTS/*/ys.json | head -n 1 > $MF_OUTPUTS/ys.json', outputs: [ys], next: end}
  end: {run: ":"}
`

func TestStepsElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		source string
		away   []string
		want   string
		ran    int
	}{
		"all":              {fan, nil, "[30, 10, 20]", 6},
		"the middle":       {fan, []string{"work"}, "[30, 10, 20]", 3},
		"the ends":         {fan, []string{"start", "join", "end"}, "[30, 10, 20]", 3},
		"loops and joins":  {loops, nil, "[3, 3]", 15},
		"loops, now there": {loops, []string{"count", "left", "end"}, "[3, 3]", 8},
	} {
		t.Run(name, func(t *testing.T) {
			b, m := newBed(t), &machine{}
			r := b.runMixed(t.Context(), b.away(test.source, test.away...), m, local.Options{})
			if r.err != nil || r.status != metadata.Succeeded || len(m.ran) != test.ran {
				t.Fatalf("%+v; ran %v", r, m.ran)
			}
			if got := b.value(r, "ys"); got != test.want {
				t.Errorf("ys is %s", got)
			}
			b.sameMetadata(r)
		})
	}
}

// sameMetadata holds what was recorded of a run against its datastore.
func (b *bed) sameMetadata(r result) {
	b.t.Helper()
	ctx := context.Background()
	refs, err := runtime.Tasks(ctx, b.store, r.End.Ref.Flow, r.id, "")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, ref := range refs {
		record, done, err := b.store.Latest(ctx, ref)
		if err != nil || !done {
			b.t.Errorf("%s: done %v, %v", ref, done, err)
			continue
		}
		rows, err := b.meta.Artifacts(ctx, ref.Flow, ref.Run, ref.Step, ref.Task)
		if err != nil {
			b.t.Errorf("%s: %v", ref, err)
		}
		named := map[string]string{}
		for _, row := range rows {
			if row.AttemptID == record.Attempt {
				named[row.Name] = row.Sha
			}
		}
		for name, art := range record.Artifacts {
			if named[name] != art.Digest {
				b.t.Errorf("%s: artifact %s is %s in metadata, %s in the datastore", ref, name, named[name], art.Digest)
			}
		}
		if len(named) != len(record.Artifacts) {
			b.t.Errorf("%s: %d artifacts in metadata, %d in the datastore", ref, len(named), len(record.Artifacts))
		}
	}
}

func TestFailuresElsewhere(t *testing.T) {
	const source = `
flow: Failing
steps:
  start: {run: 'echo x >> $DIR/tries; [ $(wc -l < $DIR/tries) = 3 ]', retry: {times: 3, minutes_between: 0}, next: crash}
  crash: {run: 'echo x >> $DIR/crashes; kill -9 $$', retry: {times: 1, minutes_between: 0}, catch: {var: problem}, next: fail}
  fail: {run: exit 7, catch: {var: trouble}, next: end}
  end: {run: ":"}
`
	b, m := newBed(t), &machine{}
	// The machine vanishes under the attempts of one step.
	m.before = func(v ir.TaskInvocation) *local.Ending {
		if v.Step == "crash" && v.Attempt == "1" {
			return &local.Ending{Why: "the pod was evicted: disk pressure", Exit: -1}
		}
		return nil
	}
	r := b.runMixed(t.Context(), b.away(source), m, local.Options{})
	if r.err != nil || r.status != metadata.Succeeded {
		t.Fatalf("%+v", r)
	}
	want := "[start:0 start:1 start:2 crash:0 crash:1 fail:0 end:0]"
	if got := "[" + strings.Join(m.ran, " ") + "]"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	if got := b.value(r, "trouble"); !strings.Contains(got, "exited with code 7") {
		t.Errorf("trouble is %s", got)
	}
	if got := b.value(r, "problem"); !strings.Contains(got, "crashed on each of its 2 attempts") {
		t.Errorf("problem is %s", got)
	}
	b.sameMetadata(r)
}

func TestLostAttempts(t *testing.T) {
	const source = "flow: Lost\nsteps:\n  start: {run: 'echo hello', next: end}\n  end: {run: ':'}\n"
	for name, test := range map[string]struct {
		before, after bool
		status        metadata.Status
		why           string
	}{
		"never began":                 {before: true, status: metadata.Failed, why: "the image cannot be pulled"},
		"ended behind its record":     {after: true, status: metadata.Succeeded},
		"no word of anybody's at all": {before: true, status: metadata.Failed, why: "exit code 3 and left no record"},
	} {
		t.Run(name, func(t *testing.T) {
			b, m := newBed(t), &machine{}
			ending := &local.Ending{Why: test.why, Exit: 1}
			if strings.HasPrefix(test.why, "exit code") {
				ending = &local.Ending{Exit: 3}
			}
			spoil := func(v ir.TaskInvocation) *local.Ending {
				if v.Step == "start" {
					return ending
				}
				return nil
			}
			if test.before {
				m.before = spoil
			} else {
				m.after = spoil
			}
			r := b.runMixed(t.Context(), b.away(source), m, local.Options{})
			if r.err != nil || r.status != test.status {
				t.Fatalf("%+v", r)
			}
			if test.why == "" {
				return
			}
			if len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Failure.Message, test.why) {
				t.Fatalf("%+v", r.Failed)
			}
			// What the datastore says is the same, and so is the log.
			ref := r.Failed[0].Task.Ref
			state, err := runtime.NewLoader(b.store, ref.Flow).State(t.Context(), ref)
			if err != nil || state.Status != "failed" || !strings.Contains(state.Failure, test.why) {
				t.Errorf("%+v, %v", state, err)
			}
			var log []string
			for l, err := range b.store.ReadLog(t.Context(), ref, 0, datastore.Stderr) {
				if err != nil {
					t.Fatal(err)
				}
				log = append(log, l.Text)
			}
			if !strings.Contains(strings.Join(log, "\n"), test.why) {
				t.Errorf("the log says %q", log)
			}
		})
	}
}

// TestNothingToCatch: a step that never ran is none that @catch speaks for, however often a place for it was lost; one that ran
// once is.
func TestNothingToCatch(t *testing.T) {
	const source = `
flow: Lost
steps:
  start: {run: 'kill -9 $$', retry: {times: 1, minutes_between: 0}, catch: {var: why}, next: end}
  end: {run: ':'}
`
	for name, c := range map[string]struct {
		lost   string // the attempts whose pod is lost before it begins
		status metadata.Status
		tries  string
	}{
		"never": {"0 1", metadata.Failed, "start:0 start:1"},
		"once":  {"1", metadata.Succeeded, "start:0 start:1"},
	} {
		t.Run(name, func(t *testing.T) {
			b, m := newBed(t), &machine{}
			m.before = func(v ir.TaskInvocation) *local.Ending {
				if v.Step == "start" && strings.Contains(c.lost, v.Attempt) {
					return &local.Ending{Why: "the image cannot be pulled", Exit: -1}
				}
				return nil
			}
			r := b.runMixed(t.Context(), b.away(source, "start"), m, local.Options{})
			if r.err != nil || r.status != c.status || strings.Join(m.ran, " ") != c.tries {
				t.Fatalf("ran %v: %+v", m.ran, r)
			}
			if c.status == metadata.Failed && (len(r.Failed) != 1 || r.Failed[0].Failure.Message != "the image cannot be pulled") {
				t.Errorf("%+v", r.Failed)
			}
		})
	}
}

// TestWordsFromOutside: that a pod is gone when its task is looked for does not hide why the task had failed before; but
// of a process that was ended the outside knows more.
func TestWordsFromOutside(t *testing.T) {
	const why = "the pod was deleted"
	for command, want := range map[string]string{
		"exit 7":          "the command exited with code 7",
		"kill -9 $$":      why,
		"kill -15 $$":     why,
		"exit 143":        why, // as a shell says that what it ran was told to end
		"true":            "wrote no file",
		"sleep 9; exit 1": "the command ran longer than its timeout of 1s",
	} {
		t.Run(command, func(t *testing.T) {
			b, m := newBed(t), &machine{}
			m.after = func(v ir.TaskInvocation) *local.Ending {
				if v.Step == "start" {
					return &local.Ending{Why: why, Exit: -1}
				}
				return nil
			}
			r := b.runMixed(t.Context(), b.away("flow: Lost\nsteps:\n  start: {run: '"+command+"', outputs: [x], timeout: 1s, next: end}\n  end: {run: ':'}\n"), m, local.Options{})
			if len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Failure.Message, want) {
				t.Fatalf("%+v", r)
			}
		})
	}
	for _, test := range []struct {
		failure runtime.Failure
		ended   bool
	}{
		{runtime.Failure{Type: "builtins.RuntimeError", Message: "DataLoader worker was killed by signal 9"}, false},
		{runtime.Failure{Type: "mf.StepFailed", Message: "the step's process was killed by signal 9 (killed); the system does this when memory runs out"}, true},
		{runtime.Failure{Type: "mf.StepFailed", Message: "the task was told to stop, and the step's process ended"}, true},
		{runtime.Failure{Type: "mf.StepFailed", Message: "the step's process exited with code 1 before the step was complete"}, true},
		{runtime.Failure{Type: "mf.StepFailed", Message: "the step ran longer than its timeout of 2s and did not stop by itself"}, false},
	} {
		if got := test.failure.WasEnded(); got != test.ended {
			t.Errorf("%+v: %v", test.failure, got)
		}
	}
}

// brokenMachine cannot be reached.
type brokenMachine struct{ machine }

func (*brokenMachine) Run(context.Context, *runtime.Task) (local.Ending, error) {
	return local.Ending{}, errors.New("the cluster is gone")
}

func TestConnectionLost(t *testing.T) {
	b := newBed(t)
	flow := b.away(fan, "work")
	r := b.run(t.Context(), flow, local.Options{Elsewhere: &brokenMachine{}, RecordElsewhere: true})
	if r.err == nil || !strings.Contains(r.err.Error(), "the cluster is gone") || r.status != metadata.Failed {
		t.Fatalf("%+v", r)
	}
	// It can be resumed, here or there.
	origin, err := local.LoadOrigin(t.Context(), b.store, "Fan", r.id)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{}
	again := b.runMixed(t.Context(), flow, m, local.Options{Origin: origin})
	if again.err != nil || again.Cloned != 1 || len(m.ran) != 3 {
		t.Fatalf("%+v, ran %v", again, m.ran)
	}
	if got := b.value(again, "ys"); got != "[30, 10, 20]" {
		t.Errorf("ys is %s", got)
	}
}

func TestStopElsewhere(t *testing.T) {
	b, m := newBed(t), &machine{}
	flow := b.away(`
flow: Slow
steps:
  start: {run: ":", next: wait}
  wait: {run: 'echo started > $DIR/started; [ -n "$QUICK" ] || sleep 60', next: end, retry: {times: 2, minutes_between: 0}}
  end: {run: ":"}
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(b.dir, "started")); err == nil {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	r := b.runMixed(ctx, flow, m, local.Options{})
	if !r.Stopped || r.status != metadata.Interrupted || len(r.Failed) != 1 || !r.Failed[0].Failure.Stopped {
		t.Fatalf("%+v", r)
	}
	origin, err := local.LoadOrigin(t.Context(), b.store, "Slow", r.id)
	if err != nil {
		t.Fatal(err)
	}
	again := b.runMixed(t.Context(), flow, &machine{}, local.Options{Origin: origin}, "QUICK=1")
	if again.err != nil || again.Cloned != 1 || again.status != metadata.Succeeded {
		t.Errorf("%+v", again)
	}
}

func TestLinesOfAContainer(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)
	for _, want := range []runtime.Line{
		{Stream: datastore.Stdout, Time: now, Text: "hello"},
		{Stream: datastore.Stderr, Time: now, Text: "mf>[MFLOG|0|"},
		{Stream: datastore.Stderr, Time: now},
		{Stream: datastore.Stderr, Time: now, Text: "Traceback", Message: true},
	} {
		got, ok := runtime.ParseLine(string(runtime.AppendLine(nil, want)))
		if !ok || got != want {
			t.Errorf("%+v has become %+v", want, got)
		}
	}
	for _, text := range []string{"", "plain", "mf>", "mf>[MFLOG|0|2026-05-04T03:02:01.123456Z|task|1]x"} {
		if l, ok := runtime.ParseLine(text + "\n"); ok || l.Text != text || l.Stream != datastore.Stderr {
			t.Errorf("%q has become %+v", text, l)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("mf>[MFLOG|0|2026-05-04T03:02:01.123456Z|stdout|1]x")
	f.Add("mf-task: x")
	f.Fuzz(func(t *testing.T, text string) {
		l, ok := runtime.ParseLine(text)
		if !ok {
			return
		}
		if again, ok := runtime.ParseLine(string(runtime.AppendLine(nil, l))); !ok || again != l {
			t.Errorf("%+v has become %+v", l, again)
		}
	})
}
