package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/mf-run/mf/metadata"
)

// This file reads over the routes of Metaflow's service.

// metaflowList reads a list, page by page where the service makes pages of it, until enough says so. A missing parent gives
// an empty list.
func (c *Client) metaflowList(ctx context.Context, doing, path string, query url.Values, each func(metaflowRow),
	enough func() bool,
) error {
	for {
		var rows []metaflowRow
		got, err := c.do(ctx, call{doing: doing, method: http.MethodGet, path: path, query: query, into: &rows})
		if errors.Is(err, metadata.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, row := range rows {
			each(row)
		}
		next := got.header.Get("X-Next-Cursor")
		if next == "" || enough() {
			return nil
		}
		query.Set("_cursor", next)
	}
}

// metaflowRows reads a whole list.
func (c *Client) metaflowRows(ctx context.Context, doing, path string) (rows []metaflowRow, err error) {
	err = c.metaflowList(ctx, doing, path, url.Values{}, func(row metaflowRow) { rows = append(rows, row) },
		func() bool { return false })
	return rows, err
}

// The sizes of pages: maxPage is the greatest that the service makes; of small ones, filters by tag may need many.
const (
	minPage = 50
	maxPage = 500
)

func (c *Client) metaflowRuns(ctx context.Context, q metadata.RunQuery) ([]metadata.Run, error) {
	flows := []string{q.FlowID}
	if q.FlowID == "" {
		rows, err := c.metaflowRows(ctx, "listing flows", "/flows")
		if err != nil {
			return nil, err
		}
		flows = flows[:0]
		for _, row := range rows {
			flows = append(flows, string(row.FlowID))
		}
	}
	var list []metadata.Run
	for _, flow := range flows {
		query := url.Values{}
		if q.Limit > 0 { // a service that makes no pages yet gives all, in no order
			query.Set("_limit", strconv.Itoa(min(max(q.Limit, minPage), maxPage)))
		}
		for name, status := range statuses {
			if q.Status == status {
				query.Set("status", string(name))
			}
		}
		found := 0
		err := c.metaflowList(ctx, "listing runs", route("flows", flow, "runs"), query, func(row metaflowRow) {
			if run := row.run(); matches(run, q) {
				list = append(list, run)
				found++
			}
		}, func() bool { return q.Limit > 0 && found >= q.Limit })
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Run) int {
		return cmp.Or(cmp.Compare(b.TsEpoch, a.TsEpoch), cmp.Compare(a.FlowID, b.FlowID), compareIDs(b.RunID, a.RunID))
	})
	if q.Limit > 0 && len(list) > q.Limit {
		list = list[:q.Limit]
	}
	return list, nil
}

func matches(run metadata.Run, q metadata.RunQuery) bool {
	if q.Status != "" && run.Status != q.Status {
		return false
	}
	for _, t := range q.Tags {
		if !slices.Contains(run.Tags, t) && !slices.Contains(run.SystemTags, t) {
			return false
		}
	}
	return true
}

// metaflowRun reads a run; metadata.ErrNotFound also for one that has a name and is asked for by its hidden number.
func (c *Client) metaflowRun(ctx context.Context, flow, id string) (metadata.Run, error) {
	var row metaflowRow
	_, err := c.do(ctx, call{doing: "reading a run", method: http.MethodGet, path: runRoute(flow, id), into: &row})
	if err == nil && string(row.RunNumber) != id {
		err = fmt.Errorf("run %s/%s: %w", flow, id, metadata.ErrNotFound)
	}
	return row.run(), err
}

// metaflowTask reads a task; metadata.ErrNotFound if absent.
func (c *Client) metaflowTask(ctx context.Context, t metadata.TaskRef) (metadata.Task, error) {
	var row metaflowRow
	_, err := c.do(ctx, call{doing: "reading a task", method: http.MethodGet, path: taskRoute(t), into: &row})
	if err == nil && string(row.TaskID) != t.Task {
		err = fmt.Errorf("task %s: %w", t, metadata.ErrNotFound)
	}
	return row.task(), err
}

// metaflowSteps lists the names of the steps of a run, or just the one that is asked for.
func (c *Client) metaflowSteps(ctx context.Context, flow, run, step string) ([]string, error) {
	if step != "" {
		return []string{step}, nil
	}
	rows, err := c.metaflowRows(ctx, "listing steps", runRoute(flow, run, "steps"))
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = string(row.StepName)
	}
	return names, err
}

func (c *Client) metaflowTasks(ctx context.Context, flow, run, step string) ([]metadata.Task, error) {
	steps, err := c.metaflowSteps(ctx, flow, run, step)
	if err != nil {
		return nil, err
	}
	var list []metadata.Task
	for _, step := range steps {
		rows, err := c.metaflowRows(ctx, "listing tasks", runRoute(flow, run, "steps", step, "tasks"))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			list = append(list, row.task())
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Task) int {
		return cmp.Or(cmp.Compare(b.TsEpoch, a.TsEpoch), compareIDs(b.TaskID, a.TaskID))
	})
	return list, nil
}

func (c *Client) metaflowMetadata(ctx context.Context, t metadata.TaskRef) ([]metadata.Metadatum, error) {
	path := runRoute(t.Flow, t.Run, "metadata")
	if t.Step != "" && t.Task != "" {
		path = taskRoute(t, "metadata")
	}
	rows, err := c.metaflowRows(ctx, "listing metadata", path)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b metaflowRow) int {
		return cmp.Or(cmp.Compare(a.TsEpoch, b.TsEpoch), cmp.Compare(a.ID, b.ID))
	})
	var list []metadata.Metadatum
	for _, row := range rows {
		if t.Step == "" || string(row.StepName) == t.Step {
			list = append(list, row.metadatum())
		}
	}
	return list, nil
}

// metaflowArtifacts lists artifacts of all attempts. The service's lists are of the last attempt of each task, so that of
// tasks which were tried again the earlier attempts are asked for one by one.
func (c *Client) metaflowArtifacts(ctx context.Context, t metadata.TaskRef) ([]metadata.Artifact, error) {
	const doing = "listing artifacts"
	path := runRoute(t.Flow, t.Run, "artifacts")
	switch {
	case t.Step != "" && t.Task != "":
		path = taskRoute(t, "artifacts")
	case t.Step != "":
		path = runRoute(t.Flow, t.Run, "steps", t.Step, "artifacts")
	}
	rows, err := c.metaflowRows(ctx, doing, path)
	if err != nil {
		return nil, err
	}
	last := map[metadata.TaskRef]int{}
	var list []metadata.Artifact
	for _, row := range rows {
		a := row.artifact()
		last[metadata.TaskRef{Flow: t.Flow, Run: t.Run, Step: a.StepName, Task: a.TaskID}] = a.AttemptID
		list = append(list, a)
	}
	for task, attempts := range last {
		for n := range attempts {
			rows, err := c.metaflowRows(ctx, doing, taskRoute(task, "attempt", strconv.Itoa(n), "artifacts"))
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				list = append(list, row.artifact())
			}
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Artifact) int {
		return cmp.Or(cmp.Compare(a.StepName, b.StepName), compareIDs(a.TaskID, b.TaskID),
			cmp.Compare(a.AttemptID, b.AttemptID), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}
