package tablestest

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

var jsonType = reflect.TypeFor[tables.JSON]()

func flows(s *suite) {
	s.ok(s.Ping(s.ctx))
	want := tables.Flow{FlowID: "F", UserName: ptr("u"), Tags: list("a", "b"), SystemTags: list(), TsEpoch: s.now()}
	sent := want
	sent.TsEpoch = 1 // the database stamps, whatever is sent
	got, err := s.CreateFlow(s.ctx, sent)
	s.ok(err)
	s.same(got, want)
	s.clock.Add(time.Second)
	bare := s.flow("G")
	s.same(bare, tables.Flow{FlowID: "G", TsEpoch: s.now()})
	_, err = s.CreateFlow(s.ctx, sent)
	s.refused(err, tables.UniqueViolation)
	for _, f := range []tables.Flow{want, bare} {
		got, err := s.Flow(s.ctx, f.FlowID)
		s.ok(err)
		s.same(got, f)
	}
	_, err = s.Flow(s.ctx, "f")
	s.is(err, metadata.ErrNotFound)
	all, err := s.Flows(s.ctx, nil)
	s.ok(err)
	slices.SortFunc(all, func(a, b tables.Flow) int { return strings.Compare(a.FlowID, b.FlowID) })
	s.same(all, []tables.Flow{want, bare})
}

func flowsArePaged(s *suite) {
	for _, id := range []string{"c", "a", "b"} {
		s.flow(id)
	}
	s.clock.Add(time.Second)
	for _, id := range []string{"e", "d"} {
		s.flow(id)
	}
	for limit := 1; limit <= 6; limit++ {
		got := paged(s, limit, func(f tables.Flow) tables.Cursor { return tables.Cursor{TsEpoch: f.TsEpoch, Name: f.FlowID} },
			func(p *tables.Page) ([]tables.Flow, error) { return s.Flows(s.ctx, p) })
		s.same(texts(got, func(f tables.Flow) string { return f.FlowID }), []string{"e", "d", "c", "b", "a"})
	}
}

func runsOfANumber(s *suite) {
	s.flow("F")
	s.flow("G")
	want := tables.Run{
		FlowID: "F", UserName: ptr("u"), Tags: list("b", "a"), SystemTags: list("user:u", "x"), TsEpoch: s.now(),
		LastHeartbeat: ptr(int64(77)),
	}
	sent := want
	sent.TsEpoch, sent.RunNumber, sent.Status = 5, 99, "failed"
	got, err := s.CreateRun(s.ctx, sent)
	s.ok(err)
	if got.RunNumber <= 0 {
		s.fail("the number is %d", got.RunNumber)
	}
	want.RunNumber = got.RunNumber
	s.same(got, want)
	second := s.run("F", "")
	if second.RunNumber == got.RunNumber {
		s.fail("number %d was minted twice", got.RunNumber)
	}
	for _, zeros := range []string{"", "00"} {
		got, err = s.Run(s.ctx, tables.Key{Flow: "F", Run: zeros + number(want.RunNumber)})
		s.ok(err)
		s.same(got, want)
	}
	for _, k := range []tables.Key{
		{Flow: "G", Run: number(want.RunNumber)},
		{Flow: "F", Run: "-" + number(want.RunNumber)},
		{Flow: "F", Run: number(want.RunNumber) + " "},
		{Flow: "F", Run: ""},
		{Flow: "F", Run: "0"},
	} {
		_, err = s.Run(s.ctx, k)
		s.is(err, metadata.ErrNotFound)
	}
	s.same(second.LastHeartbeat, (*int64)(nil))
}

