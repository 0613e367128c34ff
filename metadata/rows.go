package metadata

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ParametersStep is the pseudo step whose only task holds a run's parameters. Clients hide it.
const ParametersStep = "_parameters"

// TaskRef names a task.
type TaskRef struct {
	Flow, Run, Step, Task string
}

// String returns the pathspec "Flow/run/step/task".
func (t TaskRef) String() string { return t.Flow + "/" + t.Run + "/" + t.Step + "/" + t.Task }

// Env is what all rows of a run have in common. Its methods build the rows that Metaflow writes at each moment of a
// task's life, with the same fields, types and texts, so that Metaflow's client finds what it looks for. They read
// no clock: every row of a batch carries the time given.
type Env struct {
	// User is the name of who runs the flow.
	User string
	// Runtime is Metaflow's name of what schedules the tasks: "dev" for a local run (also when empty), or
	// "argo-workflows", "step-functions", "airflow".
	Runtime string
	// ProductionToken replaces the user in the system tags of a deployed flow's runs.
	ProductionToken string
	// PythonVersion is such as "3.11.7"; empty when no Python is involved, which leaves it out.
	PythonVersion string
	// MetaflowVersion is the version of Metaflow that readers are to assume, such as "2.19.39".
	MetaflowVersion string
	// Tags are the user's tags of the run.
	Tags []string
	// SystemTags are further system tags after the standard ones, such as "project:x" and "project_branch:y".
	SystemTags []string
	// DsType is the kind of datastore ("local", "s3", "gs" or "azure") and DsRoot its root.
	DsType, DsRoot string
	// OriginRun is the run that this one resumes; empty for a fresh run.
	OriginRun string
	// ScriptName is the name of the flow file, without its folder.
	ScriptName string
	// CodePackage says where the run's code is; nil when it was not packaged.
	CodePackage *CodePackage
	// Triggers are the events that started the run, a JSON array; empty for none. They are put down with the start task.
	Triggers string
	// Git says which commit the code is of; nil when unknown.
	Git *Git
}

// CodePackage says where a code package is stored.
type CodePackage struct {
	DsType, Sha, Location, Metadata string
}

// Git is the state of the working copy that a flow was started from.
type Git struct {
	RepoURL, Branch, Commit string
	Uncommitted             bool
}

// ArtifactRef is an artifact's digest and serialization.
type ArtifactRef struct {
	Sha string
	// ContentType is such as "pickle-v4".
	ContentType string
}

// ForeachFrame is one foreach around a task.
type ForeachFrame struct {
	// Step is the first step of the foreach's body, Var the artifact that is iterated over.
	Step, Var string
	// Index is the task's position; -1 where there is none (the control task of a gang).
	Index int
	// Value is the short text of the element; empty when unknown.
	Value string
}

// maxForeachStack bounds the "foreach-stack" metadatum, in characters, as Metaflow does.
const maxForeachStack = 256

