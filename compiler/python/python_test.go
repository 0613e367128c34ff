package python_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/sdk"
)

// unpacked returns a folder with the SDK.
func unpacked(t testing.TB) string {
	t.Helper()
	dir, err := sdk.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// interpreter returns the Python that MF_TEST_PYTHON names, for a run of the tests with another version.
func interpreter() string { return os.Getenv("MF_TEST_PYTHON") }

// options are special options of flows in testdata, by the base name.
var options = map[string]python.Options{
	"configs.py": {
		Configs:      map[string]string{"given-file": "testdata/good/configs_given.json"},
		ConfigValues: map[string]string{"text": `{"a": 2}`},
	},
	"linear.py": {With: []string{
		"retry:times=4", "kubernetes:image=python:3.12,labels={\"a\": \"b,c\"},gpu=1.5", "timeout",
	}},
	"mutators.py":   {With: []string{"retry:times=9", "Around:label=7"}},
	"parameters.py": {Evaluate: true},
	"decorators.py": {Evaluate: true},
	"two_flows.py":  {Class: "Second"},
}

var badOptions = map[string]python.Options{
	"parameters.py":         {Evaluate: true},
	"configs.py":            {Configs: map[string]string{"nobody": "x.json"}, ConfigValues: map[string]string{"needed": "["}},
	"next_text.py":          {Class: "Other", With: []string{"retyr"}},
	"next_starred.py":       {With: []string{"retyr:a=1", "retry:times", "retry:tims=3"}},
	"import_third_party.py": {Stubs: false},
}

// pythonSays lists flows whose findings repeat what Python says, which differs between its versions: of these only
// file, line and code are compared.
var pythonSays = map[string]bool{
	"syntax_error.py": true, "indentation.py": true, "syntax_in_import.py": true, "not_utf8.py": true, "null_byte.py": true,
	"configs.py": true,
}

func TestCorpus(t *testing.T) {
	dir := unpacked(t)
	for _, kind := range []string{"good", "bad"} {
		files, err := filepath.Glob("testdata/" + kind + "/*.py")
		if err != nil || len(files) == 0 {
			t.Fatal("no flows", err)
		}
		for _, file := range files {
			t.Run(kind+"/"+filepath.Base(file), func(t *testing.T) { checkFlow(t, dir, kind, file) })
		}
	}
	if !t.Failed() {
		golden.Unclaimed(t, "testdata", "*.golden", "*.txt")
	}
}

func checkFlow(t *testing.T, dir, kind, file string) {
	opt := options[filepath.Base(file)]
	if kind == "bad" {
		opt = badOptions[filepath.Base(file)]
	}
	opt.SDKDir = dir
	opt.Interpreter = interpreter()
	opt.Stubs = filepath.Base(file) != "import_third_party.py"
	var printed bytes.Buffer
	opt.Stderr = &printed
	flow, found, err := python.Load(t.Context(), file, opt)
	if err != nil {
		t.Fatal(err)
	}
	if found.HasErrors() != (kind == "bad") {
		t.Errorf("findings of a %s flow:\n%v", kind, found)
	}
	base := strings.TrimSuffix(file, ".py")
	if len(found) > 0 {
		golden.Check(t, base+".txt", diagnostics(found, pythonSays[filepath.Base(file)]))
	} else {
		golden.Absent(t, base+".txt")
	}
	if kind == "bad" {
		return
	}
	out, err := ir.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, base+".golden", out)
	if want := ""; filepath.Base(file) == "two_flows.py" {
		want = "printed while it is loaded\n"
		if printed.String() != want {
			t.Errorf("printed %q, want %q", printed.String(), want)
		}
	}
}

func diagnostics(l diag.List, brief bool) []byte {
	var b bytes.Buffer
	for _, d := range l {
		if brief {
			fmt.Fprintf(&b, "%s:%d [%s]\n", d.Span.File, d.Span.Line, d.Code)
			continue
		}
		b.WriteString(d.String() + "\n")
		for line := range strings.Lines(d.Detail) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
		for _, n := range d.Notes {
			b.WriteString("    " + n.Span.String() + ": " + n.Message + "\n")
		}
	}
	return b.Bytes()
}

func TestInterpreters(t *testing.T) {
	dir := unpacked(t)
	old := filepath.Join(t.TempDir(), "old-python")
	// An interpreter that is too old answers as the script makes it answer.
	if err := os.WriteFile(old, []byte("#!/bin/sh\nprintf '{\"python\": \"3.6.15\"}'\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	dies := filepath.Join(t.TempDir(), "dying-python")
	if err := os.WriteFile(dies, []byte("#!/bin/sh\necho out of luck >&2\nkill -9 $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	speaks := filepath.Join(t.TempDir(), "speaking-python")
	if err := os.WriteFile(speaks, []byte("#!/bin/sh\necho hello\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ interpreter, want string }{
		{"no-such-python", "need Python 3.9 or newer"},
		{old, "is Python 3.6.15; Python flows need Python 3.9 or newer"},
		{dies, "(signal: killed):\nout of luck"},
		{speaks, "does not behave like Python"},
	} {
		_, _, err := python.Load(t.Context(), "testdata/good/linear.py", python.Options{SDKDir: dir, Interpreter: c.interpreter})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.interpreter, err, c.want)
		}
	}
}

func TestNoFile(t *testing.T) {
	dir := unpacked(t)
	if _, _, err := python.Load(t.Context(), "testdata/none.py", python.Options{SDKDir: dir}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, _, err := python.Load(t.Context(), "testdata", python.Options{SDKDir: dir}); err == nil {
		t.Error("a folder was loaded")
	}
}

// TestCancel interrupts a flow file that would sleep for a minute.
func TestCancel(t *testing.T) {
	dir := unpacked(t)
	file := filepath.Join(t.TempDir(), "sleeps.py")
	mark := filepath.Join(t.TempDir(), "mark")
	text := "import time, pathlib\npathlib.Path(" + `"` + filepath.ToSlash(mark) + `"` + ").touch()\ntime.sleep(60)\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(mark); err == nil {
				cancel()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	if _, _, err := python.Load(ctx, file, python.Options{SDKDir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was canceled", err)
	}
}

// TestEnvironment: the flow sees the environment given, and its own folder before the SDK.
func TestEnvironment(t *testing.T) {
	dir := unpacked(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "flow.py")
	text := `import os, sys
import json_settings
from metaflow import FlowSpec, step
class Flow(FlowSpec):
    VALUE = os.environ["FROM_TEST"] + json_settings.X + str("HOME" in os.environ) + os.environ["PYTHONPATH"].split(os.pathsep)[1]
    FIRST = sys.path[0] == os.path.dirname(os.path.abspath(__file__))
    ARGV = len(sys.argv)
    STDIN = sys.stdin.read()
    @step
    def start(self): pass
if __name__ == "__main__":
    Flow()
`
	for name, content := range map[string]string{"flow.py": text, "json_settings.py": "X = '-x-'\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	flow, found, err := python.Load(t.Context(), file, python.Options{
		SDKDir: dir, Interpreter: interpreter, Env: []string{"FROM_TEST=given", "PYTHONPATH=/elsewhere", "PATH=" + os.Getenv("PATH")},
	})
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	got := map[string]string{}
	for _, c := range flow.Constants {
		got[c.Name] = string(c.Value)
	}
	for name, want := range map[string]string{
		"VALUE": `"given-x-False/elsewhere"`, "FIRST": "true", "ARGV": "1", "STDIN": `""`,
	} {
		if got[name] != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
}
