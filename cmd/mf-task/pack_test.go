//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
)

// traced adds lines to a file that says what ran; $SPOIL names what is to fail.
const traced = `
import os

def trace(what):
    with open(os.environ["TRACE"], "a") as f:
        f.write(what + "\n")
    if what in os.environ.get("SPOIL", "").split(","):
        raise ValueError("spoiled " + what)
`

const packFlow = `
from metaflow import FlowSpec, step
from traced import trace

class Packed(FlowSpec):
    @step
    def start(self):
        self.xs = list(range(23))
        self.next(self.first, foreach="xs")

    @step
    def first(self):
        trace(f"first {self.input}")
        self.y = self.input * 2
        self.next(self.second)

    @step
    def second(self):
        self.z = self.y + 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.z for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print("total", self.total)

if __name__ == "__main__":
    Packed()
`

// outputs returns a folder for small outputs, the environment that names it, and what reads one.
func outputs(t *testing.T) (env string, read func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	return ir.EnvOutputs + "=" + dir, func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ""
		}
		os.Remove(filepath.Join(dir, name))
		return string(data)
	}
}

// tracing has the site's tasks say what they run; taken returns that, sorted, since the last time.
func (s *site) tracing() (taken func() []string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "trace")
	s.env = append(s.env, "TRACE="+file)
	return func() []string {
		data, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			s.t.Fatal(err)
		}
		os.Remove(file)
		lines := strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
		slices.Sort(lines)
		return lines
	}
}

// TestPacks runs 23 splits in packs of ten, the last of which is not full, with failures on the way.
func TestPacks(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", packFlow, "traced.py", traced)
	taken := s.tracing()
	out, read := outputs(t)
	list := "mf.splits/Packed/prod-1/start.json"
	s.env = append(s.env, out, ir.EnvSplitList+"="+list)
	s.runPacked(0, ir.TaskInvocation{Step: "start", Pack: "10"})
	if splits, packs := read(ir.OutputSplits), read(ir.OutputPacks); splits != "23" || packs != "3" {
		t.Errorf("%q splits in %q packs, want 23 in 3", splits, packs)
	}
	if got := s.object(list); got != "[0,1,2]" {
		t.Errorf("list of packs %s", got)
	}
	s.runPacked(0, ir.TaskInvocation{Step: "first", Path: "0*10"})
	if got := taken(); len(got) != 10 || got[0] != "first 0" || got[9] != "first 9" {
		t.Errorf("pack 0 ran %v", got)
	}
	failed := s.runPacked(exitFailed, ir.TaskInvocation{Step: "first", Path: "1*10"}, "SPOIL=first 13,first 17")
	if got := taken(); len(got) != 10 {
		t.Errorf("two failures stopped others: %v", got)
	}
	if text, want := failed.stderr.String(), "2 of 10 tasks failed: first[13], first[17]; "; !strings.Contains(text, want) {
		t.Errorf("it does not say %q: %s", want, text)
	}
	s.runPacked(0, ir.TaskInvocation{Step: "first", Path: "1*10", Attempt: "1"})
	if got := taken(); !slices.Equal(got, []string{"first 13", "first 17"}) {
		t.Errorf("the retry ran %v", got)
	}
	if state := s.state("first", "t-13"); state.Attempt != 1 || state.Status != "succeeded" {
		t.Errorf("split 13 stands at %+v", state)
	}
	s.count()
	s.runPacked(0, ir.TaskInvocation{Step: "first", Path: "2*10"})
	if got := taken(); !slices.Equal(got, []string{"first 20", "first 21", "first 22"}) {
		t.Errorf("the last pack ran %v", got)
	}
	reads := 0
	for _, r := range s.requests.take() {
		if strings.HasPrefix(r, "GET") && strings.Contains(r, "/start/t/0.data.json") {
			reads++
		}
	}
	if reads != 1 {
		t.Errorf("the record of the task that splits was read %d times", reads)
	}
	if text := s.runPacked(exitFailed, ir.TaskInvocation{Step: "first", Path: "3*10"}).stderr.String(); !strings.Contains(text, "23 splits") {
		t.Errorf("a pack beyond the last: %s", text)
	}
	for n := range 3 {
		s.runPacked(0, ir.TaskInvocation{Step: "second", Path: fmt.Sprintf("%d*10", n)}, ir.EnvPackWorkers+"=4")
	}
	s.run(0, "join", "", 0)
	s.run(0, "end", "", 0)
	if got := s.log("end", "t", 0); got != "total 529\n" {
		t.Errorf("log %q", got)
	}
}

// runPacked is run for an invocation that stands for several tasks.
func (s *site) runPacked(want int, inv ir.TaskInvocation, more ...string) *task {
	s.t.Helper()
	if inv.Attempt == "" {
		inv.Attempt = "0"
	}
	t := s.invoke(inv, more...)
	if got := t.code(); got != want {
		s.t.Fatalf("%v: exit code %d, want %d\n%s%s", inv.Args(), got, want, &t.stdout, &t.stderr)
	}
	return t
}

