package metaflowdir_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // the format's digest
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metaflowdir"
	"github.com/mf-run/mf/metadata/sqlite"
)

// Pickles of protocol 4, by hand.
const proto = "\x80\x04"

func pickleText(s string) string { return "\x8c" + string(rune(len(s))) + s }
func pickleInt(n int) string     { return "K" + string(rune(n)) }

// pickleFrame is a Metaflow ForeachFrame: step, variable, number of splits, index, value.
func pickleFrame(step, name string, splits, index int, value string) string {
	return "c__main__\nForeachFrame\n(" + pickleText(step) + pickleText(name) + pickleInt(splits) + pickleInt(index) +
		pickleText(value) + "t\x81"
}

// handmade writes a finished run as mf does, datastore files included.
type handmade struct {
	t    *testing.T
	root string
	env  metadata.Env
	rec  metadata.Recorder
	now  time.Time
	run  string
}

func (h *handmade) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *handmade) write(content []byte, path ...string) {
	h.t.Helper()
	name := filepath.Join(append([]string{h.root, h.env.ScriptName}, path...)...)
	h.check(os.MkdirAll(filepath.Dir(name), 0o755))
	h.check(os.WriteFile(name, content, 0o600))
}

// blob stores a pickle, given without its head and tail, and returns its digest.
func (h *handmade) blob(pickle string) (digest string, size int) {
	h.t.Helper()
	data := []byte(proto + pickle + ".")
	sum := sha1.Sum(data) //nolint:gosec // the format's digest
	digest = hex.EncodeToString(sum[:])
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, 3)
	h.check(err)
	_, err = w.Write(data)
	h.check(err)
	h.check(w.Close())
	h.write(packed.Bytes(), "data", digest[:2], digest)
	h.write([]byte(`{"cas_raw": false, "cas_version": 1}`), "data", digest[:2], digest+"_meta")
	return digest, len(data)
}

// store writes a task's artifacts and attempt files.
func (h *handmade) store(step, task string, pickles map[string]string) map[string]metadata.ArtifactRef {
	h.t.Helper()
	refs, objects, info := map[string]metadata.ArtifactRef{}, map[string]string{}, map[string]any{}
	for name, pickle := range pickles {
		digest, size := h.blob(pickle)
		refs[name] = metadata.ArtifactRef{Sha: digest, ContentType: "pickle-v4"}
		objects[name] = digest
		info[name] = map[string]any{"size": size, "type": "<class 'object'>", "encoding": "pickle-v4"}
	}
	index, err := json.Marshal(map[string]any{
		"datastore": "local", "version": "1.0", "attempt": 0, "python_version": "", "objects": objects, "info": info,
	})
	h.check(err)
	h.write(index, h.run, step, task, "0.data.json")
	h.write([]byte(`{"time": 1774749599.5}`), h.run, step, task, "0.attempt.json")
	h.write([]byte(`""`), h.run, step, task, "0.DONE.lock")
	return refs
}

// task writes a successful task.
func (h *handmade) task(step, task string, frames []metadata.ForeachFrame, pickles map[string]string) {
	h.t.Helper()
	ref := metadata.TaskRef{Flow: h.env.ScriptName, Run: h.run, Step: step, Task: task}
	all := map[string]string{
		"_task_ok": "\x88", "_success": "\x88", "_exception": "N", "_foreach_stack": "]", "_current_step": pickleText(step),
		"name": pickleText("HandFlow"), "_graph_info": pickleGraph(),
	}
	maps.Copy(all, pickles)
	b := h.env.TaskRegistered(ref, 0, h.now)
	h.now = h.now.Add(10 * time.Millisecond)
	b.Add(h.env.TaskStarted(ref, 0, frames, h.now))
	h.check(h.rec.Record(h.t.Context(), b))
	h.now = h.now.Add(10 * time.Millisecond)
	h.check(h.rec.Record(h.t.Context(), h.env.TaskFinished(ref, 0, true, h.store(step, task, all), h.now)))
}

const stringsList = "]("

// pickleGraph is the part of _graph_info that the client's parent_tasks and child_tasks read.
func pickleGraph() string {
	pair := func(key, value string) string { return pickleText(key) + value }
	node := func(step, kind, next string) string {
		list := "]"
		if next != "" {
			list = stringsList + pickleText(next) + "e"
		}
		return pair(step, "}("+pair("type", pickleText(kind))+pair("next", list)+"u")
	}
	return "}(" + pair("steps", "}("+node("start", "split-foreach", "body")+node("body", "linear", "join")+
		node("join", "join", "finish")+node("finish", "end", "")+"u") + "u"
}

// writeRun makes: start splits over xs into body 2 and 3, which join joins; finish is the flow's own last step.
func (h *handmade) writeRun() {
	created, err := h.rec.CreateRun(h.t.Context(), h.env.Run(h.env.ScriptName, ""))
	h.check(err)
	h.run = created.RunID
	params := metadata.TaskRef{Flow: h.env.ScriptName, Run: h.run, Step: metadata.ParametersStep, Task: "0"}
	h.check(h.rec.Record(h.t.Context(), h.env.ParametersTask(params, "start", "finish", h.store(params.Step, "0",
		map[string]string{"alpha": pickleInt(7), "name": pickleText("HandFlow"), "_task_ok": "\x88", "_success": "\x88"}), h.now)))
	values := []string{"é", "b"}
	h.task("start", "1", nil, map[string]string{"xs": stringsList + pickleText(values[0]) + pickleText(values[1]) + "e"})
	for i, v := range values {
		frames := []metadata.ForeachFrame{{Step: "body", Var: "xs", Index: i, Value: v}}
		h.task("body", fmt.Sprint(2+i), frames, map[string]string{
			"y": pickleText(v), "_foreach_stack": "](" + pickleFrame("body", "xs", 2, i, v) + "e",
		})
	}
	h.task("join", "4", nil, map[string]string{"n": pickleInt(2)})
	h.task("finish", "5", nil, map[string]string{"n": pickleInt(2)})
	_, err = h.rec.MutateTags(h.t.Context(), h.env.ScriptName, h.run, []string{"added"}, nil)
	h.check(err)
	h.check(h.rec.UpdateRun(h.t.Context(), metadata.Run{
		FlowID: h.env.ScriptName, RunID: h.run, Status: metadata.Succeeded, FinishedMs: h.now.UnixMilli(),
	}))
}

