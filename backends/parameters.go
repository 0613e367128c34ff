package backends

import (
	"encoding/json"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// DefaultText returns a parameter's default in the form of the environment variable that carries it
// (ir.EnvParameterPrefix): for a string the text itself, for other types JSON text. known is false where there is no such
// text before the run: no default, null, a function that computes it, or a file's content.
func DefaultText(p *ir.Parameter) (text string, known bool) {
	if p.Default == nil || p.Type == ir.FileType || string(p.Default) == "null" {
		return "", false
	}
	if p.Type == ir.StringType {
		var s string
		if json.Unmarshal(p.Default, &s) == nil {
			return s, true
		}
	}
	return string(p.Default), true
}

// MustBeGiven reports whether a run cannot start without a value for the parameter.
func MustBeGiven(p *ir.Parameter) bool {
	return p.Required && p.Default == nil && p.DefaultFunc == ""
}

// OptionalParameters is the value of ir.EnvOptionalParameters: the parameters without a DefaultText that need not be
// given. Empty when there are none.
func OptionalParameters(f *ir.Flow) string {
	var names []string
	for i := range f.Parameters {
		p := &f.Parameters[i]
		if _, known := DefaultText(p); !known && !MustBeGiven(p) {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ",")
}

// CheckScheduled reports the parameters that a scheduled run, which nobody gives values, could not start without.
func CheckScheduled(f *ir.Flow) diag.List {
	if _, scheduled := f.Schedule(); !scheduled {
		return nil
	}
	var l diag.List
	for i := range f.Parameters {
		if p := &f.Parameters[i]; MustBeGiven(p) {
			l = append(l, diag.Errorf(p.Span, "scheduled-parameter",
				"parameter %s is required and has no default, but the flow runs by schedule", p.Name).
				WithDetail("Give it a default: nobody is there to give a value when the schedule starts a run."))
		}
	}
	return l
}
