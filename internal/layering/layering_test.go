// Package layering holds the module's imports to the picture in docs/architecture.md.
package layering

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mf-run/mf/"

// may lists what each top-level package may import of ours, tests aside. A package of a tree may import its own tree
// only where it is listed.
var may = map[string][]string{
	"diag":      {},
	"ir":        {"diag"},
	"datastore": {"diag", "datastore"},
	"metadata":  {"diag", "metadata"},
	"sdk":       {},
	"compiler":  {"diag", "ir", "compiler", "sdk"},
	"backends":  {"diag", "ir", "backends"},
	"runtime":   {"diag", "ir", "datastore", "metadata", "runtime"},
	"cmd":       {"diag", "ir", "datastore", "metadata", "sdk", "compiler", "backends", "runtime", "cmd"},
	"bench":     {"bench", "datastore", "metadata", "internal"},
	"e2e":       {"ir", "datastore", "runtime", "e2e", "tools"},
}

func TestImports(t *testing.T) {
	root := "../.."
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		checkFile(t, file, path.Dir(filepath.ToSlash(rel)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, file, pkg string) {
	t.Helper()
	top, _, _ := strings.Cut(pkg, "/")
	if top == "internal" || top == "tools" || strings.HasSuffix(pkg, "test") {
		return // test helpers, which no product package imports
	}
	allowed, known := may[top]
	if !known {
		t.Errorf("%s: folder %s is not in the picture", file, top)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range parsed.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		ours, ok := strings.CutPrefix(imported, module)
		if !ok {
			continue
		}
		if !mayImport(allowed, ours) {
			t.Errorf("%s imports %s, which %s must not", file, ours, top)
		}
		if siblings(pkg, ours) {
			t.Errorf("%s imports its sibling %s", file, ours)
		}
	}
}

func mayImport(allowed []string, ours string) bool {
	for _, a := range allowed {
		if ours == a || strings.HasPrefix(ours, a+"/") {
			return true
		}
	}
	return false
}

// siblings reports whether both are different implementations in one of the trees whose members never meet.
func siblings(pkg, ours string) bool {
	for _, tree := range []string{"backends/", "datastore/", "metadata/", "compiler/"} {
		a, okA := strings.CutPrefix(pkg, tree)
		b, okB := strings.CutPrefix(ours, tree)
		if !okA || !okB {
			continue
		}
		a, _, _ = strings.Cut(a, "/")
		b, _, _ = strings.Cut(b, "/")
		shared := map[string]bool{"live": true, "pod": true, "pickle": true, "passes": true, "tables": true, "token": true, "transfer": true}
		return a != b && a != "registry" && !shared[b]
	}
	return false
}
