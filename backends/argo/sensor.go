package argo

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/ir"
)

// Sensor is what Argo Events' sensor controller reads (argoproj.io/v1alpha1), as far as mf writes it.
type Sensor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              SensorSpec `json:"spec"`
}

// SensorSpec says which events do what.
type SensorSpec struct {
	Dependencies []SensorDependency `json:"dependencies"`
	Triggers     []SensorTrigger    `json:"triggers"`
	Template     SensorTemplate     `json:"template"`
	EventBusName string             `json:"eventBusName,omitempty"`
}

// SensorTemplate is the sensor's own pod.
type SensorTemplate struct {
	ServiceAccountName string `json:"serviceAccountName"`
}

// SensorDependency is one event that is waited for.
type SensorDependency struct {
	Name            string        `json:"name"`
	EventSourceName string        `json:"eventSourceName"`
	EventName       string        `json:"eventName"`
	Filters         SensorFilters `json:"filters"`
}

// SensorFilters are what an event must meet, all of it.
type SensorFilters struct {
	Exprs []SensorExpr `json:"exprs"`
}

// SensorExpr is an expression over fields of an event. It is not met where one of the fields is missing.
type SensorExpr struct {
	Expr   string        `json:"expr"`
	Fields []SensorField `json:"fields"`
}

// SensorField names a field of an event.
type SensorField struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// SensorTrigger is what is done when all events have come.
type SensorTrigger struct {
	Template SensorTriggerTemplate `json:"template"`
}

// SensorTriggerTemplate creates an object.
type SensorTriggerTemplate struct {
	Name            string        `json:"name"`
	K8s             SensorK8s     `json:"k8s"`
	ConditionsReset []SensorReset `json:"conditionsReset,omitempty"`
}

// SensorReset forgets at a time those events that have come alone.
type SensorReset struct {
	ByTime SensorResetTime `json:"byTime"`
}

// SensorResetTime is that time.
type SensorResetTime struct {
	Cron     string `json:"cron"`
	Timezone string `json:"timezone,omitempty"`
}

// SensorK8s creates an object of Kubernetes, with values from events.
type SensorK8s struct {
	Operation  string            `json:"operation"`
	Source     SensorSource      `json:"source"`
	Parameters []SensorParameter `json:"parameters"`
}

// SensorSource is the object.
type SensorSource struct {
	Resource map[string]any `json:"resource"`
}

// SensorParameter puts a part of an event into the object.
type SensorParameter struct {
	Src  SensorParameterSource `json:"src"`
	Dest string                `json:"dest"`
}

// SensorParameterSource is where a value comes from, and what it is where it does not.
type SensorParameterSource struct {
	DependencyName string  `json:"dependencyName"`
	DataKey        string  `json:"dataKey,omitempty"`
	DataTemplate   string  `json:"dataTemplate,omitempty"`
	Value          *string `json:"value,omitempty"`
}

// payloadKey is where the payload is in what a webhook's event source passes on.
const payloadKey = "body.payload"

var dateLike = regexp.MustCompile(`^\d{4}-\d\d-\d\d`)

// sensor is nil for a flow that no event starts.
func (e *emitter) sensor() *Sensor {
	if len(e.events) == 0 {
		return nil
	}
	s := &Sensor{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: "Sensor"},
		ObjectMeta: metav1.ObjectMeta{
			// A sensor cannot have dots in its name.
			Name: strings.ReplaceAll(e.name, ".", "-"), Namespace: e.namespace, Labels: e.ownLabels(), Annotations: e.ownAnnotations(),
		},
		Spec: SensorSpec{
			EventBusName: e.setting(setEventBus),
			Template:     SensorTemplate{ServiceAccountName: e.setting(setEventAccount)},
		},
	}
	trigger := SensorTriggerTemplate{Name: e.name, K8s: SensorK8s{Operation: "create", Source: SensorSource{e.startedRun()}}}
	for _, ev := range e.events {
		s.Spec.Dependencies = append(s.Spec.Dependencies, e.dependency(ev))
		for _, f := range ev.parameters {
			trigger.K8s.Parameters = append(trigger.K8s.Parameters, argument(f.parameter.Option, fieldSource(ev.id, f)))
		}
	}
	for _, ev := range e.events {
		trigger.K8s.Parameters = append(trigger.K8s.Parameters, argument(ev.id, payloadSource(ev.id)))
	}
	trigger.ConditionsReset = e.conditionsReset()
	s.Spec.Triggers = []SensorTrigger{{trigger}}
	return s
}

// dependency lets an event through by its name, and where it has what the run needs.
func (e *emitter) dependency(ev event) SensorDependency {
	d := SensorDependency{Name: ev.id, EventSourceName: e.setting(setEventSource), EventName: e.setting(setEventName)}
	equal := func(field, value string) {
		expr := fmt.Sprintf("field == '%s'", value)
		if dateLike.MatchString(value) {
			// A text that can be read as a time would be one, and equal no field.
			expr = fmt.Sprintf("'=' + field == '=%s'", value)
		}
		d.Filters.Exprs = append(d.Filters.Exprs, SensorExpr{Expr: expr,
			Fields: []SensorField{{"field", payloadKey + "." + field}}})
	}
	equal("name", ev.name)
	for _, f := range ev.parameters {
		if backends.MustBeGiven(f.parameter) {
			d.Filters.Exprs = append(d.Filters.Exprs, SensorExpr{Expr: "true == true",
				Fields: []SensorField{{"field", payloadKey + "." + f.field}}})
		}
	}
	for _, r := range ev.required {
		equal(r[0], r[1])
	}
	return d
}

