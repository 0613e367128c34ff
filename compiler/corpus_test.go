package compiler_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/compiler/yaml"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/sdk"
)

const corpus = "../testdata/flows"

// goldens are the names of the golden files of a corpus folder.
const (
	irGolden   = "ir.json"
	diagGolden = "diag.txt"
)

// options are the frontends as the program has them. Python flows are read with MF_TEST_PYTHON, or python3.
func options(t testing.TB) compiler.Options {
	t.Helper()
	dir, err := sdk.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	loadPython := func(ctx context.Context, path string) (*ir.Flow, diag.List, error) {
		file, class := compiler.SplitName(path)
		return python.Load(ctx, file, python.Options{
			Interpreter: os.Getenv("MF_TEST_PYTHON"), SDKDir: dir, Class: class, Stubs: true,
		})
	}
	return compiler.Options{Frontends: map[string]compiler.Frontend{
		".py": compiler.FrontendFunc(loadPython), ".yaml": compiler.FrontendFunc(yaml.Load),
	}}
}

// TestCorpus loads every flow of the corpus, in place and from a copy elsewhere, and compares what it becomes with the
// goldens in its folder: ir.json when it is valid, diag.txt when there is anything to say about it.
func TestCorpus(t *testing.T) {
	folders, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	opt := options(t)
	counts := map[string]int{}
	for _, folder := range folders {
		name := folder.Name()
		counts[kind(name)]++
		t.Run("flows/"+name, func(t *testing.T) {
			t.Parallel()
			here := filepath.Join(corpus, name)
			flow, text := load(t, opt, here)
			elsewhere := filepath.Join(t.TempDir(), "a folder", name)
			if err := os.CopyFS(elsewhere, os.DirFS(here)); err != nil {
				t.Fatal(err)
			}
			movedFlow, movedText := load(t, opt, elsewhere)
			if !bytes.Equal(flow, movedFlow) || !bytes.Equal(text, movedText) {
				t.Errorf("the same flow elsewhere gives\n%s\n%s\nnot\n%s\n%s", movedFlow, movedText, flow, text)
			}
			compare(t, filepath.Join(here, irGolden), flow)
			compare(t, filepath.Join(here, diagGolden), text)
			if bad := flow == nil; bad != isBad(name) {
				t.Errorf("the flow is bad: %v; the name of its folder says otherwise:\n%s", bad, text)
			}
		})
	}
	t.Cleanup(func() {
		if !t.Failed() {
			golden.Unclaimed(t, corpus, irGolden, diagGolden)
		}
	})
	for _, k := range []string{"python", "python bad", "yaml", "yaml bad"} {
		if counts[k] < 25 {
			t.Errorf("the corpus has %d flows of kind %s", counts[k], k)
		}
	}
}

// isBad says by a folder's name whether the flow has errors.
func isBad(name string) bool {
	return strings.HasPrefix(strings.TrimPrefix(name, "yaml-"), "bad-")
}

func kind(name string) string {
	language := "python"
	if strings.HasPrefix(name, "yaml-") {
		language = "yaml"
	}
	if isBad(name) {
		return language + " bad"
	}
	return language
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	if got == nil {
		golden.Absent(t, path)
	} else {
		golden.Check(t, path, got)
	}
}

// load returns the IR of the flow in the folder, nil when it has errors, and its findings as text, nil when there are none.
func load(t *testing.T, opt compiler.Options, folder string) (flowJSON, text []byte) {
	t.Helper()
	file := filepath.Join(folder, "flow.py")
	if _, err := os.Stat(file); err != nil {
		file = filepath.Join(folder, "flow.yaml")
	}
	flow, found, err := compiler.Load(t.Context(), file, opt)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	source := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
		if err != nil {
			return nil
		}
		return content
	}
	if err := diag.WriteText(&b, found, diag.Printer{Source: source}); err != nil {
		t.Fatal(err)
	}
	if found.HasErrors() {
		return nil, b.Bytes()
	}
	flowJSON, err = ir.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	stable(t, flow, flowJSON)
	return flowJSON, b.Bytes()
}

// stable checks that a valid flow survives its JSON form, and a second check, unchanged.
func stable(t *testing.T, flow *ir.Flow, want []byte) {
	t.Helper()
	back, err := ir.Unmarshal(want)
	if err != nil {
		t.Fatal(err)
	}
	again, found := compiler.Check(back, nil)
	if found.HasErrors() {
		t.Errorf("checked a second time, flow %s has errors:\n%v", flow.Name, found)
	}
	got, err := ir.Marshal(again)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the flow does not survive its JSON form (%v):\n%s\nwant\n%s", err, got, want)
	}
}
