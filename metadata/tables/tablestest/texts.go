package tablestest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// oddTexts are names and values of the kinds that go wrong; none of them is a number.
var oddTexts = []string{
	"-5", "+5", "1.5", "1e3", "0x10", " 7", "7 ", "None", "null", "a/b", "a%2Fb", "a'b", `a"b`, "a`b", "a;b--",
	"'); DROP TABLE runs_v3; --", "' OR '1'='1", "%", "_", "*", "?1", "$1", ":a", "@a", `\`, `\u0000`, "ä", "a\u0308",
	"日本語", "🙂", "\u202eabc", "a\tb\nc\r\n", "\x01", "\x7f", `["a"]`, "{}", "<&>", "a\u2028",
}

func everyFieldTakesAnyText(s *suite) {
	for _, x := range oddTexts {
		_, err := s.CreateFlow(s.ctx, tables.Flow{FlowID: x, UserName: &x, Tags: list(x), SystemTags: list(x)})
		s.ok(err)
		run, err := s.CreateRun(s.ctx, tables.Run{FlowID: x, RunID: &x, UserName: &x, Tags: list(x), SystemTags: list("s" + x)})
		s.ok(err)
		k := tables.Key{Flow: x, Run: x, Step: x}
		_, err = s.CreateStep(s.ctx, k, tables.Step{StepName: x, UserName: &x})
		s.ok(err)
		task, err := s.CreateTask(s.ctx, k, tables.Task{TaskName: &x, UserName: &x})
		s.ok(err)
		k.Task = x
		s.addMetadata(k, 1, tables.Metadatum{FieldName: x, Value: x, Type: x, UserName: &x, Tags: list(x), SystemTags: list(x)})
		s.addArtifacts(k, 1, tables.Artifact{
			Name: x, Location: x, DsType: x, Sha: &x, Type: &x, ContentType: &x, UserName: &x,
		})
		s.mutate(k, []string{"+" + x}, nil, x, "+"+x)
		_, err = s.HeartbeatTask(s.ctx, k, 5)
		s.ok(err)
		s.readsBack(k, x, run, task)
	}
	all, err := s.Flows(s.ctx, &tables.Page{Limit: 500})
	s.ok(err)
	s.same(len(all), len(oddTexts))
}

func (s *suite) readsBack(k tables.Key, x string, run tables.Run, task tables.Task) {
	s.t.Helper()
	flow, err := s.Flow(s.ctx, x)
	s.ok(err)
	s.same(flow, tables.Flow{FlowID: x, UserName: &x, Tags: list(x), SystemTags: list(x), TsEpoch: s.now()})
	got, err := s.Run(s.ctx, k)
	s.ok(err)
	s.same([]string{got.FlowID, *got.RunID, *got.UserName}, []string{x, x, x})
	s.same(got.RunNumber, run.RunNumber)
	step, err := s.Step(s.ctx, k)
	s.ok(err)
	s.same([]string{step.FlowID, step.StepName, *step.RunID, *step.UserName}, []string{x, x, x, x})
	found, err := s.Task(s.ctx, k)
	s.ok(err)
	s.same([]string{found.FlowID, *found.RunID, found.StepName, *found.TaskName, *found.UserName}, []string{x, x, x, x, x})
	s.same(found.TaskID, task.TaskID)
	data, err := s.TaskMetadata(s.ctx, k, nil)
	s.ok(err)
	s.same(data, []tables.Metadatum{{
		FlowID: x, RunNumber: run.RunNumber, RunID: &x, StepName: x, TaskID: task.TaskID, TaskName: &x, ID: data[0].ID,
		FieldName: x, Value: x, Type: x, UserName: &x, TsEpoch: s.now(), Tags: list(x), SystemTags: list(x),
	}})
	a, err := s.Artifact(s.ctx, k, x, ptr(int64(0)))
	s.ok(err)
	s.same(a, tables.Artifact{
		FlowID: x, RunNumber: run.RunNumber, RunID: &x, StepName: x, TaskID: task.TaskID, TaskName: &x, Name: x, Location: x,
		DsType: x, Sha: &x, Type: &x, ContentType: &x, UserName: &x, TsEpoch: s.now(), Tags: got.Tags, SystemTags: list("s" + x),
	})
	runs := s.runs(x, tables.Query{
		Filters: []tables.Filter{{Field: "run_id", Op: "eq", Values: []*string{&x}}},
		Tags:    []tables.TagFilter{{Op: "all", Values: []string{x, "s" + x}}},
	})
	s.same(runs, []tables.Run{got})
	filtered, err := s.FilteredTasks(s.ctx, k, &x, nil)
	s.ok(err)
	s.same(len(filtered), 1)
}

// textsThatAreRefused: what Postgres cannot store is an error, and nothing is left behind.
func textsThatAreRefused(s *suite) {
	run, _, k := s.place("", "")
	for _, c := range []struct{ text, code string }{{tooLong, "22001"}, {"a\x00b", "22021"}, {"a\xffb", "22021"}} {
		x := c.text
		for _, f := range []tables.Flow{{FlowID: x}, {FlowID: "new", UserName: &x}} {
			_, err := s.CreateFlow(s.ctx, f)
			s.refused(err, c.code)
		}
		for _, r := range []tables.Run{{FlowID: "F", RunID: &x}, {FlowID: "F", UserName: &x}} {
			_, err := s.CreateRun(s.ctx, r)
			s.refused(err, c.code)
		}
		for _, name := range []string{x, "user"} {
			step := k
			step.Step = name
			_, err := s.CreateStep(s.ctx, step, tables.Step{StepName: name, UserName: &x})
			s.refused(err, c.code)
		}
		for _, t := range []tables.Task{{TaskName: &x}, {UserName: &x}} {
			_, err := s.CreateTask(s.ctx, k, t)
			s.refused(err, c.code)
		}
		// Looking for it finds nothing, or is refused as well.
		for _, err := range s.lookups(tables.Key{Flow: x, Run: x, Step: x, Task: x}) {
			if !isMissing(err) {
				s.fail("looking for %.20q: %v", x, err)
			}
		}
		for _, err := range s.lookups(tables.Key{Flow: "F", Run: k.Run, Step: x, Task: x})[2:] {
			if !isMissing(err) {
				s.fail("looking for %.20q: %v", x, err)
			}
		}
	}
	for _, bad := range []tables.JSON{tables.JSON(`["a\u0000"]`), tables.JSON(`[`), tables.JSON(``), tables.JSON("[\"\xff\"]")} {
		_, err := s.CreateRun(s.ctx, tables.Run{FlowID: "F", Tags: bad, SystemTags: list()})
		s.refused(err)
		_, err = s.CreateFlow(s.ctx, tables.Flow{FlowID: "new", SystemTags: bad})
		s.refused(err)
	}
	if _, err := s.MutateTags(s.ctx, k, []string{"a\x00"}, nil); err == nil {
		s.fail("a tag with a NUL was accepted")
	}
	_, err := s.Flow(s.ctx, "new")
	s.is(err, metadata.ErrNotFound)
	s.same(texts(s.runs("F", tables.Query{}), runText), []string{runText(run)})
	tasks, err := s.Tasks(s.ctx, k, tables.Query{})
	s.ok(err)
	s.same(len(tasks), 1)
}

// isMissing reports whether an error says that a row is not there, or that its key cannot be one.
func isMissing(err error) bool {
	var e *tables.Error
	return errors.Is(err, metadata.ErrNotFound) || errors.As(err, &e)
}

// lookups returns what looking for single rows says: a flow, a run, a step, a task, artifacts.
func (s *suite) lookups(k tables.Key) []error {
	_, flow := s.Flow(s.ctx, k.Flow)
	_, run := s.Run(s.ctx, k)
	_, step := s.Step(s.ctx, k)
	_, task := s.Task(s.ctx, k)
	_, latest := s.Artifact(s.ctx, k, "x", nil)
	_, exact := s.Artifact(s.ctx, k, "x", ptr(int64(0)))
	return []error{flow, run, step, task, latest, exact}
}

// empty checks that all lists below a key are.
func (s *suite) empty(k tables.Key) {
	s.t.Helper()
	for _, page := range []*tables.Page{nil, {Limit: 5}} {
		steps, err := s.Steps(s.ctx, k)
		s.ok(err)
		tasks, err := s.Tasks(s.ctx, k, tables.Query{Page: page})
		s.ok(err)
		run, err := s.RunMetadata(s.ctx, k, page)
		s.ok(err)
		task, err := s.TaskMetadata(s.ctx, k, page)
		s.ok(err)
		artifacts, err := s.Artifacts(s.ctx, k, page)
		s.ok(err)
		attempt, err := s.ArtifactsOfAttempt(s.ctx, k, 0)
		s.ok(err)
		filtered, err := s.FilteredTasks(s.ctx, k, nil, nil)
		s.ok(err)
		if n := len(steps) + len(tasks) + len(run) + len(task) + len(artifacts) + len(attempt) + len(filtered); n > 0 {
			s.fail("%d rows below %+v", n, k)
		}
	}
}

func whatIsMissing(s *suite) {
	run, _, k := s.place("r", "t")
	s.attempts(k)
	s.addMetadata(k, 1, tables.Metadatum{FieldName: "f"})
	for _, missing := range []tables.Key{
		{Flow: "G", Run: "r", Step: "start", Task: "t"},
		{Flow: "F", Run: "none", Step: "start", Task: "t"},
		{Flow: "F", Run: "0", Step: "start", Task: "t"},
	} {
		s.empty(missing)
		for _, err := range s.lookups(missing)[1:] {
			s.is(err, metadata.ErrNotFound)
		}
	}
	for _, missing := range []tables.Key{
		{Flow: "F", Run: "r", Step: "end", Task: "t"},
		{Flow: "F", Run: "r", Step: "start", Task: "none"},
		{Flow: "F", Run: number(run.RunNumber), Step: "start", Task: "999999"},
	} {
		for _, err := range s.lookups(missing)[3:] {
			s.is(err, metadata.ErrNotFound)
		}
		artifacts, err := s.Artifacts(s.ctx, missing, nil)
		s.ok(err)
		data, err := s.TaskMetadata(s.ctx, missing, nil)
		s.ok(err)
		s.same(len(artifacts)+len(data), 0)
	}
	s.same(len(s.runs("G", tables.Query{})), 0)
}

// writersConcurrently: numbers are minted once, and no row is lost.
func writersConcurrently(s *suite) {
	s.flow("F")
	shared := s.run("F", "shared")
	k := s.step(shared, "start")
	_, one := s.task(k, "one")
	const workers, each = 12, 6
	runs, tasks := make([][]int64, workers), make([][]int64, workers)
	s.parallel(workers, func(i int) error {
		for j := range each {
			run, err := s.CreateRun(s.ctx, tables.Run{FlowID: "F", Tags: list(), SystemTags: list()})
			if err != nil {
				return err
			}
			t, err := s.CreateTask(s.ctx, k, tables.Task{LastHeartbeat: ptr(time.Now().Unix())})
			if err != nil {
				return err
			}
			runs[i], tasks[i] = append(runs[i], run.RunNumber), append(tasks[i], t.TaskID)
			task := k
			task.Task = taskText(t)
			name := fmt.Sprint(i, "-", j)
			n, err := s.AddMetadata(s.ctx, one, []tables.Metadatum{{FieldName: "f", Value: name}, {FieldName: tooLong}})
			if err != nil || n != 1 {
				return fmt.Errorf("%d rows of metadata: %w", n, err)
			}
			if n, err = s.AddArtifacts(s.ctx, one, []tables.Artifact{{Name: name}, {Name: "same"}}); err != nil || n < 1 {
				return fmt.Errorf("%d artifacts: %w", n, err)
			}
			if _, err = s.HeartbeatTask(s.ctx, task, time.Now().Unix()); err != nil {
				return err
			}
		}
		return nil
	})
	for _, list := range [][][]int64{runs, tasks} {
		all := slices.Concat(list...)
		slices.Sort(all)
		s.same(len(slices.Compact(all)), workers*each)
	}
	data, err := s.TaskMetadata(s.ctx, one, nil)
	s.ok(err)
	values := texts(data, func(m tables.Metadatum) string { return m.Value })
	slices.Sort(values)
	s.same(len(slices.Compact(values)), workers*each)
	artifacts, err := s.Artifacts(s.ctx, one, nil)
	s.ok(err)
	s.same(len(artifacts), workers*each+1)
	if _, err := s.CreateFlow(s.ctx, tables.Flow{FlowID: strings.Repeat("x", 255)}); err != nil {
		s.fail("the longest name: %v", err)
	}
}
