package metadata_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mf-run/mf/metadata"
)

// That the rows are Metaflow's own is shown in metaflowdir, by comparison. Here is what such a run does not contain.

var ref = metadata.TaskRef{Flow: "F", Run: "1", Step: "s", Task: "2"}

// fields returns name and value of metadata rows.
func fields(b metadata.Batch) []string {
	list := make([]string, len(b.Metadata))
	for i, m := range b.Metadata {
		list[i] = m.FieldName + "=" + m.Value
	}
	return list
}

func TestSystemTags(t *testing.T) {
	for _, c := range []struct {
		env  metadata.Env
		want []string
	}{
		{metadata.Env{User: "u"}, []string{"runtime:dev", "user:u"}},
		{
			metadata.Env{
				User: "u", Runtime: "argo-workflows", ProductionToken: "f-0-abcd", PythonVersion: "3.9.1", MetaflowVersion: "2.1",
				SystemTags: []string{"project:p", "runtime:argo-workflows", "project:p"},
			},
			[]string{
				"runtime:argo-workflows", "python_version:3.9.1", "production:f-0-abcd", "metaflow_version:2.1", "project:p",
			},
		},
	} {
		if diff := cmp.Diff(c.want, c.env.AllSystemTags()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if run := c.env.Run("F", ""); !slices.Equal(run.SystemTags, c.want) || run.Status != metadata.Running {
			t.Errorf("run: %+v", run)
		}
	}
}

func TestTaskRegistered(t *testing.T) {
	env := metadata.Env{
		User: "u", ScriptName: "f.yaml", Tags: []string{"t"},
		CodePackage: &metadata.CodePackage{DsType: "s3", Sha: "ab", Location: "s3://b/<k>", Metadata: "{}"},
		Git:         &metadata.Git{RepoURL: "https://x/y.git", Branch: "main", Commit: "c0ffee", Uncommitted: true},
	}
	b := env.TaskRegistered(ref, 1, time.UnixMilli(77))
	want := []string{
		"runtime=dev", "user=u",
		`code-package={"ds_type":"s3","sha":"ab","location":"s3://b/\u003ck\u003e","metadata":"{}"}`,
		"script-name=f.yaml",
		`git-info={"repo_url":"https://x/y.git","branch_name":"main","commit_sha":"c0ffee","has_uncommitted_changes":true}`,
	}
	if diff := cmp.Diff(want, fields(b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, m := range b.Metadata {
		if m.Type != m.FieldName || !slices.Equal(m.Tags, []string{"attempt_id:1"}) || m.TsEpoch != 77 || m.UserName != "u" {
			t.Errorf("%+v", m)
		}
	}
	if len(b.Steps) != 1 || len(b.Tasks) != 1 || b.Tasks[0].TaskID != "2" || b.Tasks[0].TsEpoch != 77 || b.Empty() {
		t.Errorf("%+v", b)
	}
}

func TestForeachMetadata(t *testing.T) {
	frame := func(step, name string, index int, value string) metadata.ForeachFrame {
		return metadata.ForeachFrame{Step: step, Var: name, Index: index, Value: value}
	}
	long := strings.Repeat("ä", 253)
	for _, c := range []struct {
		frames      []metadata.ForeachFrame
		stack, path string
	}{
		{nil, "", ""},
		{[]metadata.ForeachFrame{frame("a", "x", 0, "v"), frame("b", "y", 12, `"`)}, `["x=v","y=\""]`, "a:0,b:12"},
		{[]metadata.ForeachFrame{frame("a", "x", 0, ""), frame("b", "y", 1, "w")}, "", "a:0,b:1"},
		{[]metadata.ForeachFrame{frame("a", "x", 0, "v"), frame("b", "", 1, "w")}, `["x=v"]`, "a:0,b:1"},
		{[]metadata.ForeachFrame{frame("a", "x", -1, "v")}, `["x=v"]`, "a:None"},
		{[]metadata.ForeachFrame{frame("a", "x", 0, long), frame("b", "y", 1, "")}, `["x=` + long + `"]`, "a:0,b:1"},
		{[]metadata.ForeachFrame{frame("a", "x", 0, long), frame("b", "y", 1, "w")}, `["x=` + long + `"]`, "a:0,b:1"},
		{[]metadata.ForeachFrame{frame("a", "x", 0, long+"ää")}, "", "a:0"},
	} {
		want := []string{"attempt=3", "origin-run-id=None", "ds-type=s3", "ds-root=s3://b"}
		if c.stack != "" {
			want = append(want, "foreach-stack="+c.stack)
		}
		if c.path != "" {
			want = append(want, "foreach-execution-path="+c.path)
		}
		b := metadata.Env{DsType: "s3", DsRoot: "s3://b"}.TaskStarted(ref, 3, c.frames, time.UnixMilli(1))
		if diff := cmp.Diff(want, fields(b)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestTaskFinished(t *testing.T) {
	env := metadata.Env{User: "u", DsType: "local", DsRoot: "/r/.metaflow"}
	b := env.TaskFinished(ref, 4, false, map[string]metadata.ArtifactRef{
		"y": {Sha: "2", ContentType: "pickle-v4"}, "_x": {Sha: "1", ContentType: "gzip+pickle-v2"},
	}, time.UnixMilli(5))
	if diff := cmp.Diff([]string{"attempt_ok=False", "attempt-done=4"}, fields(b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if b.Metadata[0].Type != "internal_attempt_status" || b.Metadata[1].Type != "attempt-done" {
		t.Errorf("types: %+v", b.Metadata)
	}
	want := metadata.Artifact{
		FlowID: "F", RunID: "1", StepName: "s", TaskID: "2", AttemptID: 4, Name: "_x", Location: ":root:/r/.metaflow",
		DsType: "local", Sha: "1", Type: "metaflow.artifact", ContentType: "gzip+pickle-v2", UserName: "u",
		SystemTags: []string{"runtime:dev", "user:u"}, TsEpoch: 5,
	}
	if diff := cmp.Diff(want, b.Artifacts[0]); diff != "" || len(b.Artifacts) != 2 || b.Artifacts[1].Name != "y" {
		t.Errorf("-want +got:\n%s\n%+v", diff, b.Artifacts)
	}
}

func TestParametersTask(t *testing.T) {
	params := metadata.TaskRef{Flow: "F", Run: "1", Step: metadata.ParametersStep, Task: "0"}
	// Of a resumed run, too: it names its first and last step.
	b := metadata.Env{User: "u", OriginRun: "9"}.ParametersTask(params, "begin", "finish", nil, time.UnixMilli(5))
	got := b.Metadata[len(b.Metadata)-2:]
	for i, want := range []string{"start_step=begin", "end_step=finish"} {
		if m := got[i]; m.FieldName+"="+m.Value != want || m.Type != "graph_structure" || len(m.Tags) != 0 {
			t.Errorf("%+v", m)
		}
	}
	if slices.Contains(fields(b), "origin-run-id=9") {
		t.Error("a _parameters task has no origin of its own")
	}
}
