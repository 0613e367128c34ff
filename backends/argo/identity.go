package argo

import (
	"maps"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/pod"
	"github.com/mf-run/mf/ir"
)

// runtimeName is Metaflow's name of this engine.
const runtimeName = "argo-workflows"

// Labels by which mf, and whoever else, finds what it made.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelFlow      = "mf.run/flow"
	labelStep      = "mf.run/step"
	// labelDeployment is the deployed name, on everything that belongs to the deployment: its runs too.
	labelDeployment = "mf.run/deployment"
)

// Annotations of mf's own.
const (
	// annotationFlow is the flow's name, where labelFlow cannot be.
	annotationFlow = labelFlow
	// annotationSteps maps the templates that could not keep their step's name back to it, as JSON.
	annotationSteps = "mf.run/steps"
	// annotationProject and annotationBranch are those of @project.
	annotationProject = "mf.run/project"
	annotationBranch  = "mf.run/branch"
	// annotationVersion is the version of mf that made the object, annotationPackage the digest of the code package.
	annotationVersion = "mf.run/version"
	annotationPackage = "mf.run/code-package"
	// annotationToken is the production token, annotationOwner who deployed.
	annotationToken = "mf.run/production-token"
	annotationOwner = "mf.run/owner"
	// annotationOrigin is the run that this one resumes.
	annotationOrigin = "mf.run/origin"
)

// labels select what belongs to the deployment. The flow's name stands where Kubernetes takes it as a label, else the
// deployed one.
func (e *emitter) ownLabels() map[string]string {
	flow := e.flow.Name
	if !isLabel(flow) {
		flow = e.name
	}
	labels := map[string]string{labelManagedBy: "mf", labelFlow: flow}
	if isLabel(e.name) {
		labels[labelDeployment] = e.name
	}
	return labels
}

func isLabel(text string) bool { return len(validation.IsValidLabelValue(text)) == 0 }

// ownAnnotations say of a deployment, and of each of its runs, whose and what it is.
func (e *emitter) ownAnnotations() map[string]string {
	annotations := map[string]string{}
	maps.Copy(annotations, e.metaflowAnnotations())
	for key, value := range map[string]string{
		annotationPackage: e.opt.Package, annotationToken: e.opt.Token, annotationOrigin: e.opt.Origin,
	} {
		if value != "" {
			annotations[key] = value
		}
	}
	if !isLabel(e.flow.Name) {
		annotations[annotationFlow] = e.flow.Name
	}
	if backends.KnownUser(e.opt) {
		annotations[annotationOwner] = e.opt.User
	}
	if e.project != nil {
		annotations[annotationProject] = e.project.Name
		annotations[annotationBranch] = e.project.Branch
	}
	return annotations
}

// metaflowAnnotations are those by which Metaflow's own tools tell a deployment of theirs and whose it is. They ask for an
// owner and a token together, so that without a token there are none.
func (e *emitter) metaflowAnnotations() map[string]string {
	if e.opt.Token == "" {
		return nil
	}
	annotations := map[string]string{
		"metaflow/flow_name":        e.flow.Name,
		"metaflow/production_token": e.opt.Token,
		"metaflow/owner":            e.opt.User,
	}
	if e.project != nil {
		annotations["metaflow/project_name"] = e.project.Name
		annotations["metaflow/branch_name"] = e.project.Branch
		annotations["metaflow/project_flow_name"] = e.project.FlowName
	}
	return annotations
}

// runMetadata is what every run's Workflow carries, however it was started.
func (e *emitter) runMetadata() *wfv1.WorkflowMetadata {
	annotations := e.ownAnnotations()
	if taken := e.takenAnnotation(); taken != "" {
		annotations[annotationTaken] = taken
	}
	if e.opt.Token != "" {
		annotations["metaflow/run_id"] = runID
	}
	return &wfv1.WorkflowMetadata{Labels: e.ownLabels(), Annotations: annotations}
}

// startedMetadata is what a schedule and a sensor give the runs that they start. The controller gives a run that of the
// template only when it takes it up, and never to one that it held back before, because too many others were under way. Which
// code runs is for the template alone to say.
func (e *emitter) startedMetadata() *metav1.ObjectMeta {
	annotations := e.ownAnnotations()
	delete(annotations, annotationPackage)
	return &metav1.ObjectMeta{Labels: e.ownLabels(), Annotations: annotations}
}

// runEnvironment tells every container which run this is on Argo, under Metaflow's names, and which events started it.
func (e *emitter) runEnvironment() []corev1.EnvVar {
	vars := []corev1.EnvVar{
		{Name: "ARGO_WORKFLOW_NAME", Value: "{{workflow.name}}"},
		{Name: "ARGO_WORKFLOW_NAMESPACE", Value: "{{workflow.namespace}}"},
		{Name: "ARGO_WORKFLOW_TEMPLATE", Value: e.name},
	}
	if address := e.setting(setEventsURL); address != "" {
		e.checkAddress(setEventsURL, address)
		vars = append(vars, corev1.EnvVar{Name: ir.EnvEventsURL, Value: address})
	}
	return append(vars, e.eventEnvironment()...)
}

// tokenPath is where Kubernetes puts the service account's token. It leaves a container alone that has a mount of its own
// there, whatever the others of the pod have: that is how the task is kept from the token which Argo's containers need,
// on every cluster. (automountServiceAccountToken would take it from those too, unless the cluster has a secret with a
// token of its own for them.) The credentials of clouds, which are mounted elsewhere, stay.
const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// noTokenVolume is the empty folder in its place.
const noTokenVolume = "no-token"

// tokenPlan is which containers get the token.
type tokenPlan struct {
	// all is set when every step has it, some when the steps do that name a service account.
	all, some bool
}

func (e *emitter) planTokens() tokenPlan {
	p := tokenPlan{all: e.boolSetting(setAutomountToken)}
	for _, s := range e.flow.Steps {
		p.some = p.some || namesAccount(s)
	}
	return p
}

// namesAccount reports whether the step asks for a service account, which is of use to it with its token alone.
func namesAccount(s *ir.Step) bool {
	d := s.Decorator("kubernetes")
	return d != nil && d.Attributes.String("service_account", "") != ""
}

// tokenVolumes is the volume behind tokenMask.
func (e *emitter) tokenVolumes() []corev1.Volume {
	if e.tokens.all {
		return nil
	}
	return []corev1.Volume{pod.EmptyDir(noTokenVolume)}
}

// tokenMask hides the token from a container of mf's own.
func (e *emitter) tokenMask() []corev1.VolumeMount {
	if e.tokens.all {
		return nil
	}
	return []corev1.VolumeMount{{Name: noTokenVolume, MountPath: tokenPath, ReadOnly: true}}
}

// defaultTokenMask hides it in templateDefaults, from all steps. A default cannot be undone in a template: where a step
// keeps its token, the others hide theirs each for itself.
func (e *emitter) defaultTokenMask() []corev1.VolumeMount {
	if e.tokens.some {
		return nil
	}
	return e.tokenMask()
}

// hideToken is for a step where templateDefaults does not do it.
func (e *emitter) hideToken(s *ir.Step, t *wfv1.Template) {
	if e.tokens.some && t.Container != nil && (s == nil || !namesAccount(s)) {
		t.Container.VolumeMounts = append(t.Container.VolumeMounts, e.tokenMask()...)
	}
}
