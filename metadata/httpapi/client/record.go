package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
)

// CreateRun implements metadata.Recorder. A run whose registration was not heard to succeed is tried again; without a
// given id an empty run may then be left behind.
func (c *Client) CreateRun(ctx context.Context, run metadata.Run) (created metadata.Run, err error) {
	if err := metadata.CheckRun(run); err != nil {
		return metadata.Run{}, err
	}
	var got answer
	err = c.via(ctx, func() error {
		got, err = c.do(ctx, call{
			doing: "registering a run", method: http.MethodPost, path: httpapi.Prefix + "/runs", body: sending(run),
			into: &created, compress: true,
		})
		return err
	}, func() error {
		created, got, err = c.createMetaflowRun(ctx, run)
		return err
	})
	if refusedAs(err, http.StatusConflict) == nil {
		return created, err
	}
	exists := fmt.Errorf("run %s/%s: %w", run.FlowID, run.RunID, metadata.ErrExists)
	if !got.again {
		return metadata.Run{}, exists
	}
	// The answer of an earlier try was lost: is the run the one that it made?
	there, err := c.Run(ctx, run.FlowID, run.RunID)
	if err != nil {
		return metadata.Run{}, err
	}
	if there.UserName != run.UserName || !slices.Equal(there.SystemTags, run.SystemTags) {
		return metadata.Run{}, exists
	}
	return there, nil
}

// UpdateRun implements metadata.Recorder.
func (c *Client) UpdateRun(ctx context.Context, run metadata.Run) error {
	missing := fmt.Errorf("run %s/%s: %w", run.FlowID, run.RunID, metadata.ErrNotFound)
	if run.FlowID == "" || run.RunID == "" {
		return missing
	}
	err := c.via(ctx, func() error {
		_, err := c.do(ctx, call{
			doing: "updating run " + run.FlowID + "/" + run.RunID, method: http.MethodPut,
			path: ownRunRoute(run.FlowID, run.RunID), body: sending(run), compress: true, repair: run.FlowID + "/" + run.RunID,
		})
		return err
	}, func() error { return c.updateMetaflowRun(ctx, run) })
	if errors.Is(err, metadata.ErrNotFound) {
		return missing
	}
	return err
}

// ownRunRoute is mf's route of a run, continued by segments.
func ownRunRoute(flow, run string, more ...string) string {
	return httpapi.Prefix + runRoute(flow, run, more...)
}

// CreateTask implements metadata.TaskMinter. A task whose registration was not heard to succeed is tried again; without a
// given id an empty task may then be left behind.
func (c *Client) CreateTask(ctx context.Context, task metadata.Task) (created metadata.Task, err error) {
	missing := fmt.Errorf("run %s/%s: %w", task.FlowID, task.RunID, metadata.ErrNotFound)
	if task.FlowID == "" || task.RunID == "" {
		return metadata.Task{}, missing
	}
	var got answer
	err = c.via(ctx, func() error {
		got, err = c.do(ctx, call{
			doing: "registering a task", method: http.MethodPost,
			path: ownRunRoute(task.FlowID, task.RunID, "steps", task.StepName, "tasks"), body: sending(task), into: &created,
			compress: true,
		})
		return err
	}, func() error {
		created, got, err = c.createMetaflowTask(ctx, task)
		return err
	})
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		return metadata.Task{}, missing
	case refusedAs(err, http.StatusConflict) == nil:
		return created, err
	}
	if got.again {
		// The answer of an earlier try was lost. Names of tasks are chosen so that nobody else takes the same.
		if there, err := c.metaflowTask(ctx, ref(task)); err == nil {
			return there, nil
		}
	}
	return metadata.Task{}, fmt.Errorf("task %s: %w", ref(task), metadata.ErrExists)
}

func ref(t metadata.Task) metadata.TaskRef {
	return metadata.TaskRef{Flow: t.FlowID, Run: t.RunID, Step: t.StepName, Task: t.TaskID}
}

