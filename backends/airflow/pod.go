package airflow

import (
	"strconv"
	"time"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/ir"
)

const (
	volumeName   = "mf"
	volumeFolder = "/mf"
	taskProgram  = volumeFolder + "/mf-task"
	// xcomFile is what the operator's sidecar returns to Airflow.
	xcomFile = "/airflow/xcom/return.json"

	// runTemplate and attemptTemplate are filled in by Airflow. A cleared task goes on counting its tries and gets as many
	// more as it has retries; what mf-task wants to know is the number among these, from 0.
	runTemplate     = "{{ mf_run_id(dag.dag_id, run_id) }}"
	attemptTemplate = "{{ [ti.try_number - 1 - ti.max_tries + task.retries, 0] | max }}"
	// pathArgument stands for the argument of a mapped task group.
	pathArgument = "\x00path"

	// timeoutGrace is how much longer than @timeout and its start a pod may live: the task ends itself in time and can
	// still record that it did.
	timeoutGrace = 5 * time.Minute
)

// podDefaults is what all pods share.
func (e *emitter) podDefaults() dict {
	pull := e.setting(setImagePullPolicy)
	e.checkPullPolicy(nil, "setting "+setImagePullPolicy, pull)
	initContainer := call{"k8s.V1Container", []entry{
		{"name", "mf-task"},
		{"image", e.opt.TaskImage},
		{"command", texts(append([]string{backends.TaskProgram}, ir.InstallArgs(taskProgram)...))},
		{"volume_mounts", list{raw("MF_MOUNT")}},
	}}
	if pull != "" {
		initContainer.arguments = append(initContainer.arguments, entry{"image_pull_policy", pull})
	}
	d := dict{
		{"image", jinja(e.opt.Image)},
		{"cmds", list{taskProgram}},
		{"env_vars", raw("ENV")},
		{"container_resources", e.requirements(ir.Resources{
			CPU: e.cpuSetting(), MemoryMB: e.intSetting(setMemory), DiskMB: e.intSetting(setDisk)}, "")},
		{"init_containers", list{initContainer}},
		{"volumes", list{raw("MF_VOLUME")}},
		{"volume_mounts", list{raw("MF_MOUNT")}},
		{"startup_timeout_seconds", int(e.intSetting(setStartupTimeout))},
		{"deferrable", false},
	}
	add := func(key, value string) {
		if value != "" {
			d = append(d, entry{key, value})
		}
	}
	add("kubernetes_conn_id", e.setting(setConnection))
	add("namespace", jinja(e.setting(setNamespace)))
	add("service_account_name", e.setting(setServiceAccount))
	add("image_pull_policy", pull)
	if labels := e.keyValues(nil, "setting "+setNodeSelector, e.setting(setNodeSelector)); len(labels) > 0 {
		d = append(d, entry{"node_selector", sortedDict(labels)})
	}
	if secrets := e.opt.ListSetting(e.settings, setSecrets); len(secrets) > 0 {
		d = append(d, entry{"env_from", secretsAsEnv(secrets)})
	}
	if secrets := e.opt.ListSetting(e.settings, setImagePullSecrets); len(secrets) > 0 {
		d = append(d, entry{"image_pull_secrets", references(secrets)})
	}
	return d
}

func (e *emitter) cpuSetting() float64 {
	cpu, err := strconv.ParseFloat(e.setting(setCPU), 64)
	if err != nil || cpu < 0 {
		e.errorf(backends.FlowSpan(e.flow), "bad-setting", "setting %s is %q, not a number", setCPU, e.setting(setCPU))
	}
	return cpu
}

func (e *emitter) invocation(step string) ir.TaskInvocation {
	return ir.TaskInvocation{Flow: jinja(e.flow.Name), Run: runTemplate, Step: step, Attempt: attemptTemplate}
}

// sharedArguments returns how the command lines of all tasks begin and end.
func (e *emitter) sharedArguments() (head, tail []string) {
	a, b := e.invocation("a"), e.invocation("b")
	a.Path, b.Path = "0", "1"
	one, other := a.Args(), b.Args()
	i, n := 0, len(one)
	for one[i] == other[i] {
		i++
	}
	j := n
	for one[j-1] == other[j-1] {
		j--
	}
	// The option stays with its value.
	return one[:i-1], one[j:]
}

// pod writes one step's task: what differs from podDefaults.
func (e *emitter) pod(s *ir.Step) call {
	t := e.invocation(s.Name)
	if e.plan.of[s.Name] != nil {
		t.Path = pathArgument
	}
	head, tail := e.sharedArguments()
	own := t.Args()
	arguments := list{raw("*RUN")}
	for _, argument := range own[len(head) : len(own)-len(tail)] {
		if argument == pathArgument {
			arguments = append(arguments, raw("path"))
		} else {
			arguments = append(arguments, argument)
		}
	}
	settings := []entry{{"task_id", s.Name}, {"arguments", append(arguments, raw("*ATTEMPT"))}}
	if image := backends.ImageOf(s, e.opt); image != e.opt.Image {
		settings = append(settings, entry{"image", jinja(image)})
	}
	if env := e.environment(s); len(env) > 0 {
		settings = append(settings, entry{"env_vars", append(dict{{"", raw("ENV")}}, env...)})
	}
	settings = append(settings, e.resources(s)...)
	settings = append(settings, e.kubernetes(s)...)
	if splits(s) {
		settings = append(settings, entry{"do_xcom_push", true})
	}
	settings = append(settings, e.retries(s)...)
	return call{"pod", settings}
}

