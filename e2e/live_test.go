//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/mf-run/mf/backends"
	argolive "github.com/mf-run/mf/backends/argo/live"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

var (
	templateObjects = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflowtemplates"}
	cronObjects     = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "cronworkflows"}
	sensorObjects   = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "sensors"}
	workflowObjects = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}
)

// liveArgo is the engine in a namespace of its own, with the administrator's clients beside it.
type liveArgo struct {
	*argolive.Engine
	namespace string
	dynamic   dynamic.Interface
	kube      kubernetes.Interface
	config    string
}

func newLive(t *testing.T) *liveArgo {
	t.Helper()
	shared := stack.get(t)
	file := shared.KubeConfig
	a := &liveArgo{dynamic: shared.Dynamic(), kube: shared.Client(), config: file,
		namespace: fmt.Sprintf("live-%d", time.Now().UnixNano()%1e12)}
	must(t, shared.Namespace(t.Context(), a.namespace))
	t.Cleanup(func() {
		must(t, a.kube.CoreV1().Namespaces().Delete(context.Background(), a.namespace, metav1.DeleteOptions{}))
	})
	a.Engine = a.open(t, file)
	return a
}

func (a *liveArgo) open(t *testing.T, kubeconfig string) *argolive.Engine {
	t.Helper()
	e, err := argolive.Open(argolive.Options{Cluster: cluster.Options{Kubeconfig: kubeconfig, Namespace: a.namespace}})
	must(t, err)
	return e
}

// as opens the engine for a service account that has only the given rules.
func (a *liveArgo) as(t *testing.T, name string, rules ...rbacv1.PolicyRule) *argolive.Engine {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name}
	_, err := a.kube.CoreV1().ServiceAccounts(a.namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	must(t, err)
	_, err = a.kube.RbacV1().Roles(a.namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	must(t, err)
	_, err = a.kube.RbacV1().RoleBindings(a.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: a.namespace}},
	}, metav1.CreateOptions{})
	must(t, err)
	token, err := a.kube.CoreV1().ServiceAccounts(a.namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	return a.open(t, a.rewritten(t, func(c *clientcmdapi.Config) {
		for _, user := range c.AuthInfos {
			*user = clientcmdapi.AuthInfo{Token: token.Status.Token}
		}
	}))
}

