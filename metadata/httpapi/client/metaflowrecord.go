package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mf-run/mf/metadata"
)

// This file writes over the routes of Metaflow's service, in the sequences of its client.

// createMetaflowRun makes a run. The error of a run that exists is the *refusal with status 409.
func (c *Client) createMetaflowRun(ctx context.Context, run metadata.Run) (metadata.Run, answer, error) {
	const doing = "registering a run"
	flow := route("flows", run.FlowID)
	_, err := c.do(ctx, call{doing: "reading a flow", method: http.MethodGet, path: flow})
	if errors.Is(err, metadata.ErrNotFound) {
		_, err = c.do(ctx, call{
			doing: "registering a flow", method: http.MethodPost, path: flow,
			body: sending(newObject{FlowID: run.FlowID, TsEpoch: c.now().UnixMilli()}),
		})
	}
	if err != nil && !errors.Is(err, metadata.ErrExists) {
		return metadata.Run{}, answer{}, err
	}
	if isMinted(run.RunID) {
		if _, err := c.metaflowRun(ctx, run.FlowID, run.RunID); !errors.Is(err, metadata.ErrNotFound) {
			if err == nil {
				err = &refusal{status: http.StatusConflict}
			}
			return metadata.Run{}, answer{}, err
		}
		return metadata.Run{}, answer{}, fmt.Errorf("%s: Metaflow's service gives runs their numbers itself: %q can be no run's id",
			doing, run.RunID)
	}
	var row metaflowRow
	got, err := c.do(ctx, call{
		doing: doing, method: http.MethodPost, path: flow + "/run", into: &row, body: sending(newObject{
			FlowID: run.FlowID, RunNumber: run.RunID, UserName: run.UserName, Tags: run.Tags, SystemTags: run.SystemTags,
			TsEpoch: c.now().UnixMilli(),
		}),
	})
	if err != nil {
		return metadata.Run{}, got, err
	}
	run.RunID, run.TsEpoch, run.LastHeartbeat = string(row.RunNumber), row.TsEpoch, row.Heartbeat
	return run, got, nil
}

// updateMetaflowRun beats the heart of a run, all that can be updated of it.
func (c *Client) updateMetaflowRun(ctx context.Context, run metadata.Run) error {
	if run.LastHeartbeat != 0 {
		_, err := c.do(ctx, call{
			doing: "updating run " + run.FlowID + "/" + run.RunID, method: http.MethodPost,
			path: runRoute(run.FlowID, run.RunID, "heartbeat"), body: sending(struct{}{}),
		})
		if !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		// The last beat may be less than ten seconds ago.
	}
	_, err := c.metaflowRun(ctx, run.FlowID, run.RunID)
	return err
}

// stepKey names a step.
type stepKey struct{ flow, run, step string }

// ensureMetaflowStep makes a step unless it exists; metadata.ErrNotFound if its run does not.
func (c *Client) ensureMetaflowStep(ctx context.Context, s metadata.Step) error {
	key := stepKey{s.FlowID, s.RunID, s.StepName}
	if _, known := c.steps.Load(key); known {
		return nil
	}
	path := runRoute(s.FlowID, s.RunID, "steps", s.StepName)
	_, err := c.do(ctx, call{doing: "reading a step", method: http.MethodGet, path: path})
	if errors.Is(err, metadata.ErrNotFound) {
		// The service's answer for a run that it does not find is 500, whatever the reason: so the run is looked for before.
		if _, err = c.metaflowRun(ctx, s.FlowID, s.RunID); err != nil {
			return err
		}
		_, err = c.do(ctx, call{
			doing: "registering a step", method: http.MethodPost, path: path + "/step", repair: s.FlowID + "/" + s.RunID,
			body: sending(newObject{
				FlowID: s.FlowID, RunNumber: s.RunID, StepName: s.StepName, UserName: s.UserName, Tags: s.Tags,
				SystemTags: s.SystemTags, TsEpoch: s.TsEpoch,
			}),
		})
	}
	if err != nil && !errors.Is(err, metadata.ErrExists) {
		return err
	}
	c.steps.Store(key, true)
	return nil
}