func runsOfAName(s *suite) {
	s.flow("F")
	s.flow("G")
	run := s.run("F", "argo-x-abc")
	s.same(run.RunID, ptr("argo-x-abc"))
	for _, text := range []string{"argo-x-abc", number(run.RunNumber)} {
		got, err := s.Run(s.ctx, tables.Key{Flow: "F", Run: text})
		s.ok(err)
		s.same(got, run)
	}
	_, err := s.CreateRun(s.ctx, tables.Run{FlowID: "F", RunID: ptr("argo-x-abc")})
	s.refused(err, tables.UniqueViolation)
	s.run("G", "argo-x-abc")
	empty, err := s.CreateRun(s.ctx, tables.Run{FlowID: "F", RunID: ptr("")})
	s.ok(err)
	s.same(empty.RunID, ptr(""))
	got, err := s.Run(s.ctx, tables.Key{Flow: "F"})
	s.ok(err)
	s.same(got, empty)
	// A name takes a number like any run.
	if next := s.run("F", ""); next.RunNumber == run.RunNumber || next.RunNumber == empty.RunNumber {
		s.fail("number %d was minted twice", next.RunNumber)
	}
}

func runsNeedTheirFlow(s *suite) {
	for _, name := range []*string{nil, ptr("r")} {
		_, err := s.CreateRun(s.ctx, tables.Run{FlowID: "F", RunID: name})
		s.refused(err, tables.ForeignKeyViolation)
	}
	s.flow("F")
	s.run("F", "r")
}

// huge is a number beyond 64 bits; wide is one beyond the 32 of Metaflow's run numbers.
const (
	huge = "9223372036854775808"
	wide = "99999999999"
)

func numbersOutOfRange(s *suite) {
	_, _, task := s.place("", "")
	for _, text := range []string{huge, "²", "1²", "٣"} {
		k := tables.Key{Flow: "F", Run: text, Step: "start", Task: task.Task}
		_, err := s.Run(s.ctx, k)
		s.refused(err, "22003", "22P02")
		_, err = s.Step(s.ctx, k)
		s.refused(err, "22003", "22P02")
		_, err = s.Task(s.ctx, k)
		s.refused(err, "22003", "22P02")
		_, err = s.HeartbeatRun(s.ctx, k, 1)
		s.refused(err)
		_, err = s.MutateTags(s.ctx, k, nil, nil)
		s.refused(err)
		_, err = s.Steps(s.ctx, k)
		s.refused(err)
		_, err = s.RunMetadata(s.ctx, k, nil)
		s.refused(err)
		_, err = s.Artifacts(s.ctx, k, nil)
		s.refused(err)
		k = task
		k.Task = text
		_, err = s.Task(s.ctx, k)
		s.refused(err, "22003", "22P02")
		_, err = s.TaskMetadata(s.ctx, k, nil)
		s.refused(err)
		_, err = s.HeartbeatTask(s.ctx, k, 1)
		s.refused(err)
	}
	k := tables.Key{Flow: "F", Run: wide, Step: "start", Task: "1"}
	if _, err := s.Run(s.ctx, k); !isMissing(err) {
		s.fail("error: %v", err)
	}
	s.empty(k)
}

func stepFits(s *suite, got tables.Step, run tables.Run, want tables.Step) {
	s.t.Helper()
	// A step of a numbered run has its number as run_id in Metaflow's own database.
	if run.RunID == nil && got.RunID != nil && *got.RunID == number(run.RunNumber) {
		got.RunID = nil
	}
	s.same(got, want)
}

func steps(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name, "t")
		k := tables.Key{Flow: "F", Run: runText(run), Step: "start"}
		want := tables.Step{
			FlowID: "F", RunNumber: run.RunNumber, RunID: run.RunID, StepName: "start", UserName: ptr(""), TsEpoch: s.now(),
			Tags: run.Tags, SystemTags: run.SystemTags,
		}
		sent := want
		sent.Tags, sent.TsEpoch = list("other"), 9
		got, err := s.CreateStep(s.ctx, k, sent)
		s.ok(err)
		stepFits(s, got, run, want)
		_, err = s.CreateStep(s.ctx, k, sent)
		s.refused(err, tables.UniqueViolation)
		for _, text := range []string{runText(run), number(run.RunNumber)} {
			k.Run = text
			got, err = s.Step(s.ctx, k)
			s.ok(err)
			stepFits(s, got, run, want)
		}
		k.Step = "end"
		_, err = s.CreateStep(s.ctx, k, tables.Step{StepName: "end"})
		s.ok(err)
		all, err := s.Steps(s.ctx, tables.Key{Flow: "F", Run: runText(run)})
		s.ok(err)
		names := texts(all, func(s tables.Step) string { return s.StepName })
		slices.Sort(names)
		s.same(names, []string{"end", "start"})
		for _, step := range all {
			s.same(step.Tags, run.Tags)
		}
	}
}

