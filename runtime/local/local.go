// Package local schedules a run on this machine.
//
// The scheduler is one goroutine that owns the state of the run and reacts to events: a task has ended, a pause is
// over, the user wants to stop. It starts up to MaxWorkers attempts at a time, each by runtime.Run.Execute in a
// goroutine of its own. Nothing polls.
package local

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// Options bound a run.
type Options struct {
	// MaxWorkers is the number of tasks that run at a time; 0 means DefaultMaxWorkers.
	MaxWorkers int
	// MaxSplits is the widest foreach allowed; 0 means DefaultMaxSplits.
	MaxSplits int
	// Observer hears what happens; nil for none. Its methods are called from one goroutine.
	Observer Observer
	// Origin is the run to resume; nil for a fresh run.
	Origin *Origin
	// RerunStep, with Origin, is a step that is run again along with all that follow it; empty for none.
	RerunStep string
	// NamedTasks gives tasks the names they have in production (runtime.TaskID) instead of numbers, which a metadata
	// service wants to mint itself.
	NamedTasks bool
	// CloneOnly takes over what can be taken over of the origin, and runs nothing: an engine runs the rest.
	CloneOnly bool
	// Elsewhere runs the tasks of some steps on other machines; nil for none. With it, tasks are always named.
	Elsewhere Elsewhere
	// RecordElsewhere has the scheduler record the metadata of tasks that run elsewhere, where they cannot do so themselves:
	// metadata is kept on this machine.
	RecordElsewhere bool
}

// named reports whether tasks have names.
func (o *Options) named() bool { return o.NamedTasks || o.Elsewhere != nil }

// The defaults, as in Metaflow.
const (
	DefaultMaxWorkers = 16
	DefaultMaxSplits  = 100
)

// Observer hears what happens in a run.
type Observer interface {
	// TaskStarted is called when an attempt starts, TaskCloned when a task of the origin is taken over instead.
	TaskStarted(t *runtime.Task)
	TaskCloned(ref datastore.TaskRef, origin datastore.TaskRef)
	// TaskEnded is called when an attempt has ended. retry is the pause before the next attempt; negative if there is
	// none.
	TaskEnded(t *runtime.Task, out runtime.Outcome, took, retry time.Duration)
	// Progress is called after every change.
	Progress(p Progress)
}

// Progress counts tasks. Known is the number of tasks known to be needed so far.
type Progress struct {
	Known, Done, Running, Failed int
}

// FailedTask is a task that failed for good.
type FailedTask struct {
	Task    *runtime.Task
	Failure *runtime.Failure
}

// Report is what came of a run.
type Report struct {
	// End is the end step's result; nil if the run did not get there.
	End *runtime.Result
	// Failed lists the tasks that failed for good, in the order they did.
	Failed []FailedTask
	// Stopped is set when the run was told to stop.
	Stopped bool
	// Executed and Cloned count tasks.
	Executed, Cloned int
	// Taken are the tasks that were taken over, each after those before it; only Session.Prepare fills it in.
	Taken []*runtime.Result
	// Unrecorded says why some metadata could not be delivered; nil if all was. The datastore has everything all the same.
	Unrecorded error
}

// RunError is a mistake of the flow that shows only while it runs, such as a foreach that is too wide.
type RunError struct{ Message string }

// Error implements error.
func (e *RunError) Error() string { return e.Message }

// pending is a task that is to run.
type pending struct {
	task  *runtime.Task
	dirty bool // some input was run anew, so that the origin's task is of no use
	began bool // the step's code has run in an attempt
}

// join collects the inputs of a join that is not complete.
type join struct {
	step   *ir.Step
	path   ir.SplitPath
	stack  []runtime.Frame
	inputs []*runtime.Result // by index of the split, or by branch
	left   int
	dirty  bool
}

type scheduler struct {
	run  *runtime.Run
	opt  Options
	plan *plan

	ready   []*pending
	joins   map[string]*join
	running int
	paused  int
	nextID  int
	events  chan func()
	report  Report
	count   Progress
	err     error
	stopped bool
}

// Execute runs the flow to its end. r.Parameters must be set; task ids continue from its id. A failed step is in the
// Report; an error is a *RunError or the machine's. Cancelling ctx stops the run: running tasks get r.Grace to end.
func Execute(ctx context.Context, r *runtime.Run, opt Options) (Report, error) {
	if opt.MaxWorkers <= 0 {
		opt.MaxWorkers = DefaultMaxWorkers
	}
	if opt.MaxSplits <= 0 {
		opt.MaxSplits = DefaultMaxSplits
	}
	if opt.Observer == nil {
		opt.Observer = nobody{}
	}
	s := &scheduler{
		run: r, opt: opt, plan: newPlan(r.Graph), joins: map[string]*join{},
		events: make(chan func(), opt.MaxWorkers+1),
	}
	if n, err := strconv.Atoi(r.Parameters.Ref.Task); err == nil {
		s.nextID = n + 1
	}
	s.enqueue(r.Flow.Start, nil, ir.NoIteration, nil, nil, false, nil)
	s.loop(ctx)
	s.report.Stopped = s.stopped
	return s.report, s.err
}

