package live

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/backends/live/cluster"
)

// api is an API server that knows the Jobs and pods of one namespace. Nothing happens to them but what the test does.
type api struct {
	t      *testing.T
	server *httptest.Server
	// answer, if set, is asked first; it reports whether it has answered. asked counts the requests, such as "POST jobs".
	answer func(request string, w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	asked    map[string]int
	jobs     map[string]*batchv1.Job
	pods     map[string]*corev1.Pod
	events   []corev1.Event
	watchers map[chan any]string // by kind
}

func newAPI(t *testing.T) *api {
	a := &api{t: t, asked: map[string]int{}, jobs: map[string]*batchv1.Job{}, pods: map[string]*corev1.Pod{}, watchers: map[chan any]string{}}
	a.server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.server.Close)
	return a
}

// shipper connects to it.
func (a *api) shipper(opt Options) *Shipper {
	a.t.Helper()
	if opt.Now == nil {
		opt.Now = time.Now
	}
	opt.Session = "s"
	config := &rest.Config{Host: a.server.URL, QPS: 100, Burst: 200, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	s, err := New(&cluster.Cluster{Config: config, Namespace: "ml", Server: a.server.URL}, opt)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(s.Close)
	return s
}

func jobNamed(name string) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{kubernetes.LabelSession: "s"}}}
}

// request is what is asked for, without the namespace: "GET pods/log".
func request(r *http.Request) string {
	path := r.URL.Path
	for _, group := range []string{"/api/v1/", "/apis/batch/v1/"} {
		path = strings.TrimPrefix(path, group)
	}
	parts := strings.Split(strings.TrimPrefix(path, "namespaces/ml/"), "/")
	text := r.Method + " " + parts[0]
	if len(parts) == 3 {
		text += "/" + parts[2]
	}
	if r.URL.Query().Get("watch") != "" {
		text = "WATCH " + parts[0]
	}
	return text
}

func (a *api) count(request string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[request]
}

func reply(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.ErrStatus
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	reply(w, int(status.Code), status)
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	what := request(r)
	a.mu.Lock()
	a.asked[what]++
	a.mu.Unlock()
	if a.answer != nil && a.answer(what, w, r) {
		return
	}
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch what {
	case "POST jobs":
		var job batchv1.Job
		if err := json.NewDecoder(r.Body).Decode(&job); err != nil {
			a.t.Error(err)
		}
		a.setJob(&job)
		reply(w, http.StatusCreated, job)
	case "GET jobs":
		list := batchv1.JobList{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "JobList"}}
		a.mu.Lock()
		for _, j := range a.jobs {
			list.Items = append(list.Items, *j)
		}
		a.mu.Unlock()
		reply(w, http.StatusOK, list)
	case "GET pods":
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		a.mu.Lock()
		for _, p := range a.pods {
			list.Items = append(list.Items, *p)
		}
		a.mu.Unlock()
		reply(w, http.StatusOK, list)
	case "GET events":
		a.mu.Lock()
		list := corev1.EventList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "EventList"}, Items: a.events}
		a.mu.Unlock()
		reply(w, http.StatusOK, list)
	case "WATCH jobs", "WATCH pods":
		a.watch(w, r, strings.TrimPrefix(what, "WATCH "))
	case "DELETE jobs":
		if !a.remove(name) {
			refuse(w, apierrors.NewNotFound(batchv1.Resource("jobs"), name))
			return
		}
		reply(w, http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess})
	case "GET pods/log":
	default:
		refuse(w, apierrors.NewBadRequest("what is "+what))
	}
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, kind string) {
	events := make(chan any, 100)
	a.mu.Lock()
	a.watchers[events] = kind
	// What changed between the list and the watch.
	for _, j := range a.jobs {
		if kind == "jobs" {
			events <- event("MODIFIED", j)
		}
	}
	for _, p := range a.pods {
		if kind == "pods" {
			events <- event("MODIFIED", p)
		}
	}
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	for {
		w.(http.Flusher).Flush()
		select {
		case e := <-events:
			_ = json.NewEncoder(w).Encode(e)
		case <-r.Context().Done():
			a.mu.Lock()
			delete(a.watchers, events)
			a.mu.Unlock()
			return
		}
	}
}

func event(kind string, object any) any { return map[string]any{"type": kind, "object": object} }

func (a *api) tell(kind string, e any) {
	for events, watched := range a.watchers {
		if watched == kind {
			events <- e
		}
	}
}

func (a *api) setJob(job *batchv1.Job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	job.TypeMeta = metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}
	a.jobs[job.Name] = job
	a.tell("jobs", event("MODIFIED", job))
}

// setPod makes the pod of a Job, or changes it.
func (a *api) setPod(job string, p *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.Name, p.Namespace, p.Labels = job+"-x", "ml", map[string]string{batchv1.JobNameLabel: job}
	a.pods[job] = p
	a.tell("pods", event("MODIFIED", p))
}

// remove deletes a Job and its pod. It reports whether there was one.
func (a *api) remove(job string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	j, p := a.jobs[job], a.pods[job]
	if p != nil {
		a.tell("pods", event("DELETED", p))
	}
	if j != nil {
		a.tell("jobs", event("DELETED", j))
	}
	delete(a.jobs, job)
	delete(a.pods, job)
	return j != nil
}

// left lists the Jobs that are there.
func (a *api) left() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for name := range a.jobs {
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// came is how a Run ended.
type came struct {
	ending Ending
	err    error
}

func (c came) String() string {
	if c.err != nil {
		return c.err.Error()
	}
	return fmt.Sprintf("%d: %s", c.ending.Exit, c.ending.Why)
}

// start runs a Job.
func start(ctx context.Context, s *Shipper, job *batchv1.Job, hear Listener) <-chan came {
	ended := make(chan came, 1)
	go func() {
		ending, err := s.Run(ctx, job, hear)
		ended <- came{ending, err}
	}()
	return ended
}

// await returns how it ended, in time.
func await(t *testing.T, ended <-chan came, limit time.Duration) came {
	t.Helper()
	select {
	case c := <-ended:
		return c
	case <-time.After(limit):
		t.Fatalf("it has not ended in %s", limit)
		return came{}
	}
}

// until waits for something to become true.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
