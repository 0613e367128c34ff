package yaml

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

const corpus = "../../testdata/flows"

// corpusFiles returns the flow files of the corpus that are written as YAML, by the name of their folder.
func corpusFiles(t testing.TB) map[string][]byte {
	paths, err := filepath.Glob(filepath.Join(corpus, "yaml-*", "flow.yaml"))
	if err != nil || len(paths) < 60 {
		t.Fatalf("the corpus has %d YAML flows: %v", len(paths), err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(filepath.Dir(path))] = src
	}
	return files
}

// isFlow says by the folder's name whether this package must accept the file: it leaves the graph to the passes.
func isFlow(folder string) bool {
	return !strings.HasPrefix(folder, "yaml-bad-") || strings.HasPrefix(folder, "yaml-bad-graph-")
}

func TestCorpus(t *testing.T) {
	files := corpusFiles(t)
	valid, invalid := 0, 0
	for folder, src := range files {
		t.Run(folder, func(t *testing.T) {
			flow, diags := Parse("flow.yaml", src)
			if !isFlow(folder) {
				invalid++
				if flow != nil || !diags.HasErrors() {
					t.Fatal("the flow is accepted")
				}
				return
			}
			valid++
			if flow == nil || len(diags) > 0 {
				t.Fatalf("the flow is refused:\n%v", diags)
			}
			roundTrip(t, flow)
		})
	}
	if valid < 30 || invalid < 30 {
		t.Errorf("the corpus has %d valid and %d invalid YAML flows; at least 30 of each are wanted", valid, invalid)
	}
}

// roundTrip checks that a flow comes back from its JSON form unchanged.
func roundTrip(t *testing.T, flow *ir.Flow) {
	t.Helper()
	text, err := ir.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ir.Unmarshal(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ir.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, again) {
		t.Errorf("the flow's JSON changes when it is read and written:\n%s\n%s", text, again)
	}
}

// TestDiagnostics holds all messages of this package in one file, to be read as a whole.
func TestDiagnostics(t *testing.T) {
	var out bytes.Buffer
	files := corpusFiles(t)
	for _, folder := range slices.Sorted(maps.Keys(files)) {
		if isFlow(folder) {
			continue
		}
		src := files[folder]
		_, diags := Parse(folder+".yaml", src)
		source := func(string) []byte { return src }
		if err := diag.WriteText(&out, diags, diag.Printer{Source: source}); err != nil {
			t.Fatal(err)
		}
		out.WriteString("\n")
	}
	golden.Check(t, filepath.Join("testdata", "diagnostics.txt"), out.Bytes())
}

// TestPositions checks that every finding has an exact place, and says what to do.
func TestPositions(t *testing.T) {
	for folder, src := range corpusFiles(t) {
		_, diags := Parse("flow.yaml", src)
		for _, d := range diags {
			if d.Span.File != "flow.yaml" || d.Span.Line < 1 || d.Span.Col < 1 {
				t.Errorf("%s: no place: %v", folder, d)
			}
			if d.Detail == "" {
				t.Errorf("%s: it does not say what to do: %v", folder, d)
			}
		}
	}
}
