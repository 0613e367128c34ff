package compiler

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// maxRetries is the most retries of a task, so that with the first attempt and @catch's fallback there are six.
const maxRetries = ir.MaxAttempts - 2

// knownDecorators are the decorators of steps and flows that mf knows, for hints.
var knownDecorators = []string{
	"retry", "catch", "timeout", "resources", "environment", "kubernetes", "batch", "parallel", "pytorch_parallel", "secrets",
	"card", "conda", "pypi", "schedule", "project", "trigger", "trigger_on_finish", "exit_hook", "conda_base", "pypi_base",
	"airflow_external_task_sensor", "airflow_s3_key_sensor",
}

// repeatable decorators may stand several times on one step or flow.
var repeatable = map[string]bool{
	"card": true, "exit_hook": true, "airflow_external_task_sensor": true, "airflow_s3_key_sensor": true,
}

// stepRules check one decorator of a step each.
var stepRules = map[string]func(*unit, *ir.Step, *ir.Decorator){
	"retry": checkRetry, "catch": checkCatch, "timeout": checkTimeout, "environment": checkEnvironment,
	"resources": checkAmounts, "kubernetes": checkAmounts, "batch": checkAmounts,
}

// checkDecorators reports attributes that are out of range, decorators that cannot stand together or where they do, and
// those that nobody knows.
func checkDecorators(u *unit) {
	for _, s := range u.flow.Steps {
		u.eachOnce(s.Decorators, "step "+s.Name, s.Span)
		for i := range s.Decorators {
			if rule := stepRules[s.Decorators[i].Name]; rule != nil {
				rule(u, s, &s.Decorators[i])
			}
		}
		if b, k := s.Decorator("batch"), s.Decorator("kubernetes"); b != nil && k != nil {
			u.add(diag.Errorf(first(b.Span, s.Span), "decorators-clash", "step %s has both %s and %s", s.Name, u.at("batch"), u.at("kubernetes")).
				WithDetail("A step runs in one place. %s works for both.", u.at("resources")).
				WithNote(first(k.Span, s.Span), "the other is here"))
		}
	}
	u.eachOnce(u.flow.Decorators, "flow "+u.flow.Name, u.flowSpan())
	u.checkProject()
}

// eachOnce reports decorators that stand twice, and unknown ones.
func (u *unit) eachOnce(decorators []ir.Decorator, where string, span diag.Span) {
	seen := map[string]diag.Span{}
	for _, d := range decorators {
		at := first(d.Span, span)
		if d.Unknown {
			u.add(diag.Warningf(at, "decorator-unknown", "%s has the decorator %s, which mf does not know", where, u.at(d.Name)).
				WithDetail("%s", didYouMean(d.Name, knownDecorators,
					"It is kept, but has no effect when mf runs or compiles the flow.")))
			continue
		}
		earlier, taken := seen[d.Name]
		if taken && !repeatable[d.Name] && !usersOwn(d) {
			u.add(diag.Errorf(at, "duplicate-decorator", "%s has %s twice", where, u.at(d.Name)).
				WithNote(earlier, "the first one is here"))
			continue
		}
		seen[d.Name] = at
	}
}

// number reads a numeric attribute, which may be a text. An absent one is absent; what is no number is reported.
func (u *unit) number(d *ir.Decorator, name, where string, span diag.Span) (n float64, present bool) {
	var err error
	switch v := d.Attributes[name].(type) {
	case nil:
		return 0, false
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		if n, err = json.Number(strings.TrimSpace(v)).Float64(); err == nil {
			return n, true
		}
	}
	u.add(diag.Errorf(span, "decorator-value", "%s has %s with %s=%s, which is not a number", where, u.at(d.Name), name,
		valueText(d.Attributes[name])))
	return 0, false
}

// valueText writes an attribute's value for a message.
func valueText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return shorten(string(b))
}

func checkRetry(u *unit, s *ir.Step, d *ir.Decorator) {
	span := first(d.Span, s.Span)
	if n, ok := u.number(d, "times", "step "+s.Name, span); ok && (n < 0 || n > maxRetries || n != math.Trunc(n)) {
		u.add(diag.Errorf(span, "retry-times", "step %s has %s with times=%v", s.Name, u.at("retry"), n).
			WithDetail("A task is retried 0 to %d times: the datastore holds %d attempts, one of them for %s.",
				maxRetries, ir.MaxAttempts, u.at("catch")))
	}
	if n, ok := u.number(d, "minutes_between_retries", "step "+s.Name, span); ok && n < 0 {
		u.add(diag.Errorf(span, "retry-pause", "step %s has %s with minutes_between_retries=%v", s.Name, u.at("retry"), n).
			WithDetail("The pause before a retry is 0 minutes or more."))
	}
}

