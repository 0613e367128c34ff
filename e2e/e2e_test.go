// Package e2e runs the built program against the real Metaflow: its client, its runs, its tutorials.
//
// The tests need bin/mf (make build) and .cache/venv-metaflow (make setup); without them they fail.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// place is one folder with a datastore in which flows are run.
type place struct {
	t   *testing.T
	dir string
}

func repo(t *testing.T, parts ...string) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

func mustExist(t *testing.T, path, remedy string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: %s", path, remedy)
	}
	return path
}

func mfBinary(t *testing.T) string {
	t.Helper()
	return mustExist(t, repo(t, "bin", "mf"), "run make build")
}

// metaflowPython is a Python that has the real Metaflow.
func metaflowPython(t *testing.T) string {
	t.Helper()
	return mustExist(t, repo(t, ".cache", "venv-metaflow", "bin", "python"), "run make setup")
}

// newPlace copies a flow, or a folder of one, into a folder of its own.
func newPlace(t *testing.T, source string) place {
	t.Helper()
	return newPlaceIn(t, source, t.TempDir())
}

func newPlaceIn(t *testing.T, source, dir string) place {
	t.Helper()
	p := place{t, dir}
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(p.dir, os.DirFS(source))
	} else {
		var data []byte
		if data, err = os.ReadFile(source); err == nil {
			err = os.WriteFile(filepath.Join(p.dir, filepath.Base(source)), data, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) env(more ...string) []string {
	// Metaflow starts the workers of a gang with whatever "python" is in the PATH.
	env := []string{"PATH=" + filepath.Dir(metaflowPython(p.t)) + ":" + os.Getenv("PATH"), "HOME=" + p.dir, "LANG=C.UTF-8", "METAFLOW_USER=tester", "USER=tester",
		"PYTHONDONTWRITEBYTECODE=1",
		// Sets are in the same order in both runs.
		"PYTHONHASHSEED=0", "MF_CACHE=" + repoCache(p.t), "METAFLOW_DATASTORE_SYSROOT_LOCAL=" + p.dir,
		"METAFLOW_CLIENT_CACHE_PATH=" + filepath.Join(p.dir, "client-cache")}
	return append(env, more...)
}

func repoCache(t *testing.T) string { return repo(t, ".cache", "mf") }

// output runs a command and returns what it printed on standard output and standard error.
func (p place) output(env []string, name string, args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = p.dir, env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (p place) must(env []string, name string, args ...string) string {
	p.t.Helper()
	stdout, stderr, err := p.output(env, name, args...)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s\n%s", filepath.Base(name), strings.Join(args, " "), err, tail(stdout), tail(stderr))
	}
	return stdout
}

func tail(s string) string {
	if len(s) > 6000 {
		return "…" + s[len(s)-6000:]
	}
	return s
}

// mf runs mf and returns the id of the run it made.
func (p place) mf(args ...string) string {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "run-id")
	p.must(p.env("MF_PYTHON="+metaflowPython(p.t)), mfBinary(p.t), append(args, "--run-id-file", file)...)
	return p.read(file)
}

// metaflow runs a flow file by the real Metaflow and returns the id of the run.
func (p place) metaflow(flow string, args ...string) string {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "run-id")
	args = append([]string{flow, "--quiet", "--no-pylint", "--metadata", "local", "--datastore", "local", "run", "--run-id-file", file}, args...)
	p.must(p.env(), metaflowPython(p.t), args...)
	return p.read(file)
}

func (p place) read(file string) string {
	p.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// taskArtifacts is what the real client says of a task's artifacts: digest and repr by name.
type taskArtifacts map[string]struct {
	Sha  string `json:"sha"`
	Repr string `json:"repr"`
	// Kind is the class of what was pickled.
	Kind string `json:"kind"`
}

// view is what the real client says of a run.
type view struct {
	Successful bool                     `json:"successful"`
	Finished   bool                     `json:"finished"`
	Tags       []string                 `json:"tags"`
	Tasks      map[string]taskArtifacts `json:"tasks"`
	Stdout     map[string]string        `json:"stdout"`
	Stderr     map[string]string        `json:"stderr"`
	Parents    map[string][]string      `json:"parents"`
	Children   map[string][]string      `json:"children"`
	Exceptions map[string]string        `json:"exceptions"`
	// Control are the tasks that lead a gang.
	Control []string `json:"control"`
	// Code is empty for a run whose code was not kept.
	Code struct {
		Script   string   `json:"script"`
		Flowspec string   `json:"flowspec"`
		Names    []string `json:"names"`
	} `json:"code"`
}

// runRef names a run: the folder whose .metaflow holds it, the flow and the id.
type runRef struct {
	Dir, Flow, Run string
}

// readRuns reads runs with the real Metaflow client. The keys of tasks are "step[indices][iterations]", the same in every
// run of a flow.
func readRuns(t *testing.T, refs []runRef) map[runRef]view {
	t.Helper()
	p := place{t, t.TempDir()}
	list, err := json.Marshal(refs)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "runs.json")
	if err := os.WriteFile(file, list, 0o644); err != nil {
		t.Fatal(err)
	}
	out := p.must(p.env("METAFLOW_DEFAULT_METADATA=local"), metaflowPython(t), repo(t, "e2e", "testdata", "read_run.py"), file)
	var views []view
	if err := json.Unmarshal([]byte(out[strings.Index(out, "\x1e")+1:]), &views); err != nil {
		t.Fatalf("%v in %s", err, tail(out))
	}
	byRef := map[runRef]view{}
	for i, ref := range refs {
		byRef[ref] = views[i]
	}
	return byRef
}

// client reads one run of this place.
func (p place) client(flow, run string) view {
	p.t.Helper()
	ref := runRef{p.dir, flow, run}
	return readRuns(p.t, []runRef{ref})[ref]
}

// TestMain keeps one folder for what several subtests share.
func TestMain(m *testing.M) {
	code := around(m)
	if shared != "" {
		os.RemoveAll(shared)
	}
	os.Exit(code)
}

var shared string

var corpusDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "mf-e2e-")
	if err != nil {
		panic(err)
	}
	shared = dir
	return dir
})
