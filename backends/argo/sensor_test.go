package argo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	gotemplate "text/template"

	"github.com/Masterminds/sprig/v3"
	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// checkSensor reads a sensor strictly, and holds it against the template that it starts: every argument is one of the
// template's, every value has a place to go to and comes from an event that is waited for.
func checkSensor(data []byte, t *wfv1.WorkflowTemplate) error {
	var s argo.Sensor
	if err := yaml.UnmarshalStrict(data, &s); err != nil {
		return err
	}
	if s.Kind != "Sensor" || s.APIVersion != "argoproj.io/v1alpha1" || strings.Contains(s.Name, ".") || s.Namespace != t.Namespace ||
		s.Spec.Template.ServiceAccountName == "" || len(s.Spec.Triggers) != 1 || len(s.Spec.Dependencies) == 0 {
		return fmt.Errorf("not a sensor: %+v", s)
	}
	dependencies := map[string]bool{}
	for _, d := range s.Spec.Dependencies {
		if d.EventName == "" || d.EventSourceName == "" || len(d.Filters.Exprs) == 0 || strings.Contains(d.Name, ".") || dependencies[d.Name] {
			return fmt.Errorf("not a dependency: %+v", d)
		}
		dependencies[d.Name] = true
	}
	k8s := s.Spec.Triggers[0].Template.K8s
	w, err := startedBy(&s)
	if err != nil {
		return err
	}
	if w.GenerateName != t.Name+"-" || w.Spec.WorkflowTemplateRef == nil || w.Spec.WorkflowTemplateRef.Name != t.Name {
		return fmt.Errorf("it starts %+v", w)
	}
	if err := checkHeldBack(&w.ObjectMeta, t); err != nil {
		return err
	}
	for _, p := range w.Spec.Arguments.Parameters {
		declared := t.Spec.Arguments.GetParameterByName(p.Name)
		if declared == nil {
			return fmt.Errorf("the template has no parameter %s", p.Name)
		}
		if p.Value == nil || p.GetValue() != declared.GetValue() {
			return fmt.Errorf("parameter %s is %q where no event gives it, not %q as in any other run", p.Name, p.GetValue(), declared.GetValue())
		}
		if !slices.ContainsFunc(k8s.Parameters, func(from argo.SensorParameter) bool {
			return from.Dest == "spec.arguments.parameters.#(name="+p.Name+").value" && dependencies[from.Src.DependencyName] &&
				from.Src.Value != nil && *from.Src.Value == p.GetValue()
		}) {
			return fmt.Errorf("no event gives %s", p.Name)
		}
	}
	if len(k8s.Parameters) != len(w.Spec.Arguments.Parameters) {
		return errors.New("a value has no place to go to")
	}
	return nil
}

// startedBy is the Workflow that a sensor creates, read strictly.
func startedBy(s *argo.Sensor) (*wfv1.Workflow, error) {
	text, err := json.Marshal(s.Spec.Triggers[0].Template.K8s.Source.Resource)
	if err != nil {
		return nil, err
	}
	w := &wfv1.Workflow{}
	return w, yaml.UnmarshalStrict(text, w)
}

// sensorOf compiles made-parameters with a trigger.
func sensorOf(t *testing.T, d ir.Decorator, opt func(*ir.Flow, *backends.Options)) (*argo.Sensor, []backends.File) {
	t.Helper()
	files, list := emitted(t, "made-parameters", func(f *ir.Flow, o *backends.Options) {
		f.Parameters = slices.DeleteFunc(f.Parameters, func(p ir.Parameter) bool { return p.Required && d.Name != "trigger" })
		f.Decorators = append(f.Decorators, d)
		if opt != nil {
			opt(f, o)
		}
	})
	if list.HasErrors() {
		t.Fatal(list)
	}
	if err := check(files); err != nil {
		t.Fatal(err)
	}
	s := &argo.Sensor{}
	if err := yaml.UnmarshalStrict(files[len(files)-1].Data, s); err != nil {
		t.Fatal(err)
	}
	return s, files
}

