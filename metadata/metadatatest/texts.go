package metadatatest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mf-run/mf/metadata"
)

// everyFieldTakesAnyText stores each of the difficult texts in every field at once.
func everyFieldTakesAnyText(s *suite) {
	for _, x := range texts {
		run := metadata.Run{
			FlowID: "F" + x, RunID: x, UserName: x, Tags: []string{x}, SystemTags: []string{"s" + x}, TsEpoch: 1,
			Status: metadata.Failed, Origin: x, Failure: x,
		}
		s.create(run)
		b := metadata.Batch{
			Steps: []metadata.Step{{FlowID: run.FlowID, RunID: x, StepName: x, UserName: x}},
			Tasks: []metadata.Task{{
				FlowID: run.FlowID, RunID: x, StepName: x, TaskID: x, UserName: x, TsEpoch: 1, Tags: run.Tags,
				SystemTags: run.SystemTags,
			}},
			Metadata: []metadata.Metadatum{{
				FlowID: run.FlowID, RunID: x, StepName: x, TaskID: x, FieldName: x, Value: x, Type: x, Tags: []string{x},
				UserName: x, TsEpoch: 1,
			}},
			Artifacts: []metadata.Artifact{{
				FlowID: run.FlowID, RunID: x, StepName: x, TaskID: x, Name: x, Location: x, DsType: x, Sha: x, Type: x,
				ContentType: x, UserName: x, TsEpoch: 1, Tags: run.Tags, SystemTags: run.SystemTags,
			}},
		}
		s.record(b)
		s.same(s.run(run.FlowID, x), run)
		s.same(s.tasks(run.FlowID, x, x), b.Tasks)
		s.same(s.metadata(run.FlowID, x, x, x), b.Metadata)
		s.same(s.artifacts(run.FlowID, x, x, x), b.Artifacts)
		for _, tag := range []string{x, "s" + x} {
			list, err := s.Runs(s.ctx, metadata.RunQuery{FlowID: run.FlowID, Tags: []string{tag}})
			s.ok(err)
			s.same(list, []metadata.Run{run})
		}
	}
	list, err := s.Runs(s.ctx, metadata.RunQuery{})
	s.ok(err)
	s.same(len(list), len(texts))
}

func tagRules(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1", Tags: []string{"a", "b"}, SystemTags: []string{"user:u"}})
	for _, c := range []struct {
		add, remove, want []string
		invalid           bool
	}{
		{want: []string{"a", "b"}},
		{add: []string{"c", "a", "c"}, want: []string{"a", "b", "c"}},
		{remove: []string{"b", "nope"}, want: []string{"a", "c"}},
		{add: []string{"c", "b"}, remove: []string{"c", "a"}, want: []string{"c", "b"}},
		{add: []string{"user:u"}, want: []string{"c", "b"}},
		{add: []string{"x"}, remove: []string{"user:u"}, invalid: true},
		{add: []string{"x", ""}, invalid: true},
		{add: []string{"x", "a\xffb"}, invalid: true},
		{add: []string{"x", strings.Repeat("ä", 501)}, invalid: true},
		{remove: []string{"", "\xff", strings.Repeat("x", 501)}, want: []string{"c", "b"}},
		{add: []string{strings.Repeat("ä", 500)}, remove: []string{"b"}, want: []string{"c", strings.Repeat("ä", 500)}},
	} {
		before := s.run("F", "1").Tags
		tags, err := s.MutateTags(s.ctx, "F", "1", c.add, c.remove)
		if c.invalid {
			s.is(err, metadata.ErrInvalidTag)
			s.same(s.run("F", "1").Tags, before)
			continue
		}
		s.ok(err)
		s.same(tags, c.want)
		s.same(s.run("F", "1").Tags, c.want)
	}
	s.same(s.run("F", "1").SystemTags, []string{"user:u"})
	for _, id := range []string{"2", "none"} {
		_, err := s.MutateTags(s.ctx, "F", id, []string{"a"}, nil)
		s.is(err, metadata.ErrNotFound)
	}
	for _, bad := range [][]string{{""}, {"\xff"}, {strings.Repeat("x", 501)}, numbered("t", 51)} {
		_, err := s.CreateRun(s.ctx, metadata.Run{FlowID: "F", RunID: "bad", Tags: bad})
		s.is(err, metadata.ErrInvalidTag)
		_, err = s.Run(s.ctx, "F", "bad")
		s.is(err, metadata.ErrNotFound)
	}
}

