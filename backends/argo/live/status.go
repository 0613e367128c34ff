package argolive

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
)

// node is one of a Workflow's status.nodes.
type node struct {
	ID           string    `json:"id"`
	DisplayName  string    `json:"displayName"`
	Type         string    `json:"type"`
	TemplateName string    `json:"templateName"`
	Phase        string    `json:"phase"`
	Message      string    `json:"message"`
	StartedAt    time.Time `json:"startedAt"`
	Children     []string  `json:"children"`
	// BoundaryID is the DAG that the node is in.
	BoundaryID string `json:"boundaryID"`
}

// Status returns a run with its steps, counted from the controller's nodes, and what is wrong with them, which the pods
// and their events know better.
func (e *Engine) Status(ctx context.Context, run string) (live.Run, error) {
	w, err := e.workflow(ctx, run)
	if err != nil {
		return live.Run{}, err
	}
	r := w.run()
	nodes, err := w.nodes()
	if err != nil {
		return r, err
	}
	pods, notes := e.pods(ctx, w.Metadata.Name, r.Phase)
	r.Notes = notes
	if len(nodes) == 0 && w.Status.Offloaded != "" {
		r.Notes = append(r.Notes, "the controller keeps the state of this run's tasks in its own database: the steps are counted from the pods that are still there")
		r.Steps = stepsOfPods(w.counter(), pods)
		return r, nil
	}
	r.Steps = stepsOfNodes(w.counter(), nodes, w.stepNames(), w.Spec.Shutdown != "", pods)
	return r, nil
}

// nodes reads the tasks' state, compressed or not.
func (w *workflow) nodes() (map[string]node, error) {
	text := []byte(w.Status.Nodes)
	if w.Status.CompressedNodes != "" {
		var err error
		if text, err = unzip(w.Status.CompressedNodes); err != nil {
			return nil, fmt.Errorf("reading the state of the tasks of %s: %w", w.Metadata.Name, err)
		}
	}
	nodes := map[string]node{}
	if len(text) == 0 {
		return nodes, nil
	}
	if err := json.Unmarshal(text, &nodes); err != nil {
		return nil, fmt.Errorf("reading the state of the tasks of %s: %w", w.Metadata.Name, err)
	}
	return nodes, nil
}

// stepNames maps the templates that the run was started with to steps.
func (w *workflow) stepNames() map[string]string {
	templates := make([]any, 0, len(w.Status.Stored.Templates))
	for _, text := range w.Status.Stored.Templates {
		if o, err := decodeJSON(text); err == nil {
			templates = append(templates, map[string]any(o))
		}
	}
	return stepsOf(object{}, templates)
}

// takenTasks are tasks of a step that a resumed run has taken over.
type takenTasks struct {
	Step  string `json:"step"`
	Tasks int    `json:"tasks"`
}

// counter returns one that knows what the run has taken over: those tasks have succeeded, though nothing was started.
func (w *workflow) counter() *counter {
	c := newCounter()
	var taken []takenTasks
	if json.Unmarshal([]byte(w.Metadata.Annotations[annotationTaken]), &taken) != nil {
		return c
	}
	for i, t := range taken {
		c.count(t.Step, live.Succeeded, time.Time{})
		c.steps[t.Step].Tasks[live.Succeeded] = t.Tasks
		c.taken[t.Step] = i
	}
	return c
}

// counter gathers the steps of a run.
type counter struct {
	steps map[string]*live.Step
	began map[string]time.Time
	order []string
	// taken numbers the steps of which tasks were taken over.
	taken map[string]int
	// problems are by step and text, with those that have it.
	problems map[string]map[string][]string
}

func newCounter() *counter {
	return &counter{steps: map[string]*live.Step{}, began: map[string]time.Time{}, taken: map[string]int{}, problems: map[string]map[string][]string{}}
}

func (c *counter) count(step string, phase live.Phase, began time.Time) {
	s := c.steps[step]
	if s == nil {
		s = &live.Step{Name: step, Tasks: map[live.Phase]int{}}
		c.steps[step] = s
		c.order = append(c.order, step)
		c.began[step] = began
	}
	s.Tasks[phase]++
	if !began.IsZero() && (c.began[step].IsZero() || began.Before(c.began[step])) {
		c.began[step] = began
	}
}

func (c *counter) problem(step, text, who string) {
	if c.problems[step] == nil {
		c.problems[step] = map[string][]string{}
	}
	c.problems[step][text] = append(c.problems[step][text], who)
}