// loop runs until nothing is left to do.
func (s *scheduler) loop(ctx context.Context) {
	done := ctx.Done()
	for {
		for !s.halted() && len(s.ready) > 0 && s.running < s.opt.MaxWorkers {
			if s.takeOver(ctx) {
				continue
			}
			next := s.ready[0]
			s.ready[0] = nil
			s.ready = s.ready[1:]
			s.begin(ctx, next)
		}
		if s.running == 0 && (s.halted() || s.paused == 0) {
			return
		}
		select {
		case event := <-s.events:
			event()
		case <-done:
			done = nil
			s.stopped = true
		}
	}
}

// halted reports whether no further task may start.
func (s *scheduler) halted() bool {
	return s.stopped || s.err != nil || len(s.report.Failed) > 0
}

// begin starts an attempt.
func (s *scheduler) begin(ctx context.Context, p *pending) {
	if s.opt.CloneOnly {
		return
	}
	s.running++
	s.count.Running++
	s.opt.Observer.TaskStarted(p.task)
	s.opt.Observer.Progress(s.count)
	started := s.run.Now()
	go func() {
		out, err := s.execute(ctx, p.task)
		s.events <- func() { s.ended(p, out, err, s.run.Now().Sub(started)) }
	}()
}

// ended handles the end of an attempt.
func (s *scheduler) ended(p *pending, out runtime.Outcome, err error, took time.Duration) {
	s.running--
	s.count.Running--
	t := p.task
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return
	}
	if out.Result != nil {
		s.report.Executed++
		s.count.Done++
		s.opt.Observer.TaskEnded(t, out, took, -1)
		s.opt.Observer.Progress(s.count)
		s.advance(t.Step, out.Result, true)
		return
	}
	pause := time.Duration(-1)
	p.began = p.began || out.Failure.Type != runtime.NotStarted
	// Past the step's own attempts it is @catch that goes on, which does not speak for a step that never ran.
	if !out.Failure.Stopped && !s.stopped && t.Attempt+1 < attempts(t.Step) && (t.Attempt < t.Retries || p.began) {
		if pause = 0; t.Attempt < t.Retries {
			_, pause = t.Step.Retry()
		}
	}
	s.opt.Observer.TaskEnded(t, out, took, pause)
	if pause < 0 {
		s.report.Failed = append(s.report.Failed, FailedTask{Task: t, Failure: out.Failure})
		s.count.Failed++
		s.opt.Observer.Progress(s.count)
		return
	}
	s.retry(p, pause)
}

// retry starts the next attempt after the pause.
func (s *scheduler) retry(p *pending, pause time.Duration) {
	next := *p.task
	next.Attempt++
	next.Try++
	again := func() { s.ready = append(s.ready, &pending{task: &next, dirty: p.dirty, began: p.began}) }
	if pause == 0 {
		again()
		return
	}
	s.paused++
	time.AfterFunc(pause, func() {
		s.events <- func() {
			s.paused--
			again()
		}
	})
}

// attempts is the number of attempts of a step: its own and, under @catch, those of the fallback.
func attempts(step *ir.Step) int {
	times, _ := step.Retry()
	n := 1 + times
	if _, _, catches := step.Catch(); catches {
		n += catchAttempts
	}
	return min(n, datastore.MaxAttempts)
}

// catchAttempts is the number of further attempts that @catch has, to record a step that crashed on all of its own.
const catchAttempts = 3

// enqueue makes a task ready.
func (s *scheduler) enqueue(step string, path ir.SplitPath, iteration int, stack []runtime.Frame, inputs []*runtime.Result,
	dirty bool, gang *runtime.Gang) {
	st := s.run.Graph.Step(step)
	times, _ := st.Retry()
	id := s.taskID(s.nextID, path, iteration)
	task := &runtime.Task{
		Ref:  datastore.TaskRef{Flow: s.run.Flow.Name, Run: s.run.ID, Step: step, Task: id},
		Step: st, Path: path, Iteration: iteration, Stack: stack, Inputs: inputs, Retries: times, Gang: gang,
	}
	s.nextID++
	s.count.Known++
	s.ready = append(s.ready, &pending{task: task, dirty: dirty || step == s.opt.RerunStep})
}

// taskID is the id of a task: its place in the order of tasks, or where they have names, its name.
func (s *scheduler) taskID(number int, path ir.SplitPath, iteration int) string {
	if s.opt.named() {
		return runtime.TaskID(path, iteration)
	}
	return strconv.Itoa(number)
}

// fail records a mistake of the flow that shows only now.
func (s *scheduler) fail(format string, args ...any) {
	if s.err == nil {
		s.err = &RunError{fmt.Sprintf(format, args...)}
	}
}

type nobody struct{}

func (nobody) TaskStarted(*runtime.Task)                                              {}
func (nobody) TaskCloned(datastore.TaskRef, datastore.TaskRef)                        {}
func (nobody) TaskEnded(*runtime.Task, runtime.Outcome, time.Duration, time.Duration) {}
func (nobody) Progress(Progress)                                                      {}
