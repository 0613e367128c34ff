package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
)

// Loader reads results back from the datastore, Metaflow's own included.
type Loader struct {
	store *datastore.Store
	flow  string

	parent *Loader // whose values count too; nil for none

	mu    sync.Mutex
	known map[string]any // decoded small values by digest: most tasks share them
}

// NewLoader returns a loader for one flow.
func NewLoader(store *datastore.Store, flow string) *Loader {
	return &Loader{store: store, flow: flow, known: maps.Clone(commonValues())}
}

// child returns a loader that knows what l knows and keeps for itself what it reads: when it is gone, so is that.
func (l *Loader) child() *Loader {
	return &Loader{store: l.store, flow: l.flow, parent: l, known: map[string]any{}}
}

// decoded returns a value that was decoded before.
func (l *Loader) decoded(digest string) (v any, ok bool) {
	for ; l != nil && !ok; l = l.parent {
		l.mu.Lock()
		v, ok = l.known[digest]
		l.mu.Unlock()
	}
	return v, ok
}

// commonValues are values that the runtime itself writes for nearly every task, by the digest of their pickle, so that
// nobody asks the datastore for them.
var commonValues = sync.OnceValue(func() map[string]any {
	known := map[string]any{}
	values := []any{nil, true, false, []any{}}
	for n := range int64(256) {
		values = append(values, n, []any{n})
	}
	for _, v := range values {
		know(known, v)
	}
	return known
})

// know adds a value as it will be read.
func know(known map[string]any, v any) {
	data, err := pickle.Marshal(v)
	if err != nil {
		return
	}
	if v, err = pickle.Unmarshal(data); err == nil {
		known[datastore.Digest(data)] = v
	}
}

// expect prepares for the transitions that the flow's steps can take.
func (l *Loader) expect(flow *ir.Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range flow.Steps {
		if s.Next == nil {
			continue
		}
		var all []any
		for _, target := range s.Successors() {
			all = append(all, target)
			know(l.known, pickle.Tuple{[]any{target}, nil})
		}
		know(l.known, pickle.Tuple{all, nil})
		if s.Next.Foreach != "" {
			know(l.known, pickle.Tuple{all, s.Next.Foreach})
		}
	}
}

