// Package kubernetes says what Job runs one attempt of a task on Kubernetes: it is how the local scheduler ships single
// steps to a cluster. What comes in is a checked flow, options and an invocation of mf-task; what goes out is the Job. It
// is pure; backends/kubernetes/live creates, watches and deletes what it makes.
//
// It is no backend: no file is emitted, and a flow has no deployment there.
package kubernetes

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/pod"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// prefix is that of the settings.
const prefix = "kubernetes"

const (
	setNamespace = prefix + ".namespace"
	setTTL       = prefix + ".ttl"
	setPatience  = prefix + ".patience"
)

// Settings lists the settings in the order of their documentation.
func Settings() []backends.Setting {
	list := []backends.Setting{
		{Name: setNamespace, Help: "Namespace that Jobs are made in; empty for that of the kubeconfig's context"},
	}
	list = append(list, pod.Settings(prefix)...)
	return append(list,
		backends.Setting{Name: setTTL, Default: "86400", Help: "Seconds until a Job that has ended is deleted by the cluster"},
		backends.Setting{Name: setPatience, Default: "1800",
			Help: "Seconds that a pod may be kept from starting, by a full cluster or an image that cannot be pulled; 0 for ever"},
	)
}

// The labels and annotations of Jobs and pods.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "mf"
	// LabelFlow, LabelRun and LabelStep are left out where Kubernetes does not take the name.
	LabelFlow = "mf.run/flow"
	LabelRun  = "mf.run/run"
	LabelStep = "mf.run/step"
	// LabelSession holds the session of Jobs.Job: it selects what one scheduler has made.
	LabelSession = "mf.run/session"
	// AnnotationTask is the pathspec of the task, with the attempt; AnnotationUser is who runs the flow.
	AnnotationTask = "mf.run/task"
	AnnotationUser = "mf.run/user"
)

const (
	// ContainerName is the container of the step.
	ContainerName = "task"
	// TerminationGrace is how long a task that is told to stop may take: mf-task gives the step 20 seconds of it, and has
	// the rest to store what there is.
	TerminationGrace = 30 * time.Second
	// timeoutGrace is how much longer than @timeout a pod may live once it has started: the task ends itself in time, and
	// can still record that it did.
	timeoutGrace = 5 * time.Minute
	maxSeconds   = 1<<31 - 1
)

// Jobs makes the Jobs of one run.
type Jobs struct {
	graph    *ir.Graph
	opt      backends.Options
	config   pod.Config
	base     corev1.Container
	pods     map[string]pod.Pod
	patience time.Duration
	ttl      int32

	// Namespace is the setting's; empty for the cluster's default.
	Namespace string
}

// New prepares the Jobs of those steps of a flow that ships takes. The findings are about them and the settings; with an
// error among them there are no Jobs.
func New(g *ir.Graph, opt backends.Options, ships func(*ir.Step) bool) (*Jobs, diag.List) {
	opt = opt.WithDefaults()
	known := Settings()
	list := backends.CheckSettings(opt, known)
	project, found := backends.ProjectOf(g.Flow(), opt)
	list = append(list, found...)
	j := &Jobs{graph: g, opt: opt, pods: map[string]pod.Pod{}, Namespace: opt.Setting(known, setNamespace)}
	env := backends.TaskEnvironment(opt, project, "", map[string]string{ir.EnvMarkLines: "1"})
	if j.config, found = pod.NewConfig(prefix, opt, known, env, checkText); len(found) > 0 {
		list = append(list, found...)
	}
	j.base, found = j.config.Base()
	list = append(list, found...)
	ttl, found := opt.IntSetting(known, setTTL)
	list = append(list, found...)
	j.ttl = int32(min(ttl, maxSeconds))
	patience, found := opt.IntSetting(known, setPatience)
	list = append(list, found...)
	j.patience = time.Duration(min(patience, maxSeconds)) * time.Second
	for _, s := range g.Flow().Steps {
		if !ships(s) {
			continue
		}
		p, found := j.config.Step(s)
		list = append(list, found...)
		j.pods[s.Name] = p
	}
	list.Sort()
	if list.HasErrors() {
		return nil, list
	}
	return j, list
}

// maxTextBytes is the longest environment variable or argument that Linux passes to a process.
const maxTextBytes = 128 << 10

func checkText(span diag.Span, what, text string) diag.List {
	switch {
	case len(text) >= maxTextBytes:
		return diag.List{diag.Errorf(span, "text-too-long",
			"%s has %d bytes, but a process can be given %d", what, len(text), maxTextBytes-1).
			WithDetail("Keep it in a file of the code package or an artifact.")}
	case strings.ContainsRune(text, 0):
		return diag.List{diag.Errorf(span, "text-with-nul", "%s holds a NUL character, which no process can be given", what)}
	}
	return nil
}

// Patience is how long a pod may be kept from starting; 0 for ever.
func (j *Jobs) Patience() time.Duration { return j.patience }

// starting is how long a pod whose step has a timeout may take to start.
func (j *Jobs) starting() time.Duration {
	if j.patience == 0 {
		return backends.DefaultTimeoutSeconds * time.Second // for ever is what it says, but a Job must end
	}
	return j.patience
}

