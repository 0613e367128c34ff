package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

// watch starts to follow the Jobs and pods of the session in a namespace: one request each, however many there are.
func (s *Shipper) watch(namespace string) {
	jobs, pods := s.batch.Jobs(namespace), s.core.Pods(namespace)
	s.done.Go(func() {
		follow(s, namespace, source[*batchv1.Job]{
			list: func(ctx context.Context, opt metav1.ListOptions) ([]*batchv1.Job, string, error) {
				l, err := jobs.List(ctx, opt)
				if err != nil {
					return nil, "", err
				}
				return pointers(l.Items), l.ResourceVersion, nil
			},
			watch: jobs.Watch, listing: listJobs, watching: watchJobs,
			jobOf: func(j *batchv1.Job) string { return j.Name },
			note:  func(v *sight, j *batchv1.Job, gone bool) { v.job, v.jobGone = j, gone },
			known: func(v sight) bool { return v.job != nil && !v.jobGone },
			lost:  func(v *sight) { v.jobGone = true },
		})
	})
	s.done.Go(func() {
		follow(s, namespace, source[*corev1.Pod]{
			list: func(ctx context.Context, opt metav1.ListOptions) ([]*corev1.Pod, string, error) {
				l, err := pods.List(ctx, opt)
				if err != nil {
					return nil, "", err
				}
				return pointers(l.Items), l.ResourceVersion, nil
			},
			watch: pods.Watch, listing: listPods, watching: watchPods,
			jobOf: func(p *corev1.Pod) string { return p.Labels[batchv1.JobNameLabel] },
			note:  func(v *sight, p *corev1.Pod, gone bool) { v.notePod(p, gone, s.opt.Now()) },
			known: func(v sight) bool { return v.pod != nil && !v.podGone },
			lost:  func(v *sight) { v.podGone = true },
		})
	})
}

func pointers[T any](items []T) []*T {
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}

// source is one kind of object.
type source[T metav1.Object] struct {
	list              func(context.Context, metav1.ListOptions) ([]T, string, error)
	watch             func(context.Context, metav1.ListOptions) (watch.Interface, error)
	listing, watching cluster.Request
	// jobOf is the name of the Job that the object is or belongs to. note writes down what was seen of it, known reports
	// whether it was seen, lost says that it is there no more.
	jobOf func(T) string
	note  func(v *sight, object T, gone bool)
	known func(sight) bool
	lost  func(*sight)
}

// The pauses between attempts to reach the API server.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
	// noteAfter is how long it must have been away before somebody is told.
	noteAfter = 5 * time.Second
)

// follow lists and watches, again and again, until the Shipper is closed or there is no hope.
func follow[T metav1.Object](s *Shipper, namespace string, src source[T]) {
	var away time.Time // since when the server does not answer
	told, pause := false, firstPause
	for s.ctx.Err() == nil {
		request, err := once(s, namespace, src, func() {
			if told {
				s.opt.Notify("the Kubernetes API answers again")
			}
			away, told, pause = time.Time{}, false, firstPause
		})
		switch {
		case s.ctx.Err() != nil:
			return
		case err == nil:
			continue // the server ends a watch now and then
		}
		passes := apierrors.IsUnauthorized(err) // the next request comes with fresh credentials
		err = s.in(namespace).Explain(request, err)
		if !passes && (errors.Is(err, live.ErrDenied) || errors.Is(err, live.ErrNotFound)) {
			s.abort(err)
			return
		}
		now := s.opt.Now()
		if away.IsZero() {
			away = now
		}
		if out := now.Sub(away); out >= s.opt.Outage {
			s.abort(fmt.Errorf("following Jobs: %w (for %s)", err, out.Round(time.Second)))
			return
		} else if out >= noteAfter && !told {
			told = true
			s.opt.Notify(fmt.Sprintf("%v; waiting up to %s. Tasks that run go on", err, s.opt.Outage))
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// once lists, and then watches until the server or the connection ends it. answered is called when the list was read. An
// error comes with the request that had it.
func once[T metav1.Object](s *Shipper, namespace string, src source[T], answered func()) (cluster.Request, error) {
	opt := metav1.ListOptions{LabelSelector: kubernetes.LabelSession + "=" + s.opt.Session}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	listing, cancelList := context.WithTimeout(ctx, requestTimeout)
	list, version, err := src.list(listing, opt)
	cancelList()
	if err != nil {
		return src.listing, err
	}
	answered()
	present := map[string]bool{}
	for _, object := range list {
		present[src.jobOf(object)] = true
		s.saw(namespace, src.jobOf(object), func(v *sight) { src.note(v, object, false) })
	}
	s.mu.Lock()
	for _, h := range s.shipments {
		if state, _ := h.look(); h.namespace == namespace && src.known(state) && !present[h.name] {
			h.update(src.lost)
		}
	}
	s.mu.Unlock()
	opt.ResourceVersion = version
	w, err := src.watch(ctx, opt)
	if err != nil {
		return src.watching, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		object, ok := event.Object.(T)
		if !ok {
			if event.Type == watch.Error && !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
				return src.watching, apierrors.FromObject(event.Object)
			}
			return src.watching, nil
		}
		s.saw(namespace, src.jobOf(object), func(v *sight) { src.note(v, object, event.Type == watch.Deleted) })
	}
	return src.watching, nil
}

// saw writes down what was seen of a Job.
func (s *Shipper) saw(namespace, job string, change func(*sight)) {
	if h := s.find(namespace, job); h != nil {
		h.update(change)
	}
}

// requestTimeout bounds a single request.
const requestTimeout = 30 * time.Second
