package sdk_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mf-run/mf/sdk"
)

// TestEmbedded: every Python file of the tree is in the binary, and nothing else.
func TestEmbedded(t *testing.T) {
	var want []string
	err := filepath.WalkDir("python", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".py") {
			want = append(want, filepath.ToSlash(path[len("python/"):]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := sdk.Names()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("embedded:\n%v\non disk:\n%v\nAdd the folder to the go:embed line", got, want)
	}
	for _, name := range got {
		embedded, err := sdk.Read(name)
		if err != nil {
			t.Error(err)
		}
		if onDisk, err := os.ReadFile(filepath.Join("python", name)); err != nil || !bytes.Equal(embedded, onDisk) {
			t.Errorf("%s differs from the file on disk (%v)", name, err)
		}
	}
	if _, err := sdk.Read("none.py"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "if need be")
	path, err := sdk.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "sdk-"+sdk.Digest()); path != want {
		t.Errorf("unpacked into %s, want %s", path, want)
	}
	flowspec := filepath.Join(path, "metaflow", "flowspec.py")
	before, err := os.Stat(flowspec)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sdk.Unpack(dir); err != nil || again != path {
		t.Errorf("the second time: %s, %v", again, err)
	}
	if after, err := os.Stat(flowspec); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the second time wrote the files again (%v)", err)
	}
	// A cleaner of temporary files took one away, and a crash cut another short.
	if err := errors.Join(os.Remove(flowspec), os.Truncate(filepath.Join(path, "mf_describe.py"), 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := sdk.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range sdk.Names() {
		want, _ := sdk.Read(name)
		if got, err := os.ReadFile(filepath.Join(path, filepath.FromSlash(name))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s was not mended (%v)", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestUnpackAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := sdk.Unpack(dir)
			if err != nil {
				t.Error(err)
				return
			}
			for _, name := range sdk.Names() {
				want, _ := sdk.Read(name)
				if got, err := os.ReadFile(filepath.Join(path, filepath.FromSlash(name))); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not whole after Unpack (%v)", name, err)
				}
			}
		})
	}
	wg.Wait()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestUnpackFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := sdk.Unpack(filepath.Join(file, "below")); err == nil || !strings.Contains(err.Error(), "unpacking the Python SDK") {
		t.Errorf("got %v", err)
	}
}

// TestPython runs the Python unit tests, with the interpreter that MF_TEST_PYTHON names if it is set.
func TestPython(t *testing.T) {
	interpreter := os.Getenv("MF_TEST_PYTHON")
	if interpreter == "" {
		interpreter = "python3"
	}
	tree, err := filepath.Abs("python")
	if err != nil {
		t.Fatal(err)
	}
	suites, err := filepath.Glob("python_tests/*/__init__.py")
	if err != nil || len(suites) == 0 {
		t.Fatal("no test suites", err)
	}
	for _, suite := range suites {
		name := filepath.Base(filepath.Dir(suite))
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), interpreter, "-m", "unittest", "discover", "-s", name, "-t", ".")
			cmd.Dir = "python_tests"
			cmd.Env = append(os.Environ(), "PYTHONPATH="+tree, "PYTHONDONTWRITEBYTECODE=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if bytes.Contains(out, []byte("Ran 0 tests")) {
				t.Errorf("no tests were run:\n%s", out)
			}
		})
	}
}
