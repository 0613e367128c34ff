package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
)

// Runs implements metadata.Reader.
func (c *Client) Runs(ctx context.Context, q metadata.RunQuery) (list []metadata.Run, err error) {
	err = c.via(ctx, func() error {
		query := url.Values{}
		setText(query, "flow", q.FlowID)
		setText(query, "status", string(q.Status))
		query["tag"] = q.Tags
		if q.Limit > 0 {
			query.Set("limit", strconv.Itoa(q.Limit))
		}
		return c.list(ctx, "listing runs", httpapi.Prefix+"/runs", query, &list)
	}, func() error {
		list, err = c.metaflowRuns(ctx, q)
		return err
	})
	return list, err
}

// Run implements metadata.Reader.
func (c *Client) Run(ctx context.Context, flow, id string) (run metadata.Run, err error) {
	missing := fmt.Errorf("run %s/%s: %w", flow, id, metadata.ErrNotFound)
	if flow == "" || id == "" {
		return run, missing
	}
	err = c.via(ctx, func() error {
		_, err := c.do(ctx, call{doing: "reading a run", method: http.MethodGet, path: ownRunRoute(flow, id), into: &run})
		return err
	}, func() error {
		run, err = c.metaflowRun(ctx, flow, id)
		return err
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return metadata.Run{}, missing
	}
	return run, err
}

// Tasks implements metadata.Reader.
func (c *Client) Tasks(ctx context.Context, flow, run, step string) (list []metadata.Task, err error) {
	err = c.below(ctx, "tasks", metadata.TaskRef{Flow: flow, Run: run, Step: step}, &list, func() error {
		list, err = c.metaflowTasks(ctx, flow, run, step)
		return err
	})
	return list, err
}

// Metadata implements metadata.Reader.
func (c *Client) Metadata(ctx context.Context, flow, run, step, task string) (list []metadata.Metadatum, err error) {
	t := metadata.TaskRef{Flow: flow, Run: run, Step: step, Task: task}
	err = c.below(ctx, "metadata", t, &list, func() error {
		list, err = c.metaflowMetadata(ctx, t)
		return err
	})
	return list, err
}

// Artifacts implements metadata.Reader.
func (c *Client) Artifacts(ctx context.Context, flow, run, step, task string) (list []metadata.Artifact, err error) {
	t := metadata.TaskRef{Flow: flow, Run: run, Step: step, Task: task}
	err = c.below(ctx, "artifacts", t, &list, func() error {
		list, err = c.metaflowArtifacts(ctx, t)
		return err
	})
	return list, err
}

// below lists rows of a run, step or task.
func (c *Client) below(ctx context.Context, what string, t metadata.TaskRef, into any, theirs func() error) error {
	if t.Flow == "" || t.Run == "" {
		return nil
	}
	return c.via(ctx, func() error {
		query := url.Values{}
		setText(query, "step", t.Step)
		setText(query, "task", t.Task)
		return c.list(ctx, "listing "+what, ownRunRoute(t.Flow, t.Run, what), query, into)
	}, theirs)
}

// setText sets a parameter unless it is empty.
func setText(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// list reads a list; one of a parent that is not there is empty.
func (c *Client) list(ctx context.Context, doing, path string, query url.Values, into any) error {
	_, err := c.do(ctx, call{doing: doing, method: http.MethodGet, path: path, query: query, into: into})
	if r := refusedAs(err, http.StatusNotFound); r != nil && r.code != "" {
		return nil
	}
	return err
}
