package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mf-run/mf/diag"
)

func TestReportChoosesTheExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{failed, 1, ""},
		{usagef("wrong %s", "flag"), 2, "mf: wrong flag\n"},
		{fmt.Errorf("outer: %w", usagef("inner")), 2, "mf: inner\n"},
		{errors.New("the disk is full"), 1, "mf: the disk is full\n"},
		{fmt.Errorf("reading: %w", context.Canceled), 130, "mf: interrupted\n"},
		{diag.List{{Severity: diag.Error, Code: "some-code", Summary: "something"}}, 1, "some-code"},
	} {
		var stderr bytes.Buffer
		a := &app{stderr: &stderr}
		if code := a.report(c.err); code != c.code || !strings.Contains(stderr.String(), c.text) || (c.text == "") != (stderr.Len() == 0) {
			t.Errorf("%v: exit code %d, printed %q", c.err, code, stderr.String())
		}
	}
}

// A broken promise of mf's own code is told as such, with exit code 70.
func TestBugsExitWith70(t *testing.T) {
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"version"}, nil, nil, panickingWriter{}, &stderr)
	if code != exitBug || !strings.Contains(stderr.String(), "This is a bug in mf, not in your flow") {
		t.Errorf("exit code %d, printed %q", code, stderr.String())
	}
}

type panickingWriter struct{}

func (panickingWriter) Write([]byte) (int, error) { panic("written to") }

func TestPlural(t *testing.T) {
	for n, want := range map[int]string{0: "0 tasks", 1: "1 task", 2: "2 tasks"} {
		if got := plural(n, "task"); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
