package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

// Invocation runs tasks the way an engine asks for them: the engine says which, everything else follows from the graph
// and from the records of the tasks before.
type Invocation struct {
	// Run is what the tasks share. Parameters may be nil: the start task makes them, the others read them.
	Run *Run
	// Given holds the texts of the parameters for the start task, by variable name.
	Given map[string]string
	// Outputs is where the small outputs go.
	Outputs Outputs
}

// Outputs says where a task leaves its small outputs; empty fields are nowhere.
type Outputs struct {
	// Folder receives one file each (ir.EnvOutputs), File all as a JSON object (ir.EnvOutputsFile).
	Folder, File string
	// SplitList is a key of the datastore that receives the indices of the splits (ir.EnvSplitList).
	SplitList string
}

// TaskID is the id of a task in production: a pure function of its split path and iteration, and no number. Within a
// step it is unique: "t" outside any foreach, "t-3-0" at path 3,0, "t-3.2" in round 2 at path 3.
func TaskID(path ir.SplitPath, iteration int) string {
	var b strings.Builder
	b.WriteByte('t')
	for _, i := range path {
		b.WriteByte('-')
		b.WriteString(strconv.Itoa(i))
	}
	if iteration != ir.NoIteration {
		b.WriteByte('.')
		b.WriteString(strconv.Itoa(iteration))
	}
	return b.String()
}

// parametersID is the id of the _parameters task in production.
const parametersID = "t-params"

// Execute runs one task and leaves its small outputs. A task that has succeeded before is not run again: its outputs are
// left once more. The attempt is the engine's count; where that number is taken the next free one is used.
func (i *Invocation) Execute(ctx context.Context, step string, path ir.SplitPath, iteration, attempt int) (Outcome, error) {
	r := i.Run
	s := r.Graph.Step(step)
	if s == nil {
		return Outcome{}, fmt.Errorf("flow %s has no step %q", r.Flow.Name, step)
	}
	if want := r.Graph.PathLen(step); want != len(path) {
		return Outcome{}, fmt.Errorf("step %s lies in %d foreach, but its split path is %q", step, want, path)
	}
	if s.Recursive() && iteration == ir.NoIteration {
		iteration = 0
	}
	loader := NewLoader(r.Store, r.Flow.Name)
	ref := datastore.TaskRef{Flow: r.Flow.Name, Run: r.ID, Step: step, Task: TaskID(path, iteration)}
	done, err := loader.Load(ctx, ref)
	if err != nil {
		return Outcome{}, fmt.Errorf("reading the record of %s: %w", ref, err)
	}
	if done != nil {
		return Outcome{Result: done}, i.leave(ctx, s, done)
	}
	if err := i.parameters(ctx, loader, step); err != nil {
		return Outcome{}, err
	}
	task, err := i.task(ctx, loader, s, path, iteration)
	if err != nil {
		return Outcome{}, fmt.Errorf("finding the inputs of %s: %w", ref, err)
	}
	task.Ref = ref
	task.Try = attempt
	if task.Attempt, err = i.freeAttempt(ctx, ref, attempt); err != nil {
		return Outcome{}, err
	}
	out, err := r.Execute(ctx, task)
	if err != nil || out.Result == nil {
		return out, err
	}
	return out, i.leave(ctx, s, out.Result)
}

// freeAttempt is the engine's attempt, or the first after it that no earlier invocation has used.
func (i *Invocation) freeAttempt(ctx context.Context, ref datastore.TaskRef, attempt int) (int, error) {
	taken, err := i.Run.Store.Attempts(ctx, ref)
	if err != nil {
		return 0, fmt.Errorf("reading the attempts of %s: %w", ref, err)
	}
	for _, t := range taken {
		if t.Started && t.Number >= attempt {
			attempt = t.Number + 1
		}
	}
	if attempt >= datastore.MaxAttempts {
		return 0, fmt.Errorf("%s has had %d attempts, the most that readers of the datastore look for", ref, datastore.MaxAttempts)
	}
	return attempt, nil
}

