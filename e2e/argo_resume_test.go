//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// teller hears from steps, on the machine's own network, whose code runs.
type teller struct {
	*httptest.Server
	mu    sync.Mutex
	heard map[string][]string // by run
}

func newTeller(t *testing.T) *teller {
	h := &teller{heard: map[string][]string{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		run, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heard[run] = append(h.heard[run], what)
	}))
	t.Cleanup(h.Close)
	return h
}

// steps are what a run's steps said, sorted.
func (h *teller) steps(run string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Sorted(slices.Values(h.heard[run]))
	return strings.Join(list, " ")
}

var templates = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflowtemplates"}

// TestArgoResume has a run fail in production, and takes it up with the mistake mended: here, on Argo, and by Argo's own
// retry. What had succeeded is not run again.
func TestArgoResume(t *testing.T) {
	a, h := newArgo(t), newTeller(t)
	a.settings = append(a.settings, "TELL="+h.URL)
	p := newPlace(t, "testdata/resumed")
	name := a.deploy(p, "flow.py", "--env", "TELL="+h.URL)
	origin := a.trigger(p, name, "--factor", "10")
	if w := a.end(origin, 10*time.Minute); w.Status.Phase != wfv1.WorkflowFailed {
		t.Fatalf("%s is %s: %s", origin, w.Status.Phase, w.Status.Message)
	}
	if got, want := h.steps(origin), "start work-0 work-1 work-2 work-3 work-4 work-5"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	v := a.read("ResumedFlow", origin)
	if v.Successful || v.Finished || v.Tasks["start"]["numbers"].Repr != "[1, 2, 3, 4, 5, 6]" {
		t.Errorf("to the real client, the failed run is successful %v, finished %v, and start has %v", v.Successful, v.Finished, v.Tasks["start"])
	}
	status := a.mf(p, "status", origin)
	if !strings.Contains(status, "failed") || !strings.Contains(a.mf(p, "logs", "ResumedFlow/"+origin), "four is wrong") {
		t.Errorf("mf status says %s", status)
	}
	deployed := a.template(name)
	mend(t, p)

	check := func(t *testing.T, run, ran string) {
		t.Helper()
		if got := h.steps(run); got != ran {
			t.Errorf("ran %s, want %s", got, ran)
		}
		v := a.read("ResumedFlow", run)
		if end := v.Tasks["end"]; !v.Successful || end["total"].Repr != "210" || end["where"].Repr != "'"+origin+"'" {
			t.Errorf("to the real client, successful is %v, and end has %v", v.Successful, end)
		}
	}
	t.Run("here", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "id")
		a.mf(p, "resume", "flow.py", "--origin", origin, "--run-id-file", file)
		check(t, p.read(file), "end gather work-3")
	})
	// onArgo resumes a run there, and sees that pods were started for what was left, and for nothing else.
	onArgo := func(t *testing.T, pods string, arguments ...string) (string, *wfv1.Workflow) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "id")
		_, told, err := p.output(a.env(p), mfBinary(t), append([]string{"resume", "flow.py", "--on", "argo", "--env", "TELL=" + h.URL, "--run-id-file", file}, arguments...)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, told)
		}
		// A flag that the deployment was not given is pointed out.
		if noted := strings.Contains(told, "this run is not as "+name+" is deployed") && strings.Contains(told, "EXTRA"); noted != slices.Contains(arguments, "EXTRA=1") {
			t.Errorf("mf resume says %s", told)
		}
		run := p.read(file)
		w := a.end(run, 10*time.Minute)
		if w.Status.Phase != wfv1.WorkflowSucceeded {
			t.Fatalf("%s is %s: %s", run, w.Status.Phase, w.Status.Message)
		}
		if got := podNodes(w); got != pods {
			t.Errorf("pods were started for %s, want %s", got, pods)
		}
		// What was taken over counts as what it is.
		got := strings.Fields(a.mf(p, "status", run))
		want := strings.Fields("start succeeded work succeeded 6 succeeded gather succeeded end succeeded")
		if len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
			t.Errorf("mf status says %v", got)
		}
		return run, w
	}
	t.Run("on Argo", func(t *testing.T) {
		run, w := onArgo(t, "end gather work(0:3)", "--origin", origin)
		check(t, run, "end gather work-3")
		if now := a.template(name); now.GetResourceVersion() != deployed.GetResourceVersion() {
			t.Error("the deployment was changed")
		}
		owners := a.template(strings.TrimPrefix(run, "argo-")).GetOwnerReferences()
		if len(owners) != 1 || owners[0].Name != w.Name || owners[0].UID != w.UID {
			t.Errorf("the run's own template belongs to %v", owners)
		}
		// All splits are finished in that run, and a step behind them is run again.
		again, _ := onArgo(t, "end gather", "gather", "--origin", run, "--env", "EXTRA=1")
		check(t, again, "end gather")
	})
	t.Run("by a retry and a resubmit of Argo's", func(t *testing.T) {
		// Argo starts the same code again, so the mistake is mended where it lies: in the deployment's package.
		a.deploy(p, "flow.py", "--env", "TELL="+h.URL)
		again := a.resubmit(origin)
		if w := a.end(again, 10*time.Minute); w.Status.Phase != wfv1.WorkflowSucceeded {
			t.Fatalf("%s is %s: %s", again, w.Status.Phase, w.Status.Message)
		}
		if got, want := h.steps(again), "end gather start work-0 work-1 work-2 work-3 work-4 work-5"; got != want {
			t.Errorf("a resubmit ran %s, want %s", got, want)
		}
		a.retry(origin)
		if w := a.end(origin, 10*time.Minute); w.Status.Phase != wfv1.WorkflowFailed {
			t.Fatalf("%s is %s: %s", origin, w.Status.Phase, w.Status.Message)
		}
		if got, want := h.steps(origin), "start work-0 work-1 work-2 work-3 work-3 work-4 work-5"; got != want {
			t.Errorf("with the retry it ran %s, want %s", got, want)
		}
	})
}

