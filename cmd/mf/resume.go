package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/datastore"
	dslocal "github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime/local"
)

const resumeHelp = `Start a new run that reuses what succeeded in an earlier one, and run the rest with the code as it is now.

Without --origin the last run made here is taken up. With STEP, that step and all that follow it run again. Parameters
are those of the earlier run.

With --on, an engine runs the rest: its tasks start from what is taken over, and the deployment is left as it is.`

func (a *app) resumeCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{Use: "resume FLOW [STEP]", Short: "Take up a failed run", Long: resumeHelp}
	flags.register(cmd.Flags())
	cmd.Flags().StringVar(&flags.origin, "origin", "", "id of the run to take up (default: the last run here)")
	cmd.Flags().StringVar(&flags.origin, "origin-run-id", "", "the same, by Metaflow's name")
	_ = cmd.Flags().MarkHidden("origin-run-id")
	flags.on.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usagef("mf resume takes a flow: mf resume FLOW [STEP]")
		case len(args) > 2:
			return usagef("mf resume takes a flow and at most one step; parameters are those of the run taken up")
		}
		if err := flags.on.check(cmd.Flags()); err != nil {
			return err
		}
		step := ""
		if len(args) == 2 {
			step = args[1]
		}
		if flags.on.target != "" {
			return a.resumeOn(cmd.Context(), args[0], step, flags)
		}
		return a.resumeFlow(cmd.Context(), args[0], step, flags)
	}
	return cmd
}

func (a *app) resumeFlow(ctx context.Context, flow, step string, flags runFlags) error {
	s, err := a.openFlow(ctx, flow, flags)
	if err != nil {
		return err
	}
	defer s.close()
	if step != "" && s.flow.Step(step) == nil {
		return usagef("flow %s has no step %q", s.flow.Name, step)
	}
	// A run that is not there must leave nothing behind, so nothing is made before it has been found.
	if err := s.findStore(ctx); err != nil {
		return err
	}
	if s.service != "" {
		if err := s.openStores(ctx); err != nil {
			return err
		}
	}
	origin, err := s.findOrigin(ctx)
	if err != nil {
		return err
	}
	if err := s.checkRunIDFile(); err != nil {
		return err
	}
	if err := s.openStores(ctx); err != nil {
		return err
	}
	return s.execute(ctx, nil, local.Options{Origin: origin, RerunStep: step})
}

// findOrigin finds the run to take up: in mf's own datastore or, failing that, in the one that Metaflow would use here.
func (s *session) findOrigin(ctx context.Context) (*local.Origin, error) {
	stores := []*datastore.Store{s.store}
	if root := s.metaflowRoot(); root != "" && root != s.root {
		backend, err := dslocal.Open(root)
		if err != nil {
			return nil, fmt.Errorf("opening Metaflow's datastore: %w", err)
		}
		stores = append(stores, datastore.New(backend))
	}
	id := strings.TrimPrefix(s.flags.origin, s.flow.Name+"/")
	if strings.Contains(id, "/") {
		return nil, usagef("--origin %s is no run of %s; give its id, or %s/ID", s.flags.origin, s.flow.Name, s.flow.Name)
	}
	for _, store := range stores {
		run := id
		if run == "" {
			latest, err := s.latestRun(ctx, store)
			if errors.Is(err, datastore.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("finding the last run: %w", err)
			}
			run = latest
		}
		origin, err := local.LoadOrigin(ctx, store, s.flow.Name, run)
		if errors.Is(err, datastore.ErrNotFound) {
			continue
		}
		return origin, err
	}
	if id == "" {
		return nil, &exitError{exitFailed, fmt.Errorf("there is no run of %s here to resume; start one with: mf run %s", s.flow.Name, s.arg)}
	}
	return nil, &exitError{exitFailed, fmt.Errorf("there is no run %s/%s here (looked in %s); mf runs %s lists the runs there are",
		s.flow.Name, id, s.root, s.arg)}
}

// latestRun is the id of the last run of the flow that was made here or, where runs are recorded in a service, by this
// user. datastore.ErrNotFound if there is none.
func (s *session) latestRun(ctx context.Context, store *datastore.Store) (string, error) {
	if s.service == "" || store != s.store {
		return store.LatestRun(ctx, s.flow.Name)
	}
	user := s.app.userName(s.config)
	runs, err := s.meta.Runs(ctx, metadata.RunQuery{FlowID: s.flow.Name, Tags: []string{"user:" + user}, Limit: 1})
	if err != nil {
		return "", err
	}
	if len(runs) == 0 {
		return "", fmt.Errorf("runs of %s by %s: %w", s.flow.Name, user, datastore.ErrNotFound)
	}
	return runs[0].RunID, nil
}

// metaflowRoot is the local datastore that Metaflow itself would use for this flow; empty if there is none.
func (s *session) metaflowRoot() string {
	for _, dir := range []string{s.arg.dir(), "."} {
		if root, err := findUp(dir, ".metaflow"); err == nil && root != "" {
			if real, err := filepath.EvalSymlinks(root); err == nil {
				root = real
			}
			if info, err := os.Stat(root); err == nil && info.IsDir() {
				return root
			}
		}
	}
	return ""
}
