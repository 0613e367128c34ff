package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
)

// TestIDsOfBothViews: what mf records is what Metaflow's routes find, and the other way round.
func TestIDsOfBothViews(t *testing.T) {
	s := open(t, postgres.Options{})
	d := s.Tables()
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", Tags: []string{"t"}})
	must(t, err)
	task, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: run.RunID, StepName: "start"})
	must(t, err)
	k := tables.Key{Flow: "F", Run: run.RunID, Step: "start", Task: task.TaskID}
	row, err := d.Task(t.Context(), k)
	must(t, err)
	if strconv.FormatInt(row.TaskID, 10) != task.TaskID || row.TaskName != nil || string(row.Tags) != `["t"]` {
		t.Errorf("%+v", row)
	}
	step, err := d.Step(t.Context(), k)
	must(t, err)
	if step.RunID == nil || *step.RunID != run.RunID {
		t.Errorf("a numbered run's step has the run_id %v", step.RunID)
	}
	// A run of Metaflow's own client.
	other, err := d.CreateRun(t.Context(), tables.Run{FlowID: "F", RunID: ptr("argo-1")})
	must(t, err)
	for _, id := range []string{"argo-1", strconv.FormatInt(other.RunNumber, 10)} {
		got, err := s.Run(t.Context(), "F", id)
		if id == "argo-1" && (err != nil || got.RunID != id || got.Status != "") {
			t.Errorf("%+v %v", got, err)
		}
		if id != "argo-1" && !errors.Is(err, metadata.ErrNotFound) {
			t.Errorf("a hidden number was found: %v", err)
		}
	}
	if err := s.Record(t.Context(), metadata.Batch{
		Steps: []metadata.Step{{FlowID: "F", RunID: "argo-1", StepName: "start"}},
		Tasks: []metadata.Task{{FlowID: "F", RunID: "argo-1", StepName: "start", TaskID: "t-1"}},
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := d.AddMetadata(t.Context(), tables.Key{Flow: "F", Run: "argo-1", Step: "start", Task: "t-1"},
		[]tables.Metadatum{{FieldName: "f", Value: "v", Type: "t"}}); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

// TestGivenNumbers: the rows of a lost database can be recorded again under their numbers, and minting goes on after them.
func TestGivenNumbers(t *testing.T) {
	s := open(t, postgres.Options{})
	d := s.Tables()
	for _, id := range []string{"57", "3", "1"} {
		_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: id})
		must(t, err)
		got, err := d.Run(t.Context(), tables.Key{Flow: "F", Run: id})
		must(t, err)
		if got.RunID != nil {
			t.Errorf("run %s became a name", id)
		}
	}
	next, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	if next.RunID != "58" {
		t.Errorf("after 57 came %s", next.RunID)
	}
	b := metadata.Batch{Steps: []metadata.Step{{FlowID: "F", RunID: "57", StepName: "s"}}}
	for _, id := range []string{"900", "4", "1"} {
		b.Tasks = append(b.Tasks, metadata.Task{FlowID: "F", RunID: "57", StepName: "s", TaskID: id})
	}
	must(t, s.Record(t.Context(), b))
	for _, row := range b.Tasks {
		got, err := d.Task(t.Context(), tables.Key{Flow: "F", Run: "57", Step: "s", Task: row.TaskID})
		must(t, err)
		if got.TaskName != nil {
			t.Errorf("task %s became a name", row.TaskID)
		}
	}
	task, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: "57", StepName: "s"})
	must(t, err)
	if task.TaskID != "901" {
		t.Errorf("after 900 came %s", task.TaskID)
	}
	// One that is far ahead, or somebody else's, is kept as a name, and uses up no numbers.
	for _, id := range []string{"2147483647", "2000000000"} {
		_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: id})
		must(t, err)
		_, err = s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: id})
		if !errors.Is(err, metadata.ErrExists) {
			t.Errorf("run %s again: %v", id, err)
		}
	}
	must(t, s.Record(t.Context(), metadata.Batch{
		Steps: []metadata.Step{{FlowID: "F", RunID: "3", StepName: "s"}},
		Tasks: []metadata.Task{{FlowID: "F", RunID: "3", StepName: "s", TaskID: "900"}},
	}))
	next, err = s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	if n, err := strconv.Atoi(next.RunID); err != nil || n > 100 {
		t.Errorf("the next run is %s", next.RunID)
	}
	// Metaflow's service adds a run whose number was given without moving the sequence.
	c := raw(t, s)
	_, err = c.Exec(t.Context(), "INSERT INTO runs_v3 (flow_id, run_number, ts_epoch) SELECT 'F', last_value + n, 1 FROM runs_v3_run_number_seq, generate_series(1, 3) n")
	must(t, err)
	if _, err = s.CreateRun(t.Context(), metadata.Run{FlowID: "F"}); err != nil {
		t.Errorf("minting past what is taken: %v", err)
	}
	if _, err = d.CreateRun(t.Context(), tables.Run{FlowID: "F"}); err != nil {
		t.Errorf("minting past what is taken: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// raw is a connection past the Store.
func raw(t *testing.T, s *postgres.Store) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), postgres.Address(s))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close(context.Background())) })
	return c
}

