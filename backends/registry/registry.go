// Package registry is the one list of backends. A new one is a folder beside it and a line here.
package registry

import (
	"maps"
	"slices"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/airflow"
	"github.com/mf-run/mf/backends/argo"
	"github.com/mf-run/mf/backends/irjson"
	"github.com/mf-run/mf/backends/stepfunctions"
	"github.com/mf-run/mf/diag"
)

// All returns every backend in the order of the documentation.
func All() []backends.Backend {
	return []backends.Backend{
		argo.Backend{},
		stepfunctions.Backend{},
		airflow.Backend{},
		irjson.Backend{},
	}
}

// Get returns the backend of that target name.
func Get(target string) (backends.Backend, bool) {
	for _, b := range All() {
		if b.Features().Target == target {
			return b, true
		}
	}
	return nil, false
}

// Targets returns the target names in the order of All.
func Targets() []string {
	var names []string
	for _, b := range All() {
		names = append(names, b.Features().Target)
	}
	return names
}

// CheckSettings reports settings whose prefix, the word before the dot, is that of no backend. What is wrong among a
// backend's own, its Emit reports.
func CheckSettings(settings map[string]string) diag.List {
	known := map[string]bool{}
	for _, b := range All() {
		for _, s := range b.Settings() {
			prefix, _, _ := strings.Cut(s.Name, ".")
			known[prefix] = true
		}
	}
	var l diag.List
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if prefix, _, dotted := strings.Cut(name, "."); !dotted || !known[prefix] {
			l = append(l, diag.Errorf(diag.Span{}, "unknown-setting", "setting %s belongs to no target", name).
				WithDetail("Target settings start with one of: %s.", strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		}
	}
	return l
}