// rewritten is the administrator's kubeconfig with changes.
func (a *liveArgo) rewritten(t *testing.T, change func(*clientcmdapi.Config)) string {
	t.Helper()
	c, err := clientcmd.LoadFromFile(a.config)
	must(t, err)
	change(c)
	file := filepath.Join(t.TempDir(), "config")
	must(t, clientcmd.WriteToFile(*c, file))
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// goldens is where the manifests of the corpus are.
const goldens = "../backends/argo/testdata/flows"

// deployment reads manifests of the corpus; edit changes their text.
func deployment(t *testing.T, flow string, edit ...string) live.Deployment {
	t.Helper()
	var d live.Deployment
	for _, name := range []string{"workflowtemplate.yaml", "cronworkflow.yaml", "sensor.yaml"} {
		data, err := os.ReadFile(filepath.Join(goldens, flow, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(t, err)
		text := strings.NewReplacer(edit...).Replace(string(data))
		_, rest, _ := strings.Cut(text, "\n  name: ")
		d.Name, _, _ = strings.Cut(rest, "\n")
		d.Files = append(d.Files, backends.File{Path: name, Data: []byte(text)})
	}
	if len(edit) > 0 {
		before := deployment(t, flow)
		if slices.EqualFunc(before.Files, d.Files, func(a, b backends.File) bool { return string(a.Data) == string(b.Data) }) {
			t.Fatalf("%s has none of %q", flow, edit)
		}
	}
	return d
}

func planText(p live.Plan) string {
	var lines []string
	for _, c := range p.Changes {
		line := fmt.Sprintf("%s %s: %s %s: %s -> %s", c.Kind, c.Object, c.Step, c.What, c.From, c.To)
		if c.ByHand != "" {
			line += " (by hand)"
		}
		lines = append(lines, strings.TrimSuffix(strings.Join(strings.Fields(line), " "), ": : ->"))
	}
	return strings.Join(lines, "\n")
}

func (a *liveArgo) wantPlan(t *testing.T, d live.Deployment, want ...string) {
	t.Helper()
	p, err := a.Plan(t.Context(), d)
	must(t, err)
	if got := planText(p); got != strings.Join(want, "\n") {
		t.Errorf("plan:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func (a *liveArgo) apply(t *testing.T, d live.Deployment) live.Plan {
	t.Helper()
	p, err := a.Apply(t.Context(), d)
	must(t, err)
	return p
}

// edit changes an object as kubectl edit does.
func (a *liveArgo) edit(t *testing.T, kind schema.GroupVersionResource, name string, change func(spec map[string]any)) {
	t.Helper()
	objects := a.dynamic.Resource(kind).Namespace(a.namespace)
	o, err := objects.Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	change(o.Object["spec"].(map[string]any))
	_, err = objects.Update(t.Context(), o, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	must(t, err)
}

// installSensors has the cluster know Argo Events' kind of object, without anybody who looks after them.
func (a *liveArgo) installSensors(t *testing.T) {
	t.Helper()
	kinds := a.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	name := "sensors.argoproj.io"
	_, err := kinds.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"group": "argoproj.io", "scope": "Namespaced", "names": map[string]any{"kind": "Sensor", "plural": "sensors", "singular": "sensor", "listKind": "SensorList"},
			"versions": []any{map[string]any{"name": "v1alpha1", "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
		},
	}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		must(t, err)
		t.Cleanup(func() { must(t, kinds.Delete(context.Background(), name, metav1.DeleteOptions{})) })
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		list, err := a.dynamic.Resource(sensorObjects).Namespace(a.namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(list.Items) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster does not take sensors: %v", err)
		}
	}
}

// TestLivePlanIsEmptyAfterApply goes through the whole corpus: what has just been deployed differs in nothing.
func TestLivePlanIsEmptyAfterApply(t *testing.T) {
	a := newLive(t)
	a.installSensors(t)
	files, err := filepath.Glob(goldens + "/*/workflowtemplate.yaml")
	must(t, err)
	n := 0
	for _, file := range files {
		flow := filepath.Base(filepath.Dir(file))
		d := deployment(t, flow)
		if strings.Contains(string(d.Files[0].Data), "\n  namespace:") {
			continue // for a namespace of its own
		}
		n++
		p := a.apply(t, d)
		if len(p.Changes) != len(d.Files) || p.Exists {
			t.Errorf("%s: %s", flow, planText(p))
		}
		if p, err := a.Plan(t.Context(), d); err != nil || len(p.Changes) > 0 || !p.Exists {
			t.Errorf("%s: %v\n%s", flow, err, planText(p))
		}
		removed, err := a.Delete(t.Context(), d.Name)
		if err != nil || len(removed) != len(d.Files) {
			t.Errorf("%s: %q, %v", flow, removed, err)
		}
	}
	if n < 50 {
		t.Errorf("only %d flows in %s", n, goldens)
	}
}

func TestLiveApplyTwice(t *testing.T) {
	a := newLive(t)
	d := deployment(t, "made-timezone")
	a.apply(t, d)
	versions := func() string {
		var s []string
		for _, kind := range []schema.GroupVersionResource{templateObjects, cronObjects} {
			o, err := a.dynamic.Resource(kind).Namespace(a.namespace).Get(t.Context(), d.Name, metav1.GetOptions{})
			must(t, err)
			s = append(s, o.GetResourceVersion())
		}
		return strings.Join(s, " ")
	}
	before := versions()
	if p := a.apply(t, d); len(p.Changes) > 0 || before != versions() {
		t.Errorf("%s\n%s, then %s", planText(p), before, versions())
	}
	// An edit is undone, and after that nothing changes again.
	a.edit(t, templateObjects, d.Name, func(spec map[string]any) { spec["priority"] = int64(5); delete(spec, "parallelism") })
	a.wantPlan(t, d, "add WorkflowTemplate decorated: parallelism: -> 100 (by hand)",
		"remove WorkflowTemplate decorated: priority: 5 -> (by hand)")
	a.apply(t, d)
	a.wantPlan(t, d)
	before = versions()
	if a.apply(t, d); before != versions() {
		t.Errorf("%s, then %s", before, versions())
	}
}

// TestLivePlanSaysWhatChanges: the flow changes, somebody changes the cluster, both do.
func TestLivePlanSaysWhatChanges(t *testing.T) {
	a := newLive(t)
	first := deployment(t, "made-retries")
	a.apply(t, first)
	name := first.Name
	o, err := a.dynamic.Resource(templateObjects).Namespace(a.namespace).Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	var step string
	for _, template := range o.Object["spec"].(map[string]any)["templates"].([]any) {
		if m := template.(map[string]any); m["retryStrategy"] != nil {
			step = m["name"].(string)
		}
	}
	object := "WorkflowTemplate " + name
	second := deployment(t, "made-retries", "image: python:3.12-slim", "image: python:3.13-slim")
	a.wantPlan(t, second, "change "+object+": default image: python:3.12-slim -> python:3.13-slim")
	retries := func(limit any) func(map[string]any) {
		return func(spec map[string]any) {
			for _, template := range spec["templates"].([]any) {
				if m := template.(map[string]any); m["name"] == step {
					m["retryStrategy"].(map[string]any)["limit"] = limit
				}
			}
		}
	}
	a.edit(t, templateObjects, name, retries(int64(9)))
	p, err := a.Plan(t.Context(), first)
	must(t, err)
	if len(p.Changes) != 1 || p.Changes[0].Step != step || p.Changes[0].What != "retries" || p.Changes[0].From != "9" ||
		!strings.HasPrefix(p.Changes[0].ByHand, "kubectl-edit, 20") {
		t.Errorf("%+v", p.Changes)
	}
	p, err = a.Plan(t.Context(), second)
	must(t, err)
	if len(p.Changes) != 2 || p.Changes[0].ByHand != "" || p.Changes[1].ByHand == "" {
		t.Errorf("%+v", p.Changes)
	}
	a.apply(t, second)
	a.wantPlan(t, second)
}

// TestLiveSchedules come, go and stay suspended.
func TestLiveSchedules(t *testing.T) {
	a := newLive(t)
	with := deployment(t, "made-timezone")
	without := live.Deployment{Name: with.Name, Files: with.Files[:1]}
	a.apply(t, without)
	a.wantPlan(t, with, "add CronWorkflow "+with.Name)
	a.apply(t, with)
	later := deployment(t, "made-timezone", "30 6 *", "45 7 *")
	a.wantPlan(t, later, "change CronWorkflow decorated: schedule: 30 6 * * 1-5 -> 45 7 * * 1-5")
	a.edit(t, cronObjects, with.Name, func(spec map[string]any) { spec["suspend"] = true })
	p := a.apply(t, later)
	if len(p.Changes) != 1 || !strings.Contains(strings.Join(p.Notes, "\n"), "suspended and stays so") {
		t.Errorf("%s\n%q", planText(p), p.Notes)
	}
	o, err := a.dynamic.Resource(cronObjects).Namespace(a.namespace).Get(t.Context(), with.Name, metav1.GetOptions{})
	must(t, err)
	if suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); !suspended {
		t.Error("the deploy let the schedule go on")
	}
	a.wantPlan(t, without, "remove CronWorkflow "+with.Name)
	a.apply(t, without)
	a.wantPlan(t, without)
	if list, err := a.dynamic.Resource(cronObjects).Namespace(a.namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("%d schedules are left, %v", len(list.Items), err)
	}
}

func TestLiveOthersObjects(t *testing.T) {
	a := newLive(t)
	for name, test := range map[string]struct {
		metadata map[string]any
		hint     string
	}{
		"somebody's":   {map[string]any{}, "--name"},
		"Metaflow's":   {map[string]any{"annotations": map[string]any{"metaflow/production_token": "x"}}, "Metaflow deployed it"},
		"mf's, edited": {map[string]any{"labels": map[string]any{"app.kubernetes.io/managed-by": "Helm"}}, "--name"},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(t, "made-linear")
			test.metadata["name"] = d.Name
			o := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate", "metadata": test.metadata,
				"spec": map[string]any{"entrypoint": "x"},
			}}
			objects := a.dynamic.Resource(templateObjects).Namespace(a.namespace)
			_, err := objects.Create(t.Context(), o, metav1.CreateOptions{})
			must(t, err)
			for what, do := range map[string]func() error{
				"plan":   func() error { _, err := a.Plan(t.Context(), d); return err },
				"apply":  func() error { _, err := a.Apply(t.Context(), d); return err },
				"delete": func() error { _, err := a.Delete(t.Context(), d.Name); return err },
				"start":  func() error { _, err := a.Start(t.Context(), d.Name, live.Start{}); return err },
			} {
				if err := do(); !errors.Is(err, live.ErrNotOurs) || !strings.Contains(err.Error(), test.hint) {
					t.Errorf("%s: %v", what, err)
				}
			}
			must(t, objects.Delete(t.Context(), d.Name, metav1.DeleteOptions{}))
		})
	}
}

