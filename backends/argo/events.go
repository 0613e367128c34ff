package argo

import (
	"crypto/sha1"
	"encoding/base32"
	"regexp"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// event is one that starts runs, by @trigger or @trigger_on_finish. Several start a run together, when all have come.
type event struct {
	// name is the event's own, in its payload; id is made of it for where Argo takes no dots.
	name, id string
	// kind is "event", or "run" for the end of another flow's run.
	kind string
	// parameters are the flow's that the payload gives values.
	parameters []eventField
	// required are the fields that an event must have with that value.
	required [][2]string
}

// eventField maps a field of an event's payload to a parameter.
type eventField struct {
	parameter *ir.Parameter
	field     string
}

var (
	validEventName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	validFieldName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	validFlowName  = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

	beginsWithLetter = regexp.MustCompile(`^[A-Za-z]`)
)

// readEvents reads the flow's triggers.
func (e *emitter) readEvents() []event {
	var list []event
	if d := e.flow.Decorator("trigger"); d != nil {
		list = e.namedEvents(d)
		e.givenByEvents(d, list)
	} else if d := e.flow.Decorator("trigger_on_finish"); d != nil {
		list = e.finishedFlows(d)
		e.givenByEvents(d, nil)
	}
	seen := map[string]bool{}
	for i := range list {
		if seen[list[i].name] {
			e.errorf(e.triggerSpan(), "bad-trigger", "flow %s: the event %s is named twice", e.flow.Name, list[i].name)
		}
		seen[list[i].name] = true
		list[i].id = eventID(list[i].name)
	}
	return list
}

func (e *emitter) triggerSpan() diag.Span {
	for _, name := range []string{"trigger", "trigger_on_finish"} {
		if d := e.flow.Decorator(name); d != nil {
			return d.Span
		}
	}
	return backends.FlowSpan(e.flow)
}

// oneOrMany is what an attribute or its plural form lists.
func oneOrMany(a ir.Attributes, one, many string) []any {
	if v := a[one]; v != nil && v != "" {
		return []any{v}
	}
	list, _ := a[many].([]any)
	return list
}

// computed reports a value that a function of the flow's file makes.
func (e *emitter) computed(v any) bool {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 || m["$python"] == nil {
		return false
	}
	e.list = append(e.list, diag.Errorf(e.triggerSpan(), "bad-trigger",
		"flow %s: the trigger is made by %v, which is not known when the flow is compiled", e.flow.Name, m["$python"]).
		WithDetail("Write the name itself."))
	return true
}

func (e *emitter) namedEvents(d *ir.Decorator) []event {
	var list []event
	given := map[*ir.Parameter]bool{}
	for _, v := range oneOrMany(d.Attributes, "event", "events") {
		ev := event{kind: "event"}
		var mapping any
		switch v := v.(type) {
		case string:
			ev.name = v
		case map[string]any:
			if e.computed(v) || e.computed(v["name"]) || e.computed(v["parameters"]) {
				continue
			}
			ev.name, _ = v["name"].(string)
			mapping = v["parameters"]
		}
		if !validEventName.MatchString(ev.name) {
			e.list = append(e.list, diag.Errorf(d.Span, "bad-trigger", "flow %s: %q is no name of an event", e.flow.Name, ev.name).
				WithDetail("An event's name is made of letters, digits, '_', '-' and '.'; an event is a name, or a map with name and parameters."))
			continue
		}
		ev.parameters = e.eventFields(d, ev.name, mapping, given)
		list = append(list, ev)
	}
	if len(list) == 1 && len(list[0].parameters) == 0 {
		// As in Metaflow, a single event gives all parameters of which its payload has a field.
		for i := range e.flow.Parameters {
			if p := &e.flow.Parameters[i]; validFieldName.MatchString(p.Option) {
				list[0].parameters = append(list[0].parameters, eventField{p, p.Option})
			}
		}
	}
	return list
}

// eventFields reads a mapping: {"parameter": "field"}, or a list of names and of pairs.
func (e *emitter) eventFields(d *ir.Decorator, name string, mapping any, given map[*ir.Parameter]bool) []eventField {
	pairs, ok := fieldPairs(mapping)
	if !ok {
		e.errorf(d.Span, "bad-trigger", "flow %s: the parameters of the event %s are neither a map of names nor a list of names and pairs",
			e.flow.Name, name)
	}
	var fields []eventField
	for _, pair := range pairs {
		p := e.parameterCalled(pair[0])
		switch {
		case p == nil:
			e.errorf(d.Span, "bad-trigger", "flow %s: the event %s gives the parameter %s, which the flow does not have",
				e.flow.Name, name, pair[0])
		case given[p]:
			e.errorf(d.Span, "bad-trigger", "flow %s: the parameter %s is given by two events", e.flow.Name, p.Option)
		case !validFieldName.MatchString(pair[1]):
			e.errorf(d.Span, "bad-trigger", "flow %s: %q is no field of the event %s: letters, digits, '_' and '-' only",
				e.flow.Name, pair[1], name)
		default:
			given[p] = true
			fields = append(fields, eventField{p, pair[1]})
		}
	}
	return fields
}

func fieldPairs(mapping any) (pairs [][2]string, ok bool) {
	switch m := mapping.(type) {
	case nil:
		return nil, true
	case map[string]any:
		for name, field := range m {
			text, isText := field.(string)
			if !isText {
				return nil, false
			}
			pairs = append(pairs, [2]string{name, text})
		}
		slices.SortFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		return pairs, true
	case []any:
		for _, item := range m {
			pair, isPair := item.([]any)
			if !isPair {
				pair = []any{item, item}
			}
			if len(pair) != 2 {
				return nil, false
			}
			name, isText := pair[0].(string)
			field, isTextToo := pair[1].(string)
			if !isText || !isTextToo {
				return nil, false
			}
			pairs = append(pairs, [2]string{name, field})
		}
		return pairs, true
	}
	return nil, false
}

// parameterCalled finds a parameter by its name on the command line, where case does not matter.
func (e *emitter) parameterCalled(name string) *ir.Parameter {
	for i := range e.flow.Parameters {
		if strings.EqualFold(e.flow.Parameters[i].Option, name) {
			return &e.flow.Parameters[i]
		}
	}
	return nil
}

// givenByEvents reports the parameters that a run could not start without, and that no event gives.
func (e *emitter) givenByEvents(d *ir.Decorator, list []event) {
	given := map[*ir.Parameter]bool{}
	for _, ev := range list {
		for _, f := range ev.parameters {
			given[f.parameter] = true
		}
	}
	for i := range e.flow.Parameters {
		if p := &e.flow.Parameters[i]; backends.MustBeGiven(p) && !given[p] {
			e.list = append(e.list, diag.Errorf(p.Span, "triggered-parameter",
				"parameter %s is required and has no default, but no event of @%s gives it a value", p.Name, d.Name).
				WithDetail("Give it a default, or map a field of an event to it."))
		}
	}
}

// finishedFlows reads @trigger_on_finish: the events that the end steps of other flows publish.
func (e *emitter) finishedFlows(d *ir.Decorator) []event {
	var list []event
	for _, v := range oneOrMany(d.Attributes, "flow", "flows") {
		if e.computed(v) {
			continue
		}
		project, branch, flow := finishedFlow(v)
		if !validFlowName.MatchString(flow) {
			e.list = append(e.list, diag.Errorf(d.Span, "bad-trigger", "flow %s: @trigger_on_finish names no flow by %v", e.flow.Name, v).
				WithDetail("Write the flow's name, project.branch.flow, or a map with name, project and project_branch."))
			continue
		}
		if e.project != nil {
			project, branch = first(project, e.project.Name), first(branch, e.project.Branch)
		}
		if (project == "") != (branch == "") {
			e.list = append(e.list, diag.Errorf(d.Span, "bad-trigger",
				"flow %s: @trigger_on_finish names a project or a branch of the flow %s, but not both", e.flow.Name, flow).
				WithDetail("Name both, or give this flow the @project."))
			continue
		}
		ev := event{kind: "run", name: ir.FinishedEvent(project, branch, flow), required: [][2]string{{"auto-generated-by-metaflow", "True"}}}
		if project != "" {
			ev.required = append(ev.required, [2]string{"project_name", project}, [2]string{"branch_name", branch})
		}
		list = append(list, ev)
	}
	return list
}

// finishedFlow reads one flow: "Flow", "project.branch.Flow" (a branch may have dots), or a map.
func finishedFlow(v any) (project, branch, flow string) {
	switch v := v.(type) {
	case string:
		flow = v
		if dots := strings.Count(v, "."); dots >= 2 {
			last := strings.LastIndexByte(v, '.')
			project, branch, _ = strings.Cut(v[:last], ".")
			flow = v[last+1:]
		}
	case map[string]any:
		flow, _ = v["name"].(string)
		project, _ = v["project"].(string)
		branch, _ = v["project_branch"].(string)
	}
	return project, branch, flow
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// eventID is Metaflow's: the name less what is no letter or digit, and four letters that tell alike ones apart.
func eventID(name string) string {
	sum := sha1.Sum([]byte(name))
	plain := strings.NewReplacer(".", "", "-", "", "@", "", "+", "").Replace(name)
	if !beginsWithLetter.MatchString(plain) {
		// Argo Events reads ids in an expression, where words begin with a letter.
		plain = "event" + plain
	}
	return plain + "_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:4])
}

// eventParameters take the events' payloads into a run.
func (e *emitter) eventParameters() []wfv1.Parameter {
	var list []wfv1.Parameter
	for _, ev := range e.events {
		list = append(list, wfv1.Parameter{Name: ev.id, Value: wfv1.AnyStringPtr("null"),
			Description: wfv1.AnyStringPtr("Payload of the event " + ev.name + " that started the run")})
	}
	return list
}

// eventEnvironment hands the payloads to tasks, for current.trigger.
func (e *emitter) eventEnvironment() []corev1.EnvVar {
	var list []corev1.EnvVar
	for _, ev := range e.events {
		list = append(list, corev1.EnvVar{Name: ir.EnvEventPayloadPrefix + ev.kind + "_" + ev.id, Value: "{{workflow.parameters." + ev.id + "}}"})
	}
	return list
}
