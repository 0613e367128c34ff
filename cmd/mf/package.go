package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/codepackage"
)

func (a *app) packageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "package", Short: "List or save the code that travels with a flow"}
	var asJSON bool
	list := &cobra.Command{
		Use: "list FLOW", Short: "List what a code package would hold, largest files first", Args: exactly("FLOW"),
		RunE: func(_ *cobra.Command, args []string) error { return a.packageList(args[0], asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	var out string
	save := &cobra.Command{
		Use: "save FLOW", Short: "Write the code package to a file", Args: exactly("FLOW"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.packageSave(cmd.Context(), args[0], out) },
	}
	save.Flags().StringVarP(&out, "output", "o", "", "file to write to (default: FLOW.tgz)")
	return group(cmd, list, save)
}

func (a *app) packageList(flowPath string, asJSON bool) error {
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	folder, closer, err := codepackage.Open(arg.dir())
	if err != nil {
		return err
	}
	defer closer.Close()
	files, err := codepackage.Collect(folder)
	sorted := codepackage.Largest(files, len(files))
	if asJSON {
		if writeErr := a.writeJSON(append([]codepackage.File{}, sorted...)); writeErr != nil {
			return writeErr
		}
		return err
	}
	var total int64
	for _, f := range sorted {
		total += f.Size
		fmt.Fprintf(a.stdout, "%10d  %s\n", f.Size, f.Path)
	}
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "%s, %s\n", plural(len(sorted), "file"), plural(int(total), "byte"))
	}
	return err
}

func (a *app) packageSave(ctx context.Context, flowPath, out string) error {
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	c, err := a.loadConfig(arg.dir())
	if err != nil {
		return err
	}
	flow, err := a.mustLoad(ctx, c, arg, flowFlags{}, nil, false)
	if err != nil {
		return err
	}
	irJSON, err := ir.Marshal(flow)
	if err != nil {
		return err
	}
	folder, closer, err := codepackage.Open(arg.dir())
	if err != nil {
		return err
	}
	defer closer.Close()
	files, err := codepackage.Collect(folder)
	if err != nil {
		return err
	}
	if out == "" {
		base := filepath.Base(arg.path)
		out = strings.TrimSuffix(base, filepath.Ext(base)) + ".tgz"
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("making the output folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".mf-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", out, err)
	}
	defer os.Remove(f.Name())
	err = codepackage.Write(f, folder, files, codepackage.Extra{Path: ".mf_meta/ir.json", Data: irJSON})
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), out)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", out, err)
	}
	fmt.Fprintln(a.stdout, out)
	return nil
}
