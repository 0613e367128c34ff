package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mf-run/mf/backends/kubernetes"
)

// Ending is how the pod of a Job ended.
type Ending struct {
	// Why says in a line why the pod never started, or was ended from outside. Empty where its process ended by itself.
	Why string
	// Exit is the exit code of its process; -1 where there is none.
	Exit int
	// Said is the end of what the container printed, where its process failed.
	Said string
	// LogWhole is set where the listener was told all lines of the container.
	LogWhole bool
}

// phase is how a Job stands.
type phase int

const (
	waiting phase = iota
	running
	ended
)

// hope is how long a pod that is kept from starting is waited for.
type hope int

const (
	patient  hope = iota // Options.Patience
	brief                // briefPatience: somebody must mend it, and may be about to
	hopeless             // not at all
)

// verdict is what can be said of a Job at a moment.
type verdict struct {
	phase phase
	// blocked says what keeps the pod from starting; empty for nothing that is known.
	blocked string
	hope    hope
	// begun reports whether the container has started, so that there is a log.
	begun bool
	// ending is set once phase is ended. lingers is set then where the pod goes on all the same, for a container that
	// somebody has put beside the step's, or is made anew, as its Job was suspended.
	ending  Ending
	lingers bool
	// check is when to judge again though nothing has changed; zero for never.
	check time.Time
}

// The graces of judge.
const (
	// strayGrace is how long a pod is waited for whose Job has failed: the two are told of separately.
	strayGrace = 5 * time.Second
	// nodeGrace is how much later than it was to be gone a pod that is being deleted counts as gone: its node does not
	// answer.
	nodeGrace = 30 * time.Second
	// settleGrace is how long the pod of a step that failed is waited for once the step's container has ended and others
	// go on: why it ended is said of the pod as a whole.
	settleGrace = 5 * time.Second
)

// judge says how a Job stands.
func judge(v sight, now time.Time) verdict {
	if v.pod == nil {
		return withoutPod(v, now)
	}
	p := v.pod
	d := verdict{phase: waiting}
	if c := status(p.Status.ContainerStatuses, kubernetes.ContainerName); c != nil {
		d.begun = c.State.Running != nil || c.State.Terminated != nil
	}
	switch {
	case p.Status.Phase == corev1.PodSucceeded, p.Status.Phase == corev1.PodFailed, v.podGone:
		d.phase, d.ending = ended, endingOf(p, v.podGone)
		d.lingers = suspended(v.job) && !v.jobGone
	case taskEnd(p) != nil && besides(p):
		d.phase, d.lingers = running, true
		d.ending = endingOf(p, false)
		if settled := v.taskOver.Add(settleGrace); d.ending.Exit != 0 && now.Before(settled) {
			d.check = settled
		} else {
			d.phase = ended
		}
	case p.DeletionTimestamp != nil:
		gone := p.DeletionTimestamp.Add(nodeGrace)
		if d.check = gone; !now.Before(gone) {
			d.phase, d.ending = ended, Ending{Why: "the pod was to be deleted, but its node does not answer", Exit: -1}
		}
	case d.begun:
		d.phase = running
	default:
		d.blocked, d.hope = obstacle(p)
	}
	return d
}

func withoutPod(v sight, now time.Time) verdict {
	switch {
	case v.jobGone:
		return verdict{phase: ended, ending: Ending{Why: "the Job was deleted", Exit: -1}}
	case v.job == nil:
		return verdict{phase: waiting}
	}
	for _, c := range v.job.Status.Conditions {
		if c.Type != batchv1.JobFailed || c.Status != corev1.ConditionTrue {
			continue
		}
		late := c.LastTransitionTime.Add(strayGrace)
		if now.Before(late) {
			return verdict{phase: waiting, check: late}
		}
		return verdict{phase: ended, ending: Ending{Why: "the Job failed without a pod: " + sentence(c.Message, c.Reason), Exit: -1}}
	}
	if suspended(v.job) {
		return verdict{phase: waiting, blocked: "the Job is suspended: a queue of the cluster's, or somebody, holds it back"}
	}
	return verdict{phase: waiting}
}

// suspended reports whether a Job is to have no pod for now.
func suspended(j *batchv1.Job) bool { return j != nil && j.Spec.Suspend != nil && *j.Spec.Suspend }

func status(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// taskEnd is how the step's container ended; nil while it has not.
func taskEnd(p *corev1.Pod) *corev1.ContainerStateTerminated {
	if c := status(p.Status.ContainerStatuses, kubernetes.ContainerName); c != nil {
		return c.State.Terminated
	}
	return nil
}

// besides reports whether a container other than the step's has not ended. Those of Kubernetes' own sidecars, which are
// init containers, end by themselves with the others.
func besides(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name != kubernetes.ContainerName && c.State.Terminated == nil
	})
}

