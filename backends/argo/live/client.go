package argolive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

const (
	argoGroup   = "argoproj.io"
	argoVersion = "v1alpha1"
)

// kind is a kind of object.
type kind struct {
	name, group, version, plural string
	// rank orders what is applied: what others refer to has the lower one.
	rank int
	// starts is set for what starts runs of a deployment by itself.
	starts bool
	// product is what brings the kind, where that is not Argo Workflows or Kubernetes.
	product string
}

var (
	workflowTemplates = &kind{name: "WorkflowTemplate", group: argoGroup, version: argoVersion, plural: "workflowtemplates", rank: 1}
	cronWorkflows     = &kind{name: "CronWorkflow", group: argoGroup, version: argoVersion, plural: "cronworkflows", rank: 2, starts: true}
	sensors           = &kind{name: "Sensor", group: argoGroup, version: argoVersion, plural: "sensors", rank: 2, starts: true, product: "Argo Events"}
	workflows         = &kind{name: "Workflow", group: argoGroup, version: argoVersion, plural: "workflows"}
)

// kinds are those that files may hold.
func kinds() []*kind {
	return []*kind{
		workflowTemplates, cronWorkflows, sensors,
		{name: "EventSource", group: argoGroup, version: argoVersion, plural: "eventsources", rank: 1, product: "Argo Events"},
		{name: "ConfigMap", version: "v1", plural: "configmaps"},
		{name: "ServiceAccount", version: "v1", plural: "serviceaccounts"},
		{name: "Role", group: "rbac.authorization.k8s.io", version: "v1", plural: "roles"},
		{name: "RoleBinding", group: "rbac.authorization.k8s.io", version: "v1", plural: "rolebindings"},
	}
}

// resource is the kind as permissions name it.
func (k *kind) resource() string {
	if k.group == "" {
		return k.plural
	}
	return k.plural + "." + k.group
}

func (k *kind) path(namespace, name string) string {
	base := "/apis/" + k.group + "/" + k.version
	if k.group == "" {
		base = "/api/" + k.version
	}
	base += "/namespaces/" + namespace + "/" + k.plural
	if name != "" {
		base += "/" + name
	}
	return base
}

// client sends requests to the API server: JSON in, JSON out.
type client struct {
	rest    *rest.RESTClient
	cluster *cluster.Cluster
}

func newClient(c *cluster.Cluster) (*client, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config := rest.CopyConfig(c.Config)
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.AcceptContentTypes, config.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	if config.Timeout == 0 {
		config.Timeout = time.Minute
	}
	r, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return &client{rest: r, cluster: c}, nil
}

// request is what is asked besides the path.
type request struct {
	// verb and resource are Kubernetes' words, for messages; name is the object's.
	verb, resource, name string
	query                map[string]string
	// accept and contentType are JSON where empty.
	accept, contentType string
	body                any
	dryRun              bool
}

// methods are those of Kubernetes' verbs.
var methods = map[string]string{
	"get": http.MethodGet, "list": http.MethodGet, "create": http.MethodPost, "patch": http.MethodPatch,
	"update": http.MethodPut, "delete": http.MethodDelete,
}

// do asks and decodes the answer into the target, which may be nil.
func (c *client) do(ctx context.Context, path string, r request, target any) error {
	req := c.rest.Verb(methods[r.verb]).AbsPath(path)
	for name, value := range r.query {
		req = req.Param(name, value)
	}
	if r.dryRun {
		req = req.Param("dryRun", metav1.DryRunAll)
	}
	if r.accept != "" {
		req = req.SetHeader("Accept", r.accept)
	}
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return fmt.Errorf("writing the request: %w", err)
		}
		contentType := r.contentType
		if contentType == "" {
			contentType = runtime.ContentTypeJSON
		}
		req = req.SetHeader("Content-Type", contentType).Body(text)
	}
	result := req.Do(ctx)
	if err := result.Error(); err != nil {
		return c.explain(r, err)
	}
	text, err := result.Raw()
	if err != nil || target == nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(target); err != nil {
		return fmt.Errorf("reading the cluster's answer to %s %s: %w", r.verb, r.resource, err)
	}
	return nil
}

// explain words an error. The server's own stays in the chain.
func (c *client) explain(r request, err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) && apierrors.IsNotFound(err) {
		if d := status.Status().Details; d != nil && d.Kind == "namespaces" {
			return &refused{fmt.Errorf("namespace %s of %s: %w: kubectl create namespace %[1]s makes it", d.Name, c.cluster.Server, live.ErrNotFound), err}
		}
	}
	return &refused{c.cluster.Explain(cluster.Request{Verb: r.verb, Resource: r.resource, Name: r.name}, err), err}
}

// refused is an error with the words of the project, which keeps what the server said.
type refused struct{ worded, cause error }

