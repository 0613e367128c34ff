package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/mf-run/mf/metadata"
)

// This file implements metadata.Lookup by routes that every service has.

// Flows implements metadata.Lookup.
func (c *Client) Flows(ctx context.Context) ([]metadata.Flow, error) {
	rows, err := c.metaflowRows(ctx, "listing flows", "/flows")
	list := make([]metadata.Flow, len(rows))
	for i, row := range rows {
		list[i] = metadata.Flow{FlowID: string(row.FlowID), TsEpoch: row.TsEpoch}
	}
	return list, err
}

// Flow implements metadata.Lookup.
func (c *Client) Flow(ctx context.Context, flow string) (metadata.Flow, error) {
	row, err := c.one(ctx, "reading a flow", "flow "+flow, "flows", flow)
	return metadata.Flow{FlowID: string(row.FlowID), TsEpoch: row.TsEpoch}, err
}

// Steps implements metadata.Lookup.
func (c *Client) Steps(ctx context.Context, flow, run string) ([]metadata.Step, error) {
	if flow == "" || run == "" {
		return nil, nil
	}
	rows, err := c.metaflowRows(ctx, "listing steps", runRoute(flow, run, "steps"))
	list := make([]metadata.Step, len(rows))
	for i, row := range rows {
		list[i] = row.step()
	}
	return list, err
}

// Step implements metadata.Lookup.
func (c *Client) Step(ctx context.Context, flow, run, step string) (metadata.Step, error) {
	row, err := c.one(ctx, "reading a step", "step "+flow+"/"+run+"/"+step, "flows", flow, "runs", run, "steps", step)
	return row.step(), err
}

// Task implements metadata.Lookup.
func (c *Client) Task(ctx context.Context, t metadata.TaskRef) (metadata.Task, error) {
	row, err := c.one(ctx, "reading a task", "task "+t.String(),
		"flows", t.Flow, "runs", t.Run, "steps", t.Step, "tasks", t.Task)
	if err == nil && string(row.TaskID) != t.Task { // one that has a name, asked for by its hidden number
		err = fmt.Errorf("task %s: %w", t, metadata.ErrNotFound)
	}
	return row.task(), err
}

// one reads one object by its route's segments.
func (c *Client) one(ctx context.Context, doing, what string, segments ...string) (row metaflowRow, err error) {
	for _, s := range segments {
		if s == "" {
			return row, fmt.Errorf("%s: %w", what, metadata.ErrNotFound)
		}
	}
	_, err = c.do(ctx, call{doing: doing, method: http.MethodGet, path: route(segments...), into: &row})
	if errors.Is(err, metadata.ErrNotFound) {
		err = fmt.Errorf("%s: %w", what, metadata.ErrNotFound)
	}
	return row, err
}

func (r *metaflowRow) step() metadata.Step {
	return metadata.Step{
		FlowID: string(r.FlowID), RunID: string(r.RunNumber), StepName: string(r.StepName), UserName: string(r.UserName),
		Tags: r.Tags, SystemTags: r.SystemTags, TsEpoch: r.TsEpoch,
	}
}
