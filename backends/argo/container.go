package argo

import (
	"strconv"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// volumeName is the volume that carries mf-task into a pod and small outputs out of it.
	volumeName    = "mf"
	volumeFolder  = "/mf"
	taskProgram   = volumeFolder + "/mf-task"
	outputsFolder = volumeFolder + "/out"
	// initContainerName is the container that brings mf-task.
	initContainerName = "mf-task"

	// runID is a run's id: Metaflow's for Argo, so that its client finds the run.
	runID = "argo-{{workflow.name}}"
	// retryCount is Argo's 0-based attempt, known only in templates with a retryStrategy.
	retryCount = "{{retries}}"

	// timeoutGrace is how much longer than @timeout a pod may live: the task ends itself in time, after the image was
	// pulled and mf-task started, and can still record that it did.
	timeoutGrace = 5 * time.Minute
)

// templateDefaults is what all containers share. Argo merges it into each container template when it runs it.
func (e *emitter) templateDefaults() *wfv1.Template {
	mount := []corev1.VolumeMount{{Name: volumeName, MountPath: volumeFolder}}
	e.checkText(diag.Span{}, "the image", e.opt.Image)
	e.checkText(diag.Span{}, "the task image", e.opt.TaskImage)
	pull := corev1.PullPolicy(e.setting(setImagePullPolicy))
	e.checkPullPolicy(diag.Span{}, "setting "+setImagePullPolicy, pull)
	return &wfv1.Template{
		ActiveDeadlineSeconds: seconds(backends.DefaultTimeoutSeconds),
		InitContainers: []wfv1.UserContainer{{Container: corev1.Container{
			Name:            initContainerName,
			Image:           e.opt.TaskImage,
			ImagePullPolicy: pull,
			Command:         append([]string{backends.TaskProgram}, ir.InstallArgs(taskProgram)...),
			VolumeMounts:    append(e.tokenMask(), mount...),
			SecurityContext: e.securityContext(),
		}}},
		Container: &corev1.Container{
			Image:           e.opt.Image,
			ImagePullPolicy: pull,
			Command:         []string{taskProgram},
			Env:             append(e.envVars(diag.Span{}, e.taskEnv), e.runEnvironment()...),
			EnvFrom:         secretsAsEnv(e.opt.ListSetting(e.settings, setSecrets)),
			Resources:       corev1.ResourceRequirements{Requests: e.defaultRequests()},
			VolumeMounts:    append(e.defaultTokenMask(), mount...),
			SecurityContext: e.securityContext(),
		},
	}
}

// stepTemplate writes what differs from templateDefaults.
func (e *emitter) stepTemplate(s *ir.Step) wfv1.Template {
	t := wfv1.Template{Name: e.steps[s.Name], Container: &corev1.Container{}}
	if len(validation.IsValidLabelValue(s.Name)) == 0 {
		t.Metadata.Labels = map[string]string{labelStep: s.Name}
	}
	e.invocation(s, &t)
	if limit := s.Timeout(); limit > 0 || e.tasksPerPod(s) > 1 {
		t.ActiveDeadlineSeconds = seconds(e.deadline(s))
	}
	e.outputs(s, &t)
	if image := backends.ImageOf(s, e.opt); image != e.opt.Image {
		e.checkText(s.Span, "the image of step "+s.Name, image)
		t.Container.Image = image
	}
	e.environment(s, &t)
	e.resources(s, &t)
	e.kubernetes(s, &t)
	e.checkGang(s)
	e.hideToken(s, &t)
	return t
}

// invocation writes the command line, and the parameters and the retry strategy that it speaks of.
func (e *emitter) invocation(s *ir.Step, t *wfv1.Template) {
	i := ir.TaskInvocation{Flow: e.flow.Name, Run: runID, Step: s.Name, Attempt: "0"}
	if e.graph.PathLen(s.Name) > 0 {
		i.Path = inputPath
		t.Inputs.Parameters = inputs(pathParameter)
	}
	if s.Recursive() {
		i.Iteration = inputIteration
		if n := e.packs.Rounds(s.Name); n > 1 {
			i.Iteration = ir.PackIndex(inputIteration, n)
		}
		t.Inputs.Parameters = append(t.Inputs.Parameters, inputs(iterationParameter)...)
	}
	if n := e.packs.Splits(s.Name); n > 1 {
		i.Pack = itoa(n)
	}
	switch {
	case e.retriedTogether(s.Name):
		i.Attempt = "{{inputs.parameters." + attemptParameter + "}}"
		t.Inputs.Parameters = append(t.Inputs.Parameters, inputs(attemptParameter)...)
	case retryStrategy(s) != nil:
		i.Attempt = retryCount
		t.RetryStrategy = retryStrategy(s)
	}
	t.Container.Args = i.Args()
}

