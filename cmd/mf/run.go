package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// runFlags are the flags of run and resume.
type runFlags struct {
	flow       flowFlags
	maxWorkers count
	maxSplits  count
	tags       []string
	isolate    bool
	runIDFile  string
	json       bool
	namespace  string
	origin     string
	branch     string
	production bool
	on         onFlags  // of resume alone
	set        []string // of run alone; resume has those of on
}

func (f *runFlags) register(fs *pflag.FlagSet) {
	f.flow.register(fs)
	fs.Var(&f.maxWorkers, "max-workers", "tasks that run at a time (default 16)")
	fs.Var(&f.maxSplits, "max-splits", "widest foreach that is allowed (default 100)")
	fs.Var(&f.maxSplits, "max-num-splits", "the same, by Metaflow's name")
	fs.StringArrayVar(&f.tags, "tag", nil, "tag of the run; may be repeated")
	fs.BoolVar(&f.isolate, "isolate", false, "start a fresh Python process for every task")
	fs.StringVar(&f.runIDFile, "run-id-file", "", "file to write the run's id to, before the first task")
	fs.BoolVar(&f.json, "json", false, "events as JSON lines on standard output")
	fs.StringVar(&f.namespace, "namespace", "", "namespace that the flow's own client calls see")
	fs.StringVar(&f.branch, "branch", "", "branch of the project, for flows with @project")
	fs.BoolVar(&f.production, "production", false, "run in the project's production branch")
	_ = fs.MarkHidden("max-num-splits")
}

// registerRun adds the flags that resume does not have, or has for something else as well.
func (f *runFlags) registerRun(fs *pflag.FlagSet) {
	f.register(fs)
	fs.StringArrayVar(&f.set, "set", nil, "setting of the steps that run on Kubernetes: KEY=VALUE")
}

// count is a flag that takes a positive whole number; 0 while it is not given.
type count int

func (c *count) String() string {
	if *c == 0 {
		return ""
	}
	return strconv.Itoa(int(*c))
}

// Type implements pflag.Value.
func (c *count) Type() string { return "int" }

// Set implements pflag.Value.
func (c *count) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	if n < 1 {
		return errors.New("it must be at least 1")
	}
	*c = count(n)
	return nil
}

const runHelp = `Run a flow on this machine.

Parameters of the flow are given as --NAME VALUE after the flow; mf run FLOW --help lists them. After --, every flag is a
parameter: so those are given that are called like a flag of mf's.
A failed run is taken up again by mf resume FLOW.`

func (a *app) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run FLOW [--PARAMETER VALUE]…", Short: "Run a flow here", Long: runHelp,
		// The flow's own parameters are flags too, and known only once it has been read.
		DisableFlagParsing: true,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.runFlow(cmd.Context(), cmd, args) }
	return cmd
}

func (a *app) runFlow(ctx context.Context, cmd *cobra.Command, args []string) error {
	var flags runFlags
	fs := a.flowFlagSet("run")
	flags.registerRun(fs)
	args, after := afterDashes(args)
	arg, help, err := firstPass(fs, args)
	if err != nil {
		return err
	}
	if err := a.checkColor(); err != nil {
		return err
	}
	if arg == "" {
		if help {
			cmd.DisableFlagParsing = false
			cmd.Flags().AddFlagSet(fs)
			return cmd.Help()
		}
		return usagef("mf run takes a flow: mf run FLOW [--PARAMETER VALUE]…")
	}
	s, err := a.openFlow(ctx, arg, flags)
	if err != nil {
		return err
	}
	defer s.close()
	given, err := s.parseParameters("run", args, after, help)
	if err != nil || help {
		return err
	}
	if err := s.checkParameters(given); err != nil {
		return err
	}
	if err := s.checkRunIDFile(); err != nil {
		return err
	}
	if err := s.openStores(ctx); err != nil {
		return err
	}
	return s.execute(ctx, given, local.Options{})
}

// checkRunIDFile finds out before the run starts that its id has nowhere to go.
func (s *session) checkRunIDFile() error {
	file := s.flags.runIDFile
	if file == "" {
		return nil
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return usagef("--run-id-file %s: it is a folder", file)
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return usagef("--run-id-file %s: there is no folder %s", file, filepath.Dir(file))
	}
	return nil
}

// checkParameters refuses wrong values before anything is made: a folder, a run.
func (s *session) checkParameters(given map[string]string) error {
	if err := runtime.CheckParameters(s.flow, given); err != nil {
		return s.parameterError(err)
	}
	for i := range s.flow.Parameters {
		p := &s.flow.Parameters[i]
		path, ok := given[p.Name]
		if !ok || p.Type != ir.FileType || strings.ContainsAny(path, "{:") {
			continue // a file that was stored before, or one that is elsewhere
		}
		if err := readable(path); err != nil {
			return s.parameterError(&runtime.ParameterError{Parameter: p, Message: "the file cannot be read: " + err.Error()})
		}
	}
	return nil
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return cmp.Or(err, fmt.Errorf("%s is a folder", path))
	}
	return nil
}

