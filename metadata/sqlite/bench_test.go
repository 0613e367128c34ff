package sqlite_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/sqlite"
)

// BenchmarkRecord writes what a run of 100 tasks writes, in one batch, and reports rows a second.
func BenchmarkRecord(b *testing.B) {
	for _, prefix := range []string{"", "t-"} {
		name := "numbered"
		if prefix != "" {
			name = "named"
		}
		b.Run(name, func(b *testing.B) { benchmarkRecord(b, prefix) })
	}
}

func benchmarkRecord(b *testing.B, prefix string) {
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "m.db"), sqlite.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	env := metadata.Env{
		User: "tester", PythonVersion: "3.11.7", MetaflowVersion: "2.19.39", DsType: "local",
		DsRoot: "/home/tester/project/.metaflow", ScriptName: "flow.py",
	}
	run, err := s.CreateRun(b.Context(), env.Run("BenchFlow", ""))
	if err != nil {
		b.Fatal(err)
	}
	artifacts := map[string]metadata.ArtifactRef{}
	for i := range 16 {
		artifacts["artifact"+strconv.Itoa(i)] = metadata.ArtifactRef{
			Sha: "da39a3ee5e6b4b0d3255bfef95601890afd80709", ContentType: "pickle-v4",
		}
	}
	frames := []metadata.ForeachFrame{{Step: "body", Var: "xs", Index: 3, Value: "three"}}
	rows, next := 0, 0
	for b.Loop() {
		var batch metadata.Batch
		for range 100 {
			task := metadata.TaskRef{Flow: "BenchFlow", Run: run.RunID, Step: "body", Task: prefix + strconv.Itoa(next)}
			next++
			now := time.UnixMilli(1_774_749_599_000 + int64(next))
			batch.Add(env.TaskRegistered(task, 0, now))
			batch.Add(env.TaskStarted(task, 0, frames, now))
			batch.Add(env.TaskFinished(task, 0, true, artifacts, now))
		}
		rows += len(batch.Steps) + len(batch.Tasks) + len(batch.Metadata) + len(batch.Artifacts)
		if err := s.Record(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
