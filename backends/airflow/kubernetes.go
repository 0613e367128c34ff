package airflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// unread are attributes of @kubernetes that are not acted on.
var unread = []string{
	"persistent_volume_claims", "use_tmpfs", "tmpfs_size", "port", "compute_pool", "qos", "extended_resources",
	"security_context", "executable",
}

// kubernetes reads the attributes of @kubernetes beyond image and resources.
func (e *emitter) kubernetes(s *ir.Step) []entry {
	d := s.Decorator("kubernetes")
	if d == nil {
		return nil
	}
	a := d.Attributes
	where := func(attribute string) string { return fmt.Sprintf("step %s: @kubernetes(%s)", s.Name, attribute) }
	var settings []entry
	for _, name := range []string{"namespace", "service_account", "image_pull_policy"} {
		value := a.String(name, "")
		if name == "image_pull_policy" {
			e.checkPullPolicy(d, where(name), value)
		}
		if value == "" {
			continue
		}
		if name == "service_account" {
			name = "service_account_name"
		}
		settings = append(settings, entry{name, jinja(value)})
	}
	for _, name := range []string{"node_selector", "labels", "annotations"} {
		if pairs := e.keyValues(d, where(name), a[name]); len(pairs) > 0 {
			settings = append(settings, entry{name, sortedDict(pairs)})
		}
	}
	if secrets := e.names(d, where("secrets"), a["secrets"]); len(secrets) > 0 {
		// The list replaces that of all pods, so it repeats it.
		all := append(e.opt.ListSetting(e.settings, setSecrets), secrets...)
		settings = append(settings, entry{"env_from", secretsAsEnv(all)})
	}
	if secrets := e.names(d, where("image_pull_secrets"), a["image_pull_secrets"]); len(secrets) > 0 {
		all := append(e.opt.ListSetting(e.settings, setImagePullSecrets), secrets...)
		settings = append(settings, entry{"image_pull_secrets", references(all)})
	}
	if tolerations := e.tolerations(d, where("tolerations"), a["tolerations"]); len(tolerations) > 0 {
		settings = append(settings, entry{"tolerations", tolerations})
	}
	for _, name := range unread {
		if v, isBool := a[name].(bool); a[name] == nil || isBool && !v {
			continue
		}
		e.list = append(e.list, diag.Warningf(d.Span, "ignored-attribute", "%s is not acted on by airflow", where(name)))
	}
	return settings
}

// tolerationFields are the fields of a toleration, by their names in a manifest, and what the Python client calls them.
var tolerationFields = []struct{ name, python string }{
	{"key", "key"}, {"operator", "operator"}, {"value", "value"}, {"effect", "effect"},
	{"tolerationSeconds", "toleration_seconds"},
}

func (e *emitter) tolerations(d *ir.Decorator, where string, v any) list {
	items, ok := v.([]any)
	if v != nil && !ok {
		e.errorf(d.Span, "bad-attribute", "%s is not a list", where)
	}
	var tolerations list
	for _, item := range items {
		fields, _ := item.(map[string]any)
		rest := maps.Clone(fields)
		toleration := call{function: "k8s.V1Toleration"}
		for _, field := range tolerationFields {
			if field.name != field.python && fields[field.name] != nil && fields[field.python] != nil {
				e.errorf(d.Span, "bad-attribute", "%s: %s and %s are the same; give one of them", where, field.python, field.name)
			}
			for _, name := range slices.Compact([]string{field.name, field.python}) {
				if value := fields[name]; value != nil {
					toleration.arguments = append(toleration.arguments, entry{field.python, value})
				}
				delete(rest, name)
			}
		}
		if len(fields) == 0 || len(rest) > 0 {
			e.errorf(d.Span, "bad-attribute", "%s is not what Kubernetes takes: %v", where, item)
			continue
		}
		tolerations = append(tolerations, toleration)
	}
	return tolerations
}

// spanOf is the decorator's, or none for a setting.
func spanOf(d *ir.Decorator) diag.Span {
	if d == nil {
		return diag.Span{}
	}
	return d.Span
}

func (e *emitter) checkPullPolicy(d *ir.Decorator, where, policy string) {
	switch policy {
	case "", "Always", "IfNotPresent", "Never":
	default:
		e.errorf(spanOf(d), "bad-attribute", "%s is %q, not Always, IfNotPresent or Never", where, policy)
	}
}

// keyValues reads a map of texts or "a=b,c=d".
func (e *emitter) keyValues(d *ir.Decorator, where string, v any) map[string]string {
	pairs := map[string]string{}
	switch v := v.(type) {
	case nil:
	case string:
		for _, part := range backends.SplitList(v) {
			key, value, found := strings.Cut(part, "=")
			if !found {
				e.errorf(spanOf(d), "bad-attribute", "%s: %q is not key=value", where, part)
				continue
			}
			pairs[key] = jinja(value)
		}
	case map[string]any:
		for key, value := range v {
			if value != nil {
				pairs[key] = jinja(fmt.Sprint(value))
			}
		}
	default:
		e.errorf(spanOf(d), "bad-attribute", "%s is not a map of names and values", where)
	}
	return pairs
}

// names reads a list of texts or "a,b".
func (e *emitter) names(d *ir.Decorator, where string, v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return backends.SplitList(v)
	case []any:
		var found []string
		for _, item := range v {
			name, ok := item.(string)
			if !ok {
				e.errorf(d.Span, "bad-attribute", "%s: %v is not a name", where, item)
				return nil
			}
			found = append(found, name)
		}
		return found
	}
	e.errorf(d.Span, "bad-attribute", "%s is not a list of names", where)
	return nil
}

func secretsAsEnv(names []string) list {
	var l list
	for _, name := range names {
		l = append(l, call{"k8s.V1EnvFromSource", []entry{
			{"secret_ref", call{"k8s.V1SecretEnvSource", []entry{{"name", name}}}}}})
	}
	return l
}

func references(names []string) list {
	var l list
	for _, name := range names {
		l = append(l, call{"k8s.V1LocalObjectReference", []entry{{"name", name}}})
	}
	return l
}
