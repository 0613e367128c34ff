package stepfunctions

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// maxName is the longest name of a state machine and of a state.
	maxName = 80
	// maxScheduleName is the longest name of a schedule.
	maxScheduleName = 64
)

var (
	validName  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	notName    = regexp.MustCompile(`[^A-Za-z0-9_.-]`)
	notJobName = regexp.MustCompile(`[^A-Za-z0-9_-]`)
)

// machineName returns the name of the state machine: the given one, or the flow's, with the project and branch before it.
func machineName(f *ir.Flow, project *backends.Project, opt backends.Options) (string, diag.List) {
	span := backends.FlowSpan(f)
	switch {
	case opt.Name != "":
		if !validName.MatchString(opt.Name) || len(opt.Name) > maxName {
			return opt.Name, diag.List{diag.Errorf(span, "bad-deployed-name",
				"the name %q is not 1 to %d of letters, digits, '_', '.' and '-'", opt.Name, maxName)}
		}
		return opt.Name, nil
	case project != nil:
		return shorten(notName.ReplaceAllString(project.FlowName, "_"), maxName), nil
	}
	name := notName.ReplaceAllString(f.Name, "_")
	if len(name) > maxName {
		return name, diag.List{diag.Errorf(span, "name-too-long",
			"the name %s has %d bytes, but Step Functions takes %d", name, len(name), maxName).
			WithDetail("Give a shorter one with --name.")}
	}
	return name, nil
}

// shorten cuts a name that is too long and tells those with the same beginning apart by a digest.
func shorten(name string, most int) string {
	if len(name) <= most {
		return name
	}
	const digits = 16
	sum := sha256.Sum256([]byte(name))
	return name[:most-1-digits] + "-" + hex.EncodeToString(sum[:])[:digits]
}

// jobName makes a name that Batch takes for a job: letters, digits, '_' and '-', the first no sign, at most 128.
func jobName(name string) string {
	name = strings.TrimLeft(notJobName.ReplaceAllString(name, "_"), "_-")
	if name == "" {
		name = "mf"
	}
	return name[:min(len(name), longestName)]
}

// notState are the characters that no state's name may have.
const notState = " ?*<>{}[]\"#%\\^|~`$&,;:/"

// checkStepNames reports the names that no state can have. All names of a state machine share one space, but those of
// Parallel and Map states end as no step's does.
func (e *emitter) checkStepNames() {
	states := map[string]bool{}
	for _, s := range e.flow.Steps {
		states[s.Name] = true
	}
	for _, s := range e.flow.Steps {
		if strings.ContainsAny(s.Name, notState) {
			e.errorf(s.Span, "bad-step-name", "step %s: Step Functions takes none of %s in a name", s.Name, notState)
		}
		for _, name := range stateNames(s) {
			if n := len([]rune(name)); n > maxName {
				e.list = append(e.list, diag.Errorf(s.Span, "name-too-long",
					"the state %s has a name of %d characters, but Step Functions takes %d", name, n, maxName).
					WithDetail("Give the step a shorter name."))
			}
			if name != s.Name && states[name] {
				e.list = append(e.list, diag.Errorf(s.Span, "name-collision",
					"step %s needs a state %s, but that is a step's name", s.Name, name).
					WithDetail("Rename one of them."))
			}
		}
	}
}

// stateNames are the names of the states that a step has.
func stateNames(s *ir.Step) []string {
	list := []string{s.Name}
	if catches(s) {
		list = append(list, s.Name+catchSuffix)
	}
	switch {
	case s.Next == nil:
	case s.Next.Kind == ir.Split:
		list = append(list, s.Name+splitSuffix)
	case s.Next.Kind == ir.Foreach:
		list = append(list, s.Name+foreachSuffix)
	}
	return list
}
