package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/metadata/tables"
)

// TestSchemaOfFiles: a file's schema is only changed when asked, and keeps its rows.
func TestSchemaOfFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	s := open(t, path, sqlite.Options{})
	_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "r"})
	must(t, err)
	must(t, s.Close())
	raw(t, path, "DROP TABLE mf_tokens", "DELETE FROM mf_schema WHERE version_id = 2")
	keep := open(t, path, sqlite.Options{KeepSchema: true})
	for range 2 {
		got, err := keep.Schema(t.Context())
		must(t, err)
		if got.State != tables.SchemaOlder || got.Version != "1" || got.Known != "2" || len(got.Pending) != 1 ||
			got.Pending[0].Does != "The bearer tokens of the metadata service." {
			t.Fatalf("%+v", got)
		}
	}
	must(t, keep.Migrate(t.Context(), func(tables.Migration) {}))
	if _, err := keep.Tokens(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := keep.Run(t.Context(), "F", "r"); err != nil {
		t.Error(err)
	}
	raw(t, path, "INSERT INTO mf_schema (version_id, is_applied, tstamp) VALUES (999, 1, '')")
	got, err := keep.Schema(t.Context())
	must(t, err)
	if got.State != tables.SchemaNewer || got.Version != "999" || len(got.Pending) > 0 {
		t.Errorf("%+v", got)
	}
	if err := keep.Migrate(t.Context(), func(tables.Migration) {}); !errors.Is(err, metadata.ErrNewer) {
		t.Errorf("migrating a newer file: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.db")
	raw(t, other, "CREATE TABLE bookmarks (url TEXT)")
	if _, err := open(t, other, sqlite.Options{KeepSchema: true}).Schema(t.Context()); !errors.Is(err, metadata.ErrCorrupt) {
		t.Errorf("another program's file: %v", err)
	}
}

func TestBeat(t *testing.T) {
	clock := metadatatest.NewClock()
	s := open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{Now: clock.Now})
	_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "r"})
	must(t, err)
	for _, step := range []string{"a", "b"} {
		_, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: "r", StepName: step, TaskID: "t"})
		must(t, err)
	}
	beats := func() (run, a, b int64) {
		r, err := s.Run(t.Context(), "F", "r")
		must(t, err)
		tasks, err := s.Tasks(t.Context(), "F", "r", "")
		must(t, err)
		beat := map[string]int64{}
		for _, task := range tasks {
			beat[task.StepName] = task.LastHeartbeat
		}
		return r.LastHeartbeat, beat["a"], beat["b"]
	}
	first := clock.Now().Unix()
	wait, err := s.Beat(t.Context(), "F", "r", []metadata.TaskRef{{Flow: "F", Run: "r", Step: "a", Task: "t"}, {Step: "none", Task: "9"}})
	must(t, err)
	if wait < time.Second || wait > 30*time.Second {
		t.Errorf("the next beat is to be in %v", wait)
	}
	if run, a, b := beats(); run != first || a != first || b != 0 {
		t.Errorf("beats at %d %d %d, want %d", run, a, b, first)
	}
	clock.Add(time.Second)
	_, err = s.Beat(t.Context(), "F", "r", nil)
	must(t, err)
	if run, a, b := beats(); run != first+1 || a != first || b != 0 {
		t.Errorf("beats at %d %d %d", run, a, b)
	}
	clock.Add(-time.Hour)
	_, err = s.Beat(t.Context(), "F", "r", nil)
	must(t, err)
	if run, _, _ := beats(); run != first+1 {
		t.Errorf("the heart went back to %d", run)
	}
	if _, err := s.Beat(t.Context(), "F", "none", nil); err != nil {
		t.Errorf("an unknown run: %v", err)
	}
}

// TestBothViews: what is recorded one way is read the other way.
func TestBothViews(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{})
	d := s.Tables()
	_, err := d.CreateFlow(t.Context(), tables.Flow{FlowID: "F"})
	must(t, err)
	name := "argo-x"
	for _, id := range []*string{nil, &name} {
		run, err := d.CreateRun(t.Context(), tables.Run{FlowID: "F", RunID: id, Tags: tables.JSON(`["ä<"]`), SystemTags: tables.JSON(`[]`)})
		must(t, err)
		all, err := s.Runs(t.Context(), metadata.RunQuery{FlowID: "F", Tags: []string{"ä<"}, Limit: 1})
		must(t, err)
		k := tables.Key{Flow: "F", Run: all[0].RunID, Step: "start"}
		_, err = d.CreateStep(t.Context(), k, tables.Step{StepName: "start"})
		must(t, err)
		task, err := d.CreateTask(t.Context(), k, tables.Task{TaskName: id})
		must(t, err)
		seen, err := s.Tasks(t.Context(), "F", k.Run, "start")
		must(t, err)
		k.Task = seen[0].TaskID
		_, err = d.AddMetadata(t.Context(), k, []tables.Metadatum{{FieldName: "f", Value: "v"}})
		must(t, err)
		rows, err := s.Metadata(t.Context(), "F", k.Run, "start", k.Task)
		must(t, err)
		if len(rows) != 1 || rows[0].Value != "v" || task.RunNumber != run.RunNumber {
			t.Errorf("%+v of %+v", rows, task)
		}
		minted, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: k.Run, StepName: "start"})
		must(t, err)
		k.Task = minted.TaskID
		if got, err := d.Task(t.Context(), k); err != nil || got.TaskID <= task.TaskID {
			t.Errorf("%+v %v", got, err)
		}
	}
	_, err = s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "hidden"})
	must(t, err)
	got, err := d.Run(t.Context(), tables.Key{Flow: "F", Run: "hidden"})
	must(t, err)
	page, err := d.Runs(t.Context(), "F", tables.Query{Page: &tables.Page{Limit: 5, After: &tables.Cursor{TsEpoch: got.TsEpoch, ID: got.RunNumber + 1}}}, 1)
	must(t, err)
	if len(page) != 1 || page[0].RunID == nil || *page[0].RunID != "hidden" {
		t.Errorf("%+v", page)
	}
}
