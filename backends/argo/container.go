package argo

import (
	"encoding/json"
	"maps"
	"strconv"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/pod"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// outputsFolder is where a task leaves its small outputs, on the volume that brings mf-task.
	outputsFolder = pod.Folder + "/out"

	// runID is a run's id: Metaflow's for Argo, so that its client finds the run.
	runID = "argo-{{workflow.name}}"
	// retryCount is Argo's 0-based attempt, known only in templates with a retryStrategy.
	retryCount = "{{retries}}"

	// timeoutGrace is how much longer than @timeout a pod may live: the task ends itself in time and can still record that
	// it did. The node counts from where it took the pod, before it pulls images, which may take long.
	timeoutGrace = 35 * time.Minute
)

// templateDefaults is what all containers share. Argo merges it into each container template when it runs it.
func (e *emitter) templateDefaults() *wfv1.Template {
	base, list := e.pods.Base()
	e.list = append(e.list, list...)
	base.Env = append(base.Env, e.runEnvironment()...)
	base.VolumeMounts = append(e.defaultTokenMask(), base.VolumeMounts...)
	install := e.pods.Install()
	install.VolumeMounts = append(e.tokenMask(), install.VolumeMounts...)
	return &wfv1.Template{
		ActiveDeadlineSeconds: seconds(backends.DefaultTimeoutSeconds),
		InitContainers:        []wfv1.UserContainer{{Container: install}},
		Container:             &base,
	}
}

// stepTemplate writes what differs from templateDefaults.
func (e *emitter) stepTemplate(s *ir.Step) wfv1.Template {
	p := e.podOf(s)
	t := wfv1.Template{
		Name: e.steps[s.Name], Container: &p.Container, Volumes: p.Volumes, ServiceAccountName: p.ServiceAccount,
		NodeSelector: p.NodeSelector, Tolerations: p.Tolerations,
		Metadata: wfv1.Metadata{Labels: map[string]string{}, Annotations: p.Annotations},
	}
	if len(validation.IsValidLabelValue(s.Name)) == 0 {
		t.Metadata.Labels[labelStep] = s.Name
	}
	maps.Copy(t.Metadata.Labels, p.Labels)
	e.invocation(s, &t)
	if limit := s.Timeout(); limit > 0 || e.tasksPerPod(s) > 1 {
		t.ActiveDeadlineSeconds = seconds(e.deadline(s))
	}
	e.outputs(s, &t)
	e.environment(s, &t)
	e.packWorkers(s, &t)
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

// packWorkers has as many tasks of a pack run at a time as the pod asks for CPUs. A container cannot see what it asked for,
// only the node's CPUs.
func (e *emitter) packWorkers(s *ir.Step, t *wfv1.Template) {
	if e.packs.Around(s.Name) <= 1 {
		return
	}
	cpu, ok := t.Container.Resources.Requests[corev1.ResourceCPU]
	if !ok {
		base, _ := e.pods.Base() // templateDefaults has reported what is wrong with it
		cpu = base.Resources.Requests[corev1.ResourceCPU]
	}
	t.Container.Env = append(t.Container.Env, corev1.EnvVar{Name: ir.EnvPackWorkers, Value: itoa(max(1, int(cpu.Value())))})
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
	name, none := e.outputOf(s)
	if name == "" {
		return
	}
	output := smallOutput(name)
	if e.conditional[s.Name] {
		output.ValueFrom.Default = wfv1.AnyStringPtr(none)
	}
	t.Outputs.Parameters = []wfv1.Parameter{output}
}

// outputOf names the small output of a step, and what stands for its absence; empty where it has none.
func (e *emitter) outputOf(s *ir.Step) (name, none string) {
	switch {
	case s.Next == nil:
	case s.Next.Kind == ir.Foreach && e.packs.Splits(s.Name) > 1:
		return ir.OutputPacks, "0"
	case s.Next.Kind == ir.Foreach, s.Next.Kind == ir.Parallel:
		return ir.OutputSplits, "0"
	case s.Next.Kind == ir.Switch && (s.Recursive() || e.chooses(s.Name)):
		return ir.OutputBranch, ""
	}
	return "", ""
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

// environment adds to the step's own variables, in the start step, the run's parameters: it alone stores them, all other
// tasks read them from the datastore.
func (e *emitter) environment(s *ir.Step, t *wfv1.Template) {
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

func seconds(n int64) *intstr.IntOrString {
	v := intstr.FromInt32(int32(min(n, 1<<31-1)))
	return &v
}

// executorSecurity has Argo's own two containers of a pod keep the same rules as the others, where those are meant for the
// restricted standard of Kubernetes: it judges the pod as a whole. Empty otherwise, which leaves them to the controller.
func (e *emitter) executorSecurity() string {
	own := e.pods.Security
	if own == nil || own.Capabilities == nil || own.RunAsNonRoot == nil || !*own.RunAsNonRoot {
		return ""
	}
	type container struct {
		Name            string                  `json:"name"`
		SecurityContext *corev1.SecurityContext `json:"securityContext"`
	}
	patch, err := json.Marshal(struct {
		Init []container `json:"initContainers"`
		Main []container `json:"containers"`
	}{[]container{{"init", own}}, []container{{"wait", own}}})
	if err != nil {
		e.errorf(diag.Span{}, "manifest", "the security context has no text form: %v", err)
	}
	return string(patch)
}
