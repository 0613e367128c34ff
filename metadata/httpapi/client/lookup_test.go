package client_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi/client"
	"github.com/mf-run/mf/metadata/sqlite"
)

var _ metadata.Lookup = (*client.Client)(nil)

// TestLookup: single objects are found with either service, and what is absent is so in one way.
func TestLookup(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"Own": func(h http.Handler) http.Handler { return h }, "Metaflow": withoutOwn,
	} {
		t.Run(name, func(t *testing.T) {
			h := overSQLite(t, sqlite.Options{Now: time.Now})
			writer, c, ctx := connect(t, h, client.Options{}), connect(t, wrap(h), client.Options{}), t.Context()
			env := metadata.Env{User: "ann"}
			ref := metadata.TaskRef{Flow: "F", Run: "argo-x", Step: "start", Task: "t-1"}
			_, err := writer.CreateRun(ctx, env.Run(ref.Flow, ref.Run))
			must(t, err)
			must(t, writer.Record(ctx, env.TaskRegistered(ref, 0, time.Now())))

			flows, err := c.Flows(ctx)
			must(t, err)
			flow, err := c.Flow(ctx, "F")
			must(t, err)
			if len(flows) != 1 || flows[0] != flow || flow.FlowID != "F" || flow.TsEpoch == 0 {
				t.Errorf("flows %+v, flow %+v", flows, flow)
			}
			steps, err := c.Steps(ctx, ref.Flow, ref.Run)
			must(t, err)
			step, err := c.Step(ctx, ref.Flow, ref.Run, ref.Step)
			must(t, err)
			if len(steps) != 1 || steps[0].StepName != "start" || step.StepName != "start" || step.RunID != "argo-x" || step.TsEpoch == 0 {
				t.Errorf("steps %+v, step %+v", steps, step)
			}
			task, err := c.Task(ctx, ref)
			must(t, err)
			if task.TaskID != "t-1" || task.StepName != "start" || !slices.Contains(task.SystemTags, "user:ann") {
				t.Errorf("task %+v", task)
			}

			for what, find := range map[string]func() error{
				"flow":            func() error { _, err := c.Flow(ctx, "G"); return err },
				"flow without id": func() error { _, err := c.Flow(ctx, ""); return err },
				"step":            func() error { _, err := c.Step(ctx, "F", "argo-x", "end"); return err },
				"step of no run":  func() error { _, err := c.Step(ctx, "F", "5", "start"); return err },
				"task": func() error {
					_, err := c.Task(ctx, metadata.TaskRef{Flow: "F", Run: "argo-x", Step: "start", Task: "2"})
					return err
				},
				"task by number": func() error {
					_, err := c.Task(ctx, metadata.TaskRef{Flow: "F", Run: "argo-x", Step: "start", Task: "-1"})
					return err
				},
			} {
				if err := find(); !errors.Is(err, metadata.ErrNotFound) {
					t.Errorf("%s: %v, want ErrNotFound", what, err)
				}
			}
			if none, err := c.Steps(ctx, "F", "5"); err != nil || len(none) > 0 {
				t.Errorf("steps of no run: %v, %v", none, err)
			}
		})
	}
}
