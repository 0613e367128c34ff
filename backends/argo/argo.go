// Package argo emits a flow for Argo Workflows: a WorkflowTemplate, a CronWorkflow where the flow has a schedule, and a
// Sensor of Argo Events where it has triggers.
//
// Each step is a container template, the flow and each foreach body of several steps a DAG template. A task is told its
// split path and nothing else: the number of splits is the only value that travels through Argo. What all containers
// share stands once, in templateDefaults. docs/targets-argo.md describes the files to their readers.
package argo

import (
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Backend emits for Argo Workflows 3.6 to 4.x.
type Backend struct{}

// The target's own settings.
const (
	setNamespace        = "argo.namespace"
	setServiceAccount   = "argo.service-account"
	setSecrets          = "argo.secrets"
	setImagePullPolicy  = "argo.image-pull-policy"
	setImagePullSecrets = "argo.image-pull-secrets"
	setNodeSelector     = "argo.node-selector"
	setCPU              = "argo.cpu"
	setMemory           = "argo.memory"
	setDisk             = "argo.disk"
	setWorkflowTimeout  = "argo.workflow-timeout"
	setPriority         = "argo.priority"
	setPodGC            = "argo.pod-gc"
	setTTLSuccess       = "argo.ttl-success"
	setTTLFailure       = "argo.ttl-failure"
	setHardened         = "argo.hardened"
	setRunAsUser        = "argo.run-as-user"
	setAutomountToken   = "argo.automount-token"
	setEventSource      = "argo.event-source"
	setEventName        = "argo.event-name"
	setEventBus         = "argo.event-bus"
	setEventAccount     = "argo.event-service-account"
	setEventsURL        = "argo.events-url"
	setNotifyOn         = "argo.notify-on"
	setNotifySecret     = "argo.notify-secret"
	setRunURL           = "argo.run-url"
	setRecordExit       = "argo.record-exit"
)

// Settings lists the target's own settings.
func (Backend) Settings() []backends.Setting {
	return []backends.Setting{
		{Name: setNamespace, Help: "Namespace written into the manifests; empty leaves it to whoever applies them"},
		{Name: setServiceAccount, Help: "Service account of the pods"},
		{Name: setSecrets, Help: "Kubernetes secrets, separated by commas, that every task has as environment variables"},
		{Name: setImagePullPolicy, Help: "Always, IfNotPresent or Never"},
		{Name: setImagePullSecrets, Help: "Secrets, separated by commas, with which images are pulled"},
		{Name: setNodeSelector, Help: "Labels of the nodes to run on, as key=value separated by commas"},
		{Name: setCPU, Default: "1", Help: "CPU cores of a step that asks for no resources"},
		{Name: setMemory, Default: "4096", Help: "Megabytes of memory of a step that asks for no resources"},
		{Name: setDisk, Default: "10240", Help: "Megabytes of disk of a step that asks for no resources; 0 asks for none"},
		{Name: setWorkflowTimeout, Help: "Seconds after which a run is stopped; empty for never"},
		{Name: setPriority, Help: "Priority of the runs among all workflows of the controller"},
		{Name: setPodGC, Default: "OnPodSuccess",
			Help: "When pods are deleted: OnPodSuccess, OnPodCompletion, OnWorkflowSuccess, OnWorkflowCompletion or Never"},
		{Name: setTTLSuccess, Default: "86400", Help: "Seconds until the Workflow object of a successful run is deleted; 0 for never"},
		{Name: setTTLFailure, Default: "604800", Help: "Seconds until the Workflow object of a failed run is deleted; 0 for never"},
		{Name: setHardened, Default: "true", Help: "Whether containers lose all capabilities and cannot gain privileges"},
		{Name: setRunAsUser, Help: "Numeric user that containers run as; empty for the image's"},
		{Name: setAutomountToken, Default: "false", Help: "Whether every task has the service account's token"},
		{Name: setEventSource, Default: "argo-events-webhook", Help: "Event source of Argo Events that sensors listen to"},
		{Name: setEventName, Default: "metaflow-event", Help: "Name that the event source gives its events"},
		{Name: setEventBus, Default: "default", Help: "Event bus of Argo Events"},
		{Name: setEventAccount, Default: "operate-workflow-sa", Help: "Service account of sensors, which creates workflows"},
		{Name: setEventsURL, Help: "URL of the event source, to which the end of a run is published; empty for nowhere"},
		{Name: setNotifyOn, Help: "When to notify at a run's end: error, success or both; empty for never"},
		{Name: setNotifySecret, Help: "Kubernetes secret that says whom to notify"},
		{Name: setRunURL, Help: "URL of a page that shows a run, for notifications; {name}, {namespace}, {run} and {flow} are filled in"},
		{Name: setRecordExit, Default: "false", Help: "Whether a run's outcome is recorded at its end even where no task could"},
	}
}

// Features says what this target can do.
func (Backend) Features() ir.Features {
	compute := func(instead string) ir.Limit {
		return ir.Limit{Reason: "runs every step as a Kubernetes pod", WayOut: instead}
	}
	const kubernetes = "Use @resources or @kubernetes instead."
	return ir.Features{
		Target: "argo",
		Decorators: map[string]ir.Limit{
			"batch":         compute(kubernetes),
			"snowpark":      compute(kubernetes),
			"slurm":         compute(kubernetes),
			"nvidia":        compute(kubernetes),
			"nvct":          compute(kubernetes),
			"skypilot_step": compute(kubernetes),
		},
		CronFields: 5,
	}
}

// Emit returns workflowtemplate.yaml, cronworkflow.yaml where the flow has a schedule, and sensor.yaml where events start it.
func (b Backend) Emit(f *ir.Flow, opt backends.Options) ([]backends.File, diag.List) {
	g := ir.NewGraph(f)
	list := append(backends.CheckOptions(opt), backends.CheckSettings(opt, b.Settings())...)
	list = append(list, b.Features().Unsupported(g)...)
	list = append(list, backends.CheckScheduled(f)...)
	if list.HasErrors() {
		list.Sort()
		return nil, list
	}
	e := newEmitter(g, opt, b.Settings())
	e.list = append(e.list, list...)
	template := e.workflowTemplate()
	var cron *wfv1.CronWorkflow
	var sensor *Sensor
	if opt.Instance == "" {
		cron, sensor = e.cronWorkflow(), e.sensor()
	}
	e.checkSize(template)
	e.list.Sort()
	if e.list.HasErrors() {
		return nil, e.list
	}
	files := []backends.File{{Path: "workflowtemplate.yaml", Data: e.render(template)}}
	if cron != nil {
		files = append(files, backends.File{Path: "cronworkflow.yaml", Data: e.render(cron)})
	}
	if sensor != nil {
		files = append(files, backends.File{Path: "sensor.yaml", Data: e.render(sensor)})
	}
	return files, e.list
}