// tasksPerPod is how many tasks or rounds of the step one pod runs.
func (e *emitter) tasksPerPod(s *ir.Step) int {
	return e.packs.Around(s.Name) * e.packs.Rounds(s.Name)
}

// deadline is how many seconds a pod may live: for each of its tasks as long as it may take, as if they ran one after the
// other.
func (e *emitter) deadline(s *ir.Step) int64 {
	n := int64(e.tasksPerPod(s))
	limit := s.Timeout()
	if limit == 0 {
		return n * backends.DefaultTimeoutSeconds
	}
	return n*int64((limit+time.Second-1)/time.Second) + int64(timeoutGrace/time.Second)
}

// outputs are the small values that decide what runs next. Of a step that may be left out they have a default, without
// which newer controllers refuse to read them; it stands for no split and for no step.
func (e *emitter) outputs(s *ir.Step, t *wfv1.Template) {
	if s.Next == nil {
		return
	}
	name, none := "", "0"
	switch {
	case s.Next.Kind == ir.Foreach && e.packs.Splits(s.Name) > 1:
		name = ir.OutputPacks
	case s.Next.Kind == ir.Foreach, s.Next.Kind == ir.Parallel:
		name = ir.OutputSplits
	case s.Next.Kind == ir.Switch && (s.Recursive() || e.chooses(s.Name)):
		name, none = ir.OutputBranch, ""
	default:
		return
	}
	output := smallOutput(name)
	if e.conditional[s.Name] {
		output.ValueFrom.Default = wfv1.AnyStringPtr(none)
	}
	t.Outputs.Parameters = []wfv1.Parameter{output}
}

// retryStrategy is nil for a step that is tried once. @catch counts: its further attempts record a failure that the task
// itself could not.
func retryStrategy(s *ir.Step) *wfv1.RetryStrategy {
	_, attempts := s.Attempts()
	if attempts <= 1 {
		return nil
	}
	limit := intstr.FromInt32(int32(attempts - 1))
	r := &wfv1.RetryStrategy{Limit: &limit, RetryPolicy: wfv1.RetryPolicyAlways}
	if _, pause := s.Retry(); pause > 0 {
		r.Backoff = &wfv1.Backoff{Duration: duration(pause)}
	}
	return r
}

// duration writes whole minutes as such, else seconds.
func duration(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + "s"
}

func smallOutput(name string) wfv1.Parameter {
	return wfv1.Parameter{Name: name, ValueFrom: &wfv1.ValueFrom{Path: outputsFolder + "/" + name}}
}

// environment adds @environment's variables and, in the start step, the run's parameters: it alone stores them, all
// other tasks read them from the datastore.
func (e *emitter) environment(s *ir.Step, t *wfv1.Template) {
	vars, list := backends.StepEnvironment(s, e.taskEnv, e.opt)
	e.list = append(e.list, list...)
	if d := s.Decorator("environment"); d != nil {
		t.Container.Env = e.envVars(d.Span, vars)
	}
	if e.gangOf(s.Name) != nil {
		t.Container.Env = append(t.Container.Env, address())
	}
	if s.Name != e.graph.Start() {
		return
	}
	for i := range e.flow.Parameters {
		p := &e.flow.Parameters[i]
		t.Container.Env = append(t.Container.Env, corev1.EnvVar{
			Name: ir.EnvParameterPrefix + p.Name, Value: "{{workflow.parameters." + p.Option + "}}",
		})
	}
	if optional := backends.OptionalParameters(e.flow); optional != "" {
		t.Container.Env = append(t.Container.Env, corev1.EnvVar{Name: ir.EnvOptionalParameters, Value: optional})
	}
}

