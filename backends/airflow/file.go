package airflow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// file writes the whole DAG file.
func (e *emitter) file() []byte {
	var b strings.Builder
	b.WriteString(e.header())
	b.WriteString(e.imports())
	b.WriteString(runIDFunction)
	if e.hasForeach() {
		fmt.Fprintf(&b, pathsFunction, e.setting(setMaxMapLength))
	}
	assign := func(name string, value any) {
		fmt.Fprintf(&b, "%s = %s\n", name, python(value, 0, len(name)+3, 0))
	}
	b.WriteString("\n# The parts of the command line that all tasks share; Airflow fills in the braces.\n")
	head, tail := e.sharedArguments()
	assign("RUN", texts(head))
	assign("ATTEMPT", texts(tail))
	b.WriteString("\n# The folder that brings mf-task into each pod.\n")
	assign("MF_VOLUME", call{"k8s.V1Volume", []entry{{"name", volumeName}, {"empty_dir", call{function: "k8s.V1EmptyDirVolumeSource"}}}})
	assign("MF_MOUNT", call{"k8s.V1VolumeMount", []entry{{"name", volumeName}, {"mount_path", volumeFolder}}})
	b.WriteString("\n# What all tasks share.\n")
	assign("ENV", variables(e.taskEnv))
	assign("POD", e.podDefaults())
	b.WriteString(podFunction)
	b.WriteString("\n\n" + e.withDAG())
	e.body(&b)
	return []byte(b.String())
}

func (e *emitter) header() string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	line := escape.Replace(fmt.Sprintf("Airflow DAG of the flow %s.", e.flow.Name))
	made := escape.Replace(fmt.Sprintf("Made by mf %s from %s; compile the flow again instead of editing this.",
		e.opt.Version, e.flow.Source.File))
	return `"""` + line + "\n\n" + made + "\n" + `"""` + "\n\n"
}

func (e *emitter) imports() string {
	sdk, old := []string{"DAG"}, []string{"from airflow import DAG"}
	if e.hasForeach() {
		sdk = append(sdk, "task", "task_group")
		old = append(old, "from airflow.decorators import task, task_group")
	}
	if len(e.flow.Parameters) > 0 {
		sdk = slices.Insert(sdk, 1, "Param")
		old = append(old, "from airflow.models.param import Param")
	}
	lines := []string{"import hashlib", "from datetime import timedelta", "", "import pendulum"}
	if e.hasForeach() {
		lines = append(lines, "from airflow.exceptions import AirflowFailException")
	}
	lines = append(lines, "from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator")
	if _, ok := e.flow.Schedule(); ok {
		lines = append(lines, "from airflow.timetables.trigger import CronTriggerTimetable")
	}
	lines = append(lines, "from kubernetes.client import models as k8s", "", "try:",
		"    from airflow.sdk import "+strings.Join(sdk, ", "), "except ImportError:  # Airflow 2")
	for _, line := range old {
		lines = append(lines, "    "+line)
	}
	return strings.Join(lines, "\n") + "\n"
}

const runIDFunction = `

def mf_run_id(dag_id, dag_run_id):
    """The id of the flow's run: the same for all tasks of a DAG run."""
    digest = hashlib.sha256(f"{dag_run_id}-{dag_id}".encode()).hexdigest()
    return "airflow-" + digest[:12]

`

const pathsFunction = `
@task(retries=2)
def split_paths(parents, outputs):
    """The split paths below the given ones, as many as each splitting task announced."""
    outputs = list(outputs)
    if len(parents) != len(outputs):
        message = f"{len(outputs)} of {len(parents)} tasks announced splits"
        raise AirflowFailException(message)
    paths = [
        f"{parent},{i}" if parent else str(i)
        for parent, output in zip(parents, outputs)
        for i in range(output["splits"])
    ]
    most = %s
    if len(paths) > most:
        raise AirflowFailException(
            f"{len(paths)} splits, but Airflow maps at most {most}: raise core.max_map_length "
            "and compile the flow with the same number as airflow.max-map-length"
        )
    return paths

`

const podFunction = `

def pod(**settings):
    """A task of the flow: mf-task in a pod of its own."""
    return KubernetesPodOperator(**{**POD, **settings})
`

// startDate lies before any run. It is no day of a compile, so that the same flow gives the same file.
const startDate = `pendulum.datetime(2024, 1, 1, tz="UTC")`

func (e *emitter) withDAG() string {
	dag := call{"DAG", []entry{
		{"dag_id", e.name},
		{"schedule", e.schedule()},
		{"start_date", raw(startDate)},
		{"catchup", false},
		{"max_active_tasks", e.opt.MaxWorkers},
		{"default_args", dict{
			{"retries", 0},
			{"execution_timeout", timedelta(backends.DefaultTimeoutSeconds * time.Second)},
		}},
		{"user_defined_macros", dict{{"mf_run_id", raw("mf_run_id")}}},
	}}
	if params := e.params(); len(params) > 0 {
		dag.arguments = append(dag.arguments, entry{"params", params})
	}
	tags := texts(e.opt.ListSetting(e.settings, setTags))
	if e.project != nil {
		tags = append(tags, "project:"+e.project.Name, "branch:"+e.project.Branch)
	}
	if len(tags) > 0 {
		dag.arguments = append(dag.arguments, entry{"tags", tags})
	}
	if doc := strings.TrimSpace(e.flow.Doc); doc != "" {
		if strings.HasSuffix(doc, ".md") {
			doc += "\n" // Airflow would take it for the name of a file
		}
		dag.arguments = append(dag.arguments, entry{"doc_md", pythonText(doc)})
	}
	// With more than what fits on a line, which is always so.
	return "with " + python(dag, 0, lineLength, 0) + " as dag:\n"
}