// createMetaflowTask makes a task, and its step where that is new. The error of a task that exists is the *refusal with
// status 409.
func (c *Client) createMetaflowTask(ctx context.Context, t metadata.Task) (metadata.Task, answer, error) {
	err := c.ensureMetaflowStep(ctx, metadata.Step{
		FlowID: t.FlowID, RunID: t.RunID, StepName: t.StepName, UserName: t.UserName, Tags: t.Tags, SystemTags: t.SystemTags,
		TsEpoch: t.TsEpoch,
	})
	if err != nil {
		return metadata.Task{}, answer{}, err
	}
	if isMinted(t.TaskID) {
		if _, err := c.metaflowTask(ctx, ref(t)); !errors.Is(err, metadata.ErrNotFound) {
			if err == nil {
				err = &refusal{status: http.StatusConflict}
			}
			return metadata.Task{}, answer{}, err
		}
		return metadata.Task{}, answer{}, fmt.Errorf(
			"registering a task: Metaflow's service gives tasks their numbers itself: %q can be no task's id", t.TaskID)
	}
	var row metaflowRow
	got, err := c.postMetaflowTask(ctx, t, &row)
	if err != nil {
		return metadata.Task{}, got, err
	}
	t.TaskID, t.TsEpoch, t.LastHeartbeat = string(row.TaskID), row.TsEpoch, row.Heartbeat
	return t, got, nil
}

func (c *Client) postMetaflowTask(ctx context.Context, t metadata.Task, row *metaflowRow) (answer, error) {
	return c.do(ctx, call{
		doing: "registering a task", method: http.MethodPost, repair: t.FlowID + "/" + t.RunID, into: row,
		path: runRoute(t.FlowID, t.RunID, "steps", t.StepName, "task"),
		body: sending(newObject{
			FlowID: t.FlowID, RunNumber: t.RunID, StepName: t.StepName, TaskID: t.TaskID, UserName: t.UserName, Tags: t.Tags,
			SystemTags: t.SystemTags, TsEpoch: t.TsEpoch,
		}),
	})
}

