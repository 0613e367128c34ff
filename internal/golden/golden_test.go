package golden_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/internal/golden"
)

// recorder is a testing.TB that keeps failures instead of failing.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, format)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCheckComparesAndUpdates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "a.txt")
	t.Setenv("UPDATE_GOLDEN", "")
	r := &recorder{TB: t}
	if golden.Check(r, path, []byte("x\n")); len(r.failures) != 1 {
		t.Errorf("a missing file gave %d failures", len(r.failures))
	}
	t.Setenv("UPDATE_GOLDEN", "1")
	golden.Check(t, path, []byte("x\n"))
	t.Setenv("UPDATE_GOLDEN", "")
	golden.Check(t, path, []byte("x\n"))
	r = &recorder{TB: t}
	if golden.Check(r, path, []byte("y\n")); len(r.failures) != 1 || !strings.Contains(r.failures[0], "differs") {
		t.Errorf("a different text gave %v", r.failures)
	}
	r = &recorder{TB: t}
	if golden.Absent(r, path); len(r.failures) != 1 {
		t.Errorf("a file that should be absent gave %v", r.failures)
	}
}

func TestUnclaimedFindsLeftOvers(t *testing.T) {
	t.Setenv("UPDATE_GOLDEN", "")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.txt"), "a")
	write(t, filepath.Join(dir, "old.txt"), "old")
	write(t, filepath.Join(dir, "input.yaml"), "not golden")
	golden.Check(t, filepath.Join(dir, "a.txt"), []byte("a"))
	r := &recorder{TB: t}
	if golden.Unclaimed(r, dir, "*.txt"); len(r.failures) != 1 {
		t.Errorf("one left-over gave %d failures", len(r.failures))
	}
	r = &recorder{TB: t}
	if golden.Unclaimed(r, dir); len(r.failures) != 2 {
		t.Errorf("without patterns all files count: %d failures", len(r.failures))
	}
}
