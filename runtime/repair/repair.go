// Package repair rebuilds the metadata of runs from the datastore, which is the truth about what tasks produced.
//
// It adds what metadata lacks, as the run itself would have recorded it and with the times of the attempts, and changes
// nothing that is there but the status of a run that has none. A second repair finds nothing to do.
package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

// Metadata is what is repaired.
type Metadata interface {
	metadata.Recorder
	metadata.Reader
}

// Options change a repair.
type Options struct {
	// Now is the time: a run whose heart has beaten within Alive before it is left alone.
	Now time.Time
	// DryRun finds out what is to be added, and adds nothing.
	DryRun bool
	// Refresh reads a run that nobody records, as an engine makes them where there is no metadata service: also while it
	// goes on, and what was found of its status before is found anew. It counts as failed when a task's last attempt has
	// failed and nothing has happened since for the time of Alive: until then it may be tried again.
	Refresh bool
	// User is the owner to note on a run that has to be created, for the datastore does not know; empty for none.
	User string
}

// Alive is the age of a heartbeat up to which a run that has not ended counts as running.
const Alive = time.Minute

// The kinds of changes.
const (
	KindRun       = "run"
	KindStep      = "step"
	KindTask      = "task"
	KindMetadata  = "metadata"
	KindArtifacts = "artifacts"
	KindStatus    = "status"
)

// Change is something that metadata lacked.
type Change struct {
	// Path is the pathspec of the run, step or task.
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Names are the fields or artifacts, each with its attempt ("1:attempt_ok"), or the new status.
	Names []string `json:"names,omitempty"`
}

// Report says what a repair did, or would do.
type Report struct {
	Flow string `json:"flow"`
	Run  string `json:"run"`
	// Tasks is the number of tasks in the datastore.
	Tasks   int      `json:"tasks"`
	Changes []Change `json:"changes"`
	// Skipped says why the run was left alone; empty otherwise.
	Skipped string `json:"skipped,omitempty"`
	// Problems are what could not be repaired, one line each.
	Problems []string `json:"problems,omitempty"`
}

// readers is how many tasks are read at a time: on an object store each costs a few round trips.
const readers = 16

// batchTasks is the number of tasks that are recorded together.
const batchTasks = 100

// Run repairs one run. The error is datastore.ErrNotFound if the datastore has no task of it.
func Run(ctx context.Context, store *datastore.Store, rec Metadata, flow, run string, opt Options) (Report, error) {
	r := &repair{store: store, rec: rec, opt: opt, report: Report{Flow: flow, Run: run, Changes: []Change{}}}
	if err := r.run(ctx); err != nil {
		return r.report, fmt.Errorf("repairing %s/%s: %w", flow, run, err)
	}
	return r.report, nil
}

// repair is one call of Run.
type repair struct {
	store  *datastore.Store
	rec    Metadata
	opt    Options
	report Report

	row   metadata.Run
	known bool // whether row is in metadata
	have  *present
	env   environment
	tasks []*task
}

func (r *repair) run(ctx context.Context) error {
	refs, err := runtime.Tasks(ctx, r.store, r.report.Flow, r.report.Run, "")
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return fmt.Errorf("its tasks: %w", datastore.ErrNotFound)
	}
	r.report.Tasks = len(refs)
	if err := r.readRow(ctx); err != nil {
		return err
	}
	if r.known && !r.opt.Refresh && r.row.Status != metadata.Succeeded && r.row.Status != metadata.Failed && r.row.Status != metadata.Interrupted {
		last := max(r.row.TsEpoch, r.row.LastHeartbeat*1000)
		if age := r.opt.Now.Sub(time.UnixMilli(last)); age < Alive {
			r.report.Skipped = "it is still running"
			return nil
		}
	}
	if err := r.readTasks(ctx, refs); err != nil {
		return err
	}
	if r.have, err = readPresent(ctx, r.rec, r.report.Flow, r.report.Run); err != nil {
		return err
	}
	if err := r.readEnvironment(ctx); err != nil {
		return err
	}
	if done, err := r.createRun(ctx); err != nil || !done {
		return err
	}
	if err := r.record(ctx); err != nil {
		return err
	}
	return r.setStatus(ctx)
}

func (r *repair) path() string { return r.report.Flow + "/" + r.report.Run }

