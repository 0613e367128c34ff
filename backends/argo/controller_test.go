package argo_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/expr/argoexpr"
	"github.com/argoproj/argo-workflows/v3/util/expr/env"
	argotemplate "github.com/argoproj/argo-workflows/v3/util/template"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/ir"
)

// controller runs a WorkflowTemplate as Argo's controller does, as far as mf's manifests go: DAGs, what tasks wait for,
// "when", "withSequence", "withItems", parameters, outputs and their defaults, retries, and the phase of a DAG. Dependencies, texts and
// expressions are evaluated by Argo's own code. In place of a pod it asks what the step does.
type controller struct {
	t    *testing.T
	spec *wfv1.WorkflowSpec
	// pod says how an invocation ends and which small outputs it leaves.
	pod func(ir.TaskInvocation) (outputs map[string]string, ok bool)
	// skippedOutputs is what versions of Argo do about outputs of tasks that did not run.
	skippedOutputs skippedOutputs
	wf             string
	nodes          wfv1.Nodes
	// ran are the invocations, as text, in order.
	ran []string
}

type skippedOutputs int

const (
	// leftAlone: the variable stays in the text (3.6).
	leftAlone skippedOutputs = iota
	// emptyText: it becomes empty (3.7.14).
	emptyText
	// byDefault: it becomes the output's default; without one the run fails (3.7.16, 4.x).
	byDefault
)

// result is how a template ended.
type result struct {
	phase   wfv1.NodePhase
	outputs map[string]string
	node    string
}

func (c *controller) run() wfv1.NodePhase {
	c.nodes = wfv1.Nodes{}
	return c.template(c.spec.Entrypoint, c.wf, "", map[string]string{"workflow.name": c.wf}, 1).phase
}

func (c *controller) find(name string) *wfv1.Template {
	for i := range c.spec.Templates {
		if c.spec.Templates[i].Name == name {
			return &c.spec.Templates[i]
		}
	}
	c.t.Fatalf("no template %s", name)
	return nil
}

// template runs a template with its input parameters, which stand in scope, as often as its retry strategy says.
func (c *controller) template(name, node, boundary string, scope map[string]string, depth int) result {
	if depth >= 100 {
		return result{phase: wfv1.NodeError}
	}
	tmpl := c.find(name)
	if tmpl.RetryStrategy == nil {
		return c.attempt(tmpl, node, boundary, scope, depth)
	}
	var r result
	var children []string
	for n := range tmpl.RetryStrategy.Limit.IntValue() + 1 {
		scope["retries"] = strconv.Itoa(n)
		r = c.attempt(tmpl, fmt.Sprintf("%s(%d)", node, n), boundary, scope, depth)
		children = append(children, r.node)
		if r.phase == wfv1.NodeSucceeded {
			break
		}
	}
	r.node = c.record(node, boundary, wfv1.NodeTypeRetry, tmpl.Name, r.phase, scope, nil, children)
	return r
}

func (c *controller) attempt(tmpl *wfv1.Template, node, boundary string, scope map[string]string, depth int) result {
	tmpl = substituted(c.t, tmpl, scope)
	if tmpl.DAG != nil {
		r := c.dag(tmpl, node, boundary, scope, depth)
		r.node = c.record(node, boundary, wfv1.NodeTypeDAG, tmpl.Name, r.phase, scope, r.outputs, []string{r.node})
		return r
	}
	invocation, err := ir.ParseTaskInvocation(tmpl.Container.Args)
	if err != nil {
		c.t.Fatal(err)
	}
	c.ran = append(c.ran, strings.Join(tmpl.Container.Args, " "))
	written, ok := c.pod(invocation)
	r := result{phase: wfv1.NodeSucceeded, outputs: map[string]string{}}
	for _, p := range tmpl.Outputs.Parameters {
		value, found := written[p.Name]
		switch {
		case found:
			r.outputs[p.Name] = value
		case p.ValueFrom.Default != nil:
			r.outputs[p.Name] = p.ValueFrom.Default.String()
		case ok:
			c.t.Fatalf("step %s leaves no %s", invocation.Step, p.Name)
		}
	}
	if !ok {
		r.phase = wfv1.NodeFailed
	}
	r.node = c.record(node, boundary, wfv1.NodeTypePod, tmpl.Name, r.phase, scope, r.outputs, []string{c.id(node + "-next")})
	return r
}

