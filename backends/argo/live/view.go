package argolive

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/ir"
)

// property is one thing that an object says, in the flow's words.
type property struct {
	// step is the step concerned; empty for the flow as a whole.
	step string
	what string
	// value is for people, and equal exactly where the meaning is.
	value string
	// path is where it stands in the object.
	path []string
	// part is the step or template that the property comes and goes with.
	part string
	// follows is set where the property says again, in the engine's terms, what another one says: that of a part, or of
	// the whole flow. It is no news beside it.
	follows string
}

// What a property's follows may be besides a part.
const (
	followsFlow       = "flow"
	followsParameters = "parameters"
)

// key tells a property from all others of its object.
type key struct{ step, what string }

// view is what one object says, without what only the engine needs to know.
type view struct {
	keys  []key
	props map[key]property
	// parts are the steps and the other templates, in order; their title in words is by part.
	parts []string
	title map[string]key
	// steps maps templates to steps; entrypoint is the template that is the flow.
	steps      map[string]string
	entrypoint string
	// metadata lists the labels and annotations that count.
	labels, annotations map[string]bool
}

// add notes a property. Where two have the same words, the texts stand side by side.
func (v *view) add(p property) {
	if p.value == "" {
		p.value = `""`
	}
	k := key{p.step, p.what}
	old, ok := v.props[k]
	if !ok {
		v.keys = append(v.keys, k)
		v.props[k] = p
		return
	}
	if old.value != p.value {
		old.value += "; " + p.value
		v.props[k] = old
	}
}

func (v *view) addPart(part string, title key) {
	if _, ok := v.title[part]; !ok {
		v.parts = append(v.parts, part)
		v.title[part] = title
	}
}

// ignoredAnnotations say nothing about what runs: they are notes, or say again what stands elsewhere.
var ignoredAnnotations = map[string]bool{
	annotationApplied: true, annotationSteps: true, annotationToken: true, annotationMetaflowToken: true,
	"mf.run/code-package": true, "kubectl.kubernetes.io/last-applied-configuration": true,
}

