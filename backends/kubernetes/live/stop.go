package live

import (
	"context"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stop deletes the Job, and waits until its pod has ended.
func (r *voyage) stop() (Ending, error) {
	grace := time.Duration(0)
	if seconds := r.job.Spec.Template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	r.remove(-1)
	timeout := time.After(grace + stopSlack)
	abort := r.opt.Abort
	for {
		state, err := r.look()
		if err != nil {
			return Ending{}, err
		}
		v := judge(state, r.opt.Now())
		if v.begun && r.log == nil && state.pod != nil {
			r.log = r.openLog(state.pod)
		}
		// A Job that was deleted before its pod was made is gone with no pod.
		if v.phase == ended && (state.jobGone || state.podGone) {
			return Ending{Why: stopped, Exit: v.ending.Exit, LogWhole: r.drain()}, nil
		}
		select {
		case <-r.changed:
		case line := <-r.lines:
			r.print(line)
		case <-abort:
			abort = nil
			r.remove(0)
			timeout = time.After(abortWait)
		case <-timeout:
			return Ending{Why: stopped + ", and the pod did not end in time", Exit: -1}, nil
		}
	}
}

// abortWait is how long pods that are ended at once are waited for.
const abortWait = 2 * time.Second

// remove deletes the Job and its pod: with the pod's own grace where it is negative.
func (r *voyage) remove(grace int64) {
	_ = r.limiter.Wait(context.Background()) // cannot fail
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	// The Job goes last: while it is there, something of it may still run.
	if err := r.delete(ctx, metav1.DeletePropagationForeground); err != nil {
		r.opt.Notify("the Job " + r.name + " could not be deleted: " + oneLine(r.in(r.namespace).Explain(deleteJobs, err).Error()))
		return
	}
	if grace < 0 {
		return
	}
	if state, _ := r.look(); state.pod != nil && !state.podGone {
		// Not every account may: the Job's deletion then takes the pod's own time.
		_ = r.core.Pods(r.namespace).Delete(ctx, state.pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
	}
}

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
