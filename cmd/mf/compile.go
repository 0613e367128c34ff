package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/registry"
	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/codepackage"
)

// compileFlags are the flags of compile.
type compileFlags struct {
	flow       flowFlags
	target     string
	out        string
	name       string
	image      string
	maxWorkers int
	branch     string
	production bool
	set        []string
	pack       []string
	tags       []string
	env        []string
	noPackage  bool
	// deploys is set where the target must be an engine that mf deploys to.
	deploys bool
}

func (f *compileFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.target, "target", "", "what to compile for: "+strings.Join(registry.Targets(), ", "))
	fs.StringVar(&f.name, "name", "", "name of the deployment (default: from the flow's)")
	fs.StringVar(&f.image, "image", "", "container image of steps that name none")
	fs.IntVar(&f.maxWorkers, "max-workers", 0, "tasks that run at a time (default 100)")
	fs.StringVar(&f.branch, "branch", "", "branch of the project")
	fs.BoolVar(&f.production, "production", false, "compile for the project's production branch")
	fs.StringArrayVar(&f.set, "set", nil, "setting of the target: KEY=VALUE")
	fs.StringArrayVar(&f.pack, "pack", nil, "splits of a foreach that one container runs: N, or STEP=N for one foreach (its first step) or loop")
	fs.StringArrayVar(&f.tags, "tag", nil, "tag of every run; may be repeated")
	fs.StringArrayVar(&f.env, "env", nil, "environment variable of every task: NAME=VALUE")
	fs.BoolVar(&f.noPackage, "no-package", false, "do not name a code package: the images hold the code")
	f.flow.register(fs)
}

func (a *app) compileCommand() *cobra.Command {
	var flags compileFlags
	cmd := &cobra.Command{
		Use: "compile FLOW --target TARGET", Short: "Write the files that an orchestrator needs",
		Long: "Compile a flow to the files that an orchestrator needs. Works offline; the same flow, settings and flags give the\n" +
			"same bytes.",
		Args: exactly("FLOW"),
	}
	flags.register(cmd.Flags())
	cmd.Flags().StringVarP(&flags.out, "output", "o", "", "folder to write to, or - for standard output (default: FLOW-TARGET)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.compile(cmd.Context(), args[0], flags)
	}
	return cmd
}

func backendFor(name string) (backends.Backend, error) {
	if name == "" {
		return nil, usagef("--target is missing; it is one of %s", strings.Join(registry.Targets(), ", "))
	}
	b, ok := registry.Get(name)
	if !ok {
		return nil, usagef("unknown target %q; it is one of %s", name, strings.Join(registry.Targets(), ", "))
	}
	return b, nil
}

// compiling is a flow loaded for a target.
type compiling struct {
	app     *app
	arg     flowArg
	config  *config
	backend backends.Backend
	flow    *ir.Flow
	opt     backends.Options
	list    diag.List
	// told is set once the findings have been printed.
	told bool
}

// loadCompiling reads a flow for a target. The flow is nil, or the list has errors, where nothing can be emitted.
func (a *app) loadCompiling(ctx context.Context, flowPath string, flags compileFlags) (*compiling, error) {
	k := &compiling{app: a}
	var err error
	if k.arg, err = parseFlowArg(flowPath); err != nil {
		return nil, err
	}
	if k.config, err = a.loadConfig(k.arg.dir()); err != nil {
		return nil, err
	}
	if flags.target == "" {
		flags.target = k.config.get("target")
	}
	if flags.deploys {
		err = checkEngine(flags.target)
	}
	if err != nil {
		return nil, err
	}
	if k.backend, err = backendFor(flags.target); err != nil {
		return nil, err
	}
	features := k.backend.Features()
	if k.flow, k.list, err = a.loadFlow(ctx, k.config, k.arg, flags.flow, &features, true); err != nil {
		return nil, err
	}
	if k.flow == nil {
		return k, nil
	}
	k.list = append(k.list, carriedNotes(k.flow, false)...)
	k.opt, err = a.backendOptions(k.config, flags)
	return k, err
}

