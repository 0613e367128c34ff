package datastore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
)

var task = datastore.TaskRef{Flow: "F", Run: "12", Step: "start", Task: "3"}

// files returns the content of every file of a task on local disk.
func files(t *testing.T, root string, ref datastore.TaskRef) map[string]string {
	t.Helper()
	dir := filepath.Join(root, ref.Flow, ref.Run, ref.Step, ref.Task)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(data)
	}
	return got
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfAnAttempt(t *testing.T) {
	ctx := t.Context()
	b := openLocal(t)
	s := datastore.New(b)
	digest := datastore.Digest([]byte("x"))
	rec := datastore.Record{Attempt: 1, PythonVersion: "3.11.7 (main) \n[GCC] é😀\x7f", Artifacts: map[string]datastore.Artifact{
		"b": {Digest: digest, Size: 5, Type: "<class 'int'>", Encoding: datastore.PickleV4},
		"a": {Digest: digest, Size: 1 << 40, Type: `<class "q">`, Encoding: "gzip+pickle-v2"},
	}}
	check(t,
		s.Begin(ctx, task, 1, time.Unix(1700000000, 250_000_000)),
		s.WriteTaskBegin(ctx, task, 1, datastore.CodePackage{}),
		s.WriteTaskBegin(ctx, task, 2, datastore.CodePackage{Metadata: "{}", Digest: digest, StoreType: "s3", URL: "s3://b/x"}),
		s.WriteTaskEnd(ctx, task, 1),
		s.WriteRuntime(ctx, task, 1, datastore.Exit{Code: 1}),
		s.Finish(ctx, task, rec),
		s.Begin(ctx, task, 3, time.Unix(1700000000, 0)),
	)
	want := map[string]string{
		"1.attempt.json": `{"time": 1700000000.25}`,
		"1.task_begin":   `{"code_package_metadata": "", "code_package_sha": null, "code_package_ds": null, "code_package_url": null, "retry_count": 1}`,
		"2.task_begin":   `{"code_package_metadata": "{}", "code_package_sha": "` + digest + `", "code_package_ds": "s3", "code_package_url": "s3://b/x", "retry_count": 2}`,
		"1.task_end":     `{}`,
		"1.runtime":      `{"return_code": 1, "killed": false, "success": false}`,
		"1.DONE.lock":    `""`,
		"3.attempt.json": `{"time": 1700000000.0}`,
		"1.data.json": `{"datastore": "local", "version": "1.0", "attempt": 1, ` +
			`"python_version": "3.11.7 (main) \n[GCC] \u00e9\ud83d\ude00\u007f", ` +
			`"objects": {"a": "` + digest + `", "b": "` + digest + `"}, ` +
			`"info": {"a": {"size": 1099511627776, "type": "<class \"q\">", "encoding": "gzip+pickle-v2", "serializer_info": {"source": "metaflow"}}, ` +
			`"b": {"size": 5, "type": "<class 'int'>", "encoding": "pickle-v4", "serializer_info": {"source": "metaflow"}}}}`,
	}
	got := files(t, b.Root(), task)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s holds\n%s\nwant\n%s", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("files: %v", got)
	}
	back, err := s.ReadRecord(ctx, task, 1)
	if err != nil || !reflect.DeepEqual(back, rec) {
		t.Errorf("ReadRecord = %+v, %v", back, err)
	}
}

func TestWhichAttemptCounts(t *testing.T) {
	ctx := t.Context()
	s := datastore.New(memory.New(nil))
	now := time.Unix(1, 0)
	latest := func(attempt int, done bool) {
		t.Helper()
		rec, isDone, err := s.Latest(ctx, task)
		if err != nil || rec.Attempt != attempt || isDone != done || done != (rec.Artifacts != nil) {
			t.Errorf("Latest = %+v, %v, %v, want attempt %d, %v", rec, isDone, err, attempt, done)
		}
	}
	if _, _, err := s.Latest(ctx, task); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("Latest of nothing: %v", err)
	}
	check(t, s.WriteTaskBegin(ctx, task, 4, datastore.CodePackage{}))
	if _, _, err := s.Latest(ctx, task); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("Latest of what never started: %v", err)
	}
	check(t, s.Begin(ctx, task, 0, now))
	latest(0, false)
	check(t, s.Finish(ctx, task, datastore.Record{Attempt: 0}))
	latest(0, true)
	check(t, s.Begin(ctx, task, 2, now)) // a newer attempt hides the older one
	latest(2, false)
	check(t, s.Finish(ctx, task, datastore.Record{Attempt: 2}))
	latest(2, true)
	check(t, s.Begin(ctx, task, 10, now), s.Finish(ctx, task, datastore.Record{Attempt: 10}))
	latest(10, true)
	attempts, err := s.Attempts(ctx, task)
	want := []datastore.Attempt{{0, true, true, true}, {2, true, true, true}, {4, false, false, false}, {10, true, true, true}}
	if err != nil || !reflect.DeepEqual(attempts, want) {
		t.Errorf("Attempts = %+v, %v", attempts, err)
	}
}

