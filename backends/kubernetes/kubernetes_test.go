package kubernetes_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

func flow(t *testing.T, name string) *ir.Flow {
	t.Helper()
	for _, c := range backendtest.Cases() {
		if c.Name == name {
			return c.Flow
		}
	}
	t.Fatalf("there is no flow %s", name)
	return nil
}

func all(*ir.Step) bool { return true }

func options() backends.Options {
	return backends.Options{Datastore: "s3://bucket/flows", Version: "1.2", User: "ann", Env: map[string]string{"AWS_REGION": "eu-north-1"}}
}

var invocation = ir.TaskInvocation{Flow: "Linear", Run: "12", Step: "start", Attempt: "0"}

func manifest(t *testing.T, job *batchv1.Job) []byte {
	t.Helper()
	text, err := yaml.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestJob(t *testing.T) {
	f := flow(t, "made-linear")
	f.Step("work").Decorators = []ir.Decorator{
		{Name: "timeout", Attributes: ir.Attributes{"minutes": int64(10)}},
		{Name: "environment", Attributes: ir.Attributes{"vars": map[string]any{"AWS_REGION": "us-east-1", "PRICE": "$(X) 5"}}},
		{Name: "resources", Attributes: ir.Attributes{"cpu": int64(2), "memory": int64(500)}},
	}
	opt := options()
	opt.ServiceURL, opt.Origin, opt.Tags = "https://meta", "11", []string{"a", "b,c"}
	jobs, list := kubernetes.New(ir.NewGraph(f), opt, all)
	if len(list) > 0 {
		t.Fatal(list)
	}
	jobs.SetPackage("0f3c9a8d1e5b7a6c4d2e1f0a9b8c7d6e5f4a3b2c")
	golden.Check(t, "testdata/plain.yaml", manifest(t, jobs.Job("abc", invocation)))
	work := invocation
	work.Step, work.Path, work.Attempt = "work", "3,0", "2"
	golden.Check(t, "testdata/work.yaml", manifest(t, jobs.Job("abc", work)))
}

// TestDeadline: the time that images take is not the step's.
func TestDeadline(t *testing.T) {
	f := flow(t, "made-linear")
	f.Step("work").Decorators = []ir.Decorator{{Name: "timeout", Attributes: ir.Attributes{"minutes": int64(10)}}}
	work := invocation
	work.Step = "work"
	for patience, want := range map[string]string{
		"":   "2700 4500", // 10 + 5 + 30 minutes
		"60": "960 1020",
		"0":  "432900 none", // 5 days stand for ever
	} {
		opt := options()
		opt.Settings = map[string]string{}
		if patience != "" {
			opt.Settings["kubernetes.patience"] = patience
		}
		jobs, list := kubernetes.New(ir.NewGraph(f), opt, all)
		if len(list) > 0 {
			t.Fatal(list)
		}
		job, of := jobs.Job("abc", work), "none"
		if d := job.Spec.ActiveDeadlineSeconds; d != nil {
			of = fmt.Sprint(*d)
		}
		if got := fmt.Sprint(*job.Spec.Template.Spec.ActiveDeadlineSeconds, " ", of); got != want {
			t.Errorf("with a patience of %q the pod and the Job may take %s seconds, want %s", patience, got, want)
		}
	}
}

// TestAttributes has every attribute of @kubernetes that is acted on, and every setting.
func TestAttributes(t *testing.T) {
	f := flow(t, "made-linear")
	f.Steps[0].Decorators = []ir.Decorator{{Name: "kubernetes", Span: diag.Span{File: "flow.py", Line: 7}, Attributes: ir.Attributes{
		"cpu": "2", "memory": "8192", "disk": "20000", "image": "acme/train:1", "image_pull_policy": "Always",
		"image_pull_secrets": []any{"regcred"}, "service_account": "trainer", "secrets": "db, api",
		"node_selector": "disk=ssd,kubernetes.io/os=linux", "namespace": "ml", "gpu": int64(1), "gpu_vendor": "amd",
		"tolerations": []any{map[string]any{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}},
		"labels":      map[string]any{"team": "fraud"}, "annotations": map[string]any{"note": "any text: here"},
		"use_tmpfs": true, "tmpfs_size": nil, "persistent_volume_claims": map[string]any{"models": "/mnt/models"},
		"shared_memory": int64(256), "qos": "Guaranteed", "extended_resources": map[string]any{"acme.com/fpga": "1"},
		"security_context": map[string]any{"privileged": true}, "port": nil, "compute_pool": "fast",
	}}}
	values := map[string]string{
		"namespace": "jobs", "service-account": "runner", "secrets": "aws,db", "image-pull-policy": "IfNotPresent",
		"image-pull-secrets": "hub", "node-selector": "pool=batch", "cpu": "0.25", "memory": "500", "disk": "0",
		"hardened": "false", "run-as-user": "1000", "ttl": "60", "patience": "0",
	}
	doc, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	opt := options()
	opt.Settings, opt.Image, opt.TaskImage = map[string]string{}, "acme/base:3", "acme/mf-task:9"
	for _, s := range kubernetes.Settings() {
		value := values[strings.TrimPrefix(s.Name, "kubernetes.")]
		if value == "" {
			t.Errorf("setting %s is not tested", s.Name)
		}
		opt.Settings[s.Name] = value
		if !strings.Contains(string(doc), "`"+s.Name+"`") {
			t.Errorf("docs/kubernetes.md does not describe %s", s.Name)
		}
	}
	jobs, list := kubernetes.New(ir.NewGraph(f), opt, all)
	if list.HasErrors() {
		t.Fatal(list)
	}
	golden.Check(t, "testdata/attributes.txt", []byte(list.Error()+"\n"))
	golden.Check(t, "testdata/attributes.yaml", manifest(t, jobs.Job("abc", invocation)))
	end := invocation
	end.Step = "end"
	golden.Check(t, "testdata/settings.yaml", manifest(t, jobs.Job("abc", end)))
	if got := fmt.Sprint(jobs.Namespaces(), jobs.Patience()); got != "[jobs ml] 0s" {
		t.Errorf("namespaces and patience: %s", got)
	}
}

func TestWrongAttributes(t *testing.T) {
	for attribute, bad := range map[string]any{
		"image_pull_policy": "Sometimes", "secrets": int64(3), "node_selector": "ssd", "labels": map[string]any{"a b": "c"},
		"tolerations": []any{map[string]any{"kee": "gpu"}}, "qos": "best", "extended_resources": map[string]any{"x.com/y": "many"},
		"security_context": map[string]any{"priviledged": true}, "annotations": map[string]any{"a": strings.Repeat("x", 1<<17)},
		"image": "a\x00b",
	} {
		f := flow(t, "made-linear")
		f.Steps[0].Decorators = []ir.Decorator{{Name: "kubernetes", Attributes: ir.Attributes{attribute: bad}}}
		if jobs, list := kubernetes.New(ir.NewGraph(f), options(), all); jobs != nil || !list.HasErrors() {
			t.Errorf("@kubernetes(%s=%v) is taken: %v", attribute, bad, list)
		}
		// Where the step is not shipped nobody needs it.
		if jobs, list := kubernetes.New(ir.NewGraph(f), options(), func(s *ir.Step) bool { return s.Name == "end" }); jobs == nil {
			t.Errorf("@kubernetes(%s=%v) of another step: %v", attribute, bad, list)
		}
	}
	for name, bad := range map[string]string{"kubernetes.cpu": "much", "kubernetes.ttl": "-1", "kubernetes.hardened": "perhaps", "kubernetes.color": "red"} {
		opt := options()
		opt.Settings = map[string]string{name: bad}
		if _, list := kubernetes.New(ir.NewGraph(flow(t, "made-linear")), opt, all); !list.HasErrors() {
			t.Errorf("%s=%s is taken", name, bad)
		}
	}
}

// TestNames: names of Jobs are valid and differ where the tasks do.
func TestNames(t *testing.T) {
	jobs, list := kubernetes.New(ir.NewGraph(flow(t, "made-linear")), options(), all)
	if len(list) > 0 {
		t.Fatal(list)
	}
	seen := map[string]string{}
	for _, flow := range []string{"F", "_", "9Lives", "Überflow", strings.Repeat("Long", 40), "A__B"} {
		for _, step := range []string{"start", "work"} {
			for _, v := range []ir.TaskInvocation{
				{Path: "0,1", Attempt: "0"}, {Path: "01", Attempt: "0"}, {Path: "0", Attempt: "1"}, {Attempt: "0"}, {Iteration: "0", Attempt: "0"},
			} {
				v.Flow, v.Run, v.Step = flow, "7", step
				for _, session := range []string{"a", "b"} {
					job := jobs.Job(session, v)
					key := fmt.Sprint(session, v)
					if problems := validation.IsDNS1035Label(job.Name); len(problems) > 0 {
						t.Errorf("%s: %v", job.Name, problems)
					}
					if other, taken := seen[job.Name]; taken {
						t.Errorf("%s and %s are both called %s", key, other, job.Name)
					}
					seen[job.Name] = key
					if again := jobs.Job(session, v); again.Name != job.Name {
						t.Errorf("%s is called %s, then %s", key, job.Name, again.Name)
					}
					for name, value := range job.Labels {
						if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
							t.Errorf("label %s=%s: %v", name, value, problems)
						}
					}
				}
			}
		}
	}
}