// parameterError says where the parameter is defined.
func (s *session) parameterError(err error) error {
	var bad *runtime.ParameterError
	if errors.As(err, &bad) && bad.Parameter != nil && !bad.Parameter.Span.IsZero() {
		return usagef("%w (defined at %s)", err, filepath.Join(s.arg.dir(), bad.Parameter.Span.String()))
	}
	return &exitError{exitUsage, err}
}

// flowFlagSet is a flag set that holds the global flags.
func (a *app) flowFlagSet(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.BoolVar(&a.flags.quiet, "quiet", false, "print results and errors only")
	fs.StringVar(&a.flags.color, "color", "auto", "colour: auto, always or never")
	return fs
}

// afterDashes splits off what comes after "--", where every flag is one of the flow's parameters, whatever mf's own are called.
// A "--" before the flow itself says nothing of parameters.
func afterDashes(args []string) (before, after []string) {
	for i, arg := range args {
		if arg == "--" && (i+1 == len(args) || strings.HasPrefix(args[i+1], "-")) {
			return args[:i], args[i+1:]
		}
	}
	return args, nil
}

// firstPass finds the flow among the arguments, and the flags that are needed to read it.
func firstPass(fs *pflag.FlagSet, args []string) (flow string, help bool, err error) {
	help = false
	fs.ParseErrorsAllowlist.UnknownFlags = true
	switch err = fs.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		help = true
		for _, arg := range args {
			if !strings.HasPrefix(arg, "-") {
				return arg, help, nil
			}
		}
		return "", help, nil
	case err != nil:
		return "", false, usagef("%s; see mf run --help", flagMessage(err))
	case fs.NArg() == 0:
		return "", false, nil
	}
	return fs.Arg(0), help, nil
}

// parameterFlag keeps the text given for a parameter.
type parameterFlag struct {
	param *ir.Parameter
	given map[string]string
}

func (f parameterFlag) String() string { return "" }
func (f parameterFlag) Type() string {
	if f.param.Type == ir.BoolType {
		return "true|false" // "bool" would be shown as a flag without a value
	}
	return string(f.param.Type)
}
func (f parameterFlag) Set(text string) error {
	f.given[f.param.Name] = text
	return nil
}

// parseParameters reads all flags again, the flow's parameters among them. Those after "--" are parameters only.
func (s *session) parseParameters(verb string, args, after []string, help bool) (map[string]string, error) {
	given, err := s.environmentParameters()
	if err != nil {
		return nil, err
	}
	fs, params := s.app.flowFlagSet(verb), pflag.NewFlagSet(verb, pflag.ContinueOnError)
	params.SortFlags = false
	var again runFlags
	again.registerRun(fs)
	for i := range s.flow.Parameters {
		p := &s.flow.Parameters[i]
		text := parameterHelp(p)
		if fs.Lookup(p.Option) != nil {
			text = strings.TrimSpace(text + " (given after --, for mf has a flag of that name)")
		}
		params.Var(parameterFlag{p, given}, p.Option, text)
	}
	if help {
		s.printHelp(verb, params, fs)
		return nil, nil
	}
	both := pflag.NewFlagSet(verb, pflag.ContinueOnError)
	both.AddFlagSet(fs)
	both.AddFlagSet(params) // which leaves those out that mf has, too
	err = both.Parse(args)
	for _, p := range s.flow.Parameters {
		if flag := fs.Lookup(p.Option); flag != nil && flag.Changed {
			fmt.Fprintf(s.app.stderr, "%s: --%[2]s is mf's own flag here; the flow's parameter is given after --: mf %[3]s %[4]s -- --%[2]s VALUE\n",
				paint(s.app.colored(s.app.stderr), yellow, "note"), p.Option, verb, s.arg)
		}
	}
	if err == nil {
		err = params.Parse(after)
	}
	if err != nil {
		return nil, usagef("%s; mf %s %s --help lists the flow's parameters", flagMessage(err), verb, s.arg)
	}
	if rest := append(both.Args(), params.Args()...); len(rest) > 1 {
		return nil, usagef("unexpected argument %q; parameters are given as --NAME VALUE", rest[1])
	}
	return given, nil
}