// TestSensor has every form of a mapping, a reset, and settings of its own.
func TestSensor(t *testing.T) {
	s, files := sensorOf(t, ir.Decorator{Name: "trigger", Attributes: ir.Attributes{
		"event": nil, "events": []any{
			"plain.event-1",
			map[string]any{"name": "mapped", "parameters": map[string]any{"NUMBER": "count", "must": "needed"}},
			map[string]any{"name": "listed", "parameters": []any{"text", []any{"flag", "on_off"}}},
		}, "options": map[string]any{"reset_at": map[string]any{"cron": "0 0 * * *", "timezone": "Europe/Helsinki"}},
	}}, func(f *ir.Flow, o *backends.Options) {
		f.Parameters = []ir.Parameter{
			{Name: "number", Option: "number", Type: ir.IntType, Default: []byte("3")},
			{Name: "must", Option: "must", Type: ir.StringType, Required: true},
			{Name: "text", Option: "text", Type: ir.StringType},
			{Name: "flag", Option: "flag", Type: ir.BoolType, Default: []byte("false")},
		}
		o.Token = "made-0-abcd"
		o.Settings = map[string]string{"argo.event-source": "hook", "argo.event-name": "ours", "argo.event-bus": "fast",
			"argo.event-service-account": "starter", "argo.namespace": "ml"}
	})
	golden.Check(t, "testdata/sensor.yaml", files[len(files)-1].Data)
	tmpl, err := parse(files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range s.Spec.Dependencies {
		if p := tmpl.Spec.Arguments.GetParameterByName(d.Name); p == nil || p.GetValue() != "null" {
			t.Errorf("the template takes no payload of %s", d.Name)
		}
	}
	if env := fmt.Sprint(tmpl.Spec.TemplateDefaults.Container.Env); !strings.Contains(env, "METAFLOW_ARGO_EVENT_PAYLOAD_event_mapped_") {
		t.Errorf("the tasks are not told of the event: %s", env)
	}
}

// resolved is what Argo Events makes of a source: its template's text, else the field itself, else the default.
func resolved(t *testing.T, from argo.SensorParameterSource, payload string) string {
	t.Helper()
	parsed, err := gotemplate.New("").Funcs(sprig.FuncMap()).Parse(from.DataTemplate)
	if err != nil {
		t.Fatal(err)
	}
	var floats any
	if err := json.Unmarshal([]byte(payload), &floats); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if parsed.Execute(&b, map[string]any{"Input": map[string]any{"body": map[string]any{"payload": floats}}}) == nil && b.Len() > 0 {
		return b.String()
	}
	raw := json.RawMessage(payload)
	if field, ok := strings.CutPrefix(from.DataKey, "body.payload."); ok {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		raw = fields[field]
	}
	var text string
	switch {
	case raw == nil:
		return *from.Value
	case json.Unmarshal(raw, &text) == nil:
		return text
	}
	return string(raw)
}

// TestEventValues reads fields of events as Argo Events does.
func TestEventValues(t *testing.T) {
	for _, c := range []struct {
		typ   ir.ParameterType
		value string // in the payload, as JSON
		want  string
	}{
		{ir.StringType, `"abc"`, "abc"}, {ir.StringType, `""`, "mf-base64:"}, {ir.StringType, `"{{x}}"`, "mf-base64:e3t4fX0="},
		{ir.StringType, `"mf-blob:1"`, "mf-base64:bWYtYmxvYjox"}, {ir.StringType, `5`, "5"}, {ir.StringType, `"a\n\"b\" <é>"`, "a\n\"b\" <é>"},
		{ir.StringType, `"$(x)"`, "mf-base64:JCh4KQ=="}, {ir.StringType, `"\u007f"`, "mf-base64:fw=="}, {ir.StringType, `"<no value>"`, "mf-base64:PG5vIHZhbHVlPg=="},
		{ir.StringType, `null`, "null"}, {ir.StringType, `"1234567890123456789"`, "1234567890123456789"},
		{ir.IntType, `7`, "7"}, {ir.IntType, `"7"`, "7"}, {ir.IntType, `9007199254740993`, "9007199254740993"}, {ir.FloatType, `0.5`, "0.5"},
		{ir.BoolType, `true`, "true"}, {ir.BoolType, `"True"`, "true"},
		{ir.JSONType, `{"a": "<b>"}`, `{"a":"<b>"}`}, {ir.JSONType, `"[1]"`, "[1]"}, {ir.JSONType, `[9007199254740993]`, "[9007199254740993]"},
		{ir.JSONType, `["{{x}}"]`, "mf-base64:WyJ7e3h9fSJd"}, {ir.StringType, "", "its default"},
	} {
		s, _ := sensorOf(t, ir.Decorator{Name: "trigger", Attributes: ir.Attributes{"event": map[string]any{
			"name": "e", "parameters": map[string]any{"p": "a-field"}}}}, func(f *ir.Flow, _ *backends.Options) {
			f.Parameters = []ir.Parameter{{Name: "p", Option: "p", Type: c.typ}}
			if c.value == "" {
				f.Parameters[0].Default = []byte(`"its default"`)
			}
		})
		payload := `{"a-field": ` + c.value + `}`
		if c.value == "" {
			payload = `{"other": 1}`
		}
		if got := resolved(t, s.Spec.Triggers[0].Template.K8s.Parameters[0].Src, payload); got != c.want {
			t.Errorf("%v %s gives %q, want %q", c.typ, c.value, got, c.want)
		}
	}
}

// TestEventDefaults: a default that no event replaces is the same text as in any other run, which checkSensor holds the
// sensor to, and arrives unharmed.
func TestEventDefaults(t *testing.T) {
	for _, text := range []string{"Hello {{name}} $(HOME) $$5", "", "plain", "mf-blob:1"} {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := sensorOf(t, ir.Decorator{Name: "trigger", Attributes: ir.Attributes{"event": map[string]any{
			"name": "e", "parameters": map[string]any{"p": "field"}}}}, func(f *ir.Flow, _ *backends.Options) {
			f.Parameters = []ir.Parameter{{Name: "p", Option: "p", Type: ir.StringType, Default: quoted}}
		})
		form := resolved(t, s.Spec.Triggers[0].Template.K8s.Parameters[0].Src, `{"other": 1}`)
		if got, err := ir.DecodeParameter(form, nil); err != nil || got != text || strings.Contains(form, "{{") {
			t.Errorf("the default %q arrives as %q: %v", text, form, err)
		}
	}
}

// TestEventPayload: nothing in a payload is left that Argo or Kubernetes would replace, and it stays what it was.
func TestEventPayload(t *testing.T) {
	s, _ := sensorOf(t, ir.Decorator{Name: "trigger", Attributes: ir.Attributes{"event": "e"}}, func(f *ir.Flow, _ *backends.Options) { f.Parameters = nil })
	from := s.Spec.Triggers[0].Template.K8s.Parameters[0].Src
	for payload, want := range map[string]string{
		`{"id": 9007199254740993}`:       `{"id": 9007199254740993}`,
		`{"a": "{{{x}} $(y) $$"}`:        `{"a":"{\u007b{x}} \u0024(y) \u0024\u0024"}`,
		`{"a": "\u007f é \udb40\udc01"}`: `{"a":"\ufffd é \ufffd"}`,
		`{"a": {"{{": 1}, "b": "\"\\"}`:  `{"a":{"{\u007b":1},"b":"\"\\"}`,
	} {
		got := resolved(t, from, payload)
		if got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s becomes %s, want %s", payload, got, want)
		}
	}
}

