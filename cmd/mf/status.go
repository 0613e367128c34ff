package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/cmd/internal/tokens"
)

const statusHelp = `Say how a run on an engine stands, step by step, and what keeps it from going on.

NAME is a run (its id, argo-…, or the engine's name for it), or a deployment or a flow file, whose last run is shown.`

func (a *app) statusCommand() *cobra.Command {
	var flags deployedFlags
	var asJSON bool
	cmd := &cobra.Command{Use: "status NAME", Short: "Say how a deployed flow's run stands", Long: statusHelp, Args: exactly("NAME")}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.status(cmd.Context(), args[0], flags, asJSON) }
	return cmd
}

func (a *app) status(ctx context.Context, name string, flags deployedFlags, asJSON bool) error {
	_, engine, name, err := a.findDeployment(ctx, name, flags)
	if err != nil {
		return err
	}
	run, err := a.findRun(ctx, engine, name)
	if err != nil {
		return err
	}
	if asJSON {
		return a.writeJSON(run)
	}
	a.printRun(run)
	return nil
}

// findRun returns a run by its name or, for a deployment, its last.
func (a *app) findRun(ctx context.Context, engine live.Engine, name string) (live.Run, error) {
	run, err := engine.Status(ctx, name)
	if !errors.Is(err, live.ErrNotFound) {
		return run, engineError(engine, err)
	}
	runs, listErr := engine.Runs(ctx, name)
	if errors.Is(listErr, live.ErrNotFound) {
		return live.Run{}, failedAs("there is no run and no deployment %q at %s", name, engine)
	}
	if listErr != nil {
		return live.Run{}, engineError(engine, listErr)
	}
	if len(runs) == 0 {
		return live.Run{}, failedAs("%s at %s has no runs; start one with: mf trigger %s", name, engine, name)
	}
	run, err = engine.Status(ctx, runs[0].Name)
	return run, engineError(engine, err)
}

// phase is a phase in its colour.
func (a *app) phase(w io.Writer, p live.Phase) string {
	color := map[live.Phase]string{live.Succeeded: green, live.Failed: red, live.Stopped: yellow, live.Running: bold}[p]
	if color == "" {
		return string(p)
	}
	return paint(a.colored(w), color, string(p))
}

// runLine is a run in one line.
func (a *app) runLine(r live.Run) string {
	text := fmt.Sprintf("%s  %s", r.ID, a.phase(a.stdout, r.Phase))
	if !r.Started.IsZero() {
		text += "  started " + r.Started.Local().Format("2006-01-02 15:04:05") + "  took " + seconds(a.took(r).Seconds())
	}
	if r.Message != "" {
		text += "  " + r.Message
	}
	return text
}

// took is how long a run has taken so far.
func (a *app) took(r live.Run) time.Duration {
	switch {
	case r.Started.IsZero():
		return 0
	case r.Finished.IsZero():
		return a.now().Sub(r.Started)
	}
	return r.Finished.Sub(r.Started)
}

// phasesInWords is the order in which counts of tasks are told.
var phasesInWords = []live.Phase{live.Succeeded, live.Running, live.Pending, live.Failed, live.Stopped, live.Skipped}

func (a *app) printRun(r live.Run) {
	fmt.Fprintln(a.stdout, a.runLine(r))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, s := range r.Steps {
		var counts []string
		for _, p := range phasesInWords {
			if n := s.Tasks[p]; n > 0 {
				counts = append(counts, fmt.Sprintf("%d %s", n, p))
			}
		}
		text := strings.Join(counts, ", ")
		if len(counts) == 1 && s.Tasks[s.Phase] == 1 {
			text = ""
		}
		// The colour's escapes would count as width, so the phase stands last but one.
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Name, s.Phase, text)
		for _, problem := range s.Problems {
			fmt.Fprintf(w, "  \t\t%s\n", problem)
		}
	}
	_ = w.Flush()
	for _, note := range r.Notes {
		fmt.Fprintf(a.stderr, "%s: %s\n", paint(a.colored(a.stderr), yellow, "note"), note)
	}
}

func (a *app) stopCommand() *cobra.Command {
	var flags deployedFlags
	cmd := &cobra.Command{
		Use: "stop NAME", Short: "Stop a run of a deployed flow", Args: exactly("NAME"),
		Long: "Stop a run on an engine: a run by its id or name, or the only one of a deployment that is going. Its tasks are told\n" +
			"to end, exit hooks run; a second stop ends it at once. What had succeeded is kept: mf resume takes it up.",
	}
	flags.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.stop(cmd.Context(), args[0], flags) }
	return cmd
}