// result is the steps in the order in which they began, those taken over first, each with the first few of its problems.
func (c *counter) result() []live.Step {
	slices.SortFunc(c.order, func(a, b string) int {
		return cmp.Or(c.began[a].Compare(c.began[b]), cmp.Compare(c.taken[a], c.taken[b]), strings.Compare(a, b))
	})
	list := make([]live.Step, len(c.order))
	for i, name := range c.order {
		s := c.steps[name]
		s.Phase = together(s.Tasks)
		s.Problems = lines(c.problems[name])
		list[i] = *s
	}
	return list
}

// together is a step's phase from those of its tasks: what still runs counts most, then what went wrong.
func together(tasks map[live.Phase]int) live.Phase {
	for _, p := range []live.Phase{live.Running, live.Pending, live.Failed, live.Stopped, live.Succeeded} {
		if tasks[p] > 0 {
			if p == live.Pending && len(tasks) > 1 {
				return live.Running
			}
			return p
		}
	}
	return live.Skipped
}

// maxProblems bounds the problems of a step: a thousand pods without their secret have one problem.
const maxProblems = 5

func lines(problems map[string][]string) []string {
	var list []string
	for text, pods := range problems {
		slices.Sort(pods)
		who := pods[0]
		if others := len(pods) - 1; others == 1 {
			who += " and one more"
		} else if others > 1 {
			who += fmt.Sprintf(" and %d more", others)
		}
		list = append(list, who+": "+text)
	}
	slices.Sort(list)
	if more := len(list) - maxProblems; more > 0 {
		list = append(list[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return list
}

// stepsOfNodes counts a run's tasks by step. A task that is tried several times is one.
func stepsOfNodes(c *counter, nodes map[string]node, steps map[string]string, stopping bool, pods []pod) []live.Step {
	tries := map[string]node{} // by the id of each try, the task that is tried
	for _, n := range nodes {
		if n.Type == "Retry" {
			for _, child := range n.Children {
				tries[child] = n
			}
		}
	}
	nodes = lastTries(nodes, tries)
	byNode := map[string]pod{}
	for _, p := range pods {
		byNode[p.node()] = p
	}
	for _, n := range nodes {
		task, isTry := tries[n.ID]
		step, isTask := stepOf(n, steps)
		if !isTask {
			continue
		}
		stopped := stopping || strings.Contains(n.Message, "shutdown with strategy")
		if !isTry {
			task = n
			c.count(step, phaseOf(n.Phase, stopped), n.StartedAt)
		}
		if p := phaseOf(task.Phase, stopped); n.Type != "Pod" || p == live.Succeeded || p == live.Stopped {
			continue
		}
		who, text := "task "+n.DisplayName, ""
		if p, ok := byNode[n.ID]; ok {
			who, text = "pod "+p.Metadata.Name, p.problem()
		}
		if text == "" && phaseOf(n.Phase, false) != live.Succeeded {
			text = inWords(ofNote(n.Message))
		}
		if text != "" {
			c.problem(step, text, who)
		}
	}
	return c.result()
}

// lastTries leaves out what belongs to an earlier try of several tasks together, such as a gang's. As long as they are tried
// again, none of them has failed.
func lastTries(nodes, tries map[string]node) map[string]node {
	left := map[string]node{}
	for id, n := range nodes {
		if together, ok := tries[n.BoundaryID]; ok {
			if last := together.Children[len(together.Children)-1]; n.BoundaryID != last {
				continue
			}
			if again := phaseOf(together.Phase, false); !again.Ended() && phaseOf(n.Phase, false) == live.Failed {
				n.Phase = "Pending"
			}
		}
		left[id] = n
	}
	return left
}

// ofNote leaves out what Argo says of every pod while it starts.
func ofNote(message string) string {
	if message == "PodInitializing" || message == "ContainerCreating" {
		return ""
	}
	return message
}

// stepOf returns the step that a node is a task of, and whether it is one: pods, retried ones and those left out. What runs
// at the exit has its template's name.
func stepOf(n node, steps map[string]string) (string, bool) {
	step, known := steps[n.TemplateName]
	switch n.Type {
	case "Pod", "Retry":
		if known {
			return step, true
		}
		return n.TemplateName, n.Type == "Pod" && n.TemplateName != ""
	case "Skipped":
		return step, known
	}
	return "", false
}

// stepsOfPods counts what there is of a run whose nodes cannot be read.
func stepsOfPods(c *counter, pods []pod) []live.Step {
	for _, p := range pods {
		step := cmp.Or(p.Metadata.Labels[labelStep], "(other)")
		c.count(step, phaseOf(p.Status.Phase, false), p.Status.StartTime)
		if text := p.problem(); text != "" {
			c.problem(step, text, "pod "+p.Metadata.Name)
		}
	}
	return c.result()
}