func TestReadRecordRefuses(t *testing.T) {
	ctx := t.Context()
	digest := datastore.Digest(nil)
	for _, c := range []struct {
		text string
		want error
		say  string
	}{
		{`{"version": "1.0", "objects": {"x": "` + digest + `"}}`, nil, ""},
		{`{"objects": {}}`, nil, ""},
		{`{"version": "2.0", "objects": [1]}`, datastore.ErrNewer, "newer mf"},
		{`{"version": 2}`, datastore.ErrNewer, "version 2"},
		{`{"version": "1.0", "objects": {"x": "../../x"}}`, datastore.ErrCorrupt, `"x"`},
		{`{"version": "1.0", "objects": []}`, datastore.ErrCorrupt, "1.data.json"},
		{``, datastore.ErrCorrupt, "1.data.json"},
		{`[]`, datastore.ErrCorrupt, "JSON"},
	} {
		b := memory.New(nil)
		err := b.Put(ctx, "F/12/start/3/1.data.json", strings.NewReader(c.text), datastore.PutOptions{})
		check(t, err)
		rec, err := datastore.New(b).ReadRecord(ctx, task, 1)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %+v, %v, want %v", c.text, rec, err, c.want)
		}
		if a, ok := rec.Artifacts["x"]; ok && a.Encoding != "gzip+pickle-v2" {
			t.Errorf("an artifact without encoding has %q", a.Encoding)
		}
	}
}

func TestFinishRefuses(t *testing.T) {
	s := datastore.New(memory.New(nil))
	for _, a := range []datastore.Artifact{{Digest: "", Encoding: datastore.PickleV4}, {Digest: datastore.Digest(nil), Encoding: "json"}} {
		err := s.Finish(t.Context(), task, datastore.Record{Artifacts: map[string]datastore.Artifact{"x": a}})
		if err == nil || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("Finish with %+v: %v", a, err)
		}
	}
	for _, ref := range []datastore.TaskRef{{}, {"F", "..", "s", "1"}, {"F", "1/2", "s", "1"}, {"F", "1", "s", ""}} {
		if err := s.Begin(t.Context(), ref, 0, time.Time{}); err == nil {
			t.Errorf("Begin(%+v) was accepted", ref)
		}
	}
	if err := s.Begin(t.Context(), task, -1, time.Time{}); err == nil {
		t.Error("attempt -1 was accepted")
	}
}

func TestListings(t *testing.T) {
	ctx := t.Context()
	for _, b := range []datastore.Backend{openLocal(t), memory.New(nil)} {
		s := datastore.New(b)
		for _, ref := range []datastore.TaskRef{
			{"F", "12", "start", "1"}, {"F", "12", "start", "10"}, {"F", "12", "_parameters", "0"}, {"F", "argo-x", "a", "t-1"}, {"G", "1", "a", "1"},
		} {
			check(t, s.Begin(ctx, ref, 0, time.Unix(1, 0)))
		}
		_, err := s.SaveBytes(ctx, "F", []byte("x"))
		check(t, err, s.SetLatestRun(ctx, "F", "12"))
		check(t, b.Put(ctx, "F/12/_meta/_self.json", strings.NewReader("{}"), datastore.PutOptions{}))
		check(t, b.Put(ctx, "data/F/0123", strings.NewReader(""), datastore.PutOptions{}))
		check(t, b.Put(ctx, "mf.cards/F/x", strings.NewReader(""), datastore.PutOptions{}))
		flows, err := s.Flows(ctx)
		check(t, err)
		runs, err := s.Runs(ctx, "F")
		check(t, err)
		steps, err := s.Steps(ctx, "F", "12")
		check(t, err)
		tasks, err := s.Tasks(ctx, "F", "12", "start")
		check(t, err)
		none, err := s.Tasks(ctx, "F", "12", "end")
		check(t, err)
		got := [][]string{flows, runs, steps, tasks, none}
		want := [][]string{{"F", "G"}, {"12", "argo-x"}, {"_parameters", "start"}, {"1", "10"}, nil}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", b.Type(), got, want)
		}
		if run, err := s.LatestRun(ctx, "F"); run != "12" || err != nil {
			t.Errorf("LatestRun = %q, %v", run, err)
		}
		if _, err := s.LatestRun(ctx, "G"); !errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("LatestRun of a flow without: %v", err)
		}
	}
}

