package metadatatest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/metadata"
)

func taskIDsAreMinted(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	s.create(metadata.Run{FlowID: "F", RunID: "r"})
	mint := func(run, step, id string) string {
		task, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: run, StepName: step, TaskID: id})
		s.ok(err)
		s.same(task.TsEpoch, s.clock.Now().UnixMilli())
		return task.TaskID
	}
	var third string
	for _, run := range []string{"1", "r"} {
		first, second := mint(run, "_parameters", ""), mint(run, "start", "")
		s.same(mint(run, "a", "t-abc"), "t-abc")
		s.same(mint(run, "a", "t-abd"), "t-abd")
		third = mint(run, "a", "")
		given := strconv.FormatInt(s.number(third)+5, 10)
		s.record(taskRows("F", run, "b", given))
		last := mint(run, "a", "")
		s.same(ids(s.tasks("F", run, "a"), taskID), []string{last, third, "t-abd", "t-abc"})
		s.same(ids(s.tasks("F", run, "b"), taskID), []string{given})
		all := []string{first, second, third, given, last}
		for i := 1; i < len(all); i++ {
			if s.number(all[i]) <= s.number(all[i-1]) {
				s.fail("minted numbers do not ascend, past those given: %q", all)
			}
		}
	}
	_, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "r", StepName: "a", TaskID: third})
	s.is(err, metadata.ErrExists)
	for _, id := range []string{"8", "t-abc"} {
		mint("1", "b", id)
		_, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "1", StepName: "b", TaskID: id})
		s.is(err, metadata.ErrExists)
		_, err = s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "2", StepName: "a", TaskID: id})
		s.is(err, metadata.ErrNotFound)
	}
	_, err = s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "none", StepName: "a"})
	s.is(err, metadata.ErrNotFound)
}

func localTaskIDs(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	s.create(metadata.Run{FlowID: "F", RunID: "r"})
	mint := func(run, step, id string) string {
		task, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: run, StepName: step, TaskID: id})
		s.ok(err)
		return task.TaskID
	}
	for _, run := range []string{"1", "r"} {
		s.same(mint(run, "_parameters", ""), "0")
		s.same(mint(run, "start", ""), "1")
		s.same(mint(run, "a", "t-abc"), "t-abc")
		s.same(mint(run, "a", "t-abd"), "t-abd")
		s.same(mint(run, "a", ""), "2")
		s.record(taskRows("F", run, "b", "7"))
		s.same(mint(run, "a", ""), "8")
		s.same(ids(s.tasks("F", run, "a"), taskID), []string{"8", "2", "t-abd", "t-abc"})
	}
	for _, id := range []string{"2", "t-abc"} {
		_, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "1", StepName: "a", TaskID: id})
		s.is(err, metadata.ErrExists)
		_, err = s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "2", StepName: "a", TaskID: id})
		s.is(err, metadata.ErrNotFound)
	}
	_, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: "none", StepName: "a"})
	s.is(err, metadata.ErrNotFound)
}

