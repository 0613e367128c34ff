package client_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi/client"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

// overMetaflow is a run's life over the routes of Metaflow's service, whoever serves them. flow must be new there.
func overMetaflow(t *testing.T, c *client.Client, flow string) {
	ctx := t.Context()
	env := metadata.Env{User: "ada", MetaflowVersion: "2.19.39", Tags: []string{"a"}, DsType: "s3", DsRoot: "s3://b/x"}
	_, err := c.Run(ctx, flow, "1")
	isError(t, err, metadata.ErrNotFound)

	run, err := c.CreateRun(ctx, env.Run(flow, ""))
	must(t, err)
	if _, err := strconv.Atoi(run.RunID); err != nil || run.TsEpoch == 0 || run.Status != metadata.Running {
		t.Fatalf("created: %+v", run)
	}
	there, err := c.Run(ctx, flow, run.RunID)
	must(t, err)
	same(t, there, metadata.Run{
		FlowID: flow, RunID: run.RunID, UserName: "ada", Tags: []string{"a"}, SystemTags: env.AllSystemTags(),
		TsEpoch: run.TsEpoch, LastHeartbeat: there.LastHeartbeat,
	})
	if there.LastHeartbeat == 0 {
		t.Error("a new run has no heartbeat")
	}

	named, err := c.CreateRun(ctx, env.Run(flow, "argo-ä/b c"))
	must(t, err)
	same(t, named.RunID, "argo-ä/b c")
	_, err = c.CreateRun(ctx, env.Run(flow, "argo-ä/b c"))
	isError(t, err, metadata.ErrExists)
	_, err = c.CreateRun(ctx, env.Run(flow, run.RunID))
	isError(t, err, metadata.ErrExists)
	if _, err = c.CreateRun(ctx, env.Run(flow, "2000000000")); err == nil || !strings.Contains(err.Error(), "numbers itself") {
		t.Errorf("a number of one's own: %v", err)
	}

	for _, id := range []string{run.RunID, named.RunID} {
		tasksOverMetaflow(t, c, env, flow, id)
	}
	runsOverMetaflow(t, c, flow, run.RunID, named.RunID)
	tagsOverMetaflow(t, c, flow, run.RunID)
}

func isError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func tasksOverMetaflow(t *testing.T, c *client.Client, env metadata.Env, flow, run string) {
	ctx := t.Context()
	minted, err := c.CreateTask(ctx, metadata.Task{FlowID: flow, RunID: run, StepName: "_parameters", UserName: "ada"})
	must(t, err)
	params := metadata.TaskRef{Flow: flow, Run: run, Step: "_parameters", Task: minted.TaskID}
	must(t, c.Record(ctx, env.ParametersTask(params, "start", "end", map[string]metadata.ArtifactRef{
		"alpha": {Sha: "da39a3", ContentType: "pickle-v4"},
	}, time.UnixMilli(5))))
	_, err = c.CreateTask(ctx, metadata.Task{FlowID: flow, RunID: run, StepName: "_parameters", TaskID: minted.TaskID})
	isError(t, err, metadata.ErrExists)
	_, err = c.CreateTask(ctx, metadata.Task{FlowID: flow, RunID: "none", StepName: "start"})
	isError(t, err, metadata.ErrNotFound)

	for _, step := range []string{"start", "end"} {
		task := metadata.TaskRef{Flow: flow, Run: run, Step: step, Task: "t-" + step}
		for attempt := range 2 {
			var b metadata.Batch
			b.Add(env.TaskRegistered(task, attempt, time.UnixMilli(5)))
			b.Add(env.TaskStarted(task, attempt, nil, time.UnixMilli(6)))
			b.Add(env.TaskFinished(task, attempt, attempt == 1, map[string]metadata.ArtifactRef{
				"name": {Sha: fmt.Sprint("sha", attempt), ContentType: "pickle-v4"}, "x": {Sha: "x", ContentType: "pickle-v4"},
			}, time.UnixMilli(7)))
			must(t, c.Record(ctx, b))
			must(t, c.Record(ctx, metadata.Batch{Steps: b.Steps, Tasks: b.Tasks, Artifacts: b.Artifacts})) // once more
		}
		_, err = c.CreateTask(ctx, metadata.Task{FlowID: flow, RunID: run, StepName: step, TaskID: task.Task})
		isError(t, err, metadata.ErrExists)
	}
	tasks, err := c.Tasks(ctx, flow, run, "start")
	must(t, err)
	if len(tasks) != 1 || tasks[0].TaskID != "t-start" || tasks[0].RunID != run || tasks[0].UserName != "ada" {
		t.Fatalf("tasks: %+v", tasks)
	}
	tasks, err = c.Tasks(ctx, flow, run, "")
	must(t, err)
	same(t, len(tasks), 3)

	arts, err := c.Artifacts(ctx, flow, run, "end", "t-end")
	must(t, err)
	var names []string
	for _, a := range arts {
		names = append(names, fmt.Sprint(a.AttemptID, a.Name, a.Sha, a.Location))
	}
	same(t, names, []string{
		"0namesha0:root:s3://b/x", "0xx:root:s3://b/x", "1namesha1:root:s3://b/x", "1xx:root:s3://b/x",
	})
	arts, err = c.Artifacts(ctx, flow, run, "", "")
	must(t, err)
	same(t, len(arts), 9)
	arts, err = c.Artifacts(ctx, flow, run, "start", "")
	must(t, err)
	same(t, len(arts), 4)

	rows, err := c.Metadata(ctx, flow, run, "_parameters", minted.TaskID)
	must(t, err)
	index := slices.IndexFunc(rows, func(m metadata.Metadatum) bool { return m.FieldName == "end_step" })
	if index < 0 || rows[index].Value != "end" || rows[index].TaskID != minted.TaskID {
		t.Errorf("metadata: %+v", rows)
	}
	all, err := c.Metadata(ctx, flow, run, "", "")
	must(t, err)
	ofStep, err := c.Metadata(ctx, flow, run, "end", "")
	must(t, err)
	ofTask, err := c.Metadata(ctx, flow, run, "end", "t-end")
	must(t, err)
	if len(all) <= 2*len(ofStep) || len(ofStep) != len(ofTask) || len(ofTask) < 10 {
		t.Errorf("%d, %d and %d metadata", len(all), len(ofStep), len(ofTask))
	}
	for _, b := range []metadata.Batch{
		{Metadata: []metadata.Metadatum{{FlowID: flow, RunID: run, StepName: "start", TaskID: "t-none", FieldName: "f", Value: "v"}}},
		{Artifacts: []metadata.Artifact{{FlowID: flow, RunID: "none", StepName: "start", TaskID: "t-none", Name: "f"}}},
		{Steps: []metadata.Step{{FlowID: flow, RunID: "none", StepName: "start"}}},
	} {
		isError(t, c.Record(ctx, b), metadata.ErrNotFound)
	}

	must(t, c.UpdateRun(ctx, metadata.Run{FlowID: flow, RunID: run, LastHeartbeat: time.Now().Unix(), Status: metadata.Running}))
	must(t, c.UpdateRun(ctx, metadata.Run{FlowID: flow, RunID: run, Status: metadata.Succeeded}))
	isError(t, c.UpdateRun(ctx, metadata.Run{FlowID: flow, RunID: "none", LastHeartbeat: 5}), metadata.ErrNotFound)
	for _, tasks := range [][]metadata.TaskRef{nil, {{Flow: flow, Run: run, Step: "end", Task: "t-end"}, {Flow: flow, Run: run, Step: "end", Task: "t-none"}}} {
		wait, err := c.Beat(ctx, flow, run, tasks)
		must(t, err)
		same(t, wait, 10*time.Second)
	}
}

