package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestResumeOfMetaflowRun has Metaflow fail and mf finish.
func TestResumeOfMetaflowRun(t *testing.T) {
	for _, shared := range []bool{true, false} {
		name := map[bool]string{true: "one datastore", false: "Metaflow's own datastore beside mf's"}[shared]
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "testdata/resumable.py")
			trace := filepath.Join(p.dir, "trace")
			_, stderr, err := p.output(p.env("TRACE="+trace, "FAIL=1"), metaflowPython(t), "resumable.py", "--quiet", "--no-pylint",
				"--metadata", "local", "--datastore", "local", "run", "--size", "5")
			if err == nil {
				t.Fatalf("Metaflow's run did not fail\n%s", tail(stderr))
			}
			before := p.read(trace)
			done := finishedSplits(t, p)
			file := filepath.Join(p.dir, "id")
			env := p.env("TRACE="+trace, "MF_PYTHON="+metaflowPython(t))
			home := p.dir
			if !shared {
				env = withoutSysroot(env)
				home = filepath.Join(p.dir, ".mf")
			}
			p.must(env, mfBinary(t), "resume", "resumable.py", "--run-id-file", file)
			after := strings.TrimPrefix(p.read(trace), before)
			for _, i := range []string{"0", "1", "3", "4"} {
				if done[i] && strings.Contains(after, "work "+i) {
					t.Errorf("split %s succeeded before and was run again", i)
				}
			}
			if !strings.Contains(after, "work 2") {
				t.Errorf("split 2 was not run again: %q", after)
			}
			reader := p
			if !shared {
				p.must(env, mfBinary(t), "export", p.read(file))
				reader = place{t, home}
			}
			v := reader.client("ResumableFlow", p.read(file))
			want := "['ITEM 0', 'ITEM 1', 'ITEM 2', 'ITEM 3', 'ITEM 4']"
			if got := v.Tasks["end"]["results"].Repr; got != want || !v.Successful || v.Tasks["end"]["size"].Repr != "5" {
				t.Errorf("results %s, want %s; successful %v", got, want, v.Successful)
			}
		})
	}
}

// finishedSplits lists the splits that Metaflow's run finished well: it stops what is running when one of them fails.
func finishedSplits(t *testing.T, p place) map[string]bool {
	t.Helper()
	run := p.read(filepath.Join(p.dir, ".metaflow", "ResumableFlow", "latest_run"))
	done := map[string]bool{}
	for key, arts := range p.client("ResumableFlow", run).Tasks {
		if index, ok := strings.CutPrefix(key, "work["); ok && arts["_task_ok"].Repr == "True" {
			done[strings.TrimSuffix(index, "]")] = true
		}
	}
	if done["2"] || len(done) == 0 {
		t.Fatalf("splits %v finished well; split 2 should not have, and another should", done)
	}
	return done
}

// TestMetaflowResumesOurRun has mf fail and Metaflow finish.
func TestMetaflowResumesOurRun(t *testing.T) {
	p := newPlace(t, "testdata/resumable.py")
	trace := filepath.Join(p.dir, "trace")
	env := p.env("TRACE="+trace, "MF_PYTHON="+metaflowPython(t))
	if _, _, err := p.output(append(env, "FAIL=1"), mfBinary(t), "run", "resumable.py", "--size", "5"); err == nil {
		t.Fatal("the run did not fail")
	}
	if err := os.Remove(trace); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "id")
	p.must(env, metaflowPython(t), "resumable.py", "--quiet", "--no-pylint", "--metadata", "local", "--datastore", "local",
		"resume", "--run-id-file", file)
	if got := strings.TrimSpace(p.read(trace)); !strings.Contains(got, "work 2") || strings.Contains(got, "work 0") {
		t.Errorf("run again: %q", got)
	}
	if v := p.client("ResumableFlow", p.read(file)); !v.Successful || v.Tasks["end"]["size"].Repr != "5" {
		t.Errorf("successful %v, size %v", v.Successful, v.Tasks["end"]["size"])
	}
}