// The bounds of one request of Record.
const (
	maxRows  = 2000
	maxBytes = 8 << 20
)

// Record implements metadata.Recorder. A batch beyond 2,000 rows is written in several requests, one after the other, and
// so is one that the service finds too large: of such a batch the first rows may be written without the others.
func (c *Client) Record(ctx context.Context, b metadata.Batch) error {
	if b.Empty() {
		return nil
	}
	return c.via(ctx, func() error {
		for head, rest := split(b, maxRows); ; head, rest = split(rest, maxRows) {
			if err := c.recordOwn(ctx, head); err != nil || rest.Empty() {
				return err
			}
		}
	}, func() error { return c.recordMetaflow(ctx, b) })
}

func (c *Client) recordOwn(ctx context.Context, b metadata.Batch) error {
	n := count(b)
	if n == 1 || size(b) <= maxBytes {
		_, err := c.do(ctx, call{
			doing: "recording metadata", method: http.MethodPost, path: httpapi.Prefix + "/record", compress: true,
			body:   func(again bool) any { return httpapi.RecordRequest{Batch: b, Retry: again} },
			repair: runOf(b),
		})
		if n == 1 || refusedAs(err, http.StatusRequestEntityTooLarge) == nil {
			return err
		}
	}
	head, rest := split(b, n/2)
	if err := c.recordOwn(ctx, head); err != nil {
		return err
	}
	return c.recordOwn(ctx, rest)
}

func count(b metadata.Batch) int {
	return len(b.Steps) + len(b.Tasks) + len(b.Metadata) + len(b.Artifacts)
}

// split cuts off the first n rows. Parents come first, so that a part needs no other after it.
func split(b metadata.Batch, n int) (head, rest metadata.Batch) {
	head.Steps, rest.Steps = cut(b.Steps, &n)
	head.Tasks, rest.Tasks = cut(b.Tasks, &n)
	head.Metadata, rest.Metadata = cut(b.Metadata, &n)
	head.Artifacts, rest.Artifacts = cut(b.Artifacts, &n)
	return head, rest
}

func cut[R any](rows []R, n *int) (head, rest []R) {
	m := min(*n, len(rows))
	*n -= m
	return rows[:m], rows[m:]
}

// size estimates the bytes of a batch's JSON, from above but for texts full of escapes.
func size(b metadata.Batch) int {
	// The names of the fields, quotes and numbers of a row are below this.
	const row = 300
	n := row * count(b)
	tags := func(lists ...[]string) {
		for _, list := range lists {
			for _, t := range list {
				n += len(t) + 3
			}
		}
	}
	for i := range b.Steps {
		r := &b.Steps[i]
		n += len(r.FlowID) + len(r.RunID) + len(r.StepName) + len(r.UserName)
		tags(r.Tags, r.SystemTags)
	}
	for i := range b.Tasks {
		r := &b.Tasks[i]
		n += len(r.FlowID) + len(r.RunID) + len(r.StepName) + len(r.TaskID) + len(r.UserName)
		tags(r.Tags, r.SystemTags)
	}
	for i := range b.Metadata {
		r := &b.Metadata[i]
		n += len(r.FlowID) + len(r.RunID) + len(r.StepName) + len(r.TaskID) + len(r.FieldName) + len(r.Value) + len(r.Type) +
			len(r.UserName)
		tags(r.Tags)
	}
	for i := range b.Artifacts {
		r := &b.Artifacts[i]
		n += len(r.FlowID) + len(r.RunID) + len(r.StepName) + len(r.TaskID) + len(r.Name) + len(r.Location) + len(r.DsType) +
			len(r.Sha) + len(r.Type) + len(r.ContentType) + len(r.UserName)
		tags(r.Tags, r.SystemTags)
	}
	return n
}

