package argolive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
)

// workflow is what is read of a Workflow: much less than it has.
type workflow struct {
	Metadata struct {
		Name              string            `json:"name"`
		Labels            map[string]string `json:"labels"`
		Annotations       map[string]string `json:"annotations"`
		CreationTimestamp time.Time         `json:"creationTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Shutdown            string `json:"shutdown"`
		WorkflowTemplateRef struct {
			Name string `json:"name"`
		} `json:"workflowTemplateRef"`
	} `json:"spec"`
	Status workflowStatus `json:"status"`
}

type workflowStatus struct {
	Phase      string    `json:"phase"`
	Message    string    `json:"message"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	// Nodes are decoded only where they are wanted.
	Nodes           json.RawMessage `json:"nodes"`
	CompressedNodes string          `json:"compressedNodes"`
	Offloaded       string          `json:"offloadNodeStatusVersion"`
	Stored          struct {
		Templates        []json.RawMessage `json:"templates"`
		WorkflowMetadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"workflowMetadata"`
	} `json:"storedWorkflowTemplateSpec"`
}

// run is the Workflow in the words of all engines, without its steps.
func (w *workflow) run() live.Run {
	r := live.Run{
		Name: w.Metadata.Name, ID: runPrefix + w.Metadata.Name,
		Deployment: cmp.Or(w.Metadata.Labels[labelDeployment], w.Spec.WorkflowTemplateRef.Name),
		Flow:       cmp.Or(w.Metadata.Annotations[annotationFlow], w.Metadata.Labels[labelFlow]),
		Phase:      phaseOf(w.Status.Phase, w.Spec.Shutdown != ""),
		Started:    w.Status.StartedAt, Finished: w.Status.FinishedAt,
		Message: oneLine(w.Status.Message),
	}
	if r.Started.IsZero() {
		r.Started = w.Metadata.CreationTimestamp
	}
	return r
}

// phaseOf translates the phase of a Workflow or a node. What failed while it was being stopped was stopped.
func phaseOf(phase string, stopped bool) live.Phase {
	switch phase {
	case "", "Pending":
		return live.Pending
	case "Running":
		return live.Running
	case "Succeeded":
		return live.Succeeded
	case "Skipped", "Omitted":
		return live.Skipped
	}
	if stopped {
		return live.Stopped
	}
	return live.Failed
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// Start starts a run by reference to the deployment's template, which a locked-down controller accepts too.
func (e *Engine) Start(ctx context.Context, deployment string, s live.Start) (live.Run, error) {
	if err := e.installed(ctx); err != nil {
		return live.Run{}, err
	}
	template, err := e.template(ctx, deployment)
	if err != nil {
		return live.Run{}, err
	}
	arguments, err := argumentsOf(template, s.Parameters)
	if err != nil {
		return live.Run{}, err
	}
	labels := map[string]any{
		labelManagedBy: manager, labelDeployment: deployment, "workflows.argoproj.io/workflow-template": deployment,
	}
	if flow := template.label(labelFlow); flow != "" {
		labels[labelFlow] = flow
	}
	annotations := map[string]any{}
	if flow := template.annotation(annotationFlow); flow != "" {
		annotations[annotationFlow] = flow
	}
	metadata := map[string]any{"namespace": e.cluster.Namespace, "labels": labels, "annotations": annotations}
	var notes []string
	if s.Name != "" {
		metadata["name"] = s.Name
	} else {
		metadata["generateName"] = deployment + "-"
	}
	if s.User != "" {
		annotations[annotationUser] = s.User
	}
	spec := map[string]any{"workflowTemplateRef": map[string]any{"name": deployment}}
	if len(arguments) > 0 {
		spec["arguments"] = map[string]any{"parameters": arguments}
	}
	for {
		made, err := e.api.create(ctx, workflows, object{
			"apiVersion": argoGroup + "/" + argoVersion, "kind": workflows.name, "metadata": metadata, "spec": spec,
		})
		if err != nil {
			return live.Run{}, err
		}
		run := live.Run{
			Name: made.name(), ID: runPrefix + made.name(), Deployment: deployment, Flow: template.flow(),
			Phase: live.Pending, Started: e.now().UTC().Truncate(time.Second), Notes: notes,
		}
		if s.Owns {
			if err := e.give(ctx, deployment, made); err != nil {
				return run, fmt.Errorf("run %s has been started, but its template %s would outlive it: %w", run.ID, deployment, err)
			}
		}
		if !s.Owns && !youngerThan(freshTemplate, template, made) {
			return run, nil
		}
		err = e.takenUp(ctx, run.Name, template)
		if errors.Is(err, errOutdated) && len(notes) < outdatedTimes && s.Name == "" {
			notes = append(notes, fmt.Sprintf("run %s began with the deployment as it was before, which Argo's controller still had; it was stopped, and another started", run.ID))
			if _, err = e.api.merge(ctx, workflows, run.Name, map[string]any{"spec": map[string]any{"shutdown": "Terminate"}}); err == nil {
				continue
			}
		}
		if err != nil {
			err = fmt.Errorf("run %s has been started, but: %w", run.ID, err)
		}
		return run, err
	}
}

// argumentsOf checks the parameters given against those of the template. All that is wrong is said at once.
func argumentsOf(template object, given map[string]string) ([]any, error) {
	declared, _ := dig(map[string]any(template), "spec", "arguments", "parameters").([]any)
	var all, arguments []any
	var problems []error
	known := map[string]bool{}
	var describe []string
	for _, p := range declared {
		name := scalar(dig(p, "name"))
		known[name] = true
		value, ok := given[name]
		mustBeGiven := dig(p, "value") == nil && dig(p, "valueFrom") == nil && dig(p, "default") == nil
		switch {
		case ok:
			arguments = append(arguments, map[string]any{"name": name, "value": value})
		case mustBeGiven:
			problems = append(problems, fmt.Errorf("parameter %s has no default and must be given", name))
		}
		all = append(all, name)
		text := name
		if !mustBeGiven {
			text += " (default " + shorten(parameterText(p)) + ")"
		}
		describe = append(describe, text)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !known[name] {
			problems = append(problems, fmt.Errorf("there is no parameter %s", name))
		}
	}
	if len(problems) == 0 {
		return arguments, nil
	}
	hint := template.name() + " takes no parameters"
	if len(all) > 0 {
		hint = template.name() + " takes: " + strings.Join(describe, ", ")
	}
	return nil, errors.Join(append(problems, errors.New(hint))...)
}

// shorten keeps a value from filling a message.
func shorten(text string) string {
	const most = 40
	text = oneLine(text)
	if text == "" {
		return `""`
	}
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// Runs lists the runs that the cluster still has: Argo deletes ended ones after a while, which their records outlive.
func (e *Engine) Runs(ctx context.Context, deployment string) ([]live.Run, error) {
	if err := e.installed(ctx); err != nil {
		return nil, err
	}
	selector := labelFlow
	if deployment != "" {
		selector = labelDeployment + "=" + deployment
	}
	var runs []live.Run
	err := list(ctx, e.api, workflows, map[string]string{"labelSelector": selector}, "", func(w workflow) {
		runs = append(runs, w.run())
	})
	slices.SortFunc(runs, func(a, b live.Run) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(a.Name, b.Name))
	})
	return runs, err
}

// workflow finds a run by the Workflow's name or by the run's id.
func (e *Engine) workflow(ctx context.Context, run string) (*workflow, error) {
	if err := e.installed(ctx); err != nil {
		return nil, err
	}
	names := []string{run}
	if name, ok := strings.CutPrefix(run, runPrefix); ok && name != "" {
		names = append(names, name)
	}
	for _, name := range names {
		var w workflow
		err := e.api.do(ctx, workflows.path(e.cluster.Namespace, name), request{verb: "get", resource: workflows.resource(), name: name}, &w)
		if err == nil {
			return &w, nil
		}
		if !isNotFound(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("run %s in namespace %s: %w: Argo deletes the Workflow of an ended run after a while; its records stay (mf show)",
		run, e.cluster.Namespace, live.ErrNotFound)
}

// Stop tells the tasks to stop and lets exit hooks run; asked again, it ends those too.
func (e *Engine) Stop(ctx context.Context, run string) error {
	w, err := e.workflow(ctx, run)
	if err != nil {
		return err
	}
	if w.run().Phase.Ended() {
		return nil
	}
	strategy := "Stop"
	if w.Spec.Shutdown != "" {
		strategy = "Terminate"
	}
	_, err = e.api.merge(ctx, workflows, w.Metadata.Name, map[string]any{"spec": map[string]any{"shutdown": strategy}})
	return err
}
