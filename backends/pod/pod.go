// Package pod says what the pod of a task is on Kubernetes, whatever it is that creates it: an init container brings mf-task
// into the user's own image, and what @resources, @environment and @kubernetes say of a step becomes parts of the pod.
//
// What comes in is a step of the IR and a Config, which the target reads from its own settings; what goes out are
// Kubernetes' own types and findings. It is pure, and changes neither.
package pod

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Where things are in a pod.
const (
	// VolumeName is the volume that carries mf-task into the user's container, Folder where both containers have it, and
	// Program where mf-task is then.
	VolumeName = "mf"
	Folder     = "/mf"
	Program    = Folder + "/mf-task"
	// InitName is the init container's name.
	InitName = "mf-task"
)

// The words of the settings that a Config is made of, behind the target's prefix and a dot.
const (
	setSecrets          = "secrets"
	setImagePullPolicy  = "image-pull-policy"
	setImagePullSecrets = "image-pull-secrets"
	setNodeSelector     = "node-selector"
	setServiceAccount   = "service-account"
	setCPU              = "cpu"
	setMemory           = "memory"
	setDisk             = "disk"
	setHardened         = "hardened"
	setRunAsUser        = "run-as-user"
)

// Settings lists the settings that NewConfig reads, with the target's prefix ("argo").
func Settings(prefix string) []backends.Setting {
	list := []backends.Setting{
		{Name: setServiceAccount, Help: "Service account of the pods"},
		{Name: setSecrets, Help: "Kubernetes secrets, separated by commas, that every task has as environment variables"},
		{Name: setImagePullPolicy, Help: "Always, IfNotPresent or Never"},
		{Name: setImagePullSecrets, Help: "Secrets, separated by commas, with which images are pulled"},
		{Name: setNodeSelector, Help: "Labels of the nodes to run on, as key=value separated by commas"},
		{Name: setCPU, Default: "1", Help: "CPU cores of a step that asks for no resources"},
		{Name: setMemory, Default: "4096", Help: "Megabytes of memory of a step that asks for no resources"},
		{Name: setDisk, Default: "10240", Help: "Megabytes of disk of a step that asks for no resources; 0 asks for none"},
		{Name: setHardened, Default: "true", Help: "Whether containers lose all capabilities and cannot gain privileges"},
		{Name: setRunAsUser, Help: "Numeric user that containers run as; empty for the image's"},
	}
	for i := range list {
		list[i].Name = prefix + "." + list[i].Name
	}
	return list
}

// Config is what the pods of a flow have in common.
type Config struct {
	// Options are those of the compile, with defaults.
	Options backends.Options
	// Env is what every container is told: see backends.TaskEnvironment.
	Env []backends.EnvVar
	// Text judges a text that is to reach a container as it is; nil for no rule of the target's own.
	Text func(span diag.Span, what, text string) diag.List

	// PullPolicy may be empty. Secrets become environment variables, PullSecrets pull images.
	PullPolicy           corev1.PullPolicy
	Secrets, PullSecrets []string
	NodeSelector         map[string]string
	ServiceAccount       string
	// Requests are those of a step that asks for nothing.
	Requests corev1.ResourceList
	// Security is every container's; nil for the cluster's default.
	Security *corev1.SecurityContext
}

// NewConfig reads the target's settings, whose names begin with the prefix; known lists them all.
func NewConfig(prefix string, opt backends.Options, known []backends.Setting, env []backends.EnvVar,
	text func(span diag.Span, what, text string) diag.List) (Config, diag.List) {
	opt = opt.WithDefaults()
	c := Config{Options: opt, Env: env, Text: text}
	r := &reader{config: &c}
	get := func(word string) string { return opt.Setting(known, prefix+"."+word) }
	number := func(word string) int64 {
		n, list := opt.IntSetting(known, prefix+"."+word)
		r.list = append(r.list, list...)
		return n
	}
	c.PullPolicy = corev1.PullPolicy(get(setImagePullPolicy))
	r.checkPullPolicy(diag.Span{}, "setting "+prefix+"."+setImagePullPolicy, c.PullPolicy)
	c.Secrets = opt.ListSetting(known, prefix+"."+setSecrets)
	c.PullSecrets = opt.ListSetting(known, prefix+"."+setImagePullSecrets)
	c.ServiceAccount = get(setServiceAccount)
	c.NodeSelector = r.keyValues(diag.Span{}, "setting "+prefix+"."+setNodeSelector, get(setNodeSelector))
	cpu, err := strconv.ParseFloat(get(setCPU), 64)
	if err != nil || cpu < 0 {
		r.errorf(diag.Span{}, "bad-setting", "setting %s.%s is %q, not a number", prefix, setCPU, get(setCPU))
	}
	c.Requests = Requests(ir.Resources{CPU: cpu, MemoryMB: number(setMemory), DiskMB: number(setDisk)})
	security := &corev1.SecurityContext{}
	switch hardened := get(setHardened); hardened {
	case "true":
		security.AllowPrivilegeEscalation = ptr(false)
		security.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
		security.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	case "false":
	default:
		r.errorf(diag.Span{}, "bad-setting", "setting %s.%s is %q, not true or false", prefix, setHardened, hardened)
	}
	if get(setRunAsUser) != "" {
		user := number(setRunAsUser)
		security.RunAsUser, security.RunAsNonRoot = &user, ptr(user != 0)
	}
	if *security != (corev1.SecurityContext{}) {
		c.Security = security
	}
	r.checkText(diag.Span{}, "the image", opt.Image)
	r.checkText(diag.Span{}, "the task image", opt.TaskImage)
	return c, r.list
}

