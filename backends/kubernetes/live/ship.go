package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

// Listener hears of a Job while it runs. Its methods are not called concurrently for one Job, nor after Run has returned.
type Listener struct {
	// Waits is told, in a line, what keeps the pod from starting, each time that is something else; and once with an empty
	// text when it has started after all.
	Waits func(why string)
	// Line is told of each line that the container prints, without its end.
	Line func(text string)
	// Gap is told that lines may be missing between those told before and the next: the cluster kept no more of the log.
	Gap func()
	// Silent is told why lines cannot be had while the pod runs.
	Silent func(err error)
}

// The times of a shipment.
const (
	// briefPatience is how long a pod is waited for that only somebody's doing can get to start: a secret is missing.
	briefPatience = time.Minute
	// eventsAfter is how long a pod may take to start before it is asked what happens to it.
	eventsAfter = 15 * time.Second
	// logGrace is how long the rest of the log is waited for once the pod has ended.
	logGrace = 5 * time.Second
)

// Run creates a Job and returns when its pod has ended, or cannot start. Nothing of it runs then: the Job is deleted unless
// its pod failed, which is left to be looked at until the cluster deletes it. What else runs in the pod, a container that an
// admission webhook has put there, is not waited for. Cancelling ctx stops the pod, politely until
// Options.Abort, and deletes the Job. An error says that the connection was lost, or a permission is missing; a Job that the
// cluster does not take is an Ending.
func (s *Shipper) Run(ctx context.Context, job *batchv1.Job, hear Listener) (Ending, error) {
	h, err := s.register(job)
	if err != nil {
		return Ending{}, err
	}
	defer s.forget(h)
	r := &voyage{Shipper: s, shipment: h, job: job, hear: hear, lines: make(chan logLine, 64)}
	defer func() {
		if r.log != nil {
			r.log.cancel()
		}
	}()
	refused, err := r.create(ctx)
	if err == nil && refused == "" {
		return r.follow(ctx)
	}
	if r.unanswered { // it may have been made all the same
		if ending, _ := r.stop(); err == nil && ctx.Err() != nil {
			return ending, nil
		}
	}
	return Ending{Why: refused, Exit: -1}, err
}

// voyage is one call of Run.
type voyage struct {
	*Shipper
	*shipment
	job  *batchv1.Job
	hear Listener

	created time.Time
	// unanswered is set where a request that makes the Job had no answer.
	unanswered bool
	log        *podLog
	lines      chan logLine
	// blocked is what the listener was told last, since when something is in the way.
	blocked string
	since   time.Time
}

// stopped is what there is to say of an attempt whose run was stopped.
const stopped = "the run was stopped"

