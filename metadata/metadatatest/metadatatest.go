// Package metadatatest holds the tests that every metadata store has to pass.
package metadatatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mf-run/mf/metadata"
)

// Store is what is tested.
type Store interface {
	metadata.Recorder
	metadata.Reader
	metadata.TaskMinter
}

// Clock is a clock that tests set. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// NewClock returns a clock that stands still.
func NewClock() *Clock {
	return &Clock{t: time.Date(2026, 3, 29, 1, 59, 59, 123_456_000, time.UTC)}
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// TestLocalIDs runs the cases of stores without a server: a run's minted id is the time in microseconds, or the next free
// number, and a task's is the number after the greatest of its run, from 0.
func TestLocalIDs(t *testing.T, open func(t *testing.T, clock *Clock) Store) {
	for name, f := range map[string]func(s *suite){"Runs": localRunIDs, "Tasks": localTaskIDs} {
		t.Run(name, func(t *testing.T) {
			clock := NewClock()
			f(&suite{Store: open(t, clock), t: t, ctx: t.Context(), clock: clock})
		})
	}
}

// suite is one open, empty store.
type suite struct {
	Store
	t     *testing.T
	ctx   context.Context
	clock *Clock
}

// Test runs the whole suite. open returns an empty store that tells the time by the clock; it is called once a case.
func Test(t *testing.T, open func(t *testing.T, clock *Clock) Store) {
	cases := []struct {
		name string
		f    func(s *suite)
	}{
		{"RunIDsAreMinted", runIDsAreMinted},
		{"RunIDsAreMintedOnce", runIDsAreMintedOnce},
		{"RunIDsAreText", runIDsAreText},
		{"RunFieldsAreKept", runFieldsAreKept},
		{"UpdateRun", updateRun},
		{"RunsAreSelected", runsAreSelected},
		{"RunsAreNewestFirst", runsAreNewestFirst},
		{"TaskIDsAreMinted", taskIDsAreMinted},
		{"TaskIDsAreMintedOnce", taskIDsAreMintedOnce},
		{"TaskIDsAreText", taskIDsAreText},
		{"TasksAreNewestFirst", tasksAreNewestFirst},
		{"RecordIsIdempotent", recordIsIdempotent},
		{"RecordNeedsParents", recordNeedsParents},
		{"RecordStampsTime", recordStampsTime},
		{"RecordLargeBatch", recordLargeBatch},
		{"RecordConcurrently", recordConcurrently},
		{"MetadataIsOldestFirst", metadataIsOldestFirst},
		{"ArtifactsByAttemptAndName", artifactsByAttemptAndName},
		{"EveryFieldTakesAnyText", everyFieldTakesAnyText},
		{"TagRules", tagRules},
		{"TagLimitIsForGrowthOnly", tagLimits},
		{"TagsAreShownBelow", tagsAreShownBelow},
		{"TagsConcurrently", tagsConcurrently},
		{"WhatIsMissing", whatIsMissing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := NewClock()
			c.f(&suite{Store: open(t, clock), t: t, ctx: t.Context(), clock: clock})
		})
	}
}

