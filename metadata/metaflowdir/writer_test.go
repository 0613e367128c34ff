package metaflowdir_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metaflowdir"
)

// object is any of the files that Metaflow writes.
type object struct {
	FlowID      string          `json:"flow_id"`
	RunNumber   string          `json:"run_number"`
	StepName    string          `json:"step_name"`
	TaskID      string          `json:"task_id"`
	UserName    string          `json:"user_name"`
	Tags        []string        `json:"tags"`
	SystemTags  []string        `json:"system_tags"`
	TsEpoch     int64           `json:"ts_epoch"`
	FieldName   string          `json:"field_name"`
	Type        string          `json:"type"`
	Value       json.RawMessage `json:"value"`
	AttemptID   int             `json:"attempt_id"`
	Name        string          `json:"name"`
	ContentType string          `json:"content_type"`
	Sha         string          `json:"sha"`
	DsType      string          `json:"ds_type"`
	Location    string          `json:"location"`
}

// written is the metadata below a root: the files, and the rows that they say.
type written struct {
	files map[string]string
	runs  []metadata.Run
	batch metadata.Batch
}

func readWritten(t *testing.T, root string) written {
	t.Helper()
	w := written{files: map[string]string{}}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		inMeta := filepath.Base(filepath.Dir(path)) == "_meta"
		if err != nil || e.IsDir() || !inMeta && e.Name() != "latest_run" {
			return err
		}
		text, err := os.ReadFile(path)
		var ts int64
		if err == nil && inMeta {
			ts, err = w.add(e.Name(), text)
		}
		rel, relErr := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if name := rel[strings.LastIndexByte(rel, '/')+1:]; strings.HasPrefix(name, "sysmeta_") {
			// Metaflow takes the time in the name a moment after that in the file.
			rel = rel[:strings.LastIndexByte(rel, '_')+1] + strconv.FormatInt(ts, 10)
		}
		w.files[rel] = string(text)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// add notes the row of a file and returns its time.
func (w *written) add(name string, text []byte) (int64, error) {
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		return 0, err
	}
	switch b := &w.batch; {
	case strings.HasPrefix(name, "sysmeta_"):
		value := string(o.Value)
		if o.FieldName != "foreach-stack" {
			if err := json.Unmarshal(o.Value, &value); err != nil {
				return 0, err
			}
		}
		b.Metadata = append(b.Metadata, metadata.Metadatum{
			FlowID: o.FlowID, RunID: o.RunNumber, StepName: o.StepName, TaskID: o.TaskID, FieldName: o.FieldName,
			Value: value, Type: o.Type, Tags: o.Tags, UserName: o.UserName, TsEpoch: o.TsEpoch,
		})
	case strings.Contains(name, "_artifact_"):
		b.Artifacts = append(b.Artifacts, metadata.Artifact{
			FlowID: o.FlowID, RunID: o.RunNumber, StepName: o.StepName, TaskID: o.TaskID, AttemptID: o.AttemptID,
			Name: o.Name, Location: o.Location, DsType: o.DsType, Sha: o.Sha, Type: o.Type, ContentType: o.ContentType,
			UserName: o.UserName, Tags: o.Tags, SystemTags: o.SystemTags, TsEpoch: o.TsEpoch,
		})
	case o.TaskID != "":
		b.Tasks = append(b.Tasks, metadata.Task{
			FlowID: o.FlowID, RunID: o.RunNumber, StepName: o.StepName, TaskID: o.TaskID, UserName: o.UserName,
			Tags: o.Tags, SystemTags: o.SystemTags, TsEpoch: o.TsEpoch,
		})
	case o.StepName != "":
		b.Steps = append(b.Steps, metadata.Step{
			FlowID: o.FlowID, RunID: o.RunNumber, StepName: o.StepName, UserName: o.UserName, Tags: o.Tags,
			SystemTags: o.SystemTags, TsEpoch: o.TsEpoch,
		})
	case o.RunNumber != "":
		w.runs = append(w.runs, metadata.Run{
			FlowID: o.FlowID, RunID: o.RunNumber, UserName: o.UserName, Tags: o.Tags, SystemTags: o.SystemTags,
			TsEpoch: o.TsEpoch,
		})
	}
	return o.TsEpoch, nil
}

