package datastore_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
)

// metaflow runs a script with the real Metaflow and returns what it prints.
func metaflow(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	python := os.Getenv("MF_TEST_METAFLOW_PYTHON")
	if python == "" {
		var err error
		python, err = filepath.Abs(filepath.Join("..", ".cache", "venv-metaflow", "bin", "python"))
		check(t, err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("this test needs the real Metaflow: run scripts/test-setup.sh, or set MF_TEST_METAFLOW_PYTHON (%v)", err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, append([]string{"-c", script}, args...)...)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "METAFLOW_HOME="+home, "METAFLOW_USER=tester", "HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	return out
}

// What Metaflow's own datastore code sees of a task.
const readTask = `
import json, sys
from metaflow.datastore import FlowDataStore
from metaflow.plugins.datastores.local_storage import LocalStorage
from metaflow.includefile import UPLOADERS
from metaflow.mflog import mflog
import metaflow.tuple_util
root, raw, descriptor = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
flow = FlowDataStore('F', storage_impl=LocalStorage, ds_root=root)
tasks = flow.get_task_datastores(run_id='12', steps=['start'])
out = {'pathspecs': sorted('%s@%d' % (t.pathspec, t.attempt) for t in tasks)}
t = [t for t in tasks if t.task_id == '3'][0]
out['names'] = sorted(k for k, _ in t.items())
out['values'] = {k: t[k] for k in ('x', 'big', 'text')}
out['types'] = {k: str(type(t[k])) for k in t._objects}
out['frame'] = t['_foreach_stack'][0]._asdict()
out['exception'] = [t['_exception'].type, t['_exception'].exception, t['_exception'].stacktrace]
out['sizes'] = dict(t.get_artifact_sizes(['x', 'big']))
out['meta'] = t.load_metadata(['runtime', 'task_begin', 'task_end', 'attempt.json'])
out['raw'] = [b.decode() for _, b in flow.load_data([raw])]
logs = [blob for _, blob in t.load_logs(['runtime', 'task'], 'stdout')]
out['log'] = [l.msg.decode() for l in mflog.merge_logs(logs)]
out['include'] = UPLOADERS[descriptor['type']].load(descriptor)
out['include_size'] = UPLOADERS[descriptor['type']].size(descriptor)
json.dump(out, sys.stdout)
`

func TestMetaflowReadsWhatWeWrite(t *testing.T) {
	ctx := t.Context()
	b := openLocal(t)
	s := datastore.New(b)
	const frame = "_foreach_stack"
	values := map[string]any{
		"x": int64(42), "big": strings.Repeat("compressible ", 20_000), "text": "é😀",
		frame:        []any{pickle.ForeachFrame{Step: "body", Var: "xs", NumSplits: int64(3), Index: int64(1), Value: "b"}},
		"_exception": pickle.ExceptionWrapper{Exception: "boom", Type: "builtins.ValueError", Stacktrace: "tb"},
		"_task_ok":   true,
	}
	rec := datastore.Record{PythonVersion: "3.12.0", Artifacts: map[string]datastore.Artifact{}}
	for name, v := range values {
		data, err := pickle.Marshal(v)
		check(t, err)
		digest, err := s.SaveBytes(ctx, "F", data)
		check(t, err)
		rec.Artifacts[name] = datastore.Artifact{Digest: digest, Size: int64(len(data)), Type: pickle.TypeName(v), Encoding: datastore.PickleV4}
	}
	now := time.Unix(1700000000, 500_000_000)
	rec.Attempt = 1
	unfinished := task
	unfinished.Task = "4"
	check(t,
		s.Begin(ctx, task, 0, now), s.Finish(ctx, task, datastore.Record{}), // an earlier attempt
		s.Begin(ctx, task, 1, now), s.WriteTaskBegin(ctx, task, 1, datastore.CodePackage{}), s.WriteTaskEnd(ctx, task, 1),
		s.WriteRuntime(ctx, task, 1, datastore.Exit{Success: true}), s.Finish(ctx, task, rec),
		s.Begin(ctx, unfinished, 0, now), s.Finish(ctx, unfinished, datastore.Record{}), s.Begin(ctx, unfinished, 1, now),
	)
	for _, source := range []string{"task", "runtime"} {
		w, err := s.AppendLog(ctx, task, 1, source, datastore.Stdout)
		check(t, err)
		for i := range 200 { // all in the same microsecond
			_, err := w.Write(datastore.AppendLogLine(nil, noon.Add(time.Duration(i)), source, []byte(source)))
			check(t, err)
		}
		check(t, w.Close())
	}
	raw, err := s.SaveRaw(ctx, "F", []byte("code package"))
	check(t, err)
	file := filepath.Join(t.TempDir(), "f.txt")
	check(t, os.WriteFile(file, []byte("ünï\n"), 0o600))
	include, err := s.SaveInclude(ctx, "F", file, true, "utf-8")
	check(t, err)
	descriptor, err := json.Marshal(include)
	check(t, err)

	// Metaflow takes blobs without metadata as packed with gzip, which is what all of these are but the one.
	with, err := filepath.Glob(filepath.Join(b.Root(), "F", "data", "*", "*_meta"))
	if err != nil || len(with) != 1 || !strings.HasPrefix(filepath.Base(with[0]), raw) {
		t.Errorf("with metadata: %q, %v", with, err)
	}

	var got, want any
	check(t, json.Unmarshal(metaflow(t, readTask, b.Root(), raw, string(descriptor)), &got))
	var log []string
	for _, source := range []string{"runtime", "task"} {
		for range 200 {
			log = append(log, source)
		}
	}
	wantText, err := json.Marshal(map[string]any{
		"pathspecs": []string{"12/start/3@1"},
		"names":     []string{"_exception", frame, "_task_ok", "big", "text", "x"},
		"values":    map[string]any{"x": 42, "big": values["big"], "text": values["text"]},
		"types": map[string]string{"x": "<class 'int'>", "big": "<class 'str'>", "text": "<class 'str'>", frame: "<class 'list'>",
			"_exception": "<class 'metaflow.exception.MetaflowExceptionWrapper'>", "_task_ok": "<class 'bool'>"},
		"frame":     map[string]any{"step": "body", "var": "xs", "num_splits": 3, "index": 1, "value": "b"},
		"exception": []string{"builtins.ValueError", "boom", "tb"},
		"sizes":     map[string]int64{"x": rec.Artifacts["x"].Size, "big": rec.Artifacts["big"].Size},
		"meta": map[string]any{
			"runtime":      map[string]any{"return_code": 0, "killed": false, "success": true},
			"task_begin":   map[string]any{"code_package_metadata": "", "code_package_sha": nil, "code_package_ds": nil, "code_package_url": nil, "retry_count": 1},
			"task_end":     map[string]any{},
			"attempt.json": map[string]any{"time": 1700000000.5},
		},
		"raw": []string{"code package"}, "log": log, "include": "ünï\n", "include_size": 6,
	})
	check(t, err)
	check(t, json.Unmarshal(wantText, &want))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Metaflow reads\n%.3000v\nwant\n%.3000v", got, want)
	}
}

// Metaflow's own datastore code writes a task, as a reader of ours has to find it.
const writeTask = `
import json, sys
from metaflow.datastore import FlowDataStore
from metaflow.plugins.datastores.local_storage import LocalStorage
from metaflow.includefile import UploaderV2
from metaflow.plugins.datatools.local import Local
from metaflow.mflog import mflog
root, include = sys.argv[1:]
flow = FlowDataStore('F', storage_impl=LocalStorage, ds_root=root)
t = flow.get_task_datastore('12', 'start', '3', attempt=0, mode='w')
t.init_task()
t.save_artifacts([('x', {'a': [1, 2.5, None]}), ('big', 'compressible ' * 20000)])
t.save_logs('runtime', {'stdout': b''.join(mflog.decorate('runtime', 'line %d' % i) + b'\n' for i in range(5))})
t.done()
(_, raw), = flow.save_data([b'code package'])
Local.get_root_from_config = classmethod(lambda cls, echo, create: root + '/data')
d = UploaderV2.store('F', include, True, 'utf-8', Local, lambda *a, **k: None)
json.dump({'raw': raw, 'include': d}, sys.stdout)
`

func TestWeReadWhatMetaflowWrites(t *testing.T) {
	ctx := t.Context()
	b := openLocal(t)
	file := filepath.Join(t.TempDir(), "f.txt")
	check(t, os.WriteFile(file, []byte("ünï\n"), 0o600))
	var out struct {
		Raw     string
		Include map[string]any
	}
	check(t, json.Unmarshal(metaflow(t, writeTask, b.Root(), file), &out))
	s := datastore.New(b)
	check(t, s.CheckFormat(ctx))
	rec, done, err := s.Latest(ctx, task)
	if err != nil || !done || rec.PythonVersion == "" || len(rec.Artifacts) != 2 {
		t.Fatalf("Latest = %+v, %v, %v", rec, done, err)
	}
	for name, want := range map[string]any{
		"x":   pickle.Dict{{Key: "a", Value: []any{int64(1), 2.5, nil}}},
		"big": strings.Repeat("compressible ", 20_000),
	} {
		a := rec.Artifacts[name]
		data, err := s.Load(ctx, "F", a.Digest)
		check(t, err)
		v, err := pickle.Unmarshal(data)
		if err != nil || !reflect.DeepEqual(v, want) || a.Size != int64(len(data)) || a.Encoding != datastore.PickleV4 || a.Type != pickle.TypeName(want) {
			t.Errorf("%s = %.100v, %v with %+v", name, v, err, a)
		}
		// What we write of the same value is the same blob.
		if again, err := pickle.Marshal(want); err != nil || datastore.Digest(again) != a.Digest {
			t.Errorf("%s: our pickle has another digest (%v)", name, err)
		}
	}
	if data, err := s.Load(ctx, "F", out.Raw); err != nil || string(data) != "code package" {
		t.Errorf("raw blob %q, %v", data, err)
	}
	if got, want := texts(t, s, 0), []string{"line 0", "line 1", "line 2", "line 3", "line 4"}; !reflect.DeepEqual(got, want) {
		t.Errorf("log %q", got)
	}
	r, err := s.OpenInclude(ctx, out.Include)
	check(t, err)
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "ünï\n" {
		t.Errorf("included file %q, %v", data, err)
	}
	ours, err := s.SaveInclude(ctx, "F", file, true, "utf-8")
	check(t, err)
	ours["size"] = float64(ours["size"].(int64)) // as JSON reads it
	if !reflect.DeepEqual(ours, out.Include) {
		t.Errorf("our descriptor %v, Metaflow's %v", ours, out.Include)
	}
}

// Records are pickled as Metaflow's own objects are, byte by byte.
func TestRecordsAreMetaflowsPickles(t *testing.T) {
	script := `
import pickle, sys
from metaflow.tuple_util import ForeachFrame
from metaflow.exception import MetaflowExceptionWrapper
from metaflow.flowspec import ParallelUBF
from metaflow.includefile import IncludedFile
w = MetaflowExceptionWrapper(ValueError('boom'))
for v in ([], [ForeachFrame('b', 'xs', 3, 1, 'v')], [ForeachFrame('b', 'xs', 300, 0, None), ForeachFrame('c', 'ys', None, None, None)],
          w, ParallelUBF(4), IncludedFile({'is_text': True, 'type': 'uploader-v2', 'url': 'local:///x'})):
    print(type(v), pickle.dumps(v, protocol=4).hex(), sep='|')
`
	frame := func(step, name string, n, i, value any) pickle.ForeachFrame {
		return pickle.ForeachFrame{Step: step, Var: name, NumSplits: n, Index: i, Value: value}
	}
	values := []any{
		[]any{}, []any{frame("b", "xs", int64(3), int64(1), "v")}, []any{frame("b", "xs", int64(300), int64(0), nil), frame("c", "ys", nil, nil, nil)},
		pickle.ExceptionWrapper{Exception: "boom", Type: "builtins.ValueError"}, pickle.ParallelUBF{NumParallel: 4},
		pickle.IncludedFile{Descriptor: map[string]any{"is_text": true, "type": "uploader-v2", "url": "local:///x"}},
	}
	lines := strings.Split(strings.TrimSpace(string(metaflow(t, script))), "\n")
	if len(lines) != len(values) {
		t.Fatalf("%d lines for %d values", len(lines), len(values))
	}
	for i, v := range values {
		data, err := pickle.Marshal(v)
		check(t, err)
		if got := pickle.TypeName(v) + "|" + hex.EncodeToString(data); got != lines[i] {
			t.Errorf("we write\n%s, Metaflow\n%s", got, lines[i])
		}
	}
}

// Both parsers of log lines agree.
func TestLogLinesAsMetaflowReadsThem(t *testing.T) {
	lines := []string{
		"[MFLOG|0|2026-02-03T12:00:00.1Z|task|1]x", "[![MFLOG|0|2026-02-03T12:00:00.123456Z|runtime|a-b]", "[MFLOG|0|2026-2-3T1:2:3.5Z|task|1]x]y|z",
		"[MFLOG|0|2026-02-03T12:00:00Z|task|1]x", "[MFLOG|0|2026-02-03T12:00:00.1234567Z|task|1]x", "[MFLOG|1|2026-02-03T12:00:00.1Z|task|1]x",
		"[MFLOG|0|2026-02-03T12:00:00.1Z||1]x", "[MFLOG|0|2026-02-03T12:00:00.1Z|||1]x", "[MFLOG|0|2026-02-03T12:00:00.1Z|task|]x", "[MFLOG|0|2026-02-03T12:00:00.1Z|task|]]x",
		"[MFLOG|0|2026-13-03T12:00:00.1Z|task|1]x", "[MFLOG|0|2026-02-03T24:00:00.1Z|task|1]x", "[MFLOG|0|2026-02-03T12:00:00,1Z|task|1]x",
		"[MFLOG|0|2026-02-03T12:00:00.1Z|task|1", "[MFLOG|0|2026-02-03T12:00:00.Z|task|1]x", "x[MFLOG|0|2026-02-03T12:00:00.1Z|task|1]x", "[!x", "",
		"[MFLOG|0|02026-02-03T12:00:00.1Z|task|1]x", "[MFLOG|0|2026-02-03T12:00:00.1+01:00Z|task|1]x", "[MFLOG|0|2026-02-03T12:00:00.1Z|task|1]\r",
	}
	script := `
import json, sys
from metaflow.mflog import mflog
out = []
for line in json.loads(sys.argv[1]):
    p = mflog.parse(line.encode() + b'\n')
    out.append(p and [p.utc_tstamp.strftime('%Y-%m-%dT%H:%M:%S.%f'), p.logsource.decode(), p.id.decode(), p.msg.decode()])
json.dump(out, sys.stdout)
`
	arg, err := json.Marshal(lines)
	check(t, err)
	var theirs [][]string
	check(t, json.Unmarshal(metaflow(t, script, string(arg)), &theirs))
	for i, line := range lines {
		var ours []string
		if l, ok := datastore.ParseLogLine([]byte(line + "\n")); ok {
			ours = []string{l.Time.Format("2006-01-02T15:04:05.000000"), l.Source, l.ID, l.Text}
		}
		if !reflect.DeepEqual(ours, theirs[i]) {
			t.Errorf("%q: we read %q, Metaflow %q", line, ours, theirs[i])
		}
	}
}