func checkCatch(u *unit, s *ir.Step, d *ir.Decorator) {
	span := first(d.Span, s.Span)
	if s.Next != nil {
		switch s.Next.Kind {
		case ir.Foreach, ir.Parallel, ir.Switch:
			u.add(diag.Errorf(span, "catch-on-split", "step %s has %s and %s", s.Name, u.at("catch"), verbs[s.Next.Kind]).
				WithDetail("When its body fails, nothing says how to go on. Do what can fail in a step before it.").
				WithNote(first(s.Next.Span, s.Span), "where it goes on"))
		}
	}
	v := d.Attributes["var"]
	if v == nil {
		return
	}
	name, isText := v.(string)
	switch {
	case !isText || !identifier(name) || reservedArtifacts[name]:
		u.add(diag.Errorf(span, "catch-var", "step %s has %s with var=%s, which cannot be the name of an artifact", s.Name, u.at("catch"), valueText(v)))
	case u.flow.Parameter(name) != nil:
		u.add(diag.Errorf(span, "catch-var", "step %s has %s with var=%s, which is a parameter", s.Name, u.at("catch"), valueText(v)).
			WithDetail("A parameter cannot be written. Choose another name.").
			WithNote(u.flow.Parameter(name).Span, "the parameter"))
	}
}

func checkTimeout(u *unit, s *ir.Step, d *ir.Decorator) {
	span := first(d.Span, s.Span)
	total, wrong := 0.0, false
	for _, part := range []string{"seconds", "minutes", "hours"} {
		n, ok := u.number(d, part, "step "+s.Name, span)
		wrong = wrong || !ok && d.Attributes[part] != nil
		if n < 0 {
			wrong = true
			u.add(diag.Errorf(span, "timeout-value", "step %s has %s with %s=%v", s.Name, u.at("timeout"), part, n).
				WithDetail("A timeout is longer than nothing."))
		}
		total += n
	}
	if total == 0 && !wrong {
		u.add(diag.Errorf(span, "timeout-value", "step %s has %s without a time", s.Name, u.at("timeout")).
			WithDetail("Say how long an attempt may take, such as %s.", u.say("@timeout(minutes=10)", "timeout: {minutes: 10}")))
	}
}

func checkEnvironment(u *unit, s *ir.Step, d *ir.Decorator) {
	vars := d.Attributes["vars"]
	m, ok := vars.(map[string]any)
	if vars != nil && !ok {
		u.add(diag.Errorf(first(d.Span, s.Span), "environment-vars", "step %s has %s with vars=%s, which is not a map", s.Name, u.at("environment"), valueText(vars)))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			u.add(diag.Errorf(first(d.Span, s.Span), "environment-vars", "step %s sets the environment variable %q, which is not a name", s.Name, name))
		}
		switch m[name].(type) {
		case nil, []any, map[string]any:
			u.add(diag.Errorf(first(d.Span, s.Span), "environment-vars", "step %s sets the environment variable %s to %s, which is not a text",
				s.Name, name, valueText(m[name])))
		}
	}
}

// amounts are numeric attributes of @resources, @kubernetes and @batch; true for those that may be 0.
var amounts = []struct {
	name string
	zero bool
}{{"cpu", false}, {"memory", false}, {"disk", false}, {"gpu", true}, {"shared_memory", true}}

func checkAmounts(u *unit, s *ir.Step, d *ir.Decorator) {
	span := first(d.Span, s.Span)
	for _, a := range amounts {
		n, ok := u.number(d, a.name, "step "+s.Name, span)
		if ok && (n < 0 || n == 0 && !a.zero) {
			u.add(diag.Errorf(span, "resources-amount", "step %s has %s with %s=%v", s.Name, u.at(d.Name), a.name, n).
				WithDetail("Ask for more than nothing, or leave %s out for the default.", a.name))
		}
	}
}

var projectName = regexp.MustCompile(`^[a-z0-9_]+$`)

// maxProjectName is the longest name of a project or branch, as in Metaflow.
const maxProjectName = 128

func (u *unit) checkProject() {
	d := u.flow.Decorator("project")
	if d == nil {
		return
	}
	span := first(d.Span, u.flowSpan())
	p, _ := u.flow.Project()
	for _, part := range []struct {
		what, value string
		needed      bool
	}{{"name", p.Name, true}, {"branch", p.Branch, false}} {
		switch {
		case part.value == "" && part.needed:
			u.add(diag.Errorf(span, "project-name", "%s of flow %s has no name", u.at("project"), u.flow.Name).
				WithDetail("%s", u.say("Write @project(name='my_project').", "Write project: {name: my_project}.")))
		case part.value == "":
		case !projectName.MatchString(part.value):
			u.add(diag.Errorf(span, "project-name", "%s of flow %s has the %s %q", u.at("project"), u.flow.Name, part.what, part.value).
				WithDetail("It consists of the letters a to z, digits and underscores."))
		case len(part.value) > maxProjectName:
			u.add(diag.Errorf(span, "project-name", "%s of flow %s has a %s longer than %d characters", u.at("project"), u.flow.Name, part.what, maxProjectName))
		}
	}
}
