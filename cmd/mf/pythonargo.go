package main

import (
	"strings"
)

// argoCreate are Metaflow's options of "argo-workflows create" in mf's words; those that are not here are refused. An
// option that ends in "=" becomes a setting of the target.
var argoCreate = map[string]struct {
	flag  string
	value bool
}{
	"--authorize": {"--authorize", true}, "--new-token": {"--new-token", true}, "--generate-new-token": {"--generate-new-token", false},
	"--tag": {"--tag", true}, "--max-workers": {"--max-workers", true},
	"--workflow-timeout": {"argo.workflow-timeout=", true}, "--workflow-priority": {"argo.priority=", true},
	"--only-json": {"", false},
	// Metaflow has these the other way round by default; mf always emits them.
	"--auto-emit-argo-events": {"", false}, "--no-auto-emit-argo-events": {"", false},
}

// translateArgo turns what follows "python FLOW argo-workflows" into mf's command line.
func translateArgo(flow string, top, args []string) ([]string, error) {
	var name []string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option, value, joined := strings.Cut(args[0], "=")
		if option != "--name" {
			return nil, usagef("unknown option %s of argo-workflows; see mf deploy --help", option)
		}
		args = args[1:]
		if !joined {
			if len(args) == 0 {
				return nil, usagef("--name takes a value")
			}
			value, args = args[0], args[1:]
		}
		name = []string{"--name", value}
	}
	if len(args) == 0 {
		return nil, usagef("argo-workflows needs a command: create, trigger, status, terminate or delete")
	}
	command, rest := args[0], args[1:]
	deployed := flow
	if len(name) > 0 {
		deployed = name[1]
	}
	// named is a command on what is deployed. A name of its own says of which branch it is.
	named := func(verb string) []string {
		line := []string{verb, deployed, "--target", "argo"}
		if len(name) == 0 {
			line = append(line, branchOptions(top)...)
		}
		return line
	}
	switch command {
	case "create":
		return translateCreate(flow, append(top, name...), rest)
	case "trigger":
		own, parameters := splitOptions(rest, triggerOptions)
		return append(append(named("trigger"), own...), parameters...), nil
	case "delete":
		return append(named("undeploy"), rest...), nil
	case "status", "terminate":
		if len(rest) != 1 {
			return nil, usagef("argo-workflows %s takes the id of a run", command)
		}
		return []string{map[string]string{"status": "status", "terminate": "stop"}[command], rest[0], "--target", "argo"}, nil
	case "list-runs":
		return nil, usagef("use mf runs, or mf status %s for the last run", deployed)
	}
	return nil, usagef("the command argo-workflows %s of Metaflow is not there in mf; mf --help lists what is", command)
}

// triggerOptions are the options of "argo-workflows trigger"; all others are parameters.
var triggerOptions = map[string]bool{"--run-id-file": true, "--help": false}

// branchOptions are those that say of which branch a deployment is.
func branchOptions(top []string) []string {
	var list []string
	for i, option := range top {
		switch name, _, joined := strings.Cut(option, "="); {
		case name == "--branch" && !joined:
			list = append(list, top[i:i+2]...)
		case name == "--branch", name == "--production", name == "--quiet":
			list = append(list, option)
		}
	}
	return list
}

func translateCreate(flow string, top, args []string) ([]string, error) {
	verb := "deploy"
	line := append([]string{flow, "--target", "argo"}, top...)
	for len(args) > 0 {
		option, value, joined := strings.Cut(args[0], "=")
		known, ok := argoCreate[option]
		if !ok {
			return nil, usagef("the option %s of argo-workflows create is not there in mf; see mf deploy --help and docs/targets-argo.md", option)
		}
		args = args[1:]
		if known.value && !joined {
			if len(args) == 0 {
				return nil, usagef("%s takes a value", option)
			}
			value, args = args[0], args[1:]
		}
		switch {
		case option == "--only-json":
			verb = "compile"
		case known.flag == "":
		case strings.HasSuffix(known.flag, "="):
			line = append(line, "--set", known.flag+value)
		case known.value:
			line = append(line, known.flag, value)
		default:
			line = append(line, known.flag)
		}
	}
	if verb == "compile" {
		line = append(line, "-o", "-")
	}
	return append([]string{verb}, line...), nil
}