// loadAt is Load for a task whose place is known, as far as its successors need it: Stack is left out.
func (l *Loader) loadAt(ctx context.Context, ref datastore.TaskRef, path ir.SplitPath, iteration int) (*Result, error) {
	rec, done, err := l.latest(ctx, ref)
	if errors.Is(err, datastore.ErrNotFound) || err == nil && !done {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	res := &Result{Ref: ref, Attempt: rec.Attempt, Path: path, Iteration: iteration, Artifacts: rec.Artifacts}
	if ok, err := l.value(ctx, res, "_task_ok"); err != nil || ok != true {
		return nil, err
	}
	if err := l.transition(ctx, res); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	l.store.Trust(l.flow, res.Artifacts)
	return res, nil
}

// latest is Store.Latest with one wait in place of two where the first attempt is also the last.
func (l *Loader) latest(ctx context.Context, ref datastore.TaskRef) (rec datastore.Record, done bool, err error) {
	var first datastore.Record
	var firstErr error
	var reading sync.WaitGroup
	reading.Go(func() { first, firstErr = l.store.ReadRecord(ctx, ref, 0) })
	attempts, err := l.store.Attempts(ctx, ref)
	reading.Wait()
	if err != nil {
		return rec, false, err
	}
	last := lastStarted(attempts)
	switch {
	case last == nil:
		return rec, false, fmt.Errorf("attempts of task %s: %w", ref, datastore.ErrNotFound)
	case !last.Done:
		return datastore.Record{Attempt: last.Number}, false, nil
	case last.Number == 0 && firstErr == nil:
		return first, true, nil
	}
	rec, err = l.store.ReadRecord(ctx, ref, last.Number)
	return rec, err == nil, err
}

// lastStarted returns the attempt that counts; nil if none has started.
func lastStarted(attempts []datastore.Attempt) *datastore.Attempt {
	for n := range slices.Backward(attempts) {
		if attempts[n].Started {
			return &attempts[n]
		}
	}
	return nil
}

// Tasks lists the tasks of a run, or of one step of it, _parameters included.
func Tasks(ctx context.Context, store *datastore.Store, flow, run, step string) ([]datastore.TaskRef, error) {
	steps := []string{step}
	if step == "" {
		var err error
		if steps, err = store.Steps(ctx, flow, run); err != nil {
			return nil, err
		}
	}
	var refs []datastore.TaskRef
	for _, s := range steps {
		tasks, err := store.Tasks(ctx, flow, run, s)
		if err != nil {
			return nil, err
		}
		for _, t := range tasks {
			refs = append(refs, datastore.TaskRef{Flow: flow, Run: run, Step: s, Task: t})
		}
	}
	return refs, nil
}

// Load returns what a task came to; nil, nil if it has not succeeded.
func (l *Loader) Load(ctx context.Context, ref datastore.TaskRef) (*Result, error) {
	rec, done, err := l.store.Latest(ctx, ref)
	if errors.Is(err, datastore.ErrNotFound) || err == nil && !done {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	res := &Result{Ref: ref, Attempt: rec.Attempt, Iteration: ir.NoIteration, Artifacts: rec.Artifacts}
	if ok, err := l.value(ctx, res, "_task_ok"); err != nil || ok != true {
		return nil, err
	}
	if ref.Step == ParametersStep {
		return res, nil
	}
	if err := l.place(ctx, res); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	if err := l.transition(ctx, res); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	return res, nil
}

// State is how a task stands, successful or not.
type State struct {
	Path    ir.SplitPath
	Attempt int
	// Status is "succeeded", "failed", "caught" (failed, but @catch let the run go on) or "unfinished".
	Status string
	// Failure is one line; empty unless failed or caught.
	Failure string
}

// State reads how a task stands.
func (l *Loader) State(ctx context.Context, ref datastore.TaskRef) (State, error) {
	rec, done, err := l.store.Latest(ctx, ref)
	if errors.Is(err, datastore.ErrNotFound) || err == nil && !done {
		return State{Status: "unfinished", Attempt: rec.Attempt}, nil
	}
	if err != nil {
		return State{}, err
	}
	res := &Result{Ref: ref, Artifacts: rec.Artifacts}
	if err := l.place(ctx, res); err != nil {
		return State{}, fmt.Errorf("reading %s: %w", ref, err)
	}
	state := State{Path: res.Path, Attempt: rec.Attempt, Status: "failed"}
	ok, err := l.value(ctx, res, "_task_ok")
	if err != nil {
		return State{}, err
	}
	success, err := l.value(ctx, res, "_success")
	if err != nil {
		return State{}, err
	}
	if ok == true {
		state.Status = "succeeded"
		if success == false {
			state.Status = "caught"
		}
	}
	if state.Status != "succeeded" {
		if exc, err := l.value(ctx, res, "_exception"); err == nil {
			if e, isExc := exc.(pickle.ExceptionWrapper); isExc {
				f := Failure{Type: e.Type, Message: e.Exception}
				state.Failure = f.Summary()
			}
		}
	}
	return state, nil
}

// stack reads the foreaches around a task.
func (l *Loader) stack(ctx context.Context, res *Result) ([]Frame, error) {
	stack, err := l.value(ctx, res, "_foreach_stack")
	if err != nil {
		return nil, err
	}
	frames, _ := stack.([]any)
	var list []Frame
	for _, item := range frames {
		f, ok := item.(pickle.ForeachFrame)
		if !ok {
			return nil, fmt.Errorf("_foreach_stack holds a %s", pickle.TypeName(item))
		}
		frame := Frame{Step: f.Step, Var: f.Var}
		if n, ok := f.NumSplits.(int64); ok {
			frame.NumSplits = int(n)
		}
		if i, ok := f.Index.(int64); ok {
			frame.Index = int(i)
		}
		frame.Value, frame.HasValue = f.Value.(string)
		list = append(list, frame)
	}
	return list, nil
}

// place reads where in the run the task stands.
func (l *Loader) place(ctx context.Context, res *Result) (err error) {
	if res.Stack, err = l.stack(ctx, res); err != nil {
		return err
	}
	for _, frame := range res.Stack {
		res.Path = append(res.Path, frame.Index)
	}
	iterations, err := l.value(ctx, res, "_iteration_stack")
	if err != nil {
		return err
	}
	if list, _ := iterations.([]any); len(list) > 0 {
		k, ok := list[len(list)-1].(int64)
		if !ok {
			return fmt.Errorf("_iteration_stack holds a %s", pickle.TypeName(list[len(list)-1]))
		}
		res.Iteration = int(k)
	}
	return nil
}

// transition reads how the task went on.
func (l *Loader) transition(ctx context.Context, res *Result) error {
	v, err := l.value(ctx, res, "_transition")
	if err != nil || v == nil {
		return err
	}
	pair, ok := v.(pickle.Tuple)
	if !ok || len(pair) != 2 {
		return fmt.Errorf("_transition is a %s", pickle.TypeName(v))
	}
	taken := &Taken{}
	targets, err := sequence(pair[0])
	if err != nil {
		return fmt.Errorf("_transition: %w", err)
	}
	for _, t := range targets {
		name, _ := t.(string)
		taken.Targets = append(taken.Targets, name)
	}
	if taken.Var, ok = pair[1].(string); ok {
		if err := l.splits(ctx, res, taken); err != nil {
			return err
		}
	}
	res.Next = taken
	return nil
}

func (l *Loader) splits(ctx context.Context, res *Result, taken *Taken) error {
	n, err := l.value(ctx, res, "_foreach_num_splits")
	if err != nil {
		return err
	}
	count, isInt := n.(int64)
	if !isInt {
		gang, err := l.value(ctx, res, "_parallel_ubf_iter")
		if err != nil {
			return err
		}
		if g, ok := gang.(pickle.ParallelUBF); ok {
			taken.Splits = g.NumParallel
		}
		return nil // its members have no values; what there is may be that of a foreach around it
	}
	taken.Splits = int(count)
	values, err := l.value(ctx, res, "_foreach_values")
	if err != nil {
		return err
	}
	list, _ := values.([]any)
	if len(list) != taken.Splits {
		return nil
	}
	for _, v := range list {
		text, _ := v.(string)
		taken.Values = append(taken.Values, text)
	}
	return nil
}

// value decodes one artifact; nil if the task has none of that name.
func (l *Loader) value(ctx context.Context, res *Result, name string) (any, error) {
	art, ok := res.Artifacts[name]
	if !ok {
		return nil, nil
	}
	if v, ok := l.decoded(art.Digest); ok {
		return v, nil
	}
	data, err := l.store.Load(ctx, l.flow, art.Digest)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", name, err)
	}
	v, err := pickle.Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", name, err)
	}
	l.mu.Lock()
	l.known[art.Digest] = v
	l.mu.Unlock()
	return v, nil
}
