package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	argolive "github.com/mf-run/mf/backends/argo/live"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
)

// engineFlags say which engine, and where.
type engineFlags struct {
	target              string
	kubeconfig, context string
	namespace           string
}

// register leaves out --target where the verb has it already.
func (f *engineFlags) register(fs *pflag.FlagSet) {
	if fs.Lookup("target") == nil {
		fs.StringVar(&f.target, "target", "", "engine that the flow is deployed on: argo (default: the setting target)")
	}
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "file that says how to reach the cluster (default: the setting kubeconfig, KUBECONFIG, ~/.kube/config)")
	fs.StringVar(&f.context, "context", "", "context of that file (default: its current one)")
	fs.StringVarP(&f.namespace, "namespace", "n", "", "namespace on the cluster (default: the setting argo.namespace, that of the context)")
}

// deployedFlags say which deployment is meant, and on which engine.
type deployedFlags struct {
	engineFlags
	branch     string
	production bool
}

func (f *deployedFlags) register(fs *pflag.FlagSet) {
	f.engineFlags.register(fs)
	fs.StringVar(&f.branch, "branch", "", "with a flow file: branch of the project")
	fs.BoolVar(&f.production, "production", false, "with a flow file: the project's production branch")
}

// engineTarget is the target of the flags or of the settings.
func (c *config) engineTarget(flags engineFlags) string {
	if flags.target != "" {
		return flags.target
	}
	return c.get("target")
}

// checkEngine says what is wrong with a target that nothing can be deployed to.
func checkEngine(target string) error {
	switch target {
	case "argo":
		return nil
	case "":
		return usagef("--target is missing: the engine that the flow is deployed on; it can be argo, and mf.yaml can hold it as \"target: argo\"")
	case "ir":
		return usagef("ir is how mf understands a flow, not an engine: a flow is deployed to argo")
	default:
		if _, err := backendFor(target); err != nil {
			return err
		}
		return usagef("mf does not deploy to %s yet; compile the flow and apply the files: mf compile FLOW --target %s", target, target)
	}
}

// openEngine opens the engine that deployments of a target run on. Nothing is asked of it yet.
func (a *app) openEngine(c *config, flags engineFlags) (live.Engine, error) {
	if err := checkEngine(c.engineTarget(flags)); err != nil {
		return nil, err
	}
	return a.openArgo(c, flags)
}

// openEngine opens the engine of the flow's target. The namespace of the flags, or of the target's settings, counts for the
// connection and for the files alike.
func (k *compiling) openEngine(flags engineFlags) (live.Engine, error) {
	flags.target = k.backend.Features().Target
	switch {
	case flags.namespace == "":
		flags.namespace = k.opt.Settings["argo.namespace"]
	case k.opt.Settings != nil: // nil where the flow is not to be compiled
		k.opt.Settings["argo.namespace"] = flags.namespace
	}
	return k.app.openEngine(k.config, flags)
}

func (a *app) openArgo(c *config, flags engineFlags) (live.Engine, error) {
	where := cluster.Options{
		Kubeconfig: cmp.Or(flags.kubeconfig, c.get("kubeconfig")), Context: cmp.Or(flags.context, c.get("kube-context")),
		Namespace: cmp.Or(flags.namespace, c.target["argo.namespace"].Text), Agent: "mf/" + version, Env: a.env,
	}
	engine, err := argolive.Open(argolive.Options{Cluster: where, Now: a.now})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return engine, nil
}

// engineError adds what can be done about an engine that does not do as asked.
func engineError(engine live.Engine, err error) error {
	if errors.Is(err, live.ErrUnavailable) {
		return fmt.Errorf("%s: %w", engine, err)
	}
	return err
}
