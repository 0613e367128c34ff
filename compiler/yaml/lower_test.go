package yaml

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mf-run/mf/ir"
)

func mustParse(t *testing.T, src string) *ir.Flow {
	t.Helper()
	flow, diags := Parse("flow.yaml", []byte(src))
	if flow == nil {
		t.Fatalf("%s\n%v", src, diags)
	}
	return flow
}

// TestDecorators checks what settings become, by the names and attributes that Metaflow has.
func TestDecorators(t *testing.T) {
	tests := []struct{ settings, name, want string }{
		{"retry: 0", "retry", `{"times":0,"minutes_between_retries":2}`},
		{"retry: {}", "retry", `{"times":3,"minutes_between_retries":2}`},
		{"retry: {minutes_between: 0.25}", "retry", `{"times":3,"minutes_between_retries":0.25}`},
		{"timeout: 45", "timeout", `{"seconds":45,"minutes":0,"hours":0}`},
		{"timeout: 2h", "timeout", `{"seconds":7200,"minutes":0,"hours":0}`},
		{"timeout: 1h2m3s", "timeout", `{"seconds":3723,"minutes":0,"hours":0}`},
		{"catch: {var: oops}", "catch", `{"var":"oops","print_exception":true}`},
		{"resources: {}", "resources", `{"cpu":1,"memory":4096,"disk":null,"gpu":null,"shared_memory":null}`},
		{"resources: {cpu: 0.5, memory: 2Gi, disk: 1 TiB, gpu: 0, shared_memory: 64MiB}", "resources",
			`{"cpu":0.5,"memory":2048,"disk":1048576,"gpu":0,"shared_memory":64}`},
		{"env: {A: 1, B: 0x10, C: x y}", "environment", `{"vars":{"A":"1","B":"0x10","C":"x y"}}`},
		{"secrets: [a, {type: b, n: 2.0}]", "secrets", `{"sources":["a",{"type":"b","n":2}],"role":null,"allow_override":false}`},
		{"secrets: {sources: [a], role: r, allow_override: true}", "secrets", `{"sources":["a"],"role":"r","allow_override":true}`},
		{"decorators: {card: {timeout: 4.5, on_error: null}}", "card", `{"timeout":4.5,"on_error":null}`},
		{"decorators: {card: }", "card", `null`},
	}
	for _, test := range tests {
		flow := mustParse(t, "flow: A\nsteps:\n  start:\n    "+test.settings+"\n")
		checkAttributes(t, test.settings, flow.Steps[0].Decorator(test.name), test.want)
	}
}

func TestFlowDecorators(t *testing.T) {
	tests := []struct{ setting, name, want string }{
		{"schedule: hourly", "schedule", `{"cron":null,"hourly":true,"daily":false,"weekly":false,"timezone":null}`},
		{"schedule: {every: daily, timezone: Asia/Tokyo}", "schedule",
			`{"cron":null,"hourly":false,"daily":true,"weekly":false,"timezone":"Asia/Tokyo"}`},
		{"schedule: {cron: \"0 6 * * *\"}", "schedule",
			`{"cron":"0 6 * * *","hourly":false,"daily":false,"weekly":false,"timezone":null}`},
		{"project: shop", "project", `{"name":"shop","branch":null,"production":false}`},
		{"project: {name: shop, branch: b, production: true}", "project", `{"name":"shop","branch":"b","production":true}`},
		{"decorators: {trigger: {event: e}}", "trigger", `{"event":"e"}`},
	}
	for _, test := range tests {
		flow := mustParse(t, "flow: A\n"+test.setting+"\nsteps: {start: }\n")
		checkAttributes(t, test.setting, flow.Decorator(test.name), test.want)
	}
}

