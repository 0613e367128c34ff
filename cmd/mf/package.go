package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/codepackage"
	"github.com/mf-run/mf/sdk"
)

func (a *app) packageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "package", Short: "List or save the code that travels with a flow"}
	var asJSON bool
	list := &cobra.Command{
		Use: "list FLOW", Short: "List what a code package would hold, largest files first", Args: exactly("FLOW"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.packageList(cmd.Context(), args[0], asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	var out string
	var with flowFlags
	save := &cobra.Command{
		Use: "save FLOW", Short: "Write the code package to a file", Args: exactly("FLOW"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.packageSave(cmd.Context(), args[0], out) },
	}
	save.Flags().StringVarP(&out, "output", "o", "", "file to write to (default: FLOW.tgz)")
	push := &cobra.Command{
		Use: "push FLOW", Short: "Upload the code package to the shared datastore", Args: exactly("FLOW"),
		Long: "Upload the code package to the datastore of deployed flows, and print its digest, which is the one that mf compile\n" +
			"writes into what it compiles from the same code. mf deploy does this by itself.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.packagePush(cmd.Context(), args[0], with) },
	}
	with.register(push.Flags())
	return group(cmd, list, save, push)
}

func (a *app) packagePush(ctx context.Context, flowPath string, with flowFlags) error {
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	c, err := a.loadConfig(arg.dir())
	if err != nil {
		return err
	}
	k := &compiling{app: a, arg: arg, config: c}
	if k.flow, err = a.mustLoad(ctx, c, arg, with, nil, true); err != nil {
		return err
	}
	code, err := k.pack(ctx)
	if err != nil {
		return err
	}
	defer code.Close()
	store, err := a.openDeployStore(ctx, c)
	if err != nil {
		return err
	}
	if _, err := codepackage.Save(ctx, store, k.flow.Name, code); err != nil {
		return fmt.Errorf("uploading the code: %w", err)
	}
	fmt.Fprintln(a.stdout, code.Digest)
	return nil
}

func (a *app) packageList(ctx context.Context, flowPath string, asJSON bool) error {
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	folder, err := codepackage.Open(arg.dir())
	if err != nil {
		return err
	}
	defer folder.Close()
	list, err := folder.Collect(ctx)
	if list == nil {
		return err
	}
	list.Files = codepackage.Largest(list.Files, len(list.Files))
	if asJSON {
		list.Files = append([]codepackage.File{}, list.Files...)
		list.LeftOut = append([]codepackage.LeftOut{}, list.LeftOut...)
		if writeErr := a.writeJSON(list); writeErr != nil {
			return writeErr
		}
		return err
	}
	for _, f := range list.Files {
		fmt.Fprintf(a.stdout, "%10d  %s\n", f.Size, printable(f.Path))
	}
	if !a.flags.quiet {
		fmt.Fprintln(a.stderr, packageSummary(list))
	}
	return err
}

// shownLeftOut is how many names the summary gives for each rule.
const shownLeftOut = 4

// packageSummary says how much travels, and what stays behind by which rule.
func packageSummary(list *codepackage.Listing) string {
	text := plural(len(list.Files), "file") + ", " + plural(int(list.Size), "byte")
	names := map[string][]string{}
	for _, out := range list.LeftOut {
		names[out.By] = append(names[out.By], printable(out.Path))
	}
	// Ignore files by path, then mf's own reasons.
	own := []string{codepackage.ByName, codepackage.ByLink, codepackage.ByKind}
	files := slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(by string) bool { return slices.Contains(own, by) })
	separator := "\nleft out: "
	for _, by := range append(files, own...) {
		out := names[by]
		if len(out) == 0 {
			continue
		}
		shown := strings.Join(out[:min(len(out), shownLeftOut)], ", ")
		if len(out) > shownLeftOut {
			shown += ", …"
		}
		text += fmt.Sprintf("%s%s (%s)", separator, leftOutBy(len(out), by), shown)
		separator = "; "
	}
	return text
}

func leftOutBy(n int, by string) string {
	switch by {
	case codepackage.ByName:
		return fmt.Sprintf("%d always", n)
	case codepackage.ByLink:
		return plural(n, "link") + " to what does not travel"
	case codepackage.ByKind:
		return fmt.Sprintf("%d neither file nor folder", n)
	}
	return fmt.Sprintf("%d by %s", n, printable(by))
}

// printable quotes a file's name where it could do harm to a terminal.
func printable(name string) string {
	if utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return name
	}
	return strconv.Quote(name)
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
	opt, err := packageOptions(arg, flow)
	if err != nil {
		return err
	}
	if out == "" {
		base := filepath.Base(arg.path)
		out = strings.TrimSuffix(base, filepath.Ext(base)) + ".tgz"
	}
	if opt.LeaveOut, err = within(arg.dir(), out); err != nil {
		return fmt.Errorf("writing %s: %w", out, err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("making the output folder: %w", err)
	}
	folder, err := codepackage.Open(arg.dir())
	if err != nil {
		return err
	}
	defer folder.Close()
	opt.TempDir = filepath.Dir(out) // so that it can be renamed
	p, err := codepackage.Build(ctx, folder, opt)
	if err != nil {
		return err
	}
	defer p.Close()
	err = os.Chmod(p.Path(), 0o644)
	if err == nil {
		err = os.Rename(p.Path(), out)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", out, err)
	}
	fmt.Fprintln(a.stdout, out)
	return nil
}

// packageOptions is what a flow's package holds beside its folder.
func packageOptions(arg flowArg, flow *ir.Flow) (codepackage.Options, error) {
	irJSON, err := ir.Marshal(flow)
	if err != nil {
		return codepackage.Options{}, fmt.Errorf("packaging the flow: %w", err)
	}
	return codepackage.Options{
		Entry: filepath.Base(arg.path), IR: irJSON, MFVersion: version, SDKDigest: sdk.Digest(),
		Info: codepackage.Info{EnvironmentType: "local", MetaflowVersion: runtime.MetaflowVersion},
	}, nil
}

// within returns a file's path from a folder, if it lies in it: what is written there is no part of the package.
func within(dir, file string) ([]string, error) {
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	absFile, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(absDir, absFile); err == nil && filepath.IsLocal(rel) {
		return []string{filepath.ToSlash(rel)}, nil
	}
	return nil, nil // elsewhere
}
