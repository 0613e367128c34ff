package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/registry"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
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
}

func (f *compileFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.target, "target", "", "what to compile for: "+strings.Join(registry.Targets(), ", "))
	fs.StringVarP(&f.out, "output", "o", "", "folder to write to, or - for standard output (default: FLOW-TARGET)")
	fs.StringVar(&f.name, "name", "", "name of the deployment (default: from the flow's)")
	fs.StringVar(&f.image, "image", "", "container image of steps that name none")
	fs.IntVar(&f.maxWorkers, "max-workers", 0, "tasks that run at a time (default 100)")
	fs.StringVar(&f.branch, "branch", "", "branch of the project")
	fs.BoolVar(&f.production, "production", false, "compile for the project's production branch")
	fs.StringArrayVar(&f.set, "set", nil, "setting of the target: KEY=VALUE")
	f.flow.register(fs)
}

func (a *app) compileCommand() *cobra.Command {
	var flags compileFlags
	cmd := &cobra.Command{
		Use: "compile FLOW --target TARGET", Short: "Write the files that an orchestrator needs",
		Long: "Compile a flow to the files that an orchestrator needs. Works offline; the same flow gives the same bytes.",
		Args: exactly("FLOW"),
	}
	flags.register(cmd.Flags())
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

func (a *app) compile(ctx context.Context, flowPath string, flags compileFlags) error {
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	backend, err := backendFor(flags.target)
	if err != nil {
		return err
	}
	c, err := a.loadConfig(arg.dir())
	if err != nil {
		return err
	}
	features := backend.Features()
	flow, list, err := a.loadFlow(ctx, c, arg, flags.flow, &features, true)
	if err != nil {
		return err
	}
	var files []backends.File
	if flow != nil && !list.HasErrors() {
		opt, err := a.backendOptions(c, flow, flags)
		if err != nil {
			return err
		}
		var found diag.List
		files, found = backend.Emit(flow, opt)
		list = append(append(list, found...), carriedNotes(flow, false)...)
		list.Sort()
	}
	a.printDiagnostics(arg, list)
	if flow == nil || list.HasErrors() {
		return failed
	}
	return a.writeFiles(arg, flags, files)
}

func (a *app) backendOptions(c *config, flow *ir.Flow, flags compileFlags) (backends.Options, error) {
	settings, err := pairs("set", flags.set)
	if err != nil {
		return backends.Options{}, err
	}
	if unknown := registry.CheckSettings(settings); len(unknown) > 0 {
		return backends.Options{}, usagef("%s; %s", unknown[0].Summary, unknown[0].Detail)
	}
	image := flags.image
	if image == "" {
		image = c.get("image")
	}
	return backends.Options{
		Name: flags.name, Image: image, TaskImage: c.get("task-image"), MaxWorkers: flags.maxWorkers,
		Branch: flags.branch, Production: flags.production, User: a.userName(c),
		Datastore: c.get("datastore"), ServiceURL: c.get("service-url"), Version: version, Settings: settings,
	}, nil
}

// writeFiles writes the files to the folder, or one after the other to standard output.
func (a *app) writeFiles(arg flowArg, flags compileFlags, files []backends.File) error {
	if flags.out == "-" {
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
	dir := flags.out
	if dir == "" {
		base := filepath.Base(arg.path)
		dir = strings.TrimSuffix(base, filepath.Ext(base)) + "-" + flags.target
	}
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
		opt, err := a.backendOptions(c, flow, compileFlags{})
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
