package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

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
		in, err := f.round(s.Name, path, iteration-1)
		if err != nil {
			return nil, err
		}
		return t, f.follow(t, in)
	case s.Join:
		return t, f.join(t)
	case first:
		in, err := i.splitting.read(f, split, path.Parent())
		if err != nil {
			return nil, err
		}
		if err := f.enter(t, in); err != nil {
			return nil, err
		}
		if i.Run.Graph.Step(split).Next.Kind == ir.Parallel {
			t.Gang = i.Run.place(path, in.Next.Splits)
		}
		return t, nil
	default:
		in, err := f.arrived(i.Run.Graph.Predecessors(s.Name), path, s.Name)
		if err != nil {
			return nil, err
		}
		return t, f.follow(t, in)
	}
}

// finder reads the tasks that come before.
type finder struct {
	ctx    context.Context
	loader *Loader
	run    *Run
}

// maxReading bounds the tasks that are read at a time.
const maxReading = 32

// each fills a list, side by side; the error is that of the first place that has one.
func (f finder) each(n int, find func(int) (*Result, error)) ([]*Result, error) {
	found, errs := make([]*Result, n), make([]error, n)
	var g errgroup.Group
	g.SetLimit(maxReading)
	for i := range n {
		g.Go(func() error {
			found[i], errs[i] = find(i)
			return errs[i]
		})
	}
	if g.Wait() == nil {
		return found, nil
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// follow makes in, a task of the same foreaches, the only input.
func (f finder) follow(t *Task, in *Result) (err error) {
	t.Inputs = []*Result{in}
	t.Stack, err = f.loader.stack(f.ctx, in)
	return err
}

func (f finder) ref(step string, path ir.SplitPath, iteration int) datastore.TaskRef {
	return datastore.TaskRef{Flow: f.run.Flow.Name, Run: f.run.ID, Step: step, Task: TaskID(path, iteration)}
}

// at reads one task; an error if it has not succeeded.
func (f finder) at(step string, path ir.SplitPath, iteration int) (*Result, error) {
	ref := f.ref(step, path, iteration)
	res, err := f.loader.loadAt(f.ctx, ref, path, iteration)
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
	res, err := f.lastRound(step, path)
	if err == nil && !wentTo(res, next) {
		err = fmt.Errorf("%s has not gone on to %s: %w", res.Ref, next, datastore.ErrNotFound)
	}
	return res, err
}

// lastRound reads the last round of a recursive step that has succeeded. Rounds succeed one after the other and the first
// that goes on elsewhere is the last, so that a few of them say which it is: looking ahead by more and more, then between.
func (f finder) lastRound(step string, path ir.SplitPath) (*Result, error) {
	last, err := f.at(step, path, 0)
	missing := 0 // a round that has not succeeded; 0 while none is known
	for ahead := 1; err == nil && wentTo(last, step); {
		k := last.Iteration + ahead
		if missing > 0 {
			k = (last.Iteration + missing) / 2
		}
		if k == last.Iteration {
			break
		}
		res, roundErr := f.at(step, path, k)
		switch {
		case errors.Is(roundErr, datastore.ErrNotFound):
			missing = k
		case roundErr != nil:
			err = roundErr
		default:
			last, ahead = res, 2*ahead
		}
	}
	return last, err
}

// leftError is that there is no such round, for an earlier one left the loop.
type leftError struct{ with *Result }

// Error implements error.
func (e *leftError) Error() string {
	return fmt.Sprintf("%s left the loop for %v", e.with.Ref, e.with.Next.Targets)
}

// round reads a round that another is to follow; a *leftError where an earlier one left the loop.
func (f finder) round(step string, path ir.SplitPath, k int) (*Result, error) {
	res, err := f.at(step, path, k)
	if errors.Is(err, datastore.ErrNotFound) {
		last, lastErr := f.lastRound(step, path)
		if lastErr != nil || wentTo(last, step) {
			return nil, errors.Join(err, lastErr)
		}
		res, err = last, nil
	}
	if err == nil && !wentTo(res, step) {
		return nil, &leftError{res}
	}
	return res, err
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
func (f finder) join(t *Task) (err error) {
	g := f.run.Graph
	split := g.JoinedSplit(t.Step.Name)
	next := g.Step(split).Next
	if next.Kind == ir.Split {
		t.Inputs, err = f.each(len(next.Targets), func(n int) (*Result, error) {
			return f.arrived(g.BranchLast(split, next.Targets[n].Step), t.Path, t.Step.Name)
		})
		if err == nil {
			t.Stack, err = f.loader.stack(f.ctx, t.Inputs[0])
		}
		return err
	}
	parent, err := f.last(split, t.Path, next.Targets[0].Step)
	if err != nil {
		return err
	}
	last := g.BodyLast(split)
	t.Inputs, err = f.each(parent.Next.Splits, func(n int) (*Result, error) {
		return f.arrived(last, t.Path.Child(n), t.Step.Name)
	})
	if err == nil {
		t.Stack, err = f.loader.stack(f.ctx, parent)
	}
	return err
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
	t.Stack = append(slices.Clip(in.Stack), frame)
	return nil
}