// TestEventNames: Argo Events reads the names of events in expressions, where not every text is a word or stays a text.
func TestEventNames(t *testing.T) {
	s, _ := sensorOf(t, ir.Decorator{Name: "trigger", Attributes: ir.Attributes{"events": []any{"2026-11-23", "9.later", "_x", "..."}}},
		func(f *ir.Flow, _ *backends.Options) { f.Parameters = nil })
	var got []string
	for _, d := range s.Spec.Dependencies {
		got = append(got, d.Name+" "+d.Filters.Exprs[0].Expr)
	}
	want := []string{"event20261123_AAAA '=' + field == '=2026-11-23'", "event9later_AAAA field == '9.later'", "event_x_AAAA field == '_x'",
		"event_AAAA field == '...'"}
	for i := range want {
		id, expr, _ := strings.Cut(got[i], " ")
		if got := id[:len(id)-4] + "AAAA " + expr; got != want[i] {
			t.Errorf("%s, want %s", got, want[i])
		}
	}
}

// TestFinishedFlows: the events of @trigger_on_finish are those that ends of runs publish.
func TestFinishedFlows(t *testing.T) {
	for _, c := range []struct {
		flow    any
		project string
		want    string // the event
	}{
		{"Other", "", "metaflow.Other.end"}, {"p.test.x.Other", "", "metaflow.p.test.x.Other.end"},
		{"Other", "own", "metaflow.own.user.tester.Other.end"},
		{map[string]any{"name": "Other", "project_branch": "prod"}, "own", "metaflow.own.prod.Other.end"},
		{map[string]any{"name": "Other", "project": "p", "project_branch": "prod"}, "", "metaflow.p.prod.Other.end"},
	} {
		s, _ := sensorOf(t, ir.Decorator{Name: "trigger_on_finish", Attributes: ir.Attributes{"flows": []any{c.flow}}},
			func(f *ir.Flow, _ *backends.Options) {
				if c.project != "" {
					f.Decorators = append(f.Decorators, ir.Decorator{Name: "project", Attributes: ir.Attributes{"name": c.project}})
				}
			})
		exprs := s.Spec.Dependencies[0].Filters.Exprs
		if exprs[0].Expr != "field == '"+c.want+"'" {
			t.Errorf("%v: %+v", c.flow, exprs)
		}
		if filtered := len(exprs) == 4; filtered != (strings.Count(c.want, ".") > 2) {
			t.Errorf("%v: %+v", c.flow, exprs)
		}
	}
}

