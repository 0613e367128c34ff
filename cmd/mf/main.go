// Command mf compiles data and ML flows to the orchestrators people run, runs them here, and resumes what failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/diag"
)

// version is set by the linker.
var version = "dev"

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitChanges     = 2 // of plan
	exitBug         = 70
	exitInterrupted = 130
)

func main() {
	ctx := listen(context.Background())
	args := os.Args[1:]
	if name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"); name == "mf-task" {
		// Command steps find mf under this name in their PATH.
		args = append([]string{"__task"}, args...)
	}
	os.Exit(run(ctx, args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

type abortKey struct{}

// abortOf returns a channel that is closed at the second Ctrl-C; nil if nobody listens.
func abortOf(ctx context.Context) <-chan struct{} {
	abort, _ := ctx.Value(abortKey{}).(chan struct{})
	return abort
}

// listen cancels the context at the first Ctrl-C, which lets running tasks end; the second ends them, and the program
// soon after; the third ends the program at once.
func listen(ctx context.Context) context.Context {
	abort := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithValue(ctx, abortKey{}, abort))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		signal.Stop(signals)
		close(abort)
		time.Sleep(abortGrace)
		os.Exit(exitInterrupted)
	}()
	return ctx
}

// abortGrace is the time to write down how tasks ended that were killed.
const abortGrace = 5 * time.Second

// app is what the verbs share: the program's surroundings, which nothing below cmd reads by itself.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	now            func() time.Time
	flags          globalFlags
	// started is set once a verb runs: errors before are about how it was called.
	started bool
}

// globalFlags are understood by every verb.
type globalFlags struct {
	quiet bool
	color string
}

// env returns the value of an environment variable; empty if unset.
func (a *app) env(name string) string {
	v, _ := a.lookupEnv(name)
	return v
}

func (a *app) lookupEnv(name string) (string, bool) {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(a.environ[i], name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// exitError ends the program with a code. A nil err says that everything has been printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// failed ends the program with exit code 1 after everything has been printed.
var failed = &exitError{code: exitFailed}

// run is the whole program.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ, now: time.Now}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "mf: bug: %v\n%s\nThis is a bug in mf, not in your flow; please report it with the text above.\n", p, debug.Stack())
			code = exitBug
		}
	}()
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.report(a.execute(ctx, root))
}

// execute runs the verb. What cobra finds wrong with the command line is wrong usage.
func (a *app) execute(ctx context.Context, root *cobra.Command) error {
	a.started = false
	a.watchStart(root)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	if err != nil && !a.started && !errors.As(err, &exit) {
		return usagef("%s", misuse(err.Error()))
	}
	return err
}

// flagMessage says what is wrong with a flag, without the words of Go's number parsers.
func flagMessage(err error) string {
	var bad *pflag.InvalidValueError
	var number *strconv.NumError
	if errors.As(err, &bad) && errors.As(err, &number) {
		return fmt.Sprintf("--%s takes a whole number, not %q", bad.GetFlag().Name, bad.GetValue())
	}
	return err.Error()
}

func flagError(cmd *cobra.Command, err error) error {
	return usagef("%s; see %s --help", flagMessage(err), cmd.CommandPath())
}

// misuse makes one line of cobra's words about an unknown command.
func misuse(text string) string {
	text, meant, ok := strings.Cut(strings.TrimSpace(text), "\n\nDid you mean this?")
	if text = strings.TrimSuffix(text, ` for "mf"`); ok {
		text += " (did you mean " + strings.Join(strings.Fields(meant), ", ") + "?)"
	}
	return text + "; see mf --help"
}

func (a *app) watchStart(cmd *cobra.Command) {
	if verb := cmd.RunE; verb != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := a.checkColor(); err != nil {
				return err
			}
			a.started = true
			return verb(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.watchStart(sub)
	}
}

// report prints what went wrong and chooses the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	var usage *tasktool.UsageError
	if errors.As(err, &usage) {
		err = &exitError{exitUsage, err}
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			fmt.Fprintf(a.stderr, "mf: %v\n", exit.err)
		}
		return exit.code
	}
	var list diag.List
	if errors.As(err, &list) {
		fmt.Fprintln(a.stderr, list)
		return exitFailed
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "mf: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(a.stderr, "mf: %v\n", err)
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mf",
		Short: "Compile, run and resume data and ML flows",
		Long: "mf takes a flow (a Metaflow FlowSpec file, or YAML), runs it here, and compiles it to Argo Workflows,\n" +
			"AWS Step Functions or Airflow.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND]", Short: "Say how a command is used",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q; see mf --help", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	})
	root.PersistentFlags().BoolVar(&a.flags.quiet, "quiet", false, "print results and errors only")
	root.PersistentFlags().StringVar(&a.flags.color, "color", "auto", "colour: auto, always or never")
	root.AddCommand(
		a.initCommand(), a.checkCommand(), a.graphCommand(), a.runCommand(), a.resumeCommand(), a.compileCommand(),
		a.runsCommand(), a.showCommand(), a.logsCommand(), a.dumpCommand(), a.tagCommand(), a.exportCommand(), a.packageCommand(),
		a.planCommand(), a.deployCommand(), a.triggerCommand(), a.statusCommand(), a.stopCommand(), a.undeployCommand(),
		a.serviceCommand(), a.repairCommand(),
		a.configCommand(), a.schemaCommand(), a.versionCommand(), a.pythonCommand(), a.taskCommand(), a.readCommand(),
	)
	return root
}

// exactly wants n arguments, named in the message.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return usagef("%s takes %s; got %s", cmd.CommandPath(), strings.Join(names, " and "), plural(len(args), "argument"))
	}
}

// atMost wants the arguments, named in the message, or fewer.
func atMost(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) <= len(names):
			return nil
		case len(names) == 0:
			return usagef("%s takes no arguments; got %s", cmd.CommandPath(), plural(len(args), "argument"))
		}
		return usagef("%s takes at most %s; got %s", cmd.CommandPath(), strings.Join(names, " and "), plural(len(args), "argument"))
	}
}

// group makes a command of its subcommands, of which one must be named.
func group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	names := make([]string, len(subs))
	for i, sub := range subs {
		names[i] = sub.Name()
	}
	cmd.AddCommand(subs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what := "needs a command"
		if len(args) > 0 {
			what = fmt.Sprintf("has no command %q", args[0])
		}
		return usagef("%s %s; it is one of %s", cmd.CommandPath(), what, strings.Join(names, ", "))
	}
	return cmd
}

// plural counts things: "1 task", "2 tasks".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
