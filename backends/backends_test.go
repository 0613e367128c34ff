package backends_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

func TestWithDefaults(t *testing.T) {
	o := backends.Options{Version: "1.2.3"}.WithDefaults()
	if o.TaskImage != "ghcr.io/mf-run/mf-task:1.2.3" || o.Image != "python:3.12-slim" || o.MaxWorkers != 100 ||
		o.Datastore != backends.DefaultDatastore || o.User == "" {
		t.Errorf("%+v", o)
	}
	given := backends.Options{Version: "1", Image: "a", TaskImage: "b", MaxWorkers: 3, Datastore: "c", User: "d"}
	if got := given.WithDefaults(); !reflect.DeepEqual(got, given) {
		t.Errorf("%+v", got)
	}
}

func TestSettings(t *testing.T) {
	known := []backends.Setting{{Name: "x.list", Default: "a, b,,c"}, {Name: "x.count", Default: "7"}, {Name: "x.none"}}
	o := backends.Options{Settings: map[string]string{"y.other": "1"}}
	if got := o.ListSetting(known, "x.list"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("list: %q", got)
	}
	for name, want := range map[string]int64{"x.count": 7, "x.none": 0} {
		if got, l := o.IntSetting(known, name); got != want || len(l) > 0 {
			t.Errorf("%s: %d, %v", name, got, l)
		}
	}
	if l := backends.CheckSettings(o, known); len(l) > 0 {
		t.Error(l)
	}
	o.Settings["x.cuont"], o.Settings["x.count"] = "1", "-1"
	if l := backends.CheckSettings(o, known); len(l) != 1 || l[0].Code != "unknown-setting" {
		t.Error(l)
	}
	if _, l := o.IntSetting(known, "x.count"); !l.HasErrors() {
		t.Error("a negative number is taken")
	}
}

func TestCheckOptions(t *testing.T) {
	for _, c := range []struct {
		opt  backends.Options
		code string
	}{
		{backends.Options{}, ""}, {backends.Options{Datastore: "s3://b/mf", MaxWorkers: 1}, ""},
		{backends.Options{MaxWorkers: -1}, "bad-option"}, {backends.Options{Datastore: "file:///x"}, "local-datastore"},
	} {
		list := backends.CheckOptions(c.opt)
		if len(list) > 1 || len(list) == 1 != (c.code != "") || len(list) == 1 && list[0].Code != c.code {
			t.Errorf("%+v: %v", c.opt, list)
		}
	}
}

func TestProjectOf(t *testing.T) {
	for _, c := range []struct {
		name       string
		attributes ir.Attributes
		opt        backends.Options
		want       backends.Project
		code       string
	}{
		{"user", ir.Attributes{"name": "p"}, backends.Options{User: "ann"},
			backends.Project{Name: "p", Branch: "user.ann", FlowName: "p.user.ann.F", UserBranch: true}, ""},
		{"branch", ir.Attributes{"name": "p"}, backends.Options{Branch: "b"},
			backends.Project{Name: "p", Branch: "test.b", FlowName: "p.test.b.F"}, ""},
		{"production", ir.Attributes{"name": "p"}, backends.Options{Production: true},
			backends.Project{Name: "p", Branch: "prod", FlowName: "p.prod.F", Production: true}, ""},
		{"both", ir.Attributes{"name": "p", "branch": "b", "production": true}, backends.Options{},
			backends.Project{Name: "p", Branch: "prod.b", FlowName: "p.prod.b.F", Production: true}, ""},
		{"no name", ir.Attributes{}, backends.Options{}, backends.Project{}, "bad-project-name"},
		{"bad branch", ir.Attributes{"name": "p"}, backends.Options{Branch: "B"}, backends.Project{}, "bad-branch-name"},
		{"given name", ir.Attributes{"name": "p"}, backends.Options{Name: "n"}, backends.Project{}, "name-with-project"},
	} {
		f := &ir.Flow{Name: "F", Decorators: []ir.Decorator{{Name: "project", Attributes: c.attributes}}}
		got, list := backends.ProjectOf(f, c.opt)
		if c.code != "" {
			if len(list) != 1 || list[0].Code != c.code {
				t.Errorf("%s: %v", c.name, list)
			}
			continue
		}
		if len(list) > 0 || *got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, list)
		}
	}
	if p, list := backends.ProjectOf(&ir.Flow{}, backends.Options{}); p != nil || len(list) > 0 {
		t.Error(p, list)
	}
}