// schedule is None, or a timetable that means the same in Airflow 2 and 3: a run at each time that the expression names.
func (e *emitter) schedule() any {
	s, ok, err := e.flow.CheckedSchedule()
	if !ok {
		return nil
	}
	if err != nil {
		e.list = append(e.list, diag.Errorf(e.flow.Decorator("schedule").Span, "bad-schedule", "the schedule %q: %v", s.Source, err))
		return nil
	}
	zone := s.Timezone
	if zone == "" {
		zone = "UTC"
	}
	return call{"CronTriggerTimetable", []entry{{"", s.Cron}, {"timezone", zone}}}
}

// body writes tasks and groups, and behind them the order in which they run.
func (e *emitter) body(b *strings.Builder) {
	written := map[*group]bool{}
	var statements []string
	for _, name := range e.graph.Order() {
		s := e.graph.Step(name)
		g := e.plan.of[name]
		if g == nil {
			statements = append(statements, e.assignment(s, indentWidth, true))
			continue
		}
		if written[g] {
			continue
		}
		if _, first := e.graph.FirstOfBody(name); first {
			statements = append(statements, e.pathsTask(g.split))
		}
		written[g] = true
		statements = append(statements, e.groupFunction(g))
	}
	for _, s := range statements {
		b.WriteString(s)
	}
	if edges := e.edges(nil); len(edges) > 0 {
		b.WriteString("\n")
		for _, line := range edges {
			b.WriteString("    " + line + "\n")
		}
	}
}

// assignment writes a task, with a variable if that is used.
func (e *emitter) assignment(s *ir.Step, indent int, named bool) string {
	pad, prefix := strings.Repeat(" ", indent), ""
	if named {
		prefix = e.steps[s.Name] + " = "
	}
	return pad + prefix + python(e.pod(s), indent, indent+width(prefix), 0) + "\n"
}

// pathsTask writes the task that lists the paths below a splitting step.
func (e *emitter) pathsTask(split string) string {
	parents, outputs := any(list{""}), any(list{raw(e.steps[split] + ".output")})
	if outer := e.plan.of[split]; outer != nil {
		parents, outputs = raw(e.paths[outer.split]), raw(fmt.Sprintf("dag.get_task(%s).output", pythonString(split)))
	}
	prefix := e.paths[split] + " = "
	c := call{fmt.Sprintf("split_paths.override(task_id=%s)", pythonString(e.pathTasks[split])), []entry{{"", parents}, {"", outputs}}}
	return "    " + prefix + python(c, indentWidth, indentWidth+width(prefix), 0) + "\n"
}

func (e *emitter) groupFunction(g *group) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n    @task_group(group_id=%s, prefix_group_id=False)\n    def %s(path):\n", pythonString(g.id), g.function)
	for _, name := range g.steps {
		// Local variables serve the order of the steps only.
		b.WriteString(e.assignment(e.graph.Step(name), 2*indentWidth, len(g.steps) > 1))
	}
	for _, line := range e.edges(g) {
		b.WriteString("        " + line + "\n")
	}
	fmt.Fprintf(&b, "\n    %s = %s.expand(path=%s)\n", g.variable, g.function, e.paths[g.split])
	return b.String()
}

// edges writes the order of tasks inside a group, or with nil of tasks outside any, and of groups. What a list of paths
// already says (the splitting task, its list, the first group) is left out.
func (e *emitter) edges(inside *group) []string {
	var order []string
	after := map[string][]string{}
	add := func(from, to string) {
		if after[from] == nil {
			order = append(order, from)
		}
		if !slices.Contains(after[from], to) {
			after[from] = append(after[from], to)
		}
	}
	steps := e.graph.Order()
	if inside != nil {
		steps = inside.steps
	}
	for _, from := range steps {
		for _, to := range e.graph.Successors(from) {
			u, v := e.plan.of[from], e.plan.of[to]
			switch {
			case splits(e.graph.Step(from)):
			case inside == nil && u == v && u != nil, inside != nil && u != v:
			case inside != nil || u == nil && v == nil:
				add(e.steps[from], e.steps[to])
			default:
				add(e.unit(from), e.unit(to))
			}
		}
	}
	indent := indentWidth
	if inside != nil {
		indent *= 2
	}
	var lines []string
	for _, from := range order {
		var to any = raw(after[from][0])
		if len(after[from]) > 1 {
			var several list
			for _, name := range after[from] {
				several = append(several, raw(name))
			}
			to = several
		}
		prefix := from + " >> "
		lines = append(lines, prefix+python(to, indent, indent+width(prefix), 0))
	}
	return lines
}

// unit is the variable of what a step is part of at the top: its group, or itself.
func (e *emitter) unit(step string) string {
	if g := e.plan.of[step]; g != nil {
		return g.variable
	}
	return e.steps[step]
}
