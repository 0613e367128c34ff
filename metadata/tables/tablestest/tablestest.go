// Package tablestest holds the tests that every database of Metaflow's tables has to pass.
package tablestest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/tables"
)

// suite is one open, empty database.
type suite struct {
	tables.DB
	t     *testing.T
	ctx   context.Context
	clock *metadatatest.Clock
}

// Test runs the whole suite. open returns an empty database with the current schema, which stamps rows by the given
// clock; it is called once a case.
func Test(t *testing.T, open func(t *testing.T, now func() time.Time) tables.DB) {
	cases := []struct {
		name string
		f    func(s *suite)
	}{
		{"Flows", flows},
		{"FlowsArePaged", flowsArePaged},
		{"RunsOfANumber", runsOfANumber},
		{"RunsOfAName", runsOfAName},
		{"RunsNeedTheirFlow", runsNeedTheirFlow},
		{"NumbersOutOfRange", numbersOutOfRange},
		{"Steps", steps},
		{"StepsNeedTheirRun", stepsNeedTheirRun},
		{"TasksOfANumber", tasksOfANumber},
		{"TasksOfAName", tasksOfAName},
		{"TasksNeedTheirStep", tasksNeedTheirStep},
		{"NullsAreKept", nullsAreKept},
		{"RowsShowTheirRunsTags", rowsShowTheirRunsTags},
		{"HeartOfARun", heartOfARun},
		{"HeartOfATask", heartOfATask},
		{"TagsOfARun", tagsOfARun},
		{"TagsWithoutLimit", tagsWithoutLimit},
		{"TagsRefused", tagsRefused},
		{"TagsConcurrently", tagsConcurrently},
		{"Metadata", metadataRows},
		{"MetadataNeedsItsTask", metadataNeedsItsTask},
		{"MetadataBadRows", metadataBadRows},
		{"MetadataLargeValue", metadataLargeValue},
		{"MetadataIsPaged", metadataIsPaged},
		{"Artifacts", artifactRows},
		{"ArtifactsBadRows", artifactsBadRows},
		{"ArtifactsOfTheHighestAttempt", artifactsOfTheHighestAttempt},
		{"ArtifactsPagedAreTheNewest", artifactsPagedAreTheNewest},
		{"ArtifactsArePaged", artifactsArePaged},
		{"ArtifactOfTheLatestAttempt", artifactOfTheLatestAttempt},
		{"RunsArePaged", runsArePaged},
		{"RunsAreFiltered", runsAreFiltered},
		{"RunsFilterErrors", runsFilterErrors},
		{"RunsByStatus", runsByStatus},
		{"RunsByTags", runsByTags},
		{"TasksArePaged", tasksArePaged},
		{"TasksAreFiltered", tasksAreFiltered},
		{"FilteredTasks", filteredTasks},
		{"EveryFieldTakesAnyText", everyFieldTakesAnyText},
		{"TextsThatAreRefused", textsThatAreRefused},
		{"WhatIsMissing", whatIsMissing},
		{"WritersConcurrently", writersConcurrently},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := metadatatest.NewClock()
			c.f(&suite{DB: open(t, clock.Now), t: t, ctx: t.Context(), clock: clock})
		})
	}
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

// refused checks that an error is the database's, with one of the codes; with none given, any.
func (s *suite) refused(err error, codes ...string) {
	s.t.Helper()
	var e *tables.Error
	if !errors.As(err, &e) || e.Code == "" || e.Severity == "" || e.Message == "" {
		s.fail("error is %v, want a complete *tables.Error with code %v", err, codes)
	}
	if len(codes) > 0 && !slices.Contains(codes, e.Code) {
		s.fail("error is %v, want code %v", err, codes)
	}
}

// asJSON compares JSON by what it means; null is only equal to null.
var asJSON = cmp.Transformer("JSON", func(j tables.JSON) any {
	if j == nil {
		return nil
	}
	var v any
	if err := json.Unmarshal(j, &v); err != nil {
		return "no JSON: " + string(j)
	}
	return [1]any{v}
})

// same compares; a nil list equals an empty one.
func (s *suite) same(got, want any) {
	s.t.Helper()
	if diff := difference(got, want); diff != "" {
		s.fail("-want +got:\n%s", diff)
	}
}

func difference(got, want any) string {
	empty := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() != jsonType }, cmpopts.EquateEmpty())
	return cmp.Diff(want, got, asJSON, empty)
}

func (s *suite) now() int64     { return s.clock.Now().UnixMilli() }
func (s *suite) seconds() int64 { return s.clock.Now().Unix() }

func ptr[T any](v T) *T { return &v }

func number(n int64) string { return strconv.FormatInt(n, 10) }

// list returns tags as JSON.
func list(tags ...string) tables.JSON {
	if tags == nil {
		tags = []string{}
	}
	text, err := json.Marshal(tags)
	if err != nil {
		panic(err) // texts always encode
	}
	return text
}

func (s *suite) flow(id string) tables.Flow {
	s.t.Helper()
	got, err := s.CreateFlow(s.ctx, tables.Flow{FlowID: id})
	s.ok(err)
	return got
}

// run adds a run; an empty name is none.
func (s *suite) run(flow, name string, tags ...string) tables.Run {
	s.t.Helper()
	row := tables.Run{FlowID: flow, UserName: ptr("u"), Tags: list(tags...), SystemTags: list("user:u")}
	if name != "" {
		row.RunID = &name
	}
	got, err := s.CreateRun(s.ctx, row)
	s.ok(err)
	return got
}

func runText(r tables.Run) string {
	if r.RunID != nil {
		return *r.RunID
	}
	return number(r.RunNumber)
}

func taskText(t tables.Task) string {
	if t.TaskName != nil {
		return *t.TaskName
	}
	return number(t.TaskID)
}

func (s *suite) step(r tables.Run, name string) tables.Key {
	s.t.Helper()
	k := tables.Key{Flow: r.FlowID, Run: runText(r), Step: name}
	_, err := s.CreateStep(s.ctx, k, tables.Step{StepName: name, UserName: ptr("u")})
	s.ok(err)
	return k
}

// task adds a task to a step that is there; an empty name is none.
func (s *suite) task(k tables.Key, name string) (tables.Task, tables.Key) {
	s.t.Helper()
	row := tables.Task{UserName: ptr("u")}
	if name != "" {
		row.TaskName = &name
	}
	got, err := s.CreateTask(s.ctx, k, row)
	s.ok(err)
	k.Task = taskText(got)
	return got, k
}

// place adds a flow, a run, a step and a task.
func (s *suite) place(run, task string) (tables.Run, tables.Task, tables.Key) {
	s.t.Helper()
	s.flow("F")
	r := s.run("F", run)
	t, k := s.task(s.step(r, "start"), task)
	return r, t, k
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

// texts maps rows to what tells them apart.
func texts[R any](rows []R, f func(R) string) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}

// paged walks all pages of a limit and returns their rows, having checked that every page but the last has the extra
// row that shows that there is another.
func paged[R any](s *suite, limit int, cursor func(R) tables.Cursor, get func(*tables.Page) ([]R, error)) []R {
	s.t.Helper()
	var all []R
	page := &tables.Page{Limit: limit}
	for range 1000 {
		rows, err := get(page)
		s.ok(err)
		if len(rows) > limit+1 {
			s.fail("%d rows on a page of %d", len(rows), limit)
		}
		if len(rows) <= limit {
			return append(all, rows...)
		}
		all = append(all, rows[:limit]...)
		after := cursor(rows[limit-1])
		page = &tables.Page{Limit: limit, After: &after}
	}
	s.fail("there is no last page")
	return nil
}