// viewOf reads an object. Of its labels and annotations only those that mf has in one of the owners count: other programs
// may add theirs.
func viewOf(o object, owners ...object) *view {
	v := &view{
		props: map[key]property{}, title: map[string]key{}, steps: map[string]string{},
		labels: map[string]bool{}, annotations: map[string]bool{},
	}
	for _, owner := range owners {
		for name := range owner.table("labels") {
			v.labels[name] = true
		}
		for name := range owner.table("annotations") {
			v.annotations[name] = !ignoredAnnotations[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.table("labels"))) {
		if v.labels[name] {
			v.add(property{what: labelWord(name), value: scalar(o.table("labels")[name]), path: []string{"metadata", "labels"}})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.table("annotations"))) {
		if v.annotations[name] {
			v.add(property{what: annotationWord(name), value: scalar(o.table("annotations")[name]), path: []string{"metadata", "annotations"}})
		}
	}
	for _, field := range o.content() {
		if spec, ok := o[field].(map[string]any); ok && field == "spec" && o.kind() == workflowTemplates.name {
			v.workflowTemplate(o, spec)
			continue
		}
		v.walk(place{rules: otherRules, root: []string{field}}, o[field], nil)
	}
	return v
}

// workflowTemplate reads what runs.
func (v *view) workflowTemplate(o object, spec map[string]any) {
	v.entrypoint = scalar(spec["entrypoint"])
	templates, _ := spec["templates"].([]any)
	v.steps = stepsOf(o, templates)
	rest := maps.Clone(spec)
	delete(rest, "templates")
	delete(rest, "templateDefaults")
	if annotations, ok := dig(rest, "workflowMetadata", "annotations").(map[string]any); ok && annotations[annotationMark] != nil {
		rest, _ = cloneValue(rest).(map[string]any)
		delete(tableIn(tableIn(rest, "workflowMetadata"), "annotations"), annotationMark)
	}
	v.walk(place{rules: specRules, root: []string{"spec"}}, rest, nil)
	parameters, _ := dig(spec, "arguments", "parameters").([]any)
	for _, p := range parameters {
		if help := scalar(dig(p, "description")); help != "" {
			v.add(property{what: "help of parameter " + scalar(dig(p, "name")), value: help, path: []string{"spec", "arguments"}})
		}
	}
	v.walk(place{rules: templateRules, root: []string{"spec", "templateDefaults"}, prefix: defaultPrefix}, spec["templateDefaults"], nil)
	// Steps before the templates that only say what follows what: a change of those is mostly one of a step.
	for _, t := range templates {
		fields, _ := t.(map[string]any)
		if step, ok := v.steps[scalar(fields["name"])]; ok {
			v.step(step, fields)
		}
	}
	for _, t := range templates {
		fields, _ := t.(map[string]any)
		if name := scalar(fields["name"]); v.steps[name] == "" {
			v.group(name, fields)
		}
	}
}

// stepsOf maps the templates that are steps to their steps: by the label, which every step has that can have one, else by
// the table of those that were renamed, else by the command line.
func stepsOf(o object, templates []any) map[string]string {
	renamed := map[string]string{}
	if text := o.annotation(annotationSteps); text != "" {
		if json.Unmarshal([]byte(text), &renamed) != nil {
			renamed = map[string]string{}
		}
	}
	steps := map[string]string{}
	for _, t := range templates {
		fields, _ := t.(map[string]any)
		name := scalar(fields["name"])
		label := scalar(dig(fields, "metadata", "labels", labelStep))
		invocation, isTask := invocationOf(dig(fields, "container", "args"))
		switch {
		case renamed[name] != "":
			steps[name] = renamed[name]
		case label != "":
			steps[name] = label
		case isTask:
			steps[name] = invocation.Step
		}
	}
	return steps
}

func invocationOf(args any) (ir.TaskInvocation, bool) {
	list, _ := args.([]any)
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = scalar(a)
	}
	inv, err := ir.ParseTaskInvocation(words)
	return inv, err == nil
}

// step reads the template of a step.
func (v *view) step(step string, fields map[string]any) {
	part := "step " + step
	v.addPart(part, key{step: step})
	rest := maps.Clone(fields)
	delete(rest, "name")
	at := place{rules: templateRules, root: []string{"spec", "templates"}, step: step, part: part}
	v.walk(at, rest, nil)
}

// group reads a template that is no step: the flow, the body of a foreach, a loop, an exit handler.
func (v *view) group(name string, fields map[string]any) {
	at := place{rules: templateRules, root: []string{"spec", "templates"}}
	if name != v.entrypoint {
		at.part = "template " + name
		at.prefix = "template " + name + ": "
		v.addPart(at.part, key{what: "template " + name})
	}
	rest := maps.Clone(fields)
	delete(rest, "name")
	tasks, _ := dig(fields, "dag", "tasks").([]any)
	if dag, ok := rest["dag"].(map[string]any); ok {
		dag = maps.Clone(dag)
		delete(dag, "tasks")
		rest["dag"] = dag
	}
	v.walk(at, rest, nil)
	for _, t := range tasks {
		task, _ := t.(map[string]any)
		v.task(name, task)
	}
}