// recordMetaflow writes a batch in a request for each step and task, and for each task's metadata and artifacts. What was
// written before an error stays.
func (c *Client) recordMetaflow(ctx context.Context, b metadata.Batch) error {
	for _, s := range b.Steps {
		if err := c.ensureMetaflowStep(ctx, s); err != nil {
			return err
		}
	}
	err := inParallel(b.Tasks, func(t metadata.Task) error {
		switch {
		case t.TaskID == "":
			return fmt.Errorf("a task of %s/%s/%s has no id", t.FlowID, t.RunID, t.StepName)
		case isMinted(t.TaskID):
			return nil
		}
		if _, err := c.postMetaflowTask(ctx, t, new(metaflowRow)); err != nil && !errors.Is(err, metadata.ErrExists) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	rows := byTask(b.Metadata, func(m *metadata.Metadatum) (metadata.TaskRef, any) {
		return metadata.TaskRef{Flow: m.FlowID, Run: m.RunID, Step: m.StepName, Task: m.TaskID}, newMetadatum{
			FlowID: m.FlowID, RunNumber: m.RunID, StepName: m.StepName, TaskID: m.TaskID, FieldName: m.FieldName,
			Value: m.Value, Type: m.Type, Tags: m.Tags, UserName: m.UserName, TsEpoch: m.TsEpoch,
		}
	})
	if err := inParallel(rows, func(g group) error { return c.postRows(ctx, "metadata", g) }); err != nil {
		return err
	}
	rows = byTask(b.Artifacts, func(a *metadata.Artifact) (metadata.TaskRef, any) {
		return metadata.TaskRef{Flow: a.FlowID, Run: a.RunID, Step: a.StepName, Task: a.TaskID}, newArtifact{
			FlowID: a.FlowID, RunNumber: a.RunID, StepName: a.StepName, TaskID: a.TaskID, AttemptID: a.AttemptID, Name: a.Name,
			Location: a.Location, DsType: a.DsType, Sha: a.Sha, Type: a.Type, ContentType: a.ContentType, UserName: a.UserName,
			Tags: a.Tags, SystemTags: a.SystemTags, TsEpoch: a.TsEpoch,
		}
	})
	return inParallel(rows, func(g group) error { return c.postRows(ctx, "artifact", g) })
}

// group is the metadata or the artifacts of a task, as they are sent.
type group struct {
	task metadata.TaskRef
	rows []any
}

// byTask groups rows by their task, in the order in which the tasks first appear.
func byTask[R any](rows []R, convert func(*R) (metadata.TaskRef, any)) []group {
	var groups []group
	index := map[metadata.TaskRef]int{}
	for i := range rows {
		t, row := convert(&rows[i])
		at, ok := index[t]
		if !ok {
			at = len(groups)
			index[t] = at
			groups = append(groups, group{task: t})
		}
		groups[at].rows = append(groups[at].rows, row)
	}
	return groups
}

// inParallel calls f for each item, a few at once: as many as the service has connections to its database, about. It
// returns the first item's error, by order; items after one are not begun.
func inParallel[T any](items []T, f func(T) error) error {
	const most = 8
	errs := make([]error, len(items))
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for range min(most, len(items)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(items)) && failed.Load() == 0; i = next.Add(1) - 1 {
				if errs[i] = f(items[i]); errs[i] != nil {
					failed.Store(1)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// postRows adds metadata or artifacts to a task. Where its database goes away in between, the service says that it knows no
// such task, or that it has added fewer rows than it was given. It says the same for rows that it never takes, and for
// artifacts that it has: so it is asked twice, and its second answer counts.
func (c *Client) postRows(ctx context.Context, what string, g group) error {
	t, rows := g.task, g.rows
	for again := false; ; again = true {
		var added map[string]int
		_, err := c.do(ctx, call{
			doing: "recording " + what + " of " + t.String(), method: http.MethodPost, path: taskRoute(t, what),
			body: sending(rows), into: &added, repair: t.Flow + "/" + t.Run,
		})
		unknown := refusedAs(err, http.StatusBadRequest) != nil
		switch {
		case err != nil && !unknown:
			return err
		case err == nil && (again || added["metadata_created"]+added["artifacts_created"] >= len(rows)):
			return nil
		case unknown && again:
			return err
		}
		if _, err := c.metaflowTask(ctx, t); err != nil { // waits until the database is back
			return err
		}
	}
}

// beatMetaflow beats the hearts of tasks, each of which beats its run's; of the run alone where there are none.
func (c *Client) beatMetaflow(ctx context.Context, flow, run string, tasks []metadata.TaskRef) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.beatTimeout, metadata.ErrUnavailable)
	defer cancel()
	paths := []string{runRoute(flow, run, "heartbeat")}
	if len(tasks) > 0 {
		paths = paths[:0]
	}
	for _, t := range tasks {
		paths = append(paths, taskRoute(t, "heartbeat"))
	}
	wait := beatDefault
	for _, path := range paths {
		var encoded text
		_, err := c.do(ctx, call{
			doing: "beating the heart of run " + flow + "/" + run, method: http.MethodPost, path: path,
			body: sending(struct{}{}), into: &encoded, once: c.beatTimeout,
		})
		if errors.Is(err, metadata.ErrNotFound) {
			continue // unknown, or it has beaten just now
		}
		if err != nil {
			return wait, err
		}
		var answer struct {
			Wait int `json:"wait_time_in_seconds"`
		}
		if json.Unmarshal([]byte(encoded), &answer) == nil {
			wait = beatWait(answer.Wait)
		}
	}
	return wait, nil
}
