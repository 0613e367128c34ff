package runtime

import (
	"cmp"
	"context"
	"errors"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

// place is a task's place in a gang of an engine.
func (r *Run) place(path ir.SplitPath, size int) *Gang {
	g := &Gang{Size: size, Index: path[len(path)-1], MainIP: r.Gangs.Address, apart: size > 1}
	g.ControlTaskID = TaskID(path.Parent().Child(0), ir.NoIteration)
	if g.Index == 0 {
		g.Tasks = make([]string, size)
		for i := range g.Tasks {
			g.Tasks[i] = TaskID(path.Parent().Child(i), ir.NoIteration)
		}
	}
	return g
}

func (g *Gang) mainIP() string { return cmp.Or(g.MainIP, "127.0.0.1") }

// runInGang runs the step once all members are there.
func (a *attempt) runInGang(ctx context.Context) error {
	err := a.enterGang(ctx)
	if err == nil {
		watched, stop := a.member.watch(ctx)
		err = a.runStep(watched)
		if cause := context.Cause(watched); err == nil && a.failure != nil && ctx.Err() == nil {
			err = cause // which the step was stopped for
		}
		stop()
	}
	return a.gangFailed(ctx, err)
}

// gangFailed makes a failure of the step of what keeps its gang from going on; other errors stay.
func (a *attempt) gangFailed(ctx context.Context, err error) error {
	var gone *gangError
	switch {
	case errors.As(err, &gone):
		a.failure = &Failure{Type: typeGang, Message: gone.message}
	case err != nil && ctx.Err() != nil:
		a.failure = &Failure{Type: typeGang, Message: "the task was told to stop", Stopped: true}
	default:
		return err
	}
	a.note("%s", a.failure.Message)
	return nil
}

// leaveGang waits for the others where the step has ended well, and tells them where it has not.
func (a *attempt) leaveGang(ctx context.Context) error {
	lasting := context.WithoutCancel(ctx)
	if a.succeeded() {
		rec, err := a.record(lasting, true)
		if err == nil {
			err = a.run.Store.WriteRecord(lasting, a.task.Ref, rec)
		}
		if err == nil {
			err = a.member.end(ctx)
		}
		if err := a.gangFailed(ctx, err); err != nil {
			return errors.Join(err, a.member.leave(lasting, &Failure{Message: err.Error()}))
		}
	}
	if a.succeeded() {
		return a.member.leave(lasting, nil)
	}
	return a.member.leave(lasting, a.failure)
}

// confirm marks an attempt as done that is a member of a gang of which all have ended well, and whose container went away
// before it could do so itself.
func (i *Invocation) confirm(ctx context.Context, ref datastore.TaskRef, t *Task, attempt int) (done bool, err error) {
	leader, err := readMember(ctx, i.Run.Store, gangFolderOf(ref, t.Path), 0)
	index := t.Gang.Index
	if err != nil || leader.Phase != phaseComplete || len(leader.Members) <= index || leader.Members[index] != attempt {
		return false, err
	}
	return true, i.Run.Store.MarkDone(ctx, ref, attempt)
}