func runsOverMetaflow(t *testing.T, c *client.Client, flow, minted, named string) {
	ctx := t.Context()
	for want, q := range map[string]metadata.RunQuery{
		named + " " + minted: {FlowID: flow},
		named:                {FlowID: flow, Limit: 1},
		"":                   {FlowID: flow, Tags: []string{"a", "none"}},
	} {
		runs, err := c.Runs(ctx, q)
		must(t, err)
		var ids []string
		for _, r := range runs {
			ids = append(ids, r.RunID)
		}
		same(t, strings.Join(ids, " "), want)
	}
	runs, err := c.Runs(ctx, metadata.RunQuery{FlowID: flow, Status: metadata.Succeeded, Tags: []string{"user:ada"}})
	must(t, err)
	if len(runs) != 2 || runs[0].Status != metadata.Succeeded {
		t.Errorf("runs that succeeded: %+v", runs)
	}
	all, err := c.Runs(ctx, metadata.RunQuery{})
	must(t, err)
	if len(all) < 2 {
		t.Errorf("%d runs of all flows", len(all))
	}
	runs, err = c.Runs(ctx, metadata.RunQuery{FlowID: flow + "None"})
	must(t, err)
	same(t, len(runs), 0)
	for i := range 60 { // more than a page
		_, err := c.CreateRun(ctx, metadata.Run{FlowID: flow + "Many", Tags: []string{strconv.Itoa(i)}})
		must(t, err)
	}
	runs, err = c.Runs(ctx, metadata.RunQuery{FlowID: flow + "Many", Limit: 1, Tags: []string{"0"}})
	must(t, err)
	same(t, len(runs), 1)
}

func tagsOverMetaflow(t *testing.T, c *client.Client, flow, run string) {
	ctx := t.Context()
	tags, err := c.MutateTags(ctx, flow, run, []string{"b", "c", "user:ada"}, []string{"a", "\xff"})
	must(t, err)
	same(t, tags, []string{"b", "c"})
	_, err = c.MutateTags(ctx, flow, run, nil, []string{"user:ada"})
	isError(t, err, metadata.ErrInvalidTag)
	_, err = c.MutateTags(ctx, flow, run, []string{strings.Repeat("x", 501)}, nil)
	isError(t, err, metadata.ErrInvalidTag)
	_, err = c.MutateTags(ctx, flow, "none", []string{"x"}, nil)
	isError(t, err, metadata.ErrNotFound)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := c.MutateTags(ctx, flow, run, []string{fmt.Sprint("t", i)}, []string{"b"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	there, err := c.Run(ctx, flow, run)
	must(t, err)
	slices.Sort(there.Tags)
	if len(there.Tags) != 21 || there.Tags[0] != "c" {
		t.Errorf("tags: %q", there.Tags)
	}
}