// TestArgoResumeShapes takes up a run of many shapes of steps twice: it fails in a foreach, then behind a loop. Each time pods
// are started for what is left alone, and Argo's own retry knows such a run as it knows others.
func TestArgoResumeShapes(t *testing.T) {
	a := newArgo(t)
	p := newPlace(t, "testdata/resumed-shapes")
	name := a.deploy(p, "flow.py", "--env", "FAULT=second")
	ended := func(run, pods string, phase wfv1.WorkflowPhase) {
		t.Helper()
		w := a.end(run, 10*time.Minute)
		if got := podNodes(w); w.Status.Phase != phase || got != pods {
			t.Fatalf("%s is %s (%s), and has pods of %s, want %s", run, w.Status.Phase, w.Status.Message, got, pods)
		}
	}
	resumed := func(origin, fault string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "id")
		a.mf(p, "resume", "flow.py", "--origin", origin, "--on", "argo", "--env", "FAULT="+fault, "--run-id-file", file)
		return p.read(file)
	}
	run := a.trigger(p, name)
	ended(run, "fan first first first long second second second start", wfv1.WorkflowFailed)
	run = resumed(run, "last")
	const left = "first fork gather last left meet right round round round second"
	ended(run, left, wfv1.WorkflowFailed)
	a.retry(run)
	ended(run, left, wfv1.WorkflowFailed)
	run = resumed(run, "")
	ended(run, "end last", wfv1.WorkflowSucceeded)
	v := a.read("ShapesFlow", run)
	if end := v.Tasks["end"]; !v.Successful || end["total"].Repr != "60" || end["rounds"].Repr != "3" {
		t.Errorf("to the real client, successful is %v, and end has %v", v.Successful, end)
	}
}

// podNodes are the names of a run's pods, sorted.
func podNodes(w *wfv1.Workflow) string {
	var names []string
	for _, node := range w.Status.Nodes {
		if node.Type == wfv1.NodeTypePod {
			names = append(names, node.DisplayName)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// mend corrects the flow's mistake.
func mend(t *testing.T, p place) {
	t.Helper()
	file := filepath.Join(p.dir, "flow.py")
	mended := strings.Replace(p.read(file), "FIXED = False", "FIXED = True", 1)
	if err := os.WriteFile(file, []byte(mended), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a *argo) template(name string) *unstructured.Unstructured {
	a.t.Helper()
	o, err := a.cluster.Dynamic().Resource(templates).Namespace(a.namespace).Get(a.t.Context(), name, metav1.GetOptions{})
	a.check(err)
	return o
}

// retry does what "argo retry" does: it resets the nodes that failed, and removes their pods.
func (a *argo) retry(run string) {
	a.t.Helper()
	retried, pods := a.again("retry", run)
	for _, pod := range pods {
		err := a.cluster.Client().CoreV1().Pods(a.namespace).Delete(a.t.Context(), pod, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			a.t.Fatal(err)
		}
	}
	_, err := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace).Update(a.t.Context(), retried, metav1.UpdateOptions{})
	a.check(err)
}

// resubmit does what "argo resubmit" does: it starts the same again, and returns the new run's id.
func (a *argo) resubmit(run string) string {
	a.t.Helper()
	again, _ := a.again("resubmit", run)
	made, err := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace).Create(a.t.Context(), again, metav1.CreateOptions{})
	a.check(err)
	return "argo-" + made.GetName()
}

// again has Argo's own code say what starts a run again, and which pods go.
func (a *argo) again(how, run string) (*unstructured.Unstructured, []string) {
	a.t.Helper()
	now, err := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace).
		Get(a.t.Context(), strings.TrimPrefix(run, "argo-"), metav1.GetOptions{})
	a.check(err)
	text, err := now.MarshalJSON()
	a.check(err)
	cmd := exec.Command(mustExist(a.t, repo(a.t, ".cache", "e2e", "bin", "again"), "bring a cluster up anew"), how)
	cmd.Stdin = bytes.NewReader(text)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	a.check(err)
	var made struct {
		Workflow map[string]any
		Pods     []string
	}
	a.check(json.Unmarshal(out, &made))
	o := &unstructured.Unstructured{Object: made.Workflow}
	o.SetAPIVersion(now.GetAPIVersion())
	o.SetKind(now.GetKind())
	return o, made.Pods
}