func stepsNeedTheirRun(s *suite) {
	s.flow("F")
	run := s.run("F", "")
	for _, k := range []tables.Key{
		{Flow: "F", Run: number(run.RunNumber + 1), Step: "start"},
		{Flow: "F", Run: "r", Step: "start"},
		{Flow: "F", Run: "", Step: "start"},
		{Flow: "G", Run: number(run.RunNumber), Step: "start"},
		{Flow: "G", Run: "r", Step: "start"},
	} {
		_, err := s.CreateStep(s.ctx, k, tables.Step{StepName: "start"})
		s.is(err, tables.ErrNoParent)
	}
	s.step(run, "start")
}

func tasksOfANumber(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name, "t")
		k := s.step(run, "start")
		want := tables.Task{
			FlowID: "F", RunNumber: run.RunNumber, RunID: run.RunID, StepName: "start", UserName: ptr("u"), TsEpoch: s.now(),
			Tags: run.Tags, SystemTags: run.SystemTags,
		}
		sent := want
		sent.Tags, sent.SystemTags, sent.TsEpoch, sent.TaskID = list("other"), nil, 9, 99
		got, err := s.CreateTask(s.ctx, k, sent)
		s.ok(err)
		want.TaskID = got.TaskID
		s.same(got, want)
		other, _ := s.task(s.step(run, "other"), "")
		if other.TaskID == got.TaskID {
			s.fail("number %d was minted twice in a run", got.TaskID)
		}
		k.Task = number(want.TaskID)
		for _, text := range []string{runText(run), number(run.RunNumber)} {
			k.Run = text
			got, err = s.Task(s.ctx, k)
			s.ok(err)
			s.same(got, want)
		}
		for _, missing := range []tables.Key{
			{Flow: "G", Run: k.Run, Step: k.Step, Task: k.Task},
			{Flow: "F", Run: "0", Step: k.Step, Task: k.Task},
			{Flow: "F", Run: k.Run, Step: "other", Task: k.Task},
			{Flow: "F", Run: k.Run, Step: k.Step, Task: "999999"},
			{Flow: "F", Run: k.Run, Step: k.Step, Task: "-" + k.Task},
			{Flow: "F", Run: k.Run, Step: k.Step, Task: "t"},
		} {
			_, err := s.Task(s.ctx, missing)
			s.is(err, metadata.ErrNotFound)
		}
	}
}

func tasksOfAName(s *suite) {
	run, task, k := s.place("named", "t-1")
	s.same([]*string{task.RunID, task.TaskName}, []*string{ptr("named"), ptr("t-1")})
	for _, text := range []string{"t-1", number(task.TaskID)} {
		for _, r := range []string{"named", number(run.RunNumber)} {
			got, err := s.Task(s.ctx, tables.Key{Flow: "F", Run: r, Step: "start", Task: text})
			s.ok(err)
			s.same(got, task)
		}
	}
	_, err := s.CreateTask(s.ctx, k, tables.Task{TaskName: ptr("t-1")})
	s.refused(err, tables.UniqueViolation)
	// The name is unique in its step only.
	other, _ := s.task(s.step(run, "other"), "t-1")
	second, _ := s.task(k, "t-2")
	numbered, _ := s.task(k, "")
	ids := []int64{task.TaskID, other.TaskID, second.TaskID, numbered.TaskID}
	slices.Sort(ids)
	s.same(len(slices.Compact(ids)), 4)
	all, err := s.Tasks(s.ctx, k, tables.Query{})
	s.ok(err)
	names := texts(all, taskText)
	slices.Sort(names)
	want := []string{"t-1", "t-2", number(numbered.TaskID)}
	slices.Sort(want)
	s.same(names, want)
}

