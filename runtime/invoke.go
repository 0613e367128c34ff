package runtime

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

// Invocation runs tasks the way an engine asks for them: the engine says which, everything else follows from the graph
// and from the records of the tasks before.
type Invocation struct {
	// Run is what the tasks share. Parameters may be nil: the start task makes them, the others read them.
	Run *Run
	// Given returns the texts of the parameters, by variable name. It is asked by a start task that makes them.
	Given func(ctx context.Context) (map[string]string, error)
	// Outputs is where the small outputs go.
	Outputs Outputs
	// Ready is called, if it is set, with each task that is about to run, ahead of all that is recorded: it may fill in what
	// of Run took its time, such as the version of Python. It is called concurrently.
	Ready func(*Task)

	mu sync.Mutex // guards Run.Parameters

	splitting splitting
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

// ParametersID is the id of the _parameters task where tasks have names.
const ParametersID = "t-params"

// Execute runs one task. A task that has succeeded before is not run again, nor is a round of a loop that has been left
// before. The attempt is the engine's count; where that number is taken the next free one is used. It may be called
// concurrently.
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
	loader := i.splitting.common(r).child()
	ref := datastore.TaskRef{Flow: r.Flow.Name, Run: r.ID, Step: step, Task: TaskID(path, iteration)}
	task, done, err := i.prepare(ctx, loader, s, ref, path, iteration, attempt)
	if err != nil {
		return Outcome{}, err
	}
	if done != nil {
		return Outcome{Result: done}, nil
	}
	out, err := r.Execute(ctx, task)
	if errors.Is(err, errTaken) {
		if done := i.others(ctx, ref, path, iteration); done != nil {
			return Outcome{Result: done}, nil
		}
	}
	return out, err
}

// yieldTime is how long a container waits for the other one that runs the same attempt, and yieldPause how often it looks.
const (
	yieldTime  = 30 * time.Second
	yieldPause = 500 * time.Millisecond
)

// others waits for what another container makes of the task; nil if that is no success, or takes long.
func (i *Invocation) others(ctx context.Context, ref datastore.TaskRef, path ir.SplitPath, iteration int) *Result {
	ctx, cancel := context.WithTimeout(ctx, yieldTime)
	defer cancel()
	for {
		loader := i.splitting.common(i.Run).child()
		_, over, _ := loader.latest(ctx, ref)
		done, err := loader.loadAt(ctx, ref, path, iteration)
		if over || done != nil || err != nil {
			return done
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(yieldPause):
		}
	}
}

// prepare finds out what the task starts from, or what it has come to before. It asks for everything at once, since each
// answer of an object store takes its time.
func (i *Invocation) prepare(ctx context.Context, loader *Loader, s *ir.Step, ref datastore.TaskRef, path ir.SplitPath,
	iteration, attempt int) (task *Task, done *Result, err error) {
	r := i.Run
	var attempts []datastore.Attempt
	var attemptsErr, inputsErr, paramsErr error
	var reading sync.WaitGroup
	reading.Go(func() {
		attempts, attemptsErr = r.Store.Attempts(ctx, ref)
		if attemptsErr == nil {
			attemptsErr = r.Store.Prepare(ctx)
		}
	})
	reading.Go(func() { task, inputsErr = i.task(ctx, loader, s, path, iteration) })
	reading.Go(func() { paramsErr = i.findParameters(ctx, loader, s.Name) })
	reading.Wait()
	if attemptsErr != nil {
		return nil, nil, fmt.Errorf("reading the attempts of %s: %w", ref, attemptsErr)
	}
	last := lastStarted(attempts)
	if inputsErr == nil && last != nil && !last.Done && last.HasRecord && task.Gang != nil {
		if last.Done, err = i.confirm(ctx, ref, task, last.Number); err != nil {
			return nil, nil, err
		}
	}
	if last != nil && last.Done {
		if done, err = loader.loadAt(ctx, ref, path, iteration); err != nil {
			return nil, nil, fmt.Errorf("reading the record of %s: %w", ref, err)
		}
		if done != nil {
			return nil, done, nil
		}
	}
	if left := (*leftError)(nil); errors.As(inputsErr, &left) {
		return nil, left.with, nil
	}
	if err := errors.Join(inputsErr, paramsErr); err != nil {
		if r.Origin != "" && errors.Is(err, datastore.ErrNotFound) {
			err = fmt.Errorf("%w; the run was to do what run %[2]s had left, and what that took over is not here: was it submitted a second time? "+
				"mf resume %[3]s --origin %[2]s starts another one", err, r.Origin, r.Flow.Source.File)
		}
		return nil, nil, fmt.Errorf("finding the inputs of %s: %w", ref, err)
	}
	task.Ref = ref
	task.count(attempts, attempt)
	if task.Attempt, err = freeAttempt(r.Flow, r.ID, attempts, attempt); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", ref, err)
	}
	if i.Ready != nil {
		i.Ready(task)
	}
	task.before, err = i.parameters(ctx, s.Name)
	var badStart *StartError
	var badParameter *ParameterError
	if errors.As(err, &badStart) || errors.As(err, &badParameter) {
		task.refused, err = err, nil
	}
	return task, nil, err
}