const nestedFlow = `
from metaflow import FlowSpec, step

class Nested(FlowSpec):
    @step
    def start(self):
        self.xs = [0, 1]
        self.next(self.inner, foreach="xs")

    @step
    def inner(self):
        self.ys = [0, 1, 2]
        self.next(self.work, foreach="ys")

    @step
    def work(self):
        self.kind = "odd" if self.input % 2 else "even"
        self.next({"odd": self.odd, "even": self.even}, condition="kind")

    @step
    def odd(self):
        self.next(self.gather)

    @step
    def even(self):
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.next(self.outer)

    @step
    def outer(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Nested()
`

// TestPacksThatCannotBe refuses to run together what an engine has to tell apart.
func TestPacksThatCannotBe(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", nestedFlow)
	out, _ := outputs(t)
	s.env = append(s.env, out)
	s.run(0, "start", "", 0)
	for _, c := range []struct {
		inv  ir.TaskInvocation
		code int
		say  string
	}{
		{ir.TaskInvocation{Step: "inner", Path: "0*2"}, exitUsage, "step inner splits"},
		{ir.TaskInvocation{Step: "inner", Path: "0,0*2"}, exitFailed, "lies in 1 foreach"},
		{ir.TaskInvocation{Step: "start", Path: "0*2"}, exitFailed, "lies in 0 foreach"},
		{ir.TaskInvocation{Step: "nowhere", Path: "0*2"}, exitFailed, `no step "nowhere"`},
		{ir.TaskInvocation{Step: "work", Path: "5,0*2"}, exitFailed, "has not succeeded"},
		{ir.TaskInvocation{Step: "start", Pack: "1"}, exitUsage, `pack "1"`},
		{ir.TaskInvocation{Step: "work", Path: "0,0", Iteration: "1*"}, exitUsage, `iteration "1*"`},
	} {
		if text := s.runPacked(c.code, c.inv).stderr.String(); !strings.Contains(text, c.say) {
			t.Errorf("%v: it does not say %q: %s", c.inv.Args(), c.say, text)
		}
	}
	s.run(0, "inner", "0", 0)
	text := s.runPacked(exitFailed, ir.TaskInvocation{Step: "work", Path: "0,0*3"}).stderr.String()
	if !strings.Contains(text, `chose even at path "0,0" and odd at path "0,1"`) {
		t.Errorf("tasks that chose differently: %s", text)
	}
}

const loopFlow = `
from metaflow import FlowSpec, step
from traced import trace

class Loop(FlowSpec):
    @step
    def start(self):
        self.goals = [2, 7, 4]
        self.next(self.prepare, foreach="goals")

    @step
    def prepare(self):
        self.goal, self.n = self.input, 0
        self.next(self.climb)

    @step
    def climb(self):
        trace(f"climb {self.goal}.{self.n}")
        self.n = self.n + 1
        self.more = "yes" if self.n < self.goal else "no"
        self.next({"yes": self.climb, "no": self.rest}, condition="more")

    @step
    def rest(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.heights = [i.n for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        print("heights", self.heights)

if __name__ == "__main__":
    Loop()
`

// TestRounds runs the rounds of loops several at a time, alone and in a pack.
func TestRounds(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", loopFlow, "traced.py", traced)
	taken := s.tracing()
	out, read := outputs(t)
	s.env = append(s.env, out)
	s.run(0, "start", "", 0)
	s.runPacked(0, ir.TaskInvocation{Step: "prepare", Path: "0*3"})
	climb := func(code int, path, rounds, attempt, branch string, ran ...string) {
		t.Helper()
		s.runPacked(code, ir.TaskInvocation{Step: "climb", Path: path, Iteration: rounds, Attempt: attempt})
		if got := taken(); !slices.Equal(got, ran) {
			t.Errorf("rounds %s at path %s ran %v, want %v", rounds, path, got, ran)
		}
		if got := read(ir.OutputBranch); got != branch {
			t.Errorf("rounds %s at path %s left the branch %q, want %q", rounds, path, got, branch)
		}
	}
	climb(0, "1", "0*3", "0", "climb", "climb 7.0", "climb 7.1", "climb 7.2")
	s.env = append(s.env, "SPOIL=climb 7.4")
	climb(exitFailed, "1", "1*3", "0", "", "climb 7.3", "climb 7.4")
	s.env = append(s.env, "SPOIL=")
	climb(0, "1", "1*3", "1", "climb", "climb 7.4", "climb 7.5")
	climb(0, "1", "1*3", "0", "climb")
	climb(0, "1", "2*3", "0", "rest", "climb 7.6")
	climb(0, "1", "3*3", "0", "rest") // what the engine need not ask
	climb(0, "0..2", "0*3", "0", "climb", "climb 2.0", "climb 2.1", "climb 4.0", "climb 4.1", "climb 4.2")
	climb(0, "0*3", "1*3", "0", "climb", "climb 4.3") // path 1 had gone further than that
	climb(0, "0*3", "2*3", "0", "rest")
	s.runPacked(0, ir.TaskInvocation{Step: "rest", Path: "0*3"})
	s.run(0, "join", "", 0)
	s.run(0, "end", "", 0)
	if got := s.log("end", "t", 0); got != "heights [2, 7, 4]\n" {
		t.Errorf("log %q", got)
	}
}

// object reads an object of the datastore.
func (s *site) object(key string) string {
	s.t.Helper()
	body, _, err := s.store.Backend().Get(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}
