package main

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/compiler/yaml"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/sdk"
)

//go:embed templates
var templates embed.FS

func (a *app) initCommand() *cobra.Command {
	var python, yamlFlow bool
	cmd := &cobra.Command{
		Use: "init [DIR]", Short: "Write a small flow to start from",
		Long: "Write a small flow to start from: flow.py, or flow.yaml with --yaml. An existing file is never replaced.",
		Args: atMost("DIR"),
	}
	cmd.Flags().BoolVar(&python, "python", false, "a Python flow (the default)")
	cmd.Flags().BoolVar(&yamlFlow, "yaml", false, "a YAML flow, whose steps are any command")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if python && yamlFlow {
			return usagef("mf init takes one of --python and --yaml")
		}
		dir, name := ".", "flow.py"
		if len(args) == 1 {
			dir = args[0]
		}
		if yamlFlow {
			name = "flow.yaml"
		}
		return a.init(dir, name)
	}
	return cmd
}

func (a *app) init(dir, name string) error {
	data, err := templates.ReadFile("templates/" + name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s is there already; name another folder: mf init DIR", path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	fmt.Fprintln(a.stdout, path)
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "run it: mf run %s\n", path)
	}
	return nil
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of YAML flows", Args: atMost(),
		Long: "Print the JSON Schema of YAML flows, which editors use for completion and checks.",
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(yaml.Schema())
			return err
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: atMost()}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		if !asJSON {
			_, err := fmt.Fprintf(a.stdout, "mf %s (%s, %s/%s)\n", version, goruntime.Version(), goruntime.GOOS, goruntime.GOARCH)
			return err
		}
		return a.writeJSON(map[string]any{"version": version, "go": goruntime.Version(), "os": goruntime.GOOS,
			"arch": goruntime.GOARCH, "ir": ir.Version, "sdk": sdk.Digest(), "metaflow": runtime.MetaflowVersion})
	}
	return cmd
}

// writeJSON prints one indented JSON value.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (a *app) configCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "config [KEY]", Short: "Show settings and where each came from", Args: atMost("KEY"),
		Long: "Show the settings that hold in this folder, and where each came from. Settings are looked for in the\n" +
			"environment (MF_KEY), in the nearest mf.yaml, in Metaflow's environment variables and configuration, in\n" +
			"this order. mf config sdk-path prints the folder that \"python flow.py run\" needs in PYTHONPATH.",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c, err := a.loadConfig(".")
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return a.printSetting(c, args[0])
		}
		if asJSON {
			return a.writeJSON(c.shown())
		}
		for _, s := range settings {
			v := c.shown()[s.Key]
			text := v.Text
			if text == "" {
				text = "-"
			}
			fmt.Fprintf(a.stdout, "%-17s %-24s %s\n", s.Key, text, paint(a.colored(a.stdout), dim, v.Source))
		}
		return nil
	}
	return cmd
}

func (a *app) printSetting(c *config, key string) error {
	if key == "sdk-path" {
		dir, err := a.sdkDir(c)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, dir)
		return err
	}
	v, ok := c.shown()[key]
	if !ok {
		return usagef("there is no setting %q; mf config lists them", key)
	}
	_, err := fmt.Fprintln(a.stdout, v.Text)
	return err
}
