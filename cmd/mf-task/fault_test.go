//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

const sleepyFlow = `
from metaflow import FlowSpec, retry, step
import os, signal, sys, time

class Sleepy(FlowSpec):
    @step
    def start(self):
        self.before = 1
        if os.environ.get("STUBBORN"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("sleeping", flush=True)
        for _ in range(600):
            time.sleep(0.1)
            if os.path.exists(os.environ.get("WAKE", "/nowhere/wake")):
                break
        print("awake")
        self.next(self.end)

    @retry(times=1, minutes_between_retries=0)
    @step
    def end(self):
        if os.environ.get("FAIL"):
            raise ValueError("not today")

if __name__ == "__main__":
    Sleepy()
`

// TestLiveLogs reads the log of a task that still runs.
func TestLiveLogs(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", sleepyFlow)
	wake := filepath.Join(t.TempDir(), "wake")
	task := s.start("start", "", 0, "WAKE="+wake)
	eventually(t, "the log of the running task", func() bool { return s.log("start", "t", 0) == "sleeping\n" })
	if err := os.WriteFile(wake, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := task.code(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &task.stderr)
	}
	if got := s.log("start", "t", 0); got != "sleeping\nawake\n" {
		t.Errorf("log %q", got)
	}
	if got := task.stdout.String(); got != "sleeping\nawake\n" {
		t.Errorf("stdout %q", got)
	}
}

// TestStop has tasks end on SIGTERM: in order, after the grace, and at once.
func TestStop(t *testing.T) {
	for _, c := range []struct {
		name        string
		env         []string
		then        os.Signal
		least, most time.Duration
	}{
		{"in order", nil, nil, 0, 10 * time.Second},
		{"after the grace", []string{"STUBBORN=1", envGrace + "=1"}, nil, time.Second, 10 * time.Second},
		{"told twice", []string{"STUBBORN=1", envGrace + "=4s"}, syscall.SIGTERM, 4 * time.Second, 15 * time.Second},
		{"at once", []string{"STUBBORN=1", envGrace + "=60s"}, os.Interrupt, 0, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := deploy(t, testserver.NewBucket(t), "flow.py", sleepyFlow)
			s.env = append(s.env, c.env...)
			db, service := serve(t)
			task := s.start("start", "", 0, ir.EnvServiceURL+"="+service.URL)
			eventually(t, "the log of the running task", func() bool { return s.log("start", "t", 0) == "sleeping\n" })
			begin := time.Now()
			task.signal()
			if c.then != nil {
				time.Sleep(300 * time.Millisecond)
				if err := task.Process.Signal(c.then); err != nil {
					t.Fatal(err)
				}
			}
			if code := task.code(); code != 143 || !strings.Contains(task.stderr.String(), "the task was told to stop") {
				t.Errorf("exit code %d, want 143\n%s", code, &task.stderr)
			}
			if took := time.Since(begin); took < c.least || took > c.most {
				t.Errorf("it took %s to end, want %s to %s", took, c.least, c.most)
			}
			if state := s.state("start", "t"); state.Status != "failed" {
				t.Errorf("the task stands at %+v", state)
			}
			if !strings.HasPrefix(s.log("start", "t", 0), "sleeping\n") {
				t.Errorf("log %q", s.log("start", "t", 0))
			}
			run, err := db.Run(t.Context(), "Sleepy", "prod-1")
			if err != nil || run.Status != metadata.Interrupted {
				t.Errorf("the run is %+v, %v", run, err)
			}
		})
	}
}

// TestAttempts follows a run through a failed attempt, a final failure, and a restart by hand.
func TestAttempts(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", sleepyFlow)
	db, service := serve(t)
	s.env = append(s.env, ir.EnvServiceURL+"="+service.URL, "WAKE=/")
	status := func(want metadata.Status, failure string) {
		t.Helper()
		run, err := db.Run(t.Context(), "Sleepy", "prod-1")
		if err != nil || run.Status != want || run.Failure != failure {
			t.Errorf("the run is %s, %q, %v; want %s, %q", run.Status, run.Failure, err, want, failure)
		}
	}
	s.run(0, "start", "", 0)
	status(metadata.Running, "")
	s.run(exitFailed, "end", "", 0, "FAIL=1")
	status(metadata.Running, "")
	failed := s.run(exitFailed, "end", "", 1, "FAIL=1")
	status(metadata.Failed, "end: ValueError: not today")
	if !strings.Contains(failed.stderr.String(), "mf-task: step end failed: ValueError: not today") {
		t.Errorf("stderr %s", &failed.stderr)
	}
	if log := s.log("end", "t", 1); !strings.Contains(log, "Traceback") || !strings.Contains(log, "not today") {
		t.Errorf("log %q", log)
	}
	s.run(0, "end", "", 0)
	status(metadata.Succeeded, "")
	if state := s.state("end", "t"); state.Attempt != 2 || state.Status != "succeeded" {
		t.Errorf("end stands at %+v, want its third attempt", state)
	}
}