func tasksNeedTheirStep(s *suite) {
	run, _, k := s.place("", "")
	for _, missing := range []tables.Key{
		{Flow: "G", Run: k.Run, Step: "start"}, {Flow: "F", Run: "r", Step: "start"},
		{Flow: "F", Run: number(run.RunNumber + 1), Step: "start"},
	} {
		_, err := s.CreateTask(s.ctx, missing, tables.Task{LastHeartbeat: ptr(int64(5))})
		s.is(err, tables.ErrNoParent)
	}
	for _, name := range []*string{nil, ptr("t")} {
		_, err := s.CreateTask(s.ctx, tables.Key{Flow: "F", Run: k.Run, Step: "none"}, tables.Task{TaskName: name})
		s.refused(err, tables.ForeignKeyViolation)
	}
}

// nullsAreKept: null is neither an empty text nor an empty list.
func nullsAreKept(s *suite) {
	for i, row := range []tables.Run{
		{FlowID: "F0"},
		{FlowID: "F1", UserName: ptr(""), Tags: list(), SystemTags: list(), LastHeartbeat: ptr(int64(0))},
		{FlowID: "F2", UserName: ptr("null"), Tags: tables.JSON(`[1,null,"ä",{"a":[]}]`), SystemTags: tables.JSON(`["text"]`)},
	} {
		flow, err := s.CreateFlow(s.ctx, tables.Flow{
			FlowID: row.FlowID, UserName: row.UserName, Tags: row.Tags, SystemTags: row.SystemTags,
		})
		s.ok(err)
		s.same(flow.UserName, row.UserName)
		s.same(flow.Tags, row.Tags)
		got, err := s.CreateRun(s.ctx, row)
		s.ok(err)
		row.RunNumber, row.TsEpoch = got.RunNumber, s.now()
		s.same(got, row)
		got, err = s.Run(s.ctx, tables.Key{Flow: row.FlowID, Run: number(row.RunNumber)})
		s.ok(err)
		s.same(got, row)
		k := s.step(row, "start")
		task, k := s.task(k, "")
		s.same([]tables.JSON{task.Tags, task.SystemTags}, []tables.JSON{row.Tags, row.SystemTags})
		n, err := s.AddMetadata(s.ctx, k, []tables.Metadatum{{
			FieldName: "f", Value: "", Type: " ", UserName: row.UserName, Tags: row.Tags, SystemTags: row.SystemTags,
		}})
		s.ok(err)
		s.same(n, 1)
		data, err := s.TaskMetadata(s.ctx, k, nil)
		s.ok(err)
		s.same(data, []tables.Metadatum{{
			FlowID: row.FlowID, RunNumber: row.RunNumber, StepName: "start", TaskID: task.TaskID, ID: data[0].ID,
			FieldName: "f", Type: " ", UserName: row.UserName, TsEpoch: s.now(), Tags: row.Tags, SystemTags: row.SystemTags,
		}})
		n, err = s.AddArtifacts(s.ctx, k, []tables.Artifact{{
			Name: "x", Location: "", DsType: " ", Sha: row.UserName, UserName: row.UserName, AttemptID: int64(i),
		}})
		s.ok(err)
		s.same(n, 1)
		found, err := s.ArtifactsOfAttempt(s.ctx, k, int64(i))
		s.ok(err)
		s.same(found, []tables.Artifact{{
			FlowID: row.FlowID, RunNumber: row.RunNumber, StepName: "start", TaskID: task.TaskID, Name: "x", DsType: " ",
			Sha: row.UserName, UserName: row.UserName, AttemptID: int64(i), TsEpoch: s.now(), Tags: row.Tags,
			SystemTags: row.SystemTags,
		}})
	}
}
