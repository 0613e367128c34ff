// Package argolive puts compiled flows on a running Argo Workflows and looks after their runs there: backends/live.Engine
// over the Kubernetes API. What comes in are the files that backends/argo emitted; what goes out are differences, runs and
// errors in the flow's words. It keeps no state of its own: everything is in the objects' labels and annotations.
package argolive

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

// Labels and annotations of what mf puts on a cluster. Those of backends/argo are repeated here for objects that are
// read, not written.
const (
	labelManagedBy  = "app.kubernetes.io/managed-by"
	labelFlow       = "mf.run/flow"
	labelStep       = "mf.run/step"
	labelDeployment = "mf.run/deployment"
	// manager is mf's name as the manager of objects and of their fields.
	manager = "mf"

	// annotationFlow has the flow's name where the label cannot.
	annotationFlow  = labelFlow
	annotationSteps = "mf.run/steps"
	annotationToken = "mf.run/production-token"
	// annotationMetaflowToken is where Metaflow itself keeps the token of what it deploys.
	annotationMetaflowToken = "metaflow/production_token"
	// annotationApplied holds what mf applied last, so that a later deploy can tell a change of the flow from one by hand.
	annotationApplied = "mf.run/last-applied"
	// annotationMark stands in what every run carries of its template, and tells one form of the template from the next.
	annotationMark = "mf.run/template"
	// annotationOwner says who deployed, annotationMetaflowOwner does so where Metaflow looks.
	annotationOwner         = "mf.run/owner"
	annotationMetaflowOwner = "metaflow/owner"
	// annotationTaken says of a run which tasks of another it has taken over that no node stands for: a JSON list of
	// takenTasks.
	annotationTaken = "mf.run/taken-over"
	// annotationUser says who started a run.
	annotationUser = "mf.run/started-by"
)

// runPrefix makes a run's id of its Workflow's name, as Metaflow does.
const runPrefix = "argo-"

// Options say which Argo to talk to.
type Options struct {
	// Cluster is the cluster and the namespace.
	Cluster cluster.Options
	// Now is the clock, for messages; nil: the machine's.
	Now func() time.Time
}

// Engine is Argo Workflows in one namespace of a cluster. It implements live.Engine.
type Engine struct {
	cluster *cluster.Cluster
	api     *client
	now     func() time.Time

	// served are the resources of Argo's API group that the cluster has; nil before it was asked.
	served map[string]bool
}

var _ live.Engine = (*Engine)(nil)

// Open prepares the connection; the first request makes it. Errors: those of cluster.Open, with the ways out.
func Open(opt Options) (*Engine, error) {
	c, err := cluster.Open(opt.Cluster)
	if err != nil {
		return nil, withWaysOut(err)
	}
	return On(c, opt.Now)
}

// On is Open for a cluster that is already known.
func On(c *cluster.Cluster, now func() time.Time) (*Engine, error) {
	api, err := newClient(c)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &Engine{cluster: c, api: api, now: now}, nil
}

// String says where it is.
func (e *Engine) String() string { return "Argo Workflows at " + e.cluster.String() }

// Namespace is the namespace that the engine works in.
func (e *Engine) Namespace() string { return e.cluster.Namespace }

// installed asks once which of Argo's kinds the cluster serves. Everybody who may log in may ask that.
func (e *Engine) installed(ctx context.Context) error {
	if e.served != nil {
		return nil
	}
	var list struct {
		Resources []struct{ Name string }
	}
	err := e.api.do(ctx, "/apis/"+argoGroup+"/"+argoVersion, request{verb: "get", resource: argoGroup}, &list)
	if err != nil && !isNotFound(err) {
		return err
	}
	served := map[string]bool{}
	for _, r := range list.Resources {
		served[r.Name] = true
	}
	if !served[workflowTemplates.plural] {
		return fmt.Errorf("the Argo Workflows of %s %w: it is not installed, the cluster knows no WorkflowTemplates; "+
			"https://argo-workflows.readthedocs.io says how to install it", e.cluster.Server, live.ErrUnavailable)
	}
	e.served = served
	return nil
}

// serves reports whether the cluster knows a kind. installed has been asked.
func (e *Engine) serves(k *kind) bool { return k.group != argoGroup || e.served[k.plural] }

// ControllerVersion returns the version of Argo's controller, such as "v3.7.14", as the tag of its image has it; empty
// where it cannot be seen, which most users may not.
func (e *Engine) ControllerVersion(ctx context.Context) string {
	var list struct{ Items []struct{ Spec podHolder } }
	err := e.api.do(ctx, "/apis/apps/v1/deployments", request{verb: "list", resource: "deployments.apps",
		query: map[string]string{"fieldSelector": "metadata.name=workflow-controller"}}, &list)
	if err != nil || len(list.Items) == 0 || len(list.Items[0].Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	image := list.Items[0].Spec.Template.Spec.Containers[0].Image
	_, tag, _ := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	tag, _, _ = strings.Cut(tag, "@")
	return tag
}

type podHolder struct {
	Template struct {
		Spec struct{ Containers []struct{ Image string } }
	}
}

// isNotFound reports whether the server said so of what was asked for.
func isNotFound(err error) bool { return statusOf(err) == http.StatusNotFound }
