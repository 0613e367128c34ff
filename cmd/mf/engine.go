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

// engineTarget is the target of the flags or of the settings.
func (c *config) engineTarget(flags engineFlags) string {
	if flags.target != "" {
		return flags.target
	}
	return c.get("target")
}

// openEngine opens the engine that deployments of a target run on. Nothing is asked of it yet.
func (a *app) openEngine(c *config, flags engineFlags) (live.Engine, error) {
	switch target := c.engineTarget(flags); target {
	case "argo":
		return a.openArgo(c, flags)
	case "":
		return nil, usagef("--target is missing: the engine that the flow is deployed on; it can be argo, and mf.yaml can hold it as \"target: argo\"")
	default:
		if _, err := backendFor(target); err != nil {
			return nil, err
		}
		return nil, usagef("mf does not deploy to %s yet; compile the flow and apply the files: mf compile FLOW --target %s", target, target)
	}
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
