package argo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

func TestSuite(t *testing.T) {
	backendtest.Test(t, argo.Backend{}, func(t *testing.T, files []backends.File) {
		if err := check(files); err != nil {
			t.Error(err)
		}
	})
}

// getter knows the templates of one compile, as a cluster would.
type getter map[string]*wfv1.WorkflowTemplate

func (g getter) Get(name string) (*wfv1.WorkflowTemplate, error) {
	if t := g[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("no WorkflowTemplate %s", name)
}

type noClusterTemplates struct{}

func (noClusterTemplates) Get(string) (*wfv1.ClusterWorkflowTemplate, error) {
	return nil, errors.New("no ClusterWorkflowTemplate")
}

// validating holds back parallel tests: Argo's validation counts its placeholders in one variable.
var validating sync.Mutex

// check reads the files strictly and has Argo's own validation judge them.
func check(files []backends.File) error {
	if len(files) == 0 || files[0].Path != "workflowtemplate.yaml" {
		return errors.New("the first file is not workflowtemplate.yaml")
	}
	t, err := parse(files[0].Data)
	if err != nil {
		return err
	}
	validating.Lock()
	defer validating.Unlock()
	all := getter{t.Name: t}
	if err := validate.ValidateWorkflowTemplate(all, noClusterTemplates{}, t, nil, validate.ValidateOpts{Lint: true}); err != nil {
		return fmt.Errorf("workflowtemplate.yaml: %w", err)
	}
	if err := validate.ValidateWorkflow(all, noClusterTemplates{}, submitted(t), nil, validate.ValidateOpts{Submit: true}); err != nil {
		return fmt.Errorf("a run of workflowtemplate.yaml: %w", err)
	}
	for _, f := range files[1:] {
		if f.Path == "sensor.yaml" {
			if err := checkSensor(f.Data, t); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
			continue
		}
		if f.Path != "cronworkflow.yaml" {
			return fmt.Errorf("unexpected file %s", f.Path)
		}
		var c wfv1.CronWorkflow
		if err := yaml.UnmarshalStrict(f.Data, &c); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if err := validate.ValidateCronWorkflow(context.Background(), all, noClusterTemplates{}, &c, nil); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if err := checkHeldBack(&common.ConvertCronWorkflowToWorkflowWithProperties(&c, "r", time.Time{}).ObjectMeta, t); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// checkHeldBack holds the metadata with which a run is made against those that the controller gives it from the template.
// It never does so to a run that it holds back at first, because too many others are under way.
func checkHeldBack(made *metav1.ObjectMeta, t *wfv1.WorkflowTemplate) error {
	for name, want := range t.Spec.WorkflowMetadata.Labels {
		if made.Labels[name] != want {
			return fmt.Errorf("a run that is held back has no label %s=%s", name, want)
		}
	}
	for name, want := range t.Spec.WorkflowMetadata.Annotations {
		// The run's name is not known to who makes it, and what code it runs is the template's matter.
		unknown := name == "metaflow/run_id" || name == "mf.run/code-package"
		if got, given := made.Annotations[name]; got != want && !unknown || given && unknown {
			return fmt.Errorf("a run that is held back has the annotation %s=%q, not %q", name, got, want)
		}
	}
	return nil
}

// submitted is a run of the template as a user starts it: with a value for each parameter that has none.
func submitted(t *wfv1.WorkflowTemplate) *wfv1.Workflow {
	w := &wfv1.Workflow{Spec: wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: t.Name}}}
	w.Name = t.Name + "-x7k2p"
	for _, p := range t.Spec.Arguments.Parameters {
		if p.Value == nil {
			w.Spec.Arguments.Parameters = append(w.Spec.Arguments.Parameters,
				wfv1.Parameter{Name: p.Name, Value: wfv1.AnyStringPtr("1")})
		}
	}
	return w
}

func parse(data []byte) (*wfv1.WorkflowTemplate, error) {
	t := &wfv1.WorkflowTemplate{}
	if err := yaml.UnmarshalStrict(data, t); err != nil {
		return nil, fmt.Errorf("workflowtemplate.yaml: %w", err)
	}
	return t, nil
}

// emitted compiles the made case of that name.
func emitted(t *testing.T, name string, change func(*ir.Flow, *backends.Options)) ([]backends.File, diag.List) {
	t.Helper()
	for _, c := range backendtest.Cases() {
		if c.Name == name {
			opt := backendtest.Options()
			if change != nil {
				change(c.Flow, &opt)
			}
			return argo.Backend{}.Emit(c.Flow, opt)
		}
	}
	t.Fatalf("no case %s", name)
	return nil, nil
}

func template(t *testing.T, name string, change func(*ir.Flow, *backends.Options)) *wfv1.WorkflowTemplate {
	t.Helper()
	files, list := emitted(t, name, change)
	if list.HasErrors() {
		t.Fatal(list)
	}
	if err := check(files); err != nil {
		t.Fatal(err)
	}
	parsed, err := parse(files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestValidationRejects shows that the check that the goldens pass is one that a mistake of ours would not.
func TestValidationRejects(t *testing.T) {
	for _, broken := range []struct{ name, flow, from, to, want string }{
		{"unknown field", "made-linear", "entrypoint:", "entrypiont:", "unknown field"},
		{"wrong type", "made-linear", "parallelism: 100", `parallelism: "many"`, "unmarshal"},
		{"missing template", "made-linear", "template: work", "template: wrok", "wrok"},
		{"missing entrypoint", "made-linear", "entrypoint: Linear", "entrypoint: Linera", "Linera"},
		{"unknown dependency", "made-linear", "dependencies: [start]", "dependencies: [sart]", "sart"},
		{"cycle", "made-linear", "dependencies: [start]", "dependencies: [end]", "cycle"},
		{"count of no step", "made-foreach", "tasks.start.outputs", "tasks.collect.outputs", "collect"},
		{"count of no output", "made-foreach", "parameters.splits}}", "parameters.spilts}}", "spilts"},
		{"path not passed", "made-nested-foreach", `value: "{{inputs.parameters.path}},{{item}}"`,
			`value: "{{inputs.parameters.way}},{{item}}"`, "way"},
		{"unknown parameter", "made-parameters", "workflow.parameters.genre", "workflow.parameters.gerne", "gerne"},
		{"unknown input", "made-foreach", `--path, "{{inputs.parameters.path}}"`, `--path, "{{inputs.parameters.pth}}"`, "pth"},
		{"bad retry policy", "made-retries", "retryPolicy: Always", "retryPolicy: Sometimes", "Sometimes"},
		{"choice of no step", "made-switch", "tasks.start.outputs.parameters.branch}}' == 'short'",
			"tasks.long.outputs.parameters.branch}}' == 'short'", "tasks.long.outputs"},
		{"choice of no output", "made-switch", "parameters.branch}}' == 'long'", "parameters.brunch}}' == 'long'", "brunch"},
		{"unknown result", "made-switch", "depends: start.Succeeded", "depends: start.Suceeded", "Suceeded"},
		{"both kinds of dependency", "made-switch", "depends: start.Succeeded", "dependencies: [start]", "both"},
		{"loop without round", "made-recursion", "tasks.round.outputs.parameters.branch}}' == 'again'",
			"tasks.rnd.outputs.parameters.branch}}' == 'again'", "rnd"},
		{"iteration not passed", "made-recursion", `value: "{{inputs.parameters.iteration}}"`, `value: "{{inputs.parameters.i}}"`,
			"inputs.parameters.i"},
		{"attempt not passed", "made-gang-retried", "- name: attempt", "- name: attmpt", "inputs.parameters.attempt"},
		{"size not passed", "made-gang-retried", `count: "{{inputs.parameters.size}}"`, `count: "{{inputs.parameters.number}}"`, "number"},
		{"bad name", "made-one-step", "- name: only", "- name: on_ly", "on_ly"},
		{"no image", "made-linear", "      image: python:3.12-slim\n", "", "image"},
		{"bad cron", "made-timezone", "30 6 * * 1-5", "30 6 * * 1-9", "malformed"},
		{"bad time zone", "made-timezone", "Europe/Helsinki", "Europe/Helsinky", "timezone"},
		{"cron of no template", "made-timezone", "workflowTemplateRef:\n      name: decorated",
			"workflowTemplateRef:\n      name: undecorated", "undecorated"},
	} {
		t.Run(broken.name, func(t *testing.T) {
			files, list := emitted(t, broken.flow, nil)
			if list.HasErrors() {
				t.Fatal(list)
			}
			changed := false
			for i := range files {
				text := strings.Replace(string(files[i].Data), broken.from, broken.to, 1)
				changed = changed || text != string(files[i].Data)
				files[i].Data = []byte(text)
			}
			if !changed {
				t.Fatalf("no file holds %q:\n%s", broken.from, files[0].Data)
			}
			err := check(files)
			if err == nil {
				t.Fatal("the check accepts it")
			}
			if !strings.Contains(err.Error(), broken.want) {
				t.Errorf("the check rejects it for another reason: %v", err)
			}
		})
	}
}

// TestInvocations reads every command line as mf-task does.
func TestInvocations(t *testing.T) {
	for _, c := range backendtest.Cases() {
		files, list := argo.Backend{}.Emit(c.Flow, backendtest.Options())
		if list.HasErrors() {
			continue
		}
		parsed, err := parse(files[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for i := range parsed.Spec.Templates {
			tmpl := &parsed.Spec.Templates[i]
			if tmpl.Container == nil {
				continue
			}
			if tmpl.Name == parsed.Spec.OnExit {
				got, err := ir.ParseExitInvocation(tmpl.Container.Args)
				if want := (ir.ExitInvocation{Flow: c.Flow.Name, Run: "argo-{{workflow.name}}", Status: "{{workflow.status}}"}); err != nil || got != want {
					t.Errorf("%s: template %s: %+v, %v", c.Name, tmpl.Name, got, err)
				}
				continue
			}
			got, err := ir.ParseTaskInvocation(tmpl.Container.Args)
			if err != nil {
				t.Fatalf("%s: template %s: %v", c.Name, tmpl.Name, err)
			}
			steps = append(steps, got.Step)
			want := ir.TaskInvocation{Flow: c.Flow.Name, Run: "argo-{{workflow.name}}", Step: got.Step, Attempt: "0"}
			if ir.NewGraph(c.Flow).PathLen(got.Step) > 0 {
				want.Path = "{{inputs.parameters.path}}"
			}
			if c.Flow.Step(got.Step).Recursive() {
				want.Iteration = "{{inputs.parameters.iteration}}"
			}
			switch {
			case tmpl.RetryStrategy != nil:
				want.Attempt = "{{retries}}"
			case tmpl.Inputs.GetParameterByName("attempt") != nil:
				want.Attempt = "{{inputs.parameters.attempt}}"
			}
			if got != want {
				t.Errorf("%s: template %s: %+v, want %+v", c.Name, tmpl.Name, got, want)
			}
		}
		if len(steps) != len(c.Flow.Steps) {
			t.Errorf("%s: templates for the steps %v", c.Name, steps)
		}
	}
}

func TestDiagnostics(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		name, flow, code, line string
		change                 func(*ir.Flow, *backends.Options)
	}{
		{"flow name too long", "made-linear", "name-too-long", "flow.py:1", func(f *ir.Flow, _ *backends.Options) { f.Name = long }},
		{"step name too long", "made-linear", "name-too-long", "flow.py:20", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Next.Targets[0].Step, f.Steps[1].Name = long, long
		}},
		{"names collide", "made-split", "name-collision", "flow.py:30", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[1].Name, f.Steps[2].Name = "right_1", "right-1"
			f.Steps[0].Next.Targets[0].Step, f.Steps[0].Next.Targets[1].Step = "right_1", "right-1"
		}},
		{"no name", "made-linear", "bad-deployed-name", "flow.py:1", func(f *ir.Flow, _ *backends.Options) { f.Name = "___" }},
		{"bad given name", "made-linear", "bad-deployed-name", "flow.py:1", func(_ *ir.Flow, o *backends.Options) { o.Name = "My_Flow" }},
		{"name and project", "made-project", "name-with-project", "flow.py:2", func(_ *ir.Flow, o *backends.Options) { o.Name = "x" }},
		{"branch without project", "made-linear", "branch-without-project", "flow.py:1", func(_ *ir.Flow, o *backends.Options) { o.Branch = "x" }},
		{"braces", "made-environment", "argo-braces", "flow.py:9", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators[0].Attributes["vars"].(map[string]any)["MODE"] = "{{x}}"
		}},
		{"control characters", "made-environment", "argo-control-characters", "flow.py:9", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators[0].Attributes["vars"].(map[string]any)["MODE"] = "\a"
		}},
		{"long default", "made-parameters", "text-too-long", "flow.py:3", func(f *ir.Flow, _ *backends.Options) {
			f.Parameters[0].Default = []byte(`"{{` + strings.Repeat("x", 30<<10) + `"`)
		}},
		{"gang too large", "made-gang", "gang-too-large", "flow.py:15", func(_ *ir.Flow, o *backends.Options) { o.MaxWorkers = 3 }},
		{"pack of no step", "made-foreach", "pack-step", "flow.py:1", func(_ *ir.Flow, o *backends.Options) {
			o.PackSteps = map[string]int{"scor": 2}
		}},
		{"long variable", "made-environment", "text-too-long", "flow.py:9", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators[0].Attributes["vars"].(map[string]any)["MODE"] = strings.Repeat("x", 128<<10)
		}},
		{"mf's variable", "made-environment", "reserved-environment", "flow.py:9", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators[0].Attributes["vars"].(map[string]any)["MF_DATASTORE"] = "s3://x"
		}},
		{"required and scheduled", "made-daily", "scheduled-parameter", "flow.py:3", func(f *ir.Flow, _ *backends.Options) {
			f.Parameters = []ir.Parameter{{Name: "x", Option: "x", Type: ir.IntType, Required: true, Span: diag.Span{File: "flow.py", Line: 3}}}
		}},
		{"parameter name", "made-parameters", "bad-parameter-name", "flow.py:3", func(f *ir.Flow, _ *backends.Options) {
			f.Parameters[0].Option = "größe"
		}},
		{"batch", "made-linear", "target-unsupported", "flow.py:7", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators = []ir.Decorator{{Name: "batch", Span: diag.Span{File: "flow.py", Line: 7}}}
		}},
		{"workers", "made-linear", "bad-option", "-", func(_ *ir.Flow, o *backends.Options) { o.MaxWorkers = -1 }},
		{"number setting", "made-linear", "bad-setting", "-", setting("argo.memory", "4GB")},
		{"fraction setting", "made-linear", "bad-setting", "-", setting("argo.cpu", "one")},
		{"pod GC setting", "made-linear", "bad-setting", "-", setting("argo.pod-gc", "Sometimes")},
		{"truth setting", "made-linear", "bad-setting", "-", setting("argo.hardened", "maybe")},
		{"selector setting", "made-linear", "bad-attribute", "-", setting("argo.node-selector", "gpu")},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, list := emitted(t, c.flow, c.change)
			if len(files) > 0 || len(list) == 0 {
				t.Fatalf("%d files, findings: %v", len(files), list)
			}
			if !slices.ContainsFunc(list, func(d diag.Diagnostic) bool {
				return d.Code == c.code && strings.HasPrefix(d.Span.String(), c.line)
			}) {
				t.Errorf("no %s at %s in:\n%v", c.code, c.line, list)
			}
		})
	}
}

func setting(name, value string) func(*ir.Flow, *backends.Options) {
	return func(_ *ir.Flow, o *backends.Options) { o.Settings = map[string]string{name: value} }
}

// TestSize: what does not fit into a Workflow object is refused, what nearly does not is warned of.
func TestSize(t *testing.T) {
	codes := map[string]int{}
	for _, n := range []int{100, 1000, 1200, 1400, 10_000} {
		files, list := argo.Backend{}.Emit(backendtest.Chain(n), backendtest.Options())
		code := "fits"
		if len(list) > 0 {
			code = list[0].Code
		}
		codes[code]++
		if list.HasErrors() != (len(files) == 0) {
			t.Errorf("%d steps: %d files, %v", n, len(files), list)
		}
		t.Logf("%d steps: %s", n, code)
	}
	for _, code := range []string{"fits", "manifest-large", "manifest-too-large"} {
		if codes[code] == 0 {
			t.Errorf("no flow gave %s: %v", code, codes)
		}
	}
}

func BenchmarkEmit(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		f := backendtest.Chain(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				argo.Backend{}.Emit(f, backendtest.Options())
			}
		})
	}
}
