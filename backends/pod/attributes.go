package pod

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// resources writes what @resources and @kubernetes ask for.
func (r *reader) resources(s *ir.Step, p *Pod) {
	if !backends.AsksForResources(s) {
		return
	}
	asked := s.Resources()
	p.Container.Resources.Requests = Requests(asked)
	if asked.GPU > 0 {
		vendor := "nvidia"
		if d := s.Decorator("kubernetes"); d != nil {
			vendor = d.Attributes.String("gpu_vendor", vendor)
		}
		gpu := corev1.ResourceName(vendor + ".com/gpu")
		p.Container.Resources.Limits = corev1.ResourceList{gpu: *resource.NewQuantity(asked.GPU, resource.DecimalSI)}
	}
	if asked.SharedMemoryMB > 0 {
		size := mebibytes(asked.SharedMemoryMB)
		p.mount("shm", "/dev/shm", memoryDir("shm", &size))
	}
}

// Requests is what a container asks for that needs so much; 0 is nothing.
func Requests(r ir.Resources) corev1.ResourceList {
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

// megabytes counts memory and disk as Metaflow does: in powers of ten.
func megabytes(n int64) resource.Quantity { return resource.MustParse(strconv.FormatInt(n, 10) + "M") }

// mebibytes counts files in memory as Metaflow does: in powers of two.
func mebibytes(n int64) resource.Quantity { return resource.MustParse(strconv.FormatInt(n, 10) + "Mi") }

// EmptyDir is a folder that lives as long as the pod.
func EmptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// memoryDir is one in memory.
func memoryDir(name string, size *resource.Quantity) corev1.Volume {
	v := EmptyDir(name)
	v.EmptyDir.Medium, v.EmptyDir.SizeLimit = corev1.StorageMediumMemory, size
	return v
}

func (p *Pod) mount(name, folder string, volume corev1.Volume) {
	p.Volumes = append(p.Volumes, volume)
	p.Container.VolumeMounts = append(p.Container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: folder})
}

// kubernetes reads the attributes of @kubernetes beyond image and resources.
func (r *reader) kubernetes(s *ir.Step, p *Pod) {
	d := s.Decorator("kubernetes")
	if d == nil {
		return
	}
	a := d.Attributes
	where := func(attribute string) string {
		return fmt.Sprintf("step %s: @kubernetes(%s)", s.Name, attribute)
	}
	p.Namespace = a.String("namespace", "")
	p.ServiceAccount = a.String("service_account", "")
	p.NodeSelector = r.keyValues(d.Span, where("node_selector"), a["node_selector"])
	p.Annotations = r.keyValues(d.Span, where("annotations"), a["annotations"])
	p.Labels = r.labels(d.Span, where("labels"), a["labels"])
	r.decode(d.Span, where("tolerations"), a["tolerations"], &p.Tolerations)

	c := &p.Container
	c.ImagePullPolicy = corev1.PullPolicy(a.String("image_pull_policy", ""))
	r.checkPullPolicy(d.Span, where("image_pull_policy"), c.ImagePullPolicy)
	if secrets := r.names(d.Span, where("secrets"), a["secrets"]); len(secrets) > 0 {
		// The list replaces Base's, so it repeats it.
		c.EnvFrom = secretsAsEnv(Unique(append(slices.Clone(r.config.Secrets), secrets...)))
	}
	p.PullSecrets = r.names(d.Span, where("image_pull_secrets"), a["image_pull_secrets"])
	r.stepSecurity(d, where("security_context"), c)
	r.storage(s, d, where("persistent_volume_claims"), p)
	r.quality(d, where, c)
	for _, ignored := range []string{"port", "compute_pool"} {
		if a[ignored] != nil {
			r.list = append(r.list, diag.Warningf(d.Span, "ignored-attribute", "%s is not acted on", where(ignored)))
		}
	}
}

// stepSecurity lays the step's security context over the default one.
func (r *reader) stepSecurity(d *ir.Decorator, where string, c *corev1.Container) {
	if d.Attributes["security_context"] == nil {
		return
	}
	context := r.config.Security.DeepCopy()
	if context == nil {
		context = &corev1.SecurityContext{}
	}
	r.decode(d.Span, where, d.Attributes["security_context"], context)
	if context.Privileged != nil && *context.Privileged {
		// Kubernetes refuses a privileged container that may not escalate.
		context.AllowPrivilegeEscalation = ptr(true)
	}
	c.SecurityContext = context
}

