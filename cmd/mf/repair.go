package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/runtime/repair"
)

func (a *app) repairCommand() *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use: "repair [RUN|FLOW]", Short: "Rebuild the metadata of runs from the datastore", Args: atMost("RUN"),
		Long: "Rebuild the metadata of a run, of a flow's runs or of all, from the datastore, which is the truth: what tasks\n" +
			"left there and metadata lacks is recorded. Nothing that is there is changed, but for the status of a run that\n" +
			"has none; a run that is still going is left alone. It may be repeated.",
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list what is missing, and change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := ""
		if len(args) == 1 {
			path = args[0]
		}
		return a.repair(cmd.Context(), path, dryRun, asJSON)
	}
	return cmd
}

func (a *app) repair(ctx context.Context, path string, dryRun, asJSON bool) error {
	c, err := a.loadConfig(".")
	if err != nil {
		return err
	}
	rec, err := a.openRecords(ctx, ".")
	if err != nil {
		return err
	}
	defer rec.close()
	runs, err := rec.stored(ctx, path)
	if err != nil {
		return err
	}
	opt := repair.Options{Now: a.now(), DryRun: dryRun}
	if rec.here() && rec.service == "" {
		opt.User = a.userName(c) // whose folder it is
	}
	reports := []repair.Report{}
	changed, problems := 0, false
	for _, p := range runs {
		r, err := repair.Run(ctx, rec.store, rec.meta, p.flow, p.run, opt)
		if errors.Is(err, datastore.ErrNotFound) && len(r.Changes) == 0 && len(runs) > 1 {
			continue // a run that got no further than its folder
		}
		if err != nil {
			return err
		}
		reports = append(reports, r)
		if len(r.Changes) > 0 {
			changed++
		}
		problems = problems || len(r.Problems) > 0
		if !asJSON {
			a.printRepair(r, dryRun)
		}
	}
	if asJSON {
		if err := a.writeJSON(reports); err != nil {
			return err
		}
	} else if !a.flags.quiet {
		done := "repaired"
		if dryRun {
			done = "to repair"
		}
		fmt.Fprintf(a.stderr, "%s read, %d %s\n", plural(len(runs), "run"), changed, done)
	}
	if problems {
		return failed
	}
	return nil
}

// printRepair prints what a run lacked: a line on the whole or, where nothing was done about it, all of it.
func (a *app) printRepair(r repair.Report, dryRun bool) {
	path := r.Flow + "/" + r.Run
	for _, p := range r.Problems {
		fmt.Fprintf(a.stderr, "mf: %s\n", p)
	}
	switch {
	case r.Skipped != "":
		fmt.Fprintf(a.stderr, "%s is left alone: %s\n", path, r.Skipped)
		return
	case len(r.Changes) == 0:
		return
	case dryRun:
		for _, c := range r.Changes {
			fmt.Fprintln(a.stdout, strings.TrimRight(fmt.Sprintf("%s: %s %s", c.Path, c.Kind, strings.Join(c.Names, " ")), " "))
		}
		return
	}
	counts := map[string]int{}
	status := ""
	for _, c := range r.Changes {
		counts[c.Kind] += max(1, len(c.Names))
		if c.Kind == repair.KindStatus {
			status = c.Names[0]
		}
	}
	var parts []string
	for _, kind := range []struct{ name, one, many string }{
		{repair.KindRun, "run", "runs"},
		{repair.KindStep, "step", "steps"},
		{repair.KindTask, "task", "tasks"},
		{repair.KindMetadata, "metadatum", "metadata"},
		{repair.KindArtifacts, "artifact", "artifacts"},
	} {
		switch n := counts[kind.name]; n {
		case 0:
		case 1:
			parts = append(parts, "1 "+kind.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, kind.many))
		}
	}
	text := ""
	if len(parts) > 0 {
		text = "added " + strings.Join(parts, ", ")
	}
	if status != "" {
		text = strings.TrimPrefix(text+", status "+status, ", ")
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", path, text)
}

// stored finds the runs that a path means in the datastore, for metadata may know of none. An empty path is all runs.
func (r *records) stored(ctx context.Context, path string) ([]pathspec, error) {
	flows, err := r.store.Flows(ctx)
	if err != nil {
		return nil, err
	}
	flow, run, _ := strings.Cut(strings.Trim(path, "/"), "/")
	if strings.Contains(run, "/") {
		return nil, usagef("%q is no run; a run is Flow/run", path)
	}
	if flow != "" && !slices.Contains(flows, flow) {
		flow, run = "", flow // a run's id alone
	}
	var list []pathspec
	for _, f := range flows {
		if flow != "" && f != flow {
			continue
		}
		runs, err := r.store.Runs(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, have := range runs {
			if run == "" || have == run {
				list = append(list, pathspec{flow: f, run: have})
			}
		}
	}
	if path != "" && len(list) == 0 {
		return nil, &exitError{exitFailed, fmt.Errorf("there is no flow or run %q in the datastore %s", path, r)}
	}
	return list, nil
}
