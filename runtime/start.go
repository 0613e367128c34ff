package runtime

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/mf-run/mf/runtime/worker"
)

// MetaflowVersion is the version of Metaflow that readers of our runs are told to assume: its formats are the ones we
// write.
const MetaflowVersion = "2.19.39"

// StartError is what a Launcher returns where no process can run the step for a reason that lies with the flow or its
// container, or since the task is to stop: no interpreter, code that ends it. It is the step's failure, not the machine's.
type StartError struct {
	// Message is one line.
	Message string
	// Output is what was printed about it; it may be empty.
	Output string
	// Err is what it goes back to, if that matters: that of a context.
	Err error
}

// Error implements error.
func (e *StartError) Error() string { return e.Message }

// Unwrap returns Err.
func (e *StartError) Unwrap() error { return e.Err }

// launch starts a Python process. That ctx is done ahead of it is a *StartError.
func (r *Run) launch(ctx context.Context, stdout, stderr *osFile) (*worker.Process, error) {
	p, err := r.Python.Launch(ctx, stdout, stderr)
	var start *StartError
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.As(err, &start) {
		err = &StartError{Message: "the task was told to stop before its process had started", Err: ctx.Err()}
	}
	return p, err
}

// NotStarted is the type of the failure of a step whose code never ran: nothing for @catch to speak for.
const NotStarted = "mf.NotStarted"

// fallBack records what @catch makes of a step that crashed on all of its attempts. A step whose flow cannot be loaded here is
// taken for one that never ran in the others either.
func (a *attempt) fallBack(ctx context.Context) error {
	if a.task.Step.Command == nil {
		err := a.run.loads(ctx)
		var start *StartError
		if errors.As(err, &start) {
			a.notStarted(start)
			a.failure.Stopped = ctx.Err() != nil
			return nil
		}
		if err != nil {
			return err
		}
	}
	a.failure = a.fallback()
	return nil
}

// loads starts a Python process that is given nothing to do.
func (r *Run) loads(ctx context.Context) error {
	var nowhere [2]*osFile
	for i := range nowhere {
		f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		nowhere[i] = f
	}
	p, err := r.launch(ctx, nowhere[0], nowhere[1])
	if err != nil {
		return err
	}
	p.Kill()
	p.Wait()
	p.Conn.Close()
	return nil
}

// notStarted makes a failure of the step of what kept its process from starting.
func (a *attempt) notStarted(e *StartError) {
	if e.Output != "" {
		a.note("%s", strings.TrimRight(e.Output, "\n"))
	}
	a.note("%s", e.Message)
	a.failure = &Failure{Type: NotStarted, Message: e.Message, Crashed: true}
}

// refuse makes a failure of the step of what kept the run's parameters from being made.
func (a *attempt) refuse(err error) {
	var start *StartError
	if errors.As(err, &start) {
		a.notStarted(start)
		return
	}
	a.note("%s", err)
	a.failure = &Failure{Type: "mf.BadParameter", Message: err.Error()}
}