func (a *app) stop(ctx context.Context, name string, flags deployedFlags) error {
	_, engine, name, err := a.findDeployment(ctx, name, flags)
	if err != nil {
		return err
	}
	run, err := engine.Status(ctx, name)
	if errors.Is(err, live.ErrNotFound) {
		run, err = a.onlyRunning(ctx, engine, name)
	}
	if err != nil {
		return engineError(engine, err)
	}
	if run.Phase.Ended() {
		fmt.Fprintf(a.stdout, "%s has ended already: %s\n", run.ID, run.Phase)
		return nil
	}
	if err := engine.Stop(ctx, run.Name); err != nil {
		return engineError(engine, err)
	}
	fmt.Fprintf(a.stdout, "stopping %s\n", run.ID)
	return nil
}

// onlyRunning is the one run of a deployment that has not ended.
func (a *app) onlyRunning(ctx context.Context, engine live.Engine, deployment string) (live.Run, error) {
	runs, err := engine.Runs(ctx, deployment)
	if errors.Is(err, live.ErrNotFound) {
		return live.Run{}, failedAs("there is no run and no deployment %q at %s", deployment, engine)
	}
	if err != nil {
		return live.Run{}, err
	}
	var going []string
	var found live.Run
	for _, r := range runs {
		if !r.Phase.Ended() {
			going, found = append(going, r.ID), r
		}
	}
	switch len(going) {
	case 0:
		return live.Run{}, failedAs("no run of %s is going", deployment)
	case 1:
		return found, nil
	}
	return live.Run{}, failedAs("several runs of %s are going; name one of them: %s", deployment, strings.Join(going, ", "))
}

func (a *app) undeployCommand() *cobra.Command {
	var flags deployedFlags
	var yes bool
	var authorize string
	cmd := &cobra.Command{
		Use: "undeploy NAME", Short: "Take a flow off an orchestrator", Args: exactly("NAME"),
		Long: "Take a deployment off an engine: no run of it starts any more, by hand, by schedule or by an event. Runs that are\n" +
			"going go on (unless the engine insists on their deployment, as Argo does with templateReferencing: Secure), and\n" +
			"everything that runs have written stays.",
	}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "also where runs of it are going")
	cmd.Flags().StringVar(&authorize, "authorize", "", "production token of what is deployed, where somebody else deployed it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.undeploy(cmd.Context(), args[0], flags, yes, authorize)
	}
	return cmd
}

func (a *app) undeploy(ctx context.Context, name string, flags deployedFlags, yes bool, authorize string) error {
	c, engine, name, err := a.findDeployment(ctx, name, flags)
	if err != nil {
		return err
	}
	if err := a.mayUndeploy(ctx, c, engine, name, authorize); err != nil {
		return err
	}
	runs, err := engine.Runs(ctx, name)
	if err != nil && !errors.Is(err, live.ErrNotFound) {
		return engineError(engine, err)
	}
	for _, r := range runs {
		if !r.Phase.Ended() && !yes {
			return failedAs("run %s of %s is going; stop it with mf stop %s, or say --yes to leave it to end", r.ID, name, r.ID)
		}
	}
	removed, err := engine.Delete(ctx, name)
	if errors.Is(err, live.ErrNotFound) {
		return failedAs("there is no deployment %q at %s", name, engine)
	}
	if err != nil {
		return engineError(engine, err)
	}
	for _, object := range removed {
		fmt.Fprintf(a.stdout, "removed %s\n", object)
	}
	return nil
}

// mayUndeploy reports a deployment of somebody else's, whose production token the user does not have.
func (a *app) mayUndeploy(ctx context.Context, c *config, engine live.Engine, name, authorize string) error {
	d, err := engine.Deployed(ctx, name)
	switch {
	case errors.Is(err, live.ErrNotFound):
		return nil // something of it may still be there, such as a schedule
	case err != nil:
		return engineError(engine, err)
	}
	store := tokens.Store{Dir: tokens.Home(a.env)}
	stored := ""
	if store.Dir != "" {
		if stored, err = store.Kept(d.Token, name, d.Flow); err != nil {
			return err
		}
	}
	return tokens.Check(tokens.Request{Name: name, Live: d.Token, Owner: d.Owner, User: a.userName(c), Stored: stored, Authorize: authorize})
}