func taskIDsAreMintedOnce(s *suite) {
	run := s.create(metadata.Run{FlowID: "F"}).RunID
	const workers, each = 8, 10
	s.parallel(workers, func(i int) error {
		for range each {
			_, err := s.CreateTask(s.ctx, metadata.Task{FlowID: "F", RunID: run, StepName: fmt.Sprint("s", i%2)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	seen := map[string]bool{}
	for _, task := range s.tasks("F", run, "") {
		seen[task.TaskID] = true
	}
	s.same(len(seen), workers*each)
}

func taskIDsAreText(s *suite) {
	all := append([]string{"7", "0", "9223372036854775807"}, texts...)
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	var b metadata.Batch
	for _, step := range []string{"s", "t"} {
		for i, text := range all {
			b.Add(taskRows("F", "1", step, text))
			b.Tasks[len(b.Tasks)-1].TsEpoch = int64(i + 1)
			b.Metadata = append(b.Metadata, datum("F", "1", step, text, "f", step+text, 1))
			a := artifact("F", "1", step, text, 0, "x")
			a.Sha = step + text
			b.Artifacts = append(b.Artifacts, a)
		}
	}
	s.record(b)
	for _, step := range []string{"s", "t"} {
		got := ids(s.tasks("F", "1", step), taskID)
		slices.Reverse(got)
		s.same(got, all)
		for _, text := range all {
			list := s.metadata("F", "1", step, text)
			s.same(list, []metadata.Metadatum{datum("F", "1", step, text, "f", step+text, 1)})
			arts := s.artifacts("F", "1", step, text)
			s.same(len(arts), 1)
			s.same([]string{arts[0].TaskID, arts[0].Sha}, []string{text, step + text})
		}
		for _, text := range []string{"-1", "1", "07"} {
			s.same(len(s.metadata("F", "1", step, text)), 0)
		}
	}
}

func tasksAreNewestFirst(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	for i, ts := range []int64{5, 3, 9, 5} {
		for _, step := range []string{"a", "b"} {
			b := taskRows("F", "1", step, fmt.Sprint(step, i))
			b.Tasks[0].TsEpoch = ts
			s.record(b)
		}
	}
	s.same(ids(s.tasks("F", "1", "a"), taskID), []string{"a2", "a3", "a0", "a1"})
	s.same(ids(s.tasks("F", "1", ""), taskID), []string{"b2", "a2", "b3", "a3", "b0", "a0", "b1", "a1"})
}

func recordIsIdempotent(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	for _, task := range []string{"3", "t-x"} {
		b := taskRows("F", "1", "s", task)
		b.Tasks[0].UserName, b.Tasks[0].TsEpoch = "first", 1
		b.Metadata = []metadata.Metadatum{datum("F", "1", "s", task, "f", "v", 1)}
		b.Artifacts = []metadata.Artifact{artifact("F", "1", "s", task, 0, "x")}
		s.record(b)
		tasks, arts := s.tasks("F", "1", ""), s.artifacts("F", "1", "s", task)
		again := taskRows("F", "1", "s", task)
		again.Tasks[0].UserName = "second"
		again.Metadata = []metadata.Metadatum{datum("F", "1", "s", task, "f", "w", 2)}
		again.Artifacts = []metadata.Artifact{artifact("F", "1", "s", task, 0, "x")}
		again.Artifacts[0].Sha = "other"
		again.Add(again) // within one batch, too
		s.record(again)
		s.same(s.tasks("F", "1", ""), tasks)
		s.same(s.artifacts("F", "1", "s", task), arts)
		s.same(ids(s.metadata("F", "1", "s", task), func(m metadata.Metadatum) string { return m.Value }),
			[]string{"v", "w", "w"})
	}
	s.record(metadata.Batch{})
}

func recordNeedsParents(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	s.record(taskRows("F", "1", "s", "0"))
	good := func() metadata.Batch {
		b := taskRows("F", "1", "new", "9")
		b.Metadata = []metadata.Metadatum{datum("F", "1", "new", "9", "f", "v", 1)}
		return b
	}
	for name, bad := range map[string]metadata.Batch{
		"step of no run":     {Steps: []metadata.Step{{FlowID: "F", RunID: "2", StepName: "s"}}},
		"step of no flow":    {Steps: []metadata.Step{{FlowID: "G", RunID: "1", StepName: "s"}}},
		"task of no step":    {Tasks: []metadata.Task{{FlowID: "F", RunID: "1", StepName: "none", TaskID: "1"}}},
		"named of no step":   {Tasks: []metadata.Task{{FlowID: "F", RunID: "1", StepName: "none", TaskID: "t"}}},
		"task of no run":     {Tasks: []metadata.Task{{FlowID: "F", RunID: "r", StepName: "s", TaskID: "1"}}},
		"metadata of number": {Metadata: []metadata.Metadatum{datum("F", "1", "s", "1", "f", "v", 1)}},
		"metadata of name":   {Metadata: []metadata.Metadatum{datum("F", "1", "s", "t", "f", "v", 1)}},
		"metadata elsewhere": {Metadata: []metadata.Metadatum{datum("F", "1", "none", "0", "f", "v", 1)}},
		"artifact of number": {Artifacts: []metadata.Artifact{artifact("F", "1", "s", "1", 0, "x")}},
		"artifact of name":   {Artifacts: []metadata.Artifact{artifact("F", "1", "s", "t", 0, "x")}},
		"artifact of no run": {Artifacts: []metadata.Artifact{artifact("F", "2", "s", "0", 0, "x")}},
	} {
		b := good()
		b.Add(bad)
		if err := s.Record(s.ctx, b); err == nil {
			s.fail("%s: no error", name)
		} else {
			s.is(err, metadata.ErrNotFound)
		}
		s.same(len(s.tasks("F", "1", "")), 1)
		s.same(len(s.metadata("F", "1", "", "")), 0)
	}
	if err := s.Record(s.ctx, taskRows("F", "1", "s", "")); err == nil {
		s.fail("a task without id was recorded")
	}
	s.record(good())
	s.same(len(s.tasks("F", "1", "")), 2)
}

func recordStampsTime(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	b := taskRows("F", "1", "s", "0")
	b.Metadata = []metadata.Metadatum{datum("F", "1", "s", "0", "f", "v", 0), datum("F", "1", "s", "0", "g", "v", 8)}
	b.Artifacts = []metadata.Artifact{artifact("F", "1", "s", "0", 0, "x"), artifact("F", "1", "s", "0", 0, "y")}
	b.Artifacts[0].TsEpoch = 0
	s.record(b)
	now := s.clock.Now().UnixMilli()
	s.same(s.tasks("F", "1", "s")[0].TsEpoch, now)
	list, arts := s.metadata("F", "1", "s", "0"), s.artifacts("F", "1", "s", "0")
	s.same([]int64{list[0].TsEpoch, list[1].TsEpoch}, []int64{8, now})
	s.same([]int64{arts[0].TsEpoch, arts[1].TsEpoch}, []int64{now, 5})
}

func recordLargeBatch(s *suite) {
	const n = 700
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	s.create(metadata.Run{FlowID: "F", RunID: "r"})
	var b metadata.Batch
	for i := range n {
		run, task := "1", strconv.Itoa(i)
		if i%100 > 90 {
			run = "r" // rows of two runs take turns
		}
		if i%7 == 0 {
			task = fmt.Sprint("t-", i)
		}
		b.Add(taskRows("F", run, "s", task))
		b.Metadata = append(b.Metadata, datum("F", run, "s", task, "f", strconv.Itoa(i), int64(i+1)))
		b.Artifacts = append(b.Artifacts, artifact("F", run, "s", task, 0, "x"), artifact("F", run, "s", task, 0, "y"))
	}
	s.record(b)
	numbered := len(s.tasks("F", "1", "s"))
	s.same(numbered+len(s.tasks("F", "r", "s")), n)
	s.same(numbered, n*91/100)
	list := s.metadata("F", "1", "s", "")
	s.same(len(list), numbered)
	s.same([]string{list[0].TaskID, list[1].TaskID}, []string{"t-0", "1"})
	s.same(len(s.artifacts("F", "1", "", "")), 2*numbered)
	s.same(len(s.artifacts("F", "1", "s", "t-14")), 2)
	s.same(len(s.artifacts("F", "1", "s", "15")), 2)
}

func recordConcurrently(s *suite) {
	run := s.create(metadata.Run{FlowID: "F"}).RunID
	const workers, each = 6, 20
	s.parallel(workers, func(i int) error {
		for j := range each {
			task := fmt.Sprint(i*each + j)
			if j%2 == 0 {
				task = "t-" + task
			}
			b := taskRows("F", run, "s", task)
			b.Metadata = []metadata.Metadatum{datum("F", run, "s", task, "f", task, 1)}
			if err := s.Record(s.ctx, b); err != nil {
				return err
			}
			if list, err := s.Metadata(s.ctx, "F", run, "s", task); err != nil || len(list) != 1 || list[0].Value != task {
				return fmt.Errorf("task %s: %v %w", task, list, err)
			}
		}
		return nil
	})
	s.same(len(s.tasks("F", run, "s")), workers*each)
}

func metadataIsOldestFirst(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	s.create(metadata.Run{FlowID: "F", RunID: "2"})
	b := taskRows("F", "1", "s", "0")
	b.Add(taskRows("F", "1", "s", "1"))
	b.Add(taskRows("F", "1", "t", "2"))
	b.Add(taskRows("F", "2", "s", "0"))
	b.Metadata = []metadata.Metadatum{
		datum("F", "1", "s", "0", "attempt", "1", 20), datum("F", "1", "s", "1", "attempt", "0", 15),
		datum("F", "1", "s", "0", "attempt", "0", 10), datum("F", "1", "t", "2", "attempt", "0", 30),
		datum("F", "1", "s", "0", "attempt", "2", 20), datum("F", "2", "s", "0", "attempt", "9", 1),
	}
	b.Metadata[0].Tags = []string{"attempt_id:1", `quo"te`}
	b.Metadata[0].UserName = "u"
	s.record(b)
	s.same(s.metadata("F", "1", "s", "0"), []metadata.Metadatum{b.Metadata[2], b.Metadata[0], b.Metadata[4]})
	s.same(s.metadata("F", "1", "s", ""), []metadata.Metadatum{b.Metadata[2], b.Metadata[1], b.Metadata[0], b.Metadata[4]})
	s.same(s.metadata("F", "1", "", ""), []metadata.Metadatum{
		b.Metadata[2], b.Metadata[1], b.Metadata[0], b.Metadata[4], b.Metadata[3],
	})
}

func artifactsByAttemptAndName(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1"})
	b := taskRows("F", "1", "s", "0")
	for _, a := range []string{"1 b", "0 z", "10 a", "1 a", "0 _x", "2 a"} {
		n, name, _ := strings.Cut(a, " ")
		attempt, err := strconv.Atoi(n)
		s.ok(err)
		b.Artifacts = append(b.Artifacts, artifact("F", "1", "s", "0", attempt, name))
	}
	s.record(b)
	list := s.artifacts("F", "1", "s", "0")
	s.same(ids(list, func(a metadata.Artifact) string { return fmt.Sprint(a.AttemptID, " ", a.Name) }),
		[]string{"0 _x", "0 z", "1 a", "1 b", "2 a", "10 a"})
	s.same(list[0], b.Artifacts[4])
}