func checkAttributes(t *testing.T, source string, d *ir.Decorator, want string) {
	t.Helper()
	if d == nil {
		t.Errorf("%s: no decorator", source)
		return
	}
	if d.Unknown || d.Span.Line == 0 {
		t.Errorf("%s: got %+v", source, d)
	}
	var attrs ir.Attributes
	if err := json.Unmarshal([]byte(want), &attrs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(attrs, d.Attributes); diff != "" {
		t.Errorf("%s: attributes (-want +got):\n%s", source, diff)
	}
}

// TestDefaults checks how a step's settings and the common ones come together.
func TestDefaults(t *testing.T) {
	flow := mustParse(t, `
flow: A
image: common
env: {A: "1", B: "1"}
defaults:
  retry: 1
  timeout: 60
  catch: {var: oops}
  resources: {cpu: 2, memory: 100}
  decorators: {card: {type: a}, conda: {python: x}}
steps:
  plain:
  own:
    image: special
    env: {B: "2"}
    retry: {times: 2}
    timeout: false
    catch: false
    resources: {memory: 200}
    decorators: {card: [{type: b}, {type: c}], unheard_of: }
`)
	plain, own := flow.Step("plain"), flow.Step("own")
	if got := names(plain); got != "retry catch timeout resources environment card conda" {
		t.Errorf("a step without settings has %s", got)
	}
	if got := names(own); got != "retry resources environment conda card card unheard_of" {
		t.Errorf("a step with settings has %s", got)
	}
	if !own.Decorator("unheard_of").Unknown || own.Decorator("card").Unknown {
		t.Error("it is not said which decorators are unknown")
	}
	checkAttributes(t, "resources", own.Decorator("resources"), `{"cpu":2,"memory":200,"disk":null,"gpu":null,"shared_memory":null}`)
	checkAttributes(t, "env", own.Decorator("environment"), `{"vars":{"A":"1","B":"2"}}`)
	checkAttributes(t, "retry", own.Decorator("retry"), `{"times":2,"minutes_between_retries":2}`)
	if plain.Command.Image != "common" || own.Command.Image != "special" {
		t.Errorf("images %q and %q", plain.Command.Image, own.Command.Image)
	}
	if plain.Command.Shell != ":" {
		t.Errorf("a step without a command runs %q", plain.Command.Shell)
	}
	if plain.Decorator("retry").Span.Line != 6 || own.Decorator("retry").Span.Line != 16 {
		t.Errorf("the spans are %v and %v", plain.Decorator("retry").Span, own.Decorator("retry").Span)
	}
}

func names(s *ir.Step) string {
	var list []string
	for _, d := range s.Decorators {
		list = append(list, d.Name)
	}
	return strings.Join(list, " ")
}

func TestParameters(t *testing.T) {
	tests := []struct {
		source string
		typ    ir.ParameterType
		value  string
	}{
		{"", ir.StringType, ""},
		{"{default: abc}", ir.StringType, `"abc"`},
		{"{default: <a&b>}", ir.StringType, `"<a&b>"`},
		{"{default: 2024-02-29}", ir.StringType, `"2024-02-29"`},
		{"{default: \"yes\"}", ir.StringType, `"yes"`},
		{"{default: 0x1F}", ir.IntType, `31`},
		{"{default: 1_000}", ir.IntType, `1000`},
		{"{default: 9223372036854775807}", ir.IntType, `9223372036854775807`},
		{"{default: 1e3}", ir.FloatType, `1000.0`},
		{"{type: float, default: 3}", ir.FloatType, `3.0`},
		{"{type: float, default: 1e300}", ir.FloatType, `1e+300`},
		{"{default: False}", ir.BoolType, `false`},
		{"{default: {b: 1, a: [null, 2.0, \"x\"]}}", ir.JSONType, `{"b":1,"a":[null,2.0,"x"]}`},
		{"{type: json, default: text}", ir.JSONType, `"text"`},
		{"{type: json, default: null}", ir.JSONType, `null`},
		{"{type: file, default: a/b.csv}", ir.FileType, `"a/b.csv"`},
	}
	for _, test := range tests {
		p := mustParse(t, "flow: A\nparameters:\n  p: "+test.source+"\nsteps: {start: }\n").Parameters[0]
		if p.Type != test.typ || string(p.Default) != test.value {
			t.Errorf("%s: got the type %s and the default %s", test.source, p.Type, p.Default)
		}
	}
}

func TestTransitions(t *testing.T) {
	tests := []struct{ source, want string }{
		{"a", `{"kind":"linear","targets":[{"step":"a"}]}`},
		{"[b, a]", `{"kind":"split","targets":[{"step":"b"},{"step":"a"}]}`},
		{"{step: a, foreach: xs}", `{"kind":"foreach","targets":[{"step":"a"}],"foreach":"xs"}`},
		{"{parallel: 3, step: a}", `{"kind":"parallel","targets":[{"step":"a"}],"num_parallel":3}`},
		{"{switch: v, cases: {x: b, 1: a, \"1\": b, true: a}}", `{"kind":"switch","targets":[{"step":"b"},{"step":"a"}],"condition":"v",` +
			`"cases":[{"value":"x","step":"b"},{"value":1,"step":"a"},{"value":"1","step":"b"},{"value":true,"step":"a"}]}`},
	}
	for _, test := range tests {
		flow := mustParse(t, "flow: A\nsteps:\n  start: {next: "+test.source+"}\n  a: {}\n  b: {}\n")
		text, err := json.Marshal(flow.Steps[0].Next)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		for text, v := range map[string]*any{string(text): &got, test.want: &want} {
			if err := json.Unmarshal([]byte(text), v); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, withoutSpans(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.source, diff)
		}
	}
	gang := mustParse(t, "flow: A\nsteps:\n  start: {next: {parallel: 2, step: a}}\n  a: {}\n").Step("a")
	if gang.Decorator("parallel") == nil {
		t.Error("the step of a gang is not decorated as one")
	}
}

func withoutSpans(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "span")
		for key, item := range v {
			v[key] = withoutSpans(item)
		}
	case []any:
		for i, item := range v {
			v[i] = withoutSpans(item)
		}
	}
	return v
}

// TestSpans checks where things are said to be: columns count code points, quotes belong to the value.
func TestSpans(t *testing.T) {
	flow := mustParse(t, "flow: A\nsteps:\n  start: {run: \"ä\", next: 'end'} # é\n  \"end\": {run: [é, x], inputs: [b]}\n")
	start, end := flow.Steps[0], flow.Steps[1]
	for what, got := range map[string]string{
		"start 3:3-8":         start.Span.String() + ends(start.Span.EndCol),
		"its command 3:16-19": start.Command.Span.String() + ends(start.Command.Span.EndCol),
		"its next 3:27-32":    start.Next.Targets[0].Span.String() + ends(start.Next.Targets[0].Span.EndCol),
		"end 4:3-8":           end.Span.String() + ends(end.Span.EndCol),
		"its input 4:33-34":   end.Inputs[0].Span.String() + ends(end.Inputs[0].Span.EndCol),
	} {
		if want := "flow.yaml:" + what[strings.LastIndexByte(what, ' ')+1:]; got != want {
			t.Errorf("%s: got %s", what, got)
		}
	}
}

func ends(col int) string { return "-" + strconv.Itoa(col) }
