package airflow

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// maxName is the longest id of a DAG and of a task.
const maxName = 250

var (
	validID = regexp.MustCompile(`^[\pL\pN_.-]+$`)
	notID   = regexp.MustCompile(`[^\pL\pN_.-]`)
	notName = regexp.MustCompile(`[^A-Za-z0-9_]`)
)

// dagID returns the id of the DAG: the given name, or the flow's, with the project and branch before it.
func dagID(f *ir.Flow, project *backends.Project, opt backends.Options) (string, diag.List) {
	span := backends.FlowSpan(f)
	name := opt.Name
	switch {
	case opt.Name != "":
		if !validID.MatchString(name) {
			return name, diag.List{diag.Errorf(span, "bad-deployed-name",
				"the name %q has more than letters, digits, '_', '.' and '-'", name)}
		}
	case project != nil:
		name = notID.ReplaceAllString(project.FlowName, "_")
	default:
		name = notID.ReplaceAllString(f.Name, "_")
	}
	if len(name) > maxName {
		return name, diag.List{diag.Errorf(span, "name-too-long",
			"the name of the DAG %s has %d bytes, but Airflow takes %d", name, len(name), maxName).
			WithDetail("Give a shorter one with --name, or shorten those of project, branch and flow.")}
	}
	return name, nil
}

// fileName has one dot, for what stands before the last one becomes the name of a Python module.
func fileName(dagID string) string { return strings.ReplaceAll(dagID, ".", "_") + ".py" }

// RunID returns the id of the run that a DAG run makes: "airflow-" and 12 hexadecimal digits. The emitted file computes the
// same.
func RunID(dagID, dagRunID string) string {
	sum := sha256.Sum256([]byte(dagRunID + "-" + dagID))
	return "airflow-" + hex.EncodeToString(sum[:])[:12]
}

// checkStepNames reports the names that no task can have.
func (e *emitter) checkStepNames() {
	for _, s := range e.flow.Steps {
		switch {
		case !validID.MatchString(s.Name):
			e.errorf(s.Span, "bad-step-name",
				"the name of step %s has more than the letters, digits, '_', '.' and '-' that Airflow takes", s.Name)
		case len(s.Name) > maxName-len("-foreach-99"):
			e.list = append(e.list, diag.Errorf(s.Span, "name-too-long",
				"the name of step %s has %d bytes, but Airflow leaves room for %d", s.Name, len(s.Name), maxName-len("-foreach-99")).
				WithDetail("Give the step a shorter name."))
		}
	}
}

// names hands out names that are each used once.
type names map[string]bool

// variable returns a Python variable's name.
func (n names) variable(wanted string) string {
	return n.free(notName.ReplaceAllString(wanted, "_"), "_")
}

// id returns the id of a task or task group that is no step's.
func (n names) id(wanted string) string { return n.free(wanted, "-") }

func (n names) free(wanted, sign string) string {
	name := wanted
	for i := 2; n[name]; i++ {
		name = wanted + sign + strconv.Itoa(i)
	}
	n[name] = true
	return name
}