// TestLiveApplyIsUndone: the API server takes the dry run of a schedule and refuses the schedule itself.
func TestLiveApplyIsUndone(t *testing.T) {
	a := newLive(t)
	policies := a.dynamic.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"})
	bindings := a.dynamic.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"})
	create := func(to dynamic.ResourceInterface, text string) {
		var o map[string]any
		must(t, json.Unmarshal([]byte(strings.ReplaceAll(text, "NAME", a.namespace)), &o))
		_, err := to.Create(t.Context(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{})
		must(t, err)
		t.Cleanup(func() { must(t, to.Delete(context.Background(), a.namespace, metav1.DeleteOptions{})) })
	}
	create(policies, `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "NAME"}, "spec": {
		"failurePolicy": "Fail",
		"matchConstraints": {"resourceRules": [{"apiGroups": ["argoproj.io"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["cronworkflows"]}]},
		"validations": [{"expression": "has(request.dryRun) && request.dryRun", "message": "no schedules on Fridays"}]}}`)
	create(bindings, `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "NAME"}, "spec": {
		"policyName": "NAME", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "NAME"}}}}}`)
	d := deployment(t, "made-timezone")
	refused := func() error {
		var err error
		// The API server takes a new policy into account a moment later.
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			if _, err = a.Apply(t.Context(), d); err != nil {
				return err
			}
			_, err := a.Delete(t.Context(), d.Name)
			must(t, err)
		}
		return nil
	}
	err := refused()
	if err == nil || !strings.Contains(err.Error(), "no schedules on Fridays") || !strings.Contains(err.Error(), "put back as before: WorkflowTemplate "+d.Name) {
		t.Fatalf("got %v", err)
	}
	a.wantPlan(t, d, "add WorkflowTemplate "+d.Name, "add CronWorkflow "+d.Name)

	// A template that was there before is put back as it was, with what somebody had changed.
	old := live.Deployment{Name: d.Name, Files: d.Files[:1]}
	a.apply(t, old)
	a.edit(t, templateObjects, d.Name, func(spec map[string]any) { spec["priority"] = int64(5) })
	d = deployment(t, "made-timezone", "image: python:3.12-slim", "image: python:3.13-slim")
	if _, err := a.Apply(t.Context(), d); err == nil || !strings.Contains(err.Error(), "put back as before: WorkflowTemplate") {
		t.Fatalf("got %v", err)
	}
	a.wantPlan(t, old, "remove WorkflowTemplate decorated: priority: 5 -> (by hand)")
}

