package metadata_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/memory"
)

func TestTee(t *testing.T) {
	a := memory.New(func() time.Time { return time.UnixMilli(1000) })
	b := memory.New(func() time.Time { return time.UnixMilli(2000) })
	tee := metadata.Tee(a, b)
	run, err := tee.CreateRun(t.Context(), metadata.Run{FlowID: "F", Tags: []string{"x"}, Status: metadata.Running})
	must(t, err)
	ref := metadata.TaskRef{Flow: "F", Run: run.RunID, Step: "s", Task: "0"}
	must(t, tee.Record(t.Context(), metadata.Env{User: "u"}.TaskRegistered(ref, 0, time.UnixMilli(5))))
	must(t, tee.UpdateRun(t.Context(), metadata.Run{FlowID: "F", RunID: run.RunID, Status: metadata.Succeeded}))
	// A tag that only the mirror has stays there.
	_, err = b.MutateTags(t.Context(), "F", run.RunID, []string{"own"}, nil)
	must(t, err)
	tags, err := tee.MutateTags(t.Context(), "F", run.RunID, []string{"y"}, []string{"x"})
	must(t, err)
	if !slices.Equal(tags, []string{"y"}) {
		t.Errorf("tags: %q", tags)
	}
	for i, s := range []*memory.Store{a, b} {
		got, err := s.Run(t.Context(), "F", run.RunID)
		must(t, err)
		want := [][]string{{"y"}, {"own", "y"}}[i]
		if got.RunID != "1000000" || got.TsEpoch != 1000 || got.Status != metadata.Succeeded || !slices.Equal(got.Tags, want) {
			t.Errorf("store %d: %+v", i, got)
		}
		tasks, err := s.Tasks(t.Context(), "F", run.RunID, "s")
		must(t, err)
		if len(tasks) != 1 || tasks[0].TsEpoch != 5 {
			t.Errorf("store %d: %+v", i, tasks)
		}
	}
}

// failing refuses everything.
type failing struct{}

var errFull = errors.New("disk full")

func (failing) CreateRun(context.Context, metadata.Run) (metadata.Run, error) {
	return metadata.Run{}, errFull
}
func (failing) UpdateRun(context.Context, metadata.Run) error { return errFull }
func (failing) Record(context.Context, metadata.Batch) error  { return errFull }
func (failing) MutateTags(context.Context, string, string, []string, []string) ([]string, error) {
	return nil, errFull
}

// TestTeeFailures: a failing primary keeps the mirrors untouched, a failing mirror does not keep the next from writing.
func TestTeeFailures(t *testing.T) {
	all := func(r metadata.Recorder, run string) []error {
		_, create := r.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: run})
		_, tags := r.MutateTags(t.Context(), "F", run, []string{"x"}, nil)
		return []error{
			create, tags, r.UpdateRun(t.Context(), metadata.Run{FlowID: "F", RunID: run, Status: metadata.Failed}),
			r.Record(t.Context(), metadata.Batch{Steps: []metadata.Step{{FlowID: "F", RunID: run, StepName: "s"}}}),
		}
	}
	now := func() time.Time { return time.UnixMilli(1000) }
	mirror := memory.New(now)
	for i, err := range all(metadata.Tee(failing{}, mirror), "r") {
		if !errors.Is(err, errFull) {
			t.Errorf("primary, call %d: %v", i, err)
		}
	}
	if _, err := mirror.Run(t.Context(), "F", "r"); !errors.Is(err, metadata.ErrNotFound) {
		t.Errorf("the mirror was written: %v", err)
	}
	primary := memory.New(now)
	for i, err := range all(metadata.Tee(primary, failing{}, mirror), "r") {
		if !errors.Is(err, errFull) {
			t.Errorf("mirror, call %d: %v", i, err)
		}
	}
	for i, s := range []*memory.Store{primary, mirror} {
		got, err := s.Run(t.Context(), "F", "r")
		must(t, err)
		if got.Status != metadata.Failed || !slices.Equal(got.Tags, []string{"x"}) {
			t.Errorf("store %d: %+v", i, got)
		}
	}
}
