// Package irjson is the target "ir": the intermediate representation itself as a file, for people who look at what mf
// has understood and for programs that read it.
package irjson

import (
	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Backend emits the file ir.json.
type Backend struct{}

// Features returns that everything can be said.
func (Backend) Features() ir.Features { return ir.Features{Target: "ir"} }

// Settings returns none.
func (Backend) Settings() []backends.Setting { return nil }

// Emit writes the flow's JSON form. It reads none of the options.
func (Backend) Emit(f *ir.Flow, _ backends.Options) ([]backends.File, diag.List) {
	data, err := ir.Marshal(f)
	if err != nil {
		return nil, diag.List{diag.Errorf(backends.FlowSpan(f), "ir-json", "%v", err)}
	}
	return []backends.File{{Path: "ir.json", Data: data}}, nil
}
