package argo

import (
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// DeployedName implements backends.Deployer: the name of the WorkflowTemplate.
func (b Backend) DeployedName(f *ir.Flow, opt backends.Options) (string, diag.List) {
	e := newEmitter(ir.NewGraph(f), opt, b.Settings())
	return e.name, e.list
}

// RunID implements backends.Deployer.
func (Backend) RunID(run string) string { return strings.ReplaceAll(runID, "{{workflow.name}}", run) }

// Runtime implements backends.Deployer.
func (Backend) Runtime() string { return "argo-workflows" }

var _ backends.Deployer = Backend{}
