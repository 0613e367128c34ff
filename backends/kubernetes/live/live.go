// Package live runs Jobs on a Kubernetes cluster: it creates them, follows their pods and logs, says what keeps one from
// starting, and deletes them. What comes in is a Job of backends/kubernetes, what goes out is how its pod ended. What the
// task in it came to is not known here.
package live

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

// Options are those of a Shipper. Now and Session are required.
type Options struct {
	// Session is the label of all Jobs that this Shipper runs, and of no others.
	Session string
	// Patience is how long a pod may be kept from starting; 0 for ever.
	Patience time.Duration
	// Outage is how long an API server that does not answer is waited for.
	Outage time.Duration
	// Abort, when closed, ends the pods that are stopped at once; nil for never.
	Abort <-chan struct{}
	// Notify is told, in a line each, of what concerns all Jobs, such as an API server that does not answer. It is called
	// concurrently; nil drops it.
	Notify func(message string)
	// Now is the clock.
	Now func() time.Time
}

// Shipper runs Jobs on a cluster. Its methods are safe for concurrent use.
type Shipper struct {
	cluster *cluster.Cluster
	opt     Options
	batch   batchclient.BatchV1Interface
	core    coreclient.CoreV1Interface
	auth    authclient.AuthorizationV1Interface
	// limiter is where requests wait their turn, before their time runs: thousands of Jobs wait for longer than one request
	// may take.
	limiter flowcontrol.RateLimiter

	ctx    context.Context // of the watches
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu        sync.Mutex
	shipments map[string]*shipment // by namespace/name
	watched   map[string]bool      // namespaces
	news      map[string]*news     // by namespace
	err       error                // what ended the watches
}

// New returns a Shipper. It asks the cluster nothing. Close ends it.
func New(c *cluster.Cluster, opt Options) (*Shipper, error) {
	config := rest.CopyConfig(c.Config)
	config.QPS = -1 // the limiter stands before the client
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	s := &Shipper{cluster: c, opt: opt, shipments: map[string]*shipment{}, watched: map[string]bool{}, news: map[string]*news{}}
	s.limiter = flowcontrol.NewTokenBucketRateLimiter(cmp.Or(c.Config.QPS, rest.DefaultQPS), cmp.Or(c.Config.Burst, rest.DefaultBurst))
	if s.batch, err = batchclient.NewForConfigAndClient(config, client); err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	if s.core, err = coreclient.NewForConfigAndClient(config, client); err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	if s.auth, err = authclient.NewForConfigAndClient(config, client); err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	if s.opt.Notify == nil {
		s.opt.Notify = func(string) {}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the watches. No Run may be under way.
func (s *Shipper) Close() {
	s.cancel()
	s.done.Wait()
}

// turn waits until a request may be made. It is false where ctx was cancelled before.
func (s *Shipper) turn(ctx context.Context) bool { return s.limiter.Wait(ctx) == nil }

// String says which cluster it is.
func (s *Shipper) String() string { return s.cluster.String() }

func (s *Shipper) resolve(name string) string {
	if name == "" {
		return s.cluster.Namespace
	}
	return name
}

// in is the cluster seen from a namespace, for explaining errors.
func (s *Shipper) in(namespace string) *cluster.Cluster {
	c := *s.cluster
	c.Namespace = namespace
	return &c
}

// The requests that Run makes.
var (
	createJobs = cluster.Request{Verb: "create", Resource: "jobs.batch"}
	listJobs   = cluster.Request{Verb: "list", Resource: "jobs.batch"}
	watchJobs  = cluster.Request{Verb: "watch", Resource: "jobs.batch"}
	deleteJobs = cluster.Request{Verb: "delete", Resource: "jobs.batch"}
	listPods   = cluster.Request{Verb: "list", Resource: "pods"}
	watchPods  = cluster.Request{Verb: "watch", Resource: "pods"}
)

// Check asks the cluster whether Run may do in the namespaces what it has to, so that a run does not find out in the
// middle. An empty namespace is the cluster's default. Errors are those of cluster.Explain; live.ErrDenied lists all
// permissions that are missing.
func (s *Shipper) Check(ctx context.Context, namespaces ...string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var missing []string
	for _, namespace := range namespaces {
		namespace = s.resolve(namespace)
		get := cluster.Request{Verb: "get", Resource: "namespaces", Name: namespace}
		_, err := s.core.Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return fmt.Errorf("the cluster (%s) has no namespace %s: %w", s.cluster.Server, namespace, live.ErrNotFound)
		case err != nil && !apierrors.IsForbidden(err):
			return s.in(namespace).Explain(get, err)
		}
		for _, r := range []cluster.Request{createJobs, listJobs, watchJobs, deleteJobs, listPods, watchPods} {
			allowed, err := s.allowed(ctx, namespace, r)
			if err != nil {
				return err
			}
			if !allowed {
				missing = append(missing, fmt.Sprintf("%s in namespace %s", r, namespace))
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w on %s: this account may not %s", live.ErrDenied, s.cluster.Server, strings.Join(missing, ", "))
	}
	return nil
}

const checkTimeout = 30 * time.Second

// allowed asks for one permission. A cluster that does not answer such questions is believed to allow it: it will say no
// soon enough.
func (s *Shipper) allowed(ctx context.Context, namespace string, r cluster.Request) (bool, error) {
	resource, group, _ := strings.Cut(r.Resource, ".")
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authv1.ResourceAttributes{Namespace: namespace, Verb: r.Verb, Group: group, Resource: resource},
	}}
	answer, err := s.auth.SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return true, nil
	case err != nil:
		ask := cluster.Request{Verb: "create", Resource: "selfsubjectaccessreviews.authorization.k8s.io"}
		return false, s.in(namespace).Explain(ask, err)
	}
	return answer.Status.Allowed, nil
}

