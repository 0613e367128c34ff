package tablestest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// rowsShowTheirRunsTags: steps, tasks and artifacts show the tags that their run has now, metadata its own.
func rowsShowTheirRunsTags(s *suite) {
	run, _, k := s.place("r", "t")
	_, err := s.AddMetadata(s.ctx, k, []tables.Metadatum{{FieldName: "f", Tags: list("own"), SystemTags: list("sys")}})
	s.ok(err)
	_, err = s.AddArtifacts(s.ctx, k, []tables.Artifact{{Name: "name", Tags: list("own"), SystemTags: list("sys")}})
	s.ok(err)
	s.mutate(k, []string{"new"}, nil, "new")
	want := []tables.JSON{list("new"), run.SystemTags}
	got, err := s.Run(s.ctx, k)
	s.ok(err)
	s.same([]tables.JSON{got.Tags, got.SystemTags}, want)
	step, err := s.Step(s.ctx, k)
	s.ok(err)
	s.same([]tables.JSON{step.Tags, step.SystemTags}, want)
	task, err := s.Task(s.ctx, k)
	s.ok(err)
	s.same([]tables.JSON{task.Tags, task.SystemTags}, want)
	one, err := s.Artifact(s.ctx, k, "name", nil)
	s.ok(err)
	s.same([]tables.JSON{one.Tags, one.SystemTags}, want)
	for _, page := range []*tables.Page{nil, {Limit: 5}} {
		tasks, err := s.Tasks(s.ctx, k, tables.Query{Page: page})
		s.ok(err)
		s.same(tasks, []tables.Task{task})
		artifacts, err := s.Artifacts(s.ctx, k, page)
		s.ok(err)
		s.same(artifacts, []tables.Artifact{one})
	}
	byAttempt, err := s.ArtifactsOfAttempt(s.ctx, k, 0)
	s.ok(err)
	s.same(byAttempt, []tables.Artifact{one})
	second, err := s.CreateTask(s.ctx, k, tables.Task{Tags: list("own")})
	s.ok(err)
	s.same(second.Tags, list("new"))
	data, err := s.TaskMetadata(s.ctx, k, nil)
	s.ok(err)
	s.same([]tables.JSON{data[0].Tags, data[0].SystemTags}, []tables.JSON{list("own"), list("sys")})
}

func heartbeat(s *suite, k tables.Key) (run int64) {
	s.t.Helper()
	r, err := s.Run(s.ctx, k)
	s.ok(err)
	if r.LastHeartbeat == nil {
		return 0
	}
	return *r.LastHeartbeat
}

func heartOfARun(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name)
		other := s.run("F", "")
		for _, text := range []string{runText(run), number(run.RunNumber)} {
			_, err := s.Run(s.ctx, tables.Key{Flow: "F", Run: text})
			s.ok(err)
		}
		k := tables.Key{Flow: "F", Run: runText(run)}
		for _, beat := range []struct {
			at   int64
			done bool
		}{{1000, true}, {1000, false}, {1009, false}, {1010, true}, {1011, false}, {5000, true}, {100, false}} {
			done, err := s.HeartbeatRun(s.ctx, k, beat.at)
			s.ok(err)
			if done != beat.done {
				s.fail("the beat at %d: %v", beat.at, done)
			}
		}
		s.same(heartbeat(s, k), int64(5000))
		s.same(heartbeat(s, tables.Key{Flow: "F", Run: number(other.RunNumber)}), int64(0))
		done, err := s.HeartbeatRun(s.ctx, tables.Key{Flow: "F", Run: number(run.RunNumber)}, 6000)
		s.ok(err)
		s.same(done, true)
	}
	for _, k := range []tables.Key{{Flow: "F", Run: "none"}, {Flow: "F", Run: "0"}, {Flow: "G", Run: "named"}} {
		done, err := s.HeartbeatRun(s.ctx, k, 9000)
		s.ok(err)
		s.same(done, false)
	}
}

func heartOfATask(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name)
		step := s.step(run, "start")
		task, k := s.task(step, name)
		s.same(task.LastHeartbeat, (*int64)(nil))
		s.same(heartbeat(s, k), int64(0))
		beat := func(at int64, want bool, task, run int64) {
			s.t.Helper()
			done, err := s.HeartbeatTask(s.ctx, k, at)
			s.ok(err)
			s.same(done, want)
			got, err := s.Task(s.ctx, k)
			s.ok(err)
			s.same(got.LastHeartbeat, &task)
			s.same(heartbeat(s, k), run)
		}
		beat(1000, true, 1000, 1000)
		beat(1005, false, 1000, 1000)
		done, err := s.HeartbeatRun(s.ctx, k, 1010)
		s.ok(err)
		s.same(done, true)
		beat(1015, true, 1015, 1010) // the run's is too young, the task's is not
		// An unknown task still refreshes its run.
		missing := k
		missing.Task = "none"
		done, err = s.HeartbeatTask(s.ctx, missing, 2000)
		s.ok(err)
		s.same(done, false)
		s.same(heartbeat(s, k), int64(2000))
		// A task that is born with a heartbeat does as well, unless the run's is young.
		for _, c := range []struct{ at, run int64 }{{2005, 2000}, {2010, 2010}} {
			born, err := s.CreateTask(s.ctx, step, tables.Task{LastHeartbeat: &c.at})
			s.ok(err)
			s.same(born.LastHeartbeat, &c.at)
			s.same(heartbeat(s, k), c.run)
		}
	}
}

