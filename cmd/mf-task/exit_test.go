//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

// posts is a server that keeps what is posted to it.
type posts struct {
	mu      sync.Mutex
	list    []post
	answers []int // the codes of the next answers; 200 after them
}

type post struct {
	path   string
	header http.Header
	body   map[string]any
}

// listen starts it and returns its URL.
func listen(t *testing.T, answers ...int) (*posts, string) {
	t.Helper()
	p := &posts{answers: answers}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got := post{path: r.URL.Path, header: r.Header}
		if err := json.Unmarshal(data, &got.body); err != nil {
			t.Errorf("not JSON: %s", data)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.list = append(p.list, got)
		if len(p.answers) > 0 {
			w.WriteHeader(p.answers[0])
			p.answers = p.answers[1:]
		}
	}))
	t.Cleanup(s.Close)
	return p, s.URL
}

func (p *posts) take() []post {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.list
	p.list = nil
	return list
}

// exit runs an exit invocation to its end, and checks the exit code.
func (s *site) exit(want int, status string, more ...string) *task {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	inv := ir.ExitInvocation{Flow: s.flow.Name, Run: "prod-1", Status: status}
	t := &task{Cmd: exec.Command(self, inv.Args()...), t: s.t, ended: make(chan struct{})}
	t.Env = append(slices.Clone(s.env), more...)
	t.Dir = s.t.TempDir()
	t.Stdout, t.Stderr = &t.stdout, &t.stderr
	if err := t.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = t.Wait() // the code says it
		close(t.ended)
	}()
	s.t.Cleanup(func() { _ = t.Process.Kill() })
	if got := t.code(); got != want {
		s.t.Fatalf("exit code %d, want %d\n%s%s", got, want, &t.stdout, &t.stderr)
	}
	return t
}

const hookFlow = `
import os
from metaflow import FlowSpec, Run, exit_hook, project, step

def well(run):
    print("well:", run.pathspec, run.successful, run["start"].task.data.x, os.environ["MF_STATUS"])

def first():
    print("first", [name for name in os.environ if name.startswith("MF_NOTIFY_SLACK")])

def broken():
    raise ValueError("no luck")

def last(run):
    print("last:", run.pathspec, run.finished)

@project(name="shop")
@exit_hook(on_success=[well], on_error=[first, "broken", last])
class Hooked(FlowSpec):
    @step
    def start(self):
        self.x = 7
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Hooked()
`

// failures is what Argo says, quoted as it quotes it.
const failures = `[{"displayName":"hooked","message":"child 'x' failed","finishedAt":"2026-11-23T08:00:09Z"},` +
	`{"displayName":"later","message":"Error (exit code 1)","finishedAt":"2026-11-23T08:00:05Z"},` +
	`{"displayName":"start","message":"OOMKilled (exit code 137)","finishedAt":"2026-11-23T08:00:01Z"}]`

// TestExitOfFailure ends a run of which no task could say anything: its pods were never started.
func TestExitOfFailure(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", hookFlow)
	db, service := serve(t)
	told, url := listen(t, http.StatusServiceUnavailable)
	s.env = append(s.env, ir.EnvServiceURL+"="+service.URL, ir.EnvRuntime+"=argo-workflows", ir.EnvUser+"=ann", ir.EnvBranch+"=prod",
		ir.EnvNotifyOn+"=error", ir.EnvNotifySlack+"="+url+"/services/T0/hush", ir.EnvNotifyPagerDuty+"=hush-key",
		envPagerDutyURL+"="+url+"/", ir.EnvNotifyWebhook+"="+url+"/hook", ir.EnvRunURL+"=https://argo/x",
		ir.EnvFailures+"="+strconv.Quote(failures))
	end := s.exit(1, "Failed")
	run, err := db.Run(t.Context(), "Hooked", "prod-1")
	why := "start: OOMKilled (exit code 137) (and 1 more)"
	if err != nil || run.Status != metadata.Failed || run.FinishedMs == 0 || run.UserName != "ann" ||
		run.Failure != "argo-workflows: Failed: "+why || !slices.Contains(run.SystemTags, "project_branch:prod") {
		t.Errorf("the run is %+v, %v", run, err)
	}
	if got, want := end.stdout.String(), "first []\nlast: Hooked/prod-1 False\n"; got != want {
		t.Errorf("the hooks print %q, want %q", got, want)
	}
	if text := end.stderr.String(); !strings.Contains(text, "the exit hook broken failed: builtins.ValueError: no luck") ||
		strings.Contains(text, "hush") {
		t.Errorf("stderr: %s", text)
	}
	list := told.take()
	if len(list) != 4 {
		t.Fatalf("%d posts: %+v", len(list), list)
	}
	summary := "Hooked/prod-1 failed: " + why
	if got := list[1]; got.path != "/services/T0/hush" || got.body["text"] != ":rotating_light: "+summary+" <https://argo/x|show>" {
		t.Errorf("Slack is told %+v", got)
	}
	if got := list[2]; got.path != "/v2/enqueue" || got.body["routing_key"] != "hush-key" || got.body["dedup_key"] != "Hooked/prod-1" ||
		got.body["payload"].(map[string]any)["summary"] != summary {
		t.Errorf("PagerDuty is told %+v", got)
	}
	if got := list[3]; got.path != "/hook" || got.body["success"] != false || got.body["failure"] != why || got.body["branch"] != "prod" {
		t.Errorf("the webhook is told %+v", got)
	}
	// Done once more, as by a pod that is started again, it changes no record.
	s.exit(1, "Error")
	if again, err := db.Run(t.Context(), "Hooked", "prod-1"); err != nil || again.Failure != run.Failure || again.FinishedMs != run.FinishedMs {
		t.Errorf("the run is %+v, %v", again, err)
	}
}

