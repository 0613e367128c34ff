package repair_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/repair"
)

// world is a datastore and the metadata of what ran in it.
type world struct {
	t     *testing.T
	ctx   context.Context
	store *datastore.Store
	meta  *sqlite.Store
	db    string
	env   metadata.Env
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	backend, err := local.Open(filepath.Join(dir, ".metaflow"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, ctx: t.Context(), store: datastore.New(backend), db: filepath.Join(dir, "metadata.db"),
		now: time.Now().Add(-time.Hour).Truncate(time.Millisecond),
	}
	w.env = metadata.Env{
		User: "ann", PythonVersion: "3.11.7", MetaflowVersion: "2.19.39", Tags: []string{"t"}, SystemTags: []string{"project:p"},
		DsType: backend.Type(), DsRoot: backend.Root(), ScriptName: "flow.py",
		CodePackage: &metadata.CodePackage{DsType: "local", Sha: "ab", Location: "x/ab", Metadata: "{}"},
	}
	if w.meta, err = sqlite.Open(t.Context(), w.db, sqlite.Options{Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.ok(w.meta.Close()) })
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) same(got, want any) {
	w.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		w.t.Fatalf("-want +got:\n%s", diff)
	}
}

// artifacts stores values, as a task's process would.
func (w *world) artifacts(values map[string]any) map[string]datastore.Artifact {
	w.t.Helper()
	arts := map[string]datastore.Artifact{}
	for name, v := range values {
		data, err := pickle.Marshal(v)
		w.ok(err)
		digest, err := w.store.SaveBytes(w.ctx, "F", data)
		w.ok(err)
		arts[name] = datastore.Artifact{Digest: digest, Size: int64(len(data)), Type: "<class 'x'>", Encoding: "pickle-v4"}
	}
	return arts
}

// attempt runs an attempt of a task: in the datastore, and as rows.
func (w *world) attempt(run, step, id string, number int, values map[string]any) metadata.Batch {
	w.t.Helper()
	ref := datastore.TaskRef{Flow: "F", Run: run, Step: step, Task: id}
	w.ok(w.store.Begin(w.ctx, ref, number, w.now))
	w.ok(w.store.WriteTaskBegin(w.ctx, ref, number, datastore.CodePackage{Metadata: "{}", Digest: "ab", StoreType: "local", URL: "x/ab"}))
	arts := w.artifacts(values)
	rec := datastore.Record{Attempt: number, PythonVersion: "3.11.7 (main)", Artifacts: arts}
	w.ok(w.store.Finish(w.ctx, ref, rec))
	if step == metadata.ParametersStep {
		return w.env.ParametersTask(metadata.TaskRef(ref), "begin", "finish", runtime.ArtifactRefs(arts), w.now)
	}
	var frames []metadata.ForeachFrame
	if _, ok := values["_foreach_stack"]; ok {
		frames = []metadata.ForeachFrame{{Step: "body", Var: "xs", Index: 2, Value: "two"}}
	}
	b := w.env.TaskRegistered(metadata.TaskRef(ref), number, w.now)
	b.Add(w.env.TaskStarted(metadata.TaskRef(ref), number, frames, w.now))
	b.Add(w.env.TaskFinished(metadata.TaskRef(ref), number, values["_task_ok"] == true, runtime.ArtifactRefs(arts), w.now))
	return b
}

// run makes a run of three steps, one of them within a foreach and with a retry.
func (w *world) run(id string) {
	w.t.Helper()
	row := w.env.Run("F", id)
	row.TsEpoch = w.now.UnixMilli()
	_, err := w.meta.CreateRun(w.ctx, row)
	w.ok(err)
	graph := pickle.Dict{{Key: "start_step", Value: "begin"}, {Key: "end_step", Value: "finish"}}
	b := w.attempt(id, "_parameters", "0", 0, map[string]any{"_graph_info": graph, "alpha": 1.5})
	b.Add(w.attempt(id, "begin", "1", 0, map[string]any{"x": "one", "_task_ok": true, "name": "begin"}))
	stack := []any{pickle.ForeachFrame{Step: "body", Var: "xs", NumSplits: int64(3), Index: int64(2), Value: "two"}}
	b.Add(w.attempt(id, "body", "2", 0, map[string]any{"_task_ok": false, "_foreach_stack": stack, "half": "done"}))
	b.Add(w.attempt(id, "body", "2", 1, map[string]any{"_task_ok": true, "_foreach_stack": stack, "x": "two"}))
	b.Add(w.attempt(id, "finish", "named", 0, map[string]any{"_task_ok": true}))
	w.ok(w.meta.Record(w.ctx, b))
	w.ok(w.meta.UpdateRun(w.ctx, metadata.Run{FlowID: "F", RunID: id, Status: metadata.Succeeded, FinishedMs: w.now.UnixMilli()}))
}

