package argolive

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends/live"
)

// ended is the status of a run as the controller leaves it: start succeeded at its second try, fit has splits of which one
// was out of memory and one failed three times, other was left out, and the exit handler ran.
const ended = `{
 "w": {"id": "w", "displayName": "w", "type": "DAG", "templateName": "Train", "phase": "Failed", "startedAt": "2026-11-02T10:00:00Z"},
 "w-1": {"id": "w-1", "displayName": "start", "type": "Retry", "templateName": "start", "phase": "Succeeded", "startedAt": "2026-11-02T10:00:00Z", "children": ["w-2", "w-3"]},
 "w-2": {"id": "w-2", "displayName": "start(0)", "type": "Pod", "templateName": "start", "phase": "Failed", "message": "main: Error (exit code 1)", "startedAt": "2026-11-02T10:00:00Z"},
 "w-3": {"id": "w-3", "displayName": "start(1)", "type": "Pod", "templateName": "start", "phase": "Succeeded", "startedAt": "2026-11-02T10:01:00Z"},
 "w-4": {"id": "w-4", "displayName": "fit", "type": "TaskGroup", "templateName": "fit-all", "phase": "Failed", "startedAt": "2026-11-02T10:02:00Z"},
 "w-5": {"id": "w-5", "displayName": "fit(0:0)", "type": "Pod", "templateName": "fit-all", "phase": "Succeeded", "startedAt": "2026-11-02T10:02:00Z"},
 "w-6": {"id": "w-6", "displayName": "fit(1:1)", "type": "Pod", "templateName": "fit-all", "phase": "Failed", "message": "main: OOMKilled (exit code 137)", "startedAt": "2026-11-02T10:02:01Z"},
 "w-7": {"id": "w-7", "displayName": "fit(2:2)", "type": "Retry", "templateName": "fit-all", "phase": "Failed", "message": "No more retries left", "startedAt": "2026-11-02T10:02:02Z", "children": ["w-8", "w-9"]},
 "w-8": {"id": "w-8", "displayName": "fit(2:2)(0)", "type": "Pod", "templateName": "fit-all", "phase": "Failed", "message": "main: Error (exit code 1)", "startedAt": "2026-11-02T10:02:02Z"},
 "w-9": {"id": "w-9", "displayName": "fit(2:2)(1)", "type": "Pod", "templateName": "fit-all", "phase": "Error", "message": "pod deleted", "startedAt": "2026-11-02T10:02:09Z"},
 "w-a": {"id": "w-a", "displayName": "other", "type": "Skipped", "templateName": "other", "phase": "Skipped", "startedAt": "2026-11-02T10:01:30Z"},
 "w-b": {"id": "w-b", "displayName": "w.onExit", "type": "Pod", "templateName": "on-exit", "phase": "Succeeded", "startedAt": "2026-11-02T10:04:00Z"},
 "w-c": {"id": "w-c", "displayName": "body", "type": "Skipped", "templateName": "start-foreach-x", "phase": "Skipped", "startedAt": "2026-11-02T10:04:00Z"}
}`

const wantEnded = `start succeeded map[succeeded:1]
other skipped map[skipped:1]
fit_all failed map[failed:2 succeeded:1]
  task fit(1:1): main: OOMKilled (exit code 137) (out of memory, give the step more)
  task fit(2:2)(0): main: Error (exit code 1)
  task fit(2:2)(1): pod deleted (somebody or the cluster removed the pod)
on-exit succeeded map[succeeded:1]`

var trainSteps = map[string]string{"start": "start", "fit-all": "fit_all", "other": "other"}

func described(steps []live.Step) string {
	var lines []string
	for _, s := range steps {
		lines = append(lines, fmt.Sprintf("%s %s %v", s.Name, s.Phase, s.Tasks))
		for _, p := range s.Problems {
			lines = append(lines, "  "+p)
		}
	}
	return strings.Join(lines, "\n")
}

func TestStepsOfNodes(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(ended)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*workflow{
		"plain":      {Status: workflowStatus{Nodes: json.RawMessage(ended)}},
		"compressed": {Status: workflowStatus{CompressedNodes: base64.StdEncoding.EncodeToString(zipped.Bytes())}},
	} {
		nodes, err := w.nodes()
		if err != nil {
			t.Fatal(err)
		}
		if got := described(stepsOfNodes(w.counter(), nodes, trainSteps, false, nil)); got != wantEnded {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, wantEnded)
		}
	}
	for _, text := range []string{"!", base64.StdEncoding.EncodeToString([]byte("no gzip"))} {
		w := workflow{Status: workflowStatus{CompressedNodes: text}}
		if _, err := w.nodes(); err == nil {
			t.Errorf("%q is a state of tasks", text)
		}
	}
}

