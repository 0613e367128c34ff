//go:build e2e

package e2e

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/e2e/same"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestArgoRestricted runs flows whose pods keep to Kubernetes' restricted standard, on Argo and step by step from here. Their
// pods are then judged by the API server as they would be in a namespace that enforces it: those of this small cluster
// cannot run there, since they share the machine's network.
func TestArgoRestricted(t *testing.T) {
	site := newArgo(t)
	strict := site.namespace + "-strict"
	site.check(site.cluster.Namespace(t.Context(), strict))
	namespaces := site.cluster.Client().CoreV1().Namespaces()
	t.Cleanup(func() { site.check(namespaces.Delete(context.Background(), strict, metav1.DeleteOptions{})) })
	label := `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`
	_, err := namespaces.Patch(t.Context(), strict, types.MergePatchType, []byte(label), metav1.PatchOptions{})
	site.check(err)

	site.settings = append(site.settings, "MF_ARGO_POD_GC=Never", "MF_ARGO_RUN_AS_USER=1000", "MF_KUBERNETES_RUN_AS_USER=1000")
	for _, c := range []struct{ name, file, flow string }{
		{"foreach", "flow.py", "ForeachFlow"}, {"yaml-three-languages", "flow.yaml", "ThreeLanguages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ships{site.in(t)}
			source := repo(t, "testdata", "flows", c.name)
			here, p := newPlace(t, source), newPlace(t, source)
			want := here.left(c.flow, here.mf("run", c.file))
			compare := func(run string, rules same.Rules) {
				t.Helper()
				found, err := same.Compare(t.Context(), want, s.left(c.flow, run), rules)
				if err != nil || len(found) > 0 {
					t.Errorf("%v\n%s", err, same.Report(found, 20))
				}
			}
			compare(s.runToEnd(p, s.deploy(p, c.file, "--pack", "2")), same.Rules{})
			file := filepath.Join(t.TempDir(), "run-id")
			p.must(s.env(p), mfBinary(t), "run", c.file, "--with", "kubernetes:cpu=0.02,memory=50,disk=1", "--run-id-file", file)
			compare(p.read(file), same.Rules{Varying: []string{"_graph_info"}}) // which knows of --with
		})
	}
	pods, err := site.cluster.Client().CoreV1().Pods(site.namespace).List(t.Context(), metav1.ListOptions{})
	site.check(err)
	if len(pods.Items) < 7 {
		t.Errorf("only %d pods are there to be judged", len(pods.Items))
	}
	for _, pod := range pods.Items {
		if err := site.admitted(strict, &pod); err != nil {
			t.Error(err)
		}
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i].SecurityContext = nil
		}
		if err := site.admitted(strict, &pod); err == nil || !strings.Contains(err.Error(), "PodSecurity") {
			t.Errorf("a pod without security contexts is let in: %v", err)
		}
	}
}

// admitted asks the API server whether a pod, but for the network, may be made in a namespace.
func (a *argo) admitted(namespace string, pod *corev1.Pod) error {
	made := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Labels: pod.Labels, Annotations: pod.Annotations}, Spec: *pod.Spec.DeepCopy()}
	made.Spec.HostNetwork, made.Spec.NodeName = false, ""
	for i := range made.Spec.Containers {
		for j := range made.Spec.Containers[i].Ports {
			made.Spec.Containers[i].Ports[j].HostPort = 0
		}
	}
	_, err := a.cluster.Client().CoreV1().Pods(namespace).Create(a.t.Context(), made, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// TestArgoFromPod deploys from within a pod, as CI in the cluster does: with the pod's service account, which has the
// documented role, and no kubeconfig.
func TestArgoFromPod(t *testing.T) {
	a := newArgo(t)
	p := newPlace(t, repo(t, "testdata", "flows", "foreach"))
	_, err := a.cluster.Access(t.Context(), a.namespace, "ci", documentedRole(t).Rules)
	a.check(err)
	text, err := os.ReadFile(mfBinary(t))
	a.check(err)
	a.check(os.WriteFile(filepath.Join(p.dir, "mf"), text, 0o755))
	for _, dir := range []string{p.dir, filepath.Dir(p.dir)} {
		a.check(os.Chmod(dir, 0o755))
	}
	out := a.inPod(p, "set -e; ./mf deploy flow.py; ./mf plan flow.py; ./mf trigger flow.py --wait; ./mf undeploy flow.py")
	for _, want := range []string{"deployed foreachflow", "No changes", "  succeeded  ", "removed WorkflowTemplate"} {
		if !strings.Contains(out, want) {
			t.Errorf("mf does not say %q:\n%s", want, out)
		}
	}
}

// inPod runs a shell script with the service account ci in the folder of p, and returns what it printed.
func (a *argo) inPod(p place, script string) string {
	a.t.Helper()
	pods := a.cluster.Client().CoreV1().Pods(a.namespace)
	server, err := url.Parse(a.cluster.Config.Host)
	a.check(err)
	env := []corev1.EnvVar{ // This small cluster has no Services, of which pods would learn where the API server is.
		{Name: "KUBERNETES_SERVICE_HOST", Value: server.Hostname()}, {Name: "KUBERNETES_SERVICE_PORT", Value: server.Port()},
		{Name: "HOME", Value: "/tmp"},
	}
	for _, v := range append(append(a.team.env(p), "MF_TARGET=argo"), a.settings...) {
		if name, value, _ := strings.Cut(v, "="); name != "PATH" && name != "HOME" && name != "MF_PYTHON" && name != "MF_CACHE" {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	pod, err := pods.Create(a.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ci"}, Spec: corev1.PodSpec{
		ServiceAccountName: "ci", RestartPolicy: corev1.RestartPolicyNever,
		Volumes: []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: p.dir}}}},
		Containers: []corev1.Container{{
			Name: "main", Image: a.python(), Command: []string{"sh", "-c", script}, WorkingDir: p.dir, Env: env,
			VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: p.dir}},
		}},
	}}, metav1.CreateOptions{})
	a.check(err)
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(300 * time.Millisecond) {
		pod, err = pods.Get(a.t.Context(), pod.Name, metav1.GetOptions{})
		a.check(err)
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || time.Now().After(deadline) {
			break
		}
	}
	log, err := pods.GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(context.WithoutCancel(a.t.Context()))
	if err != nil || pod.Status.Phase != corev1.PodSucceeded {
		a.t.Fatalf("the pod is %s: %v\n%s", pod.Status.Phase, err, tail(string(log)))
	}
	return string(log)
}