// mutate changes tags and checks what the run has then, in any order.
func (s *suite) mutate(k tables.Key, add, remove []string, want ...string) {
	s.t.Helper()
	got, err := s.MutateTags(s.ctx, k, add, remove)
	s.ok(err)
	run, err := s.Run(s.ctx, k)
	s.ok(err)
	var stored []string
	s.ok(json.Unmarshal(run.Tags, &stored))
	for _, list := range [][]string{got, stored, want} {
		slices.Sort(list)
	}
	s.same(got, want)
	s.same(stored, want)
}

func tagsOfARun(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name, "a", "b", "b")
		other := s.run("F", "", "a")
		k := tables.Key{Flow: "F", Run: runText(run)}
		s.mutate(k, []string{"c"}, nil, "a", "b", "c")
		s.mutate(k, []string{"c", "c", "d"}, []string{"a", "none"}, "b", "c", "d")
		s.mutate(k, []string{"b"}, []string{"b", "c"}, "b", "d") // removed first, then added
		s.mutate(k, []string{"user:u"}, nil, "b", "d")           // a system tag: nothing happens
		s.mutate(k, nil, nil, "b", "d")
		s.mutate(k, []string{"b"}, []string{"zz"}, "b", "d")
		s.mutate(k, []string{""}, nil, "", "b", "d")
		s.mutate(k, nil, []string{"", "b", "d"})
		s.mutate(tables.Key{Flow: "F", Run: number(run.RunNumber)}, []string{"z"}, nil, "z")
		got, err := s.Run(s.ctx, k)
		s.ok(err)
		s.same(got.SystemTags, run.SystemTags)
		got, err = s.Run(s.ctx, tables.Key{Flow: "F", Run: number(other.RunNumber)})
		s.ok(err)
		s.same(got, other)
	}
}

func tagsWithoutLimit(s *suite) {
	s.flow("F")
	k := tables.Key{Flow: "F", Run: runText(s.run("F", ""))}
	want := []string{strings.Repeat("x", 2000), `a"'\b`, "'); DROP TABLE runs_v3; --", "日本語", "\u2028", "\x01"}
	for i := range 60 {
		want = append(want, fmt.Sprintf("tag%02d", i))
	}
	s.mutate(k, want, nil, want...)
}

func tagsRefused(s *suite) {
	s.flow("F")
	run := s.run("F", "r", "a")
	k := tables.Key{Flow: "F", Run: "r"}
	_, err := s.MutateTags(s.ctx, k, []string{"b"}, []string{"a", "user:u"})
	var system *tables.SystemTagError
	if !errors.As(err, &system) || system.Tag != "user:u" {
		s.fail("error: %v", err)
	}
	got, err := s.Run(s.ctx, k)
	s.ok(err)
	s.same(got, run)
	for _, k := range []tables.Key{{Flow: "F", Run: "none"}, {Flow: "F", Run: "0"}, {Flow: "G", Run: "r"}} {
		_, err := s.MutateTags(s.ctx, k, []string{"b"}, nil)
		s.is(err, metadata.ErrNotFound)
	}
	for _, row := range []tables.Run{{Tags: list()}, {SystemTags: list()}, {}} {
		row.FlowID = "F"
		got, err := s.CreateRun(s.ctx, row)
		s.ok(err)
		_, err = s.MutateTags(s.ctx, tables.Key{Flow: "F", Run: runText(got)}, []string{"b"}, nil)
		s.is(err, tables.ErrNullTags)
	}
}

// tagsConcurrently: of fifty at once none is lost; those that conflict say so and go through later.
func tagsConcurrently(s *suite) {
	s.flow("F")
	k := tables.Key{Flow: "F", Run: runText(s.run("F", ""))}
	const n = 50
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprintf("t%02d", i)
	}
	s.parallel(n, func(i int) error {
		for range 1000 {
			_, err := s.MutateTags(s.ctx, k, want[i:i+1], nil)
			if !errors.Is(err, tables.ErrConflict) {
				return err
			}
		}
		return fmt.Errorf("%s: always in conflict", want[i])
	})
	s.mutate(k, nil, nil, want...)
}
