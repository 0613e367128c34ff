package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/mf-run/mf/backends/live"
)

// TestSidecar: what runs besides the step in its pod, and goes on, does not keep it.
func TestSidecar(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code int32
		want string
	}{"done": {0, "0: "}, "failed": {3, "3: "}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			s := a.shipper(Options{Outage: time.Minute})
			ended := start(t.Context(), s, jobNamed("j"), Listener{})
			until(t, "a Job", func() bool { return a.left() == "j" })
			a.setPod("j", podOf(corev1.PodRunning, ends(test.code, "", ""), sidecar))
			if got := await(t, ended, settleGrace+5*time.Second); got.String() != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
			if left := a.left(); left != "" {
				t.Errorf("Jobs left: %s", left)
			}
		})
	}
}

// TestFailedJobStays: it can be looked at.
func TestFailedJobStays(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	s := a.shipper(Options{Outage: time.Minute})
	ended := start(t.Context(), s, jobNamed("j"), Listener{})
	until(t, "a Job", func() bool { return a.left() == "j" })
	a.setPod("j", podOf(corev1.PodFailed, ends(3, "Error", "")))
	if got := await(t, ended, 5*time.Second); got.String() != "3: " || a.left() != "j" {
		t.Errorf("got %v, Jobs left: %q", got, a.left())
	}
}

var (
	conflict = apierrors.NewConflict(corev1.Resource("resourcequotas"), "jobs",
		errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	quota = apierrors.NewForbidden(batchv1.Resource("jobs"), "j",
		errors.New("exceeded quota: jobs, requested: count/jobs.batch=1, used: count/jobs.batch=2, limited: count/jobs.batch=2"))
)

// heard collects what a Listener hears of waiting.
type heard struct {
	mu   sync.Mutex
	said []string
}

func (h *heard) listener() Listener {
	return Listener{Waits: func(why string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.said = append(h.said, why)
	}}
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(slices.DeleteFunc(slices.Clone(h.said), func(s string) bool { return s == "" }), "\n")
}

// TestCreateTriesAgain: what keeps a Job from being made for a moment is no failure of its task.
func TestCreateTriesAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  *apierrors.StatusError
		says string
	}{
		"conflict":  {conflict, ""},
		"quota":     {quota, "the cluster takes no more Jobs for now: "},
		"expired":   {apierrors.NewUnauthorized("the token has expired"), ""},
		"new quota": {apierrors.NewForbidden(batchv1.Resource("jobs"), "j", errors.New("status unknown for quota: jobs, resources: count/jobs.batch")), "the cluster takes no more Jobs for now: "},
		"busy":      {apierrors.NewTooManyRequestsError("later"), "the Kubernetes API does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
				if what != "POST jobs" || a.count(what) > 1 {
					return false
				}
				refuse(w, test.err)
				return true
			}
			var h heard
			ended := start(t.Context(), a.shipper(Options{Outage: time.Minute}), jobNamed("j"), h.listener())
			until(t, "a Job", func() bool { return a.left() == "j" })
			a.setPod("j", podOf(corev1.PodSucceeded, ends(0, "Completed", "")))
			got := await(t, ended, 5*time.Second)
			if got.String() != "0: " || test.says == "" && h.String() != "" || !strings.HasPrefix(h.String(), test.says) {
				t.Errorf("got %v, said %q", got, h.String())
			}
		})
	}
}

// TestOutageBehindAQuota: that the API server does not answer for once does not count from where the quota was used up.
func TestOutageBehindAQuota(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
		switch n := a.count(what); {
		case what != "POST jobs" || n > 3:
			return false
		case n == 3:
			hangUp(w)
		default:
			refuse(w, quota)
		}
		return true
	}
	ended := start(t.Context(), a.shipper(Options{Outage: time.Second, Patience: time.Minute}), jobNamed("j"), Listener{})
	until(t, "a Job", func() bool { return a.left() == "j" })
	a.setPod("j", podOf(corev1.PodSucceeded, ends(0, "Completed", "")))
	if got := await(t, ended, 5*time.Second); got.String() != "0: " {
		t.Errorf("got %v", got)
	}
}

// TestQuotaForLong: that is a failed attempt, which can be tried again or caught.
func TestQuotaForLong(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
		if what == "POST jobs" {
			refuse(w, quota)
		}
		return what == "POST jobs"
	}
	ended := start(t.Context(), a.shipper(Options{Patience: time.Second, Outage: time.Minute}), jobNamed("j"), Listener{})
	got := await(t, ended, 5*time.Second)
	if got.err != nil || !strings.Contains(got.ending.Why, "exceeded quota: jobs") || !strings.Contains(got.ending.Why, "; it was waited for ") {
		t.Errorf("got %v, %v", got.ending, got.err)
	}
}

// TestExpiredCredentials: a run outlives its token, as the next request comes with a fresh one; but not for ever.
func TestExpiredCredentials(t *testing.T) {
	t.Parallel()
	for _, forever := range []bool{false, true} {
		t.Run(fmt.Sprint(forever), func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
				if what == "POST jobs" || !forever && a.count(what) != 1 {
					return false
				}
				refuse(w, apierrors.NewUnauthorized("the token has expired"))
				return true
			}
			s := a.shipper(Options{Outage: 2 * time.Second})
			ended := start(t.Context(), s, jobNamed("j"), Listener{})
			until(t, "a Job", func() bool { return a.left() == "j" })
			a.setPod("j", podOf(corev1.PodSucceeded, ends(0, "Completed", "")))
			got := await(t, ended, 8*time.Second)
			if forever != errors.Is(got.err, live.ErrDenied) || !forever && got.String() != "0: " {
				t.Errorf("got %v", got)
			}
		})
	}
}