// dag runs the tasks of a DAG, each when all it depends on have ended.
func (c *controller) dag(tmpl *wfv1.Template, node, boundary string, scope map[string]string, depth int) result {
	d := dagContext{tmpl.DAG}
	ended := map[string]result{}
	for len(ended) < len(tmpl.DAG.Tasks) {
		before := len(ended)
		for i := range tmpl.DAG.Tasks {
			task := &tmpl.DAG.Tasks[i]
			dependencies, logic := common.GetTaskDependencies(task, d)
			ready := !slices.ContainsFunc(slices.Collect(maps.Keys(dependencies)), func(name string) bool {
				_, done := ended[name]
				return !done
			})
			if _, done := ended[task.Name]; ready && !done {
				ended[task.Name] = c.task(d, task, logic, ended, node, scope, depth)
			}
		}
		if len(ended) == before {
			c.t.Fatalf("the tasks of %s wait for each other", tmpl.Name)
		}
	}
	r := result{phase: wfv1.NodeSucceeded, outputs: map[string]string{}}
	seen := map[string]wfv1.NodePhase{}
	for name := range ended {
		if phase := branchPhase(d, name, ended, seen); phase != wfv1.NodeSucceeded && isLeaf(d, name) {
			r.phase = phase
		}
	}
	for _, p := range tmpl.Outputs.Parameters {
		if r.phase == wfv1.NodeSucceeded {
			r.outputs[p.Name] = c.expression(p.ValueFrom, ended)
		}
	}
	if len(tmpl.DAG.Tasks) > 0 {
		r.node = ended[tmpl.DAG.Tasks[0].Name].node
	}
	return r
}

// task decides whether a task runs, and runs it: once, or for each number of its sequence.
func (c *controller) task(d dagContext, task *wfv1.DAGTask, logic string, ended map[string]result, node string,
	scope map[string]string, depth int) result {
	name, parent := node+"."+task.Name, c.id(node)
	left := func(phase wfv1.NodePhase) result {
		return result{phase: phase, node: c.record(name, parent, wfv1.NodeTypeSkipped, task.Template, phase, nil, nil, nil)}
	}
	results := map[string]taskResults{}
	for name, r := range ended {
		results[strings.ReplaceAll(name, "-", "_")] = taskResults{Succeeded: r.phase == wfv1.NodeSucceeded,
			Failed: r.phase == wfv1.NodeFailed, Errored: r.phase == wfv1.NodeError, Skipped: r.phase == wfv1.NodeSkipped,
			Omitted: r.phase == wfv1.NodeOmitted}
	}
	if logic != "" {
		run, err := argoexpr.EvalBool(strings.ReplaceAll(logic, "-", "_"), results)
		if err != nil {
			c.t.Fatalf("task %s: %v", task.Name, err)
		}
		if !run {
			return left(wfv1.NodeOmitted)
		}
	}
	task = substituted(c.t, task, c.taskScope(d, task, ended, scope))
	if task.When != "" {
		run, err := argoexpr.EvalBool(task.When, map[string]any{})
		if err != nil {
			c.t.Fatalf("task %s: when %s: %v", task.Name, task.When, err)
		}
		if !run {
			return left(wfv1.NodeSkipped)
		}
	}
	call := func(node, item string) result {
		inner := map[string]string{"workflow.name": c.wf}
		for _, p := range substituted(c.t, task, map[string]string{"item": item}).Arguments.Parameters {
			inner["inputs.parameters."+p.Name] = p.Value.String()
		}
		return c.template(task.Template, node, parent, inner, depth+1)
	}
	if !task.ShouldExpand() {
		return call(name, "")
	}
	items := c.items(task)
	if len(items) == 0 {
		return left(wfv1.NodeSkipped)
	}
	r := result{phase: wfv1.NodeSucceeded}
	var children []string
	for i, value := range items {
		item := call(fmt.Sprintf("%s(%d:%s)", name, i, value), value)
		children = append(children, item.node)
		if item.phase != wfv1.NodeSucceeded {
			r.phase = item.phase
		}
	}
	r.node = c.record(name, parent, wfv1.NodeTypeTaskGroup, task.Template, r.phase, nil, nil, children)
	return r
}

// items are what a task is expanded over.
func (c *controller) items(task *wfv1.DAGTask) []string {
	var list []string
	for _, item := range task.WithItems {
		list = append(list, fmt.Sprint(item))
	}
	if task.WithSequence != nil {
		n, err := strconv.Atoi(task.WithSequence.Count.String())
		if err != nil {
			c.t.Fatalf("task %s: %v", task.Name, err)
		}
		for i := range n {
			list = append(list, strconv.Itoa(i))
		}
	}
	return list
}

// taskScope is what a task's texts may name: the inputs of its DAG, and status and outputs of the tasks before it.
func (c *controller) taskScope(d dagContext, task *wfv1.DAGTask, ended map[string]result, scope map[string]string) map[string]string {
	scope = maps.Clone(scope)
	delete(scope, "retries")
	for _, before := range common.GetTaskAncestry(d, task.Name) {
		r := ended[before]
		scope["tasks."+before+".status"] = string(r.phase)
		for name, value := range r.outputs {
			scope["tasks."+before+".outputs.parameters."+name] = value
		}
		if r.phase != wfv1.NodeSkipped && r.phase != wfv1.NodeOmitted {
			continue
		}
		for _, p := range c.find(d.GetTask(before).Template).Outputs.Parameters {
			key := "tasks." + before + ".outputs.parameters." + p.Name
			switch {
			case c.skippedOutputs == leftAlone:
			case c.skippedOutputs == emptyText:
				scope[key] = ""
			case c.skippedOutputs == byDefault && p.ValueFrom.Default != nil:
				scope[key] = p.ValueFrom.Default.String()
			case c.skippedOutputs == byDefault && strings.Contains(task.When, key):
				c.t.Errorf("task %s reads %s, which was left out and has no default", task.Name, key)
			}
		}
	}
	return scope
}