func (r *repair) change(path, kind string, names ...string) {
	r.report.Changes = append(r.report.Changes, Change{path, kind, names})
}

func (r *repair) problem(format string, args ...any) {
	r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
}

func (r *repair) readRow(ctx context.Context) error {
	row, err := r.rec.Run(ctx, r.report.Flow, r.report.Run)
	if errors.Is(err, metadata.ErrNotFound) {
		r.row = metadata.Run{FlowID: r.report.Flow, RunID: r.report.Run, UserName: r.opt.User}
		return nil
	}
	r.row, r.known = row, err == nil
	return err
}

// readTasks reads what the datastore has of each task.
func (r *repair) readTasks(ctx context.Context, refs []datastore.TaskRef) error {
	r.tasks = make([]*task, len(refs))
	var group errgroup.Group
	group.SetLimit(readers)
	for i, ref := range refs {
		group.Go(func() (err error) {
			r.tasks[i], err = readTask(ctx, r.store, ref)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.tasks = slices.DeleteFunc(r.tasks, func(t *task) bool { return len(t.attempts) == 0 })
	for _, t := range r.tasks {
		r.report.Problems = append(r.report.Problems, t.problems...)
	}
	// In the order in which they began, as the run recorded them.
	slices.SortStableFunc(r.tasks, func(a, b *task) int { return a.begun().Compare(b.begun()) })
	return nil
}

// createRun makes sure that the run is there. It reports false where it cannot be.
func (r *repair) createRun(ctx context.Context) (bool, error) {
	if r.known || len(r.tasks) == 0 {
		return r.known, nil
	}
	r.row.TsEpoch = r.tasks[0].begun().UnixMilli()
	r.row.SystemTags = r.env.knownTags()
	if !r.opt.DryRun {
		made, err := r.rec.CreateRun(ctx, r.row)
		switch {
		case errors.Is(err, metadata.ErrUnavailable), errors.Is(err, metadata.ErrDenied), errors.Is(err, metadata.ErrExists):
			return false, err
		case err != nil && ctx.Err() != nil:
			return false, err
		case err != nil:
			r.problem("%s is not registered, and cannot be registered under that id: %v", r.path(), err)
			return false, nil
		case made.RunID != r.row.RunID:
			r.problem("%s is not registered, and was registered as %s: metadata chooses the numbers of runs itself", r.path(), made.RunID)
			return false, nil
		}
	}
	r.change(r.path(), KindRun)
	return true, nil
}

// record adds the rows that are missing.
func (r *repair) record(ctx context.Context) error {
	steps := map[string]bool{}
	for chunk := range slices.Chunk(r.tasks, batchTasks) {
		var batch metadata.Batch
		for _, t := range chunk {
			batch.Add(r.missing(t, steps))
		}
		if batch.Empty() || r.opt.DryRun {
			continue
		}
		if err := r.rec.Record(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// missing returns the rows of a task that are not there, and notes them in the report.
func (r *repair) missing(t *task, steps map[string]bool) metadata.Batch {
	want := r.rows(t)
	var lacks metadata.Batch
	path := t.ref.String()
	if !r.have.tasks[taskKey{t.ref.Step, t.ref.Task}] {
		lacks.Tasks = want.Tasks[:1]
		lacks.Steps = want.Steps[:1]
		if !r.have.steps[t.ref.Step] && !steps[t.ref.Step] {
			steps[t.ref.Step] = true
			r.change(r.path()+"/"+t.ref.Step, KindStep)
		}
		r.change(path, KindTask)
	}
	var names []string
	for _, m := range want.Metadata {
		if r.have.metadata[metadataKey(&m)] || r.env.unknown(&m) {
			continue
		}
		lacks.Metadata = append(lacks.Metadata, m)
		names = append(names, strings.TrimPrefix(strings.Join(append(slices.Clone(m.Tags), m.FieldName), ":"), "attempt_id:"))
	}
	if len(names) > 0 {
		r.change(path, KindMetadata, names...)
	}
	names = nil
	for _, a := range want.Artifacts {
		if r.have.artifacts[artifactKey{t.ref.Step, t.ref.Task, a.AttemptID, a.Name}] {
			continue
		}
		lacks.Artifacts = append(lacks.Artifacts, a)
		names = append(names, fmt.Sprintf("%d:%s", a.AttemptID, a.Name))
	}
	if len(names) > 0 {
		r.change(path, KindArtifacts, names...)
	}
	return lacks
}

// rows are those that the run would have recorded of a task.
func (r *repair) rows(t *task) metadata.Batch {
	ref := metadata.TaskRef(t.ref)
	var b metadata.Batch
	for i := range t.attempts {
		a := &t.attempts[i]
		env := r.env.of(a)
		artifacts := runtime.ArtifactRefs(a.record.Artifacts)
		if t.ref.Step == metadata.ParametersStep {
			if a.done {
				b.Add(env.ParametersTask(ref, r.env.start, r.env.end, artifacts, a.begun))
			}
			continue
		}
		b.Add(env.TaskRegistered(ref, a.number, a.begun))
		if r.have.clones[taskKey{t.ref.Step, t.ref.Task}] {
			b.Metadata = append(b.Metadata, cloneAttempt(ref, env.User, a.begun)) // it has its origin, and needs no more
		} else {
			b.Add(env.TaskStarted(ref, a.number, a.frames, a.begun))
		}
		if a.done {
			b.Add(env.TaskFinished(ref, a.number, a.ok, artifacts, a.ended))
		}
	}
	if len(b.Tasks) == 0 { // an unfinished _parameters
		b.Add(r.env.TaskRegistered(ref, t.attempts[0].number, t.begun()))
	}
	return b
}

// cloneAttempt is the row that says which attempt a clone is: always the first.
func cloneAttempt(t metadata.TaskRef, user string, at time.Time) metadata.Metadatum {
	return metadata.Metadatum{
		FlowID: t.Flow, RunID: t.Run, StepName: t.Step, TaskID: t.Task, FieldName: "attempt", Type: "attempt", Value: "0",
		Tags: []string{"attempt_id:0"}, UserName: user, TsEpoch: at.UnixMilli(),
	}
}

// setStatus derives how the run ended where metadata does not say.
func (r *repair) setStatus(ctx context.Context) error {
	if r.row.Status != "" && r.row.Status != metadata.Running && !r.opt.Refresh {
		return nil
	}
	status := metadata.Run{FlowID: r.report.Flow, RunID: r.report.Run}
	for _, t := range r.tasks {
		last := t.latest()
		if last == nil || !last.done {
			continue
		}
		ended := last.ended.UnixMilli()
		switch {
		case t.ref.Step == r.env.end && last.ok:
			status.Status, status.FinishedMs, status.Failure = metadata.Succeeded, ended, ""
		case last.ok || t.ref.Step == metadata.ParametersStep || status.Status == metadata.Succeeded:
		case status.Status == "":
			why, err := r.failure(ctx, t.ref)
			if err != nil {
				return err
			}
			status.Status, status.FinishedMs, status.Failure = metadata.Failed, ended, why
		case status.Status == metadata.Failed:
			status.FinishedMs = max(status.FinishedMs, ended)
		}
	}
	if r.opt.Refresh && status.Status != metadata.Succeeded && r.opt.Now.Sub(r.lastSeen()) < Alive {
		status.Status, status.FinishedMs, status.Failure = metadata.Running, 0, ""
	}
	if status.Status == "" || status.Status == r.row.Status && r.opt.Refresh {
		return nil
	}
	r.change(r.path(), KindStatus, string(status.Status))
	if r.opt.DryRun {
		return nil
	}
	return r.rec.UpdateRun(ctx, status)
}

// lastSeen is when the last attempt began or ended.
func (r *repair) lastSeen() (last time.Time) {
	for _, t := range r.tasks {
		for i := range t.attempts {
			for _, at := range []time.Time{t.attempts[i].begun, t.attempts[i].ended} {
				if at.After(last) {
					last = at
				}
			}
		}
	}
	return last
}

// failure is one line on why a task failed.
func (r *repair) failure(ctx context.Context, ref datastore.TaskRef) (string, error) {
	state, err := runtime.NewLoader(r.store, ref.Flow).State(ctx, ref)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil || state.Failure == "" {
		return "step " + ref.Step + " failed", nil //nolint:nilerr // what cannot be read any more does not keep the status out
	}
	return "step " + ref.Step + " failed: " + state.Failure, nil
}