// Texts are ids and values of the kinds that go wrong: numbers that are none, SQL, other scripts, control characters.
var texts = []string{
	"007", "-5", "+5", "1.5", "1e3", "0x10", "²", "٣", "99999999999999999999", " 7", "7 ", "None", "null", "argo-x-abc",
	"a'b", `a"b`, "a`b", "a;b--", "'); DROP TABLE runs_v3; --", "%", "_", "*", "?1", "$1", ":a", "@a", `\`, `\u0000`,
	"ä", "a\u0308", "日本語", "🙂", "\u202eabc", "a\tb\nc\r\n", "\x01", "\x7f", "[\"a\"]", "{}", "<&>", "Robert\u2028",
}

func (s *suite) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf(format, args...)
}

func (s *suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.fail("unexpected error: %v", err)
	}
}

func (s *suite) is(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.fail("error is %v, want %v", err, want)
	}
}

// same compares; a nil slice equals an empty one.
func (s *suite) same(got, want any) {
	s.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.fail("-want +got:\n%s", diff)
	}
}

func (s *suite) create(run metadata.Run) metadata.Run {
	s.t.Helper()
	got, err := s.CreateRun(s.ctx, run)
	s.ok(err)
	return got
}

func (s *suite) run(flow, run string) metadata.Run {
	s.t.Helper()
	got, err := s.Run(s.ctx, flow, run)
	s.ok(err)
	return got
}

func (s *suite) tasks(flow, run, step string) []metadata.Task {
	s.t.Helper()
	list, err := s.Tasks(s.ctx, flow, run, step)
	s.ok(err)
	return list
}

func (s *suite) metadata(flow, run, step, task string) []metadata.Metadatum {
	s.t.Helper()
	list, err := s.Metadata(s.ctx, flow, run, step, task)
	s.ok(err)
	return list
}

func (s *suite) artifacts(flow, run, step, task string) []metadata.Artifact {
	s.t.Helper()
	list, err := s.Artifacts(s.ctx, flow, run, step, task)
	s.ok(err)
	return list
}

func (s *suite) record(b metadata.Batch) {
	s.t.Helper()
	s.ok(s.Record(s.ctx, b))
}

// parallel runs f n times at once and fails on the first error.
func (s *suite) parallel(n int, f func(i int) error) {
	s.t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	s.ok(errors.Join(errs...))
}

// taskRows returns the rows of a task and its step.
func taskRows(flow, run, step, task string) metadata.Batch {
	return metadata.Batch{
		Steps: []metadata.Step{{FlowID: flow, RunID: run, StepName: step}},
		Tasks: []metadata.Task{{FlowID: flow, RunID: run, StepName: step, TaskID: task}},
	}
}

func datum(flow, run, step, task, field, value string, ts int64) metadata.Metadatum {
	return metadata.Metadatum{
		FlowID: flow, RunID: run, StepName: step, TaskID: task, FieldName: field, Value: value, Type: field, TsEpoch: ts,
	}
}

func artifact(flow, run, step, task string, attempt int, name string) metadata.Artifact {
	return metadata.Artifact{
		FlowID: flow, RunID: run, StepName: step, TaskID: task, AttemptID: attempt, Name: name, Location: ":root:/x",
		DsType: "local", Sha: "da39", Type: "metaflow.artifact", ContentType: "pickle-v4", TsEpoch: 5,
	}
}

func ids[R any](list []R, id func(R) string) []string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = id(r)
	}
	return out
}

func runID(r metadata.Run) string   { return r.RunID }
func taskID(t metadata.Task) string { return t.TaskID }

func runIDsAreMinted(s *suite) {
	first := s.create(metadata.Run{FlowID: "F"})
	s.same(first.TsEpoch, s.clock.Now().UnixMilli())
	second := s.create(metadata.Run{FlowID: "F", TsEpoch: 42})
	if s.number(second.RunID) <= s.number(first.RunID) {
		s.fail("after %s came %s", first.RunID, second.RunID)
	}
	s.same(second.TsEpoch, int64(42))
	s.same(s.run("F", second.RunID), second)
}

func localRunIDs(s *suite) {
	for i := range int64(2) {
		run := s.create(metadata.Run{FlowID: "F"})
		s.same(run.RunID, strconv.FormatInt(s.clock.Now().UnixMicro()+i, 10))
	}
}

// number reads a minted id.
func (s *suite) number(id string) int64 {
	s.t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != id {
		s.fail("the minted id %q is no decimal number", id)
	}
	return n
}

func runIDsAreMintedOnce(s *suite) {
	const workers, each = 8, 10
	got := make([][]string, workers)
	s.parallel(workers, func(i int) error {
		for range each {
			run, err := s.CreateRun(s.ctx, metadata.Run{FlowID: "F"})
			if err != nil {
				return err
			}
			got[i] = append(got[i], run.RunID)
		}
		return nil
	})
	all := slices.Concat(got...)
	slices.Sort(all)
	s.same(len(slices.Compact(all)), workers*each)
	list, err := s.Runs(s.ctx, metadata.RunQuery{FlowID: "F"})
	s.ok(err)
	s.same(len(list), workers*each)
}

func runIDsAreText(s *suite) {
	all := append([]string{"7", "0", "1774749599123456", "9223372036854775807"}, texts...)
	for i, text := range all {
		got := s.create(metadata.Run{FlowID: "F", RunID: text, Failure: strconv.Itoa(i)})
		s.same(got.RunID, text)
		_, err := s.CreateRun(s.ctx, metadata.Run{FlowID: "F", RunID: text})
		s.is(err, metadata.ErrExists)
		s.create(metadata.Run{FlowID: "G", RunID: text})
	}
	for i, text := range all {
		got := s.run("F", text)
		s.same([]string{got.RunID, got.Failure}, []string{text, strconv.Itoa(i)})
	}
	for _, text := range []string{"-1", "-2", "1", "2", "07"} {
		_, err := s.Run(s.ctx, "F", text)
		s.is(err, metadata.ErrNotFound)
	}
}

func runFieldsAreKept(s *suite) {
	want := metadata.Run{
		FlowID: "F", RunID: "r", UserName: "u", Tags: []string{"b", "a"}, SystemTags: []string{"user:u", "x:y"}, TsEpoch: 1,
		LastHeartbeat: 2, Status: metadata.Failed, FinishedMs: 3, Origin: "0", Failure: "no",
	}
	s.same(s.create(want), want)
	s.same(s.run("F", "r"), want)
	bare := metadata.Run{FlowID: "F", RunID: "bare", TsEpoch: 1}
	s.create(bare)
	s.same(s.run("F", "bare"), bare)
}

func updateRun(s *suite) {
	run := s.create(metadata.Run{FlowID: "F", Status: metadata.Running, Origin: "o", Tags: []string{"t"}})
	bare := s.create(metadata.Run{FlowID: "F"})
	change := metadata.Run{FlowID: "F", RunID: run.RunID, Status: metadata.Failed, FinishedMs: 9, Failure: "why", Origin: "x"}
	want := run
	want.Status, want.FinishedMs, want.Failure = metadata.Failed, 9, "why"
	for range 2 {
		s.ok(s.UpdateRun(s.ctx, change))
		s.same(s.run("F", run.RunID), want)
	}
	s.ok(s.UpdateRun(s.ctx, metadata.Run{FlowID: "F", RunID: run.RunID, Status: metadata.Running, LastHeartbeat: 77}))
	want.Status, want.FinishedMs, want.Failure, want.LastHeartbeat = metadata.Running, 0, "", 77
	s.same(s.run("F", run.RunID), want)
	s.ok(s.UpdateRun(s.ctx, metadata.Run{FlowID: "F", RunID: run.RunID, Status: metadata.Running}))
	s.same(s.run("F", run.RunID), want)
	s.same(s.run("F", bare.RunID), bare)
	s.ok(s.UpdateRun(s.ctx, metadata.Run{FlowID: "F", RunID: bare.RunID, Status: metadata.Succeeded}))
	s.same(s.run("F", bare.RunID).Status, metadata.Succeeded)
	for _, id := range []string{"1000000007", "none"} {
		s.is(s.UpdateRun(s.ctx, metadata.Run{FlowID: "F", RunID: id}), metadata.ErrNotFound)
		s.is(s.UpdateRun(s.ctx, metadata.Run{FlowID: "G", RunID: run.RunID}), metadata.ErrNotFound)
	}
}

func runsAreSelected(s *suite) {
	for _, r := range []metadata.Run{
		{FlowID: "F", RunID: "a", Tags: []string{"x", "5"}, SystemTags: []string{"user:u"}, Status: metadata.Running},
		{FlowID: "F", RunID: "b", Tags: []string{"x"}, SystemTags: []string{"user:v"}, Status: metadata.Failed},
		{FlowID: "G", RunID: "c", Tags: []string{"X", "y'"}, SystemTags: []string{"user:u"}, Status: metadata.Failed},
		{FlowID: "G", RunID: "d"},
	} {
		s.create(r)
	}
	for _, c := range []struct {
		query metadata.RunQuery
		want  []string
	}{
		{metadata.RunQuery{}, []string{"d", "c", "b", "a"}},
		{metadata.RunQuery{FlowID: "F"}, []string{"b", "a"}},
		{metadata.RunQuery{FlowID: "f"}, nil},
		{metadata.RunQuery{Status: metadata.Failed}, []string{"c", "b"}},
		{metadata.RunQuery{Status: metadata.Failed, FlowID: "F"}, []string{"b"}},
		{metadata.RunQuery{Tags: []string{"x"}}, []string{"b", "a"}},
		{metadata.RunQuery{Tags: []string{"user:u"}}, []string{"c", "a"}},
		{metadata.RunQuery{Tags: []string{"x", "user:u"}}, []string{"a"}},
		{metadata.RunQuery{Tags: []string{"y'"}}, []string{"c"}},
		{metadata.RunQuery{Tags: []string{"5"}}, []string{"a"}},
		{metadata.RunQuery{Tags: []string{"user"}}, nil},
		{metadata.RunQuery{Tags: []string{"%"}}, nil},
		{metadata.RunQuery{Limit: 3}, []string{"d", "c", "b"}},
		{metadata.RunQuery{Limit: 9}, []string{"d", "c", "b", "a"}},
		{metadata.RunQuery{Tags: []string{"x"}, Limit: 1}, []string{"b"}},
	} {
		list, err := s.Runs(s.ctx, c.query)
		s.ok(err)
		if diff := cmp.Diff(c.want, ids(list, runID), cmpopts.EquateEmpty()); diff != "" {
			s.fail("%+v: -want +got:\n%s", c.query, diff)
		}
	}
}

func runsAreNewestFirst(s *suite) {
	for i, ts := range []int64{5, 3, 9, 5, 1} {
		for _, flow := range []string{"F", "G"} {
			s.create(metadata.Run{FlowID: flow, RunID: fmt.Sprint(flow, i), TsEpoch: ts})
		}
	}
	list, err := s.Runs(s.ctx, metadata.RunQuery{FlowID: "F"})
	s.ok(err)
	s.same(ids(list, runID), []string{"F2", "F3", "F0", "F1", "F4"})
	list, err = s.Runs(s.ctx, metadata.RunQuery{Limit: 5})
	s.ok(err)
	s.same(ids(list, runID), []string{"G2", "F2", "G3", "F3", "G0"})
}
