package argolive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

func files(texts ...string) live.Deployment {
	d := live.Deployment{Name: "train", Token: "token-1"}
	for i, text := range texts {
		d.Files = append(d.Files, backends.File{Path: fmt.Sprintf("%d.yaml", i), Data: []byte(text)})
	}
	return d
}

func TestReadFiles(t *testing.T) {
	d := files(cron+"---"+template, "# nothing but a comment\n")
	d.Files = append(d.Files, backends.File{Path: "README.md", Data: []byte("no object")})
	items, err := readFiles(d, "ml")
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 2 || items[0].title() != "WorkflowTemplate train" || items[1].title() != "CronWorkflow train" {
		t.Fatalf("%v", items)
	}
	if items[0].token() != "token-1" || items[1].token() != "" || items[0].text("namespace") != "ml" || items[1].applied() == nil {
		t.Errorf("%v", items[0].object["metadata"])
	}
	for text, want := range map[string]string{
		"kind: [":                        "0.yaml",
		"kind: Pod\nmetadata: {name: x}": `objects of kind "Pod"`,
		"kind: CronWorkflow":             "has no name",
		"kind: WorkflowTemplate\nmetadata: {name: x, namespace: far}": "is for namespace far",
		"": "no objects",
	} {
		if _, err := readFiles(files(text), "ml"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestNoteHasABound: a huge object goes without the note, and a note is small for what it holds.
func TestNoteHasABound(t *testing.T) {
	var large, random strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&large, "    - {name: step-%d, container: {args: [run, --flow, F, --step, step_%d]}, metadata: {labels: {mf.run/step: step_%d}}}\n", i, i, i)
		fmt.Fprintf(&random, "    - {name: step-%x}\n", strings.Repeat(fmt.Sprint(i*i*i*7919%1000003, i*i*104729%999983), 7))
	}
	for text, want := range map[string]bool{large.String(): true, random.String(): true, random.String() + strings.ReplaceAll(random.String(), "1", "7") + strings.ReplaceAll(random.String(), "2", "5"): false} {
		o := parse(t, "kind: WorkflowTemplate\nmetadata: {name: x}\nspec:\n  templates:\n"+text)
		if err := o.noteApplied(); err != nil {
			t.Fatal(err)
		}
		n := len(o.annotation(annotationApplied))
		t.Logf("%d bytes of YAML, a note of %d", len(text), n)
		if n > maxApplied || want != (n > 0) {
			t.Errorf("%d bytes of YAML, a note of %d", len(text), n)
		}
	}
}

// TestBelongs: of another deployment whose name begins alike nothing is touched.
func TestBelongs(t *testing.T) {
	for text, want := range map[string]bool{
		`{metadata: {name: train}}`:                                     true,
		`{metadata: {name: train, labels: {mf.run/deployment: train}}}`: true,
		`{metadata: {name: extra, labels: {mf.run/deployment: train}}}`: true,
		`{metadata: {name: train, labels: {mf.run/deployment: other}}}`: false,
		`{metadata: {name: train2}}`:                                    false,
	} {
		if got := parse(t, text).belongs("train"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// answers is an API server that gives the same answer to everything.
func answers(t *testing.T, code int, body string) *Engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	e, err := On(&cluster.Cluster{Config: &rest.Config{Host: server.URL}, Namespace: "ml", Server: server.URL}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNotInstalled(t *testing.T) {
	for name, e := range map[string]*Engine{
		"no group":         answers(t, http.StatusNotFound, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`),
		"only Argo Events": answers(t, http.StatusOK, `{"kind": "APIResourceList", "resources": [{"name": "sensors"}]}`),
	} {
		if _, err := e.Plan(t.Context(), files(template)); !errors.Is(err, live.ErrUnavailable) || !strings.Contains(err.Error(), "not installed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := answers(t, http.StatusOK, `{"kind": "APIResourceList", "resources": [{"name": "workflowtemplates"}]}`)
	sensor := strings.Replace(cron, "CronWorkflow", "Sensor", 1)
	if _, err := e.Plan(t.Context(), files(sensor)); !errors.Is(err, live.ErrUnavailable) || !strings.Contains(err.Error(), "install Argo Events") {
		t.Errorf("got %v", err)
	}
	e = answers(t, http.StatusServiceUnavailable, `{"kind": "Status", "apiVersion": "v1", "reason": "ServiceUnavailable", "code": 503}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Plan(ctx, files(template)); err == nil || errors.Is(err, live.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	e = answers(t, http.StatusOK, "<html>a proxy's page</html>")
	if _, err := e.Plan(t.Context(), files(template)); err == nil || !strings.Contains(err.Error(), "reading the cluster's answer") {
		t.Errorf("got %v", err)
	}
}

func TestOpenSaysTheWaysOut(t *testing.T) {
	_, err := Open(Options{})
	if !errors.Is(err, cluster.ErrNone) || !strings.Contains(err.Error(), "--kubeconfig or KUBECONFIG") {
		t.Errorf("got %v", err)
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{"": false, "latest": false, "v3.7.14": false, "v4.0.2": false, "v3.6.0": false, "v3.5.13": true, "v2.12.0": true} {
		if tooOld(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}

// FuzzCompare: whatever is on the cluster, it does not differ from itself, and a note of it says what it says.
func FuzzCompare(f *testing.F) {
	f.Add([]byte(template))
	f.Add([]byte(cron))
	f.Add([]byte(`{kind: WorkflowTemplate, spec: {templates: [1, {name: [x]}, {dag: {tasks: [null, {name: 3}]}}], arguments: {parameters: {a: b}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := decode(data)
		if err != nil {
			return
		}
		for _, o := range objects {
			if got := compare(o, o.clone(), o.clone()); len(got) > 0 {
				t.Errorf("%v", got)
			}
			collectNeeds(o, map[need][]string{})
			sensorNeeds(o)
			if _, err := argumentsOf(o, nil); err != nil {
				continue
			}
		}
	})
}

// FuzzNodes: whatever the controller's state of a run is, it is counted or refused.
func FuzzNodes(f *testing.F) {
	f.Add([]byte(ended), "")
	f.Add([]byte("{}"), "H4sIAAAAAAAA/6uuBQBDv6ajAgAAAA==")
	f.Fuzz(func(t *testing.T, nodes []byte, compressed string) {
		w := workflow{Status: workflowStatus{Nodes: nodes, CompressedNodes: compressed}}
		read, err := w.nodes()
		if err != nil {
			return
		}
		for _, s := range stepsOfNodes(newCounter(), read, trainSteps, false, nil) {
			if len(s.Tasks) == 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
