package argo_test

import (
	"encoding/json"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argotemplate "github.com/argoproj/argo-workflows/v3/util/template"
	"sigs.k8s.io/yaml"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// TestIdentity says whose a deployment and its runs are, to mf and to Metaflow's tools.
func TestIdentity(t *testing.T) {
	files, list := emitted(t, "made-project", func(f *ir.Flow, o *backends.Options) {
		f.Decorators = append(f.Decorators, ir.Decorator{Name: "schedule", Attributes: ir.Attributes{"daily": true}})
		o.User, o.Token, o.Origin, o.Tags, o.Production = "ann", "mf-0-abcd", "argo-earlier", []string{"nightly", "a, b"}, true
	})
	if list.HasErrors() {
		t.Fatal(list)
	}
	if err := check(files); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/identity.yaml", files[0].Data)
	golden.Check(t, "testdata/identity-cron.yaml", files[1].Data)
	parsed, err := parse(files[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"metaflow/owner": "ann", "metaflow/production_token": "mf-0-abcd", "metaflow/flow_name": "Decorated",
		"metaflow/project_name": "fraud_detection", "metaflow/branch_name": "prod", "mf.run/production-token": "mf-0-abcd",
	} {
		if parsed.Annotations[key] != want || parsed.Spec.WorkflowMetadata.Annotations[key] != want {
			t.Errorf("%s is %q, and of a run %q", key, parsed.Annotations[key], parsed.Spec.WorkflowMetadata.Annotations[key])
		}
	}
	env := map[string]string{}
	for _, v := range parsed.Spec.TemplateDefaults.Container.Env {
		env[v.Name] = v.Value
	}
	for name, want := range map[string]string{
		ir.EnvRuntime: "argo-workflows", ir.EnvUser: "ann", ir.EnvTags: `["nightly","a, b"]`, ir.EnvProductionToken: "mf-0-abcd",
		ir.EnvOriginRun: "argo-earlier", ir.EnvBranch: "prod",
	} {
		if env[name] != want {
			t.Errorf("%s is %q", name, env[name])
		}
	}
}

// TestFlowName: what belongs to a flow says so by its very name, as a label where Kubernetes takes it, else as an annotation.
func TestFlowName(t *testing.T) {
	for flow, asLabel := range map[string]bool{"Train": true, "Train_": false, "Überflow": false, strings.Repeat("Long", 16): false} {
		files, list := emitted(t, "made-daily", func(f *ir.Flow, o *backends.Options) { f.Name, o.Name = flow, "train" })
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
		label, annotation := "train", flow
		if asLabel {
			label, annotation = flow, ""
		}
		if parsed.Labels["mf.run/flow"] != label || parsed.Annotations["mf.run/flow"] != annotation {
			t.Errorf("%s: %v, %v", flow, parsed.Labels, parsed.Annotations)
		}
		if of := parsed.Spec.WorkflowMetadata; of.Labels["mf.run/flow"] != label || of.Annotations["mf.run/flow"] != annotation {
			t.Errorf("a run of %s: %v, %v", flow, of.Labels, of.Annotations)
		}
	}
}

// TestToken: a container has the service account's token only where that was asked for.
func TestToken(t *testing.T) {
	const path = "/var/run/secrets/kubernetes.io/serviceaccount"
	for name, c := range map[string]struct {
		account, setting string
		want             map[string]bool
	}{
		"nowhere":         {want: map[string]bool{"start": false, "end": false, "on-exit": false}},
		"of a step":       {account: "trainer", want: map[string]bool{"start": true, "end": false, "on-exit": false}},
		"everywhere":      {setting: "true", want: map[string]bool{"start": true, "end": true, "on-exit": true}},
		"everywhere, too": {account: "trainer", setting: "true", want: map[string]bool{"start": true, "end": true, "on-exit": true}},
	} {
		parsed := template(t, "made-linear", func(f *ir.Flow, o *backends.Options) {
			o.Settings = map[string]string{"argo.record-exit": "true"}
			if c.setting != "" {
				o.Settings["argo.automount-token"] = c.setting
			}
			f.Steps[0].Decorators = []ir.Decorator{{Name: "kubernetes", Attributes: ir.Attributes{"service_account": c.account}}}
		})
		for i := range parsed.Spec.Templates {
			tmpl := merge(t, parsed.Spec.TemplateDefaults, &parsed.Spec.Templates[i])
			want, asked := c.want[tmpl.Name]
			if !asked {
				continue
			}
			has := true
			for _, m := range tmpl.Container.VolumeMounts {
				has = has && m.MountPath != path
			}
			if has != want {
				t.Errorf("%s: %s has a token: %t", name, tmpl.Name, has)
			}
		}
	}
	if _, list := emitted(t, "made-linear", func(_ *ir.Flow, o *backends.Options) {
		o.Settings = map[string]string{"argo.automount-token": "yes"}
	}); !list.HasErrors() {
		t.Error("argo.automount-token=yes is taken")
	}
}

// TestNoSecret: no secret that the options could hold reaches a file.
func TestNoSecret(t *testing.T) {
	for name, change := range map[string]func(*backends.Options){
		"service token":    func(o *backends.Options) { o.Env = map[string]string{"MF_SERVICE_TOKEN": "hush"} },
		"events token":     func(o *backends.Options) { o.Env = map[string]string{ir.EnvEventsToken: "hush"} },
		"cloud key":        func(o *backends.Options) { o.Env = map[string]string{"AWS_SECRET_ACCESS_KEY": "hush"} },
		"service password": func(o *backends.Options) { o.ServiceURL = "https://me:hush@metadata" },
		"events password": func(o *backends.Options) {
			o.Settings = map[string]string{"argo.events-url": "https://me:hush@events/x"}
		},
		"page password": func(o *backends.Options) {
			o.Settings = map[string]string{"argo.notify-on": "both", "argo.notify-secret": "s", "argo.run-url": "https://me:hush@argo/x"}
		},
	} {
		files, list := emitted(t, "made-linear", func(_ *ir.Flow, o *backends.Options) { change(o) })
		if len(files) > 0 || !list.HasErrors() || strings.Contains(list.Error(), "hush") {
			t.Errorf("%s: %d files, %v", name, len(files), list)
		}
	}
}

// TestExit says what is emitted for the end of a run, and how Argo fills it in.
func TestExit(t *testing.T) {
	notify := map[string]string{"argo.notify-on": "both", "argo.notify-secret": "pager", "argo.run-url": "https://argo/{namespace}/{name}?r={run}"}
	files, list := emitted(t, "made-exit-hook", func(f *ir.Flow, o *backends.Options) {
		o.Settings = notify
		f.Source.Language = ir.Python
		f.Decorators = append(f.Decorators, ir.Decorator{Name: "exit_hook", Attributes: ir.Attributes{
			"on_success": []any{map[string]any{"$python": "f"}}, "options": map[string]any{"image": "acme/hooks:1"}}})
	})
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
	exit := parsed.GetTemplateByName(parsed.Spec.OnExit)
	if exit == nil {
		t.Fatal("there is no exit template")
	}
	text, err := yaml.Marshal(exit)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/exit.yaml", text)
	if got := template(t, "made-linear", nil).Spec.OnExit; got != "" {
		t.Errorf("a flow without any exit calls %s", got)
	}
	if got := template(t, "made-linear", func(_ *ir.Flow, o *backends.Options) {
		o.Settings = map[string]string{"argo.record-exit": "true"}
	}).Spec.OnExit; got == "" {
		t.Error("argo.record-exit has no effect")
	}
	filledIn(t, exit)
	for name, change := range map[string]func(*ir.Flow, *backends.Options){
		"no secret":   func(_ *ir.Flow, o *backends.Options) { o.Settings = map[string]string{"argo.notify-on": "error"} },
		"no occasion": func(_ *ir.Flow, o *backends.Options) { o.Settings = map[string]string{"argo.notify-secret": "s"} },
		"wrong occasion": func(_ *ir.Flow, o *backends.Options) {
			o.Settings = map[string]string{"argo.notify-on": "always", "argo.notify-secret": "s"}
		},
		"no URL":  func(_ *ir.Flow, o *backends.Options) { o.Settings = map[string]string{"argo.events-url": "events"} },
		"no hook": func(f *ir.Flow, _ *backends.Options) { f.Decorators = []ir.Decorator{{Name: "exit_hook"}} },
		"what is no hook": func(f *ir.Flow, _ *backends.Options) {
			f.Decorators = []ir.Decorator{{Name: "exit_hook", Attributes: ir.Attributes{"on_error": int64(3)}}}
		},
		"several images": func(f *ir.Flow, _ *backends.Options) {
			for _, image := range []string{"a", "b"} {
				f.Decorators = append(f.Decorators, ir.Decorator{Name: "exit_hook", Attributes: ir.Attributes{
					"on_error": "f", "options": map[string]any{"image": image}}})
			}
		},
	} {
		if files, list := emitted(t, "made-linear", change); len(files) > 0 || !list.HasErrors() {
			t.Errorf("%s is taken: %v", name, list)
		}
	}
}

// filledIn substitutes as Argo does: early, when the outcome is not known yet, and at the end.
func filledIn(t *testing.T, exit *wfv1.Template) {
	t.Helper()
	text, err := json.Marshal(exit)
	if err != nil {
		t.Fatal(err)
	}
	early, err := argotemplate.Replace(string(text), map[string]string{"workflow.name": "f-x7k2p", "workflow.namespace": "ml"}, true)
	if err != nil {
		t.Fatal(err)
	}
	failures := `"[{\"displayName\":\"a\",\"message\":\"OOMKilled (exit code 137)\"},` + strings.Repeat(`{\"displayName\":\"b\"},`, 5000)
	late, err := argotemplate.Replace(early, map[string]string{"workflow.status": "Failed", "workflow.failures": failures}, false)
	if err != nil {
		t.Fatal(err)
	}
	var filled wfv1.Template
	if err := json.Unmarshal([]byte(late), &filled); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, v := range filled.Container.Env {
		env[v.Name] = v.Value
	}
	if got := env[ir.EnvFailures]; got != failures[:30000] {
		t.Errorf("failures of %d bytes: %.100s", len(got), got)
	}
	if got := env[ir.EnvRunURL]; got != "https://argo/ml/f-x7k2p?r=argo-f-x7k2p" {
		t.Errorf("the page is %s", got)
	}
	if got, err := ir.ParseExitInvocation(filled.Container.Args); err != nil || got.Status != "Failed" || got.Run != "argo-f-x7k2p" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestExitName keeps the exit template from a name that a step has.
func TestExitName(t *testing.T) {
	parsed := template(t, "made-linear", func(f *ir.Flow, o *backends.Options) {
		o.Settings = map[string]string{"argo.record-exit": "true"}
		f.Steps[1].Name = "on_exit"
		f.Steps[0].Next.Targets[0].Step = "on_exit"
	})
	if parsed.Spec.OnExit != "on-exit-2" || parsed.GetTemplateByName("on-exit-2") == nil {
		t.Errorf("the exit template is %s", parsed.Spec.OnExit)
	}
}
