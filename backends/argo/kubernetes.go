package argo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// kubernetes reads the attributes of @kubernetes beyond image and resources.
func (e *emitter) kubernetes(s *ir.Step, t *wfv1.Template) {
	d := s.Decorator("kubernetes")
	if d == nil {
		return
	}
	a := d.Attributes
	where := func(attribute string) string {
		return fmt.Sprintf("step %s: @kubernetes(%s)", s.Name, attribute)
	}
	e.agreeOnNamespace(s, d)
	t.ServiceAccountName = a.String("service_account", "")
	t.NodeSelector = e.keyValues(d.Span, where("node_selector"), a["node_selector"])
	t.Metadata.Annotations = e.keyValues(d.Span, where("annotations"), a["annotations"])
	for key, value := range e.labels(d.Span, where("labels"), a["labels"]) {
		if t.Metadata.Labels == nil {
			t.Metadata.Labels = map[string]string{}
		}
		t.Metadata.Labels[key] = value
	}
	e.decode(d.Span, where("tolerations"), a["tolerations"], &t.Tolerations)

	c := t.Container
	c.ImagePullPolicy = corev1.PullPolicy(a.String("image_pull_policy", ""))
	e.checkPullPolicy(d.Span, where("image_pull_policy"), c.ImagePullPolicy)
	if secrets := e.names(d.Span, where("secrets"), a["secrets"]); len(secrets) > 0 {
		// The list replaces that of templateDefaults, so it repeats it.
		all := append(e.opt.ListSetting(e.settings, setSecrets), secrets...)
		c.EnvFrom = secretsAsEnv(unique(all))
	}
	e.pullSecrets = unique(append(e.pullSecrets, e.names(d.Span, where("image_pull_secrets"), a["image_pull_secrets"])...))
	e.stepSecurity(d, where("security_context"), c)
	e.storage(s, d, where("persistent_volume_claims"), t)
	e.quality(d, where, c)
	for _, ignored := range []string{"port", "compute_pool"} {
		if a[ignored] != nil {
			e.list = append(e.list, diag.Warningf(d.Span, "ignored-attribute", "%s is not acted on", where(ignored)))
		}
	}
}

// agreeOnNamespace: all pods of a workflow run in the workflow's namespace.
func (e *emitter) agreeOnNamespace(s *ir.Step, d *ir.Decorator) {
	namespace := d.Attributes.String("namespace", "")
	switch {
	case namespace == "" || namespace == e.namespace:
	case e.namespace == "":
		e.namespace = namespace
	default:
		e.list = append(e.list, diag.Errorf(d.Span, "namespaces-differ",
			"step %s runs in namespace %s, but others run in %s", s.Name, namespace, e.namespace).
			WithDetail("Argo runs all pods of a workflow in one namespace. Leave it out here, or set %s.", setNamespace))
	}
}

// stepSecurity lays the step's security context over the default one.
func (e *emitter) stepSecurity(d *ir.Decorator, where string, c *corev1.Container) {
	if d.Attributes["security_context"] == nil {
		return
	}
	context := e.securityContext()
	if context == nil {
		context = &corev1.SecurityContext{}
	}
	e.decode(d.Span, where, d.Attributes["security_context"], context)
	if context.Privileged != nil && *context.Privileged {
		// Kubernetes refuses a privileged container that may not escalate.
		context.AllowPrivilegeEscalation = ptr(true)
	}
	c.SecurityContext = context
}

// storage mounts volume claims and a file system in memory.
func (e *emitter) storage(s *ir.Step, d *ir.Decorator, where string, t *wfv1.Template) {
	claims := e.keyValues(d.Span, where, d.Attributes["persistent_volume_claims"])
	for i, claim := range slices.Sorted(maps.Keys(claims)) {
		name := "claim-" + itoa(i)
		e.mount(t, name, claims[claim], corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
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
	limit := megabytes(size)
	e.mount(t, "tmpfs", folder, emptyDir("tmpfs", &limit))
	if a.Bool("tmpfs_tempdir", true) {
		t.Container.Env = append(t.Container.Env, corev1.EnvVar{Name: "METAFLOW_TEMPDIR", Value: folder})
	}
}

// quality adds extended resources, and limits for the guaranteed class.
func (e *emitter) quality(d *ir.Decorator, where func(string) string, c *corev1.Container) {
	add := func(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = q
	}
	extended := e.keyValues(d.Span, where("extended_resources"), d.Attributes["extended_resources"])
	for _, name := range slices.Sorted(maps.Keys(extended)) {
		q, err := resource.ParseQuantity(extended[name])
		if err != nil {
			e.errorf(d.Span, "bad-attribute", "%s: %s=%s is no quantity", where("extended_resources"), name, extended[name])
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
		e.errorf(d.Span, "bad-attribute", "%s is %q, not guaranteed or burstable", where("qos"), class)
	}
}

func (e *emitter) checkPullPolicy(span diag.Span, where string, p corev1.PullPolicy) {
	switch p {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		e.errorf(span, "bad-attribute", "%s is %q, not Always, IfNotPresent or Never", where, p)
	}
}

// labels is keyValues for what Kubernetes takes as labels.
func (e *emitter) labels(span diag.Span, where string, v any) map[string]string {
	labels := e.keyValues(span, where, v)
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		for _, problem := range validation.IsValidLabelValue(labels[key]) {
			e.errorf(span, "bad-attribute", "%s: the value %q: %s", where, labels[key], problem)
		}
	}
	return labels
}

// keyValues reads a map of strings or "a=b,c=d"; nil for nothing. Keys must be what Kubernetes takes as names.
func (e *emitter) keyValues(span diag.Span, where string, v any) map[string]string {
	var pairs map[string]string
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		for _, part := range backends.SplitList(v) {
			key, value, found := strings.Cut(part, "=")
			if !found {
				e.errorf(span, "bad-attribute", "%s: %q is not key=value", where, part)
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
		e.errorf(span, "bad-attribute", "%s is not a map of names and values", where)
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		for _, problem := range validation.IsQualifiedName(key) {
			e.errorf(span, "bad-attribute", "%s: the name %q: %s", where, key, problem)
		}
		e.checkText(span, where, pairs[key])
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
func (e *emitter) names(span diag.Span, where string, v any) []string {
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
				e.errorf(span, "bad-attribute", "%s: %v is not a name", where, item)
				return nil
			}
			list = append(list, name)
		}
		return list
	}
	e.errorf(span, "bad-attribute", "%s is not a list of names", where)
	return nil
}

// decode reads a value of the same form as a Kubernetes manifest's; unknown fields are the user's mistake.
func (e *emitter) decode(span diag.Span, where string, v, into any) {
	if v == nil {
		return
	}
	text, err := json.Marshal(v)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		err = dec.Decode(into)
	}
	if err != nil {
		e.errorf(span, "bad-attribute", "%s is not what Kubernetes takes: %s", where, strings.TrimPrefix(err.Error(), "json: "))
	}
}

func unique(names []string) []string {
	var list []string
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
