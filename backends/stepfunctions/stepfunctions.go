// Package stepfunctions emits a flow for AWS Step Functions with AWS Batch: a state machine in the Amazon States
// Language, the requests that register its Batch job definitions, and the request for an EventBridge schedule where the
// flow has one.
//
// Each step is a Task state that submits one Batch job and waits for it. A task is told its run and its split path and
// nothing else; a foreach is a Distributed Map over a list of indices that the splitting task left in S3.
// docs/targets-step-functions.md describes the files to their readers, docs/decisions/0003-step-functions-form.md says
// why they look so.
package stepfunctions

import (
	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Backend emits for AWS Step Functions.
type Backend struct{}

// The names of the emitted files.
const (
	// MachineFile holds the definition of the state machine.
	MachineFile = "state-machine.asl.json"
	// JobsFile holds a list of RegisterJobDefinition requests of AWS Batch.
	JobsFile = "job-definitions.json"
	// ScheduleFile holds a CreateSchedule request of EventBridge Scheduler.
	ScheduleFile = "schedule.json"
)

// The target's own settings.
const (
	setPartition     = "step-functions.partition"
	setRegion        = "step-functions.region"
	setAccount       = "step-functions.account"
	setQueue         = "step-functions.queue"
	setJobRole       = "step-functions.job-role"
	setExecutionRole = "step-functions.execution-role"
	setScheduleRole  = "step-functions.schedule-role"
	setCPU           = "step-functions.cpu"
	setMemory        = "step-functions.memory"
)

// Settings lists the target's own settings.
func (Backend) Settings() []backends.Setting {
	return []backends.Setting{
		{Name: setPartition, Default: "aws", Help: "Partition in ARNs: aws, aws-cn or aws-us-gov"},
		{Name: setRegion, Default: "REPLACE-WITH-REGION", Help: "Region of the state machine, for the schedule"},
		{Name: setAccount, Default: "REPLACE-WITH-ACCOUNT", Help: "Account of the state machine, for the schedule"},
		{Name: setQueue, Default: "REPLACE-WITH-JOB-QUEUE", Help: "Batch job queue of steps that name none with @batch"},
		{Name: setJobRole, Help: "ARN of the role that tasks have; empty for that of the machine they run on"},
		{Name: setExecutionRole, Help: "ARN of the role that starts containers; empty for none"},
		{Name: setScheduleRole, Default: "REPLACE-WITH-ROLE-ARN", Help: "ARN of the role with which the schedule starts runs"},
		{Name: setCPU, Default: "1", Help: "CPU cores of a step that asks for no resources"},
		{Name: setMemory, Default: "4096", Help: "Megabytes of memory of a step that asks for no resources"},
	}
}

// Features says what this target can do.
func (Backend) Features() ir.Features {
	elsewhere := func(why string) ir.Limit { return ir.Limit{Reason: why, WayOut: "Run it locally with mf run."} }
	compute := ir.Limit{Reason: "runs every step as a Batch job", WayOut: "Use @resources or @batch instead."}
	sensor := ir.Limit{Reason: "has no Airflow sensors", WayOut: "Remove it, or compile for airflow."}
	start := func(why, decorator string) ir.Limit {
		return ir.Limit{Reason: why, WayOut: "Remove @" + decorator + " and start runs by hand or by @schedule."}
	}
	return ir.Features{
		Target: "step-functions",
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
			"kubernetes":                   compute,
			"snowpark":                     compute,
			"slurm":                        compute,
			"nvidia":                       compute,
			"nvct":                         compute,
			"skypilot_step":                compute,
			"airflow_external_task_sensor": sensor,
			"airflow_s3_key_sensor":        sensor,
		},
		MaxFlowName:       maxName,
		MaxStepName:       maxName - len(foreachSuffix),
		MaxSplits:         maxSplits,
		MaxParameterBytes: maxOverrides - roomForCommand,
	}
}

// Emit returns the state machine, the job definitions, and the schedule where the flow has one.
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
	definition := e.stateMachine()
	files := []backends.File{
		{Path: MachineFile, Data: e.render(definition)},
		{Path: JobsFile, Data: e.render(e.jobs.list)},
	}
	e.checkDefinition(definition)
	if s := e.schedule(); s != nil {
		files = append(files, backends.File{Path: ScheduleFile, Data: e.render(s)})
	}
	e.list.Sort()
	if e.list.HasErrors() {
		return nil, e.list
	}
	return files, e.list
}

// MachineName returns the name of the state machine under which the flow is deployed.
func MachineName(f *ir.Flow, opt backends.Options) (string, diag.List) {
	opt = opt.WithDefaults()
	project, list := backends.ProjectOf(f, opt)
	name, more := machineName(f, project, opt)
	return name, append(list, more...)
}
