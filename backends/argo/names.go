package argo

import (
	"crypto/sha1"
	"encoding/base32"
	"regexp"
	"slices"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
)

const (
	// maxDeployedName leaves room for what Argo appends: a run's name must fit a label of 63 bytes, that of a scheduled
	// one ends in "-" and ten digits. It is Metaflow's limit, so that a flow keeps its name.
	maxDeployedName = 45
	// maxTemplateName is the longest name of a template or DAG task that Argo's validation accepts.
	maxTemplateName = 128
	// maxParameterName is not a limit of Argo's but of what it is put into.
	maxParameterName = 253
)

var (
	validDeployedName  = regexp.MustCompile(`^[a-z]([a-z0-9.-]*[a-z0-9])?$`)
	validParameterName = regexp.MustCompile(`^[-a-zA-Z0-9_]+$`)
	notDeployable      = regexp.MustCompile(`[^a-z0-9.]+`)
	dots               = regexp.MustCompile(`-*\.[-.]*`)
	notTemplate        = regexp.MustCompile(`[^-a-zA-Z0-9]`)
)

// unsafeTaskNames are words that Argo's evaluation of "dependencies" would read as something else than a task's name.
var unsafeTaskNames = []string{
	"true", "false", "nil", "in", "not", "and", "or", "matches", "contains", "startsWith", "endsWith", "let", "if", "else",
}

// deployedName returns the name of the WorkflowTemplate and the CronWorkflow.
func (e *emitter) deployedName() string {
	span := backends.FlowSpan(e.flow)
	if e.opt.Name != "" {
		if !validDeployedName.MatchString(e.opt.Name) || len(e.opt.Name) > maxDeployedName {
			e.errorf(span, "bad-deployed-name",
				"the name %q is not 1 to %d of a-z, 0-9, '-' and '.', starting with a letter and not ending in '-' or '.'",
				e.opt.Name, maxDeployedName)
		}
		return e.opt.Name
	}
	if e.project != nil {
		return e.projectName()
	}
	name := deployable(e.flow.Name)
	switch {
	case !validDeployedName.MatchString(name):
		e.list = append(e.list, diag.Errorf(span, "bad-deployed-name",
			"no name for Argo can be made of the flow's name %q", e.flow.Name).WithDetail("Give one with --name."))
	case len(name) > maxDeployedName:
		e.list = append(e.list, diag.Errorf(span, "name-too-long",
			"the name %s has %d bytes, but Argo leaves room for %d", name, len(name), maxDeployedName).
			WithDetail("A run's name is made of it and must fit a Kubernetes label. Give a shorter one with --name."))
	}
	return name
}

// projectName shortens where needed: project, branch and flow keep a third of the room each, and a hash tells names with
// the same shortening apart.
func (e *emitter) projectName() string {
	name := deployable(e.project.FlowName)
	if len(name) <= maxDeployedName {
		return name
	}
	const hashLen, part = 5, (maxDeployedName - 3 - 5) / 3
	sum := sha1.Sum([]byte(e.project.FlowName))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:hashLen]
	var parts []string
	for _, word := range []string{e.project.Name, e.project.Branch, e.flow.Name} {
		word = deployable(word)
		parts = append(parts, strings.Trim(word[:min(len(word), part)], "-."))
	}
	return strings.Join(append(parts, hash), "-")
}

// deployable lower-cases a name, drops what Metaflow drops, and replaces what Kubernetes does not take.
func deployable(name string) string {
	name = strings.NewReplacer("_", "", "@", "", "+", "").Replace(name)
	name = notDeployable.ReplaceAllString(strings.ToLower(name), "-")
	name = dots.ReplaceAllString(name, ".")
	return strings.Trim(name, "-.")
}

// templateName turns a name of the flow into one that Argo takes as a template's and a DAG task's.
func templateName(name string) string {
	name = strings.TrimLeft(notTemplate.ReplaceAllString(name, "-"), "-")
	if name == "" || name[0] >= '0' && name[0] <= '9' || slices.Contains(unsafeTaskNames, name) {
		name = strings.TrimRight("step-"+name, "-")
	}
	return name
}

// nameTemplates gives every step its template's name. Two steps whose names become the same are the user's to rename;
// Argo has one space of names for all templates.
func (e *emitter) nameTemplates() {
	e.steps, e.taken = map[string]string{}, map[string]string{}
	for _, s := range e.flow.Steps {
		name := templateName(s.Name)
		if len(name) > maxTemplateName {
			e.list = append(e.list, diag.Errorf(s.Span, "name-too-long",
				"the name of step %s has %d bytes, but Argo takes %d", s.Name, len(name), maxTemplateName).
				WithDetail("Give the step a shorter name."))
		}
		if other, taken := e.taken[name]; taken {
			e.list = append(e.list, diag.Errorf(s.Span, "name-collision",
				"steps %s and %s are both called %s on Argo, which knows no '_'", other, s.Name, name).
				WithDetail("Rename one of them."))
		}
		e.steps[s.Name], e.taken[name] = name, s.Name
		if name != s.Name {
			e.renamed[name] = s.Name
		}
	}
}

// freeName returns a template name that no other template has: the wanted one, or it with a number.
func (e *emitter) freeName(wanted string) string {
	wanted = templateName(wanted)
	wanted = wanted[:min(len(wanted), maxTemplateName-4)]
	name := wanted
	for n := 2; ; n++ {
		if _, taken := e.taken[name]; !taken {
			e.taken[name] = ""
			return name
		}
		name = wanted + "-" + itoa(n)
	}
}
