package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

// triggerFlags are the flags of trigger.
type triggerFlags struct {
	engine    deployedFlags
	wait      bool
	json      bool
	runIDFile string
}

func (f *triggerFlags) register(fs *pflag.FlagSet) {
	f.engine.register(fs)
	fs.BoolVar(&f.wait, "wait", false, "wait for the run's end, show how it goes, and fail if it does")
	fs.BoolVar(&f.json, "json", false, "the run as JSON on standard output")
	fs.StringVar(&f.runIDFile, "run-id-file", "", "file to write the run's id to")
}

const triggerHelp = `Start a run of a deployed flow. NAME is a deployment's name, or a flow file.

Parameters of the flow are given as --NAME VALUE after the deployment's name; those not given have the values that were
their defaults when the flow was deployed. After --, every flag is a parameter: so those are given that are called like a
flag of mf's.`

func (a *app) triggerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "trigger NAME [--PARAMETER VALUE]…", Short: "Start a run of a deployed flow", Long: triggerHelp,
		// The flow's parameters are flags too, and known to the engine only.
		DisableFlagParsing: true,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.triggerArgs(cmd.Context(), cmd, args) }
	return cmd
}

func (a *app) triggerArgs(ctx context.Context, cmd *cobra.Command, args []string) error {
	var flags triggerFlags
	fs := a.flowFlagSet("trigger")
	flags.register(fs)
	own, given, err := splitParameters(fs, args)
	if err != nil {
		return err
	}
	switch err := fs.Parse(own); {
	case errors.Is(err, pflag.ErrHelp):
		cmd.DisableFlagParsing = false
		cmd.Flags().AddFlagSet(fs)
		return cmd.Help()
	case err != nil:
		return usagef("%s; see mf trigger --help", flagMessage(err))
	case fs.NArg() != 1:
		return usagef("mf trigger takes a deployment's name; got %s", plural(fs.NArg(), "argument"))
	}
	if err := a.checkColor(); err != nil {
		return err
	}
	return a.trigger(ctx, fs.Arg(0), given, flags)
}

// encodeParameters writes the values so that the engine carries them as they are. Those that are too long for an engine go
// into the datastore.
func (a *app) encodeParameters(ctx context.Context, c *config, flow string, given map[string]string) (map[string]string, error) {
	encoded := map[string]string{}
	var store *datastore.Store
	for name, text := range given {
		value, err := ir.EncodeParameter(text, func(data []byte) (digest string, err error) {
			if store == nil {
				if store, err = a.openDeployStore(ctx, c); err != nil {
					return "", err
				}
			}
			return store.SaveRaw(ctx, flow, data)
		})
		if err != nil {
			return nil, fmt.Errorf("parameter --%s: %w", name, err)
		}
		encoded[name] = value
	}
	return encoded, nil
}

// splitParameters takes the flags that are not in the set, and all of those after "--", as parameters: --NAME VALUE or
// --NAME=VALUE.
func splitParameters(fs *pflag.FlagSet, args []string) (own []string, given map[string]string, err error) {
	given = map[string]string{}
	before, after := afterDashes(args)
	args = slices.Concat(before, after)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, joined := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		mine := i < len(before) && (name == "help" || fs.Lookup(name) != nil)
		if mine || !strings.HasPrefix(arg, "--") {
			own = append(own, arg)
			if flag := fs.Lookup(name); strings.HasPrefix(arg, "--") && flag != nil && !joined && flag.NoOptDefVal == "" && i+1 < len(args) {
				i++
				own = append(own, args[i])
			}
			continue
		}
		if !joined {
			if i++; i == len(args) {
				return nil, nil, usagef("parameter %s needs a value: %s VALUE", arg, arg)
			}
			value = args[i]
		}
		if _, twice := given[name]; twice {
			return nil, nil, usagef("parameter --%s is given twice", name)
		}
		given[name] = value
	}
	return own, given, nil
}

func (a *app) trigger(ctx context.Context, name string, given map[string]string, flags triggerFlags) error {
	c, engine, name, err := a.findDeployment(ctx, name, flags.engine)
	if err != nil {
		return err
	}
	start := live.Start{User: a.userName(c)}
	if len(given) > 0 {
		deployed, err := engine.Deployed(ctx, name)
		if err != nil {
			return engineError(engine, err)
		}
		if start.Parameters, err = a.encodeParameters(ctx, c, deployed.Flow, given); err != nil {
			return err
		}
	}
	run, err := engine.Start(ctx, name, start)
	if run.ID == "" {
		return engineError(engine, err)
	}
	for _, note := range run.Notes {
		fmt.Fprintf(a.stderr, "%s: %s\n", paint(a.colored(a.stderr), yellow, "note"), note)
	}
	if flags.runIDFile != "" {
		if err := os.WriteFile(flags.runIDFile, []byte(run.ID), 0o644); err != nil {
			return fmt.Errorf("the run %s has been started, but writing --run-id-file failed: %w", run.ID, err)
		}
	}
	if err != nil {
		return engineError(engine, err)
	}
	if flags.wait {
		return a.watch(ctx, engine, run, flags.json)
	}
	if flags.json {
		return a.writeJSON(run)
	}
	fmt.Fprintln(a.stdout, run.ID)
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "see how it goes: mf status %s · mf logs -f %s\n", run.ID, run.ID)
	}
	return nil
}

