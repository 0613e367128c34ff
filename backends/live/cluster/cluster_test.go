package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: dev
clusters: [{name: c, cluster: {server: %q}}]
users: [{name: u, user: {token: sesame}}]
contexts:
- {name: dev, context: {cluster: c, user: u}}
- {name: ml, context: {cluster: c, user: u, namespace: models}}
`, server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOpen(t *testing.T) {
	file := kubeconfig(t, "https://user:pw@k8s.example:6443")
	env := func(values map[string]string) func(string) string { return func(n string) string { return values[n] } }
	home := t.TempDir()
	for name, test := range map[string]struct {
		opt  cluster.Options
		want string
	}{
		"named":          {cluster.Options{Kubeconfig: file}, "dev (https://user:xxxxx@k8s.example:6443), namespace default"},
		"KUBECONFIG":     {cluster.Options{Env: env(map[string]string{"KUBECONFIG": "/no/such" + string(os.PathListSeparator) + file})}, "namespace default"},
		"context":        {cluster.Options{Kubeconfig: file, Context: "ml"}, "namespace models"},
		"namespace":      {cluster.Options{Kubeconfig: file, Context: "ml", Namespace: "x"}, "namespace x"},
		"no context":     {cluster.Options{Kubeconfig: file, Context: "prod"}, `has no context "prod"`},
		"nothing":        {cluster.Options{Env: env(map[string]string{"HOME": home})}, cluster.ErrNone.Error()},
		"nothing at all": {cluster.Options{}, cluster.ErrNone.Error()},
		"no such file":   {cluster.Options{Kubeconfig: "/no/such"}, "/no/such"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := cluster.Open(test.opt)
			got := fmt.Sprint(err)
			if err == nil {
				got = c.String()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestOpenInAPod(t *testing.T) {
	_, err := cluster.Open(cluster.Options{Env: func(n string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}[n]
	}})
	if _, inside := os.LookupEnv("KUBERNETES_SERVICE_HOST"); !inside && !errors.Is(err, cluster.ErrNone) {
		t.Errorf("got %v", err)
	}
}

func TestExplain(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	c := &cluster.Cluster{Namespace: "ml", Server: "https://k8s"}
	create := cluster.Request{Verb: "create", Resource: "jobs.batch"}
	for name, test := range map[string]struct {
		err  error
		is   error
		want string
	}{
		"forbidden": {
			apierrors.NewForbidden(jobs, "", errors.New(`User "ann" cannot create resource "jobs" in API group "batch" in the namespace "ml"`)),
			live.ErrDenied, `permission denied: ann may not create jobs.batch in namespace ml; a Role there with {apiGroups: ["batch"], resources: ["jobs"], verbs: ["create"]}`,
		},
		"quota": {
			apierrors.NewForbidden(jobs, "x", errors.New("exceeded quota: small, requested: count/jobs.batch=1")), nil, "exceeded quota",
		},
		"webhook": {
			apierrors.NewForbidden(jobs, "x", errors.New(`admission webhook "policy.acme" denied the request: team ml cannot use image python:3.12`)),
			nil, "the cluster refuses to create jobs.batch in namespace ml: jobs.batch \"x\" is forbidden: admission webhook \"policy.acme\" denied the request: team ml cannot use image",
		},
		"unauthorized": {apierrors.NewUnauthorized("no"), live.ErrDenied, "credentials"},
		"not found":    {apierrors.NewNotFound(jobs, "x"), live.ErrNotFound, "jobs.batch"},
		"busy":         {apierrors.NewTooManyRequests("later", 1), live.ErrUnavailable, "https://k8s"},
		"invalid":      {apierrors.NewBadRequest("no such field"), nil, "no such field"},
		"cancelled":    {context.Canceled, context.Canceled, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.Explain(create, test.err)
			if test.is != nil && !errors.Is(err, test.is) || test.is == nil && errors.Is(err, live.ErrDenied) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if c.Explain(create, nil) != nil {
		t.Error("no error has become one")
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	c, err := cluster.Open(cluster.Options{Kubeconfig: kubeconfig(t, server.URL)})
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	client, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.ServerVersion()
	err = c.Explain(cluster.Request{Verb: "get", Resource: "version"}, err)
	if !errors.Is(err, live.ErrUnavailable) || !strings.Contains(err.Error(), server.URL) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
	if cluster.Unreachable(apierrors.NewBadRequest("x")) || cluster.Unreachable(&apierrors.StatusError{ErrStatus: metav1.Status{Code: 409}}) {
		t.Error("an answer counts as none")
	}
}
