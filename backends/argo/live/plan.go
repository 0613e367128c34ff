package argolive

import (
	"context"
	"fmt"
	"slices"

	"github.com/mf-run/mf/backends/live"
)

// step is what a deploy does with one object.
type step struct {
	item
	// before is what is there now; nil for nothing.
	before object
	// stored is what the server would hold afterwards.
	stored object
	// remove is set where the object is no longer wanted.
	remove bool
	// after is the resourceVersion that this deploy has left; empty where the server did not say.
	after string
}

// Plan compares the deployment with what is there, and has the API server judge every object. It changes nothing.
func (e *Engine) Plan(ctx context.Context, d live.Deployment) (live.Plan, error) {
	p, _, err := e.plan(ctx, d)
	return p, err
}

func (e *Engine) plan(ctx context.Context, d live.Deployment) (live.Plan, []step, error) {
	p := live.Plan{}
	items, err := readFiles(d, e.cluster.Namespace)
	if err != nil {
		return p, nil, err
	}
	if err := e.installed(ctx); err != nil {
		return p, nil, err
	}
	var steps []step
	for _, it := range items {
		s, changes, notes, err := e.planObject(ctx, it)
		if err != nil {
			return p, nil, err
		}
		if it.kind == workflowTemplates && it.name() == d.Name {
			p.Exists = s.before != nil
			p.Token, p.Owner = s.before.token(), s.before.owner()
		}
		steps = append(steps, s)
		p.Changes = append(p.Changes, changes...)
		p.Notes = append(p.Notes, notes...)
	}
	left, notes, err := e.leftOver(ctx, d.Name, items)
	if err != nil {
		return p, nil, err
	}
	for _, s := range left {
		steps = append(steps, s)
		p.Changes = append(p.Changes, live.Change{Object: s.title(), Kind: live.Remove})
	}
	p.Notes = append(p.Notes, notes...)
	p.Notes = append(p.Notes, e.needs(ctx, items)...)
	return p, steps, nil
}

// planObject compares one object with what is there.
func (e *Engine) planObject(ctx context.Context, it item) (s step, changes []live.Change, notes []string, err error) {
	s = step{item: it}
	if !e.serves(it.kind) {
		product := it.kind.product
		if product == "" {
			product = "a newer Argo Workflows"
		}
		return s, nil, nil, fmt.Errorf("%s %w: the cluster %s knows no objects of kind %s; install %s, or remove what needs it from the flow",
			it.title(), live.ErrUnavailable, e.cluster.Server, it.kind.name, product)
	}
	if s.before, err = e.api.read(ctx, it.kind, it.name()); err != nil {
		return s, nil, nil, err
	}
	if s.before != nil && !s.before.ours() {
		return s, nil, nil, notOurs(s.before)
	}
	if s.stored, err = e.api.apply(ctx, it.kind, it.object, true); err != nil {
		return s, nil, nil, err
	}
	if s.before == nil {
		return s, []live.Change{{Object: it.title(), Kind: live.Add}}, nil, nil
	}
	if touched(s.before) {
		// What others added would stay: an apply takes away only what mf itself had set.
		if s.stored, err = e.api.wouldStore(ctx, it.kind, it.object); err != nil {
			return s, nil, nil, err
		}
		notes = keepSuspended(s)
	}
	was := s.before.applied()
	changes = compare(s.before, s.stored, was)
	if was != nil && slices.ContainsFunc(changes, func(c live.Change) bool { return c.ByHand != "" }) {
		// What mf applied, with the defaults that the server adds: else they look like an edit. Where the server does not take
		// it any more, the comparison stands as it is.
		was.metadata()["namespace"] = e.cluster.Namespace
		if stored, err := e.api.wouldStore(ctx, it.kind, was); err == nil {
			changes = compare(s.before, s.stored, stored)
		}
	}
	if was == nil {
		notes = append(notes, it.title()+" was not put there by mf deploy: what was changed by hand cannot be told from what the flow changes")
	}
	return s, changes, notes, nil
}

// keepSuspended leaves a schedule that somebody has suspended as it is: that is a matter of operation, not of the flow.
func keepSuspended(s step) []string {
	suspended, _ := dig(map[string]any(s.before), "spec", "suspend").(bool)
	spec, _ := s.stored["spec"].(map[string]any)
	if s.kind != cronWorkflows || !suspended || spec == nil {
		return nil
	}
	if _, own := spec["suspend"]; own {
		return nil
	}
	spec["suspend"] = true
	return []string{fmt.Sprintf("the schedule is suspended and stays so; \"argo cron resume %s\" lets it start runs again", s.name())}
}

// notOurs says whose an object may be.
func notOurs(o object) error {
	hint := "give the flow another name with --name, or delete it first"
	if o.label("app.kubernetes.io/part-of") == "metaflow" || o.annotation(annotationMetaflowToken) != "" {
		hint = "Metaflow deployed it; delete it with \"argo-workflows delete\" of its flow, or give this flow another name with --name"
	}
	return fmt.Errorf("%s in namespace %s %w: %s", o.title(), o.text("namespace"), live.ErrNotOurs, hint)
}

// leftOver finds what an earlier deploy of the name left and the files no longer have.
func (e *Engine) leftOver(ctx context.Context, deployment string, items []item) (steps []step, notes []string, err error) {
	objects, notes, err := e.starters(ctx, deployment)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range objects {
		if slices.ContainsFunc(items, func(it item) bool { return it.kind == o.kind && it.name() == o.name() }) {
			continue
		}
		before, err := e.api.read(ctx, o.kind, o.name())
		if err != nil {
			return nil, nil, err
		}
		if err := e.api.remove(ctx, o.kind, o.name(), true); err != nil {
			return nil, nil, err
		}
		if before != nil {
			steps = append(steps, step{item: o, before: before, remove: true})
		}
	}
	return steps, notes, nil
}

// starters lists the objects that start runs of a deployment by themselves: schedules and sensors.
func (e *Engine) starters(ctx context.Context, deployment string) (items []item, notes []string, err error) {
	for _, k := range kinds() {
		if !k.starts || !e.serves(k) {
			continue
		}
		query := map[string]string{"labelSelector": labelManagedBy + "=" + manager}
		err := list(ctx, e.api, k, query, onlyMetadataList, func(o object) {
			o["apiVersion"], o["kind"] = k.group+"/"+k.version, k.name
			if o.belongs(deployment) {
				items = append(items, item{k, o})
			}
		})
		if err != nil {
			if k.product == "" || !isDenied(err) {
				return nil, nil, err
			}
			notes = append(notes, fmt.Sprintf("whether an earlier deploy left a %s could not be seen: %v", k.name, err))
		}
	}
	return items, notes, nil
}