// envVars writes variables so that neither Argo nor Kubernetes changes their values.
func (e *emitter) envVars(span diag.Span, vars []backends.EnvVar) []corev1.EnvVar {
	var list []corev1.EnvVar
	for _, v := range vars {
		if len(validation.IsEnvVarName(v.Name)) > 0 {
			e.errorf(span, "bad-environment", "%q is no name of an environment variable on Kubernetes", v.Name)
		}
		e.checkText(span, "the environment variable "+v.Name, v.Value)
		list = append(list, corev1.EnvVar{Name: v.Name, Value: escapeDollars(v.Value)})
	}
	return list
}

// defaultRequests is what a step has that asks for nothing.
func (e *emitter) defaultRequests() corev1.ResourceList {
	r := ir.Resources{}
	cpu, err := strconv.ParseFloat(e.setting(setCPU), 64)
	if err != nil || cpu < 0 {
		e.errorf(diag.Span{}, "bad-setting", "setting %s is %q, not a number", setCPU, e.setting(setCPU))
	}
	r.CPU, r.MemoryMB, r.DiskMB = cpu, e.intSetting(setMemory), e.intSetting(setDisk)
	return requests(r)
}

func (e *emitter) resources(s *ir.Step, t *wfv1.Template) {
	if !backends.AsksForResources(s) {
		return
	}
	r := s.Resources()
	t.Container.Resources.Requests = requests(r)
	if r.GPU > 0 {
		vendor := "nvidia"
		if d := s.Decorator("kubernetes"); d != nil {
			vendor = d.Attributes.String("gpu_vendor", vendor)
		}
		gpu := corev1.ResourceName(vendor + ".com/gpu")
		t.Container.Resources.Limits = corev1.ResourceList{gpu: *resource.NewQuantity(r.GPU, resource.DecimalSI)}
	}
	if r.SharedMemoryMB > 0 {
		size := megabytes(r.SharedMemoryMB)
		e.mount(t, "shm", "/dev/shm", emptyDir("shm", &size))
	}
}

func requests(r ir.Resources) corev1.ResourceList {
	list := corev1.ResourceList{}
	if r.CPU > 0 {
		list[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(r.CPU*1000+0.5), resource.DecimalSI)
	}
	if r.MemoryMB > 0 {
		list[corev1.ResourceMemory] = megabytes(r.MemoryMB)
	}
	if r.DiskMB > 0 {
		list[corev1.ResourceEphemeralStorage] = megabytes(r.DiskMB)
	}
	return list
}

// megabytes counts as Metaflow does: in powers of ten.
func megabytes(n int64) resource.Quantity { return resource.MustParse(strconv.FormatInt(n, 10) + "M") }

// securityContext takes from a container what a task does not need.
func (e *emitter) securityContext() *corev1.SecurityContext {
	c := &corev1.SecurityContext{}
	switch text := e.setting(setHardened); text {
	case "true":
		c.AllowPrivilegeEscalation = ptr(false)
		c.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
		c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	case "false":
	default:
		e.errorf(diag.Span{}, "bad-setting", "setting %s is %q, not true or false", setHardened, text)
	}
	if e.setting(setRunAsUser) != "" {
		user := e.intSetting(setRunAsUser)
		c.RunAsUser, c.RunAsNonRoot = &user, ptr(user != 0)
	}
	if *c == (corev1.SecurityContext{}) {
		return nil
	}
	return c
}

func emptyDir(name string, memory *resource.Quantity) corev1.Volume {
	source := &corev1.EmptyDirVolumeSource{}
	if memory != nil {
		source.Medium, source.SizeLimit = corev1.StorageMediumMemory, memory
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: source}}
}

func (e *emitter) mount(t *wfv1.Template, name, folder string, volume corev1.Volume) {
	t.Volumes = append(t.Volumes, volume)
	t.Container.VolumeMounts = append(t.Container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: folder})
}

func secretsAsEnv(names []string) []corev1.EnvFromSource {
	var list []corev1.EnvFromSource
	for _, name := range names {
		list = append(list, corev1.EnvFromSource{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		})
	}
	return list
}

func seconds(n int64) *intstr.IntOrString {
	v := intstr.FromInt32(int32(min(n, 1<<31-1)))
	return &v
}
