package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/compiler/yaml"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/sdk"
)

// flowArg is the FLOW argument: a path, with a class where a file holds several.
type flowArg struct {
	// path is as the user gave it, class may be empty.
	path, class string
}

func parseFlowArg(arg string) (flowArg, error) {
	f := flowArg{path: arg}
	if i := strings.LastIndex(arg, ".py:"); i >= 0 {
		f.path, f.class = arg[:i+3], arg[i+4:]
	}
	info, err := os.Stat(f.path)
	switch {
	case err == nil && info.IsDir():
		return f, usagef("%s is a folder; name the flow file in it", f.path)
	case !slices.Contains([]string{".py", ".yaml", ".yml"}, filepath.Ext(f.path)):
		return f, usagef("%s is not a flow: a flow is a .py, .yaml or .yml file", arg)
	case errors.Is(err, fs.ErrNotExist):
		return f, usagef("there is no file %s", f.path)
	case err != nil:
		return f, fmt.Errorf("reading the flow: %w", err)
	}
	return f, nil
}

func (f flowArg) python() bool { return filepath.Ext(f.path) == ".py" }

// dir is the folder of the flow file, as the user would write it.
func (f flowArg) dir() string { return filepath.Dir(f.path) }

func (f flowArg) String() string {
	if f.class != "" {
		return f.path + ":" + f.class
	}
	return f.path
}

// flowFlags shape how a flow is loaded.
type flowFlags struct {
	with         []string
	configs      []string
	configValues []string
}

func (f *flowFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.with, "with", nil, "attach a decorator to every step: NAME or NAME:key=value,…")
	fs.StringArrayVar(&f.configs, "config", nil, "file for a config: NAME=FILE")
	fs.StringArrayVar(&f.configValues, "config-value", nil, "value for a config: NAME=JSON")
}

func pairs(flag string, args []string) (map[string]string, error) {
	m := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usagef("--%s takes NAME=VALUE, not %q", flag, arg)
		}
		m[name] = value
	}
	return m, nil
}

// pythonOptions are the options for describing a Python flow.
func (a *app) pythonOptions(c *config, arg flowArg, flags flowFlags) (python.Options, error) {
	opt := python.Options{Interpreter: c.get("python"), Class: arg.class, Env: a.pythonEnv()}
	opt.With = append(strings.Fields(c.get("with")), flags.with...)
	var err error
	if opt.Configs, err = a.configs("METAFLOW_FLOW_CONFIG", "config", flags.configs); err != nil {
		return opt, err
	}
	if opt.ConfigValues, err = a.configs("METAFLOW_FLOW_CONFIG_VALUE", "config-value", flags.configValues); err != nil {
		return opt, err
	}
	opt.SDKDir, err = a.sdkDir(c)
	return opt, err
}

// configs reads configs from flags over those of Metaflow's environment variable, a JSON object.
func (a *app) configs(variable, flag string, given []string) (map[string]string, error) {
	all := map[string]string{}
	if text := a.env(variable); text != "" {
		var raw map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &raw); err != nil {
			return nil, usagef("%s is not a JSON object of configs by name: %v", variable, err)
		}
		for name, value := range raw {
			// A text stands for itself, everything else for its JSON.
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			all[name] = text
		}
	}
	own, err := pairs(flag, given)
	if err != nil {
		return nil, err
	}
	maps.Copy(all, own)
	return all, nil
}

// sdkDir unpacks the SDK, once, and returns its folder.
func (a *app) sdkDir(c *config) (string, error) {
	cache, err := a.cacheDir(c)
	if err != nil {
		return "", err
	}
	dir, err := sdk.Unpack(filepath.Join(cache, "sdk"))
	if err != nil {
		return "", fmt.Errorf("unpacking the Python SDK (MF_CACHE chooses another folder): %w", err)
	}
	return dir, nil
}

// loadFlow reads a flow and checks it, for a target if one is given. The findings are in the list; the flow is nil
// where it could not be read at all.
func (a *app) loadFlow(ctx context.Context, c *config, arg flowArg, flags flowFlags, target *ir.Features, evaluate bool) (*ir.Flow, diag.List, error) {
	frontend := compiler.FrontendFunc(func(ctx context.Context, path string) (*ir.Flow, diag.List, error) {
		return yaml.LoadWith(ctx, path, flags.with)
	})
	if arg.python() {
		opt, err := a.pythonOptions(c, arg, flags)
		if err != nil {
			return nil, nil, err
		}
		opt.Stubs, opt.Evaluate = true, evaluate
		frontend = func(ctx context.Context, path string) (*ir.Flow, diag.List, error) {
			return python.Load(ctx, path, opt)
		}
	} else if len(flags.configs)+len(flags.configValues) > 0 {
		return nil, nil, usagef("--config and --config-value are for Python flows")
	}
	flow, list, err := compiler.Load(ctx, arg.path, compiler.Options{
		Frontends: map[string]compiler.Frontend{strings.ToLower(filepath.Ext(arg.path)): frontend}, Target: target,
	})
	return flow, list, interpreterHint(err)
}

// interpreterHint adds what can be done about a Python that will not do.
func interpreterHint(err error) error {
	if errors.Is(err, python.ErrInterpreter) {
		return fmt.Errorf("%w; the setting python, or MF_PYTHON, names another", err)
	}
	return err
}

// printDiagnostics prints findings as text.
func (a *app) printDiagnostics(arg flowArg, list diag.List) {
	if len(list) == 0 {
		return
	}
	_ = diag.WriteText(a.stderr, list, a.printer(arg, a.stderr))
}

func (a *app) printer(arg flowArg, w io.Writer) diag.Printer {
	dir := filepath.ToSlash(arg.dir())
	if dir == "." {
		dir = ""
	}
	return diag.Printer{Dir: dir, Color: a.colored(w), Source: a.source(arg)}
}

// source reads the file of a span.
func (a *app) source(arg flowArg) func(string) []byte {
	return func(file string) []byte {
		data, err := os.ReadFile(filepath.Join(arg.dir(), filepath.FromSlash(file)))
		if err != nil {
			return nil
		}
		return data
	}
}

// mustLoad loads a flow, prints what was found and fails on errors.
func (a *app) mustLoad(ctx context.Context, c *config, arg flowArg, flags flowFlags, target *ir.Features, evaluate bool) (*ir.Flow, error) {
	flow, list, err := a.loadFlow(ctx, c, arg, flags, target, evaluate)
	if err != nil {
		return nil, err
	}
	a.printDiagnostics(arg, list)
	if list.HasErrors() || flow == nil {
		return nil, failed
	}
	return flow, nil
}

// pythonEnv is the environment of Python processes. The SDK's bytecode is kept in the cache folder, also where the
// environment asks Python to write none.
func (a *app) pythonEnv() []string {
	return append(slices.Clip(a.environ), "MF_KEEP_BYTECODE=1")
}