// Mount is where both containers have the volume.
func Mount() []corev1.VolumeMount {
	return []corev1.VolumeMount{{Name: VolumeName, MountPath: Folder}}
}

// Volume carries mf-task into the user's container.
func Volume() corev1.Volume { return EmptyDir(VolumeName) }

// Install is the init container that brings mf-task.
func (c *Config) Install() corev1.Container {
	return corev1.Container{
		Name:            InitName,
		Image:           c.Options.TaskImage,
		ImagePullPolicy: c.PullPolicy,
		Command:         append([]string{backends.TaskProgram}, ir.InstallArgs(Program)...),
		VolumeMounts:    Mount(),
		SecurityContext: c.Security.DeepCopy(),
	}
}

// Base is the container of a step that asks for nothing, without the arguments of mf-task.
func (c *Config) Base() (corev1.Container, diag.List) {
	r := &reader{config: c}
	return corev1.Container{
		Image:           c.Options.Image,
		ImagePullPolicy: c.PullPolicy,
		Command:         []string{Program},
		Env:             r.envVars(diag.Span{}, c.Env),
		EnvFrom:         secretsAsEnv(c.Secrets),
		Resources:       corev1.ResourceRequirements{Requests: c.Requests.DeepCopy()},
		VolumeMounts:    Mount(),
		SecurityContext: c.Security.DeepCopy(),
	}, r.list
}

// Pod is what a step's pod has of its own, beside what all have in common.
type Pod struct {
	// Container holds what differs from Base: merged over it as Kubernetes merges, by name where a list has names.
	Container corev1.Container
	Volumes   []corev1.Volume
	// Namespace is the one the step asks for; empty for none.
	Namespace      string
	ServiceAccount string
	NodeSelector   map[string]string
	Tolerations    []corev1.Toleration
	Labels         map[string]string
	Annotations    map[string]string
	// PullSecrets are the step's own.
	PullSecrets []string
}

// Step reads what a step asks for.
func (c *Config) Step(s *ir.Step) (Pod, diag.List) {
	r := &reader{config: c}
	p := &Pod{}
	if image := backends.ImageOf(s, c.Options); image != c.Options.Image {
		r.checkText(s.Span, "the image of step "+s.Name, image)
		p.Container.Image = image
	}
	r.environment(s, p)
	r.resources(s, p)
	r.kubernetes(s, p)
	return *p, r.list
}

// Merge lays a step's own parts over the base container.
func Merge(base corev1.Container, p Pod) corev1.Container {
	c := *base.DeepCopy()
	own := p.Container
	if own.Image != "" {
		c.Image = own.Image
	}
	if own.ImagePullPolicy != "" {
		c.ImagePullPolicy = own.ImagePullPolicy
	}
	c.Env = mergeEnv(c.Env, own.Env)
	if own.EnvFrom != nil {
		c.EnvFrom = own.EnvFrom
	}
	if own.Resources.Requests != nil {
		for name, q := range own.Resources.Requests {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = q
		}
	}
	if own.Resources.Limits != nil {
		c.Resources.Limits = own.Resources.Limits.DeepCopy()
	}
	c.VolumeMounts = append(c.VolumeMounts, own.VolumeMounts...)
	if own.SecurityContext != nil {
		c.SecurityContext = own.SecurityContext
	}
	if own.Args != nil {
		c.Args = own.Args
	}
	return c
}

// mergeEnv keeps the order of base; a variable of both has the own value.
func mergeEnv(base, own []corev1.EnvVar) []corev1.EnvVar {
	at := map[string]int{}
	for i, v := range base {
		at[v.Name] = i
	}
	for _, v := range own {
		if i, ok := at[v.Name]; ok {
			base[i] = v
			continue
		}
		at[v.Name] = len(base)
		base = append(base, v)
	}
	return base
}

// reader reads what users wrote, and keeps what is wrong with it.
type reader struct {
	config *Config
	list   diag.List
}

func (r *reader) errorf(span diag.Span, code, format string, args ...any) {
	r.list = append(r.list, diag.Errorf(span, code, format, args...))
}

func (r *reader) checkText(span diag.Span, what, text string) {
	if r.config.Text != nil {
		r.list = append(r.list, r.config.Text(span, what, text)...)
	}
}

// environment adds @environment's variables.
func (r *reader) environment(s *ir.Step, p *Pod) {
	vars, list := backends.StepEnvironment(s, r.config.Env, r.config.Options)
	r.list = append(r.list, list...)
	if d := s.Decorator("environment"); d != nil {
		p.Container.Env = r.envVars(d.Span, vars)
	}
}

// envVars writes variables so that Kubernetes does not change their values.
func (r *reader) envVars(span diag.Span, vars []backends.EnvVar) []corev1.EnvVar {
	var list []corev1.EnvVar
	for _, v := range vars {
		if len(validation.IsEnvVarName(v.Name)) > 0 {
			r.errorf(span, "bad-environment", "%q is no name of an environment variable on Kubernetes", v.Name)
		}
		r.checkText(span, "the environment variable "+v.Name, v.Value)
		list = append(list, corev1.EnvVar{Name: v.Name, Value: escapeDollars(v.Value)})
	}
	return list
}

// escapeDollars writes a container's environment variable so that Kubernetes leaves it as it is: "$(NAME)" would be
// replaced by another variable's value, and "$$" stands for "$".
func escapeDollars(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if text[i] == '$' && i+1 < len(text) && (text[i+1] == '$' || text[i+1] == '(') {
			b.WriteByte('$')
		}
		b.WriteByte(text[i])
	}
	return b.String()
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

func ptr[T any](v T) *T { return &v }
