package local

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

// key names a task within a run, the same in every run of the flow: task ids differ, indices do not.
type key struct {
	step      string
	path      string
	iteration int
}

// Origin is a run to resume: the tasks of it that succeeded.
type Origin struct {
	// RunID is the run's id, Store where it is.
	RunID string
	Store *datastore.Store
	// Parameters is the run's _parameters task.
	Parameters *runtime.Result
	tasks      map[key]*runtime.Result
}

// Tasks is the number of tasks that succeeded.
func (o *Origin) Tasks() int { return len(o.tasks) }

// originReaders is how many tasks of an origin are read at a time: on an object store each costs a few round trips.
const originReaders = 16

// LoadOrigin reads which tasks of a run succeeded, from the datastore alone. The error is datastore.ErrNotFound when there
// is no such run, or it got no further than its id.
func LoadOrigin(ctx context.Context, store *datastore.Store, flow, run string) (*Origin, error) {
	o := &Origin{RunID: run, Store: store, tasks: map[key]*runtime.Result{}}
	loader := runtime.NewLoader(store, flow)
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(originReaders)
	refs, err := runtime.Tasks(ctx, store, flow, run, "")
	if err != nil {
		return nil, fmt.Errorf("listing the tasks of %s/%s: %w", flow, run, err)
	}
	for _, ref := range refs {
		group.Go(func() error {
			res, err := loader.Load(ctx, ref)
			if err != nil || res == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if ref.Step == runtime.ParametersStep {
				o.Parameters = res
				return nil
			}
			k := key{ref.Step, res.Path.String(), res.Iteration}
			if have := o.tasks[k]; have == nil || newer(ref.Task, have.Ref.Task) {
				o.tasks[k] = res
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("reading run %s/%s: %w", flow, run, err)
	}
	if o.Parameters == nil {
		return nil, fmt.Errorf("run %s/%s: %w", flow, run, datastore.ErrNotFound)
	}
	return o, nil
}

func newer(a, b string) bool {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return x > y
	}
	return a > b
}

// cloners is how many tasks are taken over at a time: on an object store each costs a few round trips.
const cloners = 16

// takeOver takes over from the origin the tasks at the head of those that are ready, as far as they need not run, and goes
// on from them in their order. It reports whether there was one.
func (s *scheduler) takeOver(ctx context.Context) bool {
	var olds []*runtime.Result
	for _, p := range s.ready[:min(len(s.ready), cloners)] {
		old := s.original(p)
		if old == nil {
			break
		}
		olds = append(olds, old)
	}
	if len(olds) == 0 {
		return false
	}
	tasks := s.ready[:len(olds)]
	s.ready = s.ready[len(olds):]
	clones := make([]*runtime.Result, len(olds))
	var group errgroup.Group
	for i, old := range olds {
		group.Go(func() (err error) {
			clones[i], err = CloneTask(ctx, s.run, s.opt.Origin, old, tasks[i].task.Ref)
			return err
		})
	}
	err := group.Wait()
	for i, res := range clones {
		if res != nil && !s.halted() {
			s.taken(tasks[i].task, olds[i], res)
		}
		tasks[i] = nil
	}
	if s.err == nil {
		s.err = err
	}
	return true
}

// original is the origin's task that stands for a task of this run: its artifacts by digest, nothing is copied where both
// runs share a datastore. It is nil where the task has to run.
func (s *scheduler) original(p *pending) *runtime.Result {
	t, o := p.task, s.opt.Origin
	if p.dirty || t.Attempt != 0 || o == nil {
		return nil
	}
	old := o.tasks[key{t.Step.Name, t.Path.String(), t.Iteration}]
	if old == nil || !s.stillFits(t.Step, old) {
		return nil
	}
	return old
}

// taken goes on from a task that was taken over.
func (s *scheduler) taken(t *runtime.Task, old, res *runtime.Result) {
	s.opt.Observer.TaskCloned(t.Ref, old.Ref)
	// The stack names the step and the splits as they are now.
	res.Stack = t.Stack
	s.report.Cloned++
	if s.opt.CloneOnly {
		s.report.Taken = append(s.report.Taken, res)
	}
	s.count.Done++
	s.opt.Observer.Progress(s.count)
	s.advance(t.Step, res, false)
}

// stillFits reports whether the transition that the old task took is one the step has today. Where the source has
// changed around a step, the step runs again.
func (s *scheduler) stillFits(step *ir.Step, old *runtime.Result) bool {
	if step.Next == nil || old.Next == nil {
		return step.Next == nil && old.Next == nil
	}
	known := map[string]bool{}
	for _, name := range step.Successors() {
		known[name] = true
	}
	for _, target := range old.Next.Targets {
		if !known[target] {
			return false
		}
	}
	switch step.Next.Kind {
	case ir.Switch:
		return len(old.Next.Targets) == 1 && old.Next.Var == ""
	case ir.Foreach:
		return old.Next.Var == step.Next.Foreach
	case ir.Parallel:
		return old.Next.Var != ""
	}
	return len(old.Next.Targets) == len(known) && old.Next.Var == ""
}

// cloneRows are the metadata of a clone. Readers follow a clone to its origin, which they find in the same datastore
// only; a clone from another one stands for itself.
func cloneRows(r *runtime.Run, o *Origin, old *runtime.Result, ref datastore.TaskRef, now time.Time) metadata.Batch {
	id, artifacts := metadata.TaskRef(ref), runtime.ArtifactRefs(old.Artifacts)
	if o.Store == r.Store {
		return r.Rows.TaskCloned(id, old.Ref.Task, artifacts, now)
	}
	rows := r.Rows.TaskRegistered(id, 0, now)
	rows.Add(r.Rows.TaskStarted(id, 0, runtime.ForeachFrames(old.Stack), now))
	rows.Add(r.Rows.TaskFinished(id, 0, true, artifacts, now))
	return rows
}

func writeClone(ctx context.Context, r *runtime.Run, o *Origin, old *runtime.Result, ref datastore.TaskRef, now time.Time) error {
	record := datastore.Record{Attempt: old.Attempt, PythonVersion: r.PythonVersion, Artifacts: old.Artifacts}
	if o.Store == r.Store {
		return r.Store.Clone(ctx, old.Ref, record, ref, now)
	}
	record.Attempt = 0
	if err := r.Store.Begin(ctx, ref, 0, now); err != nil {
		return err
	}
	return r.Store.Finish(ctx, ref, record)
}

// CloneTask writes old as a task of r named ref.
func CloneTask(ctx context.Context, r *runtime.Run, o *Origin, old *runtime.Result, ref datastore.TaskRef) (*runtime.Result, error) {
	if o.Store != r.Store {
		for name, art := range old.Artifacts {
			if err := r.Store.Import(ctx, o.Store, ref.Flow, art.Digest); err != nil {
				return nil, fmt.Errorf("taking over artifact %s of %s: %w", name, old.Ref, err)
			}
		}
	}
	now := r.Now()
	if err := writeClone(ctx, r, o, old, ref, now); err != nil {
		return nil, fmt.Errorf("writing the record of %s: %w", ref, err)
	}
	if err := r.Sink.Add(cloneRows(r, o, old, ref, now)); err != nil {
		return nil, err
	}
	res := *old
	res.Ref, res.Attempt = ref, 0
	return &res, nil
}
