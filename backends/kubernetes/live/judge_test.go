package live

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/backends/kubernetes"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// podOf makes a pod in a phase, changed by what follows.
func podOf(phase corev1.PodPhase, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Status: corev1.PodStatus{Phase: phase}}
	for _, c := range change {
		c(p)
	}
	return p
}

func waits(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: kubernetes.ContainerName, Image: "acme/train:1",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
}

func initWaits(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "mf-task", Image: "acme/mf-task:1",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
}

func ends(code int32, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: kubernetes.ContainerName,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}}}
	}
}

func runs(p *corev1.Pod) {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: kubernetes.ContainerName,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
}

// sidecar adds a container that runs on.
func sidecar(p *corev1.Pod) {
	p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: "istio-proxy",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
}

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message})
	}
}

func reason(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Reason, p.Status.Message = reason, message }
}

func deleted(ago time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now.Add(-ago)} }
}

func limited(p *corev1.Pod) {
	p.Spec.Containers = []corev1.Container{{Name: kubernetes.ContainerName, Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4G")}}}}
}

func failedJob(ago time.Duration) *batchv1.Job {
	return &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed,
		Status: corev1.ConditionTrue, Reason: "DeadlineExceeded", Message: "Job was active longer than specified deadline",
		LastTransitionTime: metav1.Time{Time: now.Add(-ago)}}}}}
}

func suspendedJob() *batchv1.Job {
	yes := true
	return &batchv1.Job{Spec: batchv1.JobSpec{Suspend: &yes}}
}

