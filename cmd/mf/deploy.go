package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/runtime/codepackage"
)

// deployFlags are the flags of plan and deploy.
type deployFlags struct {
	compileFlags
	engine engineFlags
	token  tokenFlags
	json   bool
	yes    bool
}

func (f *deployFlags) register(fs *pflag.FlagSet) {
	f.compileFlags.register(fs)
	f.deploys = true
	fs.Lookup("target").Usage = "engine to deploy on: argo (default: the setting target)"
	f.engine.register(fs)
	f.token.register(fs)
	fs.BoolVar(&f.json, "json", false, "the plan as JSON on standard output")
}

const planHelp = `Compare a flow with what is deployed of it, and say what a deploy would change.

The engine itself judges the files, but nothing is changed there. What was changed on the engine since the last deploy is
found too. Exit code 2 says that something would change; whatever is wrong ends with 1.`

func (a *app) planCommand() *cobra.Command {
	var flags deployFlags
	cmd := &cobra.Command{Use: "plan FLOW --target TARGET", Short: "Say what a deploy would change", Long: planHelp}
	flags.register(cmd.Flags())
	cmd.Args = func(cmd *cobra.Command, args []string) error { return noChanges(exactly("FLOW")(cmd, args)) }
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return noChanges(flagError(cmd, err)) })
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return noChanges(a.plan(cmd.Context(), args[0], flags)) }
	return cmd
}

// errChanges ends plan where something would change.
var errChanges = &exitError{code: exitChanges}

// noChanges keeps an error from being taken for changes: whoever watches for drift sees the exit code alone.
func noChanges(err error) error {
	var usage *tasktool.UsageError
	var exit *exitError
	switch {
	case errors.As(err, &usage):
		return &exitError{exitFailed, errors.New(err.Error())}
	case errors.As(err, &exit) && exit != errChanges && exit.code == exitChanges:
		return &exitError{exitFailed, exit.err}
	}
	return err
}

const deployHelp = `Put a flow on an engine: package its code and upload it, compile the flow, and apply the files.

It may be repeated: where nothing has changed, nothing is done. mf plan shows beforehand what would change, mf trigger
starts a run.`

func (a *app) deployCommand() *cobra.Command {
	var flags deployFlags
	cmd := &cobra.Command{Use: "deploy FLOW --target TARGET", Short: "Put a flow on an orchestrator", Long: deployHelp, Args: exactly("FLOW")}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask, even where changes made by hand would be undone")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.deploy(cmd.Context(), args[0], flags) }
	return cmd
}

// deploying is a flow on its way to an engine.
type deploying struct {
	*compiling
	engine live.Engine
	name   string
	code   *codepackage.Package
	files  []backends.File
	plan   live.Plan
	// messages say what a new production token means.
	messages []string
}

func (d *deploying) close() {
	if d.code != nil {
		d.code.Close()
	}
}

