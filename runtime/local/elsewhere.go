package local

import (
	"context"
	"fmt"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// Elsewhere runs attempts on other machines. There, mf-task does what runtime.Run.Execute does here; what came of an
// attempt is read from the datastore, which both see.
type Elsewhere interface {
	// Takes reports whether the tasks of a step run there.
	Takes(step *ir.Step) bool
	// Run runs one attempt, task.Invocation, and returns when nothing of it runs any more. Cancelling ctx stops it:
	// politely, so that it can still write its record. It is called concurrently. An error is the machine's or the
	// connection's, and ends the run; all else is an Ending.
	Run(ctx context.Context, task *runtime.Task) (Ending, error)
}

// Ending is what a place knows of how an attempt ended. Whether the attempt succeeded, the datastore knows better.
type Ending struct {
	// Why says in a line why the attempt never began or was ended from outside, such as "the pod was evicted: …". Empty
	// where its process ended by itself.
	Why string
	// Exit is the exit code of its process; -1 where there is none.
	Exit int
	// Said is what its process said last, in a line; it is shown where there is no better reason.
	Said string
}

// execute runs an attempt where it belongs.
func (s *scheduler) execute(ctx context.Context, t *runtime.Task) (runtime.Outcome, error) {
	if e := s.opt.Elsewhere; e == nil || t.Fallback() || !e.Takes(t.Step) {
		return s.run.Execute(ctx, t)
	}
	return s.executeElsewhere(ctx, t)
}

// lost is the type of the failure of an attempt that could not tell of it itself.
const lost = "mf.Lost"

func (s *scheduler) executeElsewhere(ctx context.Context, t *runtime.Task) (runtime.Outcome, error) {
	if s.opt.RecordElsewhere {
		if err := s.run.RecordStart(t); err != nil {
			return runtime.Outcome{}, err
		}
	}
	ending, err := s.opt.Elsewhere.Run(ctx, t)
	if err != nil {
		return runtime.Outcome{}, fmt.Errorf("running %s: %w", t.Ref, err)
	}
	// A stopped run still writes down how its tasks ended.
	after := context.WithoutCancel(ctx)
	out, started, recorded, err := s.run.Collect(after, t)
	if err != nil {
		return out, err
	}
	if !recorded {
		return s.abandon(after, t, ending, ctx.Err() != nil, started)
	}
	if f := out.Failure; f != nil && out.Result == nil {
		f.Stopped = ctx.Err() != nil
		if ending.Why != "" && !f.Stopped && f.WasEnded() {
			// What the step itself saw of it, a signal, says less. But what it had failed with before stays.
			*f = runtime.Failure{Type: lost, Message: ending.Why, Traceback: f.Traceback}
		}
	}
	if s.opt.RecordElsewhere {
		err = s.run.RecordEnd(after, t, out)
	}
	return out, err
}

// abandon writes down an attempt that left no record.
func (s *scheduler) abandon(ctx context.Context, t *runtime.Task, ending Ending, stopped, started bool) (runtime.Outcome, error) {
	f := &runtime.Failure{Type: lost, Message: ending.Why, Crashed: true, Stopped: stopped}
	if !started {
		f.Type = runtime.NotStarted
	}
	switch {
	case f.Message != "":
	case stopped:
		f.Message = "the run was stopped"
	case ending.Said != "":
		f.Message = fmt.Sprintf("the task ended with exit code %d before it could leave a record: %s", ending.Exit, ending.Said)
	default:
		f.Message = fmt.Sprintf("the task ended with exit code %d and left no record", ending.Exit)
	}
	if !started && !s.opt.RecordElsewhere {
		// It could not tell of its start either.
		if err := s.run.RecordStart(t); err != nil {
			return runtime.Outcome{}, err
		}
	}
	return s.run.Abandon(ctx, t, f, started)
}