// endingOf says how a pod ended that runs no more.
func endingOf(p *corev1.Pod, gone bool) Ending {
	done := taskEnd(p)
	e := Ending{Exit: -1}
	if done != nil {
		e.Exit, e.Said = int(done.ExitCode), done.Message
		if done.ExitCode == 0 {
			return Ending{}
		}
	}
	if e.Why = disruption(p); e.Why != "" {
		return e
	}
	switch {
	case done != nil && done.Reason == "OOMKilled":
		e.Why = "the container ran out of memory" + memoryLimit(p)
	case done != nil && (done.Reason == "StartError" || done.Reason == "ContainerCannotRun"):
		e.Why = "the container could not start: " + oneLine(done.Message)
	case done != nil && done.Reason == "ContainerStatusUnknown":
		e.Why = "the node lost track of the container"
	case p.DeletionTimestamp != nil || gone:
		e.Why = "the pod was deleted"
	case done == nil:
		e.Why = installation(p)
	}
	return e
}

// disruption says what ended a pod from outside; empty for nothing of the kind.
func disruption(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionTrue {
			continue
		}
		what := "was evicted"
		switch c.Reason {
		case corev1.PodReasonPreemptionByScheduler:
			what = "was preempted"
		case "DeletionByPodGC":
			what = "lost its node"
		}
		return "the pod " + what + ": " + sentence(c.Message, p.Status.Message, c.Reason)
	}
	switch p.Status.Reason {
	case "":
		return ""
	case "Evicted":
		return "the pod was evicted: " + sentence(p.Status.Message, "no reason was given")
	case "DeadlineExceeded":
		limit := ""
		if p.Spec.ActiveDeadlineSeconds != nil {
			limit = " of " + (time.Duration(*p.Spec.ActiveDeadlineSeconds) * time.Second).String()
		}
		return "the pod outlived its deadline" + limit + ", which is the step's timeout and the time that a pod may take to start"
	}
	return "the pod was ended by its node: " + sentence(p.Status.Message, p.Status.Reason)
}

// memoryLimit names the bound that the container ran into, if it has one.
func memoryLimit(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && c.Name == kubernetes.ContainerName {
			return fmt.Sprintf(" (its limit is %s)", limit.String())
		}
	}
	return ""
}

// installation says why a pod failed whose step's container never ran.
func installation(p *corev1.Pod) string {
	for _, c := range p.Status.InitContainerStatuses {
		if done := c.State.Terminated; done != nil && done.ExitCode != 0 {
			return fmt.Sprintf("mf-task could not be brought into the pod (exit code %d): %s", done.ExitCode,
				sentence(done.Message, done.Reason))
		}
	}
	return "the pod failed before the step's container started: " + sentence(p.Status.Message, "no reason was given")
}

// obstacle says what keeps a pod from starting; empty for nothing that is known.
func obstacle(p *corev1.Pod) (text string, h hope) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "the pod cannot be scheduled: " + sentence(c.Message, c.Reason), patient
		}
	}
	for _, c := range p.Status.InitContainerStatuses {
		if w := c.State.Waiting; w != nil {
			if text, h := stuck(w, c.Image); text != "" {
				return text + "; it is the image that carries mf-task, and the setting task-image names another", h
			}
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			if text, h := stuck(w, c.Image); text != "" {
				return text, h
			}
		}
	}
	return "", patient
}

// stuck reads the kubelet's word on a container that waits.
func stuck(w *corev1.ContainerStateWaiting, image string) (string, hope) {
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return "", patient
	case "InvalidImageName":
		return fmt.Sprintf("the image %s cannot be pulled: that is no valid name of an image", image), hopeless
	case "ErrImageNeverPull":
		return fmt.Sprintf("the image %s is not on the node, and its pull policy is Never", image), hopeless
	case "ErrImagePull", "ImagePullBackOff":
		text := fmt.Sprintf("the image %s cannot be pulled: %s", image, pullError(w.Message))
		if w.Reason == "ImagePullBackOff" && permanent(w.Message) {
			return text, hopeless // tried twice
		}
		return text, patient
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return "the container cannot be created: " + sentence(w.Message, w.Reason), brief
	}
	return fmt.Sprintf("the container waits (%s): %s", w.Reason, sentence(w.Message, "no reason was given")), patient
}

// pullError is the last and most telling part of what the container runtime says of an image.
func pullError(message string) string {
	message = oneLine(message)
	if _, why, ok := strings.Cut(message, "ErrImagePull: "); ok {
		message = why // behind "Back-off pulling image …: "
	}
	if i := strings.Index(message, "desc = "); i >= 0 {
		message = message[i+len("desc = "):]
	}
	return sentence(message, "no reason was given")
}

// permanent reports whether an image cannot be pulled for a reason that waiting does not mend.
func permanent(message string) bool {
	message = strings.ToLower(message)
	for _, sign := range []string{"not found", "manifest unknown", "does not exist", "unauthorized", "authorization failed",
		"access denied", "authentication required", "403 forbidden", "no match for platform", "invalid reference"} {
		if strings.Contains(message, sign) {
			return true
		}
	}
	return false
}

// sentence is the first of the texts that is not empty, as one line.
func sentence(texts ...string) string {
	for _, text := range texts {
		if text = oneLine(text); text != "" {
			return text
		}
	}
	return ""
}

// maxText bounds what is repeated of a message of the cluster's.
const maxText = 500

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText-1]) + "…"
	}
	return strings.TrimSuffix(text, ".")
}
