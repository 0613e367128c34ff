package argo_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/expr/argoexpr"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/backends/backendtest"
)

// oddNames are step names that Argo's expressions could take for something else.
var oddNames = []string{
	"true", "false", "nil", "in", "not", "and", "or", "matches", "contains", "let", "if", "else", "len", "all", "any",
	"one", "none", "map", "filter", "count", "now", "max", "date", "sum", "item", "tasks", "inputs", "workflow", "retries",
	"steps", "2nd", "a_", "a__b", "x_1", "start_s", "startswith", "print", "env", "get", "type", "int", "float", "string",
}

// TestTaskNames evaluates what each task waits for as Argo's controller does, with step names that its expressions could
// take for something else.
func TestTaskNames(t *testing.T) {
	names := oddNames
	f := backendtest.Chain(len(names) + 2)
	for i, name := range names {
		f.Steps[i].Next.Targets[0].Step, f.Steps[i+1].Name = name, name
	}
	files, list := argo.Backend{}.Emit(f, backendtest.Options())
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
	dag := parsed.Spec.Templates[0].DAG
	if len(dag.Tasks) != len(f.Steps) {
		t.Fatalf("%d tasks", len(dag.Tasks))
	}
	for i := range dag.Tasks[1:] {
		task := &dag.Tasks[i+1]
		for _, phase := range []taskResults{{Succeeded: true}, {Skipped: true}, {Failed: true}} {
			dependencies, logic := common.GetTaskDependencies(task, dagContext{dag})
			scope := map[string]taskResults{}
			for name := range dependencies {
				scope[strings.ReplaceAll(name, "-", "_")] = phase
			}
			run, err := argoexpr.EvalBool(strings.ReplaceAll(logic, "-", "_"), scope)
			if err != nil || len(scope) != 1 || run == phase.Failed {
				t.Errorf("task %s after %+v: runs %v, %v", task.Name, phase, run, err)
			}
		}
	}
}

// taskResults has the fields of the controller's type of that name, which dependencies are expressions over.
type taskResults struct{ Succeeded, Failed, Errored, Skipped, Omitted, Daemoned, AnySucceeded, AllFailed bool }

type dagContext struct{ dag *wfv1.DAGTemplate }

func (c dagContext) GetTask(name string) *wfv1.DAGTask {
	for i := range c.dag.Tasks {
		if c.dag.Tasks[i].Name == name {
			return &c.dag.Tasks[i]
		}
	}
	return nil
}

func (c dagContext) GetTaskDependencies(name string) []string {
	dependencies, _ := common.GetTaskDependencies(c.GetTask(name), c)
	return slices.Sorted(maps.Keys(dependencies))
}

func (c dagContext) GetTaskFinishedAtTime(string) time.Time { return time.Time{} }

// TestDefaultsReachEveryStep merges templateDefaults into the templates as Argo's controller does before it runs them.
func TestDefaultsReachEveryStep(t *testing.T) {
	resolved := map[string]*wfv1.Template{}
	for _, name := range []string{"made-environment", "made-resources", "made-command", "made-timeout", "made-split"} {
		parsed := template(t, name, nil)
		for _, tmpl := range parsed.Spec.Templates {
			merged := merge(t, parsed.Spec.TemplateDefaults, &tmpl)
			resolved[name+"/"+tmpl.Name] = merged
			if tmpl.Container == nil {
				if merged.Container != nil {
					t.Errorf("%s: template %s became a container", name, tmpl.Name)
				}
				continue
			}
			c := merged.Container
			if c.Image == "" || !slices.Equal(c.Command, []string{"/mf/mf-task"}) || !slices.Equal(c.Args, tmpl.Container.Args) ||
				len(c.VolumeMounts) == 0 || len(merged.InitContainers) != 1 || c.SecurityContext == nil ||
				merged.ActiveDeadlineSeconds == nil || c.Resources.Requests.Cpu().IsZero() || len(c.Env) < 4 {
				t.Errorf("%s: template %s lacks defaults: %+v", name, tmpl.Name, merged)
			}
		}
	}
	if got := resolved["made-resources/start"].Container.Resources.Requests.Cpu().String(); got != "500m" {
		t.Errorf("start asks for %s CPU", got)
	}
	if got := resolved["made-resources/end"].Container.VolumeMounts; len(got) != 3 {
		t.Errorf("end mounts %v", got)
	}
	if got := len(resolved["made-environment/start"].Container.Env); got != 18 {
		t.Errorf("start has %d variables", got)
	}
	if got := resolved["made-command/pick"].Container.Image; got != "alpine:3.20" {
		t.Errorf("pick runs in %s", got)
	}
	if got := resolved["made-timeout/start"].ActiveDeadlineSeconds.IntValue(); got != 150*60+2100 {
		t.Errorf("start is stopped after %d seconds", got)
	}
}

func merge(t *testing.T, defaults, tmpl *wfv1.Template) *wfv1.Template {
	t.Helper()
	applicable := defaults.DeepCopy()
	if tmpl.Container == nil {
		applicable.Container = nil
	}
	under, err := json.Marshal(applicable)
	if err != nil {
		t.Fatal(err)
	}
	over, err := json.Marshal(tmpl)
	if err != nil {
		t.Fatal(err)
	}
	text, err := strategicpatch.StrategicMergePatch(under, over, wfv1.Template{})
	if err != nil {
		t.Fatal(err)
	}
	merged := &wfv1.Template{}
	if err := json.Unmarshal(text, merged); err != nil {
		t.Fatal(err)
	}
	return merged
}
