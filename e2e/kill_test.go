package e2e

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const kills = 50

// TestKill kills mf at random moments of a run of forty tasks and resumes: it always completes, the artifacts are those
// of an undisturbed run, and no task that had succeeded is run again.
func TestKill(t *testing.T) {
	mf := mfBinary(t)
	p := newPlace(t, "testdata/forty.py")
	trace := filepath.Join(p.dir, "trace")
	env := p.env("TRACE=" + trace)
	started := time.Now()
	p.must(env, mf, "run", "forty.py", "--max-workers", "4")
	whole := time.Since(started)
	want := p.artifacts(env, "FortyFlow/latest")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, undisturbed run %s", seed, whole)
	random := rand.New(rand.NewPCG(seed, 1))
	interrupted := 0
	for i := range kills {
		idFile := filepath.Join(p.dir, "id")
		os.Remove(idFile)
		cmd := exec.Command(mf, "run", "forty.py", "--max-workers", "4", "--run-id-file", idFile)
		cmd.Dir, cmd.Env = p.dir, env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitForFile(t, idFile)
		time.Sleep(time.Duration(random.Int64N(int64(whole))))
		if err := cmd.Process.Kill(); err == nil {
			interrupted++
		}
		_ = cmd.Wait()
		killed := p.read(idFile)
		done := p.succeeded(env, killed)
		if err := os.Truncate(trace, 0); err != nil {
			t.Fatal(err)
		}
		// What the killed run still had running may end a moment later; it belongs to nobody then.
		p.must(env, mf, "resume", "forty.py", "--origin", killed, "--max-workers", "4", "--run-id-file", idFile)
		resumed := p.read(idFile)
		for _, line := range strings.Split(p.read(trace), "\n") {
			run, task, _ := strings.Cut(line, " ")
			if run == resumed && done[task] {
				t.Errorf("kill %d: task %s had succeeded in run %s and was run again", i, task, killed)
			}
		}
		got := p.artifacts(env, "FortyFlow/"+resumed)
		if len(got) != len(want) {
			t.Errorf("kill %d: %d tasks, want %d", i, len(got), len(want))
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("kill %d: %s is %s, want %s", i, key, got[key], value)
			}
		}
	}
	t.Logf("%d of %d runs were killed before their end", interrupted, kills)
}

func waitForFile(t *testing.T, path string) {
	t.Helper()
	for range 3000 {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s did not appear", path)
}

type shownRun struct {
	Tasks []struct {
		Task, Index, Status string
	}
}

func (p place) show(env []string, run string) shownRun {
	p.t.Helper()
	var s shownRun
	if err := json.Unmarshal([]byte(p.must(env, mfBinary(p.t), "show", run, "--json")), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// succeeded lists the tasks of a run that succeeded, as the flow's trace names them.
func (p place) succeeded(env []string, run string) map[string]bool {
	p.t.Helper()
	done := map[string]bool{}
	for _, task := range p.show(env, "FortyFlow/"+run).Tasks {
		if step, _, _ := strings.Cut(task.Task, "/"); task.Status == "succeeded" {
			done[step+task.Index] = true
		}
	}
	return done
}

// artifacts is every public artifact of a run, by step, index and name.
func (p place) artifacts(env []string, run string) map[string]string {
	p.t.Helper()
	values := map[string]map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(p.must(env, mfBinary(p.t), "dump", run, "--json")), &values); err != nil {
		p.t.Fatal(err)
	}
	index := map[string]string{}
	for _, task := range p.show(env, run).Tasks {
		index[task.Task] = task.Index
	}
	all := map[string]string{}
	for path, arts := range values {
		parts := strings.Split(path, "/")
		for name, value := range arts {
			all[parts[2]+"["+index[parts[2]+"/"+parts[3]]+"]."+name] = string(value)
		}
	}
	return all
}
