package argo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// TestKubernetes has every attribute of @kubernetes that is acted on.
func TestKubernetes(t *testing.T) {
	files, list := emitted(t, "made-linear", func(f *ir.Flow, o *backends.Options) {
		o.Settings = map[string]string{"argo.secrets": "shared"}
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
	})
	if err := check(files); err != nil {
		t.Fatal(err, list)
	}
	golden.Check(t, "testdata/kubernetes.yaml", files[0].Data)
	golden.Check(t, "testdata/kubernetes.txt", []byte(list.Error()+"\n"))
	for attribute, bad := range map[string]any{
		"namespace": "other", "image_pull_policy": "Sometimes", "secrets": int64(3), "node_selector": "ssd", "labels": map[string]any{"a b": "c"},
		"tolerations": []any{map[string]any{"kee": "gpu"}}, "qos": "best", "extended_resources": map[string]any{"x.com/y": "many"},
		"security_context": map[string]any{"priviledged": true}, "annotations": map[string]any{"a": "{{b}}"},
	} {
		files, list := emitted(t, "made-linear", func(f *ir.Flow, o *backends.Options) {
			o.Settings = map[string]string{"argo.namespace": "ml"}
			f.Steps[0].Decorators = []ir.Decorator{{Name: "kubernetes", Attributes: ir.Attributes{attribute: bad}}}
		})
		if len(files) > 0 || !list.HasErrors() {
			t.Errorf("@kubernetes(%s=%v) is taken: %v", attribute, bad, list)
		}
	}
}

// TestSpellings: the fields of security_context and tolerations go by Metaflow's names and by those of manifests.
func TestSpellings(t *testing.T) {
	emit := func(context, toleration map[string]any) ([]backends.File, diag.List) {
		return emitted(t, "made-linear", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators = []ir.Decorator{{Name: "kubernetes", Attributes: ir.Attributes{
				"security_context": context, "tolerations": []any{toleration}}}}
		})
	}
	metaflow, list := emit(map[string]any{
		"privileged": false, "allow_privilege_escalation": true, "run_as_user": int64(1000), "run_as_group": int64(2000), "run_as_non_root": true,
		"read_only_root_filesystem": true, "seccomp_profile": map[string]any{"type": "Localhost", "localhost_profile": "p.json"},
		"capabilities": map[string]any{"add": []any{"NET_ADMIN"}},
	}, map[string]any{"key": "gpu", "operator": "Exists", "toleration_seconds": int64(30)})
	if err := check(metaflow); err != nil {
		t.Fatal(err, list)
	}
	manifests, list := emit(map[string]any{
		"privileged": false, "allowPrivilegeEscalation": true, "runAsUser": int64(1000), "runAsGroup": int64(2000), "runAsNonRoot": true,
		"readOnlyRootFilesystem": true, "seccompProfile": map[string]any{"type": "Localhost", "localhostProfile": "p.json"},
		"capabilities": map[string]any{"add": []any{"NET_ADMIN"}},
	}, map[string]any{"key": "gpu", "operator": "Exists", "tolerationSeconds": int64(30)})
	if err := check(manifests); err != nil {
		t.Fatal(err, list)
	}
	if !slices.EqualFunc(metaflow, manifests, func(a, b backends.File) bool { return bytes.Equal(a.Data, b.Data) }) {
		t.Error("the one spelling means something else than the other")
	}
	for _, want := range []string{"allowPrivilegeEscalation: true", "runAsUser: 1000", "runAsGroup: 2000", "runAsNonRoot: true", "tolerationSeconds: 30"} {
		if !bytes.Contains(metaflow[0].Data, []byte(want)) {
			t.Errorf("there is no %s", want)
		}
	}
	for name, both := range map[string][2]map[string]any{
		"security_context": {{"run_as_user": int64(1), "runAsUser": int64(1)}, {"key": "gpu"}},
		"tolerations":      {{}, {"toleration_seconds": int64(1), "tolerationSeconds": int64(2)}},
	} {
		if _, list := emit(both[0], both[1]); !list.HasErrors() || !strings.Contains(list.Error(), name) || !strings.Contains(list.Error(), " are the same") {
			t.Errorf("%s with both: %v", name, list)
		}
	}
}

// TestMemoryDirs: files in memory have mebibytes, as Metaflow counts them; memory and disk have powers of ten.
func TestMemoryDirs(t *testing.T) {
	parsed := template(t, "made-linear", func(f *ir.Flow, _ *backends.Options) {
		f.Steps[0].Decorators = []ir.Decorator{{Name: "kubernetes", Attributes: ir.Attributes{
			"memory": int64(2048), "disk": int64(4096), "shared_memory": int64(64), "tmpfs_size": int64(1024)}}}
	})
	start := parsed.GetTemplateByName("start")
	sizes := map[string]string{}
	for _, v := range start.Volumes {
		if v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil {
			sizes[v.Name] = v.EmptyDir.SizeLimit.String()
		}
	}
	for name, amount := range start.Container.Resources.Requests {
		sizes[string(name)] = amount.String()
	}
	want := map[string]string{"shm": "64Mi", "tmpfs": "1Gi", "memory": "2048M", "ephemeral-storage": "4096M", "cpu": "1"}
	if !maps.Equal(sizes, want) {
		t.Errorf("%v, want %v", sizes, want)
	}
}