// startedRun is the Workflow that is created. Only what events give is an argument; the rest are the template's defaults.
func (e *emitter) startedRun() map[string]any {
	type by struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	var arguments []any
	var events []by
	for _, ev := range e.events {
		events = append(events, by{ev.name, ev.kind})
		for _, f := range ev.parameters {
			value, _, _ := defaultForm(f.parameter) // parameters says what is wrong with it
			arguments = append(arguments, map[string]any{"name": f.parameter.Option, "value": value})
		}
	}
	for _, ev := range e.events {
		arguments = append(arguments, map[string]any{"name": ev.id, "value": "null"})
	}
	// Texts always have a JSON form.
	triggered, _ := json.Marshal(events)
	own := e.startedMetadata()
	own.Annotations["metaflow/triggered_by"] = string(triggered)
	metadata := map[string]any{"generateName": e.name + "-", "labels": own.Labels, "annotations": own.Annotations}
	if e.namespace != "" {
		metadata["namespace"] = e.namespace
	}
	return map[string]any{
		"apiVersion": apiVersion, "kind": "Workflow", "metadata": metadata,
		"spec": map[string]any{
			"arguments":           map[string]any{"parameters": arguments},
			"workflowTemplateRef": map[string]any{"name": e.name},
		},
	}
}

// argument puts a value into the run's argument of that name.
func argument(name string, from SensorParameterSource) SensorParameter {
	return SensorParameter{Src: from, Dest: fmt.Sprintf("spec.arguments.parameters.#(name=%s).value", name)}
}

// What a sensor's templates look for.
const (
	// unplain is what ir.EncodeParameter does not write as it is, and what Argo Events takes for no value.
	unplain = "`^$|^mf-|^<no value>$|\\{\\{|\\$\\(|\\$\\$|[^\\t\\n \\pL\\pM\\pN\\pP\\pS]`"
	// unquotable are characters that Argo does not quote as JSON does.
	unquotable = "`\\x7f|[^\\x{0}-\\x{ffff}\\pL\\pM\\pN\\pP\\pS]`"
	// longNumber is a number that may have lost digits, for templates see all numbers as floats.
	longNumber = "`[0-9]{16}|[0-9]e[-+]`"
)

// fieldSource is where a parameter's text (ir.EnvParameterPrefix) comes from: a field that is a text as it is, anything else
// as JSON. What would not arrive unharmed travels in base64. Where the template fails, the field itself counts, with all
// the digits of its numbers, and where there is none, the parameter's default.
func fieldSource(event string, f eventField) SensorParameterSource {
	lower := ""
	if f.parameter.Type == ir.BoolType {
		lower = `{{ $t = lower $t }}`
	}
	value, _, _ := defaultForm(f.parameter)
	return SensorParameterSource{DependencyName: event, DataKey: payloadKey + "." + f.field, Value: &value,
		DataTemplate: `{{ $p := $.Input.` + payloadKey + ` }}{{ if not (hasKey $p "` + f.field + `") }}{{ fail "not given" }}{{ end }}` +
			`{{ $v := get $p "` + f.field + `" }}{{ $t := $v }}{{ if not (kindIs "string" $v) }}{{ $t = toRawJson $v }}{{ end }}` + lower +
			`{{ $odd := regexMatch ` + unplain + ` $t }}{{ if and (not (kindIs "string" $v)) (not $odd) (regexMatch ` + longNumber + ` $t) }}` +
			`{{ fail "as it is" }}{{ end }}{{ if $odd }}` + ir.ParameterBase64 + `{{ b64enc $t }}{{ else }}{{ $t }}{{ end }}`}
}

// payloadSource is where a run has an event's payload from. It goes through Argo and Kubernetes as JSON in which what they
// would replace is escaped.
func payloadSource(event string) SensorParameterSource {
	null := "null"
	return SensorParameterSource{DependencyName: event, DataKey: payloadKey, Value: &null,
		DataTemplate: `{{ $t := toRawJson $.Input.` + payloadKey + ` }}{{ if and (regexMatch ` + longNumber + ` $t) (not (regexMatch ` + unplain +
			` $t)) }}{{ fail "as it is" }}{{ end }}{{ $t = $t | replace "{{" "{\\u007b" | replace "$" "\\u0024" }}` +
			`{{ regexReplaceAll ` + unquotable + ` $t "\\ufffd" }}`}
}

// conditionsReset reads options={"reset_at": {"cron": …, "timezone": …}}.
func (e *emitter) conditionsReset() []SensorReset {
	for _, name := range []string{"trigger", "trigger_on_finish"} {
		d := e.flow.Decorator(name)
		if d == nil {
			continue
		}
		options, _ := d.Attributes["options"].(map[string]any)
		at, given := options["reset_at"]
		if !given {
			continue
		}
		fields, _ := at.(map[string]any)
		cron, _ := fields["cron"].(string)
		timezone, _ := fields["timezone"].(string)
		cron, err := ir.StandardCron(cron)
		if err != nil {
			e.errorf(d.Span, "bad-trigger", "flow %s: the cron of reset_at of @%s cannot be read: %v", e.flow.Name, name, err)
			continue
		}
		return []SensorReset{{SensorResetTime{Cron: cron, Timezone: timezone}}}
	}
	return nil
}