// podOf reads a pod's status as the kubelet writes it.
func podOf(t *testing.T, node, status string) pod {
	t.Helper()
	var p pod
	text := fmt.Sprintf(`{"metadata": {"name": "pod-%s", "labels": {"mf.run/step": "fit_all"}, "annotations": {"workflows.argoproj.io/node-id": %q}},
		"spec": {"containers": [{"name": "wait"}, {"name": "main", "resources": {"requests": {"cpu": "1", "memory": "4096M", "nvidia.com/gpu": "1"}}}]}, "status": %s}`, node, node, status)
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPodProblems(t *testing.T) {
	event := podOf(t, "a", `{"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]}`)
	event.event = `FailedMount: MountVolume.SetUp failed for volume "db" : secret "db" not found`
	for name, test := range map[string]struct {
		pod  pod
		want string
	}{
		"image": {podOf(t, "a", `{"phase": "Pending", "containerStatuses": [{"name": "main", "image": "acme/no:1", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}]}`),
			"image acme/no:1 cannot be pulled (ImagePullBackOff): Back-off pulling image"},
		"image of mf-task": {podOf(t, "a", `{"phase": "Pending", "initContainerStatuses": [{"name": "mf-task", "image": "x", "state": {"waiting": {"reason": "ErrImagePull"}}}], "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]}`),
			"image x cannot be pulled (ErrImagePull): "},
		"secret": {podOf(t, "a", `{"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"db\" not found"}}}]}`),
			`container main cannot start (CreateContainerConfigError): secret "db" not found`},
		"no node": {podOf(t, "a", `{"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}]}`),
			"no node takes it (it asks for cpu 1, memory 4096M; @resources, or the settings argo.cpu, argo.memory and argo.disk, ask for less): 0/1 nodes are available: 1 Insufficient memory."},
		"no such node": {podOf(t, "a", `{"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."}]}`),
			"no node takes it: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		"volume":  {event, `FailedMount: MountVolume.SetUp failed for volume "db" : secret "db" not found (a volume or a secret is missing)`},
		"memory":  {podOf(t, "a", `{"phase": "Failed", "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}`), "main: OOMKilled (exit code 137) (out of memory, give the step more)"},
		"evicted": {podOf(t, "a", `{"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}`), "Evicted: The node was low on resource: memory. (the node was short of resources)"},
		"fine":    {podOf(t, "a", `{"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}`), ""},
		"begins":  {podOf(t, "a", `{"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]}`), ""},
		"done":    {podOf(t, "a", `{"phase": "Succeeded", "containerStatuses": [{"name": "wait", "state": {"terminated": {"exitCode": 1}}}]}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.pod.problem(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestManyProblems: what a hundred pods suffer from is one line.
func TestManyProblems(t *testing.T) {
	nodes, pods := map[string]node{}, []pod{}
	for i := range 100 {
		id := fmt.Sprintf("n%03d", i)
		nodes[id] = node{ID: id, Type: "Pod", TemplateName: "fit-all", Phase: "Pending", DisplayName: id}
		pods = append(pods, podOf(t, id, `{"phase": "Pending", "containerStatuses": [{"name": "main", "image": "no", "state": {"waiting": {"reason": "ErrImagePull", "message": "not there"}}}]}`))
	}
	for i := range 8 {
		id := fmt.Sprintf("x%d", i)
		nodes[id] = node{ID: id, Type: "Pod", TemplateName: "fit-all", Phase: "Failed", DisplayName: id, Message: fmt.Sprintf("main: Error (exit code %d)", i+1)}
	}
	steps := stepsOfNodes(newCounter(), nodes, trainSteps, false, pods)
	if len(steps) != 1 || steps[0].Phase != live.Running || !reflect.DeepEqual(steps[0].Tasks, map[live.Phase]int{live.Pending: 100, live.Failed: 8}) {
		t.Fatalf("%+v", steps)
	}
	p := steps[0].Problems
	if len(p) != maxProblems+1 || p[0] != "pod pod-n000 and 99 more: image no cannot be pulled (ErrImagePull): not there" || p[maxProblems] != "and 4 more" {
		t.Errorf("%q", p)
	}
	// A run whose state the controller keeps elsewhere is counted from its pods.
	if got := described(stepsOfPods(newCounter(), pods)); !strings.HasPrefix(got, "fit_all pending map[pending:100]\n  pod pod-n000 and 99 more") {
		t.Error(got)
	}
}

// TestTakenOver: what a resumed run has taken over has succeeded, though no pod was started for it: steps without a node, and
// part of those with some. The DAG that stands for such a step is no task.
func TestTakenOver(t *testing.T) {
	const nodes = `{
 "w": {"id": "w", "displayName": "w", "type": "DAG", "templateName": "Train", "phase": "Running", "startedAt": "2026-11-02T10:00:00Z"},
 "w-1": {"id": "w-1", "displayName": "start", "type": "DAG", "templateName": "start", "phase": "Succeeded", "startedAt": "2026-11-02T10:00:00Z", "children": ["w-2"]},
 "w-2": {"id": "w-2", "displayName": "taken-over", "type": "Skipped", "templateName": "start", "phase": "Skipped", "startedAt": "2026-11-02T10:00:00Z"},
 "w-3": {"id": "w-3", "displayName": "fit", "type": "TaskGroup", "templateName": "fit-all", "phase": "Running", "startedAt": "2026-11-02T10:02:00Z"},
 "w-4": {"id": "w-4", "displayName": "fit(0:3)", "type": "Pod", "templateName": "fit-all", "phase": "Running", "startedAt": "2026-11-02T10:02:00Z"}
}`
	var w workflow
	w.Metadata.Annotations = map[string]string{annotationTaken: `[{"step":"start","tasks":1},{"step":"begin","tasks":1},{"step":"fit_all","tasks":5}]`}
	w.Status.Nodes = json.RawMessage(nodes)
	// As the run's own templates say: that of a finished step is none of a step.
	steps := map[string]string{"fit-all": "fit_all"}
	read, err := w.nodes()
	if err != nil {
		t.Fatal(err)
	}
	want := "start succeeded map[succeeded:1]\nbegin succeeded map[succeeded:1]\nfit_all running map[running:1 succeeded:5]"
	if got := described(stepsOfNodes(w.counter(), read, steps, false, nil)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := described(stepsOfPods(w.counter(), []pod{podOf(t, "a", `{"phase": "Running"}`)})); !strings.HasSuffix(got, "fit_all running map[running:1 succeeded:5]") {
		t.Error(got)
	}
	w.Metadata.Annotations[annotationTaken] = "{}"
	if got := stepsOfNodes(w.counter(), read, steps, false, nil); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestPhases(t *testing.T) {
	for _, test := range []struct {
		phase, shutdown string
		want            live.Phase
	}{
		{"", "", live.Pending}, {"Pending", "", live.Pending}, {"Running", "", live.Running}, {"Running", "Stop", live.Running},
		{"Succeeded", "", live.Succeeded}, {"Failed", "", live.Failed}, {"Error", "", live.Failed}, {"Failed", "Terminate", live.Stopped},
	} {
		var w workflow
		w.Status.Phase, w.Spec.Shutdown = test.phase, test.shutdown
		if got := w.run().Phase; got != test.want {
			t.Errorf("%q, %q: %s", test.phase, test.shutdown, got)
		}
	}
}

func TestArguments(t *testing.T) {
	template := parse(t, template)
	got, err := argumentsOf(template, map[string]string{"data": "x"})
	if err != nil || compactJSON(got) != `[{"name":"data","value":"x"}]` {
		t.Errorf("%v, %v", got, err)
	}
	_, err = argumentsOf(template, map[string]string{"dta": "x"})
	want := "parameter data has no default and must be given\nthere is no parameter dta\ntrain takes: alpha (default 0.1), data"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err := argumentsOf(parse(t, cron), map[string]string{"a": ""}); err == nil || !strings.Contains(err.Error(), "takes no parameters") {
		t.Errorf("got %v", err)
	}
}

// gangTwice is a gang of two, both of which are tried again after one has failed; %s stands for how the last try goes.
const gangTwice = `{
 "r": {"id": "r", "displayName": "train", "type": "Retry", "templateName": "train-gang", "phase": "%[1]s", "children": ["g0", "g1"]},
 "g0": {"id": "g0", "displayName": "train(0)", "type": "DAG", "templateName": "train-gang", "phase": "Failed", "children": ["t0"]},
 "t0": {"id": "t0", "displayName": "train", "type": "TaskGroup", "templateName": "train", "phase": "Failed", "boundaryID": "g0"},
 "a0": {"id": "a0", "displayName": "train(0:0)", "type": "Pod", "templateName": "train", "phase": "Succeeded", "boundaryID": "g0"},
 "b0": {"id": "b0", "displayName": "train(1:1)", "type": "Pod", "templateName": "train", "phase": "Failed", "message": "first", "boundaryID": "g0"},
 "g1": {"id": "g1", "displayName": "train(1)", "type": "DAG", "templateName": "train-gang", "phase": "%[1]s", "children": ["t1"]},
 "a1": {"id": "a1", "displayName": "train(0:0)", "type": "Pod", "templateName": "train", "phase": "Succeeded", "boundaryID": "g1"},
 "b1": {"id": "b1", "displayName": "train(1:1)", "type": "Pod", "templateName": "train", "phase": "%[2]s", "message": "second", "boundaryID": "g1"}
}`

// TestStatusOfGangs: of a gang that is tried again as a whole, the last try counts.
func TestStatusOfGangs(t *testing.T) {
	for _, c := range []struct{ whole, member, want string }{
		{"Succeeded", "Succeeded", "train succeeded map[succeeded:2]"},
		{"Running", "Running", "train running map[running:1 succeeded:1]\n  task train(1:1): second"},
		{"Running", "Failed", "train running map[pending:1 succeeded:1]\n  task train(1:1): second"},
		{"Failed", "Failed", "train failed map[failed:1 succeeded:1]\n  task train(1:1): second"},
	} {
		w := workflow{Status: workflowStatus{Nodes: json.RawMessage(fmt.Sprintf(gangTwice, c.whole, c.member))}}
		nodes, err := w.nodes()
		if err != nil {
			t.Fatal(err)
		}
		if got := described(stepsOfNodes(w.counter(), nodes, map[string]string{"train": "train"}, false, nil)); got != c.want {
			t.Errorf("%s, %s:\n%s\nwant:\n%s", c.whole, c.member, got, c.want)
		}
	}
}