// findDeployment opens the engine for a deployment that is given by its name or by its flow's file.
func (a *app) findDeployment(ctx context.Context, name string, flags deployedFlags) (*config, live.Engine, string, error) {
	arg, isFlow := flowArg{path: "."}, false
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || strings.Contains(name, ".py") {
		if _, err := os.Stat(strings.Split(name, ".py:")[0]); err == nil || strings.ContainsRune(name, '/') {
			var err error
			if arg, err = parseFlowArg(name); err != nil {
				return nil, nil, "", err
			}
			isFlow = true
		}
	}
	dir := "."
	switch {
	case isFlow:
		dir = arg.dir()
	case flags.branch != "":
		return nil, nil, "", usagef("--branch is for a flow file; %s is the name of a deployment or a run, which is of one branch", name)
	case flags.production:
		return nil, nil, "", usagef("--production is for a flow file; %s is the name of a deployment or a run, which is of one branch", name)
	}
	c, err := a.loadConfig(dir)
	if err != nil {
		return nil, nil, "", err
	}
	engine, err := a.openEngine(c, flags.engineFlags)
	if err != nil || !isFlow {
		return c, engine, name, err
	}
	k, err := a.loadCompiling(ctx, name, compileFlags{target: c.engineTarget(flags.engineFlags), branch: flags.branch, production: flags.production})
	if err != nil {
		return nil, nil, "", err
	}
	if k.flow == nil || k.list.HasErrors() {
		_, err := k.emit()
		return nil, nil, "", err
	}
	deployer, ok := k.backend.(backends.Deployer)
	if !ok {
		return nil, nil, "", usagef("nothing can be deployed to %s", k.backend.Features().Target)
	}
	deployed, list := deployer.DeployedName(k.flow, k.opt)
	if list.HasErrors() {
		return nil, nil, "", list
	}
	return c, engine, deployed, nil
}

// openDeployStore opens the datastore that deployed flows use.
func (a *app) openDeployStore(ctx context.Context, c *config) (*datastore.Store, error) {
	root, err := c.deployRoot()
	if err != nil {
		return nil, err
	}
	opt, err := a.storeOptions(c)
	if err != nil {
		return nil, err
	}
	opt.Patience = min(opt.Patience, readingPatience)
	backend, err := stores.OpenDatastore(ctx, root, c.env, opt)
	if err != nil {
		return nil, fmt.Errorf("opening the datastore: %w", err)
	}
	store := datastore.New(backend)
	if err := store.Prepare(ctx); err != nil {
		return nil, fmt.Errorf("opening the datastore: %w", err)
	}
	return store, nil
}

// deployRoot is the root of the datastore that deployed flows use.
func (c *config) deployRoot() (string, error) {
	root := c.get("datastore")
	if kind := c.get("default-datastore"); kind != kindAuto && kind != kindLocal {
		var err error
		if root, err = c.sharedRoot(); err != nil {
			return "", err
		}
	}
	if root == "" {
		return "", usagef("a deployed flow needs a datastore that its tasks reach: set datastore in mf.yaml, or MF_DATASTORE, to %s", stores.Schemes)
	}
	return root, nil
}

// watchEvery is how often a run is looked at, watchPatience how long an engine may be away meanwhile.
const (
	watchEvery    = time.Second
	watchPatience = 5 * time.Minute
)

// watch shows a run until it ends.
func (a *app) watch(ctx context.Context, engine live.Engine, run live.Run, asJSON bool) error {
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "run %s\n", run.ID)
	}
	shown := map[string]bool{}
	lost := time.Time{} // since when the engine does not answer
	for {
		now, err := engine.Status(ctx, run.Name)
		switch {
		case err == nil:
			lost = time.Time{}
		case !errors.Is(err, live.ErrUnavailable) || !lost.IsZero() && a.now().Sub(lost) > watchPatience:
			return engineError(engine, err)
		default:
			if lost.IsZero() {
				lost = a.now()
				fmt.Fprintf(a.stderr, "%v; waiting up to %s for it, the run goes on meanwhile\n", engineError(engine, err), watchPatience)
			}
			now = run
		}
		if !a.flags.quiet && !asJSON {
			a.printNews(now, shown)
		}
		if now.Phase.Ended() {
			if asJSON {
				if err := a.writeJSON(now); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(a.stdout, a.runLine(now))
			}
			if now.Phase != live.Succeeded {
				if !a.flags.quiet {
					fmt.Fprintf(a.stderr, "what it printed: mf logs %s · take it up here: mf resume FLOW --origin %s\n", now.ID, now.ID)
				}
				return failed
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

// printNews prints what has not been said yet of a run's steps.
func (a *app) printNews(run live.Run, shown map[string]bool) {
	say := func(text string) {
		if !shown[text] {
			shown[text] = true
			fmt.Fprintln(a.stderr, text)
		}
	}
	for _, s := range run.Steps {
		if s.Phase != live.Pending && s.Phase != live.Skipped {
			say(fmt.Sprintf("  %s %s", s.Name, a.phase(a.stderr, s.Phase)))
		}
		for _, problem := range s.Problems {
			say(fmt.Sprintf("  %s: %s", s.Name, problem))
		}
	}
}