// realRuns lets the real Metaflow make a run that fails in its last step, and resume it. It returns the datastore's
// root and the two runs, the resumed one last.
func realRuns(t *testing.T) (root string, w written, failed, resumed string) {
	t.Helper()
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// Away from the repository, for Metaflow would note the commit.
	source, err := os.ReadFile("testdata/compat_flow.py")
	if err != nil {
		t.Fatal(err)
	}
	flow := filepath.Join(home, "compat_flow.py")
	if err := os.WriteFile(flow, source, 0o600); err != nil {
		t.Fatal(err)
	}
	runPython(t, home, []string{"FAIL_END=1"}, true, flow, "run", "--tag", "hello", "--tag", "ü")
	runPython(t, home, nil, false, flow, "resume", "--tag", "hello", "--tag", "ü")
	root = filepath.Join(home, ".metaflow")
	w = readWritten(t, root)
	slices.SortFunc(w.runs, func(a, b metadata.Run) int { return cmp.Compare(a.TsEpoch, b.TsEpoch) })
	if len(w.runs) != 2 {
		t.Fatalf("runs: %v", w.runs)
	}
	return root, w, w.runs[0].RunID, w.runs[1].RunID
}

// TestSameAsMetaflow compares with what the real Metaflow writes of a run and of its resumption: first the files, given
// the same rows, then the rows, given the same run.
func TestSameAsMetaflow(t *testing.T) {
	root, want, failed, resumed := realRuns(t)
	t.Run("Files", func(t *testing.T) { sameFiles(t, want, failed) })
	for _, run := range []string{failed, resumed} {
		origin := ""
		if run == resumed {
			origin = failed
		}
		t.Run("Rows"+map[bool]string{true: "OfResumed"}[run == resumed], func(t *testing.T) {
			sameRows(t, root, want.batch, run, origin)
		})
	}
}

