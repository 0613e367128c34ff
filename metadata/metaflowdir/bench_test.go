package metaflowdir

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
)

// BenchmarkTask writes all files of a task, 32 of them, in two batches as the scheduler does.
func BenchmarkTask(b *testing.B) {
	d := New(filepath.Join(b.TempDir(), ".metaflow"), time.Now)
	env := metadata.Env{
		User: "tester", PythonVersion: "3.11.7", MetaflowVersion: "2.19.39", DsType: "local", DsRoot: d.root,
		ScriptName: "flow.py",
	}
	run, err := d.CreateRun(b.Context(), env.Run("BenchFlow", ""))
	if err != nil {
		b.Fatal(err)
	}
	artifacts := map[string]metadata.ArtifactRef{}
	for i := range 18 {
		artifacts["artifact"+strconv.Itoa(i)] = metadata.ArtifactRef{
			Sha: "da39a3ee5e6b4b0d3255bfef95601890afd80709", ContentType: "pickle-v4",
		}
	}
	frames := []metadata.ForeachFrame{{Step: "body", Var: "xs", Index: 3, Value: "three"}}
	next := 0
	for b.Loop() {
		task := metadata.TaskRef{Flow: "BenchFlow", Run: run.RunID, Step: "body", Task: strconv.Itoa(next)}
		next++
		now := time.UnixMilli(1_774_749_599_000)
		batch := env.TaskRegistered(task, 0, now)
		batch.Add(env.TaskStarted(task, 0, frames, now))
		if err := d.Record(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		if err := d.Record(b.Context(), env.TaskFinished(task, 0, true, artifacts, now)); err != nil {
			b.Fatal(err)
		}
	}
}