// count takes the engine's count for the task's own. Where that counts containers, of which one may be lost ahead of the task
// or stands for other tasks too, a step that has not begun yet has not crashed: it runs, with @catch for what it raises. The
// members of a gang begin and fail together, so that what one has on record says nothing of the others.
func (t *Task) count(taken []datastore.Attempt, attempt int) {
	for _, a := range taken {
		if a.Started {
			t.had++
		}
	}
	t.Try = attempt
	if t.had == 0 && t.Gang == nil {
		t.Try = min(attempt, t.Retries)
		_, all := t.Step.Attempts()
		t.final = attempt+1 >= all
	}
}

// freeAttempt is the engine's attempt, or the first after it that no earlier invocation has used.
func freeAttempt(flow *ir.Flow, run string, taken []datastore.Attempt, attempt int) (int, error) {
	for _, t := range taken {
		if t.Started && t.Number >= attempt {
			attempt = t.Number + 1
		}
	}
	if attempt >= datastore.MaxAttempts {
		return 0, fmt.Errorf("the task has had %d attempts, the most that readers of the datastore look for, and none is left in this run; "+
			"mf resume %s --origin %s goes on from here in a new one", datastore.MaxAttempts, flow.Source.File, run)
	}
	return attempt, nil
}

func (i *Invocation) parametersRef() datastore.TaskRef {
	return ParametersRef(i.Run.Flow.Name, i.Run.ID, ParametersID)
}

// findParameters reads the parameters of the run, if they are there.
func (i *Invocation) findParameters(ctx context.Context, loader *Loader, step string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	r, ref := i.Run, i.parametersRef()
	if r.Parameters != nil {
		return nil
	}
	var err error
	if step == r.Flow.Start {
		r.Parameters, err = loader.Load(ctx, ref) // they are hardly there yet
	} else {
		// The start step has succeeded, and before that its one attempt at the parameters: its record will do.
		var rec datastore.Record
		if rec, err = r.Store.ReadRecord(ctx, ref, 0); err == nil {
			r.Parameters = &Result{Ref: ref, Iteration: ir.NoIteration, Artifacts: rec.Artifacts}
			r.Store.Trust(r.Flow.Name, rec.Artifacts)
		}
	}
	if err != nil && !errors.Is(err, datastore.ErrNotFound) {
		return fmt.Errorf("reading the parameters: %w", err)
	}
	return nil
}

// parameters has the start task make the parameters if they are not there. They are put on record in the background;
// recorded waits for that, and is nil where there is nothing to wait for.
func (i *Invocation) parameters(ctx context.Context, step string) (recorded func() error, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := i.Run
	if r.Parameters != nil {
		return nil, nil
	}
	if step != r.Flow.Start {
		return nil, fmt.Errorf("run %s has no parameters: its start step has not run", r.ID)
	}
	given, err := i.Given(ctx)
	if err != nil {
		return nil, err
	}
	if err := CheckParameters(r.Flow, given); err != nil {
		return nil, err
	}
	arts, err := r.MakeParameters(ctx, given)
	if err != nil {
		return nil, err
	}
	ref := i.parametersRef()
	r.Parameters = &Result{Ref: ref, Iteration: ir.NoIteration, Artifacts: arts}
	var writing errgroup.Group
	writing.Go(func() error { return r.recordParameters(context.WithoutCancel(ctx), ref, arts) })
	return writing.Wait, nil
}

// WriteParameters writes the _parameters task and takes it as the run's.
func (r *Run) WriteParameters(ctx context.Context, ref datastore.TaskRef, arts map[string]datastore.Artifact) error {
	if err := r.recordParameters(ctx, ref, arts); err != nil {
		return err
	}
	r.Parameters = &Result{Ref: ref, Iteration: ir.NoIteration, Artifacts: arts}
	return nil
}

func (r *Run) recordParameters(ctx context.Context, ref datastore.TaskRef, arts map[string]datastore.Artifact) error {
	now := r.Now()
	if err := r.Store.Begin(ctx, ref, 0, now); err != nil {
		return err
	}
	if err := r.Store.Finish(ctx, ref, datastore.Record{PythonVersion: r.PythonVersion, Artifacts: arts}); err != nil {
		return fmt.Errorf("writing the parameters: %w", err)
	}
	return r.Sink.Add(r.Rows.ParametersTask(metadata.TaskRef(ref), r.Flow.Start, r.Flow.End, ArtifactRefs(arts), now))
}