func (r *refused) Error() string   { return r.worded.Error() }
func (r *refused) Unwrap() []error { return []error{r.worded, r.cause} }

// statusOf is the HTTP status of a refusal; 0 for other errors.
func statusOf(err error) int {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return int(status.Status().Code)
	}
	return 0
}

// read gets one object; nil where it is not there.
func (c *client) read(ctx context.Context, k *kind, name string) (object, error) {
	var o object
	err := c.do(ctx, k.path(c.cluster.Namespace, name), request{verb: "get", resource: k.resource(), name: name}, &o)
	if isNotFound(err) {
		return nil, nil
	}
	return o, err
}

// apply is a server-side apply that takes over what others changed.
func (c *client) apply(ctx context.Context, k *kind, o object, dryRun bool) (object, error) {
	var stored object
	err := c.do(ctx, k.path(c.cluster.Namespace, o.name()), request{
		verb: "patch", resource: k.resource(), name: o.name(), body: o, dryRun: dryRun, contentType: "application/apply-patch+yaml",
		query: map[string]string{"fieldManager": manager, "force": "true"},
	}, &stored)
	return stored, err
}

// wouldStore is the object as the server would store it, defaults included, were it new: under another name, so that what
// is there has no part in it.
func (c *client) wouldStore(ctx context.Context, k *kind, o object) (object, error) {
	other := o.clone()
	delete(other.metadata(), "name")
	other.metadata()["generateName"] = o.name() + "-"
	var stored object
	err := c.do(ctx, k.path(c.cluster.Namespace, ""), request{
		verb: "create", resource: k.resource(), body: other, dryRun: true, query: map[string]string{"fieldManager": manager},
	}, &stored)
	return stored, err
}

// create makes an object as it is given.
func (c *client) create(ctx context.Context, k *kind, o object) (object, error) {
	var stored object
	err := c.do(ctx, k.path(c.cluster.Namespace, ""), request{
		verb: "create", resource: k.resource(), body: o, query: map[string]string{"fieldManager": manager},
	}, &stored)
	return stored, err
}

// merge changes single fields.
func (c *client) merge(ctx context.Context, k *kind, name string, patch map[string]any) (object, error) {
	var stored object
	err := c.do(ctx, k.path(c.cluster.Namespace, name), request{
		verb: "patch", resource: k.resource(), name: name, body: patch, contentType: "application/merge-patch+json",
		query: map[string]string{"fieldManager": manager},
	}, &stored)
	return stored, err
}

// replace writes a whole object.
func (c *client) replace(ctx context.Context, k *kind, o object) (object, error) {
	var stored object
	err := c.do(ctx, k.path(c.cluster.Namespace, o.name()), request{
		verb: "update", resource: k.resource(), name: o.name(), body: o, query: map[string]string{"fieldManager": manager},
	}, &stored)
	return stored, err
}

// remove deletes an object; one that is gone already is fine.
func (c *client) remove(ctx context.Context, k *kind, name string, dryRun bool) error {
	err := c.do(ctx, k.path(c.cluster.Namespace, name), request{verb: "delete", resource: k.resource(), name: name, dryRun: dryRun}, nil)
	if isNotFound(err) {
		return nil
	}
	return err
}

// onlyMetadata asks for objects without what they hold: values of secrets never travel.
const (
	onlyMetadata     = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	onlyMetadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

// exists reports whether an object is there.
func (c *client) exists(ctx context.Context, k *kind, name string) (bool, error) {
	err := c.do(ctx, k.path(c.cluster.Namespace, name), request{verb: "get", resource: k.resource(), name: name, accept: onlyMetadata}, nil)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// pageSize bounds one answer of a list: Workflows may have a megabyte each.
const pageSize = "50"

// list goes through all objects that the selector takes, page by page. each decodes one page and returns where the next
// begins.
func list[T any](ctx context.Context, c *client, k *kind, query map[string]string, accept string, each func(T)) error {
	q := map[string]string{"limit": pageSize}
	for name, value := range query {
		q[name] = value
	}
	for {
		var page struct {
			Metadata struct{ Continue string }
			Items    []T
		}
		err := c.do(ctx, k.path(c.cluster.Namespace, ""), request{verb: "list", resource: k.resource(), query: q, accept: accept}, &page)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			each(item)
		}
		if page.Metadata.Continue == "" {
			return nil
		}
		q["continue"] = page.Metadata.Continue
	}
}

// withWaysOut adds to an error of finding the cluster how to say which one.
func withWaysOut(err error) error {
	if errors.Is(err, cluster.ErrNone) && !strings.Contains(err.Error(), "--kubeconfig") {
		return fmt.Errorf("%w: give one with --kubeconfig or KUBECONFIG, or run inside a pod with a service account", err)
	}
	return err
}
