package argolive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
)

const (
	// lookEvery is how often a run whose template is new is looked at until the controller has taken it up, lookTimes how
	// often at the most.
	lookEvery = 250 * time.Millisecond
	lookTimes = 60
	// freshTemplate is how old a template is that the controller surely knows.
	freshTemplate = time.Minute
	// outdatedTimes is how many runs are stopped, at the most, because they go by the template as it was.
	outdatedTimes = 5
)

// errOutdated is a run that goes by its template as that was before its last change.
var errOutdated = errors.New("the controller gave it the deployment as it was before the last deploy")

// youngerThan reports whether the template was made or changed no longer than that before the run, by the server's clock.
func youngerThan(age time.Duration, template, run object) bool {
	changed, started := template.changed(), run.changed()
	return !changed.IsZero() && !started.IsZero() && started.Sub(changed) < age
}

// takenUp sees a run through its beginning whose template was made or changed just before. The controller reads templates from
// a copy of its own, which may lag behind for a moment. One that lacks a new template gives the run up for good: that is taken
// back, by the one permission that mf has on runs. One that has the template as it was before starts that: the error is
// errOutdated. A controller that does not come is waited for no longer than that: once it comes, it knows the template. Nor
// is an API server that does not answer.
func (e *Engine) takenUp(ctx context.Context, name string, template object) error {
	var w *workflow
	var err error
	for range lookTimes {
		w, err = e.workflow(ctx, name)
		switch {
		case errors.Is(err, live.ErrUnavailable):
		case err != nil:
			return err
		case w.outdated(template):
			return e.outdated(ctx, w)
		case w.Status.Phase == "":
		case !w.misses(template.name()):
			return nil
		default:
			if err := e.takeBack(ctx, name); err != nil && !errors.Is(err, live.ErrUnavailable) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	if err == nil && w.misses(template.name()) {
		return fmt.Errorf("the controller gave it up, for it does not see its template: %s", oneLine(w.Status.Message))
	}
	return err
}

// outdated returns errOutdated, unless the template has been changed since it was read: then the run may have the newer one.
func (e *Engine) outdated(ctx context.Context, w *workflow) error {
	now, err := e.template(ctx, w.Spec.WorkflowTemplateRef.Name)
	if err == nil && w.outdated(now) {
		return errOutdated
	}
	return err
}

// outdated reports whether the controller has given the run another form of the template than this one.
func (w *workflow) outdated(template object) bool {
	has, wants := w.Status.Stored.WorkflowMetadata.Annotations[annotationMark], template.marked()
	return wants != "" && len(w.Status.Stored.Templates) > 0 && has != wants
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
