package argolive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
)

// Apply puts the deployment there. Every object has passed the API server's judgement before the first is changed; where
// one fails after all, those before it are put back.
func (e *Engine) Apply(ctx context.Context, d live.Deployment) (live.Plan, error) {
	p, steps, err := e.plan(ctx, d)
	if err != nil {
		return p, err
	}
	for i := range steps {
		if err := e.applyStep(ctx, &steps[i]); err != nil {
			return p, e.undo(ctx, steps[:i], steps[i], err)
		}
	}
	return p, nil
}

func (e *Engine) applyStep(ctx context.Context, s *step) error {
	if s.remove {
		return e.api.remove(ctx, s.kind, s.name(), false)
	}
	now, err := e.api.apply(ctx, s.kind, s.object, false)
	if err != nil {
		return err
	}
	if s.after = now.text("resourceVersion"); s.before == nil {
		return nil
	}
	// What others added, and an apply therefore leaves alone.
	patch := map[string]any{}
	for _, field := range now.content() {
		is, _ := now[field].(map[string]any)
		shall, _ := s.stored[field].(map[string]any)
		if sub := mergePatch(is, shall); sub != nil {
			patch[field] = sub
		}
	}
	if len(patch) == 0 {
		return nil
	}
	patch["metadata"] = map[string]any{"resourceVersion": s.after}
	if now, err = e.api.merge(ctx, s.kind, s.name(), patch); err == nil {
		s.after = now.text("resourceVersion")
	}
	return err
}

// left reports whether an object stands as this deploy left it. Controllers write into what starts runs; where the server did not say what
// became of a change, what mf notes with it tells.
func (s step) left(now object) bool {
	if s.after == now.text("resourceVersion") {
		return true
	}
	note := s.annotation(annotationApplied)
	return (s.after == "" || s.kind.starts) && note != "" && note == now.annotation(annotationApplied)
}

// errChangedSince keeps an undo from what somebody else has changed meanwhile.
var errChangedSince = errors.New("somebody else has changed it since")

// undoTime bounds how long putting back may take, also after an interrupt.
const undoTime = 30 * time.Second

// undo puts back what was changed before a failure, and the failed object itself where that was changed in part. It
// returns the failure, with what stands.
func (e *Engine) undo(ctx context.Context, done []step, failed step, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	err := fmt.Errorf("applying %s: %w", failed.title(), cause)
	var back []string
	for _, s := range append([]step{failed}, reversed(done)...) {
		changed, problem := e.putBack(ctx, s)
		switch {
		case problem != nil:
			err = errors.Join(err, fmt.Errorf("%s could not be put back as before: %w", s.title(), problem))
		case changed:
			back = append(back, s.title())
		}
	}
	if len(back) > 0 {
		return fmt.Errorf("%w\nput back as before: %s", err, strings.Join(back, ", "))
	}
	return err
}

func reversed(list []step) []step {
	var r []step
	for i := len(list) - 1; i >= 0; i-- {
		r = append(r, list[i])
	}
	return r
}

// putBack makes one object what it was before the deploy. It reports whether there was anything to do.
func (e *Engine) putBack(ctx context.Context, s step) (bool, error) {
	now, err := e.api.read(ctx, s.kind, s.name())
	if err != nil {
		return false, err
	}
	switch {
	case s.before == nil && now == nil, s.remove && now != nil:
		return false, nil
	case now != nil && s.before != nil && now.text("resourceVersion") == s.before.text("resourceVersion"):
		return false, nil
	case now != nil && !s.left(now):
		if s.after == "" {
			return false, nil // the change that failed was not made
		}
		return false, errChangedSince
	case s.before == nil:
		return true, e.api.remove(ctx, s.kind, s.name(), false)
	case now == nil:
		again := s.before.clone()
		for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"} {
			delete(again.metadata(), field)
		}
		_, err := e.api.create(ctx, s.kind, again)
		return true, err
	}
	// Twice: the first makes mf the manager of what it put back, the second gives it to whom it was.
	for range 2 {
		again := s.before.clone()
		again.metadata()["resourceVersion"] = now.text("resourceVersion")
		if now, err = e.api.replace(ctx, s.kind, again); err != nil {
			return true, err
		}
	}
	return true, nil
}

// Delete removes a deployment: what starts runs first, then the template that runs refer to.
func (e *Engine) Delete(ctx context.Context, deployment string) ([]string, error) {
	if err := e.installed(ctx); err != nil {
		return nil, err
	}
	template, err := e.template(ctx, deployment)
	if err != nil && !errors.Is(err, live.ErrNotFound) {
		return nil, err
	}
	missing := err
	items, _, err := e.starters(ctx, deployment)
	if err != nil {
		return nil, err
	}
	if template != nil {
		items = append(items, item{workflowTemplates, template})
	}
	if len(items) == 0 {
		return nil, missing
	}
	var removed []string
	for _, it := range items {
		if err := e.api.remove(ctx, it.kind, it.name(), false); err != nil {
			return removed, err
		}
		removed = append(removed, it.title())
	}
	return removed, nil
}

// template is the WorkflowTemplate of a deployment, which mf made. Errors: live.ErrNotFound, live.ErrNotOurs.
func (e *Engine) template(ctx context.Context, deployment string) (object, error) {
	o, err := e.api.read(ctx, workflowTemplates, deployment)
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		return nil, fmt.Errorf("deployment %s in namespace %s: %w", deployment, e.cluster.Namespace, live.ErrNotFound)
	case !o.ours():
		return nil, notOurs(o)
	}
	return o, nil
}
