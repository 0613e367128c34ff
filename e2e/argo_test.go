//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/e2e/cluster"
	"github.com/mf-run/mf/e2e/same"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// serveEnv has the test program be the owner of a cluster, which ends with its standard input.
const serveEnv = "MF_E2E_SERVE"

// around runs the tests, and ends the cluster that they started.
func around(m *testing.M) int {
	if repo := os.Getenv(serveEnv); repo != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		// A Ctrl-C ends the tests, and the end of the tests this.
		signal.Ignore(os.Interrupt)
		if err := cluster.Serve(ctx, cluster.Options{Repo: repo, Log: os.Stderr}, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		return 0
	}
	code := m.Run()
	if err := stack.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: taking the cluster down:", err)
		return 1
	}
	return code
}

// stack is the cluster of all tests: one that is up, or else one that goes with this process.
var stack sharedStack

type sharedStack struct {
	once    sync.Once
	cluster *cluster.Cluster
	err     error
	repo    string
	input   io.Closer
	done    chan struct{}
}

func (s *sharedStack) get(t *testing.T) *cluster.Cluster {
	t.Helper()
	s.once.Do(func() {
		if s.cluster, s.err = cluster.Attach(repo(t)); errors.Is(s.err, cluster.ErrNotUp) {
			s.err = s.start(repo(t))
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.cluster
}

func (s *sharedStack) start(repo string) error {
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), serveEnv+"="+repo)
	owner.Stdout, owner.Stderr = os.Stderr, os.Stderr
	input, err := owner.StdinPipe()
	if err != nil {
		return err
	}
	if err := owner.Start(); err != nil {
		return err
	}
	s.repo, s.input, s.done = repo, input, make(chan struct{})
	go func() {
		_ = owner.Wait()
		close(s.done)
	}()
	s.cluster, err = cluster.Started(context.Background(), repo, s.done)
	return err
}

// stop ends a cluster of this process, and looks for what it left behind.
func (s *sharedStack) stop() error {
	if s.input == nil {
		return nil
	}
	s.input.Close()
	<-s.done
	left, err := cluster.Left(s.repo)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("it left behind: %s", strings.Join(left, "; "))
	}
	return err
}

// argo is what flows on Argo need: a namespace of a test, a bucket, a metadata service, and a secret in the namespace with
// the credentials of both.
type argo struct {
	*team
	t         *testing.T
	cluster   *cluster.Cluster
	namespace string
	// settings are added to the environment of mf.
	settings []string
}

// argoSecret is the secret with the credentials.
const argoSecret = "mf-credentials"

// pythonImage has Python and nothing else.
const pythonImage = "localhost/python:e2e"

// newArgo makes a namespace on the shared cluster, with all that the test needs there.
func newArgo(t *testing.T) *argo {
	t.Helper()
	a := &argo{team: newTeam(t), t: t, cluster: stack.get(t)}
	a.namespace = "t-" + strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, t.Name()))
	a.namespace = fmt.Sprintf("%.40s-%d", a.namespace, time.Now().UnixMilli()%1e9)
	a.check(a.cluster.Namespace(t.Context(), a.namespace))
	t.Cleanup(a.clean)
	a.secret(argoSecret, append(a.bucket.Environ(), "MF_SERVICE_TOKEN="+a.token))
	a.settings = []string{"MF_TASK_IMAGE=" + a.taskImage(), "MF_IMAGE=" + a.python(), "MF_ARGO_SECRETS=" + argoSecret,
		"MF_ARGO_SERVICE_ACCOUNT=" + cluster.FlowAccount, "MF_ARGO_CPU=0.05", "MF_ARGO_MEMORY=50", "MF_ARGO_DISK=0"}
	return a
}

// in is the same for a subtest: what fails there fails that.
func (a *argo) in(t *testing.T) *argo {
	service, team, b := *a.service, *a.team, *a
	service.t, team.service, b.team, b.t = t, &service, &team, t
	return &b
}

func (a *argo) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// clean removes the namespace; after a failure it says first what is in it.
func (a *argo) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if a.t.Failed() {
		a.t.Logf("in namespace %s, when the test ended:\n%s", a.namespace, a.report(ctx))
	}
	if err := a.cluster.Client().CoreV1().Namespaces().Delete(ctx, a.namespace, metav1.DeleteOptions{}); err != nil {
		a.t.Error(err)
	}
}

// report says how workflows and pods stand.
func (a *argo) report(ctx context.Context) string {
	var b strings.Builder
	list, err := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, item := range list.Items {
		w, err := workflowOf(item.Object)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "%s %s %s\n", w.Name, w.Status.Phase, w.Status.Message)
		for _, node := range w.Status.Nodes {
			if node.Phase != wfv1.NodeSucceeded || node.Message != "" {
				fmt.Fprintf(&b, "  %s %s %s\n", node.Name, node.Phase, node.Message)
			}
		}
	}
	pods, err := a.cluster.Client().CoreV1().Pods(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	lines := int64(15)
	for _, pod := range pods.Items {
		fmt.Fprintf(&b, "pod %s %s %s %s\n", pod.Name, pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
		if pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		for _, container := range []string{"main", "init", "wait"} {
			log, err := a.cluster.Client().CoreV1().Pods(a.namespace).
				GetLogs(pod.Name, &corev1.PodLogOptions{Container: container, TailLines: &lines}).DoRaw(ctx)
			fmt.Fprintf(&b, "  %s: %s %v\n", container, tail(string(log)), err)
		}
	}
	return tail(b.String())
}

// secret puts variables into a secret of the namespace.
func (a *argo) secret(name string, variables []string) {
	a.t.Helper()
	data := map[string]string{}
	for _, v := range variables {
		key, value, _ := strings.Cut(v, "=")
		data[key] = value
	}
	_, err := a.cluster.Client().CoreV1().Secrets(a.namespace).Create(a.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{})
	a.check(err)
}

// python returns the name of the image with Python, which the cluster has from then on.
func (a *argo) python() string {
	a.t.Helper()
	a.image(pythonImage, cluster.Spec{Root: mustExist(a.t, repo(a.t, ".cache", "roots", "python.tar"), "run scripts/e2e-setup.sh"),
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}})
	return pythonImage
}

