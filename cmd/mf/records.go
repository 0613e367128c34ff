package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

// records are the runs of this folder.
type records struct {
	site
	now func() time.Time
}

// openRecords opens the runs of the current folder, or of the nearest one above it that has any.
func (a *app) openRecords(ctx context.Context, dir string) (*records, error) {
	c, err := a.loadConfig(dir)
	if err != nil {
		return nil, err
	}
	p, err := c.site(dir)
	if err != nil {
		return nil, err
	}
	p.reading = true
	if p.service == "" && p.here() {
		if _, err := os.Stat(p.home); errors.Is(err, os.ErrNotExist) {
			return nil, &exitError{exitFailed, fmt.Errorf("there are no runs here (looked for %s); start one with: mf run FLOW", p.home)}
		}
	}
	if err := a.openStore(ctx, c, p); err != nil {
		return nil, err
	}
	if err := a.openMeta(ctx, c, p); err != nil {
		return nil, err
	}
	return &records{*p, a.now}, nil
}

// pathspec is Flow/run/step/task/artifact; what was not given is empty.
type pathspec struct {
	flow, run, step, task, artifact string
}

// resolve reads a pathspec. The flow may be left out where the run id says it all, and "latest" is the newest run.
func (r *records) resolve(ctx context.Context, text string) (pathspec, error) {
	parts := strings.Split(strings.Trim(text, "/"), "/")
	if len(parts) > 5 || slices.Contains(parts, "") {
		return pathspec{}, usagef("%q is not a path; a path is Flow/run/step/task/artifact", text)
	}
	if runs, err := r.meta.Runs(ctx, metadata.RunQuery{FlowID: parts[0], Limit: 1}); err != nil {
		return pathspec{}, err
	} else if len(runs) == 0 && !r.storedFlow(ctx, parts) {
		flow, err := r.flowOf(ctx, parts[0])
		if err != nil {
			return pathspec{}, err
		}
		parts = append([]string{flow}, parts...)
	}
	for len(parts) < 5 {
		parts = append(parts, "")
	}
	p := pathspec{parts[0], parts[1], parts[2], parts[3], parts[4]}
	if p.run == "" {
		p.run = "latest"
	}
	if p.run == "latest" {
		if err := r.adoptFlow(ctx, p.flow); err != nil {
			return p, err
		}
		runs, err := r.meta.Runs(ctx, metadata.RunQuery{FlowID: p.flow, Limit: 1})
		if err != nil {
			return p, err
		}
		if len(runs) > 0 {
			p.run = runs[0].RunID
		}
	}
	if err := r.adopt(ctx, p.flow, p.run); err != nil {
		return p, err
	}
	if _, err := r.meta.Run(ctx, p.flow, p.run); errors.Is(err, metadata.ErrNotFound) {
		return p, &exitError{exitFailed, fmt.Errorf("there is no run %s/%s here; mf runs %[1]s lists them", p.flow, p.run)}
	} else if err != nil {
		return p, err
	}
	return p, nil
}

// storedFlow reports whether a path names a flow that the datastore alone knows.
func (r *records) storedFlow(ctx context.Context, parts []string) bool {
	if !r.adopts() {
		return false
	}
	flows, err := r.store.Flows(ctx)
	return err == nil && slices.Contains(flows, parts[0])
}

// flowOf finds the flow that a run belongs to.
func (r *records) flowOf(ctx context.Context, run string) (string, error) {
	runs, err := r.meta.Runs(ctx, metadata.RunQuery{})
	if err != nil {
		return "", err
	}
	for _, have := range runs {
		if have.RunID == run || run == "latest" {
			return have.FlowID, nil
		}
	}
	if flow, err := r.adoptRun(ctx, run); err != nil || flow != "" {
		return flow, err
	}
	return "", &exitError{exitFailed, fmt.Errorf("there is no flow or run %q here; mf runs, or mf runs FLOW, lists them", run)}
}

// tasks lists the tasks of a path, oldest first, those of _parameters left out unless named.
func (r *records) tasks(ctx context.Context, p pathspec) ([]datastore.TaskRef, error) {
	all, err := runtime.Tasks(ctx, r.store, p.flow, p.run, p.step)
	if err != nil {
		return nil, err
	}
	var refs []datastore.TaskRef
	for _, ref := range all {
		if p.step == "" && strings.HasPrefix(ref.Step, "_") || p.task != "" && ref.Task != p.task {
			continue
		}
		refs = append(refs, ref)
	}
	if err := r.sortTasks(ctx, p, refs); err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, &exitError{exitFailed, fmt.Errorf("there is no task %s", strings.TrimRight(
			strings.Join([]string{p.flow, p.run, p.step, p.task}, "/"), "/"))}
	}
	return refs, nil
}

// staleAfter is the age of a heartbeat after which a run that claims to be running is not believed.
const staleAfter = time.Minute

// status is how a run stands, "lost" where the process that ran it is gone.
func runStatus(run metadata.Run, now time.Time) string {
	if run.Status == "" {
		return "unknown"
	}
	if run.Status != metadata.Running {
		return string(run.Status)
	}
	last := time.UnixMilli(run.TsEpoch)
	if beat := time.Unix(run.LastHeartbeat, 0); beat.After(last) {
		last = beat
	}
	// A run that an engine made without a metadata service has no heartbeat: all that is known is that it has not ended.
	unwatched := run.LastHeartbeat == 0 && !numbered(run.RunID)
	if now.Sub(last) > staleAfter && !unwatched {
		return "lost"
	}
	return string(run.Status)
}

// runTime is how long a run took, or has taken; zero where it is not known.
func runTime(run metadata.Run, now time.Time) time.Duration {
	start := time.UnixMilli(run.TsEpoch)
	switch {
	case run.FinishedMs > 0:
		return time.UnixMilli(run.FinishedMs).Sub(start)
	case runStatus(run, now) == string(metadata.Running):
		return now.Sub(start)
	case run.LastHeartbeat > 0:
		return time.Unix(run.LastHeartbeat, 0).Sub(start)
	}
	return 0
}

// inactive is the age of the heartbeat after which a run of Metaflow's own that has not ended counts as failed, as in
// Metaflow's service.
const inactive = 6 * time.Minute

// derive finds out how a run of Metaflow's own stands, which nobody has written down: by what the end step's last task says
// of itself or, where there is none, by the heartbeat.
func (r *records) derive(ctx context.Context, run *metadata.Run, now time.Time) error {
	if run.Status != "" {
		return nil
	}
	rows, err := r.meta.Metadata(ctx, run.FlowID, run.RunID, "end", "")
	if err != nil {
		return fmt.Errorf("reading how %s/%s ended: %w", run.FlowID, run.RunID, err)
	}
	attempts, ended := 0, 0
	for _, m := range rows { // oldest first
		switch m.FieldName {
		case "attempt":
			attempts++
		case "attempt_ok":
			ended = attempts
			run.Status, run.FinishedMs = metadata.Failed, m.TsEpoch
			if m.Value == "True" {
				run.Status = metadata.Succeeded
			}
		}
	}
	switch alive := now.Sub(time.Unix(run.LastHeartbeat, 0)) <= inactive; {
	case run.Status == metadata.Succeeded || run.Status == metadata.Failed && ended == attempts:
	case alive:
		run.Status, run.FinishedMs = metadata.Running, 0
	case run.Status == "" && run.LastHeartbeat > 0:
		run.Status = metadata.Failed
	}
	return nil
}