// BenchmarkTask writes what one small task writes: six files, ten blobs and two logs.
func BenchmarkTask(b *testing.B) {
	ctx := b.Context()
	s := datastore.New(openLocal(b))
	now := time.Unix(1700000000, 0)
	data := make([]byte, 60)
	line := datastore.AppendLogLine(nil, now, "runtime", []byte("hello"))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ref := datastore.TaskRef{Flow: "F", Run: "1", Step: "s", Task: string(rune('a'+i%26)) + time.Duration(i).String()}
		rec := datastore.Record{Artifacts: map[string]datastore.Artifact{}}
		check := func(err error) {
			if err != nil {
				b.Fatal(err)
			}
		}
		check(s.Begin(ctx, ref, 0, now))
		check(s.WriteTaskBegin(ctx, ref, 0, datastore.CodePackage{}))
		for j := range 10 {
			data[0], data[1], data[2], data[3] = byte(i), byte(i>>8), byte(i>>16), byte(j)
			digest, err := s.SaveBytes(ctx, "F", data)
			check(err)
			rec.Artifacts[string(rune('a'+j))] = datastore.Artifact{Digest: digest, Size: 60, Type: "<class 'str'>", Encoding: datastore.PickleV4}
		}
		for _, stream := range []datastore.Stream{datastore.Stdout, datastore.Stderr} {
			w, err := s.AppendLog(ctx, ref, 0, "runtime", stream)
			check(err)
			_, err = w.Write(line)
			check(err)
			check(w.Close())
		}
		check(s.WriteTaskEnd(ctx, ref, 0))
		check(s.Finish(ctx, ref, rec))
		check(s.WriteRuntime(ctx, ref, 0, datastore.Exit{Success: true}))
	}
}

func TestDoneWithoutRecord(t *testing.T) {
	ctx := t.Context()
	b := memory.New(nil)
	s := datastore.New(b)
	check(t, s.Begin(ctx, task, 0, time.Unix(1, 0)))
	check(t, b.Put(ctx, "F/12/start/3/0.DONE.lock", strings.NewReader(`""`), datastore.PutOptions{}))
	if _, done, err := s.Latest(ctx, task); done || !errors.Is(err, datastore.ErrCorrupt) || errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("Latest = %v, %v", done, err)
	}
}

func FuzzReadRecord(f *testing.F) {
	digest := datastore.Digest(nil)
	f.Add([]byte(`{"version": "1.0", "objects": {"x": "` + digest + `"}, "info": {"x": {"size": 5, "encoding": "pickle-v4"}}}`))
	f.Add([]byte(`{"version": "2.0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := memory.New(nil)
		s := datastore.New(b)
		check(t, b.Put(t.Context(), "F/12/start/3/0.data.json", bytes.NewReader(data), datastore.PutOptions{}))
		rec, err := s.ReadRecord(t.Context(), task, 0)
		if err != nil {
			if !errors.Is(err, datastore.ErrCorrupt) && !errors.Is(err, datastore.ErrNewer) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		for name, a := range rec.Artifacts {
			a.Encoding = datastore.PickleV4 // an unknown one is not written
			rec.Artifacts[name] = a
		}
		check(t, s.Finish(t.Context(), task, rec))
		again, done, err := s.Latest(t.Context(), task)
		if !errors.Is(err, datastore.ErrNotFound) || done {
			t.Fatalf("no attempt has started, but Latest = %+v, %v, %v", again, done, err)
		}
		again, err = s.ReadRecord(t.Context(), task, 0)
		if err != nil || !reflect.DeepEqual(again, rec) {
			t.Fatalf("%+v became %+v, %v", rec, again, err)
		}
	})
}

func TestClaim(t *testing.T) {
	ctx := t.Context()
	for _, b := range []datastore.Backend{openLocal(t), memory.New(nil)} {
		s := datastore.New(b)
		first, second := time.UnixMicro(1_000_001), time.UnixMicro(1_000_002)
		check(t, s.Claim(ctx, task, 0, first), s.Claim(ctx, task, 0, second), s.Claim(ctx, task, 0, first))
		for _, c := range []struct {
			at   time.Time
			want bool
		}{{first, true}, {second, false}} {
			if got, err := s.Owns(ctx, task, 0, c.at); err != nil || got != c.want {
				t.Errorf("who began at %d owns it: %t, %v, want %t", c.at.UnixMicro(), got, err, c.want)
			}
		}
		if _, err := s.Owns(ctx, task, 1, first); !errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("an attempt that nobody began: %v", err)
		}
	}
}