func numbered(prefix string, n int) []string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprint(prefix, i)
	}
	return tags
}

func tagLimits(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1", Tags: numbered("t", 50), SystemTags: numbered("s", 60)})
	_, err := s.MutateTags(s.ctx, "F", "1", []string{"one more"}, nil)
	s.is(err, metadata.ErrInvalidTag)
	tags, err := s.MutateTags(s.ctx, "F", "1", []string{"other"}, []string{"t0"})
	s.ok(err)
	s.same(tags, append(numbered("t", 50)[1:], "other"))
	tags, err = s.MutateTags(s.ctx, "F", "1", nil, numbered("t", 50))
	s.ok(err)
	s.same(tags, []string{"other"})
}

// tagsAreShownBelow: whatever a row was recorded with, it shows the tags of its run.
func tagsAreShownBelow(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1", Tags: []string{"a"}, SystemTags: []string{"user:u"}})
	b := taskRows("F", "1", "s", "0")
	b.Tasks[0].Tags, b.Tasks[0].SystemTags = []string{"own"}, []string{"own:x"}
	b.Artifacts = []metadata.Artifact{artifact("F", "1", "s", "0", 0, "x")}
	b.Artifacts[0].Tags = []string{"own"}
	b.Metadata = []metadata.Metadatum{datum("F", "1", "s", "0", "f", "v", 1)}
	b.Metadata[0].Tags = []string{"own"}
	s.record(b)
	_, err := s.MutateTags(s.ctx, "F", "1", []string{"b"}, nil)
	s.ok(err)
	task, art := s.tasks("F", "1", "s")[0], s.artifacts("F", "1", "s", "0")[0]
	s.same([][]string{task.Tags, task.SystemTags}, [][]string{{"a", "b"}, {"user:u"}})
	s.same([][]string{art.Tags, art.SystemTags}, [][]string{{"a", "b"}, {"user:u"}})
	s.same(s.metadata("F", "1", "s", "0")[0].Tags, []string{"own"})
}

func tagsConcurrently(s *suite) {
	s.create(metadata.Run{FlowID: "F", RunID: "1", Tags: []string{"gone"}})
	want := numbered("t", 20)
	s.parallel(len(want), func(i int) error {
		_, err := s.MutateTags(s.ctx, "F", "1", want[i:i+1], []string{"gone"})
		return err
	})
	got := map[string]bool{}
	for _, t := range s.run("F", "1").Tags {
		got[t] = true
	}
	for _, t := range want {
		if !got[t] {
			s.fail("tag %s was lost: %v", t, got)
		}
	}
	s.same(len(got), len(want))
}

func whatIsMissing(s *suite) {
	empty := func() {
		for _, id := range []string{"1", "none", ""} {
			_, err := s.Run(s.ctx, "F", id)
			s.is(err, metadata.ErrNotFound)
			s.same(len(s.tasks("F", id, "s")), 0)
			s.same(len(s.metadata("F", id, "s", "0")), 0)
			s.same(len(s.artifacts("F", id, "s", "0")), 0)
		}
	}
	list, err := s.Runs(s.ctx, metadata.RunQuery{})
	s.ok(err)
	s.same(len(list), 0)
	empty()
	s.create(metadata.Run{FlowID: "G", RunID: "1"})
	s.create(metadata.Run{FlowID: "F", RunID: "2"})
	empty()
	s.same(len(s.tasks("F", "2", "s")), 0)
	_, err = s.CreateRun(s.ctx, metadata.Run{RunID: "1"})
	if err == nil || errors.Is(err, metadata.ErrExists) {
		s.fail("a run without a flow: %v", err)
	}
}
