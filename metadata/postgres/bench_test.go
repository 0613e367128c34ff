package postgres_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/tables"
)

// cpu is this process's time so far, Postgres' not included.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStore tells, per operation, the time over 8 connections and our own CPU time.
func BenchmarkStore(b *testing.B) {
	ctx := context.Background()
	address := testserver.Database(b)
	m, err := postgres.OpenForMigration(ctx, address, postgres.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	if err := m.Migrate(ctx, nil); err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	s, err := postgres.Open(ctx, address, postgres.Options{Now: time.Now, MaxConns: 8, MinConns: 8})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	d := s.Tables()
	tags, system := tables.JSON(`["a", "b"]`), tables.JSON(`["user:tester", "runtime:dev", "python_version:3.11.7", "metaflow_version:2.19.39"]`)
	if _, err := d.CreateFlow(ctx, tables.Flow{FlowID: "F"}); err != nil {
		b.Fatal(err)
	}
	run, err := d.CreateRun(ctx, tables.Run{FlowID: "F", Tags: tags, SystemTags: system})
	if err != nil {
		b.Fatal(err)
	}
	k := tables.Key{Flow: "F", Run: fmt.Sprint(run.RunNumber), Step: "start"}
	if _, err := d.CreateStep(ctx, k, tables.Step{Tags: tags, SystemTags: system}); err != nil {
		b.Fatal(err)
	}
	task, err := d.CreateTask(ctx, k, tables.Task{Tags: tags, SystemTags: system})
	if err != nil {
		b.Fatal(err)
	}
	k.Task = fmt.Sprint(task.TaskID)
	metadata10 := make([]tables.Metadatum, 10)
	for i := range metadata10 {
		metadata10[i] = tables.Metadatum{FieldName: "field", Value: "a value of some length", Type: "field", Tags: tables.JSON(`["attempt_id:0"]`), SystemTags: system}
	}
	text := "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	artifacts := func(name string, n int) []tables.Artifact {
		rows := make([]tables.Artifact, n)
		for i := range rows {
			rows[i] = tables.Artifact{
				Name: fmt.Sprint(name, i), Location: ":root:s3://bucket/metaflow", DsType: "s3", Sha: &text, Type: &text, ContentType: &text,
				Tags: tags, SystemTags: system,
			}
		}
		return rows
	}
	if _, err := d.AddArtifacts(ctx, k, artifacts("kept", 20)); err != nil {
		b.Fatal(err)
	}
	beat := time.Now().Unix()
	for _, c := range []struct {
		name string
		f    func(i int) error
	}{
		{"Ping", func(int) error { return d.Ping(ctx) }},
		{"CreateRun", func(int) error {
			_, err := d.CreateRun(ctx, tables.Run{FlowID: "F", Tags: tags, SystemTags: system, LastHeartbeat: &beat})
			return err
		}},
		{"CreateTask", func(int) error {
			_, err := d.CreateTask(ctx, k, tables.Task{Tags: tags, SystemTags: system, LastHeartbeat: &beat})
			return err
		}},
		{"AddMetadata10", func(int) error { _, err := d.AddMetadata(ctx, k, metadata10); return err }},
		{"AddArtifacts20", func(int) error {
			task, err := d.CreateTask(ctx, k, tables.Task{})
			if err == nil {
				own := k
				own.Task = fmt.Sprint(task.TaskID)
				_, err = d.AddArtifacts(ctx, own, artifacts("x", 20))
			}
			return err
		}},
		{"Run", func(int) error { _, err := d.Run(ctx, k); return err }},
		{"Artifacts20", func(int) error { _, err := d.Artifacts(ctx, k, nil); return err }},
		{"Beat", func(int) error { _, err := d.HeartbeatTask(ctx, k, beat); return err }},
		{"Record", func(i int) error {
			ref := metadata.TaskRef{Flow: "F", Run: k.Run, Step: "s", Task: fmt.Sprint("t-", i)}
			env := metadata.Env{User: "u", DsType: "s3", DsRoot: "s3://bucket/metaflow"}
			return s.Record(ctx, env.TaskRegistered(ref, 0, time.Now()))
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := cpu(b)
			next := make(chan int, 64)
			go func() {
				for i := range b.N {
					next <- i
				}
				close(next)
			}()
			errs := make(chan error, 8)
			for range 8 {
				go func() {
					for i := range next {
						if err := c.f(b.N*1000 + i); err != nil {
							errs <- err
							return
						}
					}
					errs <- nil
				}()
			}
			for range 8 {
				if err := <-errs; err != nil {
					b.Error(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1000, "own-µs/op")
		})
	}
}