// parameters finds the parameters of the run; the start task makes them if they are not there.
func (i *Invocation) parameters(ctx context.Context, loader *Loader, step string) error {
	r := i.Run
	if r.Parameters != nil {
		return nil
	}
	ref := ParametersRef(r.Flow.Name, r.ID, parametersID)
	found, err := loader.Load(ctx, ref)
	if err != nil {
		return fmt.Errorf("reading the parameters: %w", err)
	}
	if found != nil {
		r.Parameters = found
		return nil
	}
	if step != r.Flow.Start {
		return fmt.Errorf("run %s has no parameters: its start step has not run", r.ID)
	}
	if err := CheckParameters(r.Flow, i.Given); err != nil {
		return err
	}
	arts, err := r.MakeParameters(ctx, i.Given)
	if err != nil {
		return err
	}
	return r.WriteParameters(ctx, ref, arts)
}

// WriteParameters writes the _parameters task and takes it as the run's.
func (r *Run) WriteParameters(ctx context.Context, ref datastore.TaskRef, arts map[string]datastore.Artifact) error {
	now := r.Now()
	if err := r.Store.Begin(ctx, ref, 0, now); err != nil {
		return err
	}
	if err := r.Store.Finish(ctx, ref, datastore.Record{PythonVersion: r.PythonVersion, Artifacts: arts}); err != nil {
		return fmt.Errorf("writing the parameters: %w", err)
	}
	r.Parameters = &Result{Ref: ref, Iteration: ir.NoIteration, Artifacts: arts}
	return r.Sink.Add(r.Rows.ParametersTask(metadata.TaskRef(ref), r.Flow.Start, r.Flow.End, ArtifactRefs(arts), now))
}

// task resolves what the task starts from.
func (i *Invocation) task(ctx context.Context, loader *Loader, s *ir.Step, path ir.SplitPath, iteration int) (*Task, error) {
	times, _ := s.Retry()
	t := &Task{Step: s, Path: path, Iteration: iteration, Retries: times}
	f := finder{ctx: ctx, loader: loader, run: i.Run}
	split, first := i.Run.Graph.FirstOfBody(s.Name)
	switch {
	case s.Name == i.Run.Flow.Start && iteration <= 0:
		return t, nil
	case iteration > 0:
		in, err := f.at(s.Name, path, iteration-1)
		if err != nil {
			return nil, err
		}
		t.Inputs, t.Stack = []*Result{in}, in.Stack
	case s.Join:
		return t, f.join(t)
	case first:
		in, err := f.last(split, path.Parent(), s.Name)
		if err != nil {
			return nil, err
		}
		return t, f.enter(t, in)
	default:
		in, err := f.arrived(i.Run.Graph.Predecessors(s.Name), path, s.Name)
		if err != nil {
			return nil, err
		}
		t.Inputs, t.Stack = []*Result{in}, in.Stack
	}
	return t, nil
}

// finder reads the tasks that come before.
type finder struct {
	ctx    context.Context
	loader *Loader
	run    *Run
}

// at reads one task; an error if it has not succeeded.
func (f finder) at(step string, path ir.SplitPath, iteration int) (*Result, error) {
	ref := datastore.TaskRef{Flow: f.run.Flow.Name, Run: f.run.ID, Step: step, Task: TaskID(path, iteration)}
	res, err := f.loader.Load(f.ctx, ref)
	if err == nil && res == nil {
		err = fmt.Errorf("%s has not succeeded: %w", ref, datastore.ErrNotFound)
	}
	return res, err
}

// last reads a step's task at a path that went on to next: for a recursive step, its last round.
func (f finder) last(step string, path ir.SplitPath, next string) (*Result, error) {
	if !f.run.Graph.Step(step).Recursive() {
		return f.at(step, path, ir.NoIteration)
	}
	for k := 0; ; k++ {
		res, err := f.at(step, path, k)
		if err != nil || wentTo(res, next) {
			return res, err
		}
	}
}

func wentTo(res *Result, next string) bool {
	if res.Next == nil {
		return false
	}
	for _, target := range res.Next.Targets {
		if target == next {
			return true
		}
	}
	return false
}