// turns is a limiter that lets one request pass for each value sent; all once it is closed.
type turns struct {
	flowcontrol.RateLimiter
	next chan struct{}
}

func (l turns) Wait(ctx context.Context) error {
	if _, bounded := ctx.Deadline(); bounded {
		return errors.New("would exceed context deadline") // as the real one has it of a long queue
	}
	select {
	case <-l.next:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestManyJobs: a Job that has to wait for its turn behind others does not fail for it.
func TestManyJobs(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	s := a.shipper(Options{Outage: time.Minute})
	limit := turns{next: make(chan struct{})}
	s.limiter = limit
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, second := start(ctx, s, jobNamed("a"), Listener{}), start(ctx, s, jobNamed("b"), Listener{})
	limit.next <- struct{}{}
	until(t, "a Job", func() bool { return a.left() != "" })
	made := a.left()
	select {
	case got := <-first:
		t.Errorf("got %v", got)
	case got := <-second:
		t.Errorf("got %v", got)
	case <-time.After(200 * time.Millisecond):
	}
	if a.left() != made {
		t.Errorf("%q were made in one turn", a.left())
	}
	cancel()
	close(limit.next)
	if a, b := await(t, first, 5*time.Second), await(t, second, 5*time.Second); a.String() != "-1: "+stopped || b.String() != "-1: "+stopped {
		t.Errorf("got %v, %v", a, b)
	}
	if left := a.left(); left != "" {
		t.Errorf("Jobs left: %s", left)
	}
}

// hangUp ends a request without an answer.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
}

// TestStopInAnOutage: that the API server does not answer just then leaves no Job behind.
func TestStopInAnOutage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		stop bool
		want string
	}{
		"stopped":   {podOf(corev1.PodRunning, runs), true, "-1: " + stopped},
		"gave up":   {podOf(corev1.PodPending, waits("InvalidImageName", "")), false, "-1: the image acme/train:1 cannot be pulled: that is no valid name of an image"},
		"lingering": {podOf(corev1.PodRunning, ends(0, "", ""), sidecar), false, "0: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
				if what != "DELETE jobs" || a.count(what) > 2 {
					return false
				}
				hangUp(w)
				return true
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var h heard
			ended := start(ctx, a.shipper(Options{Outage: time.Minute, Notify: h.listener().Waits}), jobNamed("j"), Listener{})
			until(t, "a Job", func() bool { return a.left() == "j" })
			a.setPod("j", test.pod)
			if test.stop {
				cancel()
			}
			if got := await(t, ended, 8*time.Second); got.String() != test.want || a.left() != "" || h.String() != "" {
				t.Errorf("got %v, Jobs left: %q, said %q", got, a.left(), h.String())
			}
		})
	}
}

// TestStopTwiceInAnOutage: the second Ctrl-C does not wait for the first.
func TestStopTwiceInAnOutage(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var mended atomic.Bool
	a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
		if what != "DELETE jobs" || mended.Load() {
			return false
		}
		hangUp(w)
		return true
	}
	ctx, cancel := context.WithCancel(t.Context())
	abort := make(chan struct{})
	ended := start(ctx, a.shipper(Options{Outage: time.Minute, Abort: abort}), jobNamed("j"), Listener{})
	until(t, "a Job", func() bool { return a.left() == "j" })
	cancel()
	until(t, "a pause of more than 3 seconds", func() bool { return a.count("DELETE jobs") == 4 })
	mended.Store(true)
	close(abort)
	if got := await(t, ended, 2*time.Second); got.String() != "-1: "+stopped || a.left() != "" {
		t.Errorf("got %v, Jobs left: %q", got, a.left())
	}
}

// TestUnansweredCreate: a request without an answer may have made a Job, which is deleted where nobody waits for it.
func TestUnansweredCreate(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]bool{"stopped": true, "end of patience": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.answer = func(what string, w http.ResponseWriter, _ *http.Request) bool {
				if what != "POST jobs" {
					return false
				}
				a.setJob(jobNamed("j"))
				hangUp(w)
				return true
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := start(ctx, a.shipper(Options{Outage: time.Second}), jobNamed("j"), Listener{})
			until(t, "a Job", func() bool { return a.left() == "j" })
			if stop {
				cancel()
			}
			got := await(t, ended, 8*time.Second)
			if stop && got.String() != "-1: "+stopped || !stop && !errors.Is(got.err, live.ErrUnavailable) || a.left() != "" {
				t.Errorf("got %v, Jobs left: %q", got, a.left())
			}
		})
	}
}

// TestTimerAfterAnObstacle: a pod that gets on, after something was in the way, is looked at now and then.
func TestTimerAfterAnObstacle(t *testing.T) {
	t.Parallel()
	r := &voyage{Shipper: &Shipper{opt: Options{Patience: time.Hour}}, blocked: "the pod cannot be scheduled"}
	select {
	case <-r.timer(verdict{phase: waiting}, now):
		t.Error("the pod is looked at again at once")
	case <-time.After(300 * time.Millisecond):
	}
}
