//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/e2e/flowgen"
	"github.com/mf-run/mf/e2e/same"
)

var (
	seedFlag  = flag.String("seed", os.Getenv("E2E_SEED"), "seed of the first random flow; else that of the test")
	seedsFlag = flag.String("seeds", os.Getenv("E2E_SEEDS"), "number of random flows; else that of the test")
)

// seeds are those of the random flows of a test: n of them, from first on, if nobody asks for others.
func seeds(t *testing.T, first uint64, n int) (all []uint64) {
	t.Helper()
	if *seedFlag != "" {
		var err error
		if first, err = strconv.ParseUint(*seedFlag, 10, 64); err != nil {
			t.Fatal("the seed: ", err)
		}
	}
	if *seedsFlag != "" {
		var err error
		if n, err = strconv.Atoi(*seedsFlag); err != nil {
			t.Fatal("the number of seeds: ", err)
		}
	}
	for i := range n {
		all = append(all, first+uint64(i))
	}
	return all
}

// shrinkFlag bounds the smaller flows that are tried where one shows a difference.
var shrinkFlag = flag.Int("shrink", 20, "smaller flows to try where a random flow shows a difference")

// randomFlow says what is wrong with a flow, in which differs finds a difference: the smallest flow that has one, and the
// seed.
func randomFlow(t *testing.T, f *flowgen.Flow, differs func(*flowgen.Flow) string) {
	t.Helper()
	t.Logf("seed %d; again with -seed %[1]d -seeds 1, or E2E_SEED=%[1]d E2E_SEEDS=1", f.Seed)
	report := differs(f)
	if report == "" {
		return
	}
	t.Logf("before it is made smaller:\n%s", report)
	small := flowgen.Shrink(f, *shrinkFlag, func(f *flowgen.Flow) bool {
		r := differs(f)
		if r != "" {
			report = r
		}
		return r != ""
	})
	t.Errorf("seed %d, made smaller %d times, with %v:\n%s\n%s", small.Seed, small.Smaller, small.Given(), report, small.Python())
}

// TestRandomFlows runs random flows by the real Metaflow and by mf: the artifacts must be equal.
func TestRandomFlows(t *testing.T) {
	for _, seed := range seeds(t, 1, 40) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			randomFlow(t, flowgen.New(seed, flowgen.Options{Tasks: 10}), func(f *flowgen.Flow) string { return metaflowDiffers(t, f) })
		})
	}
}

// metaflowDiffers reports how mf's run of a flow differs from Metaflow's.
func metaflowDiffers(t *testing.T, f *flowgen.Flow) string {
	t.Helper()
	ours, theirs := flowPlace(t, f), flowPlace(t, f)
	ourRun, err := ours.tryMf(append([]string{"run", "flow.py"}, givenFlags(f.Given())...)...)
	if err != nil {
		return err.Error()
	}
	file := filepath.Join(theirs.dir, "run-id")
	_, stderr, err := theirs.output(theirs.env(), metaflowPython(t), append([]string{"flow.py", "--quiet", "--no-pylint", "--metadata", "local",
		"--datastore", "local", "run", "--run-id-file", file}, givenFlags(f.Given())...)...)
	if err != nil {
		return fmt.Sprintf("Metaflow's run: %v\n%s", err, tail(stderr))
	}
	want, got := theirs.left(f.Name(), theirs.read(file)), ours.left(f.Name(), ourRun)
	found, err := same.Compare(t.Context(), want, got, same.Rules{Varying: append(f.Varying(), f.Unordered()...), Metaflow: true})
	if err != nil {
		t.Fatal(err)
	}
	return same.Report(found, 20)
}

// flowPlace is a folder with the flow in it.
func flowPlace(t *testing.T, f *flowgen.Flow) place {
	t.Helper()
	p := place{t, t.TempDir()}
	if err := os.WriteFile(filepath.Join(p.dir, "flow.py"), []byte(f.Python()), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// givenFlags are the flags that give a run its parameters.
func givenFlags(given map[string]string) (args []string) {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		args = append(args, "--"+name, given[name])
	}
	return args
}

// tryMf is mf for a run that may fail.
func (p place) tryMf(args ...string) (run string, err error) {
	file := filepath.Join(p.dir, "run-id")
	_, stderr, err := p.output(p.env("MF_PYTHON="+metaflowPython(p.t)), mfBinary(p.t), append(args, "--run-id-file", file)...)
	if err != nil {
		return "", fmt.Errorf("mf's run: %w\n%s", err, tail(stderr))
	}
	return p.read(file), nil
}

// left is what a run left behind in this place.
func (p place) left(flow, run string) *same.View {
	p.t.Helper()
	v, err := p.view(flow, run)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p place) view(flow, run string) (*same.View, error) {
	backend, err := local.Open(filepath.Join(p.dir, ".metaflow"))
	if err != nil {
		return nil, err
	}
	return same.Read(p.t.Context(), same.Run{Store: datastore.New(backend), Flow: flow, ID: run})
}