// TestArgoNamespaces: where the settings name one namespace, the flags and --set still choose another, for the files and for
// the connection alike.
func TestArgoNamespaces(t *testing.T) {
	site := newArgo(t)
	p := newPlace(t, repo(t, "testdata", "flows", "foreach"))
	elsewhere := site.env(p, "MF_ARGO_NAMESPACE=not-this-one")
	mf := func(args ...string) string {
		t.Helper()
		return p.must(elsewhere, mfBinary(t), args...)
	}
	const name = "foreachflow"
	if out := mf("deploy", "flow.py", "-n", site.namespace); out != "deployed "+name+"\n" {
		t.Errorf("with -n: %s", out)
	}
	if out := mf("plan", "flow.py", "--set", "argo.namespace="+site.namespace); !strings.Contains(out, "No changes") {
		t.Errorf("with --set: %s", out)
	}
	if _, told, err := p.output(elsewhere, mfBinary(t), "plan", "flow.py"); err == nil || !strings.Contains(told, "not-this-one") {
		t.Errorf("the setting alone: %v, %s", err, told)
	}
	mf("undeploy", name, "-n", site.namespace, "--yes")
}

// TestArgoBranches: a flow's file and the words of its branch say which deployment is meant; somebody else's is taken off with its
// production token only.
func TestArgoBranches(t *testing.T) {
	site := newArgo(t)
	p := newPlace(t, repo(t, "testdata", "flows", "project"))
	mine := site.deploy(p, "flow.py")
	production := site.deploy(p, "flow.py", "--production")
	if mine == production {
		t.Fatalf("both are called %s", mine)
	}
	deployed := func() string {
		t.Helper()
		list, err := site.cluster.Dynamic().Resource(templateObjects).Namespace(site.namespace).List(t.Context(), metav1.ListOptions{})
		site.check(err)
		var names []string
		for _, o := range list.Items {
			names = append(names, o.GetName())
		}
		return strings.Join(names, " ")
	}
	if run := site.trigger(p, "flow.py", "--production"); !strings.HasPrefix(run, "argo-"+production) {
		t.Errorf("the run of production is %s", run)
	}
	if out := site.mf(p, "status", "flow.py", "--production"); !strings.Contains(out, "argo-"+production) {
		t.Errorf("its status: %s", out)
	}
	if _, told, err := p.output(site.env(p), mfBinary(t), "undeploy", production, "--production"); err == nil || !strings.Contains(told, "for a flow file") {
		t.Errorf("a name with a branch: %v, %s", err, told)
	}

	other := site.env(p, "METAFLOW_HOME="+t.TempDir(), "METAFLOW_USER=other", "MF_USER=other")
	_, told, err := p.output(other, mfBinary(t), "undeploy", "flow.py", "--production", "--yes")
	if err == nil || !strings.Contains(told, "by tester") || !strings.Contains(told, "--authorize TOKEN") {
		t.Errorf("somebody else: %v, %s", err, told)
	}
	object, err := site.cluster.Dynamic().Resource(templateObjects).Namespace(site.namespace).Get(t.Context(), production, metav1.GetOptions{})
	site.check(err)
	p.must(other, mfBinary(t), "undeploy", "flow.py", "--production", "--yes", "--authorize", object.GetAnnotations()["mf.run/production-token"])
	if left := deployed(); left != mine {
		t.Errorf("left: %s, want %s", left, mine)
	}
	site.mf(p, "undeploy", "flow.py")
	if left := deployed(); left != "" {
		t.Errorf("left: %s", left)
	}
}
