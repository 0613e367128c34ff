//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sumOfSquares is what WideFlow's run ends with.
func sumOfSquares(width int) string {
	sum := 0
	for i := range width {
		sum += i * i
	}
	return strconv.Itoa(sum)
}

// expectSum reads a run of WideFlow with the real client.
func (a *argo) expectSum(run string, width int) {
	a.t.Helper()
	v := a.read("WideFlow", run)
	if got, want := v.Tasks["end"]["sum"].Repr, sumOfSquares(width); !v.Successful || got != want {
		a.t.Errorf("successful %v, sum %s, want %s", v.Successful, got, want)
	}
	if got := len(v.Tasks); got != width+3 {
		a.t.Errorf("%d tasks, want %d", got, width+3)
	}
}

// running returns the pods of a step that are running its code: those whose task has printed something.
func (a *argo) running(run, step string) (names []string) {
	a.t.Helper()
	pods, err := a.cluster.Client().CoreV1().Pods(a.namespace).List(a.t.Context(), metav1.ListOptions{
		LabelSelector: "workflows.argoproj.io/workflow=" + strings.TrimPrefix(run, "argo-") + ",mf.run/step=" + step})
	a.check(err)
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil || !mainRuns(&pod) {
			continue
		}
		log, err := a.cluster.Client().CoreV1().Pods(a.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "main"}).DoRaw(a.t.Context())
		if err == nil && strings.Contains(string(log), "begins") {
			names = append(names, pod.Name)
		}
	}
	return names
}

// mainRuns reports whether the step's own container runs: Argo's goes on a while after it.
func mainRuns(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == "main" {
			return c.State.Running != nil
		}
	}
	return false
}

// awaitRunning waits for a pod that runs a step's code.
func (a *argo) awaitRunning(run, step string) string {
	a.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if names := a.running(run, step); len(names) > 0 {
			return names[0]
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: no pod runs step %s", run, step)
		}
	}
}

func (a *argo) succeeds(run string, limit time.Duration) *wfv1.Workflow {
	a.t.Helper()
	began := time.Now()
	w := a.end(run, limit)
	if w.Status.Phase != wfv1.WorkflowSucceeded {
		a.t.Fatalf("%s is %s: %s", run, w.Status.Phase, w.Status.Message)
	}
	a.t.Logf("%s succeeded %s later, with %d nodes", run, time.Since(began).Round(time.Second), len(w.Status.Nodes))
	return w
}

// attempts says how often the tasks of a step were tried, by split.
func (a *argo) attempts(flow, run, step string) (all []int) {
	a.t.Helper()
	for place, task := range a.left(flow, run).Tasks {
		if name, _, _ := strings.Cut(place, "["); name == step {
			all = append(all, task.Attempt+1)
		}
	}
	slices.Sort(all)
	return all
}

// TestArgoLosesPods takes the pods of tasks away while they run: once by deletion and once by eviction. They are tried
// again, as @retry says.
func TestArgoLosesPods(t *testing.T) {
	site := newArgo(t)
	p := newPlace(t, "testdata/wide.py")
	name := site.deploy(p, "wide.py")
	pods := site.cluster.Client().CoreV1().Pods(site.namespace)
	for how, take := range map[string]func(ctx context.Context, pod string) error{
		"deleted": func(ctx context.Context, pod string) error {
			return pods.Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		},
		"evicted": func(ctx context.Context, pod string) error {
			return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: site.namespace}})
		},
	} {
		t.Run(how, func(t *testing.T) {
			a := site.in(t)
			run := a.trigger(p, name, "--width", "3", "--seconds", "8")
			a.check(take(t.Context(), a.awaitRunning(run, "square")))
			a.succeeds(run, 4*time.Minute)
			a.expectSum(run, 3)
			if got := a.attempts("WideFlow", run, "square"); fmt.Sprint(got) != "[1 1 2]" {
				t.Errorf("attempts %v, want one task to have been tried twice", got)
			}
		})
	}
}

// TestArgoLosesItsController kills the controller while a run is going, and starts it again later.
func TestArgoLosesItsController(t *testing.T) {
	a := newArgo(t)
	p := newPlace(t, "testdata/wide.py")
	run := a.trigger(p, a.deploy(p, "wide.py"), "--width", "6", "--seconds", "3")
	a.awaitRunning(run, "square")
	a.check(a.cluster.KillController(t.Context()))
	t.Cleanup(func() { _ = a.cluster.StartController(context.Background()) })
	time.Sleep(6 * time.Second) // tasks end, and nobody sees it
	a.check(a.cluster.StartController(t.Context()))
	a.succeeds(run, 4*time.Minute)
	a.expectSum(run, 6)
	if got := a.attempts("WideFlow", run, "square"); fmt.Sprint(got) != "[1 1 1 1 1 1]" {
		t.Errorf("attempts %v, want one each", got)
	}
}

