//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
)

const earlierFlow = `
from metaflow import FlowSpec, step
class Earlier(FlowSpec):
    @step
    def start(self):
        print("hello")
        self.x, self.large = {"a": [1, 2]}, bytes(1 << 20)
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    Earlier()
`

const readingFlow = `
from metaflow import FlowSpec, Flow, current, get_metadata, step
from metaflow.exception import MetaflowException
try:
    latest = Flow("Earlier").latest_run.pathspec
except MetaflowException as error:
    latest = "none"
class Reading(FlowSpec):
    @step
    def start(self):
        try:
            run = Flow("Earlier").latest_successful_run
            print(run.pathspec == latest, run.pathspec, run.data.x, len(run.data.large), run["start"].task.stdout.strip(), run["start"].task["x"].size)
            print(sorted(run.user_tags), current.run.pathspec, current.task.current_attempt, get_metadata().split(":")[0])
        except MetaflowException as error:
            print(error)
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    Reading()
`

// TestClientInsideAStep: a step in a container reads an earlier run, which only the service and the bucket know.
func TestClientInsideAStep(t *testing.T) {
	bucket := testserver.NewBucket(t)
	_, service := serve(t)
	more := []string{ir.EnvServiceURL + "=" + service.URL, ir.EnvUser + "=ann", ir.EnvTags + "=blue"}
	earlier := deploy(t, bucket, "flow.py", earlierFlow)
	for _, step := range []string{"start", "end"} {
		earlier.run(0, step, "", 0, more...)
	}
	reading := deploy(t, bucket, "flow.py", readingFlow)
	tmp := t.TempDir()
	reading.run(0, "start", "", 0, append(more, "TMPDIR="+tmp)...)
	want := "True Earlier/prod-1 {'a': [1, 2]} 1048576 hello 27\n['blue'] Reading/prod-1 0 service@http\n"
	if got := reading.log("start", "t", 0); got != want {
		t.Errorf("the step printed %q, want %q", got, want)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestClientWithoutAService: the datastore alone does not say which runs there are, and the client says so.
func TestClientWithoutAService(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", readingFlow)
	s.run(0, "start", "", 0)
	got := s.log("start", "t", 0)
	if want := "runs cannot be read: no metadata service is known; MF_SERVICE_URL names it\n"; got != want {
		t.Errorf("the step printed %q, want %q", got, want)
	}
}

// TestReaderServesOnlySteps: nobody calls the hidden command by hand.
func TestReaderServesOnlySteps(t *testing.T) {
	var out, errs strings.Builder
	code := run(nil, []string{"__read"}, []string{"HOME=" + filepath.Join(t.TempDir(), "none")}, strings.NewReader(""), &out, &errs)
	if code != exitFailed || !strings.Contains(errs.String(), "MF_READER is not set") || out.Len() > 0 {
		t.Errorf("exit code %d, printed %q and %q", code, out.String(), errs.String())
	}
}