// TestNoService has a task succeed although nobody takes its metadata.
func TestNoService(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", sleepyFlow)
	gone := httptest.NewServer(nil)
	gone.Close()
	task := s.run(0, "start", "", 0, ir.EnvServiceURL+"="+gone.URL, envPatience+"=1", "WAKE=/")
	if text := task.stderr.String(); !strings.Contains(text, "mf repair Sleepy/prod-1") {
		t.Errorf("stderr %s", text)
	}
}

// TestOutage has the datastore go away and come back while a task runs and while it ends.
func TestOutage(t *testing.T) {
	server := testserver.StartS3(t)
	s := deploy(t, server.Bucket(t), "flow.py", sleepyFlow)
	wake := filepath.Join(t.TempDir(), "wake")
	task := s.start("start", "", 0, "WAKE="+wake)
	eventually(t, "the log of the running task", func() bool { return s.log("start", "t", 0) == "sleeping\n" })
	server.Stop()
	if err := os.WriteFile(wake, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	server.Start()
	if code := task.code(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &task.stderr)
	}
	if got := s.log("start", "t", 0); got != "sleeping\nawake\n" {
		t.Errorf("log %q", got)
	}
}

// archive makes a package with one member.
func archive(t *testing.T, h tar.Header, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	h.Size, h.Mode = int64(len(body)), 0o644
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	zip.Close()
	return b.Bytes()
}

// TestBadSurroundings has each thing that may be wrong around a task end it with words that say which.
func TestBadSurroundings(t *testing.T) {
	server := testserver.StartS3(t)
	bucket := server.Bucket(t)
	s := deploy(t, bucket, "flow.py", sleepyFlow)
	outside := filepath.Join(t.TempDir(), "outside")
	save := func(data []byte) string {
		digest, err := s.store.SaveRaw(t.Context(), "Sleepy", data)
		if err != nil {
			t.Fatal(err)
		}
		return ir.EnvPackage + "=" + digest
	}
	damaged := save([]byte("the bytes that were meant"))
	digest := strings.TrimPrefix(damaged, ir.EnvPackage+"=")
	file := filepath.Join(server.Root, bucket.Name, "team", "Sleepy", "data", digest[:2], digest)
	if err := os.WriteFile(file, []byte("the bytes that are there!"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		say  []string
	}{
		{"no datastore", []string{ir.EnvDatastore + "="}, []string{ir.EnvDatastore, "s3://BUCKET"}},
		{"no kind", []string{ir.EnvDatastore + "=ftp://x/y"}, []string{"ftp", "s3://BUCKET"}},
		{"no bucket", []string{ir.EnvDatastore + "=s3://no-such-bucket-here/x"}, []string{"no-such-bucket-here", "does not exist"}},
		{"wrong credentials", []string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"check AWS_SECRET_ACCESS_KEY"}},
		{"no digest", []string{ir.EnvPackage + "=abc"}, []string{ir.EnvPackage, "40 hex digits"}},
		{"no package", []string{ir.EnvPackage + "=" + strings.Repeat("0", 40)}, []string{"not found", ir.EnvPackage}},
		{"damaged package", []string{damaged}, []string{"corrupt"}},
		{"path above", []string{save(archive(t, tar.Header{Name: "../outside"}, "x"))}, []string{"../outside"}},
		{"absolute path", []string{save(archive(t, tar.Header{Name: outside}, "x"))}, []string{"outside"}},
		{"link", []string{save(archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, ""))}, []string{"link"}},
		{"not an archive", []string{save([]byte("hello"))}, []string{"not a sound code package"}},
		{"no flow", []string{save(archive(t, tar.Header{Name: "a.py"}, "x"))}, []string{".mf_meta"}},
		{"bad grace", []string{envGrace + "=soon"}, []string{envGrace, "10m"}},
		{"bad branch", []string{ir.EnvPackage + "=" + s.digest, ir.EnvServiceURL + "=nonsense"}, []string{ir.EnvServiceURL}},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := s.start("start", "", 0, append(c.env, "WAKE=/")...)
			code := task.code()
			if code != exitFailed && code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			text := task.stderr.String()
			for _, say := range c.say {
				if !strings.Contains(text, say) {
					t.Errorf("it does not say %q: %s", say, text)
				}
			}
			if strings.Contains(text, "bug") || strings.Contains(text, "goroutine") || strings.Contains(text, "test-secret") {
				t.Errorf("stderr %s", text)
			}
		})
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("a package wrote outside its folder")
	}
}

// TestNoPython records why a step could not start, for whoever reads the log.
func TestNoPython(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", sleepyFlow)
	s.run(0, "start", "", 0, "WAKE=/")
	task := s.run(exitFailed, "end", "", 0, envPython+"=python9")
	for _, text := range []string{task.stderr.String(), s.log("end", "t", 0)} {
		if !strings.Contains(text, "the container has no python9") {
			t.Errorf("it does not say that there is no Python: %q", text)
		}
	}
	if state := s.state("end", "t"); state.Status != "failed" {
		t.Errorf("end stands at %+v", state)
	}
	s.run(0, "end", "", 1)
}