// expression is the output of a DAG. Argo's code that is open to others evaluates truths only: it is asked which of the
// values that there are the expression has.
func (c *controller) expression(from *wfv1.ValueFrom, ended map[string]result) string {
	scope := map[string]any{}
	values := []string{strings.Trim(from.Expression, "'")} // itself, where it is a text
	for name, r := range ended {
		scope["tasks."+name+".status"] = string(r.phase)
		for output, value := range r.outputs {
			scope["tasks."+name+".outputs.parameters."+output] = value
			values = append(values, value)
		}
	}
	for _, value := range values {
		same, err := argoexpr.EvalBool("("+from.Expression+") == "+strconv.Quote(value), env.GetFuncMap(scope))
		if err != nil {
			c.t.Fatalf("%s: %v", from.Expression, err)
		}
		if same {
			return value
		}
	}
	c.t.Fatalf("%s is none of %v", from.Expression, values)
	return ""
}

// branchPhase is a task's phase as it counts for its DAG's: one that did not run has that of the tasks before it, of which
// a failure comes first.
func branchPhase(d dagContext, name string, ended map[string]result, seen map[string]wfv1.NodePhase) wfv1.NodePhase {
	if phase := ended[name].phase; phase.Completed() {
		return phase
	}
	if phase, known := seen[name]; known {
		return phase
	}
	seen[name] = wfv1.NodeSucceeded
	dependencies, _ := common.GetTaskDependencies(d.GetTask(name), d)
	for before := range dependencies {
		if phase := branchPhase(d, before, ended, seen); phase.FailedOrError() {
			seen[name] = phase
			return phase
		}
	}
	return wfv1.NodeSucceeded
}

func isLeaf(d dagContext, name string) bool {
	for i := range d.dag.Tasks {
		if dependencies, _ := common.GetTaskDependencies(&d.dag.Tasks[i], d); len(dependencies) > 0 {
			if _, before := dependencies[name]; before {
				return false
			}
		}
	}
	return true
}

// substituted returns a copy with the variables of the scope put in; others stay.
func substituted[T any](t *testing.T, of *T, scope map[string]string) *T {
	t.Helper()
	text, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := argotemplate.Replace(string(text), scope, true)
	if err != nil {
		t.Fatal(err)
	}
	changed := new(T)
	if err := json.Unmarshal([]byte(replaced), changed); err != nil {
		t.Fatal(err)
	}
	return changed
}

// id makes a node's id of its name, as Argo does.
func (c *controller) id(name string) string {
	if name == c.wf {
		return name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%s-%v", c.wf, h.Sum32())
}

var lastPart = regexp.MustCompile(`[^.]*$`)

// record keeps a node's status with the fields that the controller fills in.
func (c *controller) record(name, boundary string, kind wfv1.NodeType, tmpl string, phase wfv1.NodePhase, scope, outputs map[string]string,
	children []string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name + "?"))
	varied := int(h.Sum32() >> 8)
	at := func(seconds int) metav1.Time {
		return metav1.NewTime(time.Date(2026, 11, 23, 12, 0, seconds, 0, time.UTC))
	}
	n := wfv1.NodeStatus{ID: c.id(name), Name: name, DisplayName: lastPart.FindString(name), Type: kind, TemplateName: tmpl,
		TemplateScope: "local/" + c.wf, Phase: phase, BoundaryID: boundary, StartedAt: at(varied % 3600), FinishedAt: at(varied%3600 + varied%97),
		EstimatedDuration: 100, Progress: "1000/1000", Children: children,
		ResourcesDuration: wfv1.ResourcesDuration{"cpu": wfv1.ResourceDuration(varied % 200), "memory": wfv1.ResourceDuration(varied % 5000)}}
	for _, key := range slices.Sorted(maps.Keys(scope)) {
		if input, ok := strings.CutPrefix(key, "inputs.parameters."); ok {
			n.Inputs = cmpInputs(n.Inputs)
			n.Inputs.Parameters = append(n.Inputs.Parameters, wfv1.Parameter{Name: input, Value: wfv1.AnyStringPtr(scope[key])})
		}
	}
	switch kind {
	case wfv1.NodeTypePod:
		synced, code := true, "0"
		n.TaskResultSynced, n.HostNodeName = &synced, fmt.Sprintf("ip-10-123-45-%d.eu-north-1.compute.internal", varied%50)
		n.Outputs = &wfv1.Outputs{ExitCode: &code}
		for output, value := range outputs {
			n.Outputs.Parameters = append(n.Outputs.Parameters, wfv1.Parameter{Name: output, Value: wfv1.AnyStringPtr(value),
				ValueFrom: &wfv1.ValueFrom{Path: "/mf/out/" + output}})
		}
	case wfv1.NodeTypeDAG:
		n.OutboundNodes = children
	}
	c.nodes[n.ID] = n
	return n.ID
}

func cmpInputs(in *wfv1.Inputs) *wfv1.Inputs {
	if in == nil {
		return &wfv1.Inputs{}
	}
	return in
}