// sql changes the metadata behind the store's back.
func (w *world) sql(statements ...string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", w.db)
	w.ok(err)
	for _, s := range statements {
		_, err := db.ExecContext(w.ctx, s)
		w.ok(err)
	}
	w.ok(db.Close())
}

// dump is all that metadata has of a run, the times of ends left out: those come from the files.
func (w *world) dump(run string) []string {
	w.t.Helper()
	var lines []string
	row, err := w.meta.Run(w.ctx, "F", run)
	w.ok(err)
	lines = append(lines, fmt.Sprint("run ", row.UserName, row.Tags, row.SystemTags, row.Status, row.FinishedMs > 0, row.TsEpoch, row.Failure))
	tasks, err := w.meta.Tasks(w.ctx, "F", run, "")
	w.ok(err)
	for _, t := range tasks {
		lines = append(lines, fmt.Sprint("task ", t.StepName, t.TaskID, t.UserName, t.TsEpoch))
	}
	data, err := w.meta.Metadata(w.ctx, "F", run, "", "")
	w.ok(err)
	for _, m := range data {
		at := m.TsEpoch
		if m.FieldName == "attempt_ok" || m.FieldName == "attempt-done" && m.StepName != metadata.ParametersStep {
			at = 0
		}
		lines = append(lines, fmt.Sprint("metadata ", m.StepName, m.TaskID, m.FieldName, m.Type, m.Value, m.Tags, m.UserName, at))
	}
	artifacts, err := w.meta.Artifacts(w.ctx, "F", run, "", "")
	w.ok(err)
	for _, a := range artifacts {
		lines = append(lines, fmt.Sprint("artifact ", a.StepName, a.TaskID, a.AttemptID, a.Name, a.Location, a.DsType, a.Sha, a.Type, a.ContentType))
	}
	slices.Sort(lines)
	return lines
}

func (w *world) repair(run string, dry bool) repair.Report {
	w.t.Helper()
	r, err := repair.Run(w.ctx, w.store, w.meta, "F", run, repair.Options{Now: time.Now(), DryRun: dry, User: "ann"})
	w.ok(err)
	return r
}

// nothing checks that a repair finds nothing to do.
func (w *world) nothing(run string) {
	w.t.Helper()
	r := w.repair(run, false)
	w.same(len(r.Changes), 0)
	w.same(r.Problems, []string(nil))
	w.same(r.Skipped, "")
}

func TestWholeRunsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.run("7")
	want := w.dump("7")
	w.nothing("7")
	w.same(w.dump("7"), want)
}

func TestRowsThatAreMissing(t *testing.T) {
	for name, statements := range map[string][]string{
		"everything of tasks": {"DELETE FROM artifact_v3", "DELETE FROM metadata_v3", "DELETE FROM tasks_v3", "DELETE FROM steps_v3"},
		"a step": {
			"DELETE FROM artifact_v3 WHERE step_name = 'body'", "DELETE FROM metadata_v3 WHERE step_name = 'body'",
			"DELETE FROM tasks_v3 WHERE step_name = 'body'", "DELETE FROM steps_v3 WHERE step_name = 'body'",
		},
		"the ends of attempts": {
			"DELETE FROM artifact_v3 WHERE attempt_id = 1", "DELETE FROM metadata_v3 WHERE field_name IN ('attempt_ok', 'attempt-done')",
		},
		"some metadata":  {"DELETE FROM metadata_v3 WHERE id % 3 = 0"},
		"some artifacts": {"DELETE FROM artifact_v3 WHERE name IN ('x', '_task_ok')"},
		"the status":     {"DELETE FROM mf_runs"},
		"the end":        {"UPDATE mf_runs SET status = 'running', finished = 0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run("7")
			want := w.dump("7")
			if name == "everything of tasks" { // what is in the rows only cannot come back
				want = slices.DeleteFunc(want, func(l string) bool { return strings.Contains(l, "script-name") })
			}
			w.sql(statements...)
			damaged := w.dump("7")
			dry := w.repair("7", true)
			w.same(w.dump("7"), damaged)
			if len(dry.Changes) == 0 {
				t.Fatal("a dry run finds nothing")
			}
			did := w.repair("7", false)
			w.same(did, dry)
			w.same(w.dump("7"), want)
			w.nothing("7")
		})
	}
}