// TestRealClientReads lets the real Metaflow client read a run that was recorded in SQLite and mirrored here.
func TestRealClientReads(t *testing.T) {
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(home, ".metaflow")
	start := time.UnixMicro(1_774_749_599_123_456)
	clock := func() time.Time { return start }
	db, err := sqlite.Open(t.Context(), filepath.Join(home, "metadata.db"), sqlite.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	h := &handmade{
		t: t, root: root, now: start, rec: metadata.Tee(db, metaflowdir.New(root, clock)),
		// The flow's name doubles as the script's; the client does not care.
		env: metadata.Env{
			User: "tester", Tags: []string{"hello", "ü"}, SystemTags: []string{"project:p"}, DsType: "local", DsRoot: root,
			ScriptName: "HandFlow", PythonVersion: "3.11.7", MetaflowVersion: "2.19.39",
		},
	}
	h.writeRun()
	compareStores(t, db, root, h.run)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	script, err := filepath.Abs("testdata/read_run.py")
	if err != nil {
		t.Fatal(err)
	}
	out := runPython(t, home, nil, false, script, "HandFlow/"+h.run, "HandFlow/"+h.run+"/start/1")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if diff := gocmp.Diff(expected(h), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// expected is what testdata/read_run.py is to print.
func expected(h *handmade) map[string]any {
	const run = "1774749599123456"
	fields := []any{
		"attempt", "attempt-done", "attempt_ok", "ds-root", "ds-type", "metaflow_version", "origin-run-id", "python_version",
		"runtime", "script-name", "user",
	}
	body := slices.Insert(slices.Clone(fields), 5, any("foreach-execution-path"), any("foreach-stack"))
	list := func(items ...any) []any { return append([]any{}, items...) }
	task := func(index any, parents, children, fields, artifacts []any) map[string]any {
		return map[string]any{
			"index": index, "successful": true, "finished": true, "attempt": 0.0, "tags": list("added", "hello", "ü"),
			"parents": parents, "children": children, "artifacts": artifacts, "fields": fields, "runtime": "dev",
		}
	}
	sum := sha1.Sum([]byte(proto + stringsList + pickleText("é") + pickleText("b") + "e.")) //nolint:gosec // see above
	p := "HandFlow/" + run
	return map[string]any{
		"visible": list(run), "flows": list("HandFlow"), "latest": run, "latest_successful": run, "tagged": list(run),
		"untagged": list(),
		"run": map[string]any{
			"user_tags":   list("added", "hello", "ü"),
			"system_tags": list("metaflow_version:2.19.39", "project:p", "python_version:3.11.7", "runtime:dev", "user:tester"),
			"successful":  true, "finished": true, "created_at": 1774749599.123,
			"finished_at": float64(h.now.UnixMilli()) / 1000, "end_task": p + "/finish/5", "data_n": 2.0,
			"steps": list("finish", "join", "body", "start"), "origin": "HandFlow/None", "parameter": 7.0,
		},
		"tasks": map[string]any{
			p + "/start/1":  task(nil, list(), list("2", "3"), fields, list("name", "xs")),
			p + "/body/2":   task(0.0, list("1"), list("4"), body, list("name", "y")),
			p + "/body/3":   task(1.0, list("1"), list("4"), body, list("name", "y")),
			p + "/join/4":   task(nil, list("2", "3"), list("5"), fields, list("n", "name")),
			p + "/finish/5": task(nil, list("4"), list(), fields, list("n", "name")),
		},
		"first": map[string]any{
			"xs": list("é", "b"), "sha": hex.EncodeToString(sum[:]), "stack": nil, "path": nil, "version": "2.19.39",
		},
		"mutated": list("added", "from-client", "ü"),
	}
}

// compareStores makes sure that SQLite holds the same rows as the files.
func compareStores(t *testing.T, db *sqlite.Store, root, run string) {
	t.Helper()
	files := readWritten(t, root).batch
	list, err := db.Metadata(t.Context(), "HandFlow", run, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var arts []metadata.Artifact
	if arts, err = db.Artifacts(t.Context(), "HandFlow", run, "", ""); err != nil {
		t.Fatal(err)
	}
	for i := range arts {
		arts[i].Tags = []string{"hello", "ü"} // as recorded: the tag added later shows on the run
	}
	got := normalize(metadata.Batch{Metadata: list, Artifacts: arts})
	want := normalize(metadata.Batch{Metadata: files.Metadata, Artifacts: files.Artifacts})
	for i := range want.Metadata {
		if len(want.Metadata[i].Tags) == 0 {
			want.Metadata[i].Tags = nil
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" || len(got.Artifacts) == 0 {
		t.Errorf("-files +database:\n%s", diff)
	}
}
