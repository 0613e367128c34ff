package argolive

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// lookEvery is how often a run whose template is new is looked at until the controller has taken it up, lookTimes how
	// often at the most.
	lookEvery = 250 * time.Millisecond
	lookTimes = 60
	// freshTemplate is how old a template is that the controller surely knows.
	freshTemplate = time.Minute
)

// youngerThan reports whether the template was made no longer than that before the run, by the server's clock.
func youngerThan(age time.Duration, template, run object) bool {
	made, err := time.Parse(time.RFC3339, template.text("creationTimestamp"))
	started, runErr := time.Parse(time.RFC3339, run.text("creationTimestamp"))
	return err == nil && runErr == nil && started.Sub(made) < age
}

// takenUp sees a run through its beginning whose template was made just before. The controller reads templates from a copy
// of its own, which may lack a new one for a moment; it then gives the run up for good. That is taken back, by the one
// permission that mf has on runs. A controller that does not come is waited for no longer than that: once it comes, it
// knows the template.
func (e *Engine) takenUp(ctx context.Context, name, template string) error {
	for range lookTimes {
		w, err := e.workflow(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case w.Status.Phase == "":
		case !w.misses(template):
			return nil
		default:
			if err := e.takeBack(ctx, name); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	w, err := e.workflow(ctx, name)
	if err == nil && w.misses(template) {
		return fmt.Errorf("run %s%s was given up: Argo's controller does not see its template: %s", runPrefix, name, oneLine(w.Status.Message))
	}
	return err
}

// misses reports whether the controller gave the run up because it did not know the template.
func (w *workflow) misses(template string) bool {
	return w.Status.Phase == "Error" && strings.Contains(w.Status.Message, fmt.Sprintf("workflowtemplates.argoproj.io %q not found", template))
}

// takeBack makes a run one that the controller has not seen yet.
func (e *Engine) takeBack(ctx context.Context, name string) error {
	_, err := e.api.merge(ctx, workflows, name, map[string]any{
		"status": nil,
		"metadata": map[string]any{"labels": map[string]any{
			"workflows.argoproj.io/completed": nil, "workflows.argoproj.io/phase": nil, "workflows.argoproj.io/workflow-archiving-status": nil,
		}},
	})
	return err
}