const leavingFlow = `
from metaflow import FlowSpec, step
import os, sys

if os.environ.get("LEAVE"):
    print("no licence for this machine", file=sys.stderr, flush=True)
    os._exit(9)

class Leaving(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Leaving()
`

// TestFlowEndsItsProcess records what a flow printed that ends its process while it is loaded, of the first step too.
func TestFlowEndsItsProcess(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", leavingFlow)
	for _, step := range []string{"start", "end"} {
		s.run(exitFailed, step, "", 0, "LEAVE=1")
		log := s.log(step, "t", 0)
		if !strings.Contains(log, "no licence for this machine") || !strings.Contains(log, "while it was loaded") {
			t.Errorf("log of %s: %q", step, log)
		}
		if state := s.state(step, "t"); state.Status != "failed" {
			t.Errorf("%s stands at %+v", step, state)
		}
		s.run(0, step, "", 1)
	}
}

// TestNothingToCatch: code that never ran has not crashed, whatever an engine has counted.
func TestNothingToCatch(t *testing.T) {
	flow := strings.Replace(strings.Replace(leavingFlow, "import FlowSpec, step", "import FlowSpec, catch, step", 1),
		"    @step\n    def end", "    @catch(var=\"why\")\n    @step\n    def end", 1)
	s := deploy(t, testserver.NewBucket(t), "flow.py", flow)
	s.run(0, "start", "", 0)
	for attempt, env := range []string{"LEAVE=1", envPython + "=python9", "LEAVE=1", envPython + "=python9"} {
		s.run(exitFailed, "end", "", attempt, env)
		if state := s.state("end", "t"); state.Status != "failed" || state.Attempt != attempt {
			t.Errorf("end stands at %+v after attempt %d", state, attempt)
		}
	}
	s.run(0, "end", "", 4)
	if state := s.state("end", "t"); state.Status != "caught" {
		t.Errorf("end stands at %+v", state)
	}
}

const slowFlow = `
from metaflow import FlowSpec, Parameter, step
import os, time

if os.environ.get("LOADING"):
    print("loading", flush=True)
    open(os.environ["LOADING"], "w").close()
    time.sleep(90)

class Slow(FlowSpec):
    size = Parameter("size", default=1)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Slow()
`

// TestStopWhileLoading has tasks end on SIGTERM although the flow's file is still being imported, and put that on record.
func TestStopWhileLoading(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", slowFlow)
	db, service := serve(t)
	s.env = append(s.env, ir.EnvServiceURL+"="+service.URL)
	for _, step := range []string{"start", "end"} {
		loading := filepath.Join(t.TempDir(), "loading")
		task := s.start(step, "", 0, "LOADING="+loading)
		eventually(t, "the flow is being loaded", func() bool { _, err := os.Stat(loading); return err == nil })
		begin := time.Now()
		task.signal()
		if code := task.code(); code != 143 {
			t.Errorf("%s: exit code %d, want 143\n%s", step, code, &task.stderr)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: it took %s to end", step, took)
		}
		if state := s.state(step, "t"); state.Status != "failed" || !strings.Contains(state.Failure, "told to stop") {
			t.Errorf("%s stands at %+v", step, state)
		}
		if log := s.log(step, "t", 0); !strings.HasPrefix(log, "loading\n") || !strings.Contains(log, "told to stop while") {
			t.Errorf("log of %s: %q", step, log)
		}
		run, err := db.Run(t.Context(), s.flow.Name, "prod-1")
		if err != nil || run.Status != metadata.Interrupted {
			t.Errorf("the run is %+v, %v", run, err)
		}
		s.run(0, step, "", 1)
	}
}

const forkingFlow = `
from metaflow import FlowSpec, step
import os, signal, time

def told(number, frame):
    open(os.environ["TOLD"], "w").close()

class Forking(FlowSpec):
    @step
    def start(self):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, told)
            time.sleep(90)
            os._exit(0)
        print(child, flush=True)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Forking()
`

// TestForkedChild has the step's process die while a child that it forked lives: the step ends with it, and the child is
// told to, but not waited for.
func TestForkedChild(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", forkingFlow)
	told := filepath.Join(t.TempDir(), "told")
	begin := time.Now()
	text := s.run(exitFailed, "start", "", 0, "TOLD="+told).stderr.String()
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %s to end", took)
	}
	if !strings.Contains(text, "killed by signal 9") {
		t.Errorf("it does not say what happened: %s", text)
	}
	child, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(s.log("start", "t", 0), "\n", 2)[0]))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child was told to end", func() bool { _, err := os.Stat(told); return err == nil })
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Errorf("the child, which did not heed it: %v", err)
	}
}
