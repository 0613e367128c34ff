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
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

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
	exitBug         = 70
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		// A second Ctrl-C ends the program at once.
		stop()
	}()
	args := os.Args[1:]
	if name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"); name == "mf-task" {
		// Command steps find mf under this name in their PATH.
		args = append([]string{"__task"}, args...)
	}
	os.Exit(run(ctx, args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// app is what the verbs share: the program's surroundings, which nothing below cmd reads by itself.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	now            func() time.Time
	flags          globalFlags
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
	err := root.ExecuteContext(ctx)
	return a.report(err)
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
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v; see mf %s --help", err, cmd.Name())
	})
	root.PersistentFlags().BoolVar(&a.flags.quiet, "quiet", false, "print results and errors only")
	root.PersistentFlags().StringVar(&a.flags.color, "color", "auto", "colour: auto, always or never")
	root.AddCommand(
		a.initCommand(), a.checkCommand(), a.graphCommand(), a.runCommand(), a.resumeCommand(), a.compileCommand(),
		a.runsCommand(), a.showCommand(), a.logsCommand(), a.dumpCommand(), a.tagCommand(), a.packageCommand(),
		a.configCommand(), a.schemaCommand(), a.versionCommand(), a.pythonCommand(), a.taskCommand(),
	)
	return root
}

// exactly wants n arguments, named in the message.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return usagef("mf %s takes %s; got %d arguments", cmd.Name(), strings.Join(names, " and "), len(args))
	}
}
