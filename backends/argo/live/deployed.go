package argolive

import (
	"cmp"
	"context"

	"github.com/mf-run/mf/backends/live"
)

// Deployed implements live.Engine.
func (e *Engine) Deployed(ctx context.Context, deployment string) (live.Deployed, error) {
	if err := e.installed(ctx); err != nil {
		return live.Deployed{}, err
	}
	o, err := e.template(ctx, deployment)
	if err != nil {
		return live.Deployed{}, err
	}
	d := live.Deployed{Name: deployment, Flow: o.flow(), Token: o.token(), Owner: o.owner()}
	declared, _ := dig(map[string]any(o), "spec", "arguments", "parameters").([]any)
	for _, p := range declared {
		if name, _ := dig(p, "name").(string); name != "" {
			d.Parameters = append(d.Parameters, name)
		}
	}
	return d, nil
}

// flow is the name of the flow that an object belongs to.
func (o object) flow() string { return cmp.Or(o.annotation(annotationFlow), o.label(labelFlow)) }

// owner is who deployed an object; empty where it does not say.
func (o object) owner() string {
	if owner := o.annotation(annotationOwner); owner != "" {
		return owner
	}
	return o.annotation(annotationMetaflowOwner)
}

// give makes a template go when the only Workflow that was started from it goes.
func (e *Engine) give(ctx context.Context, template string, workflow object) error {
	_, err := e.api.merge(ctx, workflowTemplates, template, map[string]any{"metadata": map[string]any{"ownerReferences": []any{map[string]any{
		"apiVersion": argoGroup + "/" + argoVersion, "kind": workflows.name, "name": workflow.name(), "uid": workflow.text("uid"),
	}}}})
	return err
}