func TestRunsThatAreMissing(t *testing.T) {
	for _, id := range []string{"7", "argo-f-x7"} {
		w := newWorld(t)
		w.run(id)
		before, err := w.meta.Run(w.ctx, "F", id)
		w.ok(err)
		w.sql("DELETE FROM artifact_v3", "DELETE FROM metadata_v3", "DELETE FROM tasks_v3", "DELETE FROM steps_v3",
			"DELETE FROM mf_runs", "DELETE FROM runs_v3", "DELETE FROM flows_v3")
		r := w.repair(id, false)
		w.same(r.Problems, []string(nil))
		w.same(r.Changes[0], repair.Change{Path: "F/" + id, Kind: repair.KindRun})
		w.same(r.Changes[len(r.Changes)-1].Names, []string{"succeeded"})
		got, err := w.meta.Run(w.ctx, "F", id)
		w.ok(err)
		w.same([]any{got.Status, got.TsEpoch, got.UserName}, []any{before.Status, before.TsEpoch, before.UserName})
		if got.FinishedMs < got.TsEpoch {
			t.Errorf("the run ended at %d, before it began", got.FinishedMs)
		}
		artifacts, err := w.meta.Artifacts(w.ctx, "F", id, "body", "2")
		w.ok(err)
		w.same(len(artifacts), 6)
		w.same(len(w.metadata(id, "finish", "named", "code-package")), 1)
		w.same(w.metadata(id, "begin", "1", "python_version"), []string{"3.11.7"})
		w.same(w.metadata(id, "_parameters", "0", "end_step"), []string{"finish"})
		w.same(w.metadata(id, "body", "2", "attempt_ok"), []string{"False", "True"})
		w.same(w.metadata(id, "body", "2", "foreach-execution-path"), []string{"body:2", "body:2"})
		w.nothing(id)
	}
}

// metadata returns the values of a field, oldest first.
func (w *world) metadata(run, step, task, field string) []string {
	w.t.Helper()
	rows, err := w.meta.Metadata(w.ctx, "F", run, step, task)
	w.ok(err)
	var values []string
	for _, m := range rows {
		if m.FieldName == field {
			values = append(values, m.Value)
		}
	}
	return values
}

// choosy is metadata that numbers runs itself.
type choosy struct{ *sqlite.Store }

func (c choosy) CreateRun(ctx context.Context, run metadata.Run) (metadata.Run, error) {
	return metadata.Run{}, errors.New("run numbers are the service's to choose")
}

func TestRunsThatCannotBeRegistered(t *testing.T) {
	w := newWorld(t)
	w.run("7")
	w.sql("DELETE FROM artifact_v3", "DELETE FROM metadata_v3", "DELETE FROM tasks_v3", "DELETE FROM steps_v3",
		"DELETE FROM mf_runs", "DELETE FROM runs_v3")
	r, err := repair.Run(w.ctx, w.store, choosy{w.meta}, "F", "7", repair.Options{Now: time.Now()})
	w.ok(err)
	if len(r.Changes) != 0 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "F/7 is not registered") {
		t.Errorf("%+v", r)
	}
	if _, err := w.meta.Run(w.ctx, "F", "7"); !errors.Is(err, metadata.ErrNotFound) {
		t.Errorf("error: %v", err)
	}
}

func TestRunningRunsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.run("7")
	w.sql("DELETE FROM artifact_v3", fmt.Sprintf("UPDATE runs_v3 SET last_heartbeat_ts = %d", time.Now().Unix()),
		"UPDATE mf_runs SET status = 'running'")
	r := w.repair("7", false)
	if r.Skipped == "" || len(r.Changes) > 0 {
		t.Errorf("%+v", r)
	}
	if _, err := repair.Run(w.ctx, w.store, w.meta, "F", "8", repair.Options{}); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("a run that is not there: %v", err)
	}
}