func TestBeat(t *testing.T) {
	clock := metadatatest.NewClock()
	s := open(t, postgres.Options{Now: clock.Now})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	var refs []metadata.TaskRef
	for _, id := range []string{"", "t-1", ""} {
		task, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: run.RunID, StepName: "s", TaskID: id})
		must(t, err)
		refs = append(refs, metadata.TaskRef{Flow: "F", Run: run.RunID, Step: "s", Task: task.TaskID})
	}
	beats := func() []int64 {
		got, err := s.Run(t.Context(), "F", run.RunID)
		must(t, err)
		out := []int64{got.LastHeartbeat}
		list, err := s.Tasks(t.Context(), "F", run.RunID, "s")
		must(t, err)
		for _, row := range list {
			out = append([]int64{row.LastHeartbeat}, out...)
		}
		return out
	}
	now := clock.Now().Unix()
	wait, err := s.Beat(t.Context(), "F", run.RunID, append(refs[:2:2], metadata.TaskRef{Flow: "F", Run: run.RunID, Step: "s", Task: "later"}))
	must(t, err)
	if wait != 10*time.Second {
		t.Errorf("told to wait %s", wait)
	}
	if diff := cmp.Diff([]int64{now, now, 0, now}, beats()); diff != "" {
		t.Error(diff)
	}
	clock.Add(10 * time.Second)
	_, err = s.Beat(t.Context(), "F", run.RunID, refs[2:])
	must(t, err)
	if diff := cmp.Diff([]int64{now, now, now + 10, now + 10}, beats()); diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{"none", "99999", "99999999999"} {
		_, err := s.Beat(t.Context(), "F", id, refs)
		must(t, err)
	}
}

// TestParallelBeats: ten thousand hearts beat at once through four connections.
func TestParallelBeats(t *testing.T) {
	s := open(t, postgres.Options{MaxConns: 4})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	task, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: run.RunID, StepName: "s"})
	must(t, err)
	errs := make([]error, 10_000)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.Beat(t.Context(), "F", run.RunID, []metadata.TaskRef{{Flow: "F", Run: run.RunID, Step: "s", Task: task.TaskID}})
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
}

