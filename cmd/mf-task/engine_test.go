//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
)

const fragileFlow = `
from metaflow import FlowSpec, catch, retry, step
import os, signal, time

class Fragile(FlowSpec):
    @step
    def start(self):
        self.xs = list(range(26))
        self.token = os.urandom(8).hex()
        time.sleep(0.3)
        self.copy = self.token
        self.next(self.work, foreach="xs")

    @step
    def work(self):
        self.token = os.urandom(8).hex()
        self.blob = bytes([self.input]) * 1_000_000
        print("one")
        time.sleep(0.3)
        print("two")
        self.copy = self.token
        self.next(self.join)

    @step
    def join(self, inputs):
        assert all(i.token == i.copy and len(i.blob) == 1_000_000 for i in inputs)
        print(sum(i.blob[0] for i in inputs), len({i.token for i in inputs}))
        self.next(self.guarded)

    @catch(var="failure")
    @retry(times=1, minutes_between_retries=0)
    @step
    def guarded(self):
        if os.environ.get("CRASH"):
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("RAISE"):
            raise ValueError("raised")
        self.next(self.end)

    @step
    def end(self):
        if os.environ.get("RAISE"):
            raise ValueError("raised")

if __name__ == "__main__":
    Fragile()
`

// TestKilled kills containers at random moments of their tasks, thirty in all, and starts them again: nothing is lost,
// nothing is half there, and what has succeeded does not run again.
func TestKilled(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", fragileFlow)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	begun := time.Now()
	var undisturbed []*task
	for n := range 4 { // as many as run at a time below
		s.id = fmt.Sprintf("undisturbed-%d", n)
		undisturbed = append(undisturbed, s.start("start", "", 0))
	}
	codes(undisturbed)
	whole := time.Since(begun)
	s.id = ""
	out, read := outputs(t)
	for range 4 {
		task := s.start("start", "", 0, out) // the engine counts anew each time, as after a retry of the whole workflow
		time.Sleep(time.Duration(random.Int64N(int64(whole))))
		_ = task.Process.Kill()
		task.code()
	}
	read(ir.OutputSplits)
	s.run(0, "start", "", 0, out)
	if got := read(ir.OutputSplits); got != "26" {
		t.Fatalf("%q splits", got)
	}
	var killing sync.WaitGroup
	slots := make(chan struct{}, 4)
	for n := range 26 {
		pause := time.Duration(random.Int64N(int64(whole) * 3 / 2))
		slots <- struct{}{}
		task := s.start("work", fmt.Sprint(n), 0)
		killing.Go(func() {
			defer func() { <-slots }()
			time.Sleep(pause)
			_ = task.Process.Kill()
			<-task.ended
		})
	}
	killing.Wait()
	done := map[string]string{}
	for n := range 26 {
		id := fmt.Sprintf("t-%d", n)
		if attempts, err := s.store.Attempts(t.Context(), s.ref("work", id)); err == nil && len(attempts) > 0 && attempts[0].Done {
			rec, err := s.store.ReadRecord(t.Context(), s.ref("work", id), 0)
			if err != nil {
				t.Fatal(err)
			}
			done[id] = rec.Artifacts["token"].Digest
		}
	}
	t.Logf("%d tasks had succeeded when they were killed", len(done))
	s.runPacked(0, ir.TaskInvocation{Step: "work", Path: "0*26", Attempt: "1"})
	for n := range 26 {
		id := fmt.Sprintf("t-%d", n)
		rec, ok, err := s.store.Latest(t.Context(), s.ref("work", id))
		if err != nil || !ok || rec.Artifacts["token"].Digest == "" {
			t.Errorf("%s: %t, %v", id, ok, err)
		}
		if was := done[id]; was != "" && (rec.Attempt != 0 || rec.Artifacts["token"].Digest != was) {
			t.Errorf("%s had succeeded and ran again", id)
		}
		if got := s.log("work", id, rec.Attempt); got != "one\ntwo\n" {
			t.Errorf("log of %s: %q", id, got)
		}
	}
	s.run(0, "join", "", 0)
	if got := s.log("join", "t", 0); got != "325 26\n" {
		t.Errorf("log %q", got)
	}
}

// TestTwice starts two containers for one task at once, of which one may be told to stop as an engine does: what is on
// record is one whole attempt, and both agree on it.
func TestTwice(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", fragileFlow)
	s.run(0, "start", "", 0)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	for n := range 6 {
		path, id := fmt.Sprint(n), fmt.Sprintf("t-%d", n)
		first, second := s.start("work", path, 0), s.start("work", path, 0)
		if n%2 == 1 {
			time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
			first.signal()
		}
		codes := []int{first.code(), second.code()}
		if n%2 == 0 && (codes[0] != 0 || codes[1] != 0) {
			t.Errorf("both ended with %v\n%s\n%s", codes, &first.stderr, &second.stderr)
		}
		s.run(0, "work", path, 1)
		rec, ok, err := s.store.Latest(t.Context(), s.ref("work", id))
		if err != nil || !ok || rec.Artifacts["token"] != rec.Artifacts["copy"] {
			t.Errorf("%s: %+v, %t, %v", id, rec, ok, err)
		}
	}
	s.runPacked(0, ir.TaskInvocation{Step: "work", Path: "0*26"})
	s.run(0, "join", "", 0)
	if got := s.log("join", "t", 0); got != "325 26\n" {
		t.Errorf("log %q", got)
	}
}

// TestSubmittedAgain: a Workflow that does what another run had left, and is submitted a second time, says what to do.
func TestSubmittedAgain(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", fragileFlow)
	text := s.run(exitFailed, "join", "", 0, ir.EnvOriginRun+"=argo-fragile-1").stderr.String()
	if !strings.Contains(text, "mf resume flow.py --origin argo-fragile-1 starts another one") {
		t.Errorf("it does not say what to do: %s", text)
	}
	if text := s.run(exitFailed, "join", "", 0).stderr.String(); strings.Contains(text, "second time") {
		t.Errorf("a run that resumes none: %s", text)
	}
}

// TestRestarts follows a task through an engine's rounds of attempts: each round has all of them, @catch counts within its
// round, and at the end of what readers look for the task says what to do.
func TestRestarts(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", fragileFlow)
	s.run(0, "start", "", 0)
	s.runPacked(0, ir.TaskInvocation{Step: "work", Path: "0*26"})
	s.run(0, "join", "", 0)
	s.run(exitFailed, "guarded", "", 0, "RAISE=1")
	s.run(exitFailed, "guarded", "", 0, "RAISE=1") // the engine begins anew
	if text := s.run(exitFailed, "guarded", "", 1, "CRASH=1").stderr.String(); !strings.Contains(text, "signal 9") {
		t.Errorf("the second attempt of the second round: %s", text)
	}
	s.run(0, "guarded", "", 2) // the fallback of that round
	if state := s.state("guarded", "t"); state.Status != "caught" || state.Attempt != 3 {
		t.Errorf("guarded stands at %+v", state)
	}
	for range 6 {
		s.run(exitFailed, "end", "", 0, "RAISE=1")
	}
	text := s.run(exitFailed, "end", "", 0).stderr.String()
	if want := "mf resume flow.py --origin prod-1"; !strings.Contains(text, "6 attempts") || !strings.Contains(text, want) {
		t.Errorf("it does not say %q: %s", want, text)
	}
}