func TestUnfinishedAndFailed(t *testing.T) {
	w := newWorld(t)
	_, err := w.meta.CreateRun(w.ctx, metadata.Run{FlowID: "F", RunID: "7", TsEpoch: w.now.UnixMilli(), Status: metadata.Running})
	w.ok(err)
	w.attempt("7", "start", "1", 0, map[string]any{"_task_ok": true})
	w.ok(w.store.Begin(w.ctx, datastore.TaskRef{Flow: "F", Run: "7", Step: "a", Task: "2"}, 0, w.now))
	w.repair("7", false)
	run, err := w.meta.Run(w.ctx, "F", "7")
	w.ok(err)
	w.same(run.Status, metadata.Running) // nobody can tell how it ended
	w.same(w.metadata("7", "a", "2", "attempt"), []string{"0"})
	w.same(w.metadata("7", "a", "2", "attempt_ok"), []string(nil))
	w.nothing("7")

	w.attempt("7", "b", "3", 0, map[string]any{
		"_task_ok": false, "_exception": pickle.ExceptionWrapper{Type: "builtins.ValueError", Exception: "no luck"},
	})
	w.repair("7", false)
	run, err = w.meta.Run(w.ctx, "F", "7")
	w.ok(err)
	w.same(run.Status, metadata.Failed)
	if !strings.Contains(run.Failure, "step b failed") || !strings.Contains(run.Failure, "no luck") || run.FinishedMs == 0 {
		t.Errorf("%+v", run)
	}
	w.nothing("7")
}

// TestClones: a task that a resumed run took over needs no more than its origin.
func TestClones(t *testing.T) {
	w := newWorld(t)
	w.env.OriginRun = "6"
	_, err := w.meta.CreateRun(w.ctx, w.env.Run("F", "7"))
	w.ok(err)
	w.sql("UPDATE runs_v3 SET ts_epoch = 1")
	w.attempt("7", "start", "1", 0, map[string]any{"_task_ok": true, "x": 1})
	arts := runtime.ArtifactRefs(w.artifacts(map[string]any{"_task_ok": true, "x": 1}))
	w.ok(w.meta.Record(w.ctx, w.env.TaskCloned(metadata.TaskRef{Flow: "F", Run: "7", Step: "start", Task: "1"}, "5", arts, w.now)))
	want := w.dump("7")
	w.nothing("7")
	w.same(w.dump("7"), want)
	w.sql("DELETE FROM metadata_v3 WHERE field_name IN ('attempt', 'attempt_ok', 'attempt-done', 'user')", "DELETE FROM artifact_v3")
	w.repair("7", false)
	w.same(w.dump("7"), want)
	w.nothing("7")
}

// TestDamage: what cannot be read is reported, and keeps nothing else from being repaired.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	w.run("7")
	w.sql("DELETE FROM metadata_v3", "DELETE FROM artifact_v3")
	put := func(key, text string) {
		w.ok(w.store.Backend().Put(w.ctx, key, strings.NewReader(text), datastore.PutOptions{}))
	}
	put("F/7/begin/1/0.data.json", "{")
	put("F/7/begin/1/0.attempt.json", "{")
	r := w.repair("7", false)
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "F/7/begin/1") {
		t.Errorf("problems: %q", r.Problems)
	}
	w.same(w.metadata("7", "begin", "1", "attempt_ok"), []string(nil))
	w.same(w.metadata("7", "body", "2", "attempt_ok"), []string{"False", "True"})
	again := w.repair("7", false)
	w.same(again.Changes, []repair.Change(nil))
}

// TestRefresh follows a run that an engine makes and nobody records.
func TestRefresh(t *testing.T) {
	w := newWorld(t)
	refresh := func(later time.Duration) metadata.Run {
		t.Helper()
		_, err := repair.Run(w.ctx, w.store, w.meta, "F", "argo-f-x7", repair.Options{Now: time.Now().Add(later), Refresh: true})
		w.ok(err)
		run, err := w.meta.Run(w.ctx, "F", "argo-f-x7")
		w.ok(err)
		return run
	}
	graph := pickle.Dict{{Key: "start_step", Value: "begin"}, {Key: "end_step", Value: "finish"}}
	w.attempt("argo-f-x7", "_parameters", "t-params", 0, map[string]any{"_graph_info": graph})
	w.attempt("argo-f-x7", "begin", "t", 0, map[string]any{"_task_ok": false})
	w.same(refresh(0).Status, metadata.Running) // it may be tried again
	w.same(refresh(2*repair.Alive).Status, metadata.Failed)
	w.same(w.metadata("argo-f-x7", "begin", "t", "attempt_ok"), []string{"False"})
	w.attempt("argo-f-x7", "begin", "t", 1, map[string]any{"_task_ok": true})
	run := refresh(0)
	w.same([]any{run.Status, run.FinishedMs, run.Failure}, []any{metadata.Running, int64(0), ""})
	w.same(w.metadata("argo-f-x7", "begin", "t", "attempt_ok"), []string{"False", "True"})
	w.attempt("argo-f-x7", "finish", "t", 0, map[string]any{"_task_ok": true})
	run = refresh(0)
	if run.Status != metadata.Succeeded || run.FinishedMs == 0 {
		t.Errorf("%+v", run)
	}
}
