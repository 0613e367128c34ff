//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

const gangFlow = `
from metaflow import FlowSpec, current, parallel, step
import os, signal, sys, time

class Together(FlowSpec):
    @step
    def start(self):
        self.next(self.work, num_parallel=3)

    @parallel
    @step
    def work(self):
        p = current.parallel
        self.said = [p.main_ip, p.num_nodes, p.node_index, p.control_task_id]
        self.env = sorted((k, v) for k, v in os.environ.items() if k.startswith("MF_PARALLEL_"))
        print("runs", flush=True)
        fate = os.environ.get("FATE_%d" % p.node_index)
        if fate == "fail":
            raise ValueError("asked to fail")
        if fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        wake = os.environ.get("WAKE")
        while wake and not os.path.exists(wake):
            time.sleep(0.05)
        self.next(self.join)

    @step
    def join(self, inputs):
        for i in inputs:
            print(*i.said)
        print(inputs[1].env)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Together()
`

// gang starts the members of the gang, each with an address of its own.
func (s *site) gang(attempt int, members []int, more ...string) []*task {
	var tasks []*task
	for _, i := range members {
		env := append([]string{fmt.Sprintf("%s=10.0.0.%d", ir.EnvAddress, i+1)}, more...)
		tasks = append(tasks, s.start("work", fmt.Sprint(i), attempt, env...))
	}
	return tasks
}

func codes(tasks []*task) []int {
	var list []int
	for _, t := range tasks {
		list = append(list, t.code())
	}
	return list
}

var everybody = []int{0, 1, 2}

