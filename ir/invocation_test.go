package ir_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mf-run/mf/ir"
)

func TestTaskInvocationRoundTrip(t *testing.T) {
	for _, want := range []ir.TaskInvocation{
		{Flow: "F", Run: "1", Step: "start", Attempt: "0"},
		{Flow: "F", Run: "argo-x-7", Step: "body", Path: "3,0", Attempt: "2"},
		{Flow: "F", Run: "r", Step: "loop", Path: "1,0..49", Iteration: "12", Attempt: "{{retries}}"},
		{Flow: "F", Run: "r", Step: "loop", Path: "1,{{item}}*50", Iteration: "2*10", Pack: "50", Attempt: "0"},
		{Flow: "F", Run: "r=1", Step: "--flow", Path: "{{inputs.parameters.path}}", Iteration: "$(x)", Attempt: "0"},
	} {
		got, err := ir.ParseTaskInvocation(want.Args())
		if err != nil || got != want {
			t.Errorf("%v: %+v, %v, want %+v", want.Args(), got, err, want)
		}
	}
	joined, err := ir.ParseTaskInvocation([]string{"run", "--flow=F", "--run=a=b", "--step=s", "--path=", "--attempt=0"})
	if want := (ir.TaskInvocation{Flow: "F", Run: "a=b", Step: "s", Attempt: "0"}); err != nil || joined != want {
		t.Errorf("with =: %+v, %v", joined, err)
	}
}

func TestParseTaskInvocationRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                       "starts with",
		"stop":                                   "starts with",
		"run":                                    "--flow is missing",
		"run --flow F --run 1 --step s":          "--attempt is missing",
		"run --flow":                             "--flow needs a value",
		"run --flow F --bogus x":                 `unknown task option "--bogus"`,
		"run --flow F --run 1 --attempt 0 extra": `unknown task option "extra"`,
	} {
		if _, err := ir.ParseTaskInvocation(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestPaths(t *testing.T) {
	for text, want := range map[string][]ir.SplitPath{
		"":       {nil},
		"3":      {{3}},
		"3,0":    {{3, 0}},
		"2,5..7": {{2, 5}, {2, 6}, {2, 7}},
		"0..1":   {{0}, {1}},
		"4..4":   {{4}},
		"2,0*3":  {{2, 0}, {2, 1}, {2, 2}},
		"7*2":    {{14}, {15}},
	} {
		got, clip, err := ir.TaskInvocation{Path: text}.Paths()
		if err != nil || !reflect.DeepEqual(got, want) || clip != strings.Contains(text, "*") {
			t.Errorf("%q: %v, %v, %v, want %v", text, got, clip, err, want)
		}
	}
	for _, text := range []string{"x", "01", "-1", "1,", ",1", "2..1", "0..100000", "1..2,3", "..", "1..", "99999999999999999999",
		"*", "1*", "*2", "1*0", "1*100001", "1*2*3", "1*2,3", "9999999999*2", "0..1*2"} {
		if got, _, err := (ir.TaskInvocation{Path: text}).Paths(); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestRounds(t *testing.T) {
	for text, want := range map[string][2]int{"": {ir.NoIteration, 1}, "0": {0, 1}, "12": {12, 1}, "2*10": {20, 10}, "3..4": {3, 2}} {
		first, n, err := ir.TaskInvocation{Iteration: text}.Rounds()
		if err != nil || first != want[0] || n != want[1] {
			t.Errorf("%q: %d, %d, %v, want %v", text, first, n, err, want)
		}
	}
	for _, text := range []string{"x", "-1", "1*", "01"} {
		if first, n, err := (ir.TaskInvocation{Iteration: text}).Rounds(); err == nil {
			t.Errorf("%q: %d, %d, want an error", text, first, n)
		}
	}
}

func TestPackSize(t *testing.T) {
	if n, err := (ir.TaskInvocation{Pack: "50"}).PackSize(); n != 50 || err != nil {
		t.Error(n, err)
	}
	for _, text := range []string{"x", "1", "-3", "100001"} {
		if n, err := (ir.TaskInvocation{Pack: text}).PackSize(); err == nil {
			t.Errorf("%q: %d, want an error", text, n)
		}
	}
	if got := ir.PackIndex("{{item}}", 50); got != "{{item}}*50" {
		t.Error(got)
	}
}

func TestSplitPathsDoNotShareMemory(t *testing.T) {
	parent := ir.SplitPath{1, 2, 3}.Parent()
	a, b := parent.Child(7), parent.Child(8)
	if a.String() != "1,2,7" || b.String() != "1,2,8" || parent.String() != "1,2" {
		t.Errorf("%v %v %v", parent, a, b)
	}
}

func FuzzTaskInvocation(f *testing.F) {
	f.Add("F", "1", "start", "3,0", "", "0")
	f.Add("--step", "a b", "=", "", "2", "--")
	f.Fuzz(func(t *testing.T, flow, run, step, path, iteration, attempt string) {
		want := ir.TaskInvocation{Flow: flow, Run: run, Step: step, Path: path, Iteration: iteration, Attempt: attempt}
		got, err := ir.ParseTaskInvocation(want.Args())
		if flow == "" || run == "" || step == "" || attempt == "" {
			if err == nil {
				t.Errorf("%q is accepted", want.Args())
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %+v, %v", want.Args(), got, err)
		}
		paths, _, err := want.Paths()
		if err == nil && len(paths) == 1 && !strings.ContainsAny(path, ".*") && paths[0].String() != path {
			t.Errorf("path %q is read as %v", path, paths[0])
		}
	})
}

func FuzzParseTaskInvocation(f *testing.F) {
	f.Add("run --flow F --run 1 --step s --path 0..4 --attempt 0")
	f.Fuzz(func(t *testing.T, text string) {
		invocation, err := ir.ParseTaskInvocation(strings.Fields(text))
		if err != nil {
			return
		}
		again, err := ir.ParseTaskInvocation(invocation.Args())
		if err != nil || again != invocation {
			t.Errorf("%q: %+v, then %+v (%v)", text, invocation, again, err)
		}
	})
}

func TestExitInvocation(t *testing.T) {
	want := ir.ExitInvocation{Flow: "F", Run: "argo-{{workflow.name}}", Status: "{{workflow.status}}"}
	if got, err := ir.ParseExitInvocation(want.Args()); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for args, text := range map[string]string{
		"": "starts with", "run": "starts with", "exit --flow F": "--run is missing", "exit --bogus": "unknown exit option",
	} {
		if _, err := ir.ParseExitInvocation(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want %q", args, err, text)
		}
	}
}
