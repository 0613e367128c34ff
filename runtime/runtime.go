// Package runtime executes one attempt of one task: it resolves the inputs, runs the step's process, stores what the
// process produced and writes the attempt's record.
//
// It is the same locally and inside a container: a scheduler or an engine says which task, the datastore says what the
// task starts from. What goes in is a Task, what comes out an Outcome; a user's step that fails is an Outcome with a
// Failure, an error means that the machine failed (disk, datastore).
package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime/worker"
)

// Launcher starts the process of one Python task. It takes over stdout and stderr. The process may have to wait for the flow to
// be loaded: ctx ends that, not the process.
type Launcher interface {
	Launch(ctx context.Context, stdout, stderr *osFile) (*worker.Process, error)
}

// Sink takes metadata rows; it may write them later.
type Sink interface {
	Add(b metadata.Batch) error
}

// Frame is one level of the foreach stack.
type Frame struct {
	// Step is the first step of the foreach's body, Var the artifact split over.
	Step, Var string
	// NumSplits is the number of splits, Index this task's.
	NumSplits, Index int
	// Value is the item in short, as Metaflow keeps it; HasValue is false where it was not recorded.
	Value    string
	HasValue bool
}

// Taken is the transition that a task took.
type Taken struct {
	// Targets are the steps gone on to; one for a switch.
	Targets []string
	// Var is the artifact of a foreach; empty otherwise.
	Var string
	// Splits is the number of splits of a foreach or the size of a gang.
	Splits int
	// Values are the items of a foreach in short; nil if not recorded.
	Values []string
}

// Result is a task that has succeeded: what its successors start from.
type Result struct {
	Ref       datastore.TaskRef
	Attempt   int
	Path      ir.SplitPath
	Iteration int
	Stack     []Frame
	Artifacts map[string]datastore.Artifact
	// Next is nil after the end step.
	Next *Taken
}

// Task is one attempt to execute.
type Task struct {
	Ref  datastore.TaskRef
	Step *ir.Step
	Path ir.SplitPath
	// Iteration is ir.NoIteration but for recursive steps.
	Iteration int
	// Attempt is the number under which the attempt is recorded.
	Attempt int
	// Try counts the attempts of this round, from 0, which decides about retries and @catch. It is less than Attempt where
	// an engine starts anew after all attempts have failed.
	Try   int
	Stack []Frame
	// Inputs are the results the task starts from: none for the start step, one for most, several for a join, in the
	// order of the split.
	Inputs []*Result
	// Retries is the number of attempts that user code gets after the first.
	Retries int
	// had is how many attempts of the task began before this one, where an engine counts more than those; 0 where Try says it.
	had int
	// final is set where the engine has no further attempt, which could record a crash under @catch: this one does it itself.
	final bool
	// Gang places the task in a gang; nil outside.
	Gang *Gang
	// before is waited for ahead of the task's own record; nil for nothing.
	before func() error
	// refused is why the run's parameters cannot be made, a *StartError or a *ParameterError; nil for all is well. The attempt
	// does nothing but record it.
	refused error
}

// fallback reports whether the attempt only records, under @catch, that all of the step's own attempts crashed.
func (t *Task) fallback() bool {
	_, _, catches := t.Step.Catch()
	return catches && t.Try > t.Retries
}

// Gang is a task's place among cooperating tasks.
type Gang struct {
	Size, Index int
	// ControlTaskID is the id of the first member, MainIP where it is reached: this machine if empty.
	ControlTaskID, MainIP string
	// Tasks are the ids of all members, by index; the first one needs them.
	Tasks []string
	// apart is set where the members run in containers of their own, which have to find each other.
	apart bool
}

// Failure says why an attempt failed.
type Failure struct {
	// Type is the exception's class, such as "builtins.ValueError"; empty if there was none.
	Type string
	// Message is one line or several, without the traceback.
	Message string
	// Traceback is the user's own, as Python prints it; empty if there was none.
	Traceback string
	// Crashed is set when the process ended without a word of what came of the step. @catch takes over only after all of
	// the step's attempts then, for there was no exception to catch.
	Crashed bool
	// Signal is the signal that ended the process; 0 if none.
	Signal int
	// Timeout is set when the step ran too long, Stopped when it was told to stop.
	Timeout, Stopped bool
}

// Summary returns one line.
func (f *Failure) Summary() string {
	text := firstLine(f.Message)
	switch {
	case f.Type == "" || strings.HasPrefix(f.Type, "mf."):
		return text // mf's own words say it all
	case text == "":
		return shortType(f.Type)
	}
	return fmt.Sprintf("%s: %s", shortType(f.Type), text)
}