// TestExitOfSuccess: the hook reads the run with the client, and a notification that fails leaves the record alone.
func TestExitOfSuccess(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", hookFlow)
	db, service := serve(t)
	told, url := listen(t)
	s.env = append(s.env, ir.EnvServiceURL+"="+service.URL, ir.EnvNotifyPagerDuty+"=key", envPagerDutyURL+"="+url)
	s.run(0, "start", "", 0)
	s.run(0, "end", "", 0)
	before, err := db.Run(t.Context(), "Hooked", "prod-1")
	if err != nil || before.Status != metadata.Succeeded {
		t.Fatalf("%+v, %v", before, err)
	}
	end := s.exit(0, "Succeeded", ir.EnvNotifyOn+"=both")
	if got, want := end.stdout.String(), "well: Hooked/prod-1 True 7 succeeded\n"; got != want {
		t.Errorf("the hook prints %q, want %q\n%s", got, want, &end.stderr)
	}
	if list := told.take(); len(list) != 1 || list[0].path != "/v2/change/enqueue" {
		t.Errorf("%+v", list)
	}
	s.exit(0, "Succeeded", ir.EnvNotifyOn+"=error")
	if list := told.take(); len(list) != 0 {
		t.Errorf("a success is told as an error: %+v", list)
	}
	told.answers = []int{http.StatusBadRequest}
	end = s.exit(1, "Succeeded", ir.EnvNotifyOn+"=success")
	if !strings.Contains(end.stderr.String(), "notifying PagerDuty: the server answered 400") {
		t.Errorf("stderr: %s", &end.stderr)
	}
	if after, err := db.Run(t.Context(), "Hooked", "prod-1"); err != nil || after.Status != metadata.Succeeded || after.FinishedMs != before.FinishedMs {
		t.Errorf("the run is %+v, %v", after, err)
	}
	if end = s.exit(1, "Succeeded", ir.EnvNotifyOn+"=both", ir.EnvNotifyPagerDuty+"="); !strings.Contains(end.stderr.String(), "nobody is to be notified") {
		t.Errorf("stderr: %s", &end.stderr)
	}
	for _, bad := range []string{ir.EnvNotifyOn + "=always", ir.EnvDatastore + "="} {
		s.exit(2, "Succeeded", bad)
	}
	if end = s.exit(2, ""); !strings.Contains(end.stderr.String(), "--status is missing") {
		t.Errorf("stderr: %s", &end.stderr)
	}
}

// TestExitWithoutCode: a run that failed since its code is gone is recorded and told of all the same.
func TestExitWithoutCode(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", hookFlow)
	db, service := serve(t)
	told, url := listen(t)
	end := s.exit(1, "Failed", ir.EnvServiceURL+"="+service.URL, ir.EnvNotifyOn+"=both", ir.EnvNotifyWebhook+"="+url,
		ir.EnvPackage+"="+strings.Repeat("0", 40))
	if run, err := db.Run(t.Context(), "Hooked", "prod-1"); err != nil || run.Status != metadata.Failed {
		t.Errorf("the run is %+v, %v", run, err)
	}
	if list := told.take(); len(list) != 1 {
		t.Errorf("%+v", list)
	}
	if end.stdout.Len() > 0 || !strings.Contains(end.stderr.String(), strings.Repeat("0", 40)) {
		t.Errorf("%s%s", &end.stdout, &end.stderr)
	}
}

const commandHooks = `flow: Commands
decorators:
  exit_hook:
    on_success: echo $MF_PATHSPEC $MF_STATUS; cat word.txt
    on_error: [[cat, word.txt], exit 3]
steps:
  start:
    run: "true"
    next: end
  end:
    run: "true"
`

// TestCommandHooks: the hooks of a YAML flow are commands.
func TestCommandHooks(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.yaml", commandHooks, "word.txt", "hello\n")
	s.env = append(s.env, "PATH="+os.Getenv("PATH"))
	if end := s.exit(0, "succeeded"); end.stdout.String() != "Commands/prod-1 succeeded\nhello\n" {
		t.Errorf("%s%s", &end.stdout, &end.stderr)
	}
	if end := s.exit(1, "Failed"); end.stdout.String() != "hello\n" || !strings.Contains(end.stderr.String(), "the exit hook exit 3 failed: exit status 3") {
		t.Errorf("%s%s", &end.stdout, &end.stderr)
	}
}

