//go:build unix

package hook_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/hook"
)

// TestCommands runs commands in both forms. Functions are called in the tests of mf-task, with a real interpreter.
func TestCommands(t *testing.T) {
	for name, c := range map[string]struct {
		command  ir.Command
		out, err string
	}{
		"a line":       {ir.Command{Shell: "echo $A $B"}, "own given\n", ""},
		"a list":       {ir.Command{Args: []string{"/bin/echo", "$A"}}, "$A\n", ""},
		"a failure":    {ir.Command{Shell: "exit 4"}, "", "the exit hook exit 4 failed: exit status 4"},
		"not there":    {ir.Command{Args: []string{"/no/such"}}, "", "the exit hook [/no/such] failed: fork/exec /no/such: no such file or directory"},
		"left running": {ir.Command{Shell: "sleep 5 & echo done"}, "done\n", ""},
	} {
		var out bytes.Buffer
		r := &hook.Runner{Flow: "F", Run: "1", Dir: t.TempDir(), Environ: []string{"A=own", "B=own", "PATH=/usr/bin:/bin"},
			Env: map[string]string{"B": "given"}, Stdout: &out, Stderr: &out}
		err := r.Call(t.Context(), ir.ExitHook{Command: &c.command})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if out.String() != c.out || got != c.err {
			t.Errorf("%s: %q, %q", name, out.String(), got)
		}
	}
}

func TestStopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := &hook.Runner{Flow: "F", Run: "1", Dir: t.TempDir(), Environ: []string{"PATH=/usr/bin:/bin"}, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	begun := time.Now()
	if err := r.Call(ctx, ir.ExitHook{Command: &ir.Command{Args: []string{"sleep", "60"}}}); err == nil || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

func TestNoPython(t *testing.T) {
	if err := (&hook.Runner{}).Call(t.Context(), ir.ExitHook{Function: "f"}); err == nil || !strings.Contains(err.Error(), "no Python") {
		t.Error(err)
	}
}
