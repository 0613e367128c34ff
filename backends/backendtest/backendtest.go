// Package backendtest is the suite that every backend passes: goldens of the whole corpus and of flows made for it,
// byte stability, and diagnostics in place of what the target cannot do.
package backendtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// corpus is where the flows of the corpus are, seen from a backend's folder.
const corpus = "../../testdata/flows"

// goldens is the folder of the golden files, one folder for each flow.
const goldens = "testdata/flows"

// diagnosticsFile is the golden file for what Emit has to say, one finding a line.
const diagnosticsFile = "diagnostics.txt"

// Options are the options of all goldens.
func Options() backends.Options {
	return backends.Options{
		Version:    "0.0.0-test",
		User:       "tester",
		Datastore:  "s3://bucket/mf",
		ServiceURL: "http://mf.example:8080",
		Package:    "0123456789abcdef0123456789abcdef01234567",
	}
}

// Test runs the suite. It keeps goldens in testdata/flows beside the calling test, one folder for each flow.
// validate judges the files of one flow by rules that are not ours; it may be nil where a target has none.
func Test(t *testing.T, b backends.Backend, validate func(t *testing.T, files []backends.File)) {
	if validate == nil {
		validate = func(*testing.T, []backends.File) {}
	}
	t.Run("features", func(t *testing.T) { testFeatures(t, b) })
	t.Run("settings", func(t *testing.T) { testSettings(t, b) })
	t.Run("defaults", func(t *testing.T) {
		files := emit(t, b, Cases()[1].Flow, backends.Options{})
		validate(t, files)
	})
	all := append(Cases(), corpusCases(t)...)
	var ran atomic.Int64
	// The cases run in parallel, but Unclaimed only after them.
	t.Run("flows", func(t *testing.T) {
		for _, c := range all {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				ran.Add(1)
				testCase(t, b, c, validate)
			})
		}
	})
	// With -run, the goldens of the cases that were left out are no left-overs.
	if !t.Failed() && ran.Load() == int64(len(all)) {
		golden.Unclaimed(t, goldens)
	}
}

func testCase(t *testing.T, b backends.Backend, c Case, validate func(t *testing.T, files []backends.File)) {
	before, err := ir.Marshal(c.Flow)
	if err != nil {
		t.Fatal(err)
	}
	files, list := b.Emit(c.Flow, Options())
	again, err := ir.Unmarshal(before)
	if err != nil {
		t.Fatal(err)
	}
	second, secondList := b.Emit(again, Options())
	if !slices.EqualFunc(files, second, sameFile) || list.Error() != secondList.Error() {
		t.Error("a second run of Emit, on a flow read from its JSON form, gives other files or findings")
	}
	if after, err := ir.Marshal(c.Flow); err != nil || !bytes.Equal(before, after) {
		t.Errorf("Emit changed the flow (%v)", err)
	}

	refused := b.Features().Unsupported(ir.NewGraph(c.Flow)).HasErrors()
	for _, feature := range c.Uses {
		if _, can := b.Features().Can(feature); !can && !refused {
			t.Errorf("the target cannot do %s, but the flow is not refused", feature)
		}
	}
	switch {
	case refused && !list.HasErrors():
		t.Error("the target cannot run the flow, but Emit reports no error")
	case list.HasErrors() && len(files) > 0:
		t.Error("Emit reports errors and returns files")
	case !list.HasErrors() && len(files) == 0:
		t.Error("Emit reports no error and returns no files")
	}

	folder := filepath.Join(goldens, c.Name)
	for _, f := range files {
		golden.Check(t, filepath.Join(folder, filepath.FromSlash(f.Path)), f.Data)
	}
	if len(list) > 0 {
		golden.Check(t, filepath.Join(folder, diagnosticsFile), []byte(list.Error()+"\n"))
	} else {
		golden.Absent(t, filepath.Join(folder, diagnosticsFile))
	}
	if len(files) > 0 {
		validate(t, files)
	}
}

func sameFile(a, b backends.File) bool { return a.Path == b.Path && bytes.Equal(a.Data, b.Data) }

// emit fails the test where there are errors.
func emit(t *testing.T, b backends.Backend, f *ir.Flow, opt backends.Options) []backends.File {
	t.Helper()
	files, list := b.Emit(f, opt)
	if list.HasErrors() {
		t.Fatalf("flow %s: %v", f.Name, list)
	}
	return files
}

func testFeatures(t *testing.T, b backends.Backend) {
	f := b.Features()
	if f.Target == "" {
		t.Error("the target has no name")
	}
	for feature, limit := range f.Missing {
		if limit.Reason == "" || limit.WayOut == "" {
			t.Errorf("missing %s: reason %q, way out %q", feature, limit.Reason, limit.WayOut)
		}
	}
	for name, limit := range f.Decorators {
		if limit.Reason == "" || limit.WayOut == "" {
			t.Errorf("refused @%s: reason %q, way out %q", name, limit.Reason, limit.WayOut)
		}
	}
}

func testSettings(t *testing.T, b backends.Backend) {
	settings := b.Settings()
	if len(settings) == 0 {
		return
	}
	opt := Options()
	opt.Settings = map[string]string{"elsewhere.word": "x"}
	for _, s := range settings {
		if s.Help == "" {
			t.Errorf("setting %s has no help", s.Name)
		}
		if s.Default != "" {
			opt.Settings[s.Name] = s.Default
		}
	}
	f := Cases()[1].Flow
	if got, want := emit(t, b, f, opt), emit(t, b, f, Options()); !slices.EqualFunc(got, want, sameFile) {
		t.Error("giving every setting its default value changes the files")
	}
	opt.Settings[settings[0].Name+"-misspelt"] = "x"
	if files, list := b.Emit(f, opt); !list.HasErrors() || len(files) > 0 {
		t.Errorf("an unknown setting %s-misspelt is not refused", settings[0].Name)
	}
}

// corpusCases reads the valid flows of the corpus.
func corpusCases(t *testing.T) []Case {
	paths, err := filepath.Glob(filepath.Join(filepath.FromSlash(corpus), "*", "ir.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []Case
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ir.Unmarshal(data)
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", path, err))
		}
		list = append(list, Case{Name: filepath.Base(filepath.Dir(path)), Flow: f})
	}
	return list
}
