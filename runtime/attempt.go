package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime/worker"
)

type osFile = os.File

// attempt is one attempt while it runs.
type attempt struct {
	run     *Run
	task    *Task
	started time.Time

	mu       sync.Mutex // guards produced while payloads are stored in parallel
	produced map[string]datastore.Artifact

	// begun waits until the attempt's start is on record and returns what went wrong with that.
	begun func() error

	// member is the attempt's part in a gang of containers; nil for none.
	member *member

	taken   *Taken
	failure *Failure
	usage   worker.Exit
	logs    map[datastore.Stream]*logWriter
}

// begin puts the attempt's start on record while its process gets ready.
func (a *attempt) begin(ctx context.Context) {
	r, t := a.run, a.task
	var g errgroup.Group
	g.Go(func() error {
		if r.Contained { // an engine may have two containers for one task
			return r.Store.Claim(ctx, t.Ref, t.Attempt, a.started)
		}
		return r.Store.Begin(ctx, t.Ref, t.Attempt, a.started)
	})
	g.Go(func() error { return r.Store.WriteTaskBegin(ctx, t.Ref, t.Attempt, r.Code) })
	a.begun = sync.OnceValue(g.Wait)
}

func (a *attempt) put(name string, art datastore.Artifact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.produced[name] = art
}

// caught reports whether @catch swallows the failure: not while attempts are left.
func (a *attempt) caught() bool {
	_, _, catches := a.task.Step.Catch()
	return catches && a.task.Try >= a.task.Retries && !a.failure.Stopped
}

// fallback is the outcome of an attempt past the user's own: the step's code crashed on every one of them and @catch
// takes over.
func (a *attempt) fallback() *Failure {
	n := a.task.Retries + 1
	if a.task.had > 0 {
		n = min(n, a.task.had)
	}
	msg := fmt.Sprintf("the step's process crashed on each of its %d attempts, without an exception to catch", n)
	return &Failure{Type: "metaflow.plugins.catch_decorator.FailureHandledByCatch", Message: msg}
}

// succeeded reports whether the attempt counts as a success, be it that @catch makes it one. Then it also says how the step
// goes on.
func (a *attempt) succeeded() bool {
	switch {
	case a.failure == nil:
		return true
	case a.task.refused != nil || !a.caught() || a.failure.Type == typeGang || a.failure.Type == NotStarted:
		return false
	case a.failure.Crashed && !a.task.fallback() && !a.task.final:
		return false
	}
	a.taken = a.staticTransition()
	return true
}

// record is the attempt's record, whose blobs are stored first.
func (a *attempt) record(ctx context.Context, ok bool) (datastore.Record, error) {
	artifacts, err := a.artifacts(ctx, ok)
	if err != nil {
		return datastore.Record{}, fmt.Errorf("storing the artifacts of %s: %w", a.task.Ref, err)
	}
	rec := datastore.Record{Attempt: a.task.Attempt, PythonVersion: a.run.PythonVersion, Artifacts: artifacts}
	if a.task.Step.Command != nil {
		rec.PythonVersion = ""
	}
	return rec, nil
}

// errTaken is that another container runs the same attempt, and was the first to say so: its record counts.
var errTaken = errors.New("another container runs the same attempt, and began it earlier")

// finish writes the attempt's record and metadata.
func (a *attempt) finish(ctx context.Context) (Outcome, error) {
	r, t := a.run, a.task
	ok := a.succeeded()
	out := Outcome{Failure: a.failure, Usage: a.usage}
	exit := datastore.Exit{Code: a.usage.Code, Killed: a.failure != nil && a.failure.Stopped, Success: ok}
	if !ok && exit.Code == 0 {
		exit.Code = 1
	}
	var record datastore.Record
	var g errgroup.Group
	g.Go(a.closeLogs)
	if t.before != nil {
		g.Go(t.before)
	}
	if r.Contained {
		g.Go(func() error {
			mine, err := r.Store.Owns(ctx, t.Ref, t.Attempt, a.started)
			if err == nil && !mine {
				err = fmt.Errorf("attempt %d of %s: %w", t.Attempt, t.Ref, errTaken)
			}
			return err
		})
	}
	g.Go(func() error { return r.Store.WriteTaskEnd(ctx, t.Ref, t.Attempt) })
	if !r.Contained {
		g.Go(func() error { return r.Store.WriteRuntime(ctx, t.Ref, t.Attempt, exit) })
	}
	g.Go(func() (err error) {
		record, err = a.record(ctx, ok)
		return err
	})
	if err := g.Wait(); err != nil {
		return Outcome{}, err
	}
	if err := r.Store.Finish(ctx, t.Ref, record); err != nil {
		return Outcome{}, fmt.Errorf("writing the record of %s: %w", t.Ref, err)
	}
	if err := r.Sink.Add(r.Rows.TaskFinished(metadata.TaskRef(t.Ref), t.Attempt, ok, ArtifactRefs(record.Artifacts), r.Now())); err != nil {
		return Outcome{}, err
	}
	if ok {
		out.Result = &Result{
			Ref: t.Ref, Attempt: t.Attempt, Path: t.Path, Iteration: t.Iteration, Stack: t.Stack,
			Artifacts: record.Artifacts, Next: a.taken,
		}
	}
	return out, nil
}

// staticTransition is how a step whose failure was caught goes on: as the source says. A foreach or a switch cannot
// carry @catch; the compiler sees to that.
func (a *attempt) staticTransition() *Taken {
	if a.task.Step.Next == nil {
		return nil
	}
	return &Taken{Targets: a.task.Step.Successors()}
}