// arrived finds which of several predecessors, one of which ran after a switch, went on to the step.
func (f finder) arrived(candidates []string, path ir.SplitPath, next string) (*Result, error) {
	var tried []error
	for _, step := range candidates {
		if step == next {
			continue // a round of its own
		}
		res, err := f.last(step, path, next)
		if err == nil && wentTo(res, next) {
			return res, nil
		}
		if err != nil && !errors.Is(err, datastore.ErrNotFound) {
			return nil, err
		}
		tried = append(tried, err)
	}
	return nil, fmt.Errorf("no step before went on to %s at path %q: %w", next, path, errors.Join(tried...))
}

// join reads the inputs of a join, in the order of the split.
func (f finder) join(t *Task) error {
	g := f.run.Graph
	split := g.JoinedSplit(t.Step.Name)
	kind := g.Step(split).Next.Kind
	if kind == ir.Split {
		for _, target := range g.Step(split).Next.Targets {
			in, err := f.arrived(g.BranchLast(split, target.Step), t.Path, t.Step.Name)
			if err != nil {
				return err
			}
			t.Inputs = append(t.Inputs, in)
		}
		t.Stack = t.Inputs[0].Stack
		return nil
	}
	parent, err := f.last(split, t.Path, g.Step(split).Next.Targets[0].Step)
	if err != nil {
		return err
	}
	last := g.BodyLast(split)
	for i := range parent.Next.Splits {
		in, err := f.arrived(last, t.Path.Child(i), t.Step.Name)
		if err != nil {
			return err
		}
		t.Inputs = append(t.Inputs, in)
	}
	t.Stack = parent.Stack
	return nil
}

// enter puts the task at the beginning of a foreach's body.
func (f finder) enter(t *Task, in *Result) error {
	index := t.Path[len(t.Path)-1]
	if in.Next == nil || index >= in.Next.Splits {
		return fmt.Errorf("%s has no split %d", in.Ref, index)
	}
	frame := Frame{Step: t.Step.Name, Var: in.Next.Var, NumSplits: in.Next.Splits, Index: index}
	if index < len(in.Next.Values) {
		frame.Value, frame.HasValue = in.Next.Values[index], true
	}
	t.Inputs = []*Result{in}
	t.Stack = append(append([]Frame{}, in.Stack...), frame)
	return nil
}

// leave writes the small outputs for the engine.
func (i *Invocation) leave(ctx context.Context, s *ir.Step, res *Result) error {
	if s.Next == nil || res.Next == nil {
		return nil
	}
	outputs := map[string]any{}
	switch s.Next.Kind {
	case ir.Foreach, ir.Parallel:
		outputs[ir.OutputSplits] = res.Next.Splits
		if err := i.leaveList(ctx, res.Next.Splits); err != nil {
			return fmt.Errorf("leaving the list of splits: %w", err)
		}
	case ir.Switch:
		outputs[ir.OutputBranch] = res.Next.Targets[0]
	}
	if err := i.leaveFiles(outputs); err != nil {
		return fmt.Errorf("leaving outputs for the engine: %w", err)
	}
	return nil
}

func (i *Invocation) leaveList(ctx context.Context, splits int) error {
	if i.Outputs.SplitList == "" {
		return nil
	}
	indices := make([]int, splits)
	for n := range indices {
		indices[n] = n
	}
	data, err := json.Marshal(indices)
	if err != nil {
		return err
	}
	return i.Run.Store.Backend().Put(ctx, i.Outputs.SplitList, bytes.NewReader(data), datastore.PutOptions{})
}

func (i *Invocation) leaveFiles(outputs map[string]any) error {
	if folder := i.Outputs.Folder; folder != "" {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for name, value := range outputs {
			if err := os.WriteFile(filepath.Join(folder, name), fmt.Append(nil, value), 0o644); err != nil {
				return err
			}
		}
	}
	if i.Outputs.File == "" {
		return nil
	}
	data, err := json.Marshal(outputs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(i.Outputs.File), 0o755); err != nil {
		return err
	}
	return os.WriteFile(i.Outputs.File, data, 0o644)
}