// create makes the Job. refused says why the cluster does not take it.
func (r *voyage) create(ctx context.Context) (refused string, err error) {
	var since time.Time // it does not go through, for a quota or for another reason
	var full bool
	pause := firstPause
	job := r.job.DeepCopy()
	job.Namespace = r.namespace
	for {
		if !r.turn(ctx) {
			return stopped, nil
		}
		// Not under ctx: a request that was cancelled may have made a Job that nobody knows of.
		request, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		_, err := r.batch.Jobs(r.namespace).Create(request, job, metav1.CreateOptions{})
		cancel()
		patience := r.opt.Outage
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			// There already: an attempt of ours whose answer was lost.
			r.created = r.opt.Now()
			return "", nil
		case apierrors.IsConflict(err):
			// Other Jobs were counted against a quota at the same moment.
		case apierrors.IsUnauthorized(err):
			// The credentials are too old: the next request comes with fresh ones, if there are any.
		case overQuota(err):
			patience = r.opt.Patience
			r.waits(noMoreJobs(err))
		case cluster.Unreachable(err): // or too busy
			r.unanswered = true
			r.waits("the Kubernetes API does not answer")
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			return oneLine("the cluster does not take the Job: " + err.Error()), nil
		default:
			explained := r.in(r.namespace).Explain(createJobs, err)
			if errors.Is(explained, live.ErrDenied) || errors.Is(explained, live.ErrNotFound) {
				return "", explained
			}
			return oneLine(explained.Error()), nil
		}
		if since.IsZero() || full != overQuota(err) {
			since, full = r.opt.Now(), overQuota(err)
		}
		if waited := r.opt.Now().Sub(since); patience > 0 && waited >= patience {
			if overQuota(err) {
				return fmt.Sprintf("%s; it was waited for %s", noMoreJobs(err), waited.Round(time.Second)), nil
			}
			return "", fmt.Errorf("waited for %s: %w", waited.Round(time.Second), r.in(r.namespace).Explain(createJobs, err))
		}
		select {
		case <-ctx.Done():
			return stopped, nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// follow waits for the end of the pod.
func (r *voyage) follow(ctx context.Context) (Ending, error) {
	for {
		state, err := r.look()
		if err != nil {
			return Ending{}, err
		}
		now := r.opt.Now()
		v := judge(state, now)
		if v.begun && r.log == nil && state.pod != nil {
			r.log = r.openLog(state.pod)
		}
		switch v.phase {
		case ended:
			v.ending.LogWhole = r.drain()
			return r.conclude(ctx, v), nil
		case running:
			r.waits("")
		case waiting:
			if why, gaveUp := r.obstructed(ctx, state, v, now); gaveUp {
				r.discard(ctx, 0)
				return Ending{Why: why, Exit: -1}, nil
			}
		}
		select {
		case <-r.changed:
		case line := <-r.lines:
			r.print(line)
		case <-r.timer(v, now):
		case <-ctx.Done():
			return r.stop()
		}
	}
}

// timer fires when the Job is to be looked at although nothing has changed.
func (r *voyage) timer(v verdict, now time.Time) <-chan time.Time {
	next := v.check
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if v.phase == waiting {
		sooner(now.Add(eventsAfter))
		if limit := r.limit(v.hope); limit > 0 && !r.since.IsZero() {
			sooner(r.since.Add(limit))
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(max(next.Sub(now), 100*time.Millisecond))
}

// limit is how long something may be in the way; 0 for ever.
func (r *voyage) limit(h hope) time.Duration {
	if h == brief && (r.opt.Patience == 0 || r.opt.Patience > briefPatience) {
		return briefPatience
	}
	return r.opt.Patience
}

// obstructed looks at a pod that has not started. gaveUp says that it is not to be waited for any longer.
func (r *voyage) obstructed(ctx context.Context, state sight, v verdict, now time.Time) (why string, gaveUp bool) {
	blocked := v.blocked
	if blocked == "" {
		blocked = r.ask(ctx, state, now)
	}
	if blocked == "" {
		r.since = time.Time{} // it gets on
		return "", false
	}
	if r.since.IsZero() {
		r.since = now
	}
	r.waits(blocked)
	limit := r.limit(v.hope)
	switch waited := now.Sub(r.since); {
	case v.hope == hopeless:
		return blocked, true
	case limit > 0 && waited >= limit:
		return fmt.Sprintf("%s; it was waited for %s", blocked, waited.Round(time.Second)), true
	}
	return "", false
}

// waits tells the listener what is in the way, once.
func (r *voyage) waits(why string) {
	if why == r.blocked {
		return
	}
	r.blocked = why
	if why == "" {
		r.since = time.Time{}
	}
	if r.hear.Waits != nil {
		r.hear.Waits(why)
	}
}

// ask finds out from the events what keeps a pod that says nothing itself.
func (r *voyage) ask(ctx context.Context, state sight, now time.Time) string {
	if now.Sub(r.created) < eventsAfter {
		return ""
	}
	object := "Job/" + r.name
	if state.pod != nil {
		object = "Pod/" + state.pod.Name
	}
	return r.hint(ctx, r.namespace, object, now)
}

// overQuota reports whether a Job was refused for now, and may be taken when others have ended, or were counted.
func overQuota(err error) bool {
	return apierrors.IsForbidden(err) && containsAny(err.Error(), "exceeded quota", "status unknown for quota")
}

func noMoreJobs(err error) string {
	return oneLine("the cluster takes no more Jobs for now: " + err.Error())
}

// conclude deletes a Job that is done with. One whose pod failed stays, to be looked at, unless the pod would go on.
func (r *voyage) conclude(ctx context.Context, v verdict) Ending {
	switch {
	case v.lingers:
		r.discard(ctx, -1)
	case v.ending.Exit == 0:
		ctx = context.WithoutCancel(ctx)
		r.turn(ctx)
		// What cannot be deleted now, the cluster deletes when its time is up.
		_ = r.delete(ctx, metav1.DeletePropagationBackground)
	}
	return v.ending
}
