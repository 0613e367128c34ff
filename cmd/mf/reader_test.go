package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata/httpapi/server"
	"github.com/mf-run/mf/metadata/sqlite"
)

// earlierFlow makes what readingFlow reads.
const earlierFlow = `
from metaflow import FlowSpec, IncludeFile, step
class Earlier(FlowSpec):
    words = IncludeFile("words", default="words.txt")
    @step
    def start(self):
        print("hello from the earlier run")
        self.small, self.large, self.items = {"x": 1}, bytes(3 << 20), ["a", "b", "c"]
        self.next(self.body, foreach="items")
    @step
    def body(self):
        self.made = self.input * 2
        self.next(self.join)
    @step
    def join(self, inputs):
        self.all = [i.made for i in inputs]
        self.merge_artifacts(inputs, include=["small", "large"])
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    Earlier()
`

// readingFlow reads an earlier run, and its own, in each of several forked tasks and in a thread.
const readingFlow = `
import os, threading
from metaflow import FlowSpec, Flow, Metaflow, Run, current, get_metadata, step
LATEST = Flow("Earlier").latest_run.pathspec
class Reading(FlowSpec):
    @step
    def start(self):
        run = Flow("Earlier").latest_successful_run
        assert run.pathspec == LATEST, LATEST
        assert [s.id for s in run] == ["end", "join", "body", "start"], list(run)
        assert len(run.data.large) == 3 << 20 and run.data.small == {"x": 1}, run.data
        assert run.data.all == ["aa", "bb", "cc"]
        assert run.data.words == "one two\n", run.data.words
        assert run["start"].task.stdout == "hello from the earlier run\n", run["start"].task.stdout
        assert "blue" in run.tags and run.finished and run.finished_at
        assert sorted(t.index for t in run["body"]) == [0, 1, 2]
        assert sorted(t.data.made for t in run["body"].tasks("blue")) == ["aa", "bb", "cc"]
        assert run["join"].task["large"].size > 3 << 20
        assert [f.id for f in Metaflow()] == ["Reading", "Earlier"], list(Metaflow())
        assert current.run.id == current.run_id and not current.run.finished
        where = get_metadata().split("@")[0]
        print("metadata:", where)
        self.earlier = run.pathspec
        self.items = [0, 1, 2]
        self.next(self.body, foreach="items")
    @step
    def body(self):
        found = []
        thread = threading.Thread(target=lambda: found.append(Run(self.earlier).data.all))
        thread.start()
        thread.join()
        assert found == [["aa", "bb", "cc"]], found
        child = os.fork()
        if child == 0:
            os._exit(0 if Run(self.earlier).successful else 1)
        assert os.waitpid(child, 0)[1] == 0
        self.next(self.join)
    @step
    def join(self, inputs):
        mine = Run(current.flow_name + "/" + current.run_id)
        assert len(list(mine["body"])) == 3
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    Reading()
`

// shared is what a team shares, and a program to use it.
type shared struct {
	t    *testing.T
	mf   string
	dir  string
	base []string
}

func newShared(t *testing.T) *shared {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary is mf under that name; a symbolic link would not be found by os.Executable.
	s := &shared{t: t, mf: filepath.Join(t.TempDir(), "mf"), dir: t.TempDir()}
	if err := os.Link(self, s.mf); err != nil {
		data, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.mf, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"earlier.py": earlierFlow, "reading.py": readingFlow, "words.txt": "one two\n"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.base = []string{
		"PATH=" + filepath.Dir(interpreter(t)) + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"MF_CACHE=" + t.TempDir(), "MF_USER=tester", "MF_PATIENCE=20s", "TMPDIR=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1",
	}
	return s
}

// run runs mf and returns what it printed.
func (s *shared) run(env []string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.mf, args...)
	cmd.Dir, cmd.Env = s.dir, append(append([]string{}, s.base...), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("mf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A step reads earlier runs of a team, and its own, whichever of datastore and metadata the team shares.
func TestClientInsideAStepReadsWhatATeamShares(t *testing.T) {
	bucket := testserver.NewBucket(t)
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "service.db"), sqlite.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	service := httptest.NewServer(server.New(server.Config{DB: db.Tables(), Store: db, Version: "test"}).Handler())
	defer service.Close()
	inBucket := append(bucket.Environ(), "MF_DATASTORE=s3://"+bucket.Name+"/team")
	for name, c := range map[string]struct {
		env   []string
		where string
	}{
		"Both":      {append(inBucket, "MF_SERVICE_URL="+service.URL), "service"},
		"Datastore": {inBucket, "local"},
		"Service":   {[]string{"MF_SERVICE_URL=" + service.URL}, "service"},
		"Neither":   {[]string{"MF_READER=inherited"}, "local"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared(t)
			// Runs of the other cases are told apart by their flows' users.
			s.base = append(s.base, "MF_USER="+strings.ToLower(name), "USER="+strings.ToLower(name))
			s.run(c.env, "run", "earlier.py", "--tag", "blue")
			if out := s.run(c.env, "run", "reading.py"); !strings.Contains(out, "metadata: "+c.where+"\n") {
				t.Errorf("the step's metadata is not %s:\n%s", c.where, out)
			}
			left, err := filepath.Glob(filepath.Join(strings.TrimPrefix(s.base[5], "TMPDIR="), "mf-read-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}
