package airflow

import (
	"encoding/json"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// emitter holds one compile.
type emitter struct {
	graph    *ir.Graph
	flow     *ir.Flow
	opt      backends.Options
	settings []backends.Setting
	project  *backends.Project
	name     string
	plan     plan
	// steps and paths are the Python variables of each step's task, and of the list of paths below a splitting step.
	steps, paths map[string]string
	// pathTasks are the ids of the tasks that make those lists.
	pathTasks map[string]string
	taskEnv   []backends.EnvVar
	list      diag.List
}

func newEmitter(g *ir.Graph, opt backends.Options, settings []backends.Setting) *emitter {
	e := &emitter{
		graph: g, flow: g.Flow(), opt: opt.WithDefaults(), settings: settings, plan: makePlan(g),
		steps: map[string]string{}, paths: map[string]string{}, pathTasks: map[string]string{},
	}
	var list diag.List
	e.project, list = backends.ProjectOf(e.flow, e.opt)
	e.list = append(e.list, list...)
	e.name, list = dagID(e.flow, e.project, e.opt)
	e.list = append(e.list, list...)
	e.taskEnv = backends.TaskEnvironment(e.opt, e.project, "airflow", nil)
	e.checkStepNames()
	e.checkWidths()
	e.nameAll()
	return e
}

func (e *emitter) errorf(span diag.Span, code, format string, args ...any) {
	e.list = append(e.list, diag.Errorf(span, code, format, args...))
}

func (e *emitter) setting(name string) string { return e.opt.Setting(e.settings, name) }

func (e *emitter) intSetting(name string) int64 {
	n, list := e.opt.IntSetting(e.settings, name)
	e.list = append(e.list, list...)
	return n
}

// nameAll gives Python names and ids to everything that is no step.
func (e *emitter) nameAll() {
	variables, ids := names{}, names{}
	for _, s := range e.flow.Steps {
		ids[s.Name] = true
		e.steps[s.Name] = variables.variable("step_" + s.Name)
	}
	parts := map[string]int{}
	for _, g := range e.plan.groups {
		parts[g.split]++
	}
	number := map[string]int{}
	for _, g := range e.plan.groups {
		if _, named := e.paths[g.split]; !named {
			e.paths[g.split] = variables.variable("paths_" + g.split)
			e.pathTasks[g.split] = ids.id(g.split + "-paths")
		}
		suffix := ""
		if number[g.split]++; parts[g.split] > 1 {
			suffix = "-" + itoa(number[g.split])
		}
		// A group's id has no dots.
		g.id = ids.id(strings.ReplaceAll(g.split, ".", "_") + "-foreach" + suffix)
		g.function = variables.variable("body_" + g.split + suffix)
		g.variable = variables.variable("each_" + g.split + suffix)
	}
}

// checkWidths warns of foreachs over constants that are wider than what Airflow maps.
func (e *emitter) checkWidths() {
	most := int(e.intSetting(setMaxMapLength))
	for _, name := range e.graph.Order() {
		s := e.graph.Step(name)
		if s.Next == nil || s.Next.Kind != ir.Foreach {
			continue
		}
		total := 1
		for _, split := range append(e.graph.Foreachs(name), name) {
			total *= e.knownSplits(e.graph.Step(split))
		}
		if total > most {
			e.list = append(e.list, diag.Warningf(s.Next.Span, "too-many-splits",
				"the foreach of step %s makes %d tasks, but Airflow maps at most %d", name, total, most).
				WithDetail("Raise core.max_map_length in Airflow's configuration and give the same number as %s.", setMaxMapLength))
		}
	}
}

// knownSplits returns the width of a foreach over a constant of the flow, else 1.
func (e *emitter) knownSplits(s *ir.Step) int {
	for _, c := range e.flow.Constants {
		var items []json.RawMessage
		if c.Name == s.Next.Foreach && json.Unmarshal(c.Value, &items) == nil {
			return max(len(items), 1)
		}
	}
	return 1
}

// hasForeach reports whether paths have to be made.
func (e *emitter) hasForeach() bool { return len(e.plan.groups) > 0 }