// runOf returns the run of a batch's first row, as "flow/run".
func runOf(b metadata.Batch) string {
	switch {
	case len(b.Steps) > 0:
		return b.Steps[0].FlowID + "/" + b.Steps[0].RunID
	case len(b.Tasks) > 0:
		return b.Tasks[0].FlowID + "/" + b.Tasks[0].RunID
	case len(b.Metadata) > 0:
		return b.Metadata[0].FlowID + "/" + b.Metadata[0].RunID
	case len(b.Artifacts) > 0:
		return b.Artifacts[0].FlowID + "/" + b.Artifacts[0].RunID
	}
	return ""
}

// MutateTags implements metadata.Recorder. The limits of tags are kept here, as Metaflow's clients do: the service has none.
func (c *Client) MutateTags(ctx context.Context, flow, id string, add, remove []string) ([]string, error) {
	run, err := c.Run(ctx, flow, id)
	if err != nil {
		return nil, err
	}
	want, changed, err := metadata.ApplyTags(run.Tags, run.SystemTags, add, remove)
	if err != nil || !changed {
		return want, err
	}
	request := struct {
		Add    []string `json:"tags_to_add"`
		Remove []string `json:"tags_to_remove"`
	}{Add: []string{}, Remove: []string{}}
	request.Add = append(request.Add, add...)
	for _, t := range remove {
		if utf8.ValidString(t) { // no tag is otherwise, and JSON would make another of it
			request.Remove = append(request.Remove, t)
		}
	}
	var result struct{ Tags []string }
	_, err = c.do(ctx, call{
		doing: "changing tags of run " + flow + "/" + id, method: http.MethodPatch, path: runRoute(flow, id, "tag", "mutate"),
		body: sending(request), into: &result, conflicts: true,
	})
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		return nil, fmt.Errorf("run %s/%s: %w", flow, id, metadata.ErrNotFound)
	case errors.Is(err, metadata.ErrExists):
		return nil, fmt.Errorf("changing tags of run %s/%s: too many others change them at the same time", flow, id)
	case err != nil:
		return nil, err
	}
	return inOrder(result.Tags, want), nil
}

// inOrder sorts tags as want has them, then those that others have added.
func inOrder(tags, want []string) []string {
	out := make([]string, 0, len(tags))
	for _, t := range want {
		if slices.Contains(tags, t) {
			out = append(out, t)
		}
	}
	others := slices.DeleteFunc(tags, func(t string) bool { return slices.Contains(out, t) })
	slices.Sort(others)
	return append(out, others...)
}

// The bounds of a heartbeat: how long the service has to answer, and how often it may ask for one.
const (
	beatTimeout = 5 * time.Second
	beatDefault = 10 * time.Second
	beatLongest = 10 * time.Minute
)

// Beat implements metadata.Heart. It is tried once, for a few seconds: the next beat comes soon.
func (c *Client) Beat(ctx context.Context, flow, run string, tasks []metadata.TaskRef) (time.Duration, error) {
	k, err := c.kind(ctx, c.beatTimeout)
	if err != nil {
		return beatDefault, err
	}
	if k == metaflow {
		return c.beatMetaflow(ctx, flow, run, tasks)
	}
	request := httpapi.HeartbeatRequest{Flow: flow, Run: run}
	for _, t := range tasks {
		request.Tasks = append(request.Tasks, httpapi.StepTask{Step: t.Step, Task: t.Task})
	}
	var result httpapi.HeartbeatResponse
	_, err = c.do(ctx, call{
		doing: "beating the heart of run " + flow + "/" + run, method: http.MethodPost, path: httpapi.Prefix + "/heartbeat",
		body: sending(request), into: &result, compress: true, once: c.beatTimeout,
	})
	if r := refusedAs(err, http.StatusNotFound, http.StatusMethodNotAllowed); r != nil && r.code == "" {
		c.service.set(unknown) // asked again at the next beat
	}
	return beatWait(result.WaitSeconds), err
}

func beatWait(seconds int) time.Duration {
	if seconds <= 0 || seconds > int(beatLongest/time.Second) {
		return beatDefault
	}
	return time.Duration(seconds) * time.Second
}
