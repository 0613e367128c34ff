package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metaflowdir"
)

func (a *app) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "export RUN…", Short: "Write Metaflow's own metadata files, so that its client sees a run",
		Long: "Write the metadata of runs in Metaflow's own file layout, beside their artifacts. Metaflow's client then reads\n" +
			"them where METAFLOW_DATASTORE_SYSROOT_LOCAL names this folder's .mf. The setting metaflow-files does it for\n" +
			"every run as it goes, at the price of some thirty small files a task.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("mf export takes at least one run")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.export(cmd.Context(), args) },
	}
}

func (a *app) export(ctx context.Context, paths []string) error {
	rec, err := a.openRecords(ctx, ".")
	if err != nil {
		return err
	}
	defer rec.close()
	for _, path := range paths {
		p, err := rec.resolve(ctx, path)
		if err != nil {
			return err
		}
		if rec.exported(p.flow, p.run) {
			fmt.Fprintf(a.stderr, "%s/%s is there already\n", p.flow, p.run)
			continue
		}
		if err := rec.export(ctx, p); err != nil {
			return fmt.Errorf("exporting %s/%s: %w", p.flow, p.run, err)
		}
		fmt.Fprintf(a.stdout, "%s/%s\n", p.flow, p.run)
	}
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "read them with METAFLOW_DATASTORE_SYSROOT_LOCAL=%s\n", filepath.Dir(filepath.FromSlash(rec.store.Backend().Root())))
	}
	return nil
}

// export copies all rows of a run.
func (r *records) export(ctx context.Context, p pathspec) error {
	run, err := r.meta.Run(ctx, p.flow, p.run)
	if err != nil {
		return err
	}
	batch, err := r.rows(ctx, p)
	if err != nil {
		return err
	}
	dir := metaflowdir.New(r.store.Backend().Root(), time.Now)
	if _, err := dir.CreateRun(ctx, run); err != nil {
		return err
	}
	return dir.Record(ctx, batch)
}

// rows reads all rows of a run.
func (r *records) rows(ctx context.Context, p pathspec) (metadata.Batch, error) {
	var b metadata.Batch
	var err error
	if b.Tasks, err = r.meta.Tasks(ctx, p.flow, p.run, ""); err != nil {
		return b, err
	}
	seen := map[string]bool{}
	// Newest first: the oldest task of a step tells when the step began.
	for i := len(b.Tasks) - 1; i >= 0; i-- {
		t := b.Tasks[i]
		if seen[t.StepName] {
			continue
		}
		seen[t.StepName] = true
		b.Steps = append(b.Steps, metadata.Step{FlowID: t.FlowID, RunID: t.RunID, StepName: t.StepName, UserName: t.UserName,
			Tags: t.Tags, SystemTags: t.SystemTags, TsEpoch: t.TsEpoch})
	}
	if b.Metadata, err = r.meta.Metadata(ctx, p.flow, p.run, "", ""); err != nil {
		return b, err
	}
	b.Artifacts, err = r.meta.Artifacts(ctx, p.flow, p.run, "", "")
	return b, err
}