// Outcome is what came of an attempt.
type Outcome struct {
	// Result is set when the attempt counts as a success, be it that @catch made it one.
	Result *Result
	// Failure is set when user code failed, also where @catch swallowed it.
	Failure *Failure
	// Usage is what the process used.
	Usage worker.Exit
}

// Line is one line that a task printed.
type Line struct {
	Task    *Task
	Stream  datastore.Stream
	Time    time.Time
	Text    string
	Message bool // from the runtime itself, not from the user's process
}

// Run is what the tasks of one run share. It is read-only once tasks run.
type Run struct {
	Flow  *ir.Flow
	Graph *ir.Graph
	ID    string
	// Origin is the id of the run that this one resumes; empty for a fresh run.
	Origin string
	Store  *datastore.Store
	Sink   Sink
	Rows   metadata.Env
	// User and Namespace are the values of current.username and current.namespace.
	User, Namespace string
	Tags            []string
	// Project is the flow's project; nil if it has none.
	Project *Project
	// Python starts Python tasks; nil if the flow has none.
	Python Launcher
	// PythonVersion is sys.version of the interpreter; empty if the flow has no Python step.
	PythonVersion string
	// TempDir holds payloads on their way; it exists and is removed by the caller.
	TempDir string
	// Dir is the working directory of command steps: the flow file's folder.
	Dir string
	// Environ is the environment of command steps; TaskEnv is added for command and Python steps alike.
	Environ []string
	TaskEnv map[string]string
	// Contained is set where each task has a container of its own and no scheduler of ours watches it: logs are then
	// named as the task's own, there is no scheduler's note of how the process ended, and what a join will ask for is
	// fetched ahead.
	Contained bool
	// Code says where the code package is; zero where the code lies on this machine.
	Code datastore.CodePackage
	// Warn is told, in one line, of what went wrong without harm to the task; nil to drop it. It is called concurrently.
	Warn func(message string)
	// MaxLogSize bounds each of a task's log streams, in bytes; 0 is no bound.
	MaxLogSize int64
	// Gangs is what tasks of a gang need that run in containers of their own.
	Gangs Gangs
	// Output receives what tasks print; nil to drop it. It is called concurrently.
	Output func(Line)
	// Now is the clock.
	Now func() time.Time
	// Grace is how long a process that was told to stop may take.
	Grace time.Duration
	// Abort, when closed, ends that time at once; nil for never.
	Abort <-chan struct{}
	// Parameters is the result of the _parameters task.
	Parameters *Result

	memo  memo
	blobs blobCache

	collecting sync.Once
	collector  *Loader
}

// warn tells of what did no harm.
func (r *Run) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(fmt.Sprintf(format, args...))
	}
}

// Execute runs one attempt. Cancelling ctx stops the process (politely, then not) and yields a Failure with Stopped set.
func (r *Run) Execute(ctx context.Context, t *Task) (Outcome, error) {
	a := &attempt{run: r, task: t, produced: map[string]datastore.Artifact{}, started: r.Now()}
	beginning := ctx
	if t.refused != nil {
		beginning = context.WithoutCancel(ctx) // what there is to record may be that ctx was done
	}
	a.begin(beginning)
	if err := r.recordStart(t, a.started); err != nil {
		return Outcome{}, errors.Join(err, a.begun())
	}
	a.openLogs(ctx)
	var err error
	switch {
	case t.refused != nil:
		a.refuse(t.refused)
		a.failure.Stopped = ctx.Err() != nil
	case t.fallback():
		err = a.fallBack(ctx)
	case t.Gang != nil && t.Gang.apart:
		err = a.runInGang(ctx)
	default:
		err = a.runStep(ctx)
	}
	err = errors.Join(err, a.begun())
	if err != nil {
		return Outcome{}, fmt.Errorf("running %s: %w", t.Ref, errors.Join(err, a.closeLogs()))
	}
	if a.member != nil {
		if err := a.leaveGang(ctx); err != nil {
			return Outcome{}, fmt.Errorf("running %s: %w", t.Ref, errors.Join(err, a.closeLogs()))
		}
	}
	// A stopped run still writes its record: the user's Ctrl-C must not lose what was produced.
	return a.finish(context.WithoutCancel(ctx))
}

// runStep runs the step's process.
func (a *attempt) runStep(ctx context.Context) error {
	if a.task.Step.Command != nil {
		return a.runCommand(ctx)
	}
	return a.runPython(ctx)
}

func (r *Run) recordStart(t *Task, now time.Time) error {
	ref := metadata.TaskRef(t.Ref)
	b := r.Rows.TaskRegistered(ref, t.Attempt, now)
	b.Add(r.Rows.TaskStarted(ref, t.Attempt, ForeachFrames(t.Stack), now))
	if g := t.Gang; g != nil {
		b.Add(r.Rows.GangMember(ref, t.Attempt, g.Size, g.Index, now))
	}
	return r.Sink.Add(b)
}
