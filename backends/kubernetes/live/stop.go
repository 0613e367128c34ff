package live

import (
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/backends/live/cluster"
)

// The times of a stop.
const (
	// stopSlack is how much longer than its own grace a pod that is stopped may take to be gone, and what deletes it to be
	// answered.
	stopSlack = 15 * time.Second
	// abortWait is how long pods that are ended at once are waited for.
	abortWait = 2 * time.Second
	// abortTries is for how long it is tried to end them.
	abortTries = 10 * time.Second
)

// stop deletes the Job, and waits until its pod has ended.
func (r *voyage) stop() (Ending, error) {
	wait := stopSlack
	if seconds := r.job.Spec.Template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		wait += time.Duration(*seconds) * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	polite, hasten := context.WithCancel(ctx)
	defer hasten()
	removed := r.removal(polite, -1, wait)
	var timeout <-chan time.Time
	abort := r.opt.Abort
	for {
		state, err := r.look()
		if err != nil && removed == nil {
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
		case err := <-removed:
			if removed = nil; err != nil {
				r.undeleted(err)
				return Ending{Why: stopped, Exit: -1, LogWhole: r.drain()}, nil
			}
			timeout = time.After(wait)
		case <-abort:
			hasten()
			removed, timeout = r.removal(ctx, 0, abortTries), nil
			abort, wait = nil, abortWait
		case <-timeout:
			return Ending{Why: stopped + ", and the pod did not end in time", Exit: -1}, nil
		}
	}
}

// removal does what remove does meanwhile.
func (r *voyage) removal(ctx context.Context, grace int64, patience time.Duration) <-chan error {
	done := make(chan error, 1)
	r.done.Go(func() { done <- r.remove(ctx, grace, patience) })
	return done
}

// remove deletes the Job and its pod: with the pod's own grace where it is negative. It tries again for as long as patience
// says. The error says that there is no such Job as well.
func (r *voyage) remove(ctx context.Context, grace int64, patience time.Duration) error {
	var since time.Time // it is tried
	pause := firstPause
	for {
		if !r.turn(ctx) {
			return ctx.Err()
		}
		if since.IsZero() {
			since = r.opt.Now()
		}
		// The Job goes last: while it is there, something of it may still run.
		err := r.delete(ctx, metav1.DeletePropagationForeground)
		if err == nil {
			r.hurry(ctx, grace)
			return nil
		}
		if !passing(err) || r.opt.Now().Sub(since) >= patience {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// passing reports whether the same request may go through soon.
func passing(err error) bool {
	return cluster.Unreachable(err) || apierrors.IsConflict(err) || apierrors.IsUnauthorized(err)
}

// hurry leaves the pod of a Job that is being deleted no more time than grace says.
func (r *voyage) hurry(ctx context.Context, grace int64) {
	if state, _ := r.look(); grace >= 0 && state.pod != nil && !state.podGone && r.turn(ctx) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		// Not every account may: the Job's deletion then takes the pod's own time.
		_ = r.core.Pods(r.namespace).Delete(ctx, state.pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
	}
}

// discard deletes the Job of a pod that would go on although nobody waits for it: in an outage for as long as one is borne,
// but for no longer than a stop takes once the run is stopped.
func (r *voyage) discard(ctx context.Context, grace int64) {
	err := r.remove(ctx, grace, r.opt.Outage)
	if err != nil && ctx.Err() != nil {
		err = r.remove(context.WithoutCancel(ctx), grace, stopSlack)
	}
	r.undeleted(err)
}

// undeleted tells of a Job that could not be deleted.
func (r *voyage) undeleted(err error) {
	if err != nil && !apierrors.IsNotFound(err) {
		r.opt.Notify("the Job " + r.name + " could not be deleted: " + oneLine(r.in(r.namespace).Explain(deleteJobs, err).Error()))
	}
}

func (r *voyage) delete(ctx context.Context, how metav1.DeletionPropagation) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return r.batch.Jobs(r.namespace).Delete(ctx, r.name, metav1.DeleteOptions{PropagationPolicy: &how})
}

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