// TestBadTriggers says what is wrong, where it stands.
func TestBadTriggers(t *testing.T) {
	for _, c := range []struct {
		attributes ir.Attributes
		code       string
	}{
		{ir.Attributes{"event": "a b"}, "bad-trigger"},
		{ir.Attributes{"event": map[string]any{"$python": "made"}}, "bad-trigger"},
		{ir.Attributes{"event": map[string]any{"name": map[string]any{"$python": "made"}}}, "bad-trigger"},
		{ir.Attributes{"events": []any{"a", "a"}}, "bad-trigger"},
		{ir.Attributes{"event": map[string]any{"name": "a", "parameters": map[string]any{"none": "x"}}}, "bad-trigger"},
		{ir.Attributes{"event": map[string]any{"name": "a", "parameters": map[string]any{"p": "x y"}}}, "bad-trigger"},
		{ir.Attributes{"event": map[string]any{"name": "a", "parameters": map[string]any{"p": int64(1)}}}, "bad-trigger"},
		{ir.Attributes{"event": map[string]any{"name": "a", "parameters": []any{[]any{"p"}}}}, "bad-trigger"},
		{ir.Attributes{"events": []any{map[string]any{"name": "a", "parameters": []any{"p"}}, map[string]any{"name": "b", "parameters": []any{"P"}}}}, "bad-trigger"},
		{ir.Attributes{"event": "a", "options": map[string]any{"reset_at": map[string]any{}}}, "bad-trigger"},
		{ir.Attributes{"event": "a", "options": map[string]any{"reset_at": map[string]any{"cron": "at noon"}}}, "bad-trigger"},
		{ir.Attributes{"events": []any{"a", "b"}}, "triggered-parameter"},
	} {
		files, list := emitted(t, "made-linear", func(f *ir.Flow, _ *backends.Options) {
			f.Parameters = []ir.Parameter{{Name: "p", Option: "p", Type: ir.StringType, Required: c.code == "triggered-parameter"}}
			f.Decorators = []ir.Decorator{{Name: "trigger", Attributes: c.attributes}}
		})
		if len(files) > 0 || len(list) == 0 || list[0].Code != c.code {
			t.Errorf("%v: %v", c.attributes, list)
		}
	}
	for _, flow := range []any{"a.b", "", map[string]any{"project": "p"}, map[string]any{"name": "F", "project": "p"}, int64(3)} {
		if _, list := emitted(t, "made-linear", func(f *ir.Flow, _ *backends.Options) {
			f.Decorators = []ir.Decorator{{Name: "trigger_on_finish", Attributes: ir.Attributes{"flows": []any{flow}}}}
		}); !list.HasErrors() {
			t.Errorf("%v is taken", flow)
		}
	}
}