// emit prints all findings and returns the target's files.
func (k *compiling) emit() ([]backends.File, error) {
	list, files := k.list, []backends.File(nil)
	if k.flow != nil && !list.HasErrors() {
		var found diag.List
		files, found = k.backend.Emit(k.flow, k.opt)
		list = append(append(diag.List{}, list...), found...)
	}
	list.Sort()
	if !k.told {
		k.app.printDiagnostics(k.arg, list)
		k.told = true
	}
	if k.flow == nil || list.HasErrors() {
		return nil, failed
	}
	return files, nil
}

// travels reports whether the target's tasks fetch the flow's code.
func (k *compiling) travels() bool {
	target := k.backend.Features().Target
	return target != "ir"
}

// pack builds the code package, whose digest the files name. Nothing is uploaded.
func (k *compiling) pack(ctx context.Context) (*codepackage.Package, error) {
	opt, err := packageOptions(k.arg, k.flow)
	if err != nil {
		return nil, err
	}
	folder, err := codepackage.Open(k.arg.dir())
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	code, err := codepackage.Build(ctx, folder, opt)
	if err != nil {
		return nil, fmt.Errorf("packaging the code (mf package list %s shows what is in it; --no-package is for images that hold it): %w", k.arg, err)
	}
	k.opt.Package = code.Digest
	return code, nil
}

// keepOut sees that what is compiled does not travel with the code from which it is compiled: each compile would change
// the code of the next.
func (k *compiling) keepOut(out string) error {
	dir := outputFolder(k.arg, k.backend.Features().Target, out)
	if dir == "-" || !k.travels() {
		return nil
	}
	inside, err := within(k.arg.dir(), dir)
	if err != nil || len(inside) == 0 {
		return err
	}
	if inside[0] == "." {
		return usagef("-o %s is the flow's own folder, whose files travel with its code; name another, such as %s",
			out, filepath.Join(dir, "manifests"))
	}
	return writeAtomic(filepath.Join(dir, codepackage.IgnoreFile), []byte("# Made by mf compile: what it makes is no part of the code.\n*\n"))
}

// outputFolder is where the files go.
func outputFolder(arg flowArg, target, out string) string {
	if out != "" {
		return out
	}
	base := filepath.Base(arg.path)
	return strings.TrimSuffix(base, filepath.Ext(base)) + "-" + target
}

func (a *app) compile(ctx context.Context, flowPath string, flags compileFlags) error {
	k, err := a.loadCompiling(ctx, flowPath, flags)
	if err != nil {
		return err
	}
	if k.flow != nil && !k.list.HasErrors() && k.travels() && !flags.noPackage {
		code, err := k.pack(ctx)
		if err != nil {
			return err
		}
		code.Close()
	}
	files, err := k.emit()
	if err != nil {
		return err
	}
	if err := k.keepOut(flags.out); err != nil {
		return err
	}
	return a.writeFiles(k.arg, k.backend.Features().Target, flags.out, files)
}

func (a *app) backendOptions(c *config, flags compileFlags) (backends.Options, error) {
	settings, err := c.targetSettings(flags.set)
	if err != nil {
		return backends.Options{}, err
	}
	opt := backends.Options{
		Name: flags.name, Image: cmp.Or(flags.image, c.get("image")), TaskImage: c.get("task-image"), MaxWorkers: flags.maxWorkers,
		Branch: flags.branch, Production: flags.production, User: a.userName(c), Tags: flags.tags,
		Datastore: c.get("datastore"), ServiceURL: cmp.Or(c.get("service-internal-url"), c.get("service-url")),
		Version: version, Settings: settings, Env: c.taskStorage(),
	}
	own, err := pairs("env", flags.env)
	if err != nil {
		return opt, err
	}
	maps.Copy(opt.Env, own)
	opt.Pack, opt.PackSteps, err = packs(flags.pack)
	return opt, err
}