// TestArgoCannotStart has flows whose pods cannot start: mf status says why, and a stopped run can be taken up.
func TestArgoCannotStart(t *testing.T) {
	site := newArgo(t)
	for _, c := range []struct {
		name, setting, says string
	}{
		{"image", "MF_IMAGE=localhost/missing:e2e", "localhost/missing:e2e"},
		{"secret", "MF_ARGO_SECRETS=" + argoSecret + ",not-there", "not-there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := site.in(t)
			a.settings = append(slices.Clone(a.settings), c.setting)
			p := newPlace(t, repo(t, "testdata", "flows", "linear"))
			name := a.deploy(p, "flow.py", "--name", "linear-"+c.name)
			run := a.trigger(p, name)
			var status string
			for deadline := time.Now().Add(time.Minute); !strings.Contains(status, c.says); time.Sleep(500 * time.Millisecond) {
				if status = a.mf(p, "status", run); time.Now().After(deadline) {
					t.Fatalf("mf status says nothing of %s:\n%s", c.says, status)
				}
			}
			t.Logf("%s", status)
			a.mf(p, "stop", run)
			if w := a.end(run, time.Minute); w.Status.Phase == wfv1.WorkflowSucceeded {
				t.Errorf("the stopped run is %s", w.Status.Phase)
			}
		})
	}
}

// TestArgoEvictedForGood loses the pod of a step that is not tried again: the run fails and says why, and mf takes it up
// here.
func TestArgoEvictedForGood(t *testing.T) {
	a := newArgo(t)
	p := newPlace(t, "testdata/wide.py")
	flow := strings.Replace(p.read(filepath.Join(p.dir, "wide.py")), "times=3", "times=0", 1)
	a.check(os.WriteFile(filepath.Join(p.dir, "wide.py"), []byte(flow), 0o644))
	run := a.trigger(p, a.deploy(p, "wide.py"), "--width", "3", "--seconds", "40")
	pod := a.awaitRunning(run, "square")
	// A pod that goes away within ten seconds, or before Argo has seen it run, is made again, whatever the step's retries.
	a.until(run, time.Minute, "Argo sees the tasks run for a while", func(w *wfv1.Workflow) bool {
		for _, node := range w.Status.Nodes {
			if node.TemplateName == "square" && node.Type == wfv1.NodeTypePod &&
				(node.Phase != wfv1.NodeRunning || time.Since(node.StartedAt.Time) < 12*time.Second) {
				return false
			}
		}
		return true
	})
	a.check(a.cluster.Client().CoreV1().Pods(a.namespace).Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
	if w := a.end(run, 5*time.Minute); w.Status.Phase == wfv1.WorkflowSucceeded {
		t.Fatal("the run succeeded without one of its pods")
	}
	if status := a.mf(p, "status", run); !strings.Contains(status, "pod deleted") {
		t.Errorf("mf status does not say why:\n%s", status)
	}
	t.Log(a.mf(p, "show", "WideFlow/"+run))
	file := filepath.Join(t.TempDir(), "run-id")
	a.mf(p, "resume", "wide.py", "--origin", run, "--run-id-file", file)
	a.expectSum(p.read(file), 3)
}

var wideFlag = flag.Int("wide", 1000, "splits of the widest foreach that is run on Argo")

// TestArgoWide runs a foreach of 200 splits, a pod each, and one of 1,000, fifty to a pod. Pods are deleted and the
// controller is killed while they run; nothing is lost, and nothing that had succeeded is run again.
func TestArgoWide(t *testing.T) {
	plain := 200
	if *partFlag != "" && !strings.HasPrefix(*partFlag, "0/") {
		plain = 50 // the whole in one of the parts: it takes minutes
	}
	for _, c := range []struct {
		name  string
		width int
		args  []string
	}{
		{"fifty to a pod", *wideFlag, []string{"--pack", "50"}},
		{"one to a pod", plain, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newArgo(t)
			p := newPlace(t, "testdata/wide.py")
			run := a.trigger(p, a.deploy(p, "wide.py", c.args...), "--width", strconv.Itoa(c.width), "--seconds", "0.2")
			began := time.Now()
			for i := range 3 {
				pod := a.awaitRunning(run, "square")
				a.check(a.cluster.Client().CoreV1().Pods(a.namespace).Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
				if i == 1 {
					a.check(a.cluster.RestartController(t.Context()))
				}
				time.Sleep(time.Duration(2+rand.IntN(3)) * time.Second)
			}
			w := a.succeeds(run, 15*time.Minute+time.Duration(c.width)*100*time.Millisecond)
			if got := len(a.attempts("WideFlow", run, "square")); got != c.width {
				t.Errorf("%d tasks of square, want %d", got, c.width)
			}
			if got := a.mf(p, "dump", "WideFlow/"+run+"/end/t/sum"); !strings.Contains(got, sumOfSquares(c.width)) {
				t.Errorf("the sum is %s, want %s", got, sumOfSquares(c.width))
			}
			object, err := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace).Get(t.Context(), w.Name, metav1.GetOptions{})
			a.check(err)
			data, err := object.MarshalJSON()
			a.check(err)
			t.Logf("%d splits in %s; the Workflow has %d nodes and %d KiB", c.width, time.Since(began).Round(time.Second),
				len(w.Status.Nodes), len(data)>>10)
		})
	}
}