func splits(s *ir.Step) bool { return s.Next != nil && s.Next.Kind == ir.Foreach }

// environment is what differs from ENV: @environment, where the number of splits goes, and in the start step the run's
// parameters, which it alone stores.
func (e *emitter) environment(s *ir.Step) dict {
	vars, found := backends.StepEnvironment(s, e.taskEnv, e.opt)
	e.list = append(e.list, found...)
	env := variables(vars)
	if splits(s) {
		env = append(env, entry{ir.EnvOutputsFile, xcomFile})
	}
	if s.Name != e.graph.Start() {
		return env
	}
	for i := range e.flow.Parameters {
		p := &e.flow.Parameters[i]
		env = append(env, entry{ir.EnvParameterPrefix + p.Name, parameterTemplate(p)})
	}
	if optional := backends.OptionalParameters(e.flow); optional != "" {
		env = append(env, entry{ir.EnvOptionalParameters, optional})
	}
	return env
}

func variables(vars []backends.EnvVar) dict {
	var d dict
	for _, v := range vars {
		d = append(d, entry{v.Name, jinja(v.Value)})
	}
	return d
}

func (e *emitter) resources(s *ir.Step) []entry {
	if !backends.AsksForResources(s) {
		return nil
	}
	vendor := "nvidia"
	if d := s.Decorator("kubernetes"); d != nil {
		vendor = d.Attributes.String("gpu_vendor", vendor)
	}
	r := s.Resources()
	settings := []entry{{"container_resources", e.requirements(r, vendor)}}
	if r.SharedMemoryMB > 0 {
		volume := call{"k8s.V1Volume", []entry{{"name", "shm"}, {"empty_dir", call{"k8s.V1EmptyDirVolumeSource",
			[]entry{{"medium", "Memory"}, {"size_limit", mebibytes(r.SharedMemoryMB)}}}}}}
		mount := call{"k8s.V1VolumeMount", []entry{{"name", "shm"}, {"mount_path", "/dev/shm"}}}
		settings = append(settings, entry{"volumes", list{raw("MF_VOLUME"), volume}},
			entry{"volume_mounts", list{raw("MF_MOUNT"), mount}})
	}
	return settings
}

func (e *emitter) requirements(r ir.Resources, gpuVendor string) call {
	var requests dict
	if r.CPU > 0 {
		requests = append(requests, entry{"cpu", cores(r.CPU)})
	}
	if r.MemoryMB > 0 {
		requests = append(requests, entry{"memory", megabytes(r.MemoryMB)})
	}
	if r.DiskMB > 0 {
		requests = append(requests, entry{"ephemeral-storage", megabytes(r.DiskMB)})
	}
	c := call{"k8s.V1ResourceRequirements", []entry{{"requests", requests}}}
	if r.GPU > 0 {
		c.arguments = append(c.arguments, entry{"limits", dict{{gpuVendor + ".com/gpu", strconv.FormatInt(r.GPU, 10)}}})
	}
	return c
}

// megabytes counts memory and disk as Metaflow does: in powers of ten.
func megabytes(n int64) string { return strconv.FormatInt(n, 10) + "M" }

// mebibytes counts files in memory as Metaflow does: in powers of two.
func mebibytes(n int64) string { return strconv.FormatInt(n, 10) + "Mi" }

func cores(n float64) string {
	milli := int64(n*1000 + 0.5)
	if milli%1000 == 0 {
		return strconv.FormatInt(milli/1000, 10)
	}
	return strconv.FormatInt(milli, 10) + "m"
}

// retries are those of @retry and the further attempts of @catch, which record a failure that the task itself could not;
// the DAG's default is none.
func (e *emitter) retries(s *ir.Step) []entry {
	var settings []entry
	if _, attempts := s.Attempts(); attempts > 1 {
		_, pause := s.Retry()
		settings = append(settings, entry{"retries", attempts - 1}, entry{"retry_delay", timedelta(pause)})
	}
	if limit := s.Timeout(); limit > 0 {
		start := time.Duration(e.intSetting(setStartupTimeout)) * time.Second
		settings = append(settings, entry{"execution_timeout", timedelta(limit + start + timeoutGrace)})
	}
	return settings
}

// timedelta writes whole days, hours or minutes as such, else seconds.
func timedelta(d time.Duration) call {
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"days", 24 * time.Hour}, {"hours", time.Hour}, {"minutes", time.Minute}} {
		if d > 0 && d%unit.is == 0 {
			return call{"timedelta", []entry{{unit.name, int(d / unit.is)}}}
		}
	}
	return call{"timedelta", []entry{{"seconds", int((d + time.Second - 1) / time.Second)}}}
}

func texts(items []string) list {
	var l list
	for _, item := range items {
		l = append(l, item)
	}
	return l
}