func TestEnvironment(t *testing.T) {
	opt := backends.Options{Env: map[string]string{"REGION": "eu", "MF_DATASTORE": "mine"}, Datastore: "s3://b/mf", Package: "abc",
		User: "ann", Tags: []string{"a", "b, c"}, Token: "f-0-abcd", Origin: "argo-f-x"}
	task := backends.TaskEnvironment(opt, &backends.Project{Branch: "prod"}, "argo-workflows", map[string]string{"MF_ENGINE_OUTPUTS": "/out"})
	want := []backends.EnvVar{{"MF_BRANCH", "prod"}, {"MF_DATASTORE", "s3://b/mf"}, {"MF_ENGINE_OUTPUTS", "/out"},
		{"METAFLOW_PRODUCTION_TOKEN", "f-0-abcd"}, {"MF_ORIGIN_RUN", "argo-f-x"}, {"MF_PACKAGE", "abc"}, {"MF_RUNTIME", "argo-workflows"},
		{"MF_TAGS", `["a","b, c"]`}, {"MF_USER", "ann"}, {"REGION", "eu"}}
	slices.SortFunc(want, func(a, b backends.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	if !slices.Equal(task, want) {
		t.Errorf("%v", task)
	}
	s := &ir.Step{Name: "s", Decorators: []ir.Decorator{{Name: "environment", Span: diag.Span{Line: 3}, Attributes: ir.Attributes{
		"vars": map[string]any{"REGION": "us", "MF_PACKAGE": "x", "A": int64(1)}}}}}
	vars, list := backends.StepEnvironment(s, task, opt)
	if !slices.Equal(vars, []backends.EnvVar{{"A", "1"}, {"REGION", "us"}}) {
		t.Errorf("%v", vars)
	}
	if len(list) != 1 || list[0].Code != "reserved-environment" || list[0].Span.Line != 3 {
		t.Errorf("%v", list)
	}
}

// TestNobody: what is not known is not said.
func TestNobody(t *testing.T) {
	for _, v := range backends.TaskEnvironment(backends.Options{}.WithDefaults(), nil, "airflow", nil) {
		if v.Name != "MF_DATASTORE" && v.Name != "MF_RUNTIME" {
			t.Errorf("%s=%s", v.Name, v.Value)
		}
	}
}

// TestSecrets: nothing that holds a secret is taken for the files of a target.
func TestSecrets(t *testing.T) {
	for _, opt := range []backends.Options{
		{Env: map[string]string{"MF_SERVICE_TOKEN": "hush"}}, {Env: map[string]string{"AWS_SECRET_ACCESS_KEY": "hush"}},
		{ServiceURL: "https://me:hush@metadata"}, {Datastore: "s3://me:hush@bucket"},
	} {
		l := backends.CheckOptions(opt)
		if len(l) != 1 || l[0].Code != "secret-in-environment" || strings.Contains(l.Error(), "hush") {
			t.Errorf("%+v: %v", opt, l)
		}
	}
	s := &ir.Step{Name: "s", Decorators: []ir.Decorator{{Name: "environment", Attributes: ir.Attributes{
		"vars": map[string]any{"AWS_SESSION_TOKEN": "hush"}}}}}
	if vars, l := backends.StepEnvironment(s, nil, backends.Options{}); len(vars) != 1 || len(l) != 1 || l.HasErrors() {
		t.Errorf("%v, %v", vars, l)
	}
}

func TestParameters(t *testing.T) {
	f := &ir.Flow{Parameters: []ir.Parameter{
		{Name: "text", Type: ir.StringType, Default: []byte(`"a"`)},
		{Name: "number", Type: ir.IntType, Default: []byte(`3`)},
		{Name: "null", Type: ir.IntType, Default: []byte(`null`)},
		{Name: "file", Type: ir.FileType, Default: []byte(`"a.csv"`)},
		{Name: "computed", Type: ir.StringType, DefaultFunc: "f", Required: true},
		{Name: "must", Type: ir.StringType, Required: true},
	}}
	want := map[string]string{"text": "a", "number": "3"}
	for i := range f.Parameters {
		p := &f.Parameters[i]
		text, known := backends.DefaultText(p)
		if wanted, ok := want[p.Name]; known != ok || text != wanted {
			t.Errorf("%s: %q, %v", p.Name, text, known)
		}
	}
	if got := backends.OptionalParameters(f); got != "null,file,computed" {
		t.Errorf("optional: %s", got)
	}
	if l := backends.CheckScheduled(f); len(l) > 0 {
		t.Error(l)
	}
	f.Decorators = []ir.Decorator{{Name: "schedule"}}
	if l := backends.CheckScheduled(f); len(l) != 1 || l[0].Code != "scheduled-parameter" {
		t.Error(l)
	}
}
