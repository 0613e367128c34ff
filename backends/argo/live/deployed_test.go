package argolive

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

// TestFlowOf: the flow's very name is told of a deployment and its runs, also where no label can have it. Large parameters
// are stored below it.
func TestFlowOf(t *testing.T) {
	for flow, identity := range map[string]string{
		"Train":  `"labels": {"app.kubernetes.io/managed-by": "mf", "mf.run/flow": "Train", "mf.run/deployment": "train"}`,
		"Train_": `"labels": {"app.kubernetes.io/managed-by": "mf", "mf.run/flow": "train", "mf.run/deployment": "train"}, "annotations": {"mf.run/flow": "Train_"}`,
	} {
		var made []byte
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch r.URL.Path {
			case "/apis/argoproj.io/v1alpha1":
				fmt.Fprint(w, `{"kind": "APIResourceList", "resources": [{"name": "workflowtemplates"}, {"name": "workflows"}]}`)
			case "/apis/argoproj.io/v1alpha1/namespaces/ml/workflowtemplates/train":
				fmt.Fprintf(w, `{"kind": "WorkflowTemplate", "metadata": {"name": "train", %s}, "spec": {}}`, identity)
			case "/apis/argoproj.io/v1alpha1/namespaces/ml/workflows":
				made, _ = io.ReadAll(r.Body)
				fmt.Fprint(w, `{"metadata": {"name": "train-1"}}`)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		}))
		defer server.Close()
		e, err := On(&cluster.Cluster{Config: &rest.Config{Host: server.URL}, Namespace: "ml", Server: server.URL}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := e.Deployed(t.Context(), "train"); err != nil || d.Flow != flow {
			t.Errorf("the deployment is of %q, not %q: %v", d.Flow, flow, err)
		}
		if run, err := e.Start(t.Context(), "train", live.Start{User: "ann"}); err != nil || run.Flow != flow {
			t.Errorf("the run started is of %q, not %q: %v", run.Flow, flow, err)
		}
		// It says so itself, before the controller has seen it.
		var w workflow
		if err := json.Unmarshal(made, &w); err != nil {
			t.Fatal(err)
		}
		if run := w.run(); run.Flow != flow || w.Metadata.Annotations[annotationUser] != "ann" {
			t.Errorf("the run is of %q, not %q: %v", run.Flow, flow, w.Metadata.Annotations)
		}
	}
}
