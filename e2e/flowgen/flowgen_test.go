package flowgen

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/sdk"
)

// seeds is how many flows the tests of this package make.
const seeds = 500

// TestSameSeedSameBytes makes each flow twice, and asks for each bound to be kept.
func TestSameSeedSameBytes(t *testing.T) {
	var all Uses
	distinct := map[string]bool{}
	for seed := range uint64(seeds) {
		opt := Options{Tasks: 4 + int(seed%20)}
		f := New(seed, opt)
		text := f.Python()
		if again := New(seed, opt); again.Python() != text || f.Python() != text {
			t.Fatalf("seed %d gives two texts", seed)
		}
		if got := f.Tasks(); got > opt.Tasks {
			t.Errorf("seed %d has %d tasks, more than %d", seed, got, opt.Tasks)
		}
		distinct[text] = true
		u := f.Uses()
		all.Splits += u.Splits
		all.Foreaches += u.Foreaches
		all.Switches += u.Switches
		all.Loops += u.Loops
		all.Gangs += u.Gangs
		all.Retries += u.Retries
		all.Catches += u.Catches
		all.Merges += u.Merges
		all.Depth = max(all.Depth, u.Depth)
	}
	if len(distinct) != seeds {
		t.Errorf("%d flows of %d seeds", len(distinct), seeds)
	}
	least := min(all.Splits, all.Foreaches, all.Switches, all.Loops, all.Gangs, all.Retries, all.Catches, all.Merges)
	if least < seeds/10 || all.Depth < 3 {
		t.Errorf("something is rare: %+v", all)
	}
}

// TestFlowsAreValid has mf's compiler judge many flows, shrunk ones among them.
func TestFlowsAreValid(t *testing.T) {
	dir := t.TempDir()
	flows := map[string]*Flow{}
	for seed := range uint64(seeds) {
		f := New(seed, Options{Tasks: 4 + int(seed%20)})
		if seed%3 == 0 {
			// Whatever Shrink may propose is valid too: it is asked to go a few ways down.
			n := 0
			f = Shrink(f, int(seed%7), func(*Flow) bool { n++; return n%2 == 1 })
		}
		file := filepath.Join(dir, fmt.Sprintf("%06d.py", seed))
		if err := os.WriteFile(file, []byte(f.Python()), 0o644); err != nil {
			t.Fatal(err)
		}
		flows[file] = f
	}
	lines := describe(t, dir)
	if len(lines) != seeds {
		t.Fatalf("%d flows were described, not %d", len(lines), seeds)
	}
	for i, line := range lines {
		file := filepath.Join(dir, fmt.Sprintf("%06d.py", i))
		flow, found, err := python.Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if flow != nil && !found.HasErrors() {
			_, checked := compiler.Check(flow, nil)
			found = append(found, checked...)
		}
		if flow == nil || len(found) > 0 {
			t.Errorf("seed %d:\n%v\n%s", i, found, flows[file].Python())
			return
		}
	}
}

// describe has the SDK read all flows of a folder.
func describe(t *testing.T, dir string) [][]byte {
	t.Helper()
	unpacked, err := sdk.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	interpreter := os.Getenv("MF_TEST_PYTHON")
	if interpreter == "" {
		interpreter = "python3"
	}
	var printed bytes.Buffer
	cmd := exec.CommandContext(t.Context(), interpreter, "testdata/describe.py", unpacked, dir)
	cmd.Stderr = &printed
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed.String())
	}
	return bytes.Split(bytes.TrimSpace(out), []byte("\n"))
}

// TestShrink finds the smallest flow that has a loop in a foreach.
func TestShrink(t *testing.T) {
	shrunk := 0
	for seed := range uint64(60) {
		f := New(seed, Options{Tasks: 30})
		wanted := func(f *Flow) bool {
			text := f.Python()
			return strings.Contains(text, "def loop_") && strings.Contains(text, "foreach=")
		}
		if !wanted(f) {
			continue
		}
		asked := 0
		small := Shrink(f, 500, func(f *Flow) bool { asked++; return wanted(f) })
		if !wanted(small) {
			t.Fatalf("seed %d: what Shrink found does not fail", seed)
		}
		if small.Tasks() > 6 || small.Smaller == 0 || asked > 500 {
			t.Errorf("seed %d: %d tasks left after %d flows:\n%s", seed, small.Tasks(), asked, small.Python())
		}
		shrunk++
	}
	if shrunk < 5 {
		t.Errorf("only %d flows had both", shrunk)
	}
	f := New(1, Options{})
	if Shrink(f, 100, func(*Flow) bool { return false }) != f {
		t.Error("a flow that cannot be made smaller is another one")
	}
}