// shipment is a Job that runs.
type shipment struct {
	namespace, name string
	changed         chan struct{} // has room for one

	mu    sync.Mutex
	state sight
	err   error
}

// update changes what is known, and wakes the Job's Run.
func (h *shipment) update(change func(*sight)) {
	h.mu.Lock()
	change(&h.state)
	h.mu.Unlock()
	h.wake()
}

func (h *shipment) wake() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *shipment) fail(err error) {
	h.mu.Lock()
	if h.err == nil {
		h.err = err
	}
	h.mu.Unlock()
	h.wake()
}

func (h *shipment) look() (sight, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.err
}

// sight is what is known of a Job and its pod.
type sight struct {
	job *batchv1.Job
	pod *corev1.Pod
	// jobGone and podGone are set where they were seen before, and are there no more.
	jobGone, podGone bool
	// taskOver is when the step's container was first seen to have ended; zero before.
	taskOver time.Time
}

// notePod writes down what was seen of the pod.
func (v *sight) notePod(p *corev1.Pod, gone bool, now time.Time) {
	v.pod, v.podGone = p, gone
	if v.taskOver.IsZero() && taskEnd(p) != nil {
		v.taskOver = now
	}
}

// register has the watches report on a Job, and starts them in its namespace.
func (s *Shipper) register(job *batchv1.Job) (*shipment, error) {
	h := &shipment{namespace: s.resolve(job.Namespace), name: job.Name, changed: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	key := h.namespace + "/" + h.name
	if s.shipments[key] != nil {
		return nil, fmt.Errorf("running Job %s: it runs already", key)
	}
	s.shipments[key] = h
	if !s.watched[h.namespace] {
		s.watched[h.namespace] = true
		s.watch(h.namespace)
	}
	return h, nil
}

func (s *Shipper) forget(h *shipment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shipments, h.namespace+"/"+h.name)
}

// find returns the shipment of a Job; nil if it is none of ours.
func (s *Shipper) find(namespace, job string) *shipment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shipments[namespace+"/"+job]
}

// abort ends all shipments: there is no way to know what becomes of them.
func (s *Shipper) abort(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	for _, h := range s.shipments {
		h.fail(err)
	}
}
