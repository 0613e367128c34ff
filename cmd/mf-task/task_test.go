//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

const linearFlow = `
from metaflow import FlowSpec, Parameter, current, project, step
import helper

@project(name="shop")
class Linear(FlowSpec):
    alpha = Parameter("alpha", default=3)

    @step
    def start(self):
        self.x = helper.twice(self.alpha)
        self.next(self.middle)

    @step
    def middle(self):
        print("x is", self.x, "in", current.namespace, current.project_flow_name, sorted(current.tags))
        self.y = [self.x]
        self.next(self.end)

    @step
    def end(self):
        print("y is", self.y)

if __name__ == "__main__":
    Linear()
`

const helper = "def twice(n):\n    return 2 * n\n"

// TestPythonTasks runs a flow as an engine would, with a metadata service, and counts what it asks of both.
func TestPythonTasks(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", linearFlow, "helper.py", helper)
	db, service := serve(t)
	s.count()
	calls, serviceURL := record(t, service.URL)
	s.env = append(s.env, ir.EnvServiceURL+"="+serviceURL, "MF_PARAM_alpha=21", ir.EnvUser+"=ann", ir.EnvTags+"=a, b",
		ir.EnvBranch+"=prod", ir.EnvProductionToken+"=tok-1", ir.EnvRuntime+"=argo-workflows")
	// What a task may ask of the datastore and of the service: that of a linear step matters most.
	for _, c := range []struct {
		step            string
		requests, calls int
	}{{"start", 24, 6}, {"middle", 18, 4}, {"end", 16, 5}} {
		s.run(0, c.step, "", 0)
		requests, asked := s.requests.take(), calls.take()
		t.Logf("%s: %d requests to the datastore, %d to the service", c.step, len(requests), len(asked))
		if len(requests) > c.requests || len(asked) > c.calls {
			t.Errorf("%s makes %d and %d requests, want at most %d and %d:\n%s\n%s", c.step, len(requests), len(asked),
				c.requests, c.calls, strings.Join(requests, "\n"), strings.Join(asked, "\n"))
		}
	}
	if got, want := s.log("middle", "t", 0), "x is 42 in production:tok-1 shop.prod.Linear ['a', 'b']\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	if state := s.state("end", "t"); state.Status != "succeeded" {
		t.Errorf("end stands at %+v", state)
	}
	run, err := db.Run(t.Context(), "Linear", "prod-1")
	if err != nil || run.Status != metadata.Succeeded || run.UserName != "ann" || run.LastHeartbeat == 0 || run.FinishedMs == 0 {
		t.Errorf("the run is %+v, %v", run, err)
	}
	for _, tag := range []string{"runtime:argo-workflows", "production:tok-1", "project:shop", "project_branch:prod"} {
		if !strings.Contains(strings.Join(run.SystemTags, " "), tag) {
			t.Errorf("no system tag %s in %v", tag, run.SystemTags)
		}
	}
	tasks, err := db.Tasks(t.Context(), "Linear", "prod-1", "")
	if err != nil || len(tasks) != 4 {
		t.Errorf("%d tasks, %v; want 4 with _parameters", len(tasks), err)
	}
	rows, err := db.Metadata(t.Context(), "Linear", "prod-1", "middle", "t")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, row := range rows {
		values[row.FieldName] = row.Value
	}
	if !strings.Contains(values["code-package"], s.digest) || values["attempt_ok"] != "True" || values["python_version"] == "" ||
		values["ds-root"] != s.root {
		t.Errorf("metadata of middle: %v", values)
	}
	arts, err := db.Artifacts(t.Context(), "Linear", "prod-1", "middle", "t")
	if err != nil || len(arts) == 0 {
		t.Errorf("no artifacts of middle: %v", err)
	}
	rec, done, err := s.store.Latest(t.Context(), s.ref("middle", "t"))
	if err != nil || !done || rec.PythonVersion == "" {
		t.Errorf("the record of middle has Python %q, done %t, %v", rec.PythonVersion, done, err)
	}
}

const commandFlow = `flow: Commands
steps:
  start:
    run: [mf-task, put, greeting, --text, word.txt]
    outputs: [greeting]
    next: end
  end:
    run: [mf-task, get, greeting]
`

// TestCommandTasks runs command steps where there is nothing else: no PATH, no shell.
func TestCommandTasks(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.yaml", commandFlow, "word.txt", "hello")
	s.env = append(s.env, envPython+"=/nowhere")
	s.run(0, "start", "", 0)
	s.run(0, "end", "", 0)
	if got := s.log("end", "t", 0); got != "\"hello\"\n" {
		t.Errorf("log %q", got)
	}
}

const foreachFlow = `
from metaflow import FlowSpec, step

class Each(FlowSpec):
    @step
    def start(self):
        self.xs = list(range(40))
        self.next(self.work, foreach="xs")

    @step
    def work(self):
        self.y = self.input * 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.y for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print("total", self.total)

if __name__ == "__main__":
    Each()
`

// TestForeach packs the splits into one container and counts what their join asks for.
func TestForeach(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", foreachFlow)
	s.run(0, "start", "", 0)
	s.run(0, "work", "0..39", 0)
	s.count()
	s.run(0, "join", "", 0)
	requests := s.requests.take()
	t.Logf("join of 40: %d requests to the datastore", len(requests))
	// For each split its attempts, its record and its y, which 40 distinct values make 40 blobs.
	if want := 3*40 + 30; len(requests) > want {
		t.Errorf("%d requests, want at most %d:\n%s", len(requests), want, strings.Join(requests, "\n"))
	}
	s.run(0, "end", "", 0)
	if got := s.log("end", "t", 0); got != "total 1560\n" {
		t.Errorf("log %q", got)
	}
}

const configFlow = `
from metaflow import Config, FlowSpec, config_expr, step

def parse(text):
    import json
    return {"n": json.loads(text)["n"] + 1}

class Configured(FlowSpec):
    cfg = Config("cfg", default="cfg.json", parser=parse)

    @step
    def start(self):
        print("n is", self.cfg.n)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Configured()
`

// TestConfigs has a task use the value that the flow was compiled with, which no file or parser may change again.
func TestConfigs(t *testing.T) {
	s := deployChanged(t, testserver.NewBucket(t), func(flow *ir.Flow) {
		if got := string(flow.Configs[0].Value); got != `{"n":42}` {
			t.Errorf("compiled with %s", got)
		}
		flow.Configs[0].Value = []byte(`{"n": 7}`)
	}, "flow.py", configFlow, "cfg.json", `{"n": 41}`)
	s.run(0, "start", "", 0)
	if got := s.log("start", "t", 0); got != "n is 7\n" {
		t.Errorf("log %q", got)
	}
}