// storage mounts volume claims and a file system in memory.
func (r *reader) storage(s *ir.Step, d *ir.Decorator, where string, p *Pod) {
	claims := r.keyValues(d.Span, where, d.Attributes["persistent_volume_claims"])
	for i, claim := range slices.Sorted(maps.Keys(claims)) {
		name := "claim-" + strconv.Itoa(i)
		p.mount(name, claims[claim], corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
	}
	a := d.Attributes
	size := a.Int("tmpfs_size", 0)
	if !a.Bool("use_tmpfs", size > 0) {
		return
	}
	if size <= 0 {
		size = max(s.Resources().MemoryMB/2, 1)
	}
	folder := a.String("tmpfs_path", "/metaflow_temp")
	limit := mebibytes(size)
	p.mount("tmpfs", folder, memoryDir("tmpfs", &limit))
	if a.Bool("tmpfs_tempdir", true) {
		p.Container.Env = append(p.Container.Env, corev1.EnvVar{Name: "METAFLOW_TEMPDIR", Value: folder})
	}
}

// quality adds extended resources, and limits for the guaranteed class.
func (r *reader) quality(d *ir.Decorator, where func(string) string, c *corev1.Container) {
	add := func(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = q
	}
	extended := r.keyValues(d.Span, where("extended_resources"), d.Attributes["extended_resources"])
	for _, name := range slices.Sorted(maps.Keys(extended)) {
		q, err := resource.ParseQuantity(extended[name])
		if err != nil {
			r.errorf(d.Span, "bad-attribute", "%s: %s=%s is no quantity", where("extended_resources"), name, extended[name])
			continue
		}
		add(&c.Resources.Requests, corev1.ResourceName(name), q)
		add(&c.Resources.Limits, corev1.ResourceName(name), q)
	}
	switch class := strings.ToLower(d.Attributes.String("qos", "")); class {
	case "", "burstable":
	case "guaranteed":
		for name, q := range c.Resources.Requests {
			add(&c.Resources.Limits, name, q)
		}
	default:
		r.errorf(d.Span, "bad-attribute", "%s is %q, not guaranteed or burstable", where("qos"), class)
	}
}

func (r *reader) checkPullPolicy(span diag.Span, where string, p corev1.PullPolicy) {
	switch p {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		r.errorf(span, "bad-attribute", "%s is %q, not Always, IfNotPresent or Never", where, p)
	}
}

// labels is keyValues for what Kubernetes takes as labels.
func (r *reader) labels(span diag.Span, where string, v any) map[string]string {
	labels := r.keyValues(span, where, v)
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		for _, problem := range validation.IsValidLabelValue(labels[key]) {
			r.errorf(span, "bad-attribute", "%s: the value %q: %s", where, labels[key], problem)
		}
	}
	return labels
}

// keyValues reads a map of strings or "a=b,c=d"; nil for nothing. Keys must be what Kubernetes takes as names.
func (r *reader) keyValues(span diag.Span, where string, v any) map[string]string {
	var pairs map[string]string
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		for _, part := range backends.SplitList(v) {
			key, value, found := strings.Cut(part, "=")
			if !found {
				r.errorf(span, "bad-attribute", "%s: %q is not key=value", where, part)
				return nil
			}
			pairs = put(pairs, key, value)
		}
	case map[string]any:
		for key, value := range v {
			if value != nil {
				pairs = put(pairs, key, fmt.Sprint(value))
			}
		}
	default:
		r.errorf(span, "bad-attribute", "%s is not a map of names and values", where)
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		for _, problem := range validation.IsQualifiedName(key) {
			r.errorf(span, "bad-attribute", "%s: the name %q: %s", where, key, problem)
		}
		r.checkText(span, where, pairs[key])
	}
	return pairs
}

func put(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// names reads a list of strings or "a,b".
func (r *reader) names(span diag.Span, where string, v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return backends.SplitList(v)
	case []any:
		var list []string
		for _, item := range v {
			name, ok := item.(string)
			if !ok {
				r.errorf(span, "bad-attribute", "%s: %v is not a name", where, item)
				return nil
			}
			list = append(list, name)
		}
		return list
	}
	r.errorf(span, "bad-attribute", "%s is not a list of names", where)
	return nil
}

// decode reads a value of the same form as a Kubernetes manifest's, whose fields may go by Metaflow's names; unknown fields
// are the user's mistake.
func (r *reader) decode(span diag.Span, where string, v, into any) {
	if v == nil {
		return
	}
	v, err := asManifest(v)
	if err != nil {
		r.errorf(span, "bad-attribute", "%s: %v", where, err)
		return
	}
	text, err := json.Marshal(v)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		err = dec.Decode(into)
	}
	if err != nil {
		r.errorf(span, "bad-attribute", "%s is not what Kubernetes takes: %s", where, strings.TrimPrefix(err.Error(), "json: "))
	}
}

// asManifest gives all fields of a value the names that they have in a manifest: run_as_user is runAsUser there.
func asManifest(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		fields, given := make(map[string]any, len(v)), map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			words := strings.Split(name, "_")
			for i, w := range words[1:] {
				if w != "" {
					words[i+1] = strings.ToUpper(w[:1]) + w[1:]
				}
			}
			field := strings.Join(words, "")
			if other, twice := given[field]; twice {
				return nil, fmt.Errorf("%s and %s are the same; give one of them", name, other)
			}
			given[field] = name
			value, err := asManifest(v[name])
			if err != nil {
				return nil, err
			}
			fields[field] = value
		}
		return fields, nil
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = asManifest(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return v, nil
}

// Unique returns the names in their order, each once.
func Unique(names []string) []string {
	var list []string
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
