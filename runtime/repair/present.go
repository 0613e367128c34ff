package repair

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/metadata"
)

type (
	taskKey     struct{ step, task string }
	fieldKey    struct{ step, task, tag, field string }
	artifactKey struct {
		step, task string
		attempt    int
		name       string
	}
)

// present is what metadata has of a run.
type present struct {
	steps     map[string]bool
	tasks     map[taskKey]bool
	metadata  map[fieldKey]bool
	artifacts map[artifactKey]bool
	// clones are the tasks that a resumed run took over.
	clones map[taskKey]bool
	// shared are the values of fields that all tasks of a run have in common.
	shared map[string]string
}

const attemptTag = "attempt_id:"

func metadataKey(m *metadata.Metadatum) fieldKey {
	k := fieldKey{m.StepName, m.TaskID, "", m.FieldName}
	if i := slices.IndexFunc(m.Tags, func(t string) bool { return strings.HasPrefix(t, attemptTag) }); i >= 0 {
		k.tag = m.Tags[i]
	}
	return k
}

func readPresent(ctx context.Context, rec metadata.Reader, flow, run string) (*present, error) {
	p := &present{
		steps: map[string]bool{}, tasks: map[taskKey]bool{}, metadata: map[fieldKey]bool{}, artifacts: map[artifactKey]bool{},
		clones: map[taskKey]bool{}, shared: map[string]string{},
	}
	tasks, err := rec.Tasks(ctx, flow, run, "")
	if err != nil {
		return nil, err
	}
	for _, t := range tasks {
		p.steps[t.StepName], p.tasks[taskKey{t.StepName, t.TaskID}] = true, true
	}
	rows, err := rec.Metadata(ctx, flow, run, "", "")
	if err != nil {
		return nil, err
	}
	for i := range rows {
		m := &rows[i]
		p.metadata[metadataKey(m)] = true
		switch m.FieldName {
		case "origin-task-id":
			p.clones[taskKey{m.StepName, m.TaskID}] = true
		case "script-name", "code-package", "git-info", "start_step", "end_step":
			p.shared[m.FieldName] = m.Value
		}
	}
	artifacts, err := rec.Artifacts(ctx, flow, run, "", "")
	if err != nil {
		return nil, err
	}
	for i := range artifacts {
		a := &artifacts[i]
		p.artifacts[artifactKey{a.StepName, a.TaskID, a.AttemptID, a.Name}] = true
	}
	return p, nil
}

// environment is what all rows of the run have in common, as far as it is known.
type environment struct {
	metadata.Env
	// start and end are the names of the flow's first and last step.
	start, end string
}

// readEnvironment gathers it from the run's row, from rows that are there, and from the datastore.
func (r *repair) readEnvironment(ctx context.Context) error {
	backend := r.store.Backend()
	e := &r.env
	e.Env = metadata.Env{
		User: r.row.UserName, DsType: backend.Type(), DsRoot: backend.Root(), Tags: r.row.Tags, OriginRun: r.row.Origin,
		ScriptName: r.have.shared["script-name"],
	}
	for _, tag := range r.row.SystemTags {
		name, value, _ := strings.Cut(tag, ":")
		switch name {
		case "runtime":
			e.Runtime = value
		case "python_version":
			e.PythonVersion = value
		case "metaflow_version":
			e.MetaflowVersion = value
		case "production":
			e.ProductionToken = value
		case "user":
			e.User = value
		default:
			e.SystemTags = append(e.SystemTags, tag)
		}
	}
	if value := r.have.shared["git-info"]; value != "" {
		var git struct {
			RepoURL     string `json:"repo_url"`
			Branch      string `json:"branch_name"`
			Commit      string `json:"commit_sha"`
			Uncommitted bool   `json:"has_uncommitted_changes"`
		}
		if json.Unmarshal([]byte(value), &git) == nil {
			g := metadata.Git(git)
			e.Git = &g
		}
	}
	if err := r.readCodePackage(ctx); err != nil {
		return err
	}
	return r.readEnds(ctx)
}

// readCodePackage finds out where the run's code is: a row says so, or the process of a task did.
func (r *repair) readCodePackage(ctx context.Context) error {
	if value := r.have.shared["code-package"]; value != "" {
		var code struct {
			DsType   string `json:"ds_type"`
			Sha      string `json:"sha"`
			Location string `json:"location"`
			Metadata string `json:"metadata"`
		}
		if json.Unmarshal([]byte(value), &code) == nil {
			c := metadata.CodePackage(code)
			r.env.CodePackage = &c
		}
		return nil
	}
	for _, t := range r.tasks {
		last := t.latest()
		if !last.taskBegin {
			continue
		}
		data, err := readFile(ctx, r.store, t.ref, last.number, taskBeginFile)
		if errors.Is(err, datastore.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		var begin struct {
			Metadata string  `json:"code_package_metadata"`
			Sha      *string `json:"code_package_sha"`
			DsType   *string `json:"code_package_ds"`
			URL      *string `json:"code_package_url"`
		}
		if json.Unmarshal(data, &begin) == nil && begin.Sha != nil && begin.DsType != nil && begin.URL != nil {
			r.env.CodePackage = &metadata.CodePackage{
				DsType: *begin.DsType, Sha: *begin.Sha, Location: *begin.URL, Metadata: begin.Metadata,
			}
		}
		return nil // all tasks of a run have the same
	}
	return nil
}

// readEnds finds out the names of the flow's first and last step.
func (r *repair) readEnds(ctx context.Context) error {
	e := &r.env
	e.start, e.end = r.have.shared["start_step"], r.have.shared["end_step"]
	for _, t := range r.tasks {
		if e.start != "" && e.end != "" {
			break
		}
		last := t.latest()
		if _, has := last.record.Artifacts["_graph_info"]; !last.done || !has {
			continue
		}
		v, err := load(ctx, r.store, t.ref, &last.record, "_graph_info")
		if t.damage(err) != nil {
			return err
		}
		if dict, ok := v.(pickle.Dict); ok {
			e.start, e.end = textOf(dict, "start_step"), textOf(dict, "end_step")
		}
		break // all tasks of a run have the same
	}
	if e.start == "" {
		e.start = "start"
	}
	if e.end == "" {
		e.end = "end"
	}
	return nil
}

func textOf(d pickle.Dict, key string) string {
	v, _ := d.Get(key)
	text, _ := v.(string)
	return text
}

// of is the environment of one attempt, which knows its Python.
func (e *environment) of(a *attempt) metadata.Env {
	env := e.Env
	if env.PythonVersion == "" {
		env.PythonVersion, _, _ = strings.Cut(a.record.PythonVersion, " ")
	}
	return env
}

// knownTags are the system tags of a run that has to be created: what is not known is not made up.
func (e *environment) knownTags() []string {
	var tags []string
	if e.User != "" {
		tags = append(tags, "user:"+e.User)
	}
	return append(tags, e.SystemTags...)
}

// unknown reports whether a row would say what nobody knows.
func (e *environment) unknown(m *metadata.Metadatum) bool {
	switch m.FieldName {
	case "runtime":
		return e.Runtime == ""
	case "user", "script-name":
		return m.Value == ""
	}
	return false
}