// taskImage returns the name of the image with mf-task as it is built now.
func (a *argo) taskImage() string {
	a.t.Helper()
	program := mustExist(a.t, repo(a.t, "bin", "mf-task"), "run make build")
	data, err := os.ReadFile(program)
	a.check(err)
	name := "localhost/mf-task:" + datastore.Digest(data)[:16]
	a.image(name, cluster.Spec{Files: []cluster.File{{Source: program, Target: "/mf-task", Mode: 0o755}, {Target: "/tmp", Mode: 0o1777}},
		Entrypoint: []string{"/mf-task"}})
	return name
}

func (a *argo) image(name string, spec cluster.Spec) {
	a.t.Helper()
	has, err := a.cluster.HasImage(a.t.Context(), name)
	a.check(err)
	if !has {
		a.check(a.cluster.MakeImage(a.t.Context(), name, spec))
	}
}

// env is the environment of somebody who deploys.
func (a *argo) env(p place, more ...string) []string {
	env := append(a.team.env(p), "KUBECONFIG="+a.cluster.KubeConfig, "MF_TARGET=argo", "MF_ARGO_NAMESPACE="+a.namespace)
	return append(append(env, a.settings...), more...)
}

// mf runs mf as somebody who deploys does, and returns what it printed on its standard output.
func (a *argo) mf(p place, args ...string) string {
	a.t.Helper()
	return p.must(a.env(p), mfBinary(a.t), args...)
}

// deploy deploys a flow and returns the deployment's name.
func (a *argo) deploy(p place, file string, args ...string) string {
	a.t.Helper()
	out := a.mf(p, append([]string{"deploy", file, "--target", "argo"}, args...)...)
	name, ok := strings.CutPrefix(strings.TrimSpace(out), "deployed ")
	if !ok {
		name, ok = strings.CutSuffix(strings.TrimSpace(out), " is deployed already, and unchanged")
	}
	if !ok {
		a.t.Fatalf("mf deploy says %q", out)
	}
	return name
}

// trigger starts a run and returns its id, "argo-" and the Workflow's name.
func (a *argo) trigger(p place, name string, args ...string) string {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "run-id")
	a.mf(p, append([]string{"trigger", name, "--run-id-file", file}, args...)...)
	return p.read(file)
}

// workflow returns how a run stands on Argo.
func (a *argo) workflow(run string) *wfv1.Workflow {
	a.t.Helper()
	object, err := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace).
		Get(a.t.Context(), strings.TrimPrefix(run, "argo-"), metav1.GetOptions{})
	a.check(err)
	w, err := workflowOf(object.Object)
	a.check(err)
	return w
}

// end waits for the end of a run.
func (a *argo) end(run string, limit time.Duration) *wfv1.Workflow {
	a.t.Helper()
	return a.until(run, limit, "it ends", func(w *wfv1.Workflow) bool { return w.Status.Phase.Completed() })
}

// until waits until a run stands as it should.
func (a *argo) until(run string, limit time.Duration, what string, stands func(*wfv1.Workflow) bool) *wfv1.Workflow {
	a.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(300 * time.Millisecond) {
		w := a.workflow(run)
		if stands(w) {
			return w
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: not within %s that %s; it is %s: %s", run, limit, what, w.Status.Phase, w.Status.Message)
		}
	}
}

// runToEnd starts a run of a deployment and returns its id when it has succeeded.
func (a *argo) runToEnd(p place, name string, args ...string) string {
	a.t.Helper()
	began := time.Now()
	run := a.trigger(p, name, args...)
	w := a.end(run, 5*time.Minute)
	if w.Status.Phase != wfv1.WorkflowSucceeded {
		a.t.Fatalf("%s is %s: %s", run, w.Status.Phase, w.Status.Message)
	}
	a.t.Logf("%s succeeded in %s, with %d nodes", run, time.Since(began).Round(100*time.Millisecond), len(w.Status.Nodes))
	return run
}

// left is what a run left behind.
func (a *argo) left(flow, run string) *same.View {
	a.t.Helper()
	v, err := same.Read(a.t.Context(), same.Run{Store: a.store(a.t), Flow: flow, ID: run})
	a.check(err)
	return v
}

var workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}

func workflowOf(object map[string]any) (*wfv1.Workflow, error) {
	var w wfv1.Workflow
	return &w, runtime.DefaultUnstructuredConverter.FromUnstructured(object, &w)
}