// printHelp says how the flow is run, its own parameters first.
func (s *session) printHelp(verb string, params, flags *pflag.FlagSet) {
	doc, _, _ := strings.Cut(strings.TrimSpace(s.flow.Doc), "\n")
	if doc != "" {
		doc = ": " + doc
	}
	usage := "[flags]"
	if params.HasFlags() {
		usage = "[--PARAMETER VALUE]… [flags]"
	}
	fmt.Fprintf(s.app.stdout, "Run %s here%s\n\nUsage:\n  mf %s %s %s\n", s.flow.Name, doc, verb, s.arg, usage)
	if params.HasFlags() {
		fmt.Fprintf(s.app.stdout, "\nParameters:\n%s", params.FlagUsages())
	}
	fmt.Fprintf(s.app.stdout, "\nFlags:\n%s", flags.FlagUsages())
}

func parameterHelp(p *ir.Parameter) string {
	help := p.Help
	switch {
	case p.Required && p.Default == nil && p.DefaultFunc == "":
		help += " (required)"
	case p.DefaultFunc != "":
		help += " (default: computed by " + p.DefaultFunc + ")"
	case p.Default != nil && !p.HideDefault:
		help += " (default: " + string(p.Default) + ")"
	}
	return strings.TrimSpace(help)
}

// environmentParameters reads MF_PARAM_NAME, and Metaflow's METAFLOW_RUN_NAME.
func (s *session) environmentParameters() (map[string]string, error) {
	given, err := runtime.GivenFromEnv(s.flow, s.app.environ, nil)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	for _, p := range s.flow.Parameters {
		name := "METAFLOW_RUN_" + strings.ToUpper(strings.ReplaceAll(p.Option, "-", "_"))
		if text, ok := s.app.lookupEnv(name); ok {
			if _, have := given[p.Name]; !have {
				given[p.Name] = text
			}
		}
	}
	return given, nil
}

// execute runs the flow and says how it went.
func (s *session) execute(ctx context.Context, given map[string]string, opt local.Options) error {
	if err := s.limits(&opt); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mf-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	r, err := s.newRun(tmp, opt)
	if err != nil {
		return err
	}
	if s.ship != nil {
		if err := s.prepareShipping(ctx, r, &opt); err != nil {
			return err
		}
	}
	if err := s.publish(ctx, r); err != nil {
		return err
	}
	ui := s.newUI(r)
	defer ui.close()
	defer context.AfterFunc(ctx, ui.stopping)()
	r.Output, r.Abort = ui.output, abortOf(ctx)
	if s.ship != nil {
		s.ship.ui, ui.shipped = ui, kubernetes.TerminationGrace
	}
	opt.Observer = ui
	opt.NamedTasks = s.service != ""
	started := s.app.now()
	sess := &local.Session{Run: r, Recorder: s.recorder, Heart: s.heart, Options: opt, Given: given,
		Started: func(id string) error {
			if err := ui.begin(id); err != nil {
				return err
			}
			return s.writeRunID(id)
		}}
	report, err := sess.Execute(ctx)
	return s.conclude(ui, r, report, err, s.app.now().Sub(started))
}

func (s *session) writeRunID(id string) error {
	if s.flags.runIDFile == "" {
		return nil
	}
	tmp := s.flags.runIDFile + ".tmp"
	if err := os.WriteFile(tmp, []byte(id), 0o644); err != nil {
		return fmt.Errorf("writing --run-id-file: %w", err)
	}
	if err := os.Rename(tmp, s.flags.runIDFile); err != nil {
		// A named pipe or a device cannot be replaced; write into it.
		os.Remove(tmp)
		return os.WriteFile(s.flags.runIDFile, []byte(id), 0o644)
	}
	return nil
}

// limits fills in what flags and settings say.
func (s *session) limits(opt *local.Options) error {
	number := func(flag count, key string) (int, error) {
		if flag > 0 {
			return int(flag), nil
		}
		n, err := strconv.Atoi(s.config.get(key))
		if err != nil || n < 1 {
			return 0, s.config.wrong(key, "a positive whole number")
		}
		return n, nil
	}
	var err error
	if opt.MaxWorkers, err = number(s.flags.maxWorkers, "max-workers"); err != nil {
		return err
	}
	opt.MaxSplits, err = number(s.flags.maxSplits, "max-splits")
	return err
}

// conclude reports the end of a run.
func (s *session) conclude(ui *runUI, r *runtime.Run, report local.Report, err error, took time.Duration) error {
	var bad *runtime.ParameterError
	if errors.As(err, &bad) {
		return s.parameterError(err)
	}
	if r.ID == "" {
		return err
	}
	ui.end(report, err, took, "mf resume "+s.arg.String())
	if report.Unrecorded != nil {
		fmt.Fprintf(s.app.stderr, "mf: some of the run's metadata did not reach the service (%v); when it is back: mf repair %s/%s\n",
			report.Unrecorded, s.flow.Name, r.ID)
	}
	switch {
	case report.Stopped:
		return &exitError{code: exitInterrupted}
	case err != nil, len(report.Failed) > 0:
		return failed
	}
	return nil
}
