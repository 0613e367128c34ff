package argolive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/mf-run/mf/backends/live/cluster"
)

// TestTakenUp: a run that the controller gave up because it did not know the new template yet begins anew, and no other does.
func TestTakenUp(t *testing.T) {
	const missed = `{"phase": "Error", "message": "workflowtemplates.argoproj.io \"train-r1\" not found"}`
	for name, c := range map[string]struct {
		statuses []string // one after the other; the last stays
		patches  int
		err      error
		now      string // the template's mark by now; empty: as it was when the run was started
	}{
		"at once":          {[]string{`{"phase": "Running"}`}, 0, nil, ""},
		"later":            {[]string{`{}`, `{"phase": "Running"}`}, 0, nil, ""},
		"missed":           {[]string{`{}`, missed, `{}`, `{"phase": "Running"}`}, 1, nil, ""},
		"missed twice":     {[]string{missed, missed, `{"phase": "Succeeded"}`}, 2, nil, ""},
		"failed otherwise": {[]string{`{"phase": "Error", "message": "no such thing"}`}, 0, nil, ""},
		"as before": {[]string{`{}`, `{"phase": "Running", "storedWorkflowTemplateSpec": {"templates": [{"name": "x"}], ` +
			`"workflowMetadata": {"annotations": {"mf.run/template": "old"}}}}`}, 0, errOutdated, ""},
		"unmarked before": {[]string{`{"phase": "Running", "storedWorkflowTemplateSpec": {"templates": [{"name": "x"}]}}`}, 0, errOutdated, ""},
		"as it is": {[]string{`{"phase": "Running", "storedWorkflowTemplateSpec": {"templates": [{"name": "x"}], ` +
			`"workflowMetadata": {"annotations": {"mf.run/template": "new"}}}}`}, 0, nil, ""},
		"newer": {[]string{`{"phase": "Running", "storedWorkflowTemplateSpec": {"templates": [{"name": "x"}], ` +
			`"workflowMetadata": {"annotations": {"mf.run/template": "newer"}}}}`}, 0, nil, "newer"},
		"no answer":         {[]string{"", "", `{"phase": "Running"}`}, 0, nil, ""},
		"another is missed": {[]string{strings.Replace(missed, "train-r1", "train-r2", 1)}, 0, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var patches []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch {
				case r.Method == http.MethodPatch:
					body, _ := io.ReadAll(r.Body)
					patches = append(patches, r.URL.Path+" "+string(body))
					fmt.Fprint(w, "{}")
				case strings.HasSuffix(r.URL.Path, "/workflowtemplates/train-r1"):
					fmt.Fprintf(w, `{"kind": "WorkflowTemplate", "metadata": {"name": "train-r1", "labels": {"app.kubernetes.io/managed-by": "mf"}}, `+
						`"spec": {"workflowMetadata": {"annotations": {"mf.run/template": %q}}}}`, cmp.Or(c.now, "new"))
				case strings.HasSuffix(r.URL.Path, "/train-r1") && c.statuses[0] == "":
					c.statuses = c.statuses[1:]
					w.WriteHeader(http.StatusServiceUnavailable)
					fmt.Fprint(w, `{"kind": "Status", "reason": "ServiceUnavailable", "code": 503}`)
				case strings.HasSuffix(r.URL.Path, "/train-r1"):
					fmt.Fprintf(w, `{"metadata": {"name": "train-r1"}, "spec": {"workflowTemplateRef": {"name": "train-r1"}}, "status": %s}`, c.statuses[0])
					if len(c.statuses) > 1 {
						c.statuses = c.statuses[1:]
					}
				default:
					fmt.Fprint(w, `{"kind": "APIResourceList", "resources": [{"name": "workflowtemplates"}]}`)
				}
			}))
			t.Cleanup(server.Close)
			e, err := On(&cluster.Cluster{Config: &rest.Config{Host: server.URL}, Namespace: "ml", Server: server.URL}, nil)
			if err != nil {
				t.Fatal(err)
			}
			template := object{"metadata": map[string]any{"name": "train-r1"}, "spec": map[string]any{
				"workflowMetadata": map[string]any{"annotations": map[string]any{annotationMark: "new"}}}}
			if err := e.takenUp(t.Context(), "train-r1", template); !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if len(patches) != c.patches || len(c.statuses) != 1 {
				t.Errorf("%d are left of the statuses; patches: %v", len(c.statuses), patches)
			}
			for _, patch := range patches {
				if !strings.HasPrefix(patch, "/apis/argoproj.io/v1alpha1/namespaces/ml/workflows/train-r1 ") ||
					!strings.Contains(patch, `"status":null`) || !strings.Contains(patch, `"workflows.argoproj.io/completed":null`) {
					t.Error(patch)
				}
			}
		})
	}
}

func TestYoungerThan(t *testing.T) {
	at := func(text string) object {
		return object{"metadata": map[string]any{"creationTimestamp": text}}
	}
	for _, c := range []struct {
		template, run string
		want          bool
	}{
		{"2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z", true}, {"2026-11-01T10:00:00Z", "2026-11-01T10:00:59Z", true},
		{"2026-11-01T10:00:00Z", "2026-11-01T10:01:00Z", false}, {"", "2026-11-01T10:01:00Z", false}, {"2026-11-01T10:00:00Z", "", false},
	} {
		if got := youngerThan(time.Minute, at(c.template), at(c.run)); got != c.want {
			t.Errorf("a template of %q for a run of %q: %t", c.template, c.run, got)
		}
	}
}

// TestChanged: a template that was deployed again is as young as that.
func TestChanged(t *testing.T) {
	o := object{"metadata": map[string]any{"creationTimestamp": "2026-11-01T10:00:00Z", "managedFields": []any{
		map[string]any{"manager": "mf", "time": "2026-11-20T10:00:00Z"}, map[string]any{"manager": "kubectl-edit", "time": "2026-11-10T10:00:00Z"},
		map[string]any{"manager": "odd", "time": "yesterday"}, "odder"}}}
	if got := o.changed().Format(time.RFC3339); got != "2026-11-20T10:00:00Z" {
		t.Errorf("got %s", got)
	}
	if got := (object{}).changed(); !got.IsZero() {
		t.Errorf("got %s", got)
	}
}