const slowHook = `
import time
from metaflow import FlowSpec, exit_hook, step

def slow():
    print("begun", flush=True)
    time.sleep(600)

@exit_hook(on_error=[slow, slow])
class Slow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Slow()
`

// TestExitStopped: SIGTERM ends a hook, and with it the invocation.
func TestExitStopped(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", slowHook)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, ir.ExitInvocation{Flow: "Slow", Run: "prod-1", Status: "Failed"}.Args()...)
	cmd.Env = s.env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	(&task{Cmd: cmd, t: t}).signal()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 143 || time.Since(begun) > 15*time.Second {
		t.Errorf("exit code %d after %s", got, time.Since(begun))
	}
}

const eventFlow = `
from metaflow import FlowSpec, current, project, step

@project(name="shop")
class Told(FlowSpec):
    @step
    def start(self):
        print(current.trigger.event.name, current.trigger.event.id)
        self.next(self.last)

    @step(end=True)
    def last(self):
        pass

if __name__ == "__main__":
    Told()
`

// TestEvents: a run says what started it, and its end is published as Metaflow does.
func TestEvents(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", eventFlow)
	db, service := serve(t)
	told, url := listen(t, http.StatusBadGateway)
	s.env = append(s.env, ir.EnvServiceURL+"="+service.URL, ir.EnvEventsURL+"="+url+"/events", ir.EnvEventsToken+"=hush", ir.EnvBranch+"=prod",
		ir.EnvEventPayloadPrefix+`event_ready_abcd={"name": "ready", "id": "7", "timestamp": 1700000000, "rows": 3}`,
		ir.EnvEventPayloadPrefix+"run_other_abcd=null", ir.EnvRuntime+"=argo-workflows")
	s.run(0, "start", "", 0)
	if got := s.log("start", "t", 0); got != "ready 7\n" {
		t.Errorf("log %q", got)
	}
	if list := told.take(); len(list) > 0 {
		t.Errorf("the start step publishes %+v", list)
	}
	rows, err := db.Metadata(t.Context(), "Told", "prod-1", "start", "t")
	if err != nil {
		t.Fatal(err)
	}
	if at := slices.IndexFunc(rows, func(m metadata.Metadatum) bool { return m.FieldName == "execution-triggers" }); at < 0 ||
		rows[at].Value != `[{"timestamp":1700000000,"id":"7","name":"ready","type":"event"}]` {
		t.Errorf("the start task's triggers are %+v", rows)
	}
	end := s.run(0, "last", "", 0)
	list := told.take()
	if len(list) != 2 {
		t.Fatalf("%d posts: %+v\n%s", len(list), list, &end.stderr)
	}
	got := list[1]
	payload := got.body["payload"].(map[string]any)
	for field, want := range map[string]any{
		"name": "metaflow.shop.prod.Told.end", "id": "Told/prod-1/last/t", "flow_name": "Told", "run_id": "prod-1", "project_name": "shop",
		"branch_name": "prod", "is_production": "True", "auto-generated-by-metaflow": "True",
	} {
		if payload[field] != want {
			t.Errorf("%s is %v, want %v", field, payload[field], want)
		}
	}
	if got.path != "/events" || got.header.Get("Authorization") != "Bearer hush" || got.body["name"] != payload["name"] {
		t.Errorf("%+v", got)
	}
	told.answers = []int{http.StatusForbidden}
	// A webhook that refuses fails nothing.
	if end = s.run(0, "last", "", 0); !strings.Contains(end.stderr.String(), "publishing the event metaflow.shop.prod.Told.end: the server answered 403") ||
		strings.Contains(end.stderr.String(), "hush") {
		t.Errorf("stderr: %s", &end.stderr)
	}
}

// TestFailures reads what Argo says, however much of it there is.
func TestFailures(t *testing.T) {
	const first = "start: OOMKilled (exit code 137)"
	quoted := strconv.Quote(failures)
	for text, want := range map[string]string{
		"": "", "x": "", "[]": "", `"`: "", `"[`: "", "{}": "", failures: first + " (and 1 more)", quoted: first + " (and 1 more)",
		quoted[:len(quoted)-4]: "later: Error (exit code 1)", `[{"message":"lost\nmore"}]`: "lost",
	} {
		if got := failureOf(text); got != want {
			t.Errorf("%.60q… gives %q, want %q", text, got, want)
		}
	}
}

func FuzzFailures(f *testing.F) {
	f.Add(failures)
	f.Add(strconv.Quote(failures))
	f.Fuzz(func(t *testing.T, text string) {
		if got := failureOf(text); strings.Contains(got, "\n") {
			t.Errorf("%q has several lines", got)
		}
	})
}