// TestLivePermissions: what is missing is said as the rule that would grant it.
func TestLivePermissions(t *testing.T) {
	a := newLive(t)
	d := deployment(t, "made-timezone")
	argoRule := func(resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{"argoproj.io"}, Resources: []string{resource}, Verbs: verbs}
	}
	for i, test := range []struct {
		rules []rbacv1.PolicyRule
		do    func(e *argolive.Engine) error
		want  string
	}{
		{nil, func(e *argolive.Engine) error { _, err := e.Plan(t.Context(), d); return err },
			`may not get workflowtemplates.argoproj.io in namespace NS; a Role there with {apiGroups: ["argoproj.io"], resources: ["workflowtemplates"], verbs: ["get"]}`},
		{[]rbacv1.PolicyRule{argoRule("workflowtemplates", "get")}, func(e *argolive.Engine) error { _, err := e.Apply(t.Context(), d); return err },
			`may not patch workflowtemplates.argoproj.io in namespace NS`},
		{[]rbacv1.PolicyRule{argoRule("workflowtemplates", "get", "patch")}, func(e *argolive.Engine) error { _, err := e.Apply(t.Context(), d); return err },
			`may not create workflowtemplates.argoproj.io in namespace NS; a Role there with {apiGroups: ["argoproj.io"], resources: ["workflowtemplates"], verbs: ["create"]}`},
		{[]rbacv1.PolicyRule{argoRule("workflowtemplates", "get", "patch", "create"), argoRule("cronworkflows", "get")},
			func(e *argolive.Engine) error { _, err := e.Apply(t.Context(), d); return err },
			`may not patch cronworkflows.argoproj.io`},
		{nil, func(e *argolive.Engine) error { _, err := e.Runs(t.Context(), ""); return err }, `may not list workflows.argoproj.io in namespace NS`},
		{nil, func(e *argolive.Engine) error { return e.Stop(t.Context(), "x") }, `may not get workflows.argoproj.io`},
	} {
		name := fmt.Sprintf("deployer-%d", i)
		err := test.do(a.as(t, name, test.rules...))
		if want := strings.ReplaceAll(test.want, "NS", a.namespace); !errors.Is(err, live.ErrDenied) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "system:serviceaccount:"+a.namespace+":"+name) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// With what docs/targets-argo.md grants, a deploy goes through; what it may not see it says.
	e := a.as(t, "deployer", argoRule("workflowtemplates", "get", "list", "create", "patch", "update", "delete"),
		argoRule("cronworkflows", "get", "list", "create", "patch", "update", "delete"), argoRule("workflows", "get", "list", "create", "patch"))
	p, err := e.Apply(t.Context(), d)
	must(t, err)
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "may not get serviceaccounts") {
		t.Errorf("notes: %s", notes)
	}
	if list, err := a.dynamic.Resource(templateObjects).Namespace(a.namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("%d templates, %v", len(list.Items), err)
	}
}

