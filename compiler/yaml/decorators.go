package yaml

import (
	"math"
	"slices"

	"github.com/mf-run/mf/ir"
)

// stepFields and flowFields are the decorators that the language has fields for.
var (
	stepFields = map[string]string{"retry": "retry", "timeout": "timeout", "resources": "resources", "environment": "env",
		"catch": "catch", "secrets": "secrets", "step": "steps", "parallel": "next"}
	flowFields = map[string]string{"schedule": "schedule", "project": "project"}
)

// stepDecorators and flowDecorators are Metaflow's others. Any other name is carried and marked as unknown.
var (
	stepDecorators = []string{"batch", "card", "conda", "kubernetes", "pypi", "pytorch_parallel"}
	flowDecorators = []string{"airflow_external_task_sensor", "airflow_s3_key_sensor", "conda_base", "exit_hook", "pypi_base",
		"trigger", "trigger_on_finish"}
)

// decorate makes the decorators of a step in a fixed order, those of the defaults included.
func (d *decoder) decorate(doc *document, s *step, path string) []ir.Decorator {
	base := doc.Defaults
	if base == nil {
		base = &defaults{}
	}
	var list []ir.Decorator
	add := func(name, field string, own bool, attrs ir.Attributes) {
		at := path + "." + field
		if !own {
			at = rootPath + ".defaults." + field
		}
		list = append(list, ir.Decorator{Name: name, Attributes: attrs, Span: d.keyOr(at)})
	}
	if v, own := pick(s.Retry, base.Retry); v != nil {
		add("retry", "retry", own, retryAttributes(v))
	}
	if v, own := pick(s.Catch, base.Catch); v != nil {
		add("catch", "catch", own, ir.Attributes{"var": v.Var.text, "print_exception": true})
	}
	if v, own := pick(s.Timeout, base.Timeout); v != nil {
		add("timeout", "timeout", own, ir.Attributes{"seconds": v.seconds, "minutes": int64(0), "hours": int64(0)})
	}
	if s.Resources != nil || base.Resources != nil {
		add("resources", "resources", s.Resources != nil, resourceAttributes(s.Resources, base.Resources))
	}
	if vars := mergeEnv(doc.Env, s.Env); len(vars) > 0 {
		at := path + ".env"
		if len(s.Env) == 0 {
			at = rootPath + ".env"
		}
		list = append(list, ir.Decorator{Name: "environment", Attributes: ir.Attributes{"vars": vars}, Span: d.keyOr(at)})
	}
	if v, own := pick(s.Secrets, base.Secrets); v != nil {
		add("secrets", "secrets", own, secretAttributes(v))
	}
	var rest ordered[settings]
	for _, e := range base.Decorators {
		if !slices.ContainsFunc(s.Decorators, func(own entry[settings]) bool { return own.Name == e.Name }) {
			rest = append(rest, e)
		}
	}
	return append(list, d.generic(append(rest, s.Decorators...), stepDecorators)...)
}

// pick returns the step's own setting or else the default one, nil for none, and whether it is the step's own.
func pick[T any](own, base *toggle[T]) (v *T, isOwn bool) {
	switch {
	case own != nil && own.Off:
		return nil, true
	case own != nil:
		return own.Value, true
	case base != nil && !base.Off:
		return base.Value, false
	}
	return nil, false
}

// generic makes decorators of the entries of a "decorators" map, in order.
func (d *decoder) generic(entries ordered[settings], known []string) []ir.Decorator {
	var list []ir.Decorator
	for _, e := range entries {
		for i, attrs := range e.Value.uses {
			span := d.span(e.key)
			if len(e.Value.uses) > 1 {
				span = d.span(e.Value.nodes[i])
			}
			list = append(list, ir.Decorator{Name: e.Name, Attributes: whole(attrs), Unknown: !slices.Contains(known, e.Name), Span: span})
		}
	}
	return list
}

// whole turns numbers such as 2.0 into whole ones, as reading them back from JSON does.
func whole(attrs ir.Attributes) ir.Attributes {
	if attrs == nil {
		return nil
	}
	return wholeValue(map[string]any(attrs)).(map[string]any)
}

func wholeValue(v any) any {
	switch v := v.(type) {
	case float64:
		return number(v)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = wholeValue(item)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = wholeValue(item)
		}
		return m
	}
	return v
}

// number is a number as an attribute: whole where it is.
func number(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		return int64(f)
	}
	return f
}

func retryAttributes(r *retry) ir.Attributes {
	attrs := ir.Attributes{"times": int64(3), "minutes_between_retries": int64(2)}
	if r.Times != nil {
		attrs["times"] = *r.Times
	}
	if r.MinutesBetween != nil {
		attrs["minutes_between_retries"] = number(*r.MinutesBetween)
	}
	return attrs
}

// resourceAttributes merges a step's resources with the default ones, field by field, and fills in Metaflow's defaults.
func resourceAttributes(own, base *resources) ir.Attributes {
	attrs := ir.Attributes{"cpu": int64(1), "memory": int64(4096), "disk": nil, "gpu": nil, "shared_memory": nil}
	for _, r := range []*resources{base, own} {
		if r == nil {
			continue
		}
		if r.CPU != nil {
			attrs["cpu"] = number(*r.CPU)
		}
		if r.GPU != nil {
			attrs["gpu"] = *r.GPU
		}
		for field, v := range map[string]*size{"memory": r.Memory, "disk": r.Disk, "shared_memory": r.SharedMemory} {
			if v != nil {
				attrs[field] = v.mib
			}
		}
	}
	return attrs
}

func secretAttributes(s *secrets) ir.Attributes {
	attrs := ir.Attributes{"role": nil, "allow_override": s.AllowOverride}
	sources := make([]any, len(s.Sources))
	for i, source := range s.Sources {
		sources[i] = wholeValue(source.value)
	}
	attrs["sources"] = sources
	if s.Role != "" {
		attrs["role"] = s.Role
	}
	return attrs
}

func mergeEnv(base, own ordered[envValue]) map[string]any {
	vars := map[string]any{}
	for _, e := range slices.Concat(base, own) {
		vars[e.Name] = e.Value.text
	}
	return vars
}

// flowDecorate makes the decorators of the flow in a fixed order.
func (d *decoder) flowDecorate(doc *document) []ir.Decorator {
	var list []ir.Decorator
	if p := doc.Project; p != nil {
		attrs := ir.Attributes{"name": p.Name.text, "branch": nil, "production": p.Production}
		if p.Branch.text != "" {
			attrs["branch"] = p.Branch.text
		}
		list = append(list, ir.Decorator{Name: "project", Attributes: attrs, Span: d.keyOr(rootPath + ".project")})
	}
	if s := doc.Schedule; s != nil {
		attrs := ir.Attributes{"cron": nil, "hourly": false, "daily": false, "weekly": false, "timezone": nil}
		if s.Cron != "" {
			attrs["cron"] = s.Cron
		} else {
			attrs[s.Every] = true
		}
		if s.Timezone != "" {
			attrs["timezone"] = s.Timezone
		}
		list = append(list, ir.Decorator{Name: "schedule", Attributes: attrs, Span: d.keyOr(rootPath + ".schedule")})
	}
	return append(list, d.generic(doc.Decorators, flowDecorators)...)
}
