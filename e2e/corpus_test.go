package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// address is a memory address in a repr.
var address = regexp.MustCompile(`0x[0-9a-f]+`)

// theirs are artifacts that depend on where and how a run is made: paths and such.
func skipArtifact(name string, random []string) bool {
	return name == "_configs_processed" || slices.Contains(random, name)
}

// sameView reports every difference between two runs of a flow, as the real client reads them.
func sameView(t *testing.T, ours, theirs view, random ...string) {
	t.Helper()
	for key, want := range theirs.Tasks {
		got, ok := ours.Tasks[key]
		if !ok {
			t.Errorf("task %s is missing", key)
			continue
		}
		for name, w := range want {
			g, ok := got[name]
			switch {
			case skipArtifact(name, random):
			case !ok:
				t.Errorf("task %s: artifact %s is missing", key, name)
			case g.Sha != w.Sha && (g.Repr != w.Repr || !comparable(w.Repr)):
				t.Errorf("task %s: artifact %s is %s (%s), want %s (%s)", key, name, short(g.Repr), g.Sha, short(w.Repr), w.Sha)
			case g.Sha != w.Sha && !digestMayDiffer(name) && !strings.Contains(w.Kind, "IncludedFile"):
				t.Errorf("task %s: artifact %s has digest %s, want %s, for %s", key, name, g.Sha, w.Sha, short(w.Repr))
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok && !skipArtifact(name, random) {
				t.Errorf("task %s: artifact %s should not be there", key, name)
			}
		}
	}
	for key := range ours.Tasks {
		if _, ok := theirs.Tasks[key]; !ok {
			t.Errorf("task %s should not have run", key)
		}
	}
	if ours.Successful != theirs.Successful || ours.Finished != theirs.Finished {
		t.Errorf("successful %v, finished %v; want %v, %v", ours.Successful, ours.Finished, theirs.Successful, theirs.Finished)
	}
}

func short(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// comparable reports whether equal reprs mean equal values.
func comparable(repr string) bool { return !address.MatchString(repr) }

// The bytes of an included file's artifact hold the path of the datastore; its repr is the content.

// digestMayDiffer is set for values whose bytes depend on which of their texts happen to be one object.
func digestMayDiffer(name string) bool { return strings.HasPrefix(name, "_") }

// bothRuns is a flow run by mf and by the real Metaflow, each in a folder of its own.
type bothRuns struct {
	name         string
	random       []string
	ours, theirs runRef
}

// TestCorpus runs every valid Python flow of the corpus by the real Metaflow and by mf: the artifacts must be equal,
// digest by digest.
func TestCorpus(t *testing.T) {
	flows, err := filepath.Glob(repo(t, "testdata", "flows", "*", "flow.py"))
	if err != nil {
		t.Fatal(err)
	}
	var both []*bothRuns
	for _, file := range flows {
		dir := filepath.Dir(file)
		if _, err := os.Stat(filepath.Join(dir, "ir.json")); err != nil {
			continue // an invalid flow
		}
		if _, err := os.Stat(filepath.Join(dir, "norun")); err == nil {
			continue // the file says why
		}
		both = append(both, &bothRuns{name: filepath.Base(dir)})
	}
	if len(both) < 30 {
		t.Errorf("only %d flows", len(both))
	}
	t.Run("run", func(t *testing.T) {
		for _, b := range both {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				runBoth(t, b)
			})
		}
	})
	var refs []runRef
	for _, b := range both {
		if b.theirs.Run != "" {
			refs = append(refs, b.ours, b.theirs)
		}
	}
	// The client takes a second to start: one process reads all runs.
	views := readRuns(t, refs)
	for _, b := range both {
		if b.theirs.Run == "" {
			continue
		}
		t.Run("compare/"+b.name, func(t *testing.T) { sameView(t, views[b.ours], views[b.theirs], b.random...) })
	}
}

func runBoth(t *testing.T, b *bothRuns) {
	source := repo(t, "testdata", "flows", b.name)
	b.random = randomArtifacts(t, source)
	ours, theirs := newPlaceIn(t, source, sharedDir(t)), newPlaceIn(t, source, sharedDir(t))
	ourRun := ours.mf("run", "flow.py")
	theirRun := theirs.metaflow("flow.py")
	flow := flowName(t, ours)
	b.ours, b.theirs = runRef{ours.dir, flow, ourRun}, runRef{theirs.dir, flow, theirRun}
}

// sharedDir is a folder that outlives the subtest that makes it.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(corpusDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// randomArtifacts reads the file "random": names of artifacts that differ from run to run. Metaflow hands the branches of a
// static split to a join in no fixed order; a traceback has paths in it.
func randomArtifacts(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "random"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// compareRuns runs one flow both ways, each in a folder of its own.
func compareRuns(t *testing.T, source, file string, random ...string) {
	t.Helper()
	ours, theirs := newPlace(t, source), newPlace(t, source)
	ourRun, theirRun := ours.mf("run", file), theirs.metaflow(file)
	flow := flowName(t, ours)
	our, their := runRef{ours.dir, flow, ourRun}, runRef{theirs.dir, flow, theirRun}
	views := readRuns(t, []runRef{our, their})
	sameView(t, views[our], views[their], random...)
}

// flowName is the name of the only flow that was run in a place.
func flowName(t *testing.T, p place) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.dir, ".metaflow", "*", "latest_run"))
	if err != nil || len(found) != 1 {
		t.Fatalf("flows run: %v, %v", found, err)
	}
	return filepath.Base(filepath.Dir(found[0]))
}