func TestLiveConnection(t *testing.T) {
	a := newLive(t)
	d := deployment(t, "made-linear")
	for name, test := range map[string]struct {
		change func(*clientcmdapi.Config)
		is     error
		want   string
	}{
		"token": {func(c *clientcmdapi.Config) {
			for _, user := range c.AuthInfos {
				*user = clientcmdapi.AuthInfo{Token: "wrong"}
			}
		}, live.ErrDenied, "does not accept the credentials"},
		"certificate": {func(c *clientcmdapi.Config) {
			for _, k := range c.Clusters {
				k.CertificateAuthority, k.CertificateAuthorityData = "", nil
			}
		}, live.ErrUnavailable, "certificate"},
		"nobody there": {func(c *clientcmdapi.Config) {
			for _, k := range c.Clusters {
				k.Server = "https://127.0.0.1:1"
			}
		}, live.ErrUnavailable, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			e := a.open(t, a.rewritten(t, test.change))
			if _, err := e.Plan(t.Context(), d); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	nowhere, err := argolive.Open(argolive.Options{Cluster: cluster.Options{Kubeconfig: a.config, Namespace: "no-such"}})
	must(t, err)
	if _, err := nowhere.Plan(t.Context(), d); !errors.Is(err, live.ErrNotFound) || !strings.Contains(err.Error(), "kubectl create namespace no-such") {
		t.Errorf("got %v", err)
	}
	other := deployment(t, "made-linear", "\n  labels:", "\n  namespace: elsewhere\n  labels:")
	if _, err := a.Plan(t.Context(), other); err == nil || !strings.Contains(err.Error(), "is for namespace elsewhere") {
		t.Errorf("got %v", err)
	}
}

// TestLiveNeeds: what pods will miss is said before they do.
func TestLiveNeeds(t *testing.T) {
	a := newLive(t)
	_, err := a.kube.CoreV1().Secrets(a.namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db"},
		StringData: map[string]string{"password": "sesame"}}, metav1.CreateOptions{})
	must(t, err)
	text := `
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: needy, labels: {app.kubernetes.io/managed-by: mf}}
spec:
  imagePullSecrets: [{name: registry}]
  serviceAccountName: worker
  templates:
    - name: start
      container:
        args: [run, --flow, Needy, --run, r, --step, start, --path, "", --attempt, "0"]
        envFrom: [{secretRef: {name: db}}, {secretRef: {name: lake}}, {configMapRef: {name: maybe, optional: true}}]
        env: [{name: KEY, valueFrom: {secretKeyRef: {name: lake, key: k}}}]
      volumes: [{name: models, persistentVolumeClaim: {claimName: models}}]
`
	p, err := a.Plan(t.Context(), live.Deployment{Name: "needy", Files: []backends.File{{Path: "w.yaml", Data: []byte(text)}}})
	must(t, err)
	want := []string{
		"persistent volume claim models is not in namespace NS, but step start needs it",
		"secret lake is not in namespace NS, but step start needs it",
		"secret registry is not in namespace NS, but every step needs it",
		"service account worker is not in namespace NS, but every step needs it",
	}
	if got, want := strings.Join(p.Notes, "\n"), strings.ReplaceAll(strings.Join(want, "\n"), "NS", a.namespace); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	_, err = a.kube.CoreV1().ServiceAccounts(a.namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}, metav1.CreateOptions{})
	must(t, err)
	p, err = a.Plan(t.Context(), live.Deployment{Name: "needy", Files: []backends.File{{Path: "w.yaml", Data: []byte(text)}}})
	must(t, err)
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "service account worker may not create workflowtaskresults.argoproj.io") {
		t.Errorf("notes: %s", notes)
	}
}

