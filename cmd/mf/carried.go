package main

import (
	"slices"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// carried says what becomes of decorators that are kept in the flow but not acted on yet. here is set for those that only a
// run on this machine leaves aside.
var carried = []struct {
	names   []string
	here    bool
	summary string
}{
	{[]string{"batch"}, true, "the step runs on this machine"},
	{[]string{"conda", "pypi", "conda_base", "pypi_base"}, false, "packages are not installed: the step runs with what its Python has"},
	{[]string{"secrets"}, false, "secrets are not fetched: set the variables yourself"},
	{[]string{"card"}, false, "cards are not made"},
}

// carriedNotes tells, once for each decorator, that it has no effect.
func carriedNotes(flow *ir.Flow, here bool) diag.List {
	var list diag.List
	for _, c := range carried {
		if c.here && !here {
			continue
		}
		seen := map[string]bool{}
		note := func(ds []ir.Decorator) {
			for _, d := range ds {
				if slices.Contains(c.names, d.Name) && !seen[d.Name] {
					seen[d.Name] = true
					list = append(list, diag.Warningf(d.Span, "decorator-no-effect", "@%s has no effect yet: %s", d.Name, c.summary))
				}
			}
		}
		note(flow.Decorators)
		for _, s := range flow.Steps {
			note(s.Decorators)
		}
	}
	list.Sort()
	return list
}