// inherited returns what the attempt's artifacts start from: all of the input's for a linear step, the parameters and
// constants alone for a join.
func (a *attempt) inherited() map[string]datastore.Artifact {
	switch {
	case a.task.refused != nil:
		return nil
	case len(a.task.Inputs) == 0:
		return a.run.Parameters.Artifacts
	case !a.task.Step.Join:
		return a.task.Inputs[0].Artifacts
	}
	first := a.task.Inputs[0].Artifacts
	kept := map[string]datastore.Artifact{}
	for name := range a.run.Parameters.Artifacts {
		if art, ok := first[name]; ok && (!strings.HasPrefix(name, "_") || name == "_graph_info") {
			kept[name] = art
		}
	}
	return kept
}

// artifacts is the attempt's whole index: inherited, produced, and the runtime's own.
func (a *attempt) artifacts(ctx context.Context, ok bool) (map[string]datastore.Artifact, error) {
	inherited := a.inherited()
	all := make(map[string]datastore.Artifact, len(inherited)+len(a.produced)+12)
	maps.Copy(all, inherited)
	// These belong to the task that wrote them.
	delete(all, "_catch_exception")
	delete(all, "_parallel_ubf_iter")
	delete(all, "_unbounded_foreach")
	delete(all, "_control_mapper_tasks")
	delete(all, "_control_task_is_mapper_zero")
	maps.Copy(all, a.produced)
	return all, a.run.saveAll(ctx, a.ownValues(ok), all)
}

type ownValue struct {
	name  string
	value any
	typ   string
}

const (
	typeNone  = "<class 'NoneType'>"
	typeBool  = "<class 'bool'>"
	typeInt   = "<class 'int'>"
	typeStr   = "<class 'str'>"
	typeList  = "<class 'list'>"
	typeTuple = "<class 'tuple'>"
	typeDict  = "<class 'dict'>"
	typeExc   = "<class 'metaflow.exception.MetaflowExceptionWrapper'>"
)

// ownValues are the underscore artifacts that the format wants of every task.
func (a *attempt) ownValues(ok bool) []ownValue {
	t := a.task
	iterations := []any{}
	if t.Iteration != ir.NoIteration {
		iterations = append(iterations, int64(t.Iteration))
	}
	values := []ownValue{
		{"_foreach_stack", stackValue(t.Stack), typeList},
		{"_iteration_stack", iterations, typeList},
		{"_current_step", t.Step.Name, typeStr},
		{"_task_ok", ok, typeBool},
		{"_success", ok && a.failure == nil, typeBool},
	}
	var taken *Taken
	if ok {
		taken = a.taken
	}
	values = append(values, transitionValues(taken, t.Step)...)
	if g := t.Gang; ok && g != nil && g.Index == 0 && len(g.Tasks) > 0 {
		members := make([]any, len(g.Tasks))
		for i, task := range g.Tasks {
			members[i] = t.Ref.Run + "/" + t.Ref.Step + "/" + task
		}
		values = append(values, ownValue{"_control_mapper_tasks", members, typeList}, ownValue{"_control_task_is_mapper_zero", true, typeBool})
	}
	exception := ownValue{"_exception", nil, typeNone}
	if a.failure != nil {
		exception = ownValue{"_exception", a.failure.record(), typeExc}
	}
	values = append(values, exception)
	if name, _, catches := t.Step.Catch(); catches && ok {
		caught := ownValue{name, nil, typeNone}
		if a.failure != nil {
			caught = ownValue{name, a.failure.record(), typeExc}
			values = append(values, ownValue{"_catch_exception", a.failure.record(), typeExc})
		}
		if name != "" {
			values = append(values, caught)
		}
	}
	return values
}

// transitionValues are the artifacts that say how the task went on.
func transitionValues(taken *Taken, step *ir.Step) []ownValue {
	none := func(name string) ownValue { return ownValue{name, nil, typeNone} }
	if taken == nil {
		return []ownValue{none("_transition"), none("_foreach_var"), none("_foreach_num_splits")}
	}
	targets := make([]any, len(taken.Targets))
	for i, s := range taken.Targets {
		targets[i] = s
	}
	if taken.Var == "" {
		return []ownValue{
			{"_transition", pickle.Tuple{targets, nil}, typeTuple},
			none("_foreach_var"), none("_foreach_num_splits"),
		}
	}
	values := []ownValue{
		{"_transition", pickle.Tuple{targets, taken.Var}, typeTuple},
		{"_foreach_var", taken.Var, typeStr},
		{"_foreach_num_splits", int64(taken.Splits), typeInt},
		none("_foreach_values"), // not those of a foreach around it
	}
	if step.Next != nil && step.Next.Kind == ir.Parallel {
		// A gang's size is not a number of splits to a reader of the format: it asks the gang's record.
		values[2] = none("_foreach_num_splits")
		return append(values,
			ownValue{"_unbounded_foreach", true, typeBool},
			ownValue{"_parallel_ubf_iter", pickle.ParallelUBF{NumParallel: taken.Splits}, "<class 'metaflow.flowspec.ParallelUBF'>"})
	}
	if taken.Values != nil {
		items := make([]any, len(taken.Values))
		for i, v := range taken.Values {
			items[i] = v
		}
		values[3] = ownValue{"_foreach_values", items, typeList}
	}
	return values
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// shortType drops the module of a built-in exception, and of one of the SDK's own.
func shortType(class string) string {
	if strings.HasPrefix(class, "metaflow.") {
		return class[strings.LastIndex(class, ".")+1:]
	}
	return strings.TrimPrefix(class, "builtins.")
}
