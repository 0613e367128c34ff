package same

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
	"github.com/mf-run/mf/datastore/pickle"
)

// task is one to be written: an id, its artifacts, and whether it has come to its end.
type task struct {
	step, id string
	values   map[string]any
	attempt  int
	open     bool
}

// written makes a run of these tasks.
func written(t *testing.T, tasks ...task) Run {
	t.Helper()
	run := Run{Store: datastore.New(memory.New(time.Now)), Flow: "F", ID: "1"}
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, task := range tasks {
		ref := datastore.TaskRef{Flow: run.Flow, Run: run.ID, Step: task.step, Task: task.id}
		for n := range task.attempt + 1 {
			check(run.Store.Begin(ctx, ref, n, time.Unix(0, 0)))
		}
		if task.open {
			continue
		}
		rec := datastore.Record{Attempt: task.attempt, PythonVersion: "3", Artifacts: map[string]datastore.Artifact{}}
		for name, v := range task.values {
			data, ok := v.(raw)
			if !ok {
				var err error
				data, err = pickle.Marshal(v)
				check(err)
			}
			digest, err := run.Store.SaveBytes(ctx, run.Flow, data)
			check(err)
			rec.Artifacts[name] = datastore.Artifact{Digest: digest, Size: int64(len(data)), Type: "x", Encoding: "pickle-v4"}
		}
		check(run.Store.Finish(ctx, ref, rec))
	}
	return run
}

// raw is a pickle.
type raw []byte

// done adds what a task that has succeeded has.
func done(step, id string, path []int, values map[string]any) task {
	all := map[string]any{"_task_ok": true, "_success": true}
	var stack []any
	for _, i := range path {
		stack = append(stack, pickle.ForeachFrame{Step: step, Var: "items", NumSplits: int64(9), Index: int64(i)})
	}
	all["_foreach_stack"] = stack
	for name, v := range values {
		all[name] = v
	}
	return task{step: step, id: id, values: all}
}

func failed(step, id, text string, more map[string]any) task {
	t := done(step, id, nil, more)
	t.values["_task_ok"], t.values["_success"] = false, false
	t.values["_exception"] = pickle.ExceptionWrapper{Exception: text, Type: "builtins.ValueError", Stacktrace: "in /some/path/" + id}
	return t
}

func file(url string) pickle.IncludedFile {
	return pickle.IncludedFile{Descriptor: values{"size": int64(3), "url": url}}
}

type values = map[string]any