// TestClientReads reads a run of ours with the real client: artifacts, logs, tags, foreach.
func TestClientReads(t *testing.T) {
	p := newPlace(t, "testdata/resumable.py")
	file := filepath.Join(p.dir, "id")
	env := p.env("TRACE="+filepath.Join(p.dir, "trace"), "MF_PYTHON="+metaflowPython(t))
	p.must(env, mfBinary(t), "run", "resumable.py", "--tag", "one", "--tag", "zwei ü", "--run-id-file", file)
	run := p.read(file)
	p.must(env, mfBinary(t), "tag", "add", run, "three")
	p.must(env, mfBinary(t), "tag", "remove", run, "one")
	v := p.client("ResumableFlow", run)
	if !v.Successful || !v.Finished {
		t.Errorf("successful %v, finished %v", v.Successful, v.Finished)
	}
	if want := []string{"three", "zwei ü"}; !slices.Equal(v.Tags, want) {
		t.Errorf("tags %v, want %v", v.Tags, want)
	}
	if got, want := v.Stdout["end"], "results: ['ITEM 0', 'ITEM 1', 'ITEM 2', 'ITEM 3'] size: 4\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got := v.Children["start"]; !slices.Equal(got, []string{"work[0]", "work[1]", "work[2]", "work[3]"}) {
		t.Errorf("children of start: %v", got)
	}
	if got := v.Parents["join"]; !slices.Equal(got, []string{"work[0]", "work[1]", "work[2]", "work[3]"}) {
		t.Errorf("parents of join: %v", got)
	}
}

// TestExport reads runs that were recorded in the database alone, a resumed one among them, after mf export.
func TestExport(t *testing.T) {
	p := newPlace(t, "testdata/resumable.py")
	env := withoutSysroot(p.env("TRACE="+filepath.Join(p.dir, "trace"), "MF_PYTHON="+metaflowPython(t)))
	file := filepath.Join(p.dir, "id")
	if _, _, err := p.output(append(env, "FAIL=1"), mfBinary(t), "run", "resumable.py", "--run-id-file", file); err == nil {
		t.Fatal("the run did not fail")
	}
	failed := p.read(file)
	p.must(env, mfBinary(t), "resume", "resumable.py", "--tag", "again", "--run-id-file", file)
	resumed := p.read(file)
	if _, err := os.Stat(filepath.Join(p.dir, ".mf", ".metaflow", "ResumableFlow", resumed, "_meta")); err == nil {
		t.Error("Metaflow's files were written unasked")
	}
	p.must(env, mfBinary(t), "export", failed, resumed)
	home := place{t, filepath.Join(p.dir, ".mf")}
	if v := home.client("ResumableFlow", failed); v.Successful || v.Exceptions["work[2]"] != "builtins.ValueError: asked to fail" {
		t.Errorf("the failed run: successful %v, exceptions %v", v.Successful, v.Exceptions)
	}
	v := home.client("ResumableFlow", resumed)
	if !v.Successful || v.Tasks["end"]["results"].Repr != "['ITEM 0', 'ITEM 1', 'ITEM 2', 'ITEM 3']" || !slices.Equal(v.Tags, []string{"again"}) {
		t.Errorf("the resumed run: successful %v, results %v, tags %v", v.Successful, v.Tasks["end"]["results"], v.Tags)
	}
}

// withoutSysroot leaves runs where mf keeps them by itself.
func withoutSysroot(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "METAFLOW_DATASTORE_SYSROOT_LOCAL=") })
}

// TestClientReadsFailure reads a failed run of ours: the exception, and that it is not successful.
func TestClientReadsFailure(t *testing.T) {
	p := newPlace(t, "testdata/resumable.py")
	file := filepath.Join(p.dir, "id")
	env := p.env("TRACE="+filepath.Join(p.dir, "trace"), "MF_PYTHON="+metaflowPython(t), "FAIL=1")
	if _, _, err := p.output(env, mfBinary(t), "run", "resumable.py", "--run-id-file", file); err == nil {
		t.Fatal("the run did not fail")
	}
	v := p.client("ResumableFlow", p.read(file))
	if v.Successful || v.Finished {
		t.Errorf("successful %v, finished %v", v.Successful, v.Finished)
	}
	if got := v.Exceptions["work[2]"]; got != "builtins.ValueError: asked to fail" {
		t.Errorf("exception %q", got)
	}
	if got := v.Stderr["work[2]"]; !strings.Contains(got, "ValueError: asked to fail") {
		t.Errorf("stderr %q", got)
	}
}
