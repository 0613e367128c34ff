package compiler_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

func TestSplitName(t *testing.T) {
	for path, want := range map[string][2]string{
		"train.py": {"train.py", ""}, "a/train.py:Other": {"a/train.py", "Other"}, `C:\x\train.py`: {`C:\x\train.py`, ""},
		`C:\train.py:F`: {`C:\train.py`, "F"}, "a:b/train.py": {"a:b/train.py", ""}, "flow.yaml:": {"flow.yaml", ""}, "x:y": {"x:y", ""},
	} {
		if file, name := compiler.SplitName(path); file != want[0] || name != want[1] {
			t.Errorf("%q: %q, %q", path, file, name)
		}
	}
}

func TestLoad(t *testing.T) {
	broken := errors.New("the disk is gone")
	frontend := func(flow *ir.Flow, found diag.List, err error) compiler.Frontend {
		return compiler.FrontendFunc(func(context.Context, string) (*ir.Flow, diag.List, error) { return flow, found, err })
	}
	headless := two(func(f *ir.Flow) { f.Steps = f.Steps[:0] })
	opt := compiler.Options{Frontends: map[string]compiler.Frontend{
		".ok":     frontend(two(), diag.List{diag.Notef(diag.Span{}, "a-note", "a note")}, nil),
		".errs":   frontend(headless, diag.List{diag.Errorf(diag.Span{}, "syntax", "no")}, nil),
		".nil":    frontend(nil, diag.List{diag.Errorf(diag.Span{}, "syntax", "no")}, nil),
		".bad":    frontend(headless, nil, nil),
		".broken": frontend(nil, nil, broken),
	}}
	for path, want := range map[string]string{
		"f.ok": "a-note", "f.OK": "a-note", "f.ok:Name": "a-note", "f.errs": "syntax", "f.nil": "syntax", "f.bad": "no-steps",
	} {
		flow, found, err := compiler.Load(t.Context(), path, opt)
		if err != nil || len(found) != 1 || found[0].Code != want {
			t.Errorf("%s: %v, %v, want %s", path, found, err, want)
		}
		if (flow == nil) != (path == "f.nil") {
			t.Errorf("%s: flow %v", path, flow)
		}
	}
	if _, _, err := compiler.Load(t.Context(), "f.broken", opt); !errors.Is(err, broken) {
		t.Errorf("a frontend's failure: %v", err)
	}
	if _, _, err := compiler.Load(t.Context(), "f.rs", opt); err == nil || !strings.Contains(err.Error(), ".bad, .broken, .errs, .nil, .ok") {
		t.Errorf("an unknown extension: %v", err)
	}
	target := &ir.Features{Target: "moon", MaxFlowName: 1}
	if _, found, _ := compiler.Load(t.Context(), "f.ok", compiler.Options{Frontends: opt.Frontends, Target: target}); !found.HasErrors() {
		t.Error("the target is not checked")
	}
}

// TestEveryCodeHasACase finds the codes in the passes' source, and each in a golden of the corpus or in the unit cases.
func TestEveryCodeHasACase(t *testing.T) {
	var seen strings.Builder
	goldens, err := filepath.Glob(filepath.Join(corpus, "*", diagGolden))
	if err != nil || len(goldens) < 50 {
		t.Fatalf("%d goldens, %v", len(goldens), err)
	}
	for _, path := range goldens {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(text)
	}
	for _, c := range unitCases {
		_, found := compiler.Check(c.flow, nil)
		seen.WriteString(found.Error())
	}
	codes := codesInSource(t)
	if len(codes) < 40 {
		t.Fatalf("only %d codes found", len(codes))
	}
	for code := range codes {
		if code != "target-limit" && !strings.Contains(seen.String(), "["+code+"]") { // TestTarget
			t.Errorf("no corpus flow and no unit case leads to %s", code)
		}
	}
}

// codesInSource returns the literal codes of calls of diag.Errorf and diag.Warningf in this folder.
func codesInSource(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 3 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Errorf" || f.Sel.Name == "Warningf") {
				if lit, ok := call.Args[1].(*ast.BasicLit); ok {
					code, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					codes[code] = true
				}
			}
			return true
		})
	}
	return codes
}