func read(ctx context.Context, t *testing.T, tasks ...task) *View {
	t.Helper()
	v, err := Read(ctx, written(t, tasks...))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCompare holds each kind of difference, and what is none, against the report.
func TestCompare(t *testing.T) {
	base := []task{
		{step: "_parameters", id: "0", values: values{"p": int64(1)}},
		done("start", "1", nil, values{"x": "a", "f": file("/here/ab/abcd"), "_control_mapper_tasks": []any{"1/work/3"}, "_transition": pickle.Tuple{[]any{"work"}, "items"}}),
		done("work", "2", []int{0}, values{"x": int64(10)}),
		done("work", "3", []int{1}, values{"x": int64(11)}),
		done("loop", "4", nil, values{"_iteration_stack": []any{int64(0)}}),
		done("loop", "5", nil, values{"_iteration_stack": []any{int64(1)}}),
		failed("end", "6", "no", nil),
	}
	with := func(change func(all []task) []task) []task {
		all := slices.Clone(base)
		for i := range all {
			copied := values{}
			for k, v := range all[i].values {
				copied[k] = v
			}
			all[i].values = copied
		}
		return change(all)
	}
	set := func(i int, name string, v any) func([]task) []task {
		return func(all []task) []task { all[i].values[name] = v; return all }
	}
	for _, c := range []struct {
		name   string
		change func([]task) []task
		rules  Rules
		want   string
	}{
		{"nothing", func(all []task) []task { return all }, Rules{Attempts: true}, ""},
		{"other ids, another order", func(all []task) []task {
			slices.Reverse(all)
			for i := range all {
				all[i].id = "t-" + all[i].id
			}
			return all
		}, Rules{}, ""},
		{"a value", set(2, "x", int64(12)), Rules{}, "work[0]: artifact x is 12, want 10\n"},
		{"a value that may vary", set(2, "x", int64(12)), Rules{Varying: []string{"x"}}, ""},
		{"a parameter", set(0, "p", "1"), Rules{}, "_parameters: artifact p is '1', want 1\n"},
		{"items that changed places", func(all []task) []task {
			all[2].values["x"], all[3].values["x"] = all[3].values["x"], all[2].values["x"]
			return all
		}, Rules{}, "work[0]: artifact x is 11, want 10\nwork[1]: artifact x is 10, want 11\n"},
		{"one more artifact", set(1, "y", nil), Rules{Varying: []string{"y"}}, "start: artifact y is None, want nothing\n"},
		{"one less", func(all []task) []task { delete(all[1].values, "x"); return all }, Rules{}, "start: artifact x is nothing, want 'a'\n"},
		{"equal to a reader, with other bytes", set(1, "x", raw("\x80\x04\x8c\x01a.")), Rules{},
			"start: artifact x is 'a' (e39940109a9a66e6da8542b5c27a6f8ed199d3c9), want 'a' (60a0b026cf902b15e0c707dbf2455f89afec8beb)\n"},
		{"of the format, with other bytes", set(1, "_success", raw("\x80\x04\x88.")), Rules{}, ""},
		{"a transition", set(1, "_transition", pickle.Tuple{[]any{"end"}, nil}), Rules{Metaflow: true},
			"start: artifact _transition is (['end'], None), want (['work'], 'items')\n"},
		{"of the format, not in Metaflow", set(1, "_own", int64(3)), Rules{Metaflow: true}, ""},
		{"of the format", set(1, "_own", int64(3)), Rules{}, "start: artifact _own is 3, want nothing\n"},
		{"an included file that is kept elsewhere", set(1, "f", file("s3://b/data/ab/abcd")), Rules{}, ""},
		{"another included file", set(1, "f", file("/here/ab/1234")), Rules{},
			"start: artifact f is {'size': 3, 'url': '1234'}, want {'size': 3, 'url': 'abcd'}\n"},
		{"ids", set(1, "_control_mapper_tasks", []any{"2/work/7"}), Rules{}, ""},
		{"ids of which there are none", func(all []task) []task { delete(all[1].values, "_control_mapper_tasks"); return all }, Rules{},
			"start: artifact _control_mapper_tasks is nothing, want ['1/work/3']\n"},
		{"no task", func(all []task) []task { return slices.Delete(all, 3, 4) }, Rules{}, "work[1]: task is nothing, want succeeded\n"},
		{"a task too many", func(all []task) []task { return append(all, done("work", "9", []int{2}, nil)) }, Rules{},
			"work[2]: task is succeeded, want nothing\n"},
		{"a round too many", func(all []task) []task {
			return append(all, done("loop", "9", nil, values{"_iteration_stack": []any{int64(2)}}))
		}, Rules{}, "loop.2: task is succeeded, want nothing\n"},
		{"a traceback alone", func(all []task) []task { all[6] = failed("end", "77", "no", nil); return all }, Rules{}, ""},
		{"another failure", func(all []task) []task { all[6] = failed("end", "6", "yes", nil); return all }, Rules{},
			"end: failure is ValueError: yes, want ValueError: no\n"},
		{"no failure", func(all []task) []task { all[6] = done("end", "6", nil, nil); return all }, Rules{Metaflow: true},
			"end: status is succeeded, want failed\nend: failure is nothing, want ValueError: no\n" +
				"end: artifact _success is True, want False\nend: artifact _task_ok is True, want False\n"},
		{"an attempt", func(all []task) []task { all[1].attempt = 1; return all }, Rules{Attempts: true}, "start: attempt is 1, want 0\n"},
		{"an attempt that does not count", func(all []task) []task { all[1].attempt = 1; return all }, Rules{}, ""},
		{"a task that has not ended", func(all []task) []task { return append(all, task{step: "work", id: "9", open: true}) }, Rules{},
			"run: tasks that have not come to an end is work/9, want nothing\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, got := read(t.Context(), t, base...), read(t.Context(), t, with(c.change)...)
			found, err := Compare(t.Context(), want, got, c.rules)
			if err != nil {
				t.Fatal(err)
			}
			if report := Report(found, 10); report != c.want {
				t.Errorf("got\n%swant\n%s", report, c.want)
			}
			if found, err = Compare(t.Context(), got, want, c.rules); err != nil || (len(found) == 0) != (c.want == "") {
				t.Errorf("the other way round: %v, %v", found, err)
			}
		})
	}
}

// TestReport cuts long values where they differ, and lists of differences.
func TestReport(t *testing.T) {
	long := strings.Repeat("é", 500)
	report := Report([]Difference{{"a", "artifact x", long + "!" + long, long + "?" + long}, {"b", "x", "1", ""}, {"c", "x", "", "1"}}, 2)
	if !strings.Contains(report, "é!é") || !strings.Contains(report, "é?é") || len(report) > 1000 || !strings.HasSuffix(report, "\nand 1 more\n") {
		t.Errorf("%s", report)
	}
	if got := Report(nil, 2); got != "" {
		t.Errorf("%q for none", got)
	}
}

// TestTwoTasksAtOnePlace is a run that no engine should leave behind.
func TestTwoTasksAtOnePlace(t *testing.T) {
	_, err := Read(t.Context(), written(t, done("work", "1", []int{0}, nil), done("work", "2", []int{0}, nil)))
	if err == nil || !strings.Contains(err.Error(), "work[0]") {
		t.Errorf("error %v", err)
	}
}