// prepare loads the flow, packages its code, compiles it and compares it with what is on the engine. Nothing is uploaded
// or changed yet.
func (a *app) prepare(ctx context.Context, flowPath string, flags deployFlags) (*deploying, error) {
	k, err := a.loadCompiling(ctx, flowPath, flags.compileFlags)
	if err != nil {
		return nil, err
	}
	d := &deploying{compiling: k}
	if d.engine, err = k.openEngine(flags.engine); err != nil {
		return nil, err
	}
	deployer, ok := k.backend.(backends.Deployer)
	if !ok {
		return nil, usagef("nothing can be deployed to %s", k.backend.Features().Target)
	}
	if k.opt.Datastore, err = k.config.deployRoot(); err != nil {
		return nil, err
	}
	if k.flow != nil && !k.list.HasErrors() {
		if !flags.noPackage {
			if d.code, err = d.pack(ctx); err != nil {
				return nil, err
			}
		}
		d.name, _ = deployer.DeployedName(k.flow, k.opt) // emit says what is wrong with it
	}
	if err := d.settle(ctx, flags); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// settle compiles and compares, with the production token that the deployment is to have.
func (d *deploying) settle(ctx context.Context, flags deployFlags) error {
	if d.flow == nil || d.list.HasErrors() {
		_, err := d.emit()
		return err
	}
	return d.decideToken(ctx, flags.token)
}

// deployment is what the engine is asked to have.
func (d *deploying) deployment() live.Deployment {
	return live.Deployment{Name: d.name, Flow: d.flow.Name, Files: d.files, Token: d.opt.Token}
}

// compare compiles and asks the engine what would change.
func (d *deploying) compare(ctx context.Context) (err error) {
	if d.files, err = d.emit(); err != nil {
		return err
	}
	if d.plan, err = d.engine.Plan(ctx, d.deployment()); err != nil {
		return engineError(d.engine, err)
	}
	return nil
}

func (a *app) plan(ctx context.Context, flowPath string, flags deployFlags) error {
	d, err := a.prepare(ctx, flowPath, flags)
	if err != nil {
		return err
	}
	defer d.close()
	if flags.json {
		err = a.writeJSON(d.plan)
	} else {
		a.printPlan(d)
	}
	if err == nil && len(d.plan.Changes) > 0 {
		return errChanges
	}
	return err
}

// printPlan prints the changes as text.
func (a *app) printPlan(d *deploying) {
	w := a.stdout
	if len(d.plan.Changes) == 0 {
		fmt.Fprintf(w, "No changes: %s is on %s as it is here.\n", d.name, d.engine)
	} else {
		fmt.Fprintf(w, "%s on %s\n", paint(a.colored(w), bold, d.name), d.engine)
	}
	object := ""
	counts := map[live.ChangeKind]int{}
	for _, c := range d.plan.Changes {
		counts[c.Kind]++
		if c.Step == "" && c.What == "" { // the object as a whole
			object = c.Object
			fmt.Fprintln(w, a.changeText(c))
			continue
		}
		if c.Object != object {
			object = c.Object
			fmt.Fprintf(w, "%s\n", object)
		}
		fmt.Fprintf(w, "  %s\n", a.changeText(c))
	}
	if n := len(d.plan.Changes); n > 0 {
		fmt.Fprintf(w, "Plan: %d to add, %d to change, %d to remove.\n", counts[live.Add], counts[live.Modify], counts[live.Remove])
	}
	for _, note := range d.plan.Notes {
		fmt.Fprintf(a.stderr, "%s: %s\n", paint(a.colored(a.stderr), yellow, "note"), note)
	}
}

// changeText is a change in one line: a sign, where, what, and from what to what.
func (a *app) changeText(c live.Change) string { return changeText(c, a.colored(a.stdout)) }

func changeText(c live.Change, color bool) string {
	sign := map[live.ChangeKind]string{
		live.Add: paint(color, green, "+"), live.Modify: paint(color, yellow, "~"), live.Remove: paint(color, red, "-"),
	}[c.Kind]
	text := strings.TrimSpace(c.What)
	if c.Step != "" {
		text = strings.TrimSuffix("step "+c.Step+": "+text, ": ")
	}
	if text == "" {
		text = c.Object
	}
	switch {
	case c.From != "" && c.To != "":
		text += ": " + c.From + " → " + c.To
	case c.To != "":
		text += ": " + c.To
	case c.From != "":
		text += ": " + c.From
	}
	if c.ByHand != "" {
		text += paint(color, red, " (changed by hand: "+c.ByHand+"; a deploy undoes it)")
	}
	return sign + " " + text
}

func (a *app) deploy(ctx context.Context, flowPath string, flags deployFlags) error {
	d, err := a.prepare(ctx, flowPath, flags)
	if err != nil {
		return err
	}
	defer d.close()
	if err := a.confirm(d, flags); err != nil {
		return err
	}
	if err := d.upload(ctx); err != nil {
		return err
	}
	done, err := d.engine.Apply(ctx, d.deployment())
	if err != nil {
		return engineError(d.engine, err)
	}
	if err := d.keepToken(); err != nil {
		return fmt.Errorf("%s is deployed, but its production token could not be kept: %w", d.name, err)
	}
	done.Notes = append(d.messages, d.plan.Notes...)
	d.plan = done
	if flags.json {
		return a.writeJSON(struct {
			Name string `json:"name"`
			Flow string `json:"flow"`
			Code string `json:"code_package"`
			live.Plan
		}{d.name, d.flow.Name, d.opt.Package, done})
	}
	a.printDeployed(d)
	return nil
}

// confirm has somebody who would lose changes made by hand say so first.
func (a *app) confirm(d *deploying, flags deployFlags) error {
	byHand := 0
	for _, c := range d.plan.Changes {
		if c.ByHand != "" {
			byHand++
		}
	}
	if byHand == 0 || flags.yes {
		return nil
	}
	if !flags.json {
		a.printPlan(d)
	}
	what := plural(byHand, "change") + " made by hand would be undone"
	in, isFile := a.stdin.(*os.File)
	if flags.json || !isFile || !isTerminal(a.stderr) || !isTerminal(in) {
		return &exitError{exitFailed, fmt.Errorf("%s; --yes does that", what)}
	}
	fmt.Fprintf(a.stderr, "%s. Deploy? [y/N] ", what)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.Join(failedAs("nothing was deployed"), err)
	}
	return nil
}

// failedAs is an error for which the exit code is 1.
func failedAs(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Errorf(format, args...)}
}

// upload puts the code package into the datastore.
func (d *deploying) upload(ctx context.Context) error {
	if d.code == nil {
		return nil
	}
	store, err := d.app.openDeployStore(ctx, d.config)
	if err != nil {
		return err
	}
	if _, err := codepackage.Save(ctx, store, d.flow.Name, d.code); err != nil {
		return fmt.Errorf("uploading the code: %w", err)
	}
	return nil
}

func (a *app) printDeployed(d *deploying) {
	if len(d.plan.Changes) == 0 {
		fmt.Fprintf(a.stdout, "%s is deployed already, and unchanged\n", d.name)
	} else {
		for _, c := range d.plan.Changes {
			if text := a.changeText(c); !a.flags.quiet && c.Step == "" && c.What == "" {
				fmt.Fprintln(a.stderr, text)
			} else if !a.flags.quiet {
				fmt.Fprintf(a.stderr, "%s: %s\n", c.Object, text)
			}
		}
		fmt.Fprintf(a.stdout, "deployed %s\n", d.name)
	}
	for _, note := range d.plan.Notes {
		fmt.Fprintf(a.stderr, "%s: %s\n", paint(a.colored(a.stderr), yellow, "note"), note)
	}
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "start a run: mf trigger %s%s\n", d.name, d.targetHint())
	}
}

// targetHint is what must be said of the target on a command line where no setting says it.
func (d *deploying) targetHint() string {
	if target := d.backend.Features().Target; d.config.get("target") != target {
		return " --target " + target
	}
	return ""
}
