package codepackage

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metaflowdir"
)

// metaflowPython returns a Python that has the real Metaflow.
func metaflowPython(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("MF_TEST_METAFLOW_PYTHON"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../.cache/venv-metaflow/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Python with Metaflow: run scripts/test-setup.sh, or set MF_TEST_METAFLOW_PYTHON (%v)", err)
	}
	return path
}

// realMetaflow runs Python with Metaflow's local datastore below home.
func realMetaflow(t *testing.T, home string, env []string, args ...string) (stdout []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), metaflowPython(t), args...)
	cmd.Dir = home
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "METAFLOW_HOME=" + home, "METAFLOW_USER=tester",
		"METAFLOW_DATASTORE_SYSROOT_LOCAL=" + home, "METAFLOW_CLIENT_CACHE_PATH=" + filepath.Join(home, "cache"),
		"PYTHONDONTWRITEBYTECODE=1", "LANG=C.UTF-8",
	}, env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s\n%s", args, err, out, errs.String())
	}
	return out
}

// home is a folder with a datastore as Metaflow lays it out.
func home(t *testing.T) (dir, root string, store *datastore.Store) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(dir, ".metaflow")
	backend, err := local.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return dir, root, datastore.New(backend)
}

// TestRealClientReads lets the real client read the code of a run: Run.code and all that it has.
func TestRealClientReads(t *testing.T) {
	dir, root, store := home(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	project := tree(t, t.TempDir(), map[string]string{"flow.py": "print('é')\n", "lib/run.sh": "#!/bin/sh\n", "data.csv": "1\n", ".env": "S"})
	check(os.Chmod(filepath.Join(project, "lib/run.sh"), 0o755))
	published, err := Publish(t.Context(), store, "Coded", project, options(t))
	check(err)

	now := time.UnixMilli(1_774_749_599_123)
	rec := metaflowdir.New(root, func() time.Time { return now })
	rows := metadata.Env{User: "tester", DsType: "local", DsRoot: root, ScriptName: "flow.py", MetaflowVersion: "2.19.39", CodePackage: &published.Code}
	run, err := rec.CreateRun(t.Context(), rows.Run("Coded", ""))
	check(err)
	for i, step := range []string{"start", "end"} {
		id := []string{"1", "2"}[i]
		task := datastore.TaskRef{Flow: "Coded", Run: run.RunID, Step: step, Task: id}
		check(store.Begin(t.Context(), task, 0, now))
		check(store.WriteTaskBegin(t.Context(), task, 0, TaskCode(published.Code)))
		ref := metadata.TaskRef{Flow: "Coded", Run: run.RunID, Step: step, Task: id}
		batch := rows.TaskRegistered(ref, 0, now)
		batch.Add(rows.TaskStarted(ref, 0, nil, now))
		batch.Add(rows.TaskFinished(ref, 0, true, nil, now))
		check(rec.Record(t.Context(), batch))
	}

	script, err := filepath.Abs("testdata/read_code.py")
	check(err)
	var got map[string]any
	check(json.Unmarshal(realMetaflow(t, dir, nil, script, "Coded/"+run.RunID), &got))
	want := map[string]any{
		"same": true, "path": published.Code.Location, "script": "flow.py", "flowspec": "print('é')\n", "text": "<MetaflowCode: flow.py>",
		"info":    map[string]any{"environment_type": "local", "use_r": false, "metaflow_version": "2.19.39", "script": "flow.py"},
		"members": []any{".mf_install", ".mf_meta/CONFIG", ".mf_meta/INFO", ".mf_meta/ir.json", ".mf_meta/mf.json", "data.csv", "flow.py", "lib/run.sh"},
		"extracted": map[string]any{
			"flow.py": []any{"print('é')\n", false}, "data.csv": []any{"1\n", false}, "lib/run.sh": []any{"#!/bin/sh\n", true},
		},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMetaflowsPackages fetches what the real Metaflow stored during a run.
func TestMetaflowsPackages(t *testing.T) {
	dir, _, store := home(t)
	source, err := os.ReadFile("testdata/made.py")
	if err != nil {
		t.Fatal(err)
	}
	tree(t, dir, map[string]string{"made.py": string(source), "helper.py": "X = 1\n", "sub/other.py": "Y = 2\n", "sub/notes.txt": "n"})
	// Metaflow stores the package beside the run, of which a task that is quicker has no notice.
	var found []string
	for range 5 {
		realMetaflow(t, dir, []string{"METAFLOW_FEAT_ALWAYS_UPLOAD_CODE_PACKAGE=1"}, "made.py", "--quiet", "run")
		if found, err = filepath.Glob(filepath.Join(dir, ".metaflow", "Made", "*", "*", "*", "_meta", "sysmeta_code-package_*")); len(found) > 0 {
			break
		}
	}
	if err != nil || len(found) == 0 {
		t.Fatalf("no run has a code package: %v", err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var row struct{ Value string }
	var code struct {
		DsType   string `json:"ds_type"`
		Sha      string `json:"sha"`
		Location string `json:"location"`
		Metadata string `json:"metadata"`
	}
	if err := json.Unmarshal(data, &row); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(row.Value), &code); err != nil {
		t.Fatal(err)
	}
	if got := Located(store, "Made", code.Sha); got != metadata.CodePackage(code) {
		t.Errorf("Metaflow says %+v, we %+v", code, got)
	}

	r, err := store.Open(t.Context(), "Made", code.Sha)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := Inspect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	names := paths(c.Files)
	slices.Sort(names)
	if !slices.Equal(names, []string{"helper.py", "made.py", "sub/other.py"}) {
		t.Errorf("the user's files are %v", names)
	}
	if c.Layout != 1 || c.Manifest != nil || c.IR != nil || c.Info["script"] != "made.py" || c.Library < 100 || c.LibrarySize < 1<<20 {
		t.Errorf("layout %d, manifest %v, info %v, %d library files of %d bytes", c.Layout, c.Manifest, c.Info, c.Library, c.LibrarySize)
	}
	into := filepath.Join(dir, "fetched")
	if err := Fetch(t.Context(), store, "Made", code.Sha, into); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"made.py", "sub/other.py", ".mf_code/metaflow/__init__.py", ".mf_meta/INFO", ".mf_install"} {
		if _, err := os.Stat(filepath.Join(into, name)); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := Load(into); err == nil || !strings.Contains(err.Error(), "mf did not make it") {
		t.Errorf("loaded: %v", err)
	}
}

// TestOldLayout shows a package of layout 0, which has no mark.
func TestOldLayout(t *testing.T) {
	_, _, store := home(t)
	files := map[string]string{"INFO": `{"script": "old.py", "metaflow_version": "2.10"}`, "CONFIG": "{}", "metaflow/__init__.py": "m",
		"metaflow_extensions/x.py": "e", "old.py": "o", "metaflow.py": "u"}
	project := tree(t, t.TempDir(), files)
	var data bytes.Buffer
	cmd := exec.CommandContext(t.Context(), metaflowPython(t), "-c", `
import io, sys, tarfile
buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=3) as tar:
    for name in sys.argv[1:]:
        tar.add(name)
sys.stdout.buffer.write(buffer.getvalue())
`)
	for name := range files {
		cmd.Args = append(cmd.Args, name)
	}
	cmd.Dir, cmd.Stdout = project, &data
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	digest, err := store.SaveRaw(t.Context(), "Old", data.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Inspect(t.Context(), &data)
	if err != nil {
		t.Fatal(err)
	}
	names := paths(c.Files)
	slices.Sort(names)
	if c.Layout != 0 || c.Info["script"] != "old.py" || c.Library != 2 || !slices.Equal(names, []string{"metaflow.py", "old.py"}) {
		t.Errorf("%+v", c)
	}
	into := filepath.Join(t.TempDir(), "fetched")
	if err := Fetch(t.Context(), store, "Old", digest, into); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(snapshot(t, project), snapshot(t, into)); diff != "" {
		t.Error(diff)
	}
}
