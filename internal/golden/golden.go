// Package golden compares what a test made with a file kept beside it.
//
// Run the tests with UPDATE_GOLDEN=1 to write the files anew; read the difference before committing it.
package golden

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// claims are the golden files that tests of this process have compared with, by absolute path.
var claims = struct {
	sync.Mutex
	paths map[string]bool
}{paths: map[string]bool{}}

// Updating reports whether golden files are being rewritten.
func Updating() bool { return os.Getenv("UPDATE_GOLDEN") == "1" }

// Check fails the test when got differs from the file at path, or rewrites the file when updating. Either way the file is
// claimed. It may be called from several goroutines.
func Check(t testing.TB, path string, got []byte) {
	t.Helper()
	claim(t, path)
	if Updating() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, got) {
			return
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v\nUPDATE_GOLDEN=1 writes it. It would be:\n%s", err, got)
		return
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs (UPDATE_GOLDEN=1 rewrites it):\n%s", path, difference(want, got))
	}
}

// Absent fails the test when there is a file at path, or removes it when updating: for a result that a test sometimes has
// and sometimes has not.
func Absent(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		return
	}
	if Updating() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is there, but nothing was made to compare with it (UPDATE_GOLDEN=1 removes it)", path)
}

// Unclaimed fails the test for each golden file below dir that no Check of this process has named: a left-over of a test that
// is gone. Golden files are those whose base name matches one of the patterns (as path.Match has them), or all files
// when there is no pattern. Call it after all tests that claim, and not when only some tests run.
func Unclaimed(t testing.TB, dir string, patterns ...string) {
	t.Helper()
	isGolden := func(file string) bool {
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := filepath.Match(pattern, filepath.Base(file))
			if err != nil {
				t.Fatalf("pattern %q: %v", pattern, err)
			}
			return ok
		})
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isGolden(path) {
			return err
		}
		claims.Lock()
		claimed := claims.paths[absolute(t, path)]
		claims.Unlock()
		if !claimed {
			t.Errorf("%s: no test compares with this golden file; remove it", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func claim(t testing.TB, path string) {
	full := absolute(t, path)
	claims.Lock()
	defer claims.Unlock()
	claims.paths[full] = true
}

func absolute(t testing.TB, path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

// difference shows the lines that differ, with what surrounds the first of them.
func difference(want, got []byte) string {
	w, g := strings.SplitAfter(string(want), "\n"), strings.SplitAfter(string(got), "\n")
	same := 0
	for same < len(w) && same < len(g) && w[same] == g[same] {
		same++
	}
	tail := 0
	for tail < len(w)-same && tail < len(g)-same && w[len(w)-1-tail] == g[len(g)-1-tail] {
		tail++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "at line %d\n", same+1)
	show := func(mark string, lines []string) {
		const most = 40
		for i, line := range lines {
			if i == most {
				fmt.Fprintf(&b, "%s … and %d lines more\n", mark, len(lines)-most)
				return
			}
			fmt.Fprintf(&b, "%s %s\n", mark, strings.TrimSuffix(line, "\n"))
		}
	}
	show(" ", slices.Clip(w[max(0, same-3):same]))
	show("-", w[same:len(w)-tail])
	show("+", g[same:len(g)-tail])
	return b.String()
}