func TestTokens(t *testing.T) {
	s := open(t, postgres.Options{})
	at := time.Date(2026, 3, 1, 2, 3, 4, 0, time.UTC)
	all := []token.Token{
		{ID: "0123456789ab", Name: "it's; DROP TABLE mf.tokens", Role: token.Read, Created: at, Hash: [32]byte{1, 2}},
		{
			ID: "ab0123456789", Role: token.Write, Flows: []string{"F", "a,b"}, Projects: []string{`"p"`}, Created: at.Add(time.Second),
			Expires: at.Add(time.Hour), Hash: [32]byte{31: 9},
		},
	}
	for _, tok := range []token.Token{all[1], all[0]} {
		must(t, s.AddToken(t.Context(), tok))
		if err := s.AddToken(t.Context(), tok); !errors.Is(err, metadata.ErrExists) {
			t.Errorf("the same again: %v", err)
		}
	}
	for _, when := range []time.Duration{time.Minute, time.Hour} {
		must(t, s.RevokeToken(t.Context(), all[1].ID, at.Add(when)))
	}
	all[1].Revoked = at.Add(time.Minute)
	got, err := s.Tokens(t.Context())
	must(t, err)
	for i := range got { // an empty list is as none
		if len(got[i].Flows) == 0 {
			got[i].Flows = nil
		}
		if len(got[i].Projects) == 0 {
			got[i].Projects = nil
		}
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Error(diff)
	}
	one, err := s.Token(t.Context(), all[1].ID)
	must(t, err)
	if one.Name != all[1].Name || one.Hash != all[1].Hash || one.Valid(at.Add(2*time.Minute)) {
		t.Errorf("%+v", one)
	}
	if _, err := s.Token(t.Context(), "none"); !errors.Is(err, metadata.ErrNotFound) {
		t.Error(err)
	}
	if err := s.RevokeToken(t.Context(), "none", at); !errors.Is(err, metadata.ErrNotFound) {
		t.Error(err)
	}
}

// TestBadTexts: what Postgres does not take is its own refusal, and nothing of the batch is kept.
func TestBadTexts(t *testing.T) {
	s := open(t, postgres.Options{})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	for _, bad := range []string{"a\x00b", "a\xffb", strings.Repeat("ä", 256)} {
		var refused *tables.Error
		_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: bad})
		if !errors.As(err, &refused) {
			t.Errorf("%.10q as a run: %v", bad, err)
		}
		err = s.Record(t.Context(), metadata.Batch{Steps: []metadata.Step{
			{FlowID: "F", RunID: run.RunID, StepName: "good"}, {FlowID: "F", RunID: run.RunID, StepName: bad},
		}})
		if !errors.As(err, &refused) {
			t.Errorf("%.10q as a step: %v", bad, err)
		}
	}
	list, err := s.Tables().Steps(t.Context(), tables.Key{Flow: "F", Run: run.RunID})
	must(t, err)
	if len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// TestLargeRows: values of 3 MB, and lists of thousands of tags, once and many times.
func TestLargeRows(t *testing.T) {
	s := open(t, postgres.Options{})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	task, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: run.RunID, StepName: "s"})
	must(t, err)
	big := strings.Repeat("0123456789", 300_000)
	var tags []string
	for i := range 2000 {
		tags = append(tags, fmt.Sprint("tag", i))
	}
	b := metadata.Batch{Metadata: []metadata.Metadatum{{
		FlowID: "F", RunID: run.RunID, StepName: "s", TaskID: task.TaskID, FieldName: "f", Value: big, Type: "t", Tags: tags,
	}}}
	for i := range 3000 {
		b.Artifacts = append(b.Artifacts, metadata.Artifact{
			FlowID: "F", RunID: run.RunID, StepName: "s", TaskID: task.TaskID, Name: fmt.Sprint("x", i), Tags: tags, SystemTags: tags,
		})
	}
	must(t, s.Record(t.Context(), b))
	rows, err := s.Metadata(t.Context(), "F", run.RunID, "s", task.TaskID)
	must(t, err)
	if len(rows) != 1 || rows[0].Value != big || len(rows[0].Tags) != len(tags) {
		t.Error("the large row is another one now")
	}
	artifacts, err := s.Artifacts(t.Context(), "F", run.RunID, "", "")
	must(t, err)
	if len(artifacts) != 3000 {
		t.Errorf("%d artifacts", len(artifacts))
	}
}
