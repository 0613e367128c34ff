package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asExit returns the exitError that err is; nil if it is none.
func asExit(err error) *exitError {
	var exit *exitError
	if !errors.As(err, &exit) {
		return nil
	}
	return exit
}

func TestParseFlowArg(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train.py", "flow.yaml", "flow.yml", "odd.py:name.yaml", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.py"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		arg, path, class, wrong string
		python                  bool
	}{
		{arg: "train.py", path: "train.py", python: true},
		{arg: "train.py:Other", path: "train.py", class: "Other", python: true},
		{arg: "train.py:", path: "train.py", python: true},
		{arg: "flow.yaml", path: "flow.yaml"},
		{arg: "flow.yml", path: "flow.yml"},
		{arg: "notes.txt", wrong: "is not a flow"},
		{arg: "absent.py", wrong: "there is no file"},
		{arg: "absent", wrong: "is not a flow"},
		{arg: "folder.py", wrong: "is a folder"},
		{arg: "folder.py/x.py", wrong: "there is no file"},
		{arg: "train.py/x.py", wrong: "not a directory"},
		{arg: "", wrong: "is a folder"},
	} {
		got, err := parseFlowArg(filepath.Join(dir, c.arg))
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v, want an error with %q", c.arg, err, c.wrong)
			}
			continue
		}
		if err != nil || got.path != filepath.Join(dir, c.path) || got.class != c.class || got.python() != c.python {
			t.Errorf("%s: %+v, %v", c.arg, got, err)
		}
		if want := strings.TrimSuffix(filepath.Join(dir, c.arg), ":"); got.String() != want {
			t.Errorf("%s: String() is %s", c.arg, got)
		}
	}
}

func TestPairs(t *testing.T) {
	got, err := pairs("set", []string{"a=1", "b=x=y", "c="})
	if err != nil || got["a"] != "1" || got["b"] != "x=y" || got["c"] != "" || len(got) != 3 {
		t.Errorf("pairs: %v, %v", got, err)
	}
	if _, err := pairs("set", []string{"a"}); asExit(err) == nil {
		t.Errorf("a pair without =: %v", err)
	}
}