// taskStorage is what tasks have to be told to reach the datastore, beside its root: nothing that is secret.
func (c *config) taskStorage() map[string]string {
	env := map[string]string{}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION",
		stores.EnvS3Endpoint, stores.EnvGSEndpoint, stores.EnvAzureEndpoint, stores.EnvAzureAccount} {
		if text := c.env(name); text != "" {
			env[name] = text
		}
	}
	return env
}

// packs reads --pack: N for all foreaches, STEP=N for one.
func packs(given []string) (all int, steps map[string]int, err error) {
	for _, text := range given {
		step, number, named := strings.Cut(text, "=")
		if !named {
			number = text
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > ir.MaxPack {
			return 0, nil, usagef("--pack takes N or STEP=N, N being 1 to %d, not %q", ir.MaxPack, text)
		}
		if !named {
			all = n
			continue
		}
		if steps == nil {
			steps = map[string]int{}
		}
		steps[step] = n
	}
	return all, steps, nil
}

// writeFiles writes the files to the folder, or one after the other to standard output.
func (a *app) writeFiles(arg flowArg, target, out string, files []backends.File) error {
	if out == "-" {
		for i, f := range files {
			if len(files) > 1 {
				fmt.Fprintf(a.stdout, "%s# file: %s\n", map[bool]string{true: "", false: "\n"}[i == 0], f.Path)
			}
			if _, err := a.stdout.Write(f.Data); err != nil {
				return err
			}
		}
		return nil
	}
	dir := outputFolder(arg, target, out)
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := writeAtomic(path, f.Data); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, path)
	}
	return nil
}

// writeAtomic replaces a file whole.
func writeAtomic(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the output folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".mf-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func (a *app) checkCommand() *cobra.Command {
	var flags flowFlags
	var target, format string
	cmd := &cobra.Command{
		Use: "check FLOW", Short: "Say what is wrong with a flow",
		Long: "Check a flow and print every finding; with --target also what that target cannot do.",
		Args: exactly("FLOW"),
	}
	cmd.Flags().StringVar(&target, "target", "", "also check for a target: "+strings.Join(registry.Targets(), ", "))
	cmd.Flags().StringVar(&format, "format", "text", "text, json or github")
	flags.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.check(cmd.Context(), args[0], target, format, flags)
	}
	return cmd
}

func (a *app) check(ctx context.Context, flowPath, target, format string, flags flowFlags) error {
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer, diag.List, diag.Printer) error{
		"text": diag.WriteText, "json": diag.WriteJSON, "github": diag.WriteGitHub,
	}[format]
	if write == nil {
		return usagef("unknown format %q; it is one of text, json, github", format)
	}
	c, err := a.loadConfig(arg.dir())
	if err != nil {
		return err
	}
	var features *ir.Features
	var backend backends.Backend
	if target != "" {
		if backend, err = backendFor(target); err != nil {
			return err
		}
		f := backend.Features()
		features = &f
	}
	flow, list, err := a.loadFlow(ctx, c, arg, flags, features, false)
	if err != nil {
		return err
	}
	if flow != nil && backend != nil && !list.HasErrors() {
		opt, err := a.backendOptions(c, compileFlags{})
		if err != nil {
			return err
		}
		_, found := backend.Emit(flow, opt)
		list = append(list, found...)
		list.Sort()
	}
	if len(list) > 0 || format == "json" {
		if err := write(a.stdout, list, a.printer(arg, a.stdout)); err != nil {
			return err
		}
	} else if !a.flags.quiet && format == "text" {
		fmt.Fprintf(a.stderr, "%s: flow %s is fine: %s\n", arg, flow.Name, plural(len(flow.Steps), "step"))
	}
	if list.HasErrors() || flow == nil {
		return failed
	}
	return nil
}
