package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// pythonCommand is what "python flow.py ARGS…" runs: Metaflow's command line in mf's words.
func (a *app) pythonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "__python FLOW ARGS…", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				args[0] = asTyped(args[0])
			}
			translated, err := translateMetaflow(args)
			if err != nil {
				return err
			}
			root := a.rootCommand()
			root.SetArgs(translated)
			root.SetIn(a.stdin)
			root.SetOut(a.stdout)
			root.SetErr(a.stderr)
			return a.execute(cmd.Context(), root)
		},
	}
}

// asTyped makes the path of the flow, which the SDK has made absolute, relative again where that is shorter.
func asTyped(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// metaflowTop are Metaflow's options before the command. Those with a value take one more argument; those that mf has
// no use for are dropped, since mf works them out by itself.
var metaflowTop = map[string]struct{ value, keep bool }{
	"--quiet": {false, true}, "--no-quiet": {false, false},
	"--with": {true, true}, "--config": {true, true}, "--config-value": {true, true},
	"--branch": {true, true}, "--production": {false, true}, "--no-production": {false, false},
	"--metadata": {true, false}, "--environment": {true, false}, "--datastore": {true, false}, "--datastore-root": {true, false},
	"--package-suffixes": {true, false}, "--event-logger": {true, false}, "--monitor": {true, false},
	"--pylint": {false, false}, "--no-pylint": {false, false}, "--force-rebuild-environments": {false, false},
}

// translateMetaflow turns "FLOW [top options] COMMAND [args]" into mf's command line.
func translateMetaflow(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, usagef("python FLOW needs a command, such as run")
	}
	flow, rest := args[0], args[1:]
	var top []string
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		name, _, joined := strings.Cut(rest[0], "=")
		opt, known := metaflowTop[name]
		if !known {
			if name == "--help" || name == "-h" {
				return []string{"--help"}, nil
			}
			return nil, usagef("unknown option %s before the command", name)
		}
		n := 1
		switch {
		case opt.value && !joined && (name == "--config" || name == "--config-value"):
			// Metaflow's take two arguments: a name and a value.
			if len(rest) < 3 {
				return nil, usagef("%s takes a name and a value", name)
			}
			top = append(top, name, rest[1]+"="+rest[2])
			rest = rest[3:]
			continue
		case opt.value && !joined:
			n = 2
		}
		if len(rest) < n {
			return nil, usagef("%s takes a value", name)
		}
		if opt.keep {
			top = append(top, rest[:n]...)
		}
		rest = rest[n:]
	}
	if len(rest) == 0 {
		return append([]string{"check", flow}, top...), nil
	}
	return translateCommand(flow, top, rest[0], rest[1:])
}

// runOptions are Metaflow's options of run, with whether they take a value; all others are the flow's parameters.
var runOptions = map[string]bool{
	"--tag": true, "--max-workers": true, "--max-num-splits": true, "--max-log-size": true, "--with": true, "--run-id-file": true,
	"--namespace": true, "--runner-attribute-file": true, "--help": false,
}

// splitOptions splits the arguments of a command into its own options and the flow's parameters, which come after "--": a
// parameter may be called like a flag of mf's.
func splitOptions(args []string, options map[string]bool) (own, parameters []string) {
	for len(args) > 0 {
		name, _, joined := strings.Cut(args[0], "=")
		value, known := options[name]
		n := 1
		if !joined && len(args) > 1 && (value || !known && strings.HasPrefix(name, "--")) {
			n = 2
		}
		if known {
			own = append(own, args[:n]...)
		} else {
			parameters = append(parameters, args[:n]...)
		}
		args = args[n:]
	}
	if len(parameters) > 0 && strings.HasPrefix(parameters[0], "--") {
		parameters = append([]string{"--"}, parameters...)
	}
	return own, parameters
}

func translateCommand(flow string, top []string, command string, rest []string) ([]string, error) {
	line := func(verb string, more ...string) []string {
		return append(append([]string{verb, flow}, top...), more...)
	}
	switch command {
	case "run":
		own, parameters := splitOptions(rest, runOptions)
		return append(line("run", own...), parameters...), nil
	case "resume":
		return line("resume", rest...), nil
	case "check":
		return line("check"), nil
	case "show":
		return line("graph"), nil
	case "output-dot":
		return line("graph", "--format", "dot"), nil
	case "output-raw":
		return line("compile", "--target", "ir", "-o", "-"), nil
	case "dump", "logs", "tag":
		return nil, usagef("use mf %s, which takes Metaflow's pathspecs: mf %s Flow/run/step", command, command)
	case "version":
		return []string{"version"}, nil
	case "help":
		return []string{"--help"}, nil
	case "argo-workflows":
		return translateArgo(flow, top, rest)
	case "step-functions", "airflow":
		return nil, usagef("use mf compile %s --target %s", flow, command)
	}
	return nil, usagef("the command %q of Metaflow is not there in mf; mf --help lists what is", command)
}
