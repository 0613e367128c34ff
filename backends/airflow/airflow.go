// Package airflow emits a flow as one Python file that defines an Airflow DAG, valid for Airflow 2.9 and later and for 3.x.
//
// Each step is a KubernetesPodOperator whose pod runs mf-task. What lies inside a foreach is a mapped task group, one
// instance for each split path; a foreach inside a foreach, which Airflow cannot nest, is a group of its own over the
// flattened list of paths. Only numbers of splits travel through Airflow. docs/targets-airflow.md describes the file to
// its readers.
package airflow

import (
	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Backend emits for Airflow.
type Backend struct{}

// The target's own settings.
const (
	setNamespace        = "airflow.namespace"
	setServiceAccount   = "airflow.service-account"
	setSecrets          = "airflow.secrets"
	setImagePullPolicy  = "airflow.image-pull-policy"
	setImagePullSecrets = "airflow.image-pull-secrets"
	setNodeSelector     = "airflow.node-selector"
	setConnection       = "airflow.kubernetes-connection"
	setCPU              = "airflow.cpu"
	setMemory           = "airflow.memory"
	setDisk             = "airflow.disk"
	setStartupTimeout   = "airflow.startup-timeout"
	setMaxMapLength     = "airflow.max-map-length"
	setTags             = "airflow.tags"
)

// Settings lists the target's own settings.
func (Backend) Settings() []backends.Setting {
	return []backends.Setting{
		{Name: setNamespace, Help: "Namespace of the pods; empty for that of Airflow's Kubernetes connection"},
		{Name: setServiceAccount, Help: "Service account of the pods"},
		{Name: setSecrets, Help: "Kubernetes secrets, separated by commas, that every task has as environment variables"},
		{Name: setImagePullPolicy, Help: "Always, IfNotPresent or Never"},
		{Name: setImagePullSecrets, Help: "Secrets, separated by commas, with which images are pulled"},
		{Name: setNodeSelector, Help: "Labels of the nodes to run on, as key=value separated by commas"},
		{Name: setConnection, Help: "Airflow connection to the cluster; empty for kubernetes_default"},
		{Name: setCPU, Default: "1", Help: "CPU cores of a step that asks for no resources"},
		{Name: setMemory, Default: "4096", Help: "Megabytes of memory of a step that asks for no resources"},
		{Name: setDisk, Default: "10240", Help: "Megabytes of disk of a step that asks for no resources; 0 asks for none"},
		{Name: setStartupTimeout, Default: "3600", Help: "Seconds that a pod may take to start"},
		{Name: setMaxMapLength, Default: "1024", Help: "Most splits of a foreach: Airflow's core.max_map_length"},
		{Name: setTags, Default: "mf", Help: "Tags of the DAG, separated by commas"},
	}
}

// Features says what this target can do.
func (Backend) Features() ir.Features {
	elsewhere := func(why string) ir.Limit { return ir.Limit{Reason: why, WayOut: "Run it locally with mf run."} }
	compute := ir.Limit{Reason: "runs every step as a Kubernetes pod", WayOut: "Use @resources or @kubernetes instead."}
	start := func(why, decorator string) ir.Limit {
		return ir.Limit{Reason: why, WayOut: "Remove @" + decorator + " and start runs by hand or by @schedule."}
	}
	return ir.Features{
		Target: "airflow",
		Missing: map[ir.Feature]ir.Limit{
			ir.FeatureSwitch:        elsewhere("cannot yet choose between branches"),
			ir.FeatureRecursion:     elsewhere("cannot yet repeat a step"),
			ir.FeatureParallel:      elsewhere("cannot yet start a gang of tasks"),
			ir.FeatureTrigger:       start("cannot yet listen to events", "trigger"),
			ir.FeatureTriggerFinish: start("cannot yet listen to other flows", "trigger_on_finish"),
			ir.FeatureExitHook: {Reason: "cannot yet call exit hooks",
				WayOut: "Remove @exit_hook, or do its work in the end step."},
		},
		Decorators: map[string]ir.Limit{
			"batch":                        compute,
			"snowpark":                     compute,
			"slurm":                        compute,
			"nvidia":                       compute,
			"nvct":                         compute,
			"skypilot_step":                compute,
			"airflow_external_task_sensor": start("cannot yet wait for another DAG", "airflow_external_task_sensor"),
			"airflow_s3_key_sensor":        start("cannot yet wait for an object in S3", "airflow_s3_key_sensor"),
		},
		MaxFlowName: maxName,
		MaxStepName: maxName - len("-foreach-99"),
		MaxSplits:   1024,
		CronFields:  5,
	}
}

// Emit returns one Python file, named after the DAG.
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
	data := e.file()
	e.list.Sort()
	if e.list.HasErrors() {
		return nil, e.list
	}
	return []backends.File{{Path: fileName(e.name), Data: data}}, e.list
}

// DAGID returns the id of the DAG as which the flow is deployed.
func DAGID(f *ir.Flow, opt backends.Options) (string, diag.List) {
	opt = opt.WithDefaults()
	project, list := backends.ProjectOf(f, opt)
	name, more := dagID(f, project, opt)
	return name, append(list, more...)
}
