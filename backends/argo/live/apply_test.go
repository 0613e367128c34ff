package argolive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/mf-run/mf/backends/live/cluster"
)

// TestPutBack: an undo puts back what the deploy itself has left, and nothing that somebody else has changed since.
func TestPutBack(t *testing.T) {
	const before, after, since = "1", "2", "3"
	made := func(k *kind, version, note string) object {
		return object{"apiVersion": argoGroup + "/" + argoVersion, "kind": k.name, "metadata": map[string]any{
			"name": "train", "resourceVersion": version, "annotations": map[string]any{annotationApplied: note}}}
	}
	for name, c := range map[string]struct {
		kind          *kind
		existed       bool
		after         string // as this deploy left it; empty: not known
		version, note string // now
		wrote         string
		err           error
	}{
		"as left":                       {workflowTemplates, true, after, after, "ours", "PUT PUT", nil},
		"as left, new":                  {workflowTemplates, false, after, after, "ours", "DELETE", nil},
		"deployed by another":           {workflowTemplates, true, after, since, "theirs", "", errChangedSince},
		"deployed by another, new":      {workflowTemplates, false, after, since, "theirs", "", errChangedSince},
		"the same deployed by another":  {workflowTemplates, true, after, since, "ours", "", errChangedSince},
		"a schedule that has run":       {cronWorkflows, true, after, since, "ours", "PUT PUT", nil},
		"a schedule by another":         {cronWorkflows, true, after, since, "theirs", "", errChangedSince},
		"no answer, but done":           {workflowTemplates, true, "", since, "ours", "PUT PUT", nil},
		"no answer, and not done":       {workflowTemplates, true, "", before, "before", "", nil},
		"no answer, and another's":      {workflowTemplates, true, "", since, "theirs", "", nil},
		"no answer, new, and another's": {workflowTemplates, false, "", since, "theirs", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := made(c.kind, c.version, c.note)
			var wrote []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.Method != http.MethodGet {
					wrote = append(wrote, r.Method)
					_, _ = io.Copy(io.Discard, r.Body)
				}
				_ = json.NewEncoder(w).Encode(now)
			}))
			defer server.Close()
			e, err := On(&cluster.Cluster{Config: &rest.Config{Host: server.URL}, Namespace: "ml", Server: server.URL}, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := step{item: item{c.kind, made(c.kind, "", "ours")}, after: c.after}
			if c.existed {
				s.before = made(c.kind, before, "before")
			}
			changed, err := e.putBack(t.Context(), s)
			if got := strings.Join(wrote, " "); got != c.wrote || changed != (c.wrote != "") || !errors.Is(err, c.err) {
				t.Errorf("wrote %q, %t, %v; want %q, %v", got, changed, err, c.wrote, c.err)
			}
		})
	}
}

// TestMark: the mark tells one form of a template from another, and is no news in a plan.
func TestMark(t *testing.T) {
	marks := map[string]bool{}
	for _, replace := range [][]string{{}, {"python:3.12-slim", "python:3.13-slim"}, {}} {
		o := parse(t, template, replace...)
		plain := o.clone()
		if err := o.mark(); err != nil {
			t.Fatal(err)
		}
		if got := text(compare(plain, o, nil)) + text(compare(o, plain, plain)); got != "" {
			t.Error(got)
		}
		if len(o.marked()) != 16 {
			t.Errorf("the mark is %q", o.marked())
		}
		marks[fmt.Sprint(replace, o.marked())] = true
		marks[o.marked()] = true
	}
	if len(marks) != 4 {
		t.Errorf("two forms have the marks %v", marks)
	}
}
