package runtime

import (
	"maps"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

// jobInput is one input of a step's job.
type jobInput struct {
	Step      string            `json:"step"`
	Task      string            `json:"task"`
	Run       string            `json:"run"`
	Index     *int              `json:"index"`
	Artifacts map[string]string `json:"artifacts"`
}

type jobItem struct {
	Var   string `json:"var"`
	Index int    `json:"index"`
}

type jobGang struct {
	NumNodes      int    `json:"num_nodes"`
	NodeIndex     int    `json:"node_index"`
	MainIP        string `json:"main_ip"`
	ControlTaskID string `json:"control_task_id"`
}

type jobNext struct {
	Kind      ir.TransitionKind `json:"kind"`
	Targets   []string          `json:"targets"`
	Foreach   string            `json:"foreach,omitempty"`
	Condition string            `json:"condition,omitempty"`
	Cases     [][2]any          `json:"cases,omitempty"`
}

// job is the first message to the process of a step (docs/step-protocol.md).
type job struct {
	Op             string            `json:"op"`
	Flow           string            `json:"flow"`
	Run            string            `json:"run"`
	Step           string            `json:"step"`
	Task           string            `json:"task"`
	Attempt        int               `json:"attempt"`
	OriginRun      *string           `json:"origin_run"`
	Path           []int             `json:"path"`
	Iteration      *int              `json:"iteration"`
	ForeachStack   [][5]any          `json:"foreach_stack"`
	Join           bool              `json:"join"`
	Inputs         []jobInput        `json:"inputs"`
	NumInputs      int               `json:"num_inputs"`
	Parameters     []string          `json:"parameters"`
	ParametersTask jobInput          `json:"parameters_task"`
	Item           *jobItem          `json:"item"`
	Retries        int               `json:"retries"`
	Timeout        float64           `json:"timeout"`
	Env            map[string]string `json:"env"`
	Username       string            `json:"username"`
	Namespace      string            `json:"namespace"`
	Tags           []string          `json:"tags"`
	Project        *Project          `json:"project"`
	Parallel       *jobGang          `json:"parallel"`
	Next           *jobNext          `json:"next"`
	TempDir        string            `json:"tempdir"`
	InlineMax      int               `json:"inline_max"`
	// PrintFailure is false: the runtime itself writes the traceback to the log, behind all that the body printed.
	PrintFailure bool `json:"print_failure"`
}

// Project is what current says of the project.
type Project struct {
	Name         string `json:"name"`
	Branch       string `json:"branch"`
	FlowName     string `json:"flow_name"`
	IsUserBranch bool   `json:"is_user_branch"`
	IsProduction bool   `json:"is_production"`
}

func (a *attempt) job() job {
	r, t := a.run, a.task
	j := job{
		Op: "step", Flow: r.Flow.Name, Run: r.ID, Step: t.Step.Name, Task: t.Ref.Task, Attempt: t.Attempt,
		Path: append([]int{}, t.Path...), ForeachStack: [][5]any{}, Join: t.Step.Join,
		Inputs: []jobInput{}, NumInputs: len(t.Inputs), Parameters: r.constantNames(),
		ParametersTask: describeInput(r.Parameters, t.Step.Join),
		Retries:        t.Retries, Timeout: t.Step.Timeout().Seconds(), Env: a.stepEnv(),
		Username: r.User, Namespace: r.Namespace, Tags: append([]string{}, r.Tags...), Project: r.Project,
		Next: staticNext(t.Step), TempDir: r.TempDir, InlineMax: inlineMax,
	}
	if r.Origin != "" {
		j.OriginRun = &r.Origin
	}
	if t.Iteration != ir.NoIteration {
		j.Iteration = &t.Iteration
	}
	for _, f := range t.Stack {
		var value any
		if f.HasValue {
			value = f.Value
		}
		j.ForeachStack = append(j.ForeachStack, [5]any{f.Step, f.Var, f.NumSplits, f.Index, value})
	}
	for _, in := range t.Inputs {
		j.Inputs = append(j.Inputs, describeInput(in, t.Step.Join))
	}
	if n := len(t.Stack); n > 0 && t.Gang == nil {
		j.Item = &jobItem{Var: t.Stack[n-1].Var, Index: t.Stack[n-1].Index}
	}
	if g := t.Gang; g != nil {
		j.Parallel = &jobGang{NumNodes: g.Size, NodeIndex: g.Index, MainIP: g.mainIP(), ControlTaskID: g.ControlTaskID}
	}
	return j
}

// constantNames are the artifacts that a step may not set: parameters and constants.
func (r *Run) constantNames() []string {
	names := make([]string, 0, len(r.Flow.Parameters)+len(r.Flow.Constants))
	for _, p := range r.Flow.Parameters {
		names = append(names, p.Name)
	}
	for _, c := range r.Flow.Configs {
		names = append(names, c.Name)
	}
	for _, c := range r.Flow.Constants {
		names = append(names, c.Name)
	}
	return names
}

func describeInput(in *Result, join bool) jobInput {
	digests := make(map[string]string, len(in.Artifacts))
	for name, art := range in.Artifacts {
		digests[name] = art.Digest
	}
	j := jobInput{Step: in.Ref.Step, Task: in.Ref.Task, Run: in.Ref.Run, Artifacts: digests}
	if n := len(in.Path); n > 0 && join {
		j.Index = &in.Path[n-1]
	}
	return j
}

func staticNext(s *ir.Step) *jobNext {
	if s.Next == nil {
		return nil
	}
	next := &jobNext{Kind: s.Next.Kind, Targets: s.Successors(), Foreach: s.Next.Foreach, Condition: s.Next.Condition}
	for _, c := range s.Next.Cases {
		next.Cases = append(next.Cases, [2]any{c.Value, c.Step})
	}
	return next
}

// stepEnv is what is added to the environment of the step's process.
func (a *attempt) stepEnv() map[string]string {
	r, t := a.run, a.task
	env := maps.Clone(r.TaskEnv)
	if env == nil {
		env = map[string]string{}
	}
	env["METAFLOW_RUN_ID"] = r.ID
	env["MF_FLOW"], env["MF_RUN"], env["MF_STEP"], env["MF_TASK"] = r.Flow.Name, r.ID, t.Step.Name, t.Ref.Task
	env["MF_ATTEMPT"] = itoa(t.Attempt)
	env["MF_PATH"] = t.Path.String()
	env["MF_PATHSPEC"] = t.Ref.String()
	if g := t.Gang; g != nil {
		env["MF_PARALLEL_MAIN_IP"] = g.mainIP()
		env["MF_PARALLEL_NUM_NODES"] = itoa(g.Size)
		env["MF_PARALLEL_NODE_INDEX"] = itoa(g.Index)
		env["MF_PARALLEL_CONTROL_TASK_ID"] = g.ControlTaskID
	}
	maps.Copy(env, t.Step.Environment())
	return env
}

// ParametersRef names the pseudo task that holds a run's parameters.
func ParametersRef(flow, run, task string) datastore.TaskRef {
	return datastore.TaskRef{Flow: flow, Run: run, Step: ParametersStep, Task: task}
}

// ParametersStep is the name of the pseudo step that holds a run's parameters.
const ParametersStep = "_parameters"