// TestSettings gives every setting a value of its own.
func TestSettings(t *testing.T) {
	values := map[string]string{
		"argo.namespace": "ml", "argo.service-account": "runner", "argo.secrets": "aws,db", "argo.image-pull-policy": "IfNotPresent",
		"argo.image-pull-secrets": "regcred", "argo.node-selector": "pool=batch", "argo.cpu": "0.25", "argo.memory": "500",
		"argo.disk": "0", "argo.workflow-timeout": "3600", "argo.priority": "7", "argo.pod-gc": "Never", "argo.ttl-success": "0",
		"argo.ttl-failure": "60", "argo.hardened": "false", "argo.run-as-user": "1000",
		"argo.automount-token": "true", "argo.event-source": "hook", "argo.event-name": "ours", "argo.event-bus": "fast",
		"argo.event-service-account": "starter", "argo.events-url": "http://events.ml:12000/metaflow", "argo.notify-on": "error",
		"argo.notify-secret": "pager", "argo.run-url": "https://argo.acme.dev/workflows/{namespace}/{name}", "argo.record-exit": "true",
	}
	for _, s := range (argo.Backend{}).Settings() {
		if values[s.Name] == "" {
			t.Errorf("setting %s is not tested", s.Name)
		}
	}
	doc, err := os.ReadFile("../../docs/targets-argo.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range values {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/targets-argo.md does not describe %s", name)
		}
	}
	files, list := emitted(t, "made-linear", func(_ *ir.Flow, o *backends.Options) {
		o.Settings, o.Name, o.MaxWorkers, o.Image, o.TaskImage = values, "my-flow", 7, "acme/base:3", "acme/mf-task:9"
		o.Env = map[string]string{"AWS_REGION": "eu-north-1"}
	})
	if list.HasErrors() {
		t.Fatal(list)
	}
	if err := check(files); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/settings.yaml", files[0].Data)
}

// TestRunsAreDeleted: each run that has ended goes after its time, also one that ended as Error, which to Argo is neither a
// success nor a failure. Where one kind stays for ever, no time is left that would be for all.
func TestRunsAreDeleted(t *testing.T) {
	for settings, want := range map[[2]string]string{
		{"60", "90"}: `{"secondsAfterCompletion":90,"secondsAfterSuccess":60,"secondsAfterFailure":90}`,
		{"0", "90"}:  `{"secondsAfterFailure":90}`,
		{"60", "0"}:  `{"secondsAfterSuccess":60}`,
		{"0", "0"}:   "null",
	} {
		parsed := template(t, "made-linear", func(_ *ir.Flow, o *backends.Options) {
			o.Settings = map[string]string{"argo.ttl-success": settings[0], "argo.ttl-failure": settings[1]}
		})
		if got, err := json.Marshal(parsed.Spec.TTLStrategy); err != nil || string(got) != want {
			t.Errorf("%v: %s, %v", settings, got, err)
		}
	}
}

// TestRestricted: where tasks run as a user, Argo's own containers keep to the restricted standard, too.
func TestRestricted(t *testing.T) {
	for user, want := range map[string]string{
		"": "", "0": "", "1000": `{"initContainers":[{"name":"init","securityContext":SC}],"containers":[{"name":"wait","securityContext":SC}]}`,
	} {
		parsed := template(t, "made-linear", func(_ *ir.Flow, o *backends.Options) {
			o.Settings = map[string]string{"argo.namespace": "ml", "argo.run-as-user": user}
		})
		context := `{"capabilities":{"drop":["ALL"]},"runAsUser":1000,"runAsNonRoot":true,"allowPrivilegeEscalation":false,"seccompProfile":{"type":"RuntimeDefault"}}`
		if want = strings.ReplaceAll(want, "SC", context); parsed.Spec.PodSpecPatch != want {
			t.Errorf("run-as-user %q: %s", user, parsed.Spec.PodSpecPatch)
		}
	}
}

// TestProjectNames: the names of a project's deployments fit, and differ where their flows do.
func TestProjectNames(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct{ project, flow, branch string }{
		{"p", "Flow", ""}, {"p", "Flow", "b"}, {"p", "Flow_2", "b"},
		{"a_rather_long_project_name", "WithALongFlowNameToo", "and_a_branch"},
		{"a_rather_long_project_name", "WithALongFlowNameTwo", "and_a_branch"},
	} {
		parsed := template(t, "made-project", func(f *ir.Flow, o *backends.Options) {
			f.Name, o.Branch, o.Production = c.flow, c.branch, c.branch == ""
			f.Decorators[0].Attributes["name"] = c.project
		})
		if len(parsed.Name) > 45 {
			t.Errorf("%s has %d bytes", parsed.Name, len(parsed.Name))
		}
		if other, taken := seen[parsed.Name]; taken {
			t.Errorf("%+v and %s are both called %s", c, other, parsed.Name)
		}
		seen[parsed.Name] = fmt.Sprintf("%+v", c)
	}
	if seen["p.prod.flow"] == "" || seen["p.test.b.flow2"] == "" {
		t.Errorf("names: %v", seen)
	}
}
