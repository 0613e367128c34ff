package argo

import (
	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// DeployedName implements backends.Deployer: the name of the WorkflowTemplate.
func (b Backend) DeployedName(f *ir.Flow, opt backends.Options) (string, diag.List) {
	e := newEmitter(ir.NewGraph(f), opt, b.Settings())
	return e.name, e.list
}