// sameFiles writes the rows that were read and compares the files byte by byte.
func sameFiles(t *testing.T, want written, first string) {
	dir := filepath.Join(t.TempDir(), ".metaflow")
	d := metaflowdir.New(dir, time.Now)
	for _, run := range want.runs {
		if run.RunID != first {
			run.Origin = first
		}
		if _, err := d.CreateRun(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Record(t.Context(), want.batch); err != nil {
		t.Fatal(err)
	}
	got := readWritten(t, dir).files
	// A flow's time is that of its first run here; Metaflow takes it a moment earlier.
	self := "CompatFlow/_meta/_self.json"
	for _, files := range []map[string]string{got, want.files} {
		if !strings.HasPrefix(files[self], `{"flow_id": "CompatFlow", "ts_epoch": 1`) {
			t.Errorf("%s: %s", self, files[self])
		}
	}
	delete(got, self)
	delete(want.files, self)
	if diff := gocmp.Diff(want.files, got); diff != "" {
		t.Errorf("-Metaflow +mf:\n%s", diff)
	}
	if len(got) < 150 {
		t.Errorf("only %d files were compared", len(got))
	}
}

// sameRows builds the rows of a run by Env and compares them, less their times, with those that were read.
func sameRows(t *testing.T, root string, real metadata.Batch, run, origin string) {
	ofRun := filterRun(real, run)
	env := metadata.Env{
		User: "tester", Tags: []string{"hello", "ü"}, DsType: "local", DsRoot: root, OriginRun: origin,
		ScriptName: "compat_flow.py", PythonVersion: field(t, ofRun, "python_version"),
		MetaflowVersion: field(t, ofRun, "metaflow_version"),
	}
	var built metadata.Batch
	for _, task := range ofRun.Tasks {
		built.Add(rowsOfTask(t, env, ofRun, task))
	}
	want, got := normalize(ofRun), normalize(built)
	if origin != "" {
		// Metaflow forgets these in resumed runs.
		got.Metadata = slices.DeleteFunc(got.Metadata, func(m metadata.Metadatum) bool { return m.Type == "graph_structure" })
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-Metaflow +mf:\n%s", diff)
	}
	if len(want.Tasks) != 6 || len(want.Artifacts) < 60 || len(want.Metadata) < 50 {
		t.Errorf("too little was compared: %d tasks, %d artifacts, %d metadata", len(want.Tasks), len(want.Artifacts),
			len(want.Metadata))
	}
}

// rowsOfTask builds what Env makes of a task, given what only the run can tell: its artifacts, origin and index.
func rowsOfTask(t *testing.T, env metadata.Env, real metadata.Batch, task metadata.Task) metadata.Batch {
	ref := metadata.TaskRef{Flow: task.FlowID, Run: task.RunID, Step: task.StepName, Task: task.TaskID}
	artifacts := map[string]metadata.ArtifactRef{}
	for _, a := range real.Artifacts {
		if a.StepName == ref.Step && a.TaskID == ref.Task {
			artifacts[a.Name] = metadata.ArtifactRef{Sha: a.Sha, ContentType: a.ContentType}
		}
	}
	values := map[string]string{}
	for _, m := range real.Metadata {
		if m.StepName == ref.Step && m.TaskID == ref.Task {
			values[m.FieldName] = m.Value
		}
	}
	now := time.UnixMilli(task.TsEpoch)
	switch {
	case ref.Step == metadata.ParametersStep:
		return env.ParametersTask(ref, "start", "end", artifacts, now)
	case values["origin-task-id"] != "":
		return env.TaskCloned(ref, values["origin-task-id"], artifacts, now)
	}
	var frames []metadata.ForeachFrame
	if _, index, ok := strings.Cut(values["foreach-execution-path"], ":"); ok {
		i, err := strconv.Atoi(index)
		if err != nil {
			t.Fatal(err)
		}
		frames = []metadata.ForeachFrame{{Step: "body", Var: "xs", Index: i, Value: []string{"é", "<b>"}[i]}}
	}
	b := env.TaskRegistered(ref, 0, now)
	b.Add(env.TaskStarted(ref, 0, frames, now))
	b.Add(env.TaskFinished(ref, 0, values["attempt_ok"] == "True", artifacts, now))
	return b
}

func filterRun(b metadata.Batch, run string) metadata.Batch {
	b.Steps = slices.DeleteFunc(slices.Clone(b.Steps), func(s metadata.Step) bool { return s.RunID != run })
	b.Tasks = slices.DeleteFunc(slices.Clone(b.Tasks), func(s metadata.Task) bool { return s.RunID != run })
	b.Metadata = slices.DeleteFunc(slices.Clone(b.Metadata), func(m metadata.Metadatum) bool { return m.RunID != run })
	b.Artifacts = slices.DeleteFunc(slices.Clone(b.Artifacts), func(a metadata.Artifact) bool { return a.RunID != run })
	return b
}

func field(t *testing.T, b metadata.Batch, name string) string {
	for _, m := range b.Metadata {
		if m.FieldName == name {
			return m.Value
		}
	}
	t.Fatalf("no metadatum %s", name)
	return ""
}

// normalize takes times off, and repetitions and orders that mean nothing: Metaflow registers a task twice, and its tags
// are sets.
func normalize(b metadata.Batch) metadata.Batch {
	return metadata.Batch{
		Steps: unique(b.Steps, func(s *metadata.Step) (string, [2]*[]string) {
			s.TsEpoch = 0
			return s.StepName, [2]*[]string{&s.Tags, &s.SystemTags}
		}),
		Tasks: unique(b.Tasks, func(s *metadata.Task) (string, [2]*[]string) {
			s.TsEpoch = 0
			return s.StepName + s.TaskID, [2]*[]string{&s.Tags, &s.SystemTags}
		}),
		Metadata: unique(b.Metadata, func(m *metadata.Metadatum) (string, [2]*[]string) {
			m.TsEpoch = 0
			if m.FieldName == "foreach-stack" {
				var list []string
				if err := json.Unmarshal([]byte(m.Value), &list); err != nil {
					list = []string{"no list: " + m.Value}
				}
				m.Value = strings.Join(list, ",")
			}
			return m.StepName + m.TaskID + m.FieldName + m.Value, [2]*[]string{&m.Tags, nil}
		}),
		Artifacts: unique(b.Artifacts, func(a *metadata.Artifact) (string, [2]*[]string) {
			a.TsEpoch = 0
			return a.StepName + a.TaskID + a.Name, [2]*[]string{&a.Tags, &a.SystemTags}
		}),
	}
}

// unique sorts rows by the key that prepare returns, and their tags, and keeps one row a key.
func unique[R any](rows []R, prepare func(*R) (key string, tags [2]*[]string)) []R {
	byKey := map[string]R{}
	for _, row := range rows {
		key, tags := prepare(&row)
		for _, list := range tags {
			if list != nil {
				*list = slices.Sorted(slices.Values(*list))
			}
		}
		byKey[key] = row
	}
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	out := make([]R, len(keys))
	for i, key := range keys {
		out[i] = byKey[key]
	}
	return out
}