// task reads a task of a DAG: what a step, or a group of them, waits for.
func (v *view) task(dag string, task map[string]any) {
	name, template := scalar(task["name"]), scalar(task["template"])
	at := place{rules: taskRules, root: []string{"spec", "templates"}}
	switch step := v.steps[name]; {
	case step != "":
		at.step, at.part = step, "step "+step
	case v.steps[template] != "":
		at.step, at.part = v.steps[template], "step "+v.steps[template]
		at.prefix = name + ": "
	case template == dag: // a loop calling itself
		at.part, at.prefix = "template "+dag, "template "+dag+": "+name+": "
	default:
		at.part, at.prefix = "template "+template, "template "+template+": "
	}
	if dag != v.entrypoint {
		v.add(property{step: at.step, what: at.prefix + "runs inside", value: dag, path: at.root, part: at.part, follows: followsFlow})
	}
	rest := maps.Clone(task)
	delete(rest, "name")
	if output := anOutput.FindStringSubmatch(scalar(dig(task, "withSequence", "count"))); output != nil {
		rest["withSequence"] = output[2] + " of " + strings.Join(v.stepNames([]string{output[1]}), "")
	}
	if pack := packOf(task); pack != "" {
		v.add(property{step: at.step, what: at.prefix + "pack", value: pack, path: at.root, part: at.part})
	}
	if v.steps[name] != "" && v.steps[name] == v.steps[template] || v.steps[name] == "" {
		delete(rest, "template")
	}
	if before, ok := rest["dependencies"].([]any); ok {
		tasks := make([]string, len(before))
		for i, t := range before {
			tasks[i] = scalar(t)
		}
		rest["dependencies"] = strings.Join(v.stepNames(tasks), ", ")
	}
	v.walk(at, rest, nil)
}

// stepNames replaces templates by steps; the order has no meaning.
func (v *view) stepNames(tasks []string) []string {
	names := slices.Clone(tasks)
	for i, name := range names {
		if step := v.steps[name]; step != "" {
			names[i] = step
		}
	}
	slices.Sort(names)
	return names
}

// packOf is how many splits a task runs at once, which its split path says; empty for one.
func packOf(task map[string]any) string {
	parameters, _ := dig(task, "arguments", "parameters").([]any)
	for _, p := range parameters {
		if m := lastPack.FindStringSubmatch(scalar(dig(p, "value"))); m != nil {
			return m[1]
		}
	}
	return ""
}

// place is where a walk is: which words it uses, and whose properties it finds.
type place struct {
	rules []rule
	root  []string
	// step, part and prefix are those of the properties found.
	step, part, prefix string
}

// walk turns a value and all below it into properties: each at the first rule that fits, else at the leaves, by their path.
func (v *view) walk(at place, value any, path []string) {
	if value == nil {
		return
	}
	if r, name, ok := match(at.rules, path); ok {
		v.add(at.property(r, name, value, path))
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			v.walk(at, value[name], append(path, name))
		}
		return
	case []any:
		if named(value) {
			for _, e := range value {
				m := maps.Clone(e.(map[string]any))
				name := scalar(m["name"])
				delete(m, "name")
				v.walk(at, m, append(path, name))
			}
			return
		}
	}
	full := append(slices.Clone(at.root), path...)
	prefix := at.prefix
	if prefix == defaultPrefix {
		prefix = ""
	}
	v.add(property{step: at.step, what: prefix + strings.Join(full, "."), value: compact(value), part: at.part, path: full})
}

// property is what a rule makes of a value.
func (at place) property(r rule, name string, value any, path []string) property {
	prefix := at.prefix
	if r.flowWide && prefix == defaultPrefix {
		prefix = ""
	}
	p := property{
		step: at.step, what: r.word(name), value: r.text(value), part: at.part, path: append(slices.Clone(at.root), path...), follows: r.follows,
	}
	if r.derive != nil {
		r.derive(&p, name)
	}
	p.what = prefix + p.what
	return p
}

// named reports whether a list is one of objects with names of their own, whose order has no meaning.
func named(list []any) bool {
	seen := map[string]bool{}
	for _, e := range list {
		m, _ := e.(map[string]any)
		name := scalar(m["name"])
		if name == "" || seen[name] {
			return false
		}
		seen[name] = true
	}
	return len(list) > 0
}

// dig follows names through maps; nil where there is nothing.
func dig(v any, names ...string) any {
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// scalar is the text of a plain value; empty for others.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// compact writes a value on one line, keys sorted.
func compact(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+": "+compact(v[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = compact(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return scalar(v)
}
