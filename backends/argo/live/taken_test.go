package argolive

import (
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
	}{
		"at once":           {[]string{`{"phase": "Running"}`}, 0},
		"later":             {[]string{`{}`, `{"phase": "Running"}`}, 0},
		"missed":            {[]string{`{}`, missed, `{}`, `{"phase": "Running"}`}, 1},
		"missed twice":      {[]string{missed, missed, `{"phase": "Succeeded"}`}, 2},
		"failed otherwise":  {[]string{`{"phase": "Error", "message": "no such thing"}`}, 0},
		"another is missed": {[]string{strings.Replace(missed, "train-r1", "train-r2", 1)}, 0},
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
				case strings.HasSuffix(r.URL.Path, "/train-r1"):
					fmt.Fprintf(w, `{"metadata": {"name": "train-r1"}, "status": %s}`, c.statuses[0])
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
			if err := e.takenUp(t.Context(), "train-r1", "train-r1"); err != nil {
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