// AllSystemTags returns the standard system tags followed by the further ones, without duplicates.
func (e Env) AllSystemTags() []string {
	tags := make([]string, 0, 4+len(e.SystemTags))
	for _, f := range e.systemInfo() {
		tags = append(tags, f[0]+":"+f[1])
	}
	for _, t := range e.SystemTags {
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return tags
}

// systemInfo returns the names and values that become both system tags and metadata of every task.
func (e Env) systemInfo() [][2]string {
	runtime := e.Runtime
	if runtime == "" {
		runtime = "dev"
	}
	info := [][2]string{{"runtime", runtime}}
	if e.PythonVersion != "" {
		info = append(info, [2]string{"python_version", e.PythonVersion})
	}
	if e.ProductionToken != "" {
		info = append(info, [2]string{"production", e.ProductionToken})
	} else {
		info = append(info, [2]string{"user", e.User})
	}
	if e.MetaflowVersion != "" {
		info = append(info, [2]string{"metaflow_version", e.MetaflowVersion})
	}
	return info
}

// Run returns the row for CreateRun of a new run. An empty id asks the store to mint one.
func (e Env) Run(flow, run string) Run {
	return Run{
		FlowID: flow, RunID: run, UserName: e.User, Tags: slices.Clone(e.Tags), SystemTags: e.AllSystemTags(),
		Status: Running, Origin: e.OriginRun,
	}
}

// TaskRegistered makes a task known: its step, itself, and the system metadata of the attempt. For a later attempt
// only the metadata is new, for the other rows exist and stay.
func (e Env) TaskRegistered(t TaskRef, attempt int, now time.Time) Batch {
	system, ms := e.AllSystemTags(), now.UnixMilli()
	b := Batch{
		Steps: []Step{{
			FlowID: t.Flow, RunID: t.Run, StepName: t.Step, UserName: e.User,
			Tags: e.Tags, SystemTags: system, TsEpoch: ms,
		}},
		Tasks: []Task{{
			FlowID: t.Flow, RunID: t.Run, StepName: t.Step, TaskID: t.Task, UserName: e.User,
			Tags: e.Tags, SystemTags: system, TsEpoch: ms,
		}},
	}
	rows := e.values(t, attempt, ms)
	for _, f := range e.systemInfo() {
		rows.add(f[0], f[1])
	}
	if c := e.CodePackage; c != nil {
		rows.add("code-package", mustJSON(struct {
			DsType   string `json:"ds_type"`
			Sha      string `json:"sha"`
			Location string `json:"location"`
			Metadata string `json:"metadata"`
		}(*c)))
	}
	rows.add("script-name", e.ScriptName)
	if e.Triggers != "" && t.Step != ParametersStep {
		rows.add("execution-triggers", e.Triggers)
	}
	if g := e.Git; g != nil {
		rows.add("git-info", mustJSON(struct {
			RepoURL     string `json:"repo_url,omitempty"`
			Branch      string `json:"branch_name,omitempty"`
			Commit      string `json:"commit_sha,omitempty"`
			Uncommitted bool   `json:"has_uncommitted_changes,omitempty"`
		}(*g)))
	}
	b.Metadata = rows.list
	return b
}

// TaskStarted says that an attempt begins. The frames are the foreaches around the task, outermost first.
func (e Env) TaskStarted(t TaskRef, attempt int, frames []ForeachFrame, now time.Time) Batch {
	origin := e.OriginRun
	if origin == "" {
		origin = "None" // the text of Python's None, which readers know
	}
	rows := e.values(t, attempt, now.UnixMilli())
	rows.add("attempt", strconv.Itoa(attempt))
	rows.add("origin-run-id", origin)
	rows.add("ds-type", e.DsType)
	rows.add("ds-root", e.DsRoot)
	if stack := foreachStack(frames); len(stack) > 0 {
		rows.add("foreach-stack", mustJSON(stack))
	}
	if len(frames) > 0 {
		rows.add("foreach-execution-path", foreachPath(frames))
	}
	return Batch{Metadata: rows.list}
}

// GangMember says, of a task that has started, which member of a gang of what size it is. The first is Metaflow's control task.
func (e Env) GangMember(t TaskRef, attempt, size, index int, now time.Time) Batch {
	rows := e.values(t, attempt, now.UnixMilli())
	rows.add("parallel-world-size", strconv.Itoa(size))
	rows.add("parallel-node-index", strconv.Itoa(index))
	if index == 0 {
		rows.add("internal_task_type", "control_task")
	}
	return Batch{Metadata: rows.list}
}

// foreachStack returns "var=value" of the frames, up to the first that is unknown or would pass the bound.
func foreachStack(frames []ForeachFrame) []string {
	var stack []string
	length := 0
	for _, f := range frames {
		if f.Var == "" || f.Value == "" {
			break
		}
		text := f.Var + "=" + f.Value
		length += utf8.RuneCountInString(text)
		if length > maxForeachStack {
			break
		}
		stack = append(stack, text)
	}
	return stack
}

func foreachPath(frames []ForeachFrame) string {
	parts := make([]string, len(frames))
	for i, f := range frames {
		index := "None"
		if f.Index >= 0 {
			index = strconv.Itoa(f.Index)
		}
		parts[i] = f.Step + ":" + index
	}
	return strings.Join(parts, ",")
}

// TaskFinished says that an attempt has ended, well or not, and which artifacts it left.
func (e Env) TaskFinished(t TaskRef, attempt int, ok bool, artifacts map[string]ArtifactRef, now time.Time) Batch {
	ms := now.UnixMilli()
	rows := e.values(t, attempt, ms)
	rows.addTyped("attempt_ok", "internal_attempt_status", pythonBool(ok))
	rows.add("attempt-done", strconv.Itoa(attempt))
	return Batch{Metadata: rows.list, Artifacts: e.artifacts(t, attempt, artifacts, ms)}
}

// TaskCloned makes known a task that a resumed run took over, whole, from task originTask of run e.OriginRun. A clone is
// always attempt 0, and has neither datastore metadata nor logs of its own: clients follow it to its origin.
func (e Env) TaskCloned(t TaskRef, originTask string, artifacts map[string]ArtifactRef, now time.Time) Batch {
	b := e.TaskRegistered(t, 0, now)
	rows := e.values(t, 0, now.UnixMilli())
	rows.add("origin-task-id", originTask)
	rows.add("origin-run-id", e.OriginRun)
	rows.add("attempt", "0")
	b.Metadata = append(b.Metadata, rows.list...)
	b.Add(e.TaskFinished(t, 0, true, artifacts, now))
	return b
}

// ParametersTask makes known the finished _parameters task of a run, and with it the names of the flow's first and
// last step. Metaflow leaves these two names out of resumed runs, whose custom start and end its client then misses;
// they are always written here.
func (e Env) ParametersTask(t TaskRef, start, end string, artifacts map[string]ArtifactRef, now time.Time) Batch {
	b := e.TaskRegistered(t, 0, now)
	ms := now.UnixMilli()
	rows := e.values(t, 0, ms)
	rows.add("attempt-done", "0")
	b.Metadata = append(b.Metadata, rows.list...)
	for _, f := range [][2]string{{"start_step", start}, {"end_step", end}} {
		b.Metadata = append(b.Metadata, Metadatum{
			FlowID: t.Flow, RunID: t.Run, StepName: t.Step, TaskID: t.Task, FieldName: f[0], Value: f[1],
			Type: "graph_structure", UserName: e.User, TsEpoch: ms,
		})
	}
	b.Artifacts = e.artifacts(t, 0, artifacts, ms)
	return b
}

// artifacts returns the rows of an attempt's artifacts, by name.
func (e Env) artifacts(t TaskRef, attempt int, artifacts map[string]ArtifactRef, ms int64) []Artifact {
	system := e.AllSystemTags()
	rows := make([]Artifact, 0, len(artifacts))
	for _, name := range slices.Sorted(maps.Keys(artifacts)) {
		rows = append(rows, Artifact{
			FlowID: t.Flow, RunID: t.Run, StepName: t.Step, TaskID: t.Task, AttemptID: attempt, Name: name,
			Location: ":root:" + e.DsRoot, DsType: e.DsType, Sha: artifacts[name].Sha, Type: "metaflow.artifact",
			ContentType: artifacts[name].ContentType, UserName: e.User, Tags: e.Tags, SystemTags: system, TsEpoch: ms,
		})
	}
	return rows
}

// valueRows collects metadata of one attempt.
type valueRows struct {
	base Metadatum
	list []Metadatum
}

func (e Env) values(t TaskRef, attempt int, ms int64) *valueRows {
	return &valueRows{base: Metadatum{
		FlowID: t.Flow, RunID: t.Run, StepName: t.Step, TaskID: t.Task,
		Tags: []string{"attempt_id:" + strconv.Itoa(attempt)}, UserName: e.User, TsEpoch: ms,
	}}
}

// add appends a value whose type is its name, as nearly all are.
func (r *valueRows) add(field, value string) { r.addTyped(field, field, value) }

func (r *valueRows) addTyped(field, typ, value string) {
	row := r.base
	row.FieldName, row.Type, row.Value = field, typ, value
	r.list = append(r.list, row)
}

func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// mustJSON encodes a value of a type that always encodes.
func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("bug in mf: encoding %T: %v", v, err))
	}
	return string(text)
}