// TestGang has three containers find each other, and reads what they say of themselves.
func TestGang(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", gangFlow)
	db, service := serve(t)
	s.env = append(s.env, ir.EnvServiceURL+"="+service.URL)
	s.run(0, "start", "", 0)
	if got := codes(s.gang(0, everybody)); !slices.Equal(got, []int{0, 0, 0}) {
		t.Fatalf("exit codes %v", got)
	}
	s.run(0, "join", "", 0)
	want := "10.0.0.1 3 0 t-0\n10.0.0.1 3 1 t-0\n10.0.0.1 3 2 t-0\n" +
		"[('MF_PARALLEL_CONTROL_TASK_ID', 't-0'), ('MF_PARALLEL_MAIN_IP', '10.0.0.1'), ('MF_PARALLEL_NODE_INDEX', '1'), ('MF_PARALLEL_NUM_NODES', '3')]\n"
	if got := s.log("join", "t", 0); got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	for task, control := range map[string]bool{"t-0": true, "t-1": false} {
		rows, err := db.Metadata(t.Context(), s.flow.Name, "prod-1", "work", task)
		if err != nil {
			t.Fatal(err)
		}
		is := slices.ContainsFunc(rows, func(r metadata.Metadatum) bool {
			return r.FieldName == "internal_task_type" && r.Value == "control_task"
		})
		if is != control {
			t.Errorf("%s is a control task: %t, want %t", task, is, control)
		}
	}
	s.open()
	for name, list := range map[string]func() ([]string, error){
		"flows": func() ([]string, error) { return s.store.Flows(t.Context()) },
		"runs":  func() ([]string, error) { return s.store.Runs(t.Context(), s.flow.Name) },
	} {
		if got, err := list(); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestGangInOneContainer runs all members side by side in one process.
func TestGangInOneContainer(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", gangFlow)
	s.run(0, "start", "", 0)
	s.run(0, "work", "0..2", 0, ir.EnvPackWorkers+"=1")
	s.run(0, "join", "", 0)
	if got := s.log("join", "t", 0); !strings.HasPrefix(got, "127.0.0.1 3 0 t-0\n127.0.0.1 3 1 t-0\n") {
		t.Errorf("log %q", got)
	}
}

// TestGangFails has one member fail, or its process or its container die, while the others work: all end, say which it
// was, and succeed together when they are tried again.
func TestGangFails(t *testing.T) {
	for _, c := range []struct {
		name string
		who  int
		fate string
		say  string
	}{
		{"a member fails", 2, "fail", "member 2 of the gang failed: ValueError: asked to fail"},
		{"the leader fails", 0, "fail", "member 0 of the gang failed: ValueError: asked to fail"},
		{"a process dies", 1, "die", "member 1 of the gang failed: the step's process was killed by signal 9"},
		{"a container dies", 1, "gone", "member 1 of the gang is gone: nothing was heard of it"},
		{"the leader's container dies", 0, "gone", "member 0 of the gang is gone: nothing was heard of it"},
		{"a container is stopped", 2, "stop", "member 2 of the gang failed: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := deploy(t, testserver.NewBucket(t), "flow.py", gangFlow)
			s.env = append(s.env, ir.EnvGangTimeout+"=20s", envGrace+"=1s")
			s.run(0, "start", "", 0)
			tasks := s.gang(0, everybody, fmt.Sprintf("FATE_%d=%s", c.who, c.fate), "WAKE=/nowhere/wake")
			eventually(t, "all members run", func() bool {
				return !slices.ContainsFunc(everybody, func(i int) bool { return s.log("work", fmt.Sprintf("t-%d", i), 0) == "" })
			})
			switch c.fate {
			case "gone":
				_ = tasks[c.who].Process.Kill()
			case "stop":
				tasks[c.who].signal()
			}
			for i, code := range codes(tasks) {
				if code == 0 {
					t.Errorf("member %d succeeded", i)
				}
				if i == c.who {
					continue
				}
				if got := tasks[i].stderr.String(); !strings.Contains(got, c.say) {
					t.Errorf("member %d does not say %q: %s", i, c.say, got)
				}
				if state := s.state("work", fmt.Sprintf("t-%d", i)); state.Status != "failed" || !strings.Contains(state.Failure, c.say) {
					t.Errorf("member %d stands at %+v", i, state)
				}
			}
			// Not all at once: the first to come back must not take the gang that failed for its own.
			again := s.gang(1, everybody[:1])
			time.Sleep(300 * time.Millisecond)
			if got := codes(append(again, s.gang(1, everybody[1:])...)); !slices.Equal(got, []int{0, 0, 0}) {
				t.Errorf("the second attempt ended with %v", got)
			}
			s.run(0, "join", "", 0)
		})
	}
}

// TestGangWaits has a member that is done wait for one that is not: it has not succeeded before.
func TestGangWaits(t *testing.T) {
	server := testserver.StartS3(t)
	bucket := server.Bucket(t)
	s := deploy(t, bucket, "flow.py", gangFlow)
	s.run(0, "start", "", 0)
	wake := filepath.Join(t.TempDir(), "wake")
	tasks := append(s.gang(0, everybody[:2]), s.gang(0, everybody[2:], "WAKE="+wake)...)
	eventually(t, "the last member runs", func() bool { return s.log("work", "t-2", 0) != "" })
	time.Sleep(time.Second)
	if state := s.state("work", "t-0"); state.Status != "unfinished" {
		t.Errorf("member 0 stands at %+v", state)
	}
	if err := os.WriteFile(wake, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := codes(tasks); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("exit codes %v", got)
	}
	// A container that went away between the end of the gang and that of its record finds its work done.
	if err := os.Remove(filepath.Join(server.Root, bucket.Name, "team", s.ref("work", "t-1").String(), "0.DONE.lock")); err != nil {
		t.Fatal(err)
	}
	s.gang(1, everybody[1:2])[0].code()
	if state := s.state("work", "t-1"); state.Status != "succeeded" || state.Attempt != 0 {
		t.Errorf("member 1 stands at %+v", state)
	}
}

// TestGangIncomplete has members wait in vain.
func TestGangIncomplete(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", gangFlow)
	s.run(0, "start", "", 0)
	tasks := s.gang(0, everybody[:2], ir.EnvGangTimeout+"=2s")
	for i, code := range codes(tasks) {
		text := tasks[i].stderr.String()
		if code != exitFailed || !strings.Contains(text, "the gang of 3 did not come together within 2s") || !strings.Contains(text, "--max-workers") {
			t.Errorf("member %d ended with %d: %s", i, code, text)
		}
	}
	if text := tasks[0].stderr.String(); !strings.Contains(text, "no word of member 2;") {
		t.Errorf("the leader does not say who is missing: %s", text)
	}
	lost := s.start("work", "0", 1)
	if code := lost.code(); code != exitFailed || !strings.Contains(lost.stderr.String(), ir.EnvAddress+" is not set") {
		t.Errorf("without an address: %d, %s", code, &lost.stderr)
	}
	if got := codes(s.gang(0, everybody)); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("a restart by hand, in which each counts attempts of its own: %v", got)
	}
}

const nestedGangFlow = `
from metaflow import FlowSpec, parallel, step

class Nested(FlowSpec):
    @step
    def start(self):
        self.xs = ["a", "b"]
        self.next(self.each, foreach="xs")

    @step
    def each(self):
        self.next(self.work, num_parallel=2)

    @parallel
    @step
    def work(self):
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Nested()
`

// TestGangInForeach: the members of a gang are not items of the foreach around it, though there be as many. The step before
// them says so as Metaflow's does.
func TestGangInForeach(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", nestedGangFlow)
	s.run(0, "start", "", 0)
	s.run(0, "each", "1", 0)
	s.run(0, "work", "1,0..1", 0)
	s.open()
	res, err := runtime.NewLoader(s.store, s.flow.Name).Load(t.Context(), s.ref("work", "t-1-0"))
	if err != nil || res == nil || len(res.Stack) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if outer, inner := res.Stack[0], res.Stack[1]; outer.Value != "b" || inner.HasValue {
		t.Errorf("the frames are %+v and %+v", outer, inner)
	}
	rec, _, err := s.store.Latest(t.Context(), s.ref("each", "t-1"))
	if err != nil || rec.Artifacts["_foreach_values"].Type != "<class 'NoneType'>" {
		t.Errorf("_foreach_values of the step before is %+v, %v", rec.Artifacts["_foreach_values"], err)
	}
}
