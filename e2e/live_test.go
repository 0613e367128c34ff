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
	"k8s.io/apimachinery/pkg/types"
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

// TestLiveHeldBack: a scheduled run that the controller holds back, because another one is under way, is seen and stopped.
func TestLiveHeldBack(t *testing.T) {
	a := newLive(t)
	_, err := a.kube.CoreV1().Namespaces().Patch(t.Context(), a.namespace, types.MergePatchType,
		[]byte(`{"metadata": {"labels": {"workflows.argoproj.io/parallelism-limit": "1"}}}`), metav1.PatchOptions{})
	must(t, err)
	blocking := live.Deployment{Name: "stuck", Files: []backends.File{{Path: "w.yaml", Data: []byte(stuck)}}}
	a.apply(t, blocking)
	first, err := a.Start(t.Context(), blocking.Name, live.Start{})
	must(t, err)
	await(t, func() bool {
		now, err := a.Status(t.Context(), first.Name)
		must(t, err)
		return now.Phase == live.Running
	})
	d := deployment(t, "made-timezone", "30 6 * * 1-5", "* * * * *")
	a.apply(t, d)
	var runs []live.Run
	await(t, func() bool {
		list, err := a.dynamic.Resource(workflowObjects).Namespace(a.namespace).List(t.Context(), metav1.ListOptions{})
		must(t, err)
		for _, o := range list.Items {
			phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
			message, _, _ := unstructured.NestedString(o.Object, "status", "message")
			if phase == "Pending" && strings.Contains(message, "postponed") {
				runs, err = a.Runs(t.Context(), d.Name)
				must(t, err)
				return true
			}
		}
		return false
	})
	if len(runs) != 1 || runs[0].Phase != live.Pending || runs[0].Flow != "Decorated" {
		t.Fatalf("%+v", runs)
	}
	must(t, a.Stop(t.Context(), runs[0].Name))
}

// await waits for what the controller does, at the latest within the minute of a schedule.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
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
