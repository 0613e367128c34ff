package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime/repair"
)

// adopts reports whether runs that engines made are known from the datastore alone: it is shared, but no metadata service
// is. What reads such a run takes its metadata from there into the database here.
func (r *records) adopts() bool { return r.service == "" && !r.here() }

// adopt brings the metadata of an engine's run here up to what the datastore has. Runs with a number were made, and are
// recorded, here or by Metaflow. It is no error if the datastore does not have the run.
func (r *records) adopt(ctx context.Context, flow, run string) error {
	if !r.adopts() || numbered(run) {
		return nil
	}
	known, err := r.meta.Run(ctx, flow, run)
	if err != nil && !errors.Is(err, metadata.ErrNotFound) {
		return err
	}
	if err == nil && known.Status == metadata.Succeeded {
		return nil
	}
	_, err = repair.Run(ctx, r.store, r.meta, flow, run, repair.Options{Now: r.now(), Refresh: true})
	if errors.Is(err, datastore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what the datastore has of %s/%s: %w", flow, run, err)
	}
	return nil
}

// adoptFlow does so for all runs of a flow.
func (r *records) adoptFlow(ctx context.Context, flow string) error {
	if !r.adopts() {
		return nil
	}
	runs, err := r.store.Runs(ctx, flow)
	if err != nil {
		return fmt.Errorf("listing the runs of %s: %w", flow, err)
	}
	for _, run := range runs {
		if err := r.adopt(ctx, flow, run); err != nil {
			return err
		}
	}
	return nil
}

// adoptRun finds a run in the datastore by its id alone, and adopts it. The flow is empty if there is none.
func (r *records) adoptRun(ctx context.Context, run string) (flow string, err error) {
	if !r.adopts() || numbered(run) {
		return "", nil
	}
	flows, err := r.store.Flows(ctx)
	if err != nil {
		return "", fmt.Errorf("listing the flows of the datastore: %w", err)
	}
	for _, f := range flows {
		steps, err := r.store.Steps(ctx, f, run)
		if err != nil && !errors.Is(err, datastore.ErrNotFound) {
			return "", fmt.Errorf("looking for run %s: %w", run, err)
		}
		if len(steps) > 0 {
			return f, r.adopt(ctx, f, run)
		}
	}
	return "", nil
}