// TestLiveStart: a run refers to its template and says nothing else but its arguments.
func TestLiveStart(t *testing.T) {
	a := newLive(t)
	d := deployment(t, "made-parameters")
	d.Token = "train-0-abcd"
	a.apply(t, d)
	if p, err := a.Plan(t.Context(), d); err != nil || p.Token != d.Token || len(p.Changes) > 0 {
		t.Errorf("token %q, %v\n%s", p.Token, err, planText(p))
	}
	_, err := a.Start(t.Context(), d.Name, live.Start{Parameters: map[string]string{"genre": "Noir", "nosuch": "1"}})
	if err == nil || !strings.Contains(err.Error(), "there is no parameter nosuch") || !strings.Contains(err.Error(), d.Name+" takes: genre (default") {
		t.Errorf("got %v", err)
	}
	value := "quotes \" and\nlines, {{x}} ünï 🙂"
	run, err := a.Start(t.Context(), d.Name, live.Start{Parameters: map[string]string{"genre": value}, User: "ann@example.com"})
	must(t, err)
	if run.ID != "argo-"+run.Name || run.Deployment != d.Name || run.Phase != live.Pending || run.Flow == "" || run.Started.IsZero() {
		t.Errorf("%+v", run)
	}
	o, err := a.dynamic.Resource(workflowObjects).Namespace(a.namespace).Get(t.Context(), run.Name, metav1.GetOptions{})
	must(t, err)
	spec, err := json.Marshal(o.Object["spec"])
	must(t, err)
	quoted, err := json.Marshal(value)
	must(t, err)
	if want := `{"arguments":{"parameters":[{"name":"genre","value":` + string(quoted) + `}]},"workflowTemplateRef":{"name":"` + d.Name + `"}}`; string(spec) != want {
		t.Errorf("got  %s\nwant %s", spec, want)
	}
	if o.GetAnnotations()["mf.run/started-by"] != "ann@example.com" || o.GetLabels()["mf.run/deployment"] != d.Name {
		t.Errorf("%v %v", o.GetAnnotations(), o.GetLabels())
	}
	for _, name := range []string{run.Name, run.ID} {
		if got, err := a.Status(t.Context(), name); err != nil || got.Name != run.Name {
			t.Errorf("%+v, %v", got, err)
		}
	}
	runs, err := a.Runs(t.Context(), d.Name)
	if err != nil || len(runs) != 1 || runs[0].Name != run.Name {
		t.Errorf("%+v, %v", runs, err)
	}
	for _, want := range []string{"Stop", "Terminate"} {
		must(t, a.Stop(t.Context(), run.ID))
		o, err := a.dynamic.Resource(workflowObjects).Namespace(a.namespace).Get(t.Context(), run.Name, metav1.GetOptions{})
		must(t, err)
		if got, _, _ := unstructured.NestedString(o.Object, "spec", "shutdown"); got != want && o.Object["status"] == nil {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if _, err := a.Status(t.Context(), "argo-nobody"); !errors.Is(err, live.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := a.Start(t.Context(), "nobody", live.Start{}); !errors.Is(err, live.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := a.Delete(t.Context(), "nobody"); !errors.Is(err, live.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// stuck is a flow whose steps cannot do well, each for another reason.
const stuck = `
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: stuck, labels: {app.kubernetes.io/managed-by: mf, mf.run/flow: Stuck, mf.run/deployment: stuck}}
spec:
  entrypoint: Stuck
  serviceAccountName: flow
  workflowMetadata: {labels: {mf.run/flow: Stuck, mf.run/deployment: stuck}}
  templateDefaults: {container: {image: "localhost/argoexec:e2e", imagePullPolicy: IfNotPresent, command: [argoexec, version], resources: {requests: {cpu: 10m, memory: 10M}}}}
  templates:
    - name: Stuck
      dag:
        failFast: false
        tasks:
          - {name: no-image, template: no-image}
          - {name: no-secret, template: no-secret}
          - {name: no-volume, template: no-volume}
          - {name: no-node, template: no-node}
          - {name: broken, template: broken}
    - {name: no-image, metadata: {labels: {mf.run/step: no_image}}, container: {image: "127.0.0.1:1/none:1"}}
    - {name: no-secret, metadata: {labels: {mf.run/step: no_secret}}, container: {env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]}}
    - name: no-volume
      metadata: {labels: {mf.run/step: no_volume}}
      volumes: [{name: keys, secret: {secretName: keys}}]
      container: {volumeMounts: [{name: keys, mountPath: /keys}]}
    - {name: no-node, metadata: {labels: {mf.run/step: no_node}}, nodeSelector: {disk: none}, container: {image: "localhost/argoexec:e2e"}}
    - {name: broken, metadata: {labels: {mf.run/step: broken}}, container: {command: [argoexec, nosuch]}}
`

// TestLiveStatus: what the real controller and kubelet say of pods that do not do well, in words.
func TestLiveStatus(t *testing.T) {
	a := newLive(t)
	d := live.Deployment{Name: "stuck", Files: []backends.File{{Path: "w.yaml", Data: []byte(stuck)}}}
	a.apply(t, d)
	started, err := a.Start(t.Context(), d.Name, live.Start{})
	must(t, err)
	want := map[string]string{
		"no_image":  "image 127.0.0.1:1/none:1 cannot be pulled",
		"no_secret": `container main cannot start (CreateContainerConfigError): secret "db" not found`,
		"no_volume": `secret "keys" not found`,
		"no_node":   "no node takes it: 0/1 nodes are available",
		"broken":    "main: Error (exit code 64): unknown command",
	}
	var run live.Run
	seen := func() (missing []string) {
		run, err = a.Status(t.Context(), started.ID)
		must(t, err)
		problems := map[string]string{}
		for _, s := range run.Steps {
			problems[s.Name] = strings.Join(s.Problems, "\n")
		}
		for step, text := range want {
			if !strings.Contains(problems[step], text) {
				missing = append(missing, step)
			}
		}
		return missing
	}
	within(t, 4*time.Minute, func() error {
		if missing := seen(); len(missing) > 0 {
			return fmt.Errorf("%q say something else: %+v", missing, run.Steps)
		}
		return nil
	})
	if run.Phase != live.Running || len(run.Notes) > 0 || run.Flow != "Stuck" || run.Deployment != d.Name {
		t.Errorf("%+v", run)
	}
	for _, s := range run.Steps {
		if s.Name == "broken" && s.Phase != live.Failed || s.Name == "no_node" && s.Phase != live.Pending {
			t.Errorf("%+v", s)
		}
	}
	must(t, a.Stop(t.Context(), run.Name))
	within(t, 2*time.Minute, func() error {
		run, err = a.Status(t.Context(), run.Name)
		must(t, err)
		if run.Phase != live.Stopped || run.Finished.IsZero() {
			return fmt.Errorf("%s: %s", run.Phase, run.Message)
		}
		return nil
	})
	// A run that has ended is left alone, and stays when its deployment goes.
	must(t, a.Stop(t.Context(), run.Name))
	_, err = a.Delete(t.Context(), d.Name)
	must(t, err)
	if runs, err := a.Runs(t.Context(), d.Name); err != nil || len(runs) != 1 || runs[0].Phase != live.Stopped {
		t.Errorf("%+v, %v", runs, err)
	}
}

// within waits for something to come true.
func within(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
