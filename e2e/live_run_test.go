//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/mf-run/mf/backends"
	argolive "github.com/mf-run/mf/backends/argo/live"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

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
	// What may not be seen besides is said, and keeps nobody from deploying.
	e := a.as(t, "deployer", argoRule("workflowtemplates", "get", "create", "patch"), argoRule("cronworkflows", "get", "list", "create", "patch"),
		argoRule("sensors", "list"))
	p, err := e.Apply(t.Context(), d)
	must(t, err)
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "may not get serviceaccounts") {
		t.Errorf("notes: %s", notes)
	}
	// With the documented role everything goes.
	e = a.as(t, "documented", documentedRole(t).Rules...)
	p, err = e.Apply(t.Context(), deployment(t, "made-timezone", "image: python:3.12-slim", "image: python:3.13-slim"))
	must(t, err)
	if len(p.Changes) != 1 || strings.Contains(strings.Join(p.Notes, "\n"), "may not") {
		t.Errorf("%s\nnotes: %q", planText(p), p.Notes)
	}
	run, err := e.Start(t.Context(), d.Name, live.Start{})
	must(t, err)
	run, err = e.Status(t.Context(), run.Name)
	must(t, err)
	if len(run.Notes) > 0 {
		t.Errorf("%q", run.Notes)
	}
	_, err = e.Runs(t.Context(), d.Name)
	must(t, err)
	must(t, e.Stop(t.Context(), run.Name))
	_, err = e.Delete(t.Context(), d.Name)
	must(t, err)
}

// documentedRole is the role for whoever deploys in the documentation.
func documentedRole(t *testing.T) rbacv1.Role {
	t.Helper()
	file, err := os.Open("../docs/argo-rbac.yaml")
	must(t, err)
	defer file.Close()
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 1024); ; {
		var role rbacv1.Role
		must(t, decoder.Decode(&role))
		if role.Kind == "Role" && role.Name == "mf-deployer" {
			return role
		}
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
		"no_node":   "0/1 nodes are available",
		"broken":    "main: Error (exit code 64): unknown command",
	}
	var run live.Run
	seen := func() (missing []string) {
		run, err = a.Status(t.Context(), started.ID)
		must(t, err)
		problems := map[string]string{}
		for _, s := range run.Steps {
			// The kubelet knows that a pod has failed before the controller does.
			if phase := map[bool]live.Phase{true: live.Failed, false: live.Pending}[s.Name == "broken"]; s.Phase == phase {
				problems[s.Name] = strings.Join(s.Problems, "\n")
			}
		}
		for step, text := range want {
			if !strings.Contains(problems[step], text) {
				missing = append(missing, step)
			}
		}
		return missing
	}
	within(t, 10*time.Minute, func() error {
		if missing := seen(); len(missing) > 0 {
			return fmt.Errorf("%q say something else: %+v", missing, run.Steps)
		}
		return nil
	})
	if run.Phase != live.Running || len(run.Notes) > 0 || run.Flow != "Stuck" || run.Deployment != d.Name {
		t.Errorf("%+v", run)
	}
	must(t, a.Stop(t.Context(), run.Name))
	within(t, 10*time.Minute, func() error {
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