// Namespaces lists the namespaces that Jobs are made in, sorted; an empty one is the cluster's default.
func (j *Jobs) Namespaces() []string {
	var list []string
	for _, p := range j.pods {
		if namespace := cmp.Or(p.Namespace, j.Namespace); !slices.Contains(list, namespace) {
			list = append(list, namespace)
		}
	}
	slices.Sort(list)
	return list
}

// SetPackage tells all tasks of the code package, by its digest.
func (j *Jobs) SetPackage(digest string) {
	j.base.Env = append(slices.Clone(j.base.Env), corev1.EnvVar{Name: ir.EnvPackage, Value: digest})
}

// Job returns the Job that runs one attempt. session names the scheduler that makes it: the name of the Job is a pure
// function of session and invocation, so that making it twice makes one. Its namespace is empty for the cluster's default.
func (j *Jobs) Job(session string, v ir.TaskInvocation) *batchv1.Job {
	step := j.graph.Step(v.Step)
	p := j.pods[v.Step]
	deadline := int64(backends.DefaultTimeoutSeconds)
	if limit := step.Timeout(); limit > 0 {
		// The node counts from where it took the pod, before it pulls images.
		deadline = int64((limit + timeoutGrace + j.starting() + time.Second - 1) / time.Second)
	}
	deadline = min(deadline, maxSeconds)
	c := pod.Merge(j.base, p)
	c.Name, c.Args = ContainerName, v.Args()
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	c.Env = append(c.Env, corev1.EnvVar{Name: ir.EnvAddress, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}})
	install := j.config.Install()
	install.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	account := cmp.Or(p.ServiceAccount, j.config.ServiceAccount)
	spec := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		ActiveDeadlineSeconds:         &deadline,
		TerminationGracePeriodSeconds: ptr(int64(TerminationGrace / time.Second)),
		InitContainers:                []corev1.Container{install},
		Containers:                    []corev1.Container{c},
		Volumes:                       append([]corev1.Volume{pod.Volume()}, p.Volumes...),
		NodeSelector:                  p.NodeSelector,
		Tolerations:                   p.Tolerations,
		ServiceAccountName:            account,
		EnableServiceLinks:            ptr(false),
	}
	if p.NodeSelector == nil {
		spec.NodeSelector = j.config.NodeSelector
	}
	if account == "" {
		spec.AutomountServiceAccountToken = ptr(false)
	}
	for _, name := range pod.Unique(append(slices.Clone(j.config.PullSecrets), p.PullSecrets...)) {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	labels, annotations := j.meta(session, v, p)
	job := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: j.name(session, v), Namespace: cmp.Or(p.Namespace, j.Namespace), Labels: labels, Annotations: annotations,
		},
		Spec: batchv1.JobSpec{
			BackoffLimit:            ptr(int32(0)), // retries are the scheduler's
			TTLSecondsAfterFinished: &j.ttl,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec:       spec,
			},
		},
	}
	if j.patience > 0 {
		// A Job whose scheduler is gone ends, also where its pod never starts: the pod's own deadline counts from its start.
		job.Spec.ActiveDeadlineSeconds = ptr(min(deadline+int64(j.patience/time.Second), maxSeconds))
	}
	return job
}

func (j *Jobs) meta(session string, v ir.TaskInvocation, p pod.Pod) (labels, annotations map[string]string) {
	labels, annotations = map[string]string{}, map[string]string{}
	for name, value := range p.Labels {
		labels[name] = value
	}
	for name, value := range p.Annotations {
		annotations[name] = value
	}
	labels[LabelManagedBy], labels[LabelSession] = ManagedBy, session
	for name, value := range map[string]string{LabelFlow: v.Flow, LabelRun: v.Run, LabelStep: v.Step} {
		if len(validation.IsValidLabelValue(value)) == 0 {
			labels[name] = value
		}
	}
	task := v.Flow + "/" + v.Run + "/" + v.Step
	if v.Path != "" {
		task += "[" + v.Path + "]"
	}
	if v.Iteration != "" {
		task += " round " + v.Iteration
	}
	annotations[AnnotationTask] = task + " attempt " + v.Attempt
	annotations[AnnotationUser] = j.opt.User
	return labels, annotations
}

// maxName leaves room in the 63 bytes of a Job's name for what the cluster appends to make a pod's.
const maxName = 57

// name says whose Job it is, as far as there is room, and is unique.
func (j *Jobs) name(session string, v ir.TaskInvocation) string {
	sum := sha256.Sum256([]byte(session + "\x00" + strings.Join(v.Args(), "\x00")))
	unique := hex.EncodeToString(sum[:5])
	var b strings.Builder
	for _, c := range strings.ToLower(v.Flow + "-" + v.Step) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	readable := b.String()
	if room := maxName - len(unique) - 1; len(readable) > room {
		readable = readable[:room]
	}
	if readable = strings.Trim(readable, "-"); readable == "" || readable[0] < 'a' {
		readable = "mf-" + readable
		readable = strings.TrimSuffix(readable[:min(len(readable), maxName-len(unique)-1)], "-")
	}
	return readable + "-" + unique
}

func ptr[T any](v T) *T { return &v }