func TestJudge(t *testing.T) {
	const unschedulable = "0/3 nodes are available: 3 Insufficient cpu."
	const missing = `Back-off pulling image "acme/train:1": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image: not found`
	const down = `rpc error: code = Unknown desc = failed to do request: dial tcp: i/o timeout`
	for name, test := range map[string]struct {
		state sight
		want  string
	}{
		"nothing":      {sight{}, "waiting"},
		"a Job alone":  {sight{job: &batchv1.Job{}}, "waiting"},
		"Job is gone":  {sight{job: &batchv1.Job{}, jobGone: true}, "ended -1: the Job was deleted"},
		"no pod yet":   {sight{job: failedJob(time.Second)}, "waiting, again in 4s"},
		"no pod ever":  {sight{job: failedJob(time.Minute)}, "ended -1: the Job failed without a pod: Job was active longer than specified deadline"},
		"starts":       {sight{pod: podOf(corev1.PodPending, waits("ContainerCreating", ""))}, "waiting"},
		"full cluster": {sight{pod: podOf(corev1.PodPending, condition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", unschedulable))}, "waiting: the pod cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu"},
		"first pull":   {sight{pod: podOf(corev1.PodPending, waits("ErrImagePull", "x desc = not found"))}, "waiting: the image acme/train:1 cannot be pulled: not found"},
		"no image":     {sight{pod: podOf(corev1.PodPending, waits("ImagePullBackOff", missing))}, "waiting, no hope: the image acme/train:1 cannot be pulled: failed to pull and unpack image: not found"},
		"no registry":  {sight{pod: podOf(corev1.PodPending, waits("ImagePullBackOff", down))}, "waiting: the image acme/train:1 cannot be pulled: failed to do request: dial tcp: i/o timeout"},
		"bad name":     {sight{pod: podOf(corev1.PodPending, waits("InvalidImageName", "x"))}, "waiting, no hope: the image acme/train:1 cannot be pulled: that is no valid name of an image"},
		"task image":   {sight{pod: podOf(corev1.PodPending, initWaits("ErrImageNeverPull", "x"), waits("PodInitializing", ""))}, "waiting, no hope: the image acme/mf-task:1 is not on the node, and its pull policy is Never; it is the image that carries mf-task, and the setting task-image names another"},
		"no secret":    {sight{pod: podOf(corev1.PodPending, waits("CreateContainerConfigError", `secret "s" not found`))}, `waiting, briefly: the container cannot be created: secret "s" not found`},
		"new reason":   {sight{pod: podOf(corev1.PodPending, waits("Resizing", ""))}, "waiting: the container waits (Resizing): no reason was given"},
		"runs":         {sight{pod: podOf(corev1.PodRunning, runs)}, "running"},
		"done":         {sight{pod: podOf(corev1.PodSucceeded, ends(0, "Completed", ""))}, "ended 0"},
		"fails":        {sight{pod: podOf(corev1.PodFailed, ends(1, "Error", "words"))}, "ended 1 (words)"},
		"sidecar":      {sight{pod: podOf(corev1.PodRunning, ends(0, "Completed", ""), sidecar), taskOver: now}, "ended 0, goes on"},
		"phase later":  {sight{pod: podOf(corev1.PodRunning, ends(3, "Error", "")), taskOver: now.Add(-time.Minute)}, "running"},
		"settles":      {sight{pod: podOf(corev1.PodRunning, ends(3, "Error", ""), sidecar), taskOver: now.Add(-time.Second)}, "running, again in 4s"},
		"with sidecar": {sight{pod: podOf(corev1.PodRunning, ends(3, "Error", "x"), sidecar), taskOver: now.Add(-6 * time.Second)}, "ended 3 (x), goes on"},
		"suspended":    {sight{job: suspendedJob()}, "waiting: the Job is suspended: a queue of the cluster's, or somebody, holds it back"},
		"suspended on": {sight{job: suspendedJob(), pod: podOf(corev1.PodRunning, runs), podGone: true}, "ended -1, goes on: the pod was deleted"},
		"memory":       {sight{pod: podOf(corev1.PodFailed, ends(137, "OOMKilled", ""), limited)}, "ended 137: the container ran out of memory (its limit is 4G)"},
		"no program":   {sight{pod: podOf(corev1.PodFailed, ends(128, "StartError", "exec: no such file"))}, "ended 128 (exec: no such file): the container could not start: exec: no such file"},
		"evicted":      {sight{pod: podOf(corev1.PodFailed, reason("Evicted", "The node was low on resource: memory."))}, "ended -1: the pod was evicted: The node was low on resource: memory"},
		"too late":     {sight{pod: podOf(corev1.PodFailed, reason("DeadlineExceeded", "x"))}, "ended -1: the pod outlived its deadline, which is the step's timeout and the time that a pod may take to start"},
		"node":         {sight{pod: podOf(corev1.PodFailed, reason("NodeShutdown", "Pod was rejected as the node is shutting down."))}, "ended -1: the pod was ended by its node: Pod was rejected as the node is shutting down"},
		"preempted":    {sight{pod: podOf(corev1.PodFailed, ends(143, "Error", ""), condition(corev1.DisruptionTarget, corev1.ConditionTrue, "PreemptionByScheduler", "for a more important one"))}, "ended 143: the pod was preempted: for a more important one"},
		"deleted":      {sight{pod: podOf(corev1.PodFailed, ends(143, "Error", ""), deleted(0)), podGone: true}, "ended 143: the pod was deleted"},
		"vanished":     {sight{pod: podOf(corev1.PodRunning, runs), podGone: true}, "ended -1: the pod was deleted"},
		"gone, done":   {sight{pod: podOf(corev1.PodSucceeded, ends(0, "Completed", ""), deleted(0)), podGone: true}, "ended 0"},
		"is deleted":   {sight{pod: podOf(corev1.PodRunning, runs, deleted(10*time.Second))}, "waiting, again in 20s"},
		"lost node":    {sight{pod: podOf(corev1.PodRunning, runs, deleted(time.Minute))}, "ended -1: the pod was to be deleted, but its node does not answer"},
		"installation": {sight{pod: podOf(corev1.PodFailed, func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "mf-task", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "installing mf-task: read-only file system\n"}}}}
		})}, "ended -1: mf-task could not be brought into the pod (exit code 1): installing mf-task: read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := words(judge(test.state, now)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// words is a verdict in a line.
func words(v verdict) string {
	text := [...]string{"waiting", "running", "ended"}[v.phase]
	if v.phase == ended {
		text += fmt.Sprintf(" %d", v.ending.Exit)
		if v.ending.Said != "" {
			text += " (" + v.ending.Said + ")"
		}
	}
	text += [...]string{"", ", briefly", ", no hope"}[v.hope]
	if v.lingers && v.phase == ended {
		text += ", goes on"
	}
	if !v.check.IsZero() && v.phase != ended {
		text += ", again in " + v.check.Sub(now).String()
	}
	if why := v.blocked + v.ending.Why; why != "" {
		text += ": " + why
	}
	return text
}

func TestTextsAreBounded(t *testing.T) {
	text, _ := stuck(&corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: strings.Repeat("é \n", 5000)}, "x")
	if n := len([]rune(text)); n > 600 || strings.Contains(text, "\n") {
		t.Errorf("%d characters: %s", n, text)
	}
}
