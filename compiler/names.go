package compiler

import (
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// reservedSteps are attributes of every Metaflow flow, so that no step can have these names.
var reservedSteps = map[string]bool{"name": true, "next": true, "input": true, "index": true, "cmd": true}

// maxStepName is the longest step name, in bytes: names become parts of paths and of engines' own names.
const maxStepName = 128

// checkNames reports step names that engines, paths or Python cannot write, and a flow without a name.
func checkNames(u *unit) {
	if u.flow.Name == "" {
		u.add(diag.Errorf(u.flowSpan(), "flow-name", "the flow has no name"))
	}
	for _, s := range u.flow.Steps {
		switch {
		case reservedSteps[s.Name]:
			u.add(diag.Errorf(s.Span, "step-name-reserved", "step %s has a name that is reserved", s.Name).
				WithDetail("A flow has an attribute of this name. Choose another name for the step."))
		case !validStepName(s.Name):
			u.add(diag.Errorf(s.Span, "step-name", "step %q has an invalid name", s.Name).
				WithDetail("A step's name consists of the letters a to z, digits and underscores, and does not start with "+
					"an underscore.%s", suggestName(s.Name)))
		case len(s.Name) > maxStepName:
			u.add(diag.Errorf(s.Span, "step-name", "the name of step %s is longer than %d characters", s.Name, maxStepName))
		}
	}
}

func validStepName(name string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
			return false
		}
	}
	return name != "" && name[0] != '_'
}

// suggestName returns a sentence with a valid name like the given one, if there is one.
func suggestName(name string) string {
	valid := strings.TrimLeft(strings.NewReplacer("-", "_", " ", "_", ".", "_").Replace(strings.ToLower(name)), "_")
	if !validStepName(valid) || reservedSteps[valid] {
		return ""
	}
	return " Call it " + valid + ", for example."
}

// checkDuplicates reports steps that have the name of an earlier step.
func checkDuplicates(u *unit) {
	seen := make(map[string]*ir.Step, len(u.flow.Steps))
	for _, s := range u.flow.Steps {
		if earlier := seen[s.Name]; earlier != nil {
			u.add(diag.Errorf(s.Span, "duplicate-step", "there are two steps named %s", s.Name).
				WithNote(earlier.Span, "the first one is here"))
			continue
		}
		seen[s.Name] = s
	}
}
